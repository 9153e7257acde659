"""The faults that `benchmarks.health` puts into clean pictures, each at its strengths."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Change = Callable[[np.ndarray, np.random.Generator, int], np.ndarray]
# Strengths below what the check is made for: reported, not counted.
BEYOND = (
    "x 1.5 bicubic",
    "Gaussian, 1 px",
    "quality 60",
    "a third of the area, enlarged",
    "across, 40 %",
    "tiled, 40 %",
)


def seed_of(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    """Saved as JPEG (Pillow's usual colour subsampling) and opened again."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def scaled(picture: np.ndarray, factor: float, method: Image.Resampling = Image.Resampling.LANCZOS) -> np.ndarray:
    height, width = picture.shape[:2]
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    return np.asarray(Image.fromarray(picture).resize(size, method))


# ---------------------------------------------------------------------- blur, in pixels of the training size


def _at_size(picture: np.ndarray, size: int) -> float:
    return max(math.sqrt(picture.shape[0] * picture.shape[1]) / size, 1.0)


def gaussian(width: float) -> Change:
    return lambda picture, draws, size: cv2.GaussianBlur(picture, (0, 0), width * _at_size(picture, size))


def out_of_focus(radius: float) -> Change:
    def change(picture: np.ndarray, draws: np.random.Generator, size: int) -> np.ndarray:
        reach = radius * _at_size(picture, size)
        half = math.ceil(reach)
        y, x = np.mgrid[-half : half + 1, -half : half + 1]
        disk = np.clip(reach + 0.5 - np.hypot(x, y), 0, 1)
        return cv2.filter2D(picture, -1, disk / disk.sum(), borderType=cv2.BORDER_REFLECT)

    return change


def shaken(length: float) -> Change:
    """The camera moved along a straight line, in any direction."""

    def change(picture: np.ndarray, draws: np.random.Generator, size: int) -> np.ndarray:
        reach = length * _at_size(picture, size)
        half = math.ceil(reach / 2) + 1
        angle = draws.uniform(0, math.pi)
        line = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
        for step in np.linspace(-reach / 2, reach / 2, 200):
            x, y = half + step * math.cos(angle), half + step * math.sin(angle)
            left, top = int(x), int(y)
            for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
                line[row, column] += (1 - abs(y - row)) * (1 - abs(x - column))
        return cv2.filter2D(picture, -1, line / line.sum(), borderType=cv2.BORDER_REFLECT)

    return change


# ---------------------------------------------------------------------- compression and enlargement


def compressed(quality: int, again: int = 0, cut: tuple[int, int] = (0, 0)) -> Change:
    def change(picture: np.ndarray, draws: np.random.Generator, size: int) -> np.ndarray:
        once = jpeg(picture, quality)[cut[0] :, cut[1] :]
        return jpeg(np.ascontiguousarray(once), again) if again else np.ascontiguousarray(once)

    return change


def enlarged(factor: float, method: Image.Resampling, quality: int = 0) -> Change:
    def change(picture: np.ndarray, draws: np.random.Generator, size: int) -> np.ndarray:
        large = scaled(picture, factor, method)
        return jpeg(large, quality) if quality else large

    return change


# ---------------------------------------------------------------------- light


def exposed(stops: float) -> Change:
    """As if the shutter had been open 2^stops times as long (sRGB)."""
    return lambda picture, draws, size: _exposed(picture, stops)


def _exposed(picture: np.ndarray, stops: float) -> np.ndarray:
    value = picture / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4) * 2.0**stops
    linear = np.clip(linear, 0, 1)
    value = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(value * 255).astype(np.uint8)


def overexposed(share: float) -> Change:
    """As bright as it takes for that share of the pixels to lose a channel; in steps of a sixth of a stop."""

    def change(picture: np.ndarray, draws: np.random.Generator, size: int) -> np.ndarray:
        for step in range(6, 36):
            bright = _exposed(picture, step / 6)
            if (bright.max(2) >= 254).mean() >= share:
                break
        return bright

    return change


