"""Train the tagger and the judge on drawings and on what the auto-encoder makes of them (``--stage tagger|judge``)."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from demo.attributes import ATTRIBUTES, Portrait, tags
from demo.taggers import SIZE, Reader, Tagger, plain_trunk, residual_trunk, write_rows
from demo.training import CHECKPOINT, Clock, decode, draw_many, encode, load_state, save_state, setup

DRAWINGS, RECONSTRUCTED, TEST = 9_000, 3_500, 600
HELD_OUT_SHARE = 0.12
TRUNKS = {"tagger": (plain_trunk, 41), "judge": (residual_trunk, 42)}


def pictures(work: Path) -> tuple[Tensor, Tensor, list[Portrait]]:
    """Drawings, reconstructions of the first of them (both uint8 NCHW, BGR) and all portraits; cached in ``work``."""
    path = work / "tagger-pictures.safetensors"
    if not path.exists():
        vae = AutoencoderKL.from_pretrained(str(CHECKPOINT / "vae"), torch_dtype=torch.float32).eval()
        vae = vae.to(memory_format=torch.channels_last)
        portraits, drawings, _ = draw_many(DRAWINGS, 40, HELD_OUT_SHARE, 8)
        again = torch.cat([decode(vae, encode(vae, part)) for part in drawings[:RECONSTRUCTED].split(128)])
        both = {"drawings": drawings.flip(1), "reconstructions": again.flip(1)}
        save_state(path, both, {"portraits": portraits})
    tensors, facts = load_state(path)
    return tensors["drawings"], tensors["reconstructions"], facts["portraits"]


def roughen(batch: Tensor, rng: random.Random) -> Tensor:
    """Small shifts, noise, blur and brightness, so that the exact look of a picture does not matter. Float NCHW 0..255."""
    batch = torch.roll(batch, (rng.randint(-3, 3), rng.randint(-3, 3)), (2, 3))
    if rng.random() < 0.4:
        batch = functional.interpolate(functional.avg_pool2d(batch, 2), scale_factor=2.0, mode="bilinear")
    if rng.random() < 0.5:
        batch = batch + torch.randn_like(batch) * rng.uniform(0, 14)
    return (batch * rng.uniform(0.93, 1.07) + rng.uniform(-8, 8)).clamp(0, 255)


def f1(reader: Reader, test: Tensor, truth: list[Portrait]) -> dict[str, float]:
    """Macro F1 per attribute on BGR uint8 NCHW pictures."""
    seen = reader.read(test.flip(1).permute(0, 2, 3, 1).numpy())
    result = {}
    for attribute, values in ATTRIBUTES.items():
        scores = []
        for value in values:
            pairs = Counter((s[attribute] == value, t[attribute] == value) for s, t in zip(seen, truth, strict=True))
            wrong = pairs[True, False] + pairs[False, True]
            scores.append(2 * pairs[True, True] / max(1, 2 * pairs[True, True] + wrong))
        result[attribute] = round(sum(scores) / len(scores), 3)
    return result


def main() -> None:
    arguments = setup(__doc__)
    build, seed = TRUNKS[arguments.stage]
    drawings, again, portraits = pictures(arguments.work)
    truth = torch.tensor([[v.index(p[a]) for a, v in ATTRIBUTES.items()] for p in portraits])
    torch.manual_seed(seed)
    rng, model = random.Random(seed), Tagger(build()).to(memory_format=torch.channels_last)
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.02)
    clock, step = Clock(arguments.minutes, plateau=0.1), 0
    while clock.share() < 1:
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * clock.rate()
        source = again if rng.random() < 0.5 else drawings
        index = torch.randint(TEST, len(source), (64,))
        batch = roughen(source[index].float(), rng).permute(0, 2, 3, 1)
        scores = model.scores(batch)
        loss = sum(functional.cross_entropy(s, truth[index, i], label_smoothing=0.02) for i, s in enumerate(scores))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 100 == 0:
            print(f"{step} {clock.share():.0%} loss {loss.item():.3f}", flush=True)
    folder = CHECKPOINT.parent / arguments.stage
    folder.mkdir(exist_ok=True)
    counts = Counter(tag for portrait in portraits for tag in tags(portrait))
    write_rows(folder / "selected_tags.csv", {**counts, "1girl": DRAWINGS, "general": DRAWINGS})
    export(model.eval(), folder / "model.onnx")
    reader = Reader(folder)
    print("F1, drawings", f1(reader, drawings[:TEST], portraits[:TEST]))
    print("F1, auto-encoded", f1(reader, again[:TEST], portraits[:TEST]))


def export(model: Tagger, path: Path) -> None:
    """One self-contained ONNX file with a free batch size."""
    plain = Tagger(model.trunk).eval()
    plain.load_state_dict(model.state_dict())
    example = torch.zeros(2, SIZE, SIZE, 3)
    shapes = {"pictures": {0: torch.export.Dim("n")}}
    torch.onnx.export(
        plain, (example,), str(path), input_names=["input"], output_names=["output"], dynamic_shapes=shapes,
        external_data=False, dynamo=True,
    )  # fmt: skip


if __name__ == "__main__":
    main()
