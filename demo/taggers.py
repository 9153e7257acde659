"""Two small taggers of the portraits in the convention of the WD v3 taggers, and how to read one.

Input: float32 ``(n, 128, 128, 3)``, BGR, 0..255. Output: one probability per row of ``selected_tags.csv``. Within an
attribute the probabilities come from a softmax, so they add up to one together with ``none``, which has no row.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from demo.attributes import ATTRIBUTES, NONE, Portrait

RATINGS = ("general", "sensitive", "questionable", "explicit")
RATING_PROBABILITIES = (0.98, 0.02, 0.005, 0.002)  # every portrait is harmless: the rows are there for the format
ALWAYS = "1girl"
SIZE = 128

Rows = list[tuple[str, int]]


def rows() -> Rows:
    """Name (underscores for spaces) and category (9 rating, 0 general) of each output."""
    general = [value for values in ATTRIBUTES.values() for value in values if value != NONE]
    return [(rating, 9) for rating in RATINGS] + [(tag.replace(" ", "_"), 0) for tag in (ALWAYS, *general)]


def write_rows(path: Path, counts: dict[str, int]) -> None:
    """``selected_tags.csv``; ``counts`` says how many training pictures showed a tag."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("tag_id", "name", "category", "count"))
        for number, (name, category) in enumerate(rows()):
            writer.writerow((number, name, category, counts.get(name.replace("_", " "), 0)))


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    plain = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(plain, nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(convolution(channels, channels, 3), convolution(channels, channels, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def plain_trunk() -> nn.Sequential:
    """The tagger's: strided convolutions, then everything that the 8 x 8 places say."""
    steps = [convolution(3, 24, 5, 2), convolution(24, 40, 3, 2), convolution(40, 64, 3, 2), convolution(64, 96, 3, 2)]
    return nn.Sequential(*steps, convolution(96, 24, 1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(24 * 64, 96))


def residual_trunk() -> nn.Sequential:
    """The judge's: fewer strides, residual blocks, coarse pooling."""
    steps = [convolution(3, 20, 3, 2), convolution(20, 36, 3, 2), Residual(36), convolution(36, 56, 3, 2), Residual(56)]
    pooled = [convolution(56, 40, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(40 * 64, 64)]
    return nn.Sequential(*steps, *pooled)


class Tagger(nn.Module):
    """BGR 0..255 ``(n, 128, 128, 3)`` in, probabilities ``(n, rows)`` out; ``scores`` gives what training needs."""

    def __init__(self, trunk: nn.Sequential) -> None:
        super().__init__()
        self.trunk = trunk
        width = trunk[-1].out_features
        self.heads = nn.ModuleList(nn.Linear(int(width), len(values)) for values in ATTRIBUTES.values())
        self.register_buffer("constant", torch.tensor([[*RATING_PROBABILITIES, 0.99]]), persistent=False)

    def scores(self, pictures: Tensor) -> list[Tensor]:
        """Per attribute the scores ``(n, values)``, ``none`` included."""
        hidden = torch.relu(self.trunk(pictures.permute(0, 3, 1, 2) / 127.5 - 1))
        return [head(hidden) for head in self.heads]

    def forward(self, pictures: Tensor) -> Tensor:
        shares = [self.constant.expand(pictures.shape[0], -1)]
        for values, scores in zip(ATTRIBUTES.values(), self.scores(pictures), strict=True):
            shares.append(scores.softmax(-1)[:, int(values[0] == NONE) :])
        return torch.cat(shares, 1)


class Reader:
    """A tagger's ``model.onnx`` as judge: the most likely value of each attribute."""

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, ["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        with (folder / "selected_tags.csv").open(newline="", encoding="utf-8") as file:
            self.names = [row["name"].replace("_", " ") for row in csv.DictReader(file)]

    def read(self, pictures: np.ndarray) -> list[Portrait]:
        """Portraits seen in RGB uint8 pictures ``(n, 128, 128, 3)``."""
        found: list[Portrait] = []
        for start in range(0, len(pictures), 64):
            batch = np.ascontiguousarray(pictures[start : start + 64, :, :, ::-1], np.float32)
            found.extend(self.portrait(row) for row in self.session.run(None, {self.input: batch})[0])
        return found

    def portrait(self, probabilities: np.ndarray) -> Portrait:
        shares = dict(zip(self.names, probabilities.tolist(), strict=True))
        result: Portrait = {}
        for attribute, values in ATTRIBUTES.items():
            known = {value: shares[value] for value in values if value != NONE}
            if NONE in values:
                known[NONE] = 1 - sum(known.values())
            result[attribute] = max(known, key=known.__getitem__)
        return result
