"""What both sides of a comparison get: the checkpoint, the pictures, the start weights, the command line.

The peer is kohya's sd-scripts, run unchanged from a folder and by a Python that the user names.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from safetensors import safe_open
from transformers import CLIPTextConfig, CLIPTextModel

from lib_lora_train.draws import torch_generator
from lib_lora_train.files import write_json
from lib_lora_train.host.architecture import standard
from lib_lora_train.host.tokens import unpack_open_clip
from lib_lora_train.network.files import save_lora
from lib_lora_train.network.keys import find_text_encoder_sites, find_unet_sites
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.settings.tables import NetworkSettings
from tests.helpers.full_size import write_random_sd15

DRIVER = Path(__file__).parent / "kohya_driver.py"
DIM, ALPHA = 4, 4.0
CAPTIONS = (
    "zuna, a girl, red hair, smile",
    "zuna, a boy with (round) glasses, 1.5 metres, hat",
    "photo of zuna; blue eyes, don't smile",
    "zuna, 2 pictures, ünïcode, 日本",
)
SIZES = ((128, 128), (128, 128), (192, 64), (301, 100))  # the last one has to be scaled and cropped


@dataclass(frozen=True)
class Inputs:
    """Files that both sides read."""

    checkpoint: Path
    pictures: Path
    tokenizers: Path
    work: Path


@dataclass(frozen=True)
class Finished:
    """A process that has ended. `seconds` by the clock, `cpu` seconds of all cores, `peak` resident set in bytes."""

    seconds: float
    cpu: float
    peak: int


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all comparisons share."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--sd-scripts", type=Path, required=True, metavar="DIR", help="folder of sd-scripts")
    made.add_argument("--python", type=Path, required=True, help="the Python that sd-scripts is installed in")
    made.add_argument("--vocabulary", type=Path, required=True, help="bpe_simple_vocab_16e6.txt.gz of open_clip_torch")
    made.add_argument("--work", type=Path, required=True, metavar="DIR", help="scratch folder; 3 GB; kept")
    made.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of both sides")
    made.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON with all figures")
    return made


def prepare(options: argparse.Namespace, sizes: Sequence[tuple[int, int]] = SIZES) -> Inputs:
    """Makes what is not there yet: the checkpoint, one captioned picture per (width, height), the vocabulary."""
    work = options.work.resolve()
    pictures = work / ("pictures-" + "-".join(f"{width}x{height}" for width, height in sizes))
    inputs = Inputs(work / "sd15-random.safetensors", pictures, work / "tokenizers", work)
    for folder in (inputs.checkpoint.with_suffix(".tokenizer"), inputs.tokenizers / "openai_clip-vit-large-patch14"):
        if not (folder / "tokenizer_config.json").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            unpack_open_clip(options.vocabulary, folder)
            write_json(folder / "tokenizer_config.json", _tokenizer_config())
    if not inputs.checkpoint.is_file():
        write_random_sd15(inputs.checkpoint, torch.float16, made_up_vocabulary=False)
    place = inputs.pictures / "1_zuna"
    place.mkdir(parents=True, exist_ok=True)
    for number, (size, caption) in enumerate(zip(sizes, CAPTIONS, strict=False)):
        _picture(size, number).save(place / f"{number}.png")
        (place / f"{number}.txt").write_text(caption, encoding="utf-8")
    return inputs


def _picture(size: tuple[int, int], seed: int) -> Image.Image:
    """Soft patches of colour."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)


def _tokenizer_config() -> dict[str, object]:
    end = "<|endoftext|>"
    return {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "unk_token": end,
        "bos_token": "<|startoftext|>",
        "eos_token": end,
        "pad_token": end,
    }


def write_start_weights(path: Path, unet_only: bool) -> Path:
    """A LoRA whose weights are all random: with `lora_up` at zero the first gradients of `lora_down` would be zero,
    and Adam would blow up the rounding errors of the next step."""
    layout = standard()
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(layout.unet)
        text_encoder = CLIPTextModel(CLIPTextConfig(**layout.text_encoder))
    sites = find_text_encoder_sites(text_encoder, "sd1", "lora_te") + find_unet_sites(unet, "sd1")
    settings = NetworkSettings(network_dim=DIM, network_alpha=ALPHA, network_train_unet_only=unet_only)
    tensors = AdapterNetwork(sites, settings, seed=0).state_dict()
    for name, tensor in tensors.items():
        if name.endswith("lora_up.weight"):
            tensor.normal_(0.0, 0.02, generator=torch_generator(0, "start", name))
    save_lora(path, tensors, {}, torch.float32)
    return path


