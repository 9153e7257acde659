"""The graph that the tagger is measured with: its cost is WD-ViT's, and it computes what a ViT computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch.nn import functional

from benchmarks.vit import Vit, write_tagger
from lib_lora_train.vision.tagger import Tagger
from tests.helpers.pictures import gradient

SMALL = Vit(side=32, patch=8, width=24, layers=2, heads=3, tags=11)


def test_the_cost_is_that_of_the_published_model():
    assert Vit().flops() == pytest.approx(0.16e12, rel=0.05)


def test_every_weight_is_there(tmp_path: Path):
    model = onnx.load(str(write_tagger(tmp_path, SMALL) / "model.onnx"))
    onnx.checker.check_model(model, full_check=True)
    matrices = [tensor for tensor in model.graph.initializer if len(tensor.dims) == 2]
    multiplied = SMALL.tokens * sum(int(np.prod(tensor.dims)) for tensor in matrices[:-1])
    attention = 2 * SMALL.layers * SMALL.tokens**2 * SMALL.width
    entry = SMALL.tokens * SMALL.width * 3 * SMALL.patch**2
    assert SMALL.flops() == 2 * (multiplied + attention + entry + SMALL.width * SMALL.tags)


def test_it_computes_what_a_vit_computes(tmp_path: Path):
    folder = write_tagger(tmp_path, SMALL)
    image = gradient(32, 32)
    weights = [
        torch.from_numpy(np.array(numpy_helper.to_array(tensor)))
        for tensor in onnx.load(str(folder / "model.onnx")).graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims
    ]
    expected = reference(np.array(image)[:, :, ::-1].astype(np.float32), iter(weights))
    with Tagger(folder) as tagger:
        assert np.allclose(tagger.probabilities([image])[0], expected, atol=1e-5)


def reference(pixels: np.ndarray, weights) -> np.ndarray:
    width, heads = SMALL.width, SMALL.heads
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1
    value = functional.conv2d(image, next(weights), stride=SMALL.patch).flatten(2).transpose(1, 2) + next(weights)

    def norm(value):
        return functional.layer_norm(value, (width,), next(weights), next(weights))

    def linear(value):
        return value @ next(weights) + next(weights)

    for _ in range(SMALL.layers):
        normed = norm(value)
        parts = [linear(normed).unflatten(-1, (heads, -1)).transpose(1, 2) for _ in range(3)]
        mixed = functional.scaled_dot_product_attention(*parts)
        value = value + linear(mixed.transpose(1, 2).flatten(2))
        value = value + linear(functional.gelu(linear(norm(value))))
    return torch.sigmoid(linear(norm(value).mean(1)))[0].numpy()
