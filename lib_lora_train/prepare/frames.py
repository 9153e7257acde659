"""A crop: a frame over an original picture, and the size of what is cut out of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lib_lora_train.errors import UserError
from lib_lora_train.messages import DEFAULT_LANGUAGE, message
from lib_lora_train.vision.geometry import Box

BY = ("whole", "trim", "size", "focal", "face", "head", "upper_body", "split", "auto", "user", "close_up")
NOTES = ("moved", "grown", "shrunk", "small", "no_face", "no_size")
SMALLEST = 16  # pixels of a side of what is cut out: less is refused by the dataset's reader
SMALLEST_FRAME = 8.0  # pixels of the longer side of a frame
LONGEST, MOST_PIXELS = 65_500, 64_000_000
_SAME_SHAPE, _ROUNDED = 2e-3, 0.02  # relative; and in pixels, of which files and browsers have hundredths
_SIDES = ("left", "top", "right", "bottom")
_KEYS = frozenset((*_SIDES, "width", "height", "mirror", "by", "scale", "notes"))


@dataclass(frozen=True)
class Crop:
    """`box` in pixels of the upright original; `width` and `height` of the output, equal to the box's when nothing is
    resized. `by` is one of `BY`, who chose it; `notes` are of `NOTES`, what could not be as asked.
    """

    box: Box
    width: int
    height: int
    mirror: bool = False
    by: str = "whole"
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """left, top, right, bottom, width, height, mirror, by, scale (`enlargement`), notes."""
        return {
            **dict(zip(_SIDES, self.box.as_list(), strict=True)),
            "width": self.width,
            "height": self.height,
            "mirror": self.mirror,
            "by": self.by,
            "scale": round(enlargement(self), 4),
            "notes": list(self.notes),
        }

    @classmethod
    def of(cls, values: object) -> Crop:
        """From `as_dict`; mirror, by, scale and notes may be missing, and scale counts for nothing.

        Raises UserError: crop.no_object, crop.key (one missing, or none of ours), crop.value.
        """
        if not isinstance(values, Mapping):
            raise UserError("crop.no_object", "crop")
        for key in sorted(_KEYS.symmetric_difference({*values, "mirror", "by", "scale", "notes"}), key=str):
            raise UserError("crop.key", str(key)[:40])
        sides = [_number(values, key) for key in _SIDES]
        width, height = (_whole(values, key) for key in ("width", "height"))
        mirror, by, notes = values.get("mirror", False), values.get("by", "user"), values.get("notes", [])
        if not isinstance(mirror, bool):
            raise UserError("crop.value", "mirror")
        if by not in BY:
            raise UserError("crop.value", "by")
        if not isinstance(notes, list | tuple) or not all(note in NOTES for note in notes):
            raise UserError("crop.value", "notes")
        return cls(Box.of(sides), width, height, mirror, by, tuple(notes))

    def label(self, language: str = DEFAULT_LANGUAGE) -> str:
        """Who chose it, in words."""
        return message(f"crop.by_{self.by}", language)

    def remarks(self, language: str = DEFAULT_LANGUAGE) -> list[str]:
        """Its notes, one sentence each."""
        return [message(f"crop.note_{note}", language) for note in self.notes]


def enlargement(crop: Crop) -> float:
    """Pixels of the output per pixel of the original; above 1 it is enlarged."""
    return max(crop.width / max(crop.box.width, 1e-9), crop.height / max(crop.box.height, 1e-9))


def output_size(box: Box, width: int, height: int, max_upscale: float = 1.0) -> tuple[int, int]:
    """The size of what is cut out of `box` when width x height is wished for.

    That, if it takes no more enlargement than allowed; else the largest of the same shape that does: multiples of 8
    where that keeps the shape to within 2%, as for 216 x 216 instead of 512 x 512.
    """
    largest = min(box.width / width, box.height / height) * max_upscale
    if largest >= 1.0 - 1e-6:
        return width, height
    limit = max(largest, SMALLEST / min(width, height))
    across, down = width * limit + 1e-6, height * limit + 1e-6
    for columns in range(int(across) // 8 * 8, max(SMALLEST, int(across) - 64) - 1, -8):
        rows = round(columns * height / width / 8) * 8
        if SMALLEST <= rows <= down and abs(columns * height / (rows * width) - 1) <= 0.02:
            return columns, rows
    return max(SMALLEST, int(across)), max(SMALLEST, int(down))


def shaped(box: Box, width: int, height: int) -> Box:
    """The largest box around the same middle, inside `box`, that is as wide as high as width x height."""
    across = min(box.width, box.height * width / height)
    down = across * height / width
    x, y = box.center
    return Box(x - across / 2, y - down / 2, x + across / 2, y + down / 2)


def moved_inside(box: Box, outer: Box) -> Box:
    """`box` moved as little as possible to lie in `outer`; where it is larger, from the same left and top."""
    right = min(0.0, outer.right - box.right) or max(0.0, outer.left - box.left)
    down = min(0.0, outer.bottom - box.bottom) or max(0.0, outer.top - box.top)
    moved = box.moved(right, down)
    return Box(
        max(moved.left, outer.left), max(moved.top, outer.top), min(moved.right, outer.right), min(moved.bottom, outer.bottom)
    )  # fmt: skip


def fit_crop(crop: Crop, size: tuple[int, int]) -> Crop:
    """`crop` made possible in a picture of `size` (width, height): what a browser sends may be anything.

    The output's shape decides: a frame of another shape gives way to the largest of that shape in it. Its longer
    side is then at least 8 px; it is no larger than the picture, and moved inside. Doing it twice changes nothing more.
    Raises UserError: crop.no_number for NaN and infinity, crop.empty, crop.output for a size nobody can write.
    """
    sides = (crop.box.left, crop.box.top, crop.box.right, crop.box.bottom)
    if not all(math.isfinite(side) for side in (*sides, crop.width, crop.height)):
        raise UserError("crop.no_number")
    if not (min(crop.width, crop.height) >= SMALLEST and max(crop.width, crop.height) <= LONGEST):
        raise UserError("crop.output", smallest=SMALLEST, longest=LONGEST)
    if crop.width * crop.height > MOST_PIXELS:
        raise UserError("crop.output", smallest=SMALLEST, longest=LONGEST)
    width, height = map(float, size)
    box = Box(*(min(max(side, -1e9), 1e9) for side in sides))
    if min(box.width, box.height) < 0.01:
        raise UserError("crop.empty")
    allowed = _SAME_SHAPE * box.height * crop.width + _ROUNDED * (crop.width + crop.height)
    if abs(box.width * crop.height - box.height * crop.width) > allowed:
        box = shaped(box, crop.width, crop.height)
    factor = max(1.0, SMALLEST_FRAME / max(box.width, box.height))
    factor = min(factor, width / box.width, height / box.height)
    if factor != 1.0:
        x, y = box.center
        box = Box(x - box.width * factor / 2, y - box.height * factor / 2, x + box.width * factor / 2, y + box.height * factor / 2)  # fmt: skip
    return replace(crop, box=tidy(moved_inside(box, Box(0.0, 0.0, width, height))))


def carried_over(crop: Crop, before: tuple[int, int], after: tuple[int, int]) -> Crop:
    """The same frame on another picture: its middle at the same share of width and height, and as large a share of
    the largest frame of its shape. Sizes are (width, height). A frame that was not resized is not resized there either.
    """
    most_before, most_after = (
        shaped(Box(0, 0, *map(float, size)), crop.width, crop.height) for size in (before, after)
    )
    resized = (crop.width, crop.height) != (round(crop.box.width), round(crop.box.height))
    if not resized:  # the shape is the picture's own business
        across, down = after[0] / before[0], after[1] / before[1]
        box = Box(*map(float, (round(crop.box.left * across), round(crop.box.top * down), round(crop.box.right * across), round(crop.box.bottom * down))))  # fmt: skip
        return fit_crop(replace(crop, box=box, width=max(SMALLEST, round(box.width)), height=max(SMALLEST, round(box.height))), after)  # fmt: skip
    share = crop.box.width / most_before.width
    x, y = crop.box.center[0] / before[0] * after[0], crop.box.center[1] / before[1] * after[1]
    across, down = most_after.width * share, most_after.height * share
    return fit_crop(replace(crop, box=Box(x - across / 2, y - down / 2, x + across / 2, y + down / 2)), after)


def tidy(box: Box) -> Box:
    """To a hundredth of a pixel, as it is written to files."""
    return Box(*(side + 0.0 for side in box.as_list()))  # + 0.0: no minus before a zero


def _number(values: Mapping[str, object], key: str) -> float:
    value = values[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError("crop.value", key)
    try:
        return float(value)
    except OverflowError as error:
        raise UserError("crop.value", key) from error


def _whole(values: Mapping[str, object], key: str) -> int:
    value = _number(values, key)
    if not math.isfinite(value) or value != int(value):
        raise UserError("crop.value", key)
    return int(value)