def faded(contrast: float) -> Change:
    def change(picture: np.ndarray, draws: np.random.Generator, size: int) -> np.ndarray:
        return np.clip(np.rint((picture - 127.5) * contrast + draws.uniform(90, 165)), 0, 255).astype(np.uint8)

    return change


# ---------------------------------------------------------------------- what is laid over or put around


def bars(share: float, upright: bool, colour: int, quality: int = 0) -> Change:
    """Bars at both ends, each of that share of the new picture's side."""

    def change(picture: np.ndarray, draws: np.random.Generator, size: int) -> np.ndarray:
        side = picture.shape[1 if upright else 0]
        width = round(side * share / (1 - 2 * share))
        around = ((0, 0), (width, width), (0, 0)) if upright else ((width, width), (0, 0), (0, 0))
        framed = np.pad(picture, around, constant_values=colour)
        return jpeg(framed, quality) if quality else framed

    return change


_WORDS = ("Sample Photo", "www.example.com", "PREVIEW COPY", "Jane Doe 2024", "DO NOT COPY", "stockphoto")


def written(place: str, height: float, strength: float) -> Change:
    """Words over the picture: `height` of the letters' line as a share of the picture's height; `strength`: how much
    of the picture they hide, 0..1."""

    def change(picture: np.ndarray, draws: np.random.Generator, size: int) -> np.ndarray:
        rows, columns = picture.shape[:2]
        text = _WORDS[int(draws.integers(len(_WORDS)))]
        font = ImageFont.load_default(max(height * rows, 14))
        left, top, right, bottom = font.getbbox(text)
        if place == "corner" and right - left > 0.92 * columns:
            font = ImageFont.load_default(0.92 * columns / (right - left) * max(height * rows, 14))
            left, top, right, bottom = font.getbbox(text)
        reach = 2 * max(rows, columns)
        sheet = Image.new("L", (reach, reach))
        pen = ImageDraw.Draw(sheet)
        if place == "corner":
            x = draws.choice([0.03, 0.97]) * (columns - (right - left))
            y = draws.choice([0.03, 0.97]) * (rows - (bottom - top))
            pen.text((x - left, y - top), text, fill=255, font=font)
            mask = np.asarray(sheet)[:rows, :columns]
        else:
            step = 4 * (bottom - top) if place == "tiled" else reach
            for y in range(reach // 2 - (step if place == "tiled" else 0) * 9, reach, step):
                line = text if place == "across" else f"{text}   " * 12
                wide = font.getbbox(line)[2]
                start = (reach - wide) / 2 if place == "across" else -draws.uniform(0, wide / 4)
                pen.text((start, y), line, fill=255, font=font)
            turned = np.asarray(sheet.rotate(draws.uniform(25, 42), Image.Resampling.BICUBIC))
            up, aside = (reach - rows) // 2, (reach - columns) // 2
            mask = turned[up : up + rows, aside : aside + columns]
        share = (mask / 255.0 * strength)[:, :, None]
        # White where it can be seen, as those do who put it there.
        below = picture[mask > 128].mean() if (mask > 128).any() else 128
        colour = 255.0 if below < 150 else 0.0
        return np.rint(picture * (1 - share) + colour * share).astype(np.uint8)

    return change


# ---------------------------------------------------------------------- copies


def mirrored(quality: int = 0) -> Change:
    def change(picture: np.ndarray, draws: np.random.Generator, size: int) -> np.ndarray:
        flipped = np.ascontiguousarray(picture[:, ::-1])
        return jpeg(flipped, quality) if quality else flipped

    return change


def cropped(area: float, flip: bool = False, enlarge: bool = True, quality: int = 0) -> Change:
    """A part of that share of the picture, anywhere in it, its shape changed by up to a quarter."""

    def change(picture: np.ndarray, draws: np.random.Generator, size: int) -> np.ndarray:
        rows, columns = picture.shape[:2]
        stretch = draws.uniform(0.8, 1.25)
        height = min(round(rows * math.sqrt(area * stretch)), rows)
        width = min(round(area * rows * columns / height), columns)
        top, left = draws.integers(rows - height + 1), draws.integers(columns - width + 1)
        part = picture[top : top + height, left : left + width]
        part = np.ascontiguousarray(part[:, ::-1] if flip else part)
        part = scaled(part, math.sqrt(rows * columns / (height * width))) if enlarge else part
        return jpeg(part, quality) if quality else part

    return change


def near_copy(factor: float, quality: int, brighter: float = 0.0) -> Change:
    def change(picture: np.ndarray, draws: np.random.Generator, size: int) -> np.ndarray:
        small = scaled(_exposed(picture, brighter) if brighter else picture, factor)
        return jpeg(small, quality)

    return change


_R = Image.Resampling
FAULTS: Mapping[str, Mapping[str, Change]] = {
    "blur": {
        "Gaussian, 1 px": gaussian(1.0), "Gaussian, 1.5 px": gaussian(1.5), "Gaussian, 2 px": gaussian(2.0),
        "Gaussian, 3 px": gaussian(3.0), "out of focus, radius 3 px": out_of_focus(3), "out of focus, radius 5 px": out_of_focus(5),
        "shaken, 9 px": shaken(9), "shaken, 15 px": shaken(15),
    },
    "re-compression": {
        "quality 60": compressed(60), "quality 40": compressed(40), "quality 30": compressed(30), "quality 20": compressed(20),
        "quality 10": compressed(10), "quality 30, again 92": compressed(30, 92), "quality 30, cut": compressed(30, 0, (3, 5)),
        "quality 25, cut, again 90": compressed(25, 90, (2, 7)),
    },
    "upscaling": {
        "x 1.5 bicubic": enlarged(1.5, _R.BICUBIC), "x 1.5 Lanczos": enlarged(1.5, _R.LANCZOS), "x 2 bilinear": enlarged(2, _R.BILINEAR),
        "x 2 bicubic": enlarged(2, _R.BICUBIC), "x 2 Lanczos": enlarged(2, _R.LANCZOS), "x 3 bicubic": enlarged(3, _R.BICUBIC),
        "x 4 Lanczos": enlarged(4, _R.LANCZOS), "x 2 bicubic, JPEG 90": enlarged(2, _R.BICUBIC, 90),
    },
    "wrong exposure": {
        "2.5 stops under": exposed(-2.5), "3.5 stops under": exposed(-3.5), "over: 25 % lost": overexposed(0.25),
        "over: 45 % lost": overexposed(0.45), "contrast 20 %": faded(0.2), "contrast 12 %": faded(0.12),
    },
    "borders": {
        "black above and below, 12 %": bars(0.12, False, 0), "black beside, 20 %": bars(0.2, True, 0),
        "white beside, 10 %": bars(0.1, True, 255), "grey above and below, 5 %": bars(0.05, False, 90),
        "black above and below, 12 %, JPEG 85": bars(0.12, False, 0, 85),
    },
    "watermark": {
        "corner, opaque": written("corner", 0.07, 1.0), "corner, 80 %": written("corner", 0.07, 0.8),
        "across, 65 %": written("across", 0.14, 0.65), "tiled, 65 %": written("tiled", 0.07, 0.65),
        "across, 40 %": written("across", 0.14, 0.4), "tiled, 40 %": written("tiled", 0.07, 0.4),
    },
    "flipped copy": {"flipped": mirrored(), "flipped, JPEG 60": mirrored(60), "flipped, 80 % of it": cropped(0.8, flip=True)},
    "cropped copy": {
        "80 % of the area, enlarged": cropped(0.8), "60 % of the area, enlarged": cropped(0.6), "50 % of the area": cropped(0.5, enlarge=False),
        "50 % of the area, flipped, JPEG 85": cropped(0.5, flip=True, quality=85), "a third of the area, enlarged": cropped(0.33),
    },
    "near copy": {"60 % of the size, JPEG 60": near_copy(0.6, 60), "a third of a stop brighter, JPEG 85": near_copy(1.0, 85, 0.33)},
}  # fmt: skip
