"""Every setting of a training run, once. Names are kohya's where kohya has one.

The page, the command line, the REST schema, the file reader, the presets and docs/settings.md are made from these
dataclasses. `None` means "decided for you": `train/plan.py` says what was chosen and why.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lib_lora_train.settings.fields import setting

SCHEMA_VERSION = 1

OPTIMIZERS = (
    "AdamW", "Lion", "Adafactor", "AdamW8bit", "Prodigy",
    "DAdaptAdam", "DAdaptAdaGrad", "DAdaptLion", "DAdaptSGD", "AdamWScheduleFree", "RAdamScheduleFree",
)  # fmt: skip
SCHEDULES = ("constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial")
PRECISIONS = ("fp32", "fp16", "bf16")


@dataclass
class ModelSettings:
    """Which checkpoint, and how its text encoder is read."""

    checkpoint: str = setting("", "Checkpoint", "The model to train on: a .safetensors file or a diffusers folder.", kohya="pretrained_model_name_or_path")
    prediction: str = setting("auto", "Prediction", "What the U-Net predicts; auto reads it from the checkpoint.", choices=("auto", "epsilon", "v_prediction"))
    clip_skip: int = setting(1, "Clip skip", "Which layer of CLIP is read, counted from the last; 2 for most anime models.", minimum=1, maximum=12)
    max_token_length: int = setting(75, "Token limit", "How much of a caption is read; longer ones are cut.", unit="tokens", choices=("75", "150", "225"))


@dataclass
class DatasetSettings:
    """Which pictures and captions, and how they become batches."""

    train_data_dir: str = setting("", "Training pictures", "A folder of pictures, or a folder of <repeats>_<name> folders.")
    reg_data_dir: str = setting("", "Regularization pictures", "Pictures of the class without the subject, in <repeats>_<class> folders.")
    conditioning_data_dir: str = setting("", "Masks", "Grey masks with the pictures' names, in folders named as the pictures' folders.")
    masked_loss: bool = setting(False, "Masked loss", "Learn only where the mask is white.")
    resolution: str = setting("512", "Resolution", "Training size: one number, or width,height.", unit="px")
    repeats: int = setting(1, "Repeats", "How often each picture of a plain folder is shown per epoch; numbered folders carry their own.", minimum=1, maximum=10000, kohya="dataset_repeats")
    class_tokens: str = setting("", "Class tokens", "Caption for pictures of a plain folder that have none.")
    caption_extension: str = setting(".txt", "Caption ending", "Ending of caption files; .caption is read when this one is missing.")
    shuffle_caption: bool = setting(False, "Shuffle tags", "A new order of tags each time a picture is shown.")
    keep_tokens: int = setting(0, "Keep tags", "How many tags at the front stay in place and are never dropped.", minimum=0, maximum=255)
    keep_tokens_separator: str = setting("", "Keep separator", "Tags before this mark stay in place, whatever their number.")
    caption_prefix: str = setting("", "Caption prefix", "Text put before every caption.")
    caption_suffix: str = setting("", "Caption suffix", "Text put after every caption.")
    caption_dropout_rate: float = setting(0.0, "Caption dropout", "Share of showings without any caption.", minimum=0, maximum=1)
    caption_dropout_every_n_epochs: int = setting(0, "Caption dropout epochs", "Every n-th epoch is shown without captions; 0 is never.", minimum=0, maximum=10000)
    caption_tag_dropout_rate: float = setting(0.0, "Tag dropout", "Share of tags left out at each showing.", minimum=0, maximum=1)
    enable_bucket: bool = setting(True, "Aspect buckets", "Train pictures in their own shape instead of cropping them to one.")
    min_bucket_reso: int = setting(256, "Smallest bucket side", "", unit="px", minimum=64, maximum=4096)
    max_bucket_reso: int = setting(1024, "Largest bucket side", "", unit="px", minimum=64, maximum=8192)
    bucket_reso_steps: int = setting(64, "Bucket step", "Bucket sides are multiples of this.", unit="px", minimum=8, maximum=512)
    bucket_no_upscale: bool = setting(False, "Never enlarge", "Small pictures train at their own size.")
    flip_aug: bool = setting(False, "Mirror", "Half of the showings are mirrored; not for one-sided features.")
    cache_latents_to_disk: bool = setting(False, "Keep latents on disk", "Encoded pictures are kept for the next run.")
    validation_split: float = setting(0.0, "Held back", "Share of each folder's pictures that is not trained on; the loss on them is computed with every saved file.", minimum=0, maximum=1)
    validation_seed: int | None = setting(None, "Held back seed", "Chooses the pictures that are held back, and the noise of their loss; empty: the run's seed.", minimum=0, maximum=4294967295)


@dataclass
class NetworkSettings:
    """The adapter that is trained."""

    network_dim: int = setting(16, "Rank", "Size of the LoRA; more can learn more, and overfit more.", minimum=1, maximum=1024)
    network_alpha: float = setting(8.0, "Alpha", "Scale of the LoRA is alpha / rank; at most the rank.", minimum=0.001, maximum=1024)
    network_dropout: float = setting(0.0, "Neuron dropout", "Share of the rank's activations dropped at each step.", minimum=0, maximum=0.99)
    rank_dropout: float = setting(0.0, "Rank dropout", "Share of ranks dropped at each step.", minimum=0, maximum=0.99)
    module_dropout: float = setting(0.0, "Module dropout", "Chance that a module is skipped at a step.", minimum=0, maximum=0.99)
    network_train_unet_only: bool = setting(False, "U-Net only", "Leave the text encoder as it is.")
    network_train_text_encoder_only: bool = setting(False, "Text encoder only", "Leave the U-Net as it is.")
    network_weights: str = setting("", "Continue from LoRA", "A LoRA file of ours or kohya's to start from.")
    dim_from_weights: bool = setting(False, "Rank from file", "Take rank and alpha from the file that is continued.")


@dataclass
class OptimizerSettings:
    """How the adapter's weights move."""

    optimizer_type: str = setting("AdamW", "Optimizer", "Some need a package of their own; a sentence says so.", choices=OPTIMIZERS)
    optimizer_args: list[str] = setting([], "Optimizer arguments", "name=value pairs, as kohya takes them.")
    learning_rate: str = setting("1e-4", "Learning rate", "For the parts without a rate of their own. A number, or steps as in 1e-3:100, 1e-4.")
    unet_lr: str = setting("", "U-Net rate", "Empty: the learning rate.")
    text_encoder_lr: str = setting("", "Text encoder rate", "Empty: the learning rate. A tenth to a half of the U-Net's is usual.")
    lr_scheduler: str = setting("constant", "Schedule", "How the rates change over the run.", choices=SCHEDULES)
    lr_warmup_steps: int = setting(0, "Warm-up", "Steps over which the rates rise from zero.", unit="steps", minimum=0, maximum=1000000)
    lr_scheduler_num_cycles: int = setting(1, "Restarts", "Cycles of cosine_with_restarts.", minimum=1, maximum=1000)
    lr_scheduler_power: float = setting(1.0, "Power", "Power of the polynomial schedule.", minimum=0.01, maximum=100)
    max_grad_norm: float = setting(1.0, "Gradient limit", "Gradients are scaled down to this norm; 0 is no limit.", minimum=0, maximum=1000)


