"""The same training by sd-scripts and by this project, number by number, on a full-size Stable Diffusion 1.5.

sd-scripts trains with its own loop; its latents, noise, timesteps and the order of its pictures are written down. Then
the trainer of this project runs with the same command line and these same draws, and everything on the way is
compared: pixels, latents, tokens, conditioning, the first prediction, gradients, losses, weights, the files.

    python -m benchmarks.parity --sd-scripts DIR --python PYTHON --vocabulary FILE --work DIR --out FILE

Exit code 1 when a bound is broken. Weights are random: agreement is about arithmetic, not about pictures.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks import peer
from benchmarks.agreement import (
    Check,
    layout_differences,
    metadata_differences,
    overall_relative,
    relative,
    worst_ratio,
    worst_relative,
)
from lib_lora_train.cli import make_parser, train_settings
from lib_lora_train.dataset.batches import Showing
from lib_lora_train.dataset.buckets import plan_crop
from lib_lora_train.dataset.images import open_image
from lib_lora_train.dataset.latents import LatentCache
from lib_lora_train.dataset.pixels import fit
from lib_lora_train.files import write_json
from lib_lora_train.host.base import BorrowedModel, Conditioning, HostPaths, Session
from lib_lora_train.host.embedded import EmbeddedHost
from lib_lora_train.host.tokens import load_tokenizer, tokenize
from lib_lora_train.settings import DatasetSettings
from lib_lora_train.signals import Commands, Event, Step
from lib_lora_train.train import trainer
from lib_lora_train.train.output import Output

PREDICTION, LOSSES, WEIGHTS = 1e-5, 1e-4, 1e-3  # bounds, relative

# name: steps, what is added to the command line, whether the text encoder is trained
VARIANTS: dict[str, tuple[int, list[str], bool]] = {
    "unet": (10, ["--network_train_unet_only"], False),
    "unet_te": (10, [], True),
    "min_snr": (3, ["--network_train_unet_only", "--min_snr_gamma=5"], False),
    "clip_skip": (3, ["--clip_skip=2"], True),
    "v_zero_terminal": (3, ["--network_train_unet_only", "--v_parameterization", "--zero_terminal_snr"], False),
}
BUCKET_CASES = [
    {"resolution": resolution, "smallest": smallest, "largest": largest, "step": step, "no_upscale": no_upscale}
    for resolution, smallest, largest, step in ((512, 256, 1024, 64), (768, 320, 1536, 32), (1024, 512, 2048, 64))
    for no_upscale in (False, True)
]
ODD_SIZES = [(512, 512), (511, 513), (1920, 1080), (1080, 1921), (3000, 500), (333, 777), (640, 480), (1023, 767)]
TEXTS = [
    *peer.CAPTIONS,
    "",
    "(red hair:1.2), [blue] eyes BREAK AND <lora:zuna:1>",
    "  Many   spaces, UPPER case, under_score, tab\there ",
    ", ".join(f"tag number {number}" for number in range(60)),
]


@dataclass
class Seen:
    """What one forward pass of ours was given and gave."""

    noisy: Tensor
    context: Tensor
    prediction: Tensor


class WatchedModel:
    """The borrowed model; what goes through the U-Net is kept."""

    def __init__(self, model: BorrowedModel) -> None:
        self._model = model
        self.seen: list[Seen] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def denoise(self, noisy: Tensor, timesteps: Tensor, cond: Conditioning, size_ids: Tensor | None = None) -> Tensor:
        prediction = self._model.denoise(noisy, timesteps, cond, size_ids)
        self.seen.append(Seen(noisy.detach().clone(), cond.context.detach().clone(), prediction.detach().clone()))
        return prediction


class ReplayedTrainer(trainer.Trainer):
    """The trainer with the order and the latents of a run of sd-scripts; all else is its own."""

    def __init__(self, *args: Any, theirs: dict[str, Tensor], captions: Sequence[str]) -> None:
        super().__init__(*args)
        self.theirs = theirs
        self.captions = captions
        self.gradients: dict[str, Tensor] = {}

    def _train_on(self, session: Session, model: BorrowedModel) -> str:
        self.watched = WatchedModel(model)
        return super()._train_on(session, self.watched)

    def _cache(self, model: BorrowedModel) -> LatentCache:
        caches = super()._cache(model)
        for entry in caches.entries:
            if entry.picture.caption in self.captions:
                step = self.captions.index(entry.picture.caption)
                entry.latents = self.theirs[f"latents.{step}"][0]
        return caches

    def _batches(self, epoch: int) -> list[list[Showing]]:
        places = {entry.picture.caption: index for index, entry in enumerate(self.caches.entries)}
        first = epoch * self.batches_per_epoch
        shown = [places[caption] for caption in self.captions[first : first + self.batches_per_epoch]]
        shown += [0] * (self.batches_per_epoch - len(shown))  # after the last step; never trained
        return [[Showing(place, 0)] for place in shown]

    def _optimizer_step(self) -> None:
        if self.progress.step == 0:
            weights = self.network.named_parameters().items()
            # With clip skip the text encoder's last layers have none.
            self.gradients = {name: weight.grad.clone() for name, weight in weights if weight.grad is not None}
        super()._optimizer_step()


def run_ours(inputs: peer.Inputs, host: EmbeddedHost, name: str, words: list[str], theirs: dict[str, Tensor]) -> dict:
    """The variant by our trainer; returns what there is to compare."""
    captions = [caption for (caption,) in peer.report_of(inputs, name)["captions"]]
    folder = inputs.work / "ours" / name
    shutil.rmtree(folder, ignore_errors=True)
    settings, _ = train_settings(make_parser().parse_args(["train", *words, f"--output_dir={folder}"]))
    steps: list[Step] = []

    def listen(event: Event) -> None:
        if isinstance(event, Step):
            steps.append(event)

    run = ReplayedTrainer(
        host, settings, listen, Commands(), Output.from_settings(settings.run), theirs=theirs, captions=captions
    )
    with (
        mock.patch.object(trainer, "draw_noise", lambda settings, seed, micro, shape: theirs[f"noise.{micro}"]),
        mock.patch.object(
            trainer, "draw_timesteps", lambda settings, seed, micro, batch: theirs[f"timesteps.{micro}"].long()
        ),
    ):
        result = run.run()
    return {
        "file": result.lora,
        "seen": run.watched.seen[1:],  # the first is the probe before step 1
        "gradients": run.gradients,
        "losses": [step.loss for step in steps],
        "norms": [step.gradient_norm for step in steps],
    }


def compare_run(inputs: peer.Inputs, name: str, theirs: dict[str, Tensor], ours: dict) -> tuple[list[Check], dict]:
    """Figures of one variant, judged, and the rows of numbers behind them."""
    report = peer.report_of(inputs, name)
    weights, start = load_file(ours["file"]), load_file(inputs.work / f"start-{name}.safetensors")
    their_file = inputs.work / "kohya" / f"{name}.safetensors"
    their_weights = load_file(their_file)
    trained = [key for key in their_weights if not key.endswith(".alpha")]
    their_start = {key: theirs[f"start.{key}.0"] for key in trained}
    layout = layout_differences(weights, their_weights)
    first = ours["seen"][0]
    checks = [
        Check("start weights", worst_relative({key: start[key] for key in trained}, their_start), 0.0),
        Check("conditioning, step 0", relative(first.context, theirs["context.0"]), PREDICTION),
        Check("noisy latents, step 0", relative(first.noisy, theirs["noisy.0"]), PREDICTION),
        Check("prediction, step 0", relative(first.prediction, theirs["prediction.0"]), PREDICTION),
        Check("losses", worst_ratio(ours["losses"], report["losses"]), LOSSES),
        Check("gradient norms", worst_ratio(ours["norms"], report["gradient_norms"]), LOSSES),
        Check("keys, shapes, formats that differ", len(layout), 0),
    ]
    if not layout:
        moved = {key: their_weights[key] - start[key] for key in trained}
        checks += [
            Check("weights, all", overall_relative(weights, their_weights), WEIGHTS),
            Check("weights, worst tensor", worst_relative(weights, their_weights), WEIGHTS),
            Check(
                "change of weights, all", overall_relative({key: weights[key] - start[key] for key in trained}, moved)
            ),
            Check("gradients, step 0, all", overall_relative(ours["gradients"], _part(theirs, "gradient.", ".0"))),
        ]
    last = len(ours["seen"]) - 1
    checks += [
        Check("conditioning, last step", relative(ours["seen"][last].context, theirs[f"context.{last}"])),
        Check("prediction, last step", relative(ours["seen"][last].prediction, theirs[f"prediction.{last}"])),
    ]
    rows = {
        "losses": {"ours": ours["losses"], "theirs": report["losses"]},
        "gradient_norms": {"ours": ours["norms"], "theirs": report["gradient_norms"]},
        "timesteps": [int(theirs[f"timesteps.{step}"]) for step in range(len(ours["losses"]))],
        "file": {"tensors": len(weights), "differences": layout[:20]},
        "metadata": metadata_differences(peer.metadata_of(ours["file"]), peer.metadata_of(their_file)),
    }
    return checks, rows


def _part(tensors: dict[str, Tensor], prefix: str, suffix: str) -> dict[str, Tensor]:
    return {
        name[len(prefix) : -len(suffix)]: tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix) and name.endswith(suffix)
    }


def compare_pictures(inputs: peer.Inputs, host: EmbeddedHost, theirs: dict[str, Tensor]) -> list[Check]:
    """Our VAE on their pixels, and our pixels beside theirs: equal where nothing is scaled, else told."""
    settings = DatasetSettings(resolution="128", min_bucket_reso=64, max_bucket_reso=256, bucket_reso_steps=64)
    own = []
    for path in sorted((inputs.pictures / "1_zuna").glob("*.png")):
        image = open_image(path, path.name).image
        plan = plan_crop(image.size, settings)
        own.append((fit(image, plan), plan.resized == image.size))
    untouched, scaled, means, deviations = [], [], [], []
    with host.session() as session, session.borrow(_request(inputs)) as model:
        for index in range(len(own)):
            pixels = theirs[f"pixels.{index}"]
            mean, std = model.encode_images(pixels[None])
            means.append(relative(mean[0], theirs[f"mean.{index}"]))
            deviations.append(relative(std[0], theirs[f"std.{index}"]))
            mine, is_untouched = min(own, key=lambda each: _distance(each[0], pixels))
            (untouched if is_untouched else scaled).append(_distance(mine, pixels))
    return [
        Check("pixels, not scaled: largest difference", max(untouched), 1e-6),
        Check("pixels, scaled: largest difference (another filter)", max(scaled)),
        Check("latents, mean", max(means), PREDICTION),
        Check("latents, deviation", max(deviations), PREDICTION),
    ]


def _request(inputs: peer.Inputs) -> trainer.BorrowRequest:
    return trainer.BorrowRequest(checkpoint=str(inputs.checkpoint))


def _distance(mine: Tensor, pixels: Tensor) -> float:
    return float((mine - pixels).abs().max()) if mine.shape == pixels.shape else float("inf")


def compare_rules(inputs: peer.Inputs, report: dict[str, Any]) -> tuple[list[Check], dict]:
    """Buckets and tokens: counts of answers that differ."""
    buckets, different = 0, []
    for case, answers in zip(BUCKET_CASES, report["buckets"], strict=True):
        settings = DatasetSettings(
            resolution=str(case["resolution"]),
            min_bucket_reso=case["smallest"],
            max_bucket_reso=case["largest"],
            bucket_reso_steps=case["step"],
            bucket_no_upscale=case["no_upscale"],
        )
        for size, (bucket, resized) in zip(ODD_SIZES, answers, strict=True):
            plan = plan_crop(size, settings)
            buckets += 1
            if [list(plan.bucket), list(plan.resized)] != [bucket, resized]:
                different.append(
                    {"size": size, "case": case, "ours": [plan.bucket, plan.resized], "theirs": [bucket, resized]}
                )
    tokenizer = load_tokenizer((inputs.checkpoint.with_suffix(".tokenizer"),), 49408, "")
    rows, wrong = 0, 0
    for limit, expected in report["tokens"].items():
        for text, row in zip(TEXTS, expected, strict=True):
            rows += 1
            wrong += (
                tokenize(tokenizer, [text], int(limit))[0].flatten().tolist() != torch.tensor(row).flatten().tolist()
            )
    checks = [
        Check(f"buckets that differ, of {buckets}", len(different), 0),
        Check(f"captions whose tokens differ, of {rows}", wrong, 0),
    ]
    return checks, {"buckets": different}


def main(words: Sequence[str] | None = None) -> int:
    parser = peer.parser(__doc__)
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    options = parser.parse_args(words)
    torch.set_num_threads(options.threads)
    inputs = peer.prepare(options)
    # All of theirs first: two models in memory at once would need 12 GB.
    commands = {name: run_theirs(options, inputs, name) for name in options.variants}

    host = EmbeddedHost(HostPaths(inputs.work, inputs.work, inputs.work), device="cpu")
    first = peer.report_of(inputs, options.variants[0])
    rules, different = compare_rules(inputs, first)
    pictures = compare_pictures(inputs, host, load_file(trace_of(inputs, options.variants[0])))
    holds = all([tell("rules", rules), tell("pictures", pictures)])
    # Variants of earlier calls stay in the file.
    results: dict[str, Any] = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    results |= {
        "machine": peer.machine(options.threads),
        "versions": {"ours": peer.own_versions(), "sd_scripts": first["versions"]},
        "bounds": {"prediction": PREDICTION, "losses": LOSSES, "weights": WEIGHTS},
        "rules": as_figures(rules) | {"buckets": different},
        "pictures": as_figures(pictures),
    }
    for name in options.variants:
        theirs = load_file(trace_of(inputs, name))
        ours = run_ours(inputs, host, name, commands[name], theirs)
        checks, rows = compare_run(inputs, name, theirs, ours)
        holds &= tell(f"{name}, {VARIANTS[name][0]} steps", checks)
        results[name] = {"figures": as_figures(checks)} | rows
        write_json(options.out, results)
    return 0 if holds else 1


def run_theirs(options: argparse.Namespace, inputs: peer.Inputs, name: str) -> list[str]:
    """The variant by sd-scripts, unless an earlier call has done it; returns the command line of both sides."""
    steps, extra, text_encoder = VARIANTS[name]
    start = peer.write_start_weights(inputs.work / f"start-{name}.safetensors", not text_encoder)
    command = peer.arguments(inputs, name, steps, [*extra, f"--network_weights={start}"])
    request = peer.request_of(
        options,
        inputs,
        name,
        command,
        trace=str(trace_of(inputs, name)),
        buckets=[case | {"sizes": ODD_SIZES} for case in BUCKET_CASES],
        texts=dict.fromkeys(("75", "150", "225"), TEXTS),
    )
    if not peer.was_run(inputs, name, request):
        print(f"sd-scripts: {name}", flush=True)
        peer.run_kohya(options, inputs, name, request)
    return command


def trace_of(inputs: peer.Inputs, name: str) -> Path:
    return inputs.work / "kohya" / f"{name}.trace.safetensors"


def tell(title: str, checks: list[Check]) -> bool:
    """Prints a table; True when all bounds hold."""
    print(f"\n{title}")
    for check in checks:
        bound = "" if check.bound is None else f"  (at most {check.bound:g}){'' if check.holds else '  BROKEN'}"
        print(f"  {check.name:52} {check.value:10.3g}{bound}", flush=True)
    return all(check.holds for check in checks)


def as_figures(checks: list[Check]) -> dict[str, float | None]:
    """By name; None for what could not be measured."""
    return {check.name: check.value if math.isfinite(check.value) else None for check in checks}


if __name__ == "__main__":
    sys.exit(main())
