"""What becomes of a picture whose subject is known: clean edges, another background, or a mask for the masked loss."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from lib_lora_train.dataset.images import open_image, read_size
from lib_lora_train.errors import UserError
from lib_lora_train.prepare.tables import MatteSettings

_COLOUR = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")
_WHITE, _GREY = (255, 255, 255), (128, 128, 128)

_SURE = 0.98  # opacity from which a pixel's colour is taken for the subject's alone, and below 1 - _SURE for the rest's
_WINDOWS = (3, 7, 21)  # sides in pixels: colours come from the nearest sure pixels
_FAR, _FAR_FACTOR = 23, 4  # the last resort: a window of 23 pixels in a picture of a quarter of the size

_BLUR_SIDE = 256  # of the small copy that a blurred background is made on
_BLUR = 0.02  # its standard deviation, as a share of the longer side
_SPREADS = (1, 3, 9, 27, 81)  # further and further into where the subject stood

MAX_MASK_BYTES = 32_000_000
MAX_MASK_SIDE = 8192
_SHAPE_TOLERANCE = 0.02  # a mask drawn at another scale is off by a pixel of rounding, not by more
_GREY_TOLERANCE = 8  # grey levels between the channels that colour management may leave


# ---------------------------------------------------------------------- edges


def clean_edges(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """`rgb` with the subject's own colour where it is half-transparent; all other pixels as they are.

    A half-transparent pixel is I = alpha F + (1 - alpha) B. F and B are first estimated as means over nearby pixels,
    then F takes its share of what they leave unexplained, F + alpha (I - alpha F - (1 - alpha) B): Forte, "Approximate
    Fast Foreground Colour Estimation" (ICIP 2021). The means here are over pixels that are surely one or the other, in
    the smallest window that has any: an outline of a few pixels keeps its colour.

    `rgb` uint8 (height, width, 3), `alpha` float (height, width) 0..1; gives uint8 (height, width, 3).
    """
    edge = (alpha > 0.0) & (alpha < 1.0)
    if not edge.any():
        return rgb.copy()
    rows, columns = np.flatnonzero(edge.any(axis=1)), np.flatnonzero(edge.any(axis=0))
    margin = _FAR * _FAR_FACTOR // 2 + 1
    part = (
        slice(max(0, rows[0] - margin), rows[-1] + margin + 1),
        slice(max(0, columns[0] - margin), columns[-1] + margin + 1),
    )
    image, opacity, near = rgb[part].astype(np.float32), alpha[part].astype(np.float32), edge[part]
    subject = _nearby_colour(image, opacity > _SURE, near)
    behind = _nearby_colour(image, opacity < 1.0 - _SURE, near)
    share = opacity[near][:, None]
    left = image[near] - share * subject - (1.0 - share) * behind
    cleaned = rgb.copy()
    cleaned[part][near] = np.rint(np.clip(subject + share * left, 0.0, 255.0)).astype(np.uint8)
    return cleaned


def _nearby_colour(image: np.ndarray, sure: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """float32 (n, 3) for the n pixels that are `wanted`: the mean colour of the nearest `sure` ones, else their own.

    Too far from any, the mean of all of them.
    """
    import cv2

    weights = sure.astype(np.float32)
    coloured = image * weights[:, :, None]
    found = np.zeros((int(wanted.sum()), 3), np.float32)
    missing = np.ones(len(found), np.float32)
    for side in _WINDOWS:
        _add(found, missing, cv2.blur(coloured, (side, side))[wanted], cv2.blur(weights, (side, side))[wanted], side)
    height, width = sure.shape
    size = (max(1, width // _FAR_FACTOR), max(1, height // _FAR_FACTOR))

    def far(values: np.ndarray) -> np.ndarray:
        small = cv2.blur(cv2.resize(values, size, interpolation=cv2.INTER_AREA), (_FAR, _FAR))
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)[wanted]

    _add(found, missing, far(coloured), far(weights), _FAR * _FAR_FACTOR)
    last = image[sure].mean(axis=0) if sure.any() else image[wanted]
    return found + missing[:, None] * last


def _add(found: np.ndarray, missing: np.ndarray, colours: np.ndarray, share: np.ndarray, side: int) -> None:
    """Adds the mean of one window, as far as smaller ones missed; one with two sure pixels is trusted wholly."""
    trust = np.clip(share * (side * side / 2.0), 0.0, 1.0) * missing
    found += (trust / np.maximum(share, 1e-6))[:, None] * colours
    missing -= trust


# ---------------------------------------------------------------------- backgrounds


def on_background(rgb: np.ndarray, alpha: np.ndarray, settings: MatteSettings, seed: int) -> Image.Image:
    """The subject before the background that `settings` ask for: RGB, or RGBA when that is transparent.

    `rgb` uint8 (height, width, 3), of `clean_edges` where edges are to be clean; `alpha` float (height, width) 0..1.
    none and mask give the picture as it is. `seed` is for noise. The edge is softened inwards, so that nothing of the
    old background comes back. Where nothing of the subject is, a transparent picture is white underneath: some trainers
    drop the transparency. Raises UserError("matte.colour").
    """
    if settings.background in ("none", "mask"):
        return Image.fromarray(rgb)
    soft = _softened_inwards(np.clip(alpha, 0.0, 1.0).astype(np.float32), settings.feather)
    if settings.background == "transparent":
        opacity = np.rint(soft * 255.0).astype(np.uint8)
        shown = np.where(opacity[:, :, None] > 0, rgb, np.uint8(255))
        return Image.fromarray(np.dstack([shown, opacity]))
    if settings.background == "blur":
        behind = _blurred(rgb, alpha)
    elif settings.background == "noise":
        behind = _noise(rgb.shape[:2], seed)
    else:
        behind = np.array(_colour(settings), np.float32)
    mixed = behind + soft[:, :, None] * (rgb - behind)
    return Image.fromarray(np.rint(np.clip(mixed, 0.0, 255.0)).astype(np.uint8))


def to_mask(alpha: np.ndarray, feather: float = 0.0) -> Image.Image:
    """A grey picture for the masked loss, white where is learned. `feather` in pixels softens the edge both ways."""
    soft = _softened(np.clip(alpha, 0.0, 1.0).astype(np.float32), feather)
    return Image.fromarray(np.rint(np.clip(soft, 0.0, 1.0) * 255.0).astype(np.uint8))


def _colour(settings: MatteSettings) -> tuple[int, ...]:
    if settings.background == "white":
        return _WHITE
    if settings.background == "grey":
        return _GREY
    match = _COLOUR.fullmatch(settings.colour.strip())
    if match is None:
        raise UserError("matte.colour", "colour", value=settings.colour[:40])
    return tuple(int(part, 16) for part in match.groups())


def _softened(alpha: np.ndarray, feather: float) -> np.ndarray:
    """Blurred so that a hard edge rises within about `feather` pixels on each side."""
    import cv2

    if feather <= 0:
        return alpha
    return cv2.GaussianBlur(alpha, (0, 0), feather / 2.0, borderType=cv2.BORDER_REPLICATE)


def _softened_inwards(alpha: np.ndarray, feather: float) -> np.ndarray:
    if feather <= 0:
        return alpha
    return np.minimum(alpha, np.clip(2.0 * _softened(alpha, feather) - 1.0, 0.0, 1.0))


def _blurred(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """float32 (height, width, 3): the background blurred by itself; where the subject stood, from what is nearest."""
    import cv2

    height, width = alpha.shape
    factor = min(1.0, _BLUR_SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    open_places = (alpha < 1.0 - _SURE).astype(np.float32)
    weights = cv2.resize(open_places, size, interpolation=cv2.INTER_AREA)
    colours = cv2.resize(rgb * open_places[:, :, None], size, interpolation=cv2.INTER_AREA)
    if not weights.any():
        return rgb.astype(np.float32)
    filled = np.zeros_like(colours)
    missing = np.ones_like(weights)
    for spread in _SPREADS:
        share = cv2.GaussianBlur(weights, (0, 0), spread, borderType=cv2.BORDER_REPLICATE)
        mean = cv2.GaussianBlur(colours, (0, 0), spread, borderType=cv2.BORDER_REPLICATE)
        trust = np.clip(share * 10.0, 0.0, 1.0) * missing
        filled += (trust / np.maximum(share, 1e-6))[:, :, None] * mean
        missing -= trust
    filled += missing[:, :, None] * (colours.sum(axis=(0, 1)) / weights.sum())
    soft = cv2.GaussianBlur(filled, (0, 0), max(size) * _BLUR, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)


def _noise(shape: tuple[int, int], seed: int) -> np.ndarray:
    """float32 (height, width, 3), each value by itself and equally likely 0..255; the same on every platform."""
    count = shape[0] * shape[1] * 3
    words = np.random.PCG64(seed).random_raw(-(-count // 8))
    return words.astype("<u8").view(np.uint8)[:count].reshape(*shape, 3).astype(np.float32)


# ---------------------------------------------------------------------- masks by hand


def check_mask(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """A mask that somebody drew, as float32 (height, width) 0..1 of the picture, whose (width, height) is `size`.

    `data` is a PNG from outside: grey or with three equal channels, of the picture's shape in any scale. Raises
    UserError: "matte.mask_*", or `image.*` for a PNG that is damaged.
    """
    if len(data) > MAX_MASK_BYTES:
        raise UserError("matte.mask_too_heavy", "mask", limit=MAX_MASK_BYTES // 1_000_000)
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        raise UserError("matte.mask_no_png", "mask")
    with tempfile.TemporaryDirectory(prefix="lora-mask-") as folder:
        path = Path(folder) / "mask.png"
        path.write_bytes(data)
        width, height = read_size(path, "mask")
        if max(width, height) > MAX_MASK_SIDE:
            raise UserError("matte.mask_too_large", "mask", width=width, height=height, limit=MAX_MASK_SIDE)
        if abs(width * size[1] / (height * size[0]) - 1.0) > _SHAPE_TOLERANCE + 1.0 / min(width, height):
            raise UserError("matte.mask_shape", "mask", width=width, height=height, picture=f"{size[0]}x{size[1]}")
        image = open_image(path, "mask").image
    values = np.asarray(image)
    if int((values.max(axis=2) - values.min(axis=2)).max()) > _GREY_TOLERANCE:
        raise UserError("matte.mask_not_grey", "mask")
    grey = Image.fromarray(np.ascontiguousarray(values[:, :, 1]))
    smaller = size[0] <= width and size[1] <= height
    fitted = grey.resize(size, Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR)
    return np.asarray(fitted, np.float32) / 255.0