@dataclass
class LossSettings:
    """What is learned from a picture: noise, timesteps, weights."""

    loss_type: str = setting("l2", "Loss", "l2 is the usual one; huber and l1 forgive outliers.", choices=("l2", "l1", "huber", "smooth_l1"))
    huber_c: float = setting(0.1, "Huber threshold", "Where huber turns from square to linear.", minimum=0.000001, maximum=10)
    huber_schedule: str = setting("snr", "Huber schedule", "How the threshold follows the noise.", choices=("constant", "exponential", "snr"))
    min_snr_gamma: float = setting(0.0, "Min-SNR gamma", "Evens out the timesteps' weights; 5 is usual, 0 is off.", minimum=0, maximum=100)
    debiased_estimation_loss: bool = setting(False, "Debiased loss", "Weight 1 / sqrt(SNR); not together with min-SNR.")
    noise_offset: float = setting(0.0, "Noise offset", "Teaches very dark and very bright pictures; 0.05 is usual.", minimum=0, maximum=1)
    multires_noise_iterations: int = setting(0, "Multires noise levels", "Pyramid noise; 6 to 10 is usual, 0 is off.", minimum=0, maximum=64)
    multires_noise_discount: float = setting(0.3, "Multires noise discount", "", minimum=0, maximum=1)
    zero_terminal_snr: bool = setting(False, "Zero terminal SNR", "Rescales the noise so that the last timestep is pure noise; for v-prediction models.")
    min_timestep: int = setting(0, "First timestep", "", minimum=0, maximum=999)
    max_timestep: int = setting(1000, "Last timestep", "One past the last one drawn.", minimum=1, maximum=1000)
    prior_loss_weight: float = setting(1.0, "Regularization weight", "Weight of regularization pictures.", minimum=0, maximum=100)


