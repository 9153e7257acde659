"""An ONNX graph that costs what a tagger of the ViT-B/16 family costs, with random weights.

The layers are those of the Vision Transformer (Dosovitskiy et al., 2021) as the WD v3 ViT tagger has them: 448 px,
patches of 16 px, 12 layers of width 768 with 12 heads, mean of the tokens, one sigmoid per tag. Input and output are in
the WD v3 convention: float32 (n, side, side, 3), BGR, 0..255.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17  # LayerNormalization; onnxruntime has it since 1.12


@dataclass(frozen=True)
class Vit:
    """Sizes of a graph; the defaults are WD-ViT's."""

    side: int = 448
    patch: int = 16
    width: int = 768
    layers: int = 12
    heads: int = 12
    tags: int = 10861

    @property
    def tokens(self) -> int:
        return (self.side // self.patch) ** 2

    def flops(self) -> int:
        """Floating-point operations of one picture, two for each multiplication with its addition."""
        entry = self.tokens * 3 * self.patch**2 * self.width
        layer = 12 * self.tokens * self.width**2 + 2 * self.tokens**2 * self.width
        return 2 * (entry + self.layers * layer + self.width * self.tags)


class _Graph:
    """Nodes and weights as they are added; every value has a name of its own."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, *shape: int) -> str:
        return self.constant(self.random.normal(0, 0.02, shape).astype(np.float32))

    def constant(self, value: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(value, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [f"v{len(self.nodes)}"], **attributes))
        return self.nodes[-1].output[0]

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def shape(self, *sides: int) -> str:
        return self.constant(np.array(sides, np.int64))

    def norm(self, value: str, width: int) -> str:
        ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
        return self.add("LayerNormalization", value, self.constant(ones), self.constant(zeros), axis=-1)

    def linear(self, value: str, inputs: int, outputs: int) -> str:
        return self.add("Add", self.add("MatMul", value, self.weight(inputs, outputs)), self.weight(outputs))

    def gelu(self, value: str) -> str:
        error = self.add("Erf", self.add("Mul", value, self.number(0.5**0.5)))
        return self.add("Mul", self.add("Mul", value, self.number(0.5)), self.add("Add", error, self.number(1)))

    def attention(self, value: str, vit: Vit) -> str:
        head = vit.width // vit.heads
        split = self.shape(0, vit.tokens, vit.heads, head)
        parts = []
        for order in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):  # queries, keys, values
            part = self.add("Reshape", self.linear(value, vit.width, vit.width), split)
            parts.append(self.add("Transpose", part, perm=order))
        scores = self.add("Mul", self.add("MatMul", parts[0], parts[1]), self.number(head**-0.5))
        mixed = self.add("MatMul", self.add("Softmax", scores, axis=-1), parts[2])
        joined = self.add(
            "Reshape", self.add("Transpose", mixed, perm=[0, 2, 1, 3]), self.shape(0, vit.tokens, vit.width)
        )
        return self.linear(joined, vit.width, vit.width)


def write_tagger(folder: Path, vit: Vit | None = None, seed: int = 0) -> Path:
    """`model.onnx` and `selected_tags.csv` in `folder`, which is returned; 380 MB at the usual sizes."""
    vit = vit or Vit()
    graph = _Graph(seed)
    pixels = graph.add("Transpose", "input", perm=[0, 3, 1, 2])
    scaled = graph.add("Sub", graph.add("Mul", pixels, graph.number(1 / 127.5)), graph.number(1))
    kernel = graph.weight(vit.width, 3, vit.patch, vit.patch)
    patches = graph.add("Conv", scaled, kernel, strides=[vit.patch] * 2, kernel_shape=[vit.patch] * 2)
    tokens = graph.add(
        "Transpose", graph.add("Reshape", patches, graph.shape(0, vit.width, vit.tokens)), perm=[0, 2, 1]
    )
    value = graph.add("Add", tokens, graph.weight(1, vit.tokens, vit.width))
    for _ in range(vit.layers):
        value = graph.add("Add", value, graph.attention(graph.norm(value, vit.width), vit))
        inner = graph.gelu(graph.linear(graph.norm(value, vit.width), vit.width, 4 * vit.width))
        value = graph.add("Add", value, graph.linear(inner, 4 * vit.width, vit.width))
    mean = graph.add("ReduceMean", graph.norm(value, vit.width), axes=[1], keepdims=0)
    graph.nodes.append(helper.make_node("Sigmoid", [graph.linear(mean, vit.width, vit.tags)], ["output"]))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "vit",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", vit.side, vit.side, 3])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", vit.tags])],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
    )
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(folder / "model.onnx"))
    with (folder / "selected_tags.csv").open("w", newline="", encoding="utf-8") as handle:
        rows = csv.writer(handle, lineterminator="\n")
        rows.writerow(("tag_id", "name", "category", "count"))
        rows.writerows((number, f"tag_{number}", 9 if number < 4 else 0, 1) for number in range(vit.tags))
    return folder
