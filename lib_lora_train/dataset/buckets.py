"""Aspect-ratio buckets as kohya's sd-scripts computes them, and how a picture is fitted into its bucket.

Sizes are (width, height) in pixels throughout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from lib_lora_train.errors import UserError
from lib_lora_train.settings.reading import parse_resolution
from lib_lora_train.settings.tables import DatasetSettings

Size = tuple[int, int]
LATENT_STEP = 8  # pixels per latent, along a side


@dataclass(frozen=True)
class CropPlan:
    """A picture is scaled to `resized`, then `box` (left, top, right, bottom) of that is cut out: the bucket."""

    bucket: Size
    resized: Size
    box: tuple[int, int, int, int]

    @property
    def share_kept(self) -> float:
        """Part of the picture's area that is trained on, 0..1."""
        return self.bucket[0] * self.bucket[1] / (self.resized[0] * self.resized[1])


def bucket_limits(settings: DatasetSettings) -> tuple[int, int]:
    """Smallest and largest bucket side that hold: as set, widened to multiples of the step and to the resolution.

    sd-scripts widens to multiples in the same way; where the resolution lies outside the limits it stops, which with
    the usual 256..1024 would rule out training at 128 or 1280, so here the limits give way.
    """
    resolution, step = parse_resolution(settings.resolution), settings.bucket_reso_steps
    smallest = min(settings.min_bucket_reso, *resolution)
    largest = max(settings.max_bucket_reso, *resolution)
    return max(smallest // step, 1) * step, math.ceil(largest / step) * step


@cache
def bucket_sizes(resolution: Size, smallest: int, largest: int, step: int) -> tuple[Size, ...]:
    """All buckets of a resolution, sorted: for each width from smallest to largest the greatest height whose area
    stays within that of the resolution, both ways round, and the square of that area."""
    area = resolution[0] * resolution[1]
    square = int(math.sqrt(area) // step) * step
    sizes = {(square, square)} if square else set()
    for width in range(smallest, largest + 1, step):
        height = min(largest, area // width // step * step)
        if height >= smallest:
            sizes |= {(width, height), (height, width)}
    return tuple(sorted(sizes))


def bucket_list(settings: DatasetSettings) -> tuple[Size, ...]:
    """The buckets pictures are sorted into. With "never enlarge" there is no list: sizes follow the pictures.

    Raises UserError("settings.resolution", "bucket.divisible" or "bucket.none").
    """
    resolution = parse_resolution(settings.resolution)
    if not settings.enable_bucket:
        if resolution[0] % LATENT_STEP or resolution[1] % LATENT_STEP:
            raise UserError("bucket.divisible", "resolution", value=settings.resolution, step=LATENT_STEP)
        return (resolution,)
    if settings.bucket_reso_steps % LATENT_STEP:
        raise UserError("bucket.divisible", "bucket_reso_steps", value=settings.bucket_reso_steps, step=LATENT_STEP)
    sizes = bucket_sizes(resolution, *bucket_limits(settings), settings.bucket_reso_steps)
    if not sizes:
        raise UserError("bucket.none", "bucket_reso_steps", step=settings.bucket_reso_steps)
    return sizes


def plan_crop(size: Size, settings: DatasetSettings, where: str = "") -> CropPlan:
    """How a picture of `size` is trained on: its bucket, and the centre crop after scaling to cover it.

    Raises UserError("bucket.too_small") for a picture that "never enlarge" leaves without a bucket, and as
    `bucket_list` does.
    """
    sizes = bucket_list(settings)
    if settings.enable_bucket and settings.bucket_no_upscale:
        resized = _shrunk(size, parse_resolution(settings.resolution), settings.bucket_reso_steps)
        bucket = _floor(resized[0], settings.bucket_reso_steps), _floor(resized[1], settings.bucket_reso_steps)
        if 0 in bucket:
            raise UserError("bucket.too_small", where, width=size[0], height=size[1], step=settings.bucket_reso_steps)
    else:
        bucket, resized = _closest(size, sizes)
    left, top = (resized[0] - bucket[0]) // 2, (resized[1] - bucket[1]) // 2
    return CropPlan(bucket, resized, (left, top, left + bucket[0], top + bucket[1]))


def _closest(size: Size, sizes: tuple[Size, ...]) -> tuple[Size, Size]:
    """Bucket of the closest width / height (no two have the same), and the picture's size when it covers that."""
    ratio = size[0] / size[1]
    bucket = min(sizes, key=lambda each: abs(each[0] / each[1] - ratio))
    by_height = ratio > bucket[0] / bucket[1]
    scale = bucket[1] / size[1] if by_height else bucket[0] / size[0]
    return bucket, (int(size[0] * scale + 0.5), int(size[1] * scale + 0.5))


def _shrunk(size: Size, resolution: Size, step: int) -> Size:
    """`size`, or when its area is above the resolution's: shrunk so that one side is a multiple of `step`, namely
    the side that changes width / height less."""
    area = resolution[0] * resolution[1]
    if size[0] * size[1] <= area:
        return size
    ratio = size[0] / size[1]
    width = math.sqrt(area * ratio)
    by_width = _floor(int(width + 0.5), step)
    by_height = _floor(int(area / width + 0.5), step)
    height_of_width = _floor(int(by_width / ratio + 0.5), step)
    width_of_height = _floor(int(by_height * ratio + 0.5), step)
    if not (by_width and by_height and height_of_width and width_of_height):
        return 0, 0  # so long and thin that its short side falls below one step
    if abs(by_width / height_of_width - ratio) < abs(width_of_height / by_height - ratio):
        return by_width, int(by_width / ratio + 0.5)
    return int(by_height * ratio + 0.5), by_height


def _floor(value: int, step: int) -> int:
    return value - value % step