@dataclass
class RunSettings:
    """How long, how much at once, and what is kept."""

    output_dir: str = setting("", "Output folder", "Where the LoRA files go.")
    output_name: str = setting("lora", "Name", "Name of the LoRA file, without ending.")
    max_train_epochs: int = setting(0, "Epochs", "How often the whole set is shown; 0: as many as the steps need.", minimum=0, maximum=100000)
    max_train_steps: int = setting(1600, "Steps", "Optimizer steps; used when no epochs are given.", minimum=1, maximum=10000000)
    train_batch_size: int = setting(1, "Batch size", "Pictures per step.", minimum=1, maximum=512)
    gradient_accumulation_steps: int = setting(1, "Accumulation", "Batches per optimizer step.", minimum=1, maximum=1024)
    mixed_precision: str = setting("fp16", "Precision", "Number format of the computation.", choices=PRECISIONS)
    checkpointed_blocks: int | None = setting(None, "Recomputed blocks", "Blocks whose activations are computed twice to save memory; empty: as few as the memory needs.", minimum=0, maximum=1000)
    seed: int = setting(42, "Seed", "The same seed and settings give the same LoRA.", minimum=0, maximum=4294967295)
    save_precision: str = setting("fp16", "File precision", "Number format of the LoRA file.", choices=PRECISIONS)
    save_every_n_epochs: int = setting(0, "Save every n epochs", "0 is only at the end.", minimum=0, maximum=100000)
    save_every_n_steps: int = setting(0, "Save every n steps", "0 is never.", minimum=0, maximum=10000000)
    save_last_n: int = setting(0, "Keep the last n", "Older checkpoints of this run are removed; 0 keeps all.", minimum=0, maximum=10000, kohya="save_last_n_epochs")
    save_state: bool = setting(True, "Save the state", "What a run needs to be continued exactly; the last one is kept.")
    resume: str = setting("", "Resume from", "A state folder of an earlier run.")
    sample_prompts: str = setting("", "Sample prompts", "A file of prompts, one a line, or the prompts themselves, one a line.")
    sample_every_n_epochs: int = setting(0, "Sample every n epochs", "0 is never.", minimum=0, maximum=100000)
    sample_every_n_steps: int = setting(0, "Sample every n steps", "0 is never.", minimum=0, maximum=10000000)
    sample_at_first: bool = setting(True, "Sample before the first step", "For comparison.")
    sample_steps: int = setting(20, "Sampling steps", "", minimum=1, maximum=200)
    sample_cfg: float = setting(7.0, "Sampling guidance", "", minimum=1, maximum=50)
    logging_dir: str = setting("", "Log folder", "TensorBoard files, when the package is installed; empty: none.")
    training_comment: str = setting("", "Comment", "Written into the LoRA file.")
    trigger_word: str = setting("", "Trigger word", "Written into the LoRA file, for the card.")
    scrub_metadata: bool = setting(False, "Keep names private", "Folder names and tags are left out of the LoRA file.")
    grid_after_training: bool = setting(True, "Preview grid afterwards", "When the run is done, its checkpoints are drawn side by side and judged; in Previews it is there to pick from.")


@dataclass
class TrainSettings:
    """A whole run. Each group is handed to the room that needs it."""

    model: ModelSettings = field(default_factory=ModelSettings)
    dataset: DatasetSettings = field(default_factory=DatasetSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    run: RunSettings = field(default_factory=RunSettings)
