"""Small taggers in the convention of the WD v3 family, made here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx", reason="makes models with onnx")
from onnx import TensorProto, helper  # noqa: E402

Row = tuple[str, int]


def write_rows(
    folder: Path, rows: Sequence[Row], columns: Sequence[str] = ("tag_id", "name", "category", "count")
) -> None:
    lines = [",".join(columns)]
    for number, (name, category) in enumerate(rows):
        values = {"tag_id": str(number), "name": name, "category": str(category), "count": "100"}
        lines.append(",".join(values.get(column, "x") for column in columns))
    (folder / "selected_tags.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _save(
    folder: Path, nodes: list[object], constants: list[object], shape: list[object], outputs: list[object]
) -> None:
    graph = helper.make_graph(
        nodes,
        "tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, outputs)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "model.onnx")


def write_echo(
    folder: Path, side: int = 8, batch: str | int = "n", channels_first: bool = False, open_side: bool = False
) -> Path:
    """A tagger whose "probabilities" are the numbers that were put in, / 255, in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    count = side * side * 3
    nodes = [
        helper.make_node("Reshape", ["input", "flat"], ["numbers"]),
        helper.make_node("Div", ["numbers", "full"], ["output"]),
    ]
    constants = [
        helper.make_tensor("flat", TensorProto.INT64, [2], [-1, count]),
        helper.make_tensor("full", TensorProto.FLOAT, [], [255.0]),
    ]
    height, width = ("h", "w") if open_side else (side, side)
    shape = [batch, 3, height, width] if channels_first else [batch, height, width, 3]
    _save(folder, nodes, constants, shape, [batch, count])
    write_rows(folder, [(f"tag_{number}", 0) for number in range(count)])
    return folder


def write_fixed(
    folder: Path, answers: Sequence[float], rows: Sequence[Row], side: int = 8, batch: str | int = "n"
) -> Path:
    """A tagger that sees the same in every picture, times the picture's mean brightness (0..1)."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Div", ["column", "full"], ["bright"]),
        helper.make_node("Mul", ["bright", "answers"], ["output"]),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
        helper.make_tensor("last", TensorProto.INT64, [1], [1]),
        helper.make_tensor("full", TensorProto.FLOAT, [], [255.0]),
        helper.make_tensor("answers", TensorProto.FLOAT, [1, len(answers)], list(answers)),
    ]
    _save(folder, nodes, constants, [batch, side, side, 3], [batch, len(answers)])
    write_rows(folder, rows)
    return folder