def arguments(inputs: Inputs, name: str, steps: int, extra: list[str]) -> list[str]:
    """The command line of both sides, word for word the same."""
    return [
        f"--pretrained_model_name_or_path={inputs.checkpoint}",
        f"--train_data_dir={inputs.pictures}",
        f"--output_name={name}",
        f"--max_train_steps={steps}",
        f"--tokenizer_cache_dir={inputs.tokenizers}",
        f"--network_dim={DIM}",
        f"--network_alpha={ALPHA:g}",
        "--caption_extension=.txt",
        "--resolution=128,128",
        "--enable_bucket",
        "--min_bucket_reso=64",
        "--max_bucket_reso=256",
        "--bucket_reso_steps=64",
        "--cache_latents",
        "--train_batch_size=1",
        "--network_module=networks.lora",
        "--learning_rate=1e-3",
        "--optimizer_type=AdamW",
        "--lr_scheduler=constant",
        "--mixed_precision=no",
        "--save_precision=float",
        "--save_model_as=safetensors",
        "--sdpa",
        "--seed=42",
        "--max_data_loader_n_workers=0",
        *extra,
    ]


def request_of(
    options: argparse.Namespace, inputs: Inputs, name: str, words: list[str], **wishes: Any
) -> dict[str, Any]:
    """What the driver is asked to do. `wishes` are its other entries: `trace`, `buckets`, `texts`."""
    folder = inputs.work / "kohya"
    facts = {
        "sd_scripts": str(options.sd_scripts.resolve()),
        "arguments": [*words, f"--output_dir={folder}"],
        "report": str(folder / f"{name}.json"),
        "trace": None,
    }
    return json.loads(json.dumps(facts | wishes))


def was_run(inputs: Inputs, name: str, request: dict[str, Any]) -> bool:
    """Whether an earlier call has done this very request to its end."""
    file = _request_file(inputs, name)
    return (
        file.is_file() and Path(request["report"]).is_file() and json.loads(file.read_text(encoding="utf-8")) == request
    )


def run_kohya(options: argparse.Namespace, inputs: Inputs, name: str, request: dict[str, Any]) -> Finished:
    """One run of sd-scripts; its LoRA is `<name>.safetensors` in `work/kohya`, its report `<name>.json`."""
    file = _request_file(inputs, name)
    file.parent.mkdir(exist_ok=True)
    Path(request["report"]).unlink(missing_ok=True)
    write_json(file, request)
    # absolute(), not resolve(): a virtual environment's python is a link, and is known by the link's place.
    command = [str(options.python.absolute()), str(DRIVER), str(file)]
    return run_process(command, options.threads, file.with_suffix(".log"))


def _request_file(inputs: Inputs, name: str) -> Path:
    return inputs.work / "kohya" / f"{name}.request.json"


def run_process(command: list[str], threads: int, log: Path) -> Finished:
    """Runs a command to its end, offline and on the CPU. Raises SystemExit, with the end of the log, when it fails.

    On Linux a child's peak begins with what its parent holds: what is less than this process cannot be told.
    """
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "PYTHONPATH": str(Path(__file__).parent.parent) if command[0] == sys.executable else "",
    }
    began = time.perf_counter()
    with log.open("wb") as handle:
        process = subprocess.Popen(command, stdout=handle, stderr=subprocess.STDOUT, env=environment)
        # wait4 gives the resources of this child alone; RUSAGE_CHILDREN would give the largest of all so far.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    if process.returncode:
        tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise SystemExit(f"{Path(command[0]).name} ended with {process.returncode}:\n{tail}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Finished(seconds, usage.ru_utime + usage.ru_stime, peak)


def report_of(inputs: Inputs, name: str) -> dict[str, Any]:
    """What the driver wrote about a run."""
    return json.loads((inputs.work / "kohya" / f"{name}.json").read_text(encoding="utf-8"))


def machine(threads: int) -> dict[str, Any]:
    """What figures depend on."""
    return {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count(), "threads": threads}


def own_versions() -> dict[str, str]:
    import diffusers
    import numpy
    import transformers

    return {"python": platform.python_version()} | {
        module.__name__: module.__version__ for module in (torch, diffusers, transformers, numpy)
    }


def metadata_of(path: Path) -> dict[str, str]:
    """The text entries of a safetensors file."""
    with safe_open(path, framework="pt") as handle:
        return handle.metadata() or {}
