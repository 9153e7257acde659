"""The entries that readers of a LoRA file look for, in the form they expect."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lib_lora_train.network.metadata import FolderFacts, RunFacts, base_name, build_metadata, checkpoint_hashes
from lib_lora_train.settings.tables import TrainSettings

# The names sd-scripts writes for one data set of numbered folders, a checkpoint file and no VAE of its own.
# Left out on purpose: ss_sd_scripts_commit_hash, for this is another program.
KOHYA = """
session_id training_started_at output_name learning_rate text_encoder_lr unet_lr num_train_images num_validation_images
num_reg_images num_batches_per_epoch num_epochs gradient_checkpointing gradient_accumulation_steps max_train_steps
lr_warmup_steps lr_scheduler network_module network_dim network_alpha network_dropout mixed_precision full_fp16 v2
base_model_version clip_skip max_token_length cache_latents seed lowram noise_offset multires_noise_iterations
multires_noise_discount adaptive_noise_scale zero_terminal_snr training_comment optimizer max_grad_norm
caption_dropout_rate caption_dropout_every_n_epochs caption_tag_dropout_rate face_crop_aug_range prior_loss_weight
min_snr_gamma scale_weight_norms ip_noise_gamma debiased_estimation noise_offset_random_strength
ip_noise_gamma_random_strength loss_type huber_schedule huber_scale huber_c fp8_base fp8_base_unet validation_seed
validation_split max_validation_steps validate_every_n_epochs validate_every_n_steps resize_interpolation
batch_size_per_device total_batch_size resolution color_aug flip_aug random_crop shuffle_caption enable_bucket
bucket_no_upscale min_bucket_reso max_bucket_reso keep_tokens dataset_dirs reg_dataset_dirs tag_frequency bucket_info
sd_model_hash new_sd_model_hash sd_model_name training_finished_at steps epoch
"""


def facts(**changes: object) -> RunFacts:
    settings = TrainSettings()
    settings.run.trigger_word = "zuna"
    settings.optimizer.text_encoder_lr = "5e-5"
    known = RunFacts(
        settings=settings,
        output_name="zuna-r02-000010",
        family="sd1",
        prediction="epsilon",
        session_id=1234567890,
        started_at=1700000000.5,
        finished_at=1700000300.25,
        resolution=(512, 768),
        dim=16,
        alpha=8.0,
        train_images=300,
        reg_images=40,
        batches_per_epoch=150,
        total_epochs=10,
        total_steps=1500,
        step=750,
        epoch=5,
        optimizer="torch.optim.adamw.AdamW(weight_decay=0.01)",
        folders=(
            FolderFacts("/home/someone/data/20_zuna", 20, 15, {"zuna": 15, "red hair": 9, "笑顔": 2}),
            FolderFacts(r"C:\Users\someone\reg\1_girl", 1, 40, {"1girl": 40}, is_reg=True),
        ),
        buckets={(512, 768): 200, (448, 832): 100},
        mean_aspect_error=0.0125,
        checkpoint="/home/someone/models/v1-5.safetensors",
        checkpoint_hash="81761151",
        checkpoint_sha256="e1" * 32,
    )
    return replace(known, **changes)


def test_every_name_of_kohyas_is_there_and_all_values_are_text():
    metadata = build_metadata(facts())
    ours = {key for key in metadata if key.startswith("ss_")}
    assert ours == {f"ss_{name}" for name in KOHYA.split()}
    assert all(type(value) is str for value in metadata.values())
    assert {key.split(".")[0] for key in metadata if not key.startswith("ss_")} == {"modelspec"}


def test_values_are_written_as_kohya_writes_them():
    metadata = build_metadata(facts())
    assert (
        metadata.items()
        >= {
            "ss_session_id": "1234567890",
            "ss_training_started_at": "1700000000.5",
            "ss_training_finished_at": "1700000300.25",
            "ss_output_name": "zuna-r02-000010",
            "ss_learning_rate": "0.0001",
            "ss_unet_lr": "None",
            "ss_text_encoder_lr": "5e-05",
            "ss_network_module": "networks.lora",
            "ss_network_dim": "16",
            "ss_network_alpha": "8.0",
            "ss_network_dropout": "None",
            "ss_mixed_precision": "fp16",
            "ss_v2": "False",
            "ss_base_model_version": "sd_v1",
            "ss_clip_skip": "None",
            "ss_cache_latents": "True",
            "ss_resolution": "(512, 768)",
            "ss_total_batch_size": "1",
            "ss_optimizer": "torch.optim.adamw.AdamW(weight_decay=0.01)",
            "ss_sd_model_name": "v1-5.safetensors",
            "ss_sd_model_hash": "81761151",
            "ss_new_sd_model_hash": "e1" * 32,
            "ss_steps": "750",
            "ss_epoch": "5",
        }.items()
    )
    assert json.loads(metadata["ss_dataset_dirs"]) == {"20_zuna": {"n_repeats": 20, "img_count": 15}}
    assert json.loads(metadata["ss_reg_dataset_dirs"]) == {"1_girl": {"n_repeats": 1, "img_count": 40}}
    assert json.loads(metadata["ss_tag_frequency"]) == {
        "20_zuna": {"zuna": 15, "red hair": 9, "笑顔": 2},
        "1_girl": {"1girl": 40},
    }
    assert json.loads(metadata["ss_bucket_info"]) == {
        "buckets": {"0": {"resolution": [448, 832], "count": 100}, "1": {"resolution": [512, 768], "count": 200}},
        "mean_img_ar_error": 0.0125,
    }


def test_what_is_off_by_default_and_what_is_set():
    settings = TrainSettings()
    settings.model.clip_skip = 2
    settings.model.max_token_length = 225
    settings.optimizer.unet_lr = "1e-3:100, 1e-4"
    settings.network.rank_dropout = 0.1
    settings.network.network_dropout = 0.2
    settings.loss.min_snr_gamma = 5.0
    settings.loss.max_timestep = 900
    settings.run.mixed_precision = "fp32"
    settings.run.train_batch_size = 4
    settings.run.gradient_accumulation_steps = 2
    metadata = build_metadata(facts(settings=settings, processes=3))
    assert (
        metadata.items()
        >= {
            "ss_clip_skip": "2",
            "modelspec.encoder_layer": "2",
            "ss_max_token_length": "225",
            "ss_unet_lr": "1e-3:100, 1e-4",
            "ss_network_args": '{"rank_dropout": "0.1"}',
            "ss_network_dropout": "0.2",
            "ss_min_snr_gamma": "5.0",
            "modelspec.timestep_range": "0,900",
            "ss_mixed_precision": "no",
            "ss_total_batch_size": "24",
        }.items()
    )
    assert "modelspec.trigger_phrase" not in metadata


@pytest.mark.parametrize(
    ("family", "prediction", "v2", "version", "architecture", "implementation"),
    [
        ("sd1", "epsilon", "False", "sd_v1", "stable-diffusion-v1/lora", "diffusers"),
        ("sd1", "v_prediction", "False", "sd_v1_v", "stable-diffusion-v1/lora", "diffusers"),
        ("sd2", "epsilon", "True", "sd_v2", "stable-diffusion-v2-512/lora", "diffusers"),
        ("sd2", "v_prediction", "True", "sd_v2_v", "stable-diffusion-v2-768-v/lora", "diffusers"),
        ("sdxl", "epsilon", "False", "sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora",
         "https://github.com/Stability-AI/generative-models"),
        ("sdxl", "v_prediction", "False", "sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora",
         "https://github.com/Stability-AI/generative-models"),
    ],
)  # fmt: skip
def test_families(family, prediction, v2, version, architecture, implementation):
    metadata = build_metadata(facts(family=family, prediction=prediction))
    assert metadata["ss_v2"] == v2
    assert metadata["ss_base_model_version"] == version
    assert metadata["modelspec.architecture"] == architecture
    assert metadata["modelspec.implementation"] == implementation
    assert metadata["modelspec.prediction_type"] == ("epsilon" if prediction == "epsilon" else "v")


def test_modelspec_says_title_date_size_and_trigger():
    metadata = build_metadata(facts())
    assert (
        metadata.items()
        >= {
            "modelspec.sai_model_spec": "1.0.1",
            "modelspec.title": "zuna-r02-000010",
            "modelspec.date": "2023-11-14T22:18:20+00:00",
            "modelspec.resolution": "512x768",
            "modelspec.trigger_phrase": "zuna",
        }.items()
    )


@pytest.mark.parametrize("scrub", [False, True])
def test_no_path_of_this_machine_goes_into_a_file(scrub):
    known = facts()
    known.settings.run.scrub_metadata = scrub
    known.settings.run.output_dir = "/home/someone/loras"
    known.settings.run.resume = "/home/someone/state"
    known.settings.run.logging_dir = r"C:\Users\someone\logs"
    known.settings.dataset.train_data_dir = "/home/someone/data"
    known.settings.dataset.reg_data_dir = r"C:\Users\someone\reg"
    known.settings.model.checkpoint = known.checkpoint
    known.settings.network.network_weights = "/home/someone/old.safetensors"
    text = json.dumps(build_metadata(known), ensure_ascii=False)
    assert "someone" not in text
    assert "/home" not in text
    assert "C:" not in text


def test_scrubbing_leaves_out_folders_and_tags_only():
    known = facts()
    full = build_metadata(known)
    known.settings.run.scrub_metadata = True
    scrubbed = build_metadata(known)
    assert full.keys() - scrubbed.keys() == {"ss_dataset_dirs", "ss_reg_dataset_dirs", "ss_tag_frequency"}
    assert "red hair" not in json.dumps(scrubbed)
    assert "20_zuna" not in json.dumps(scrubbed)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/b.x", "b.x"),
        ("b.x", "b.x"),
        (r"C:\a\b.x", "b.x"),
        ("a/b/", "b"),
        (r"\\server\share\b.x", "b.x"),
        ("C:/a/b.x", "b.x"),
    ],
)
def test_base_name_of_paths_of_any_system(path, name):
    assert base_name(path) == name


def test_checkpoint_hashes_are_the_webuis(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(n * 7 % 256 for n in range(1 << 16)) * 17)
    short, whole = checkpoint_hashes(path)
    assert short == "d790e413"  # as sd-scripts' model_hash and calculate_sha256 of this file
    assert whole == "4009985d9e74d88662d452deff566ecbd87bbd08704addaa9003f1ecace0084f"
    assert checkpoint_hashes(path, sha256="known") == (short, "known")
    assert checkpoint_hashes(tmp_path) == ("", "")
