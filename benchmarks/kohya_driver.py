"""Runs sd-scripts' own network trainer, from the folder it lies in, and writes down what it does.

Run by the Python that sd-scripts is installed in: `python kohya_driver.py REQUEST.json`. The request names the folder
(`sd_scripts`), the command line (`arguments`), where to write the `report` (JSON), and, for a parity run, where to
write the `trace` (safetensors). With a trace, noise and timesteps of step k are drawn from a generator seeded with
1000 + k, so that the run can be repeated elsewhere number by number; without one, nothing is changed but the clock
that is read at each step. This file imports nothing of this project: that Python need not have it.
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

FIRST_SEED = 1000


class Trace:
    """Tensors by name and step, and the few facts that are no tensors."""

    def __init__(self, keeps_tensors: bool) -> None:
        self.keeps_tensors = keeps_tensors
        self.tensors: dict[str, Tensor] = {}
        self.started: list[float] = []
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.captions: list[list[str]] = []

    @property
    def step(self) -> int:
        """Number of the step in progress, from 0."""
        return len(self.started) - 1

    def keep(self, name: str, tensor: Tensor, step: int | None = None) -> None:
        if self.keeps_tensors:
            place = self.step if step is None else step
            self.tensors[f"{name}.{place}"] = tensor.detach().float().cpu().contiguous().clone()


def declare_vision_operators() -> None:
    """Lets torchvision be imported beside a torch that it was not built for; only its picture transforms are used."""
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    declare_vision_operators.library = library  # the declarations live as long as this object


def seeded_draw(train_util: Any, trace: Trace) -> None:
    """Replaces the draw of noise and timesteps. A draw depends on the step and the shape alone."""

    def draw(args: Any, noise_scheduler: Any, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(FIRST_SEED + trace.step)
        noise = torch.randn(latents.shape, generator=generator)
        timesteps = torch.randint(0, noise_scheduler.config.num_train_timesteps, latents.shape[:1], generator=generator)
        trace.keep("latents", latents)
        trace.keep("noise", noise)
        trace.keep("timesteps", timesteps)
        return noise, noise_scheduler.add_noise(latents, noise, timesteps), timesteps

    train_util.get_noise_noisy_latents_and_timesteps = draw


def traced_trainer(base: type, trace: Trace) -> type:
    """Their trainer with eyes: each method calls theirs."""

    class Traced(base):
        def load_target_model(self, *args: Any, **kwargs: Any) -> Any:
            found = super().load_target_model(*args, **kwargs)
            _watch_encoder(found[2], trace)
            return found

        def process_batch(self, batch: Any, *args: Any, **kwargs: Any) -> Tensor:
            trace.started.append(time.perf_counter())
            network, accelerator = args[2], args[7]
            if trace.step == 0 and trace.keeps_tensors:
                for name, tensor in network.state_dict().items():
                    trace.keep(f"start.{name}", tensor)
                _watch_gradients(accelerator, network, trace)
            trace.captions.append(list(batch["captions"]))
            loss = super().process_batch(batch, *args, **kwargs)
            trace.losses.append(float(loss.detach()))
            return loss

        def call_unet(
            self,
            args: Any,
            accelerator: Any,
            unet: Any,
            noisy: Tensor,
            timesteps: Tensor,
            conds: Any,
            *rest: Any,
            **kwargs: Any,
        ) -> Tensor:
            prediction = super().call_unet(args, accelerator, unet, noisy, timesteps, conds, *rest, **kwargs)
            trace.keep("context", conds[0])
            trace.keep("noisy", noisy)
            trace.keep("prediction", prediction)
            return prediction

    return Traced


def _watch_encoder(vae: Any, trace: Trace) -> None:
    encode, count = vae.encode, 0

    def watched(pixels: Tensor, *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        found = encode(pixels, *args, **kwargs)
        for index in range(len(pixels)):
            trace.keep("pixels", pixels[index], count)
            trace.keep("mean", found.latent_dist.mean[index], count)
            trace.keep("std", found.latent_dist.std[index], count)
            count += 1
        return found

    vae.encode = watched


def _watch_gradients(accelerator: Any, network: Any, trace: Trace) -> None:
    clip = accelerator.clip_grad_norm_

    def watched(parameters: Any, limit: float, *args: Any) -> Any:
        if trace.step == 0:
            for name, parameter in network.named_parameters():
                if parameter.grad is not None:
                    trace.keep(f"gradient.{name}", parameter.grad)
        norm = clip(parameters, limit, *args)
        trace.norms.append(float(norm))
        return norm

    accelerator.clip_grad_norm_ = watched


def bucket_answers(train_util: Any, cases: list[dict[str, Any]]) -> list[list[Any]]:
    """Bucket and scaled size of each picture size, per case of bucket settings."""
    answers = []
    for case in cases:
        resolution = (case["resolution"], case["resolution"])
        buckets = train_util.BucketManager(
            case["no_upscale"], resolution, case["smallest"], case["largest"], case["step"]
        )
        if not case["no_upscale"]:
            buckets.make_buckets()
        answers.append([[list(part) for part in buckets.select_bucket(*size)[:2]] for size in case["sizes"]])
    return answers


def main(request_file: str) -> None:
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    began = time.perf_counter()
    declare_vision_operators()
    sys.path.insert(0, request["sd_scripts"])
    module = importlib.import_module("train_network")
    train_util = importlib.import_module("library.train_util")

    trace = Trace(keeps_tensors=bool(request["trace"]))
    if request["trace"]:
        seeded_draw(train_util, trace)
    args = module.setup_parser().parse_args(request["arguments"])
    train_util.verify_command_line_training_args(args)
    trainer = traced_trainer(module.NetworkTrainer, trace)()
    trainer.train(args)

    tokens = {}
    for limit, texts in request.get("texts", {}).items():
        args.max_token_length = None if limit == "75" else int(limit)
        tokens[limit] = trainer.get_tokenize_strategy(args).tokenize(texts)[0].tolist()
    report = {
        "versions": {"python": platform.python_version()}
        | {name: importlib.import_module(name).__version__ for name in ("torch", "diffusers", "transformers", "numpy")},
        "losses": trace.losses,
        "gradient_norms": trace.norms,
        "captions": trace.captions,
        "started": [moment - began for moment in trace.started],
        "buckets": bucket_answers(train_util, request.get("buckets", [])),
        "tokens": tokens,
    }
    if request["trace"]:
        save_file(trace.tensors, request["trace"])
    Path(request["report"]).write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
