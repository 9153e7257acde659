"""What is shipped: the checkpoint opens as a Stable Diffusion pipeline and is small; the taggers keep WD's format."""

from __future__ import annotations

import csv
import random

import numpy as np
import onnxruntime
import pytest
import torch

from demo.attributes import ATTRIBUTES, sample
from demo.draw import draw
from demo.models import load_parts, sample_latents
from demo.taggers import Reader, rows
from demo.training import CHECKPOINT, decode

DEMO = CHECKPOINT.parent


def test_checkpoint_is_small() -> None:
    files = [path for path in CHECKPOINT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 12_000_000
    assert all(path.suffix in {".json", ".txt", ".safetensors"} for path in files)


def test_checkpoint_has_the_layout_of_stable_diffusion_1() -> None:
    tokenizer, text_encoder, unet, vae = load_parts(CHECKPOINT)
    assert unet.config.layers_per_block == 2
    assert unet.config.cross_attention_dim == text_encoder.config.hidden_size
    assert text_encoder.config.vocab_size == len(tokenizer)
    assert (vae.config.latent_channels, vae.config.scaling_factor) == (4, 0.18215)
    latents = sample_latents(tokenizer, text_encoder, unet, ["1girl, smile"], [0], steps=2)
    picture = decode(vae, latents)
    assert picture.shape == (1, 3, 128, 128) and picture.dtype == torch.uint8


@pytest.mark.parametrize("name", ["tagger", "judge"])
def test_tagger_follows_the_wd_convention(name: str) -> None:
    folder = DEMO / name
    assert (folder / "model.onnx").stat().st_size < 1_500_000
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert taken.type == "tensor(float)" and taken.shape[1:] == [128, 128, 3] and not isinstance(taken.shape[0], int)
    with (folder / "selected_tags.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["tag_id", "name", "category", "count"]
    assert [(row["name"], int(row["category"])) for row in table] == rows()
    for count in (1, 3):
        shares = session.run([given.name], {taken.name: np.full((count, 128, 128, 3), 128, np.float32)})[0]
        assert shares.shape == (count, len(table))
        assert shares.min() >= 0 and shares.max() <= 1


@pytest.mark.parametrize("name", ["tagger", "judge"])
def test_tagger_reads_drawings(name: str) -> None:
    rng = random.Random(123)
    portraits = [sample(rng, 0.2) for _ in range(100)]
    pictures = np.stack([np.asarray(draw(portrait, rng).image) for portrait in portraits])
    seen = Reader(DEMO / name).read(pictures)
    for attribute in ATTRIBUTES:
        right = sum(s[attribute] == p[attribute] for s, p in zip(seen, portraits, strict=True))
        assert right >= 95, attribute
