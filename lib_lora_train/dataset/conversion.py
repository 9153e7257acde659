"""Any decoded picture to 8-bit RGB, by stated rules, saying what was changed.

- 16-bit grey: value / 257, so that 65535 is 255. (Pillow itself keeps the upper eight bits of 16-bit colour.)
- 32-bit whole numbers: as they are up to 255, like 16 bits up to 65535, else by their largest value; below 0 is 0.
- Floats: 0..1 when nothing is above 1, else 0..largest; below 0 is 0; NaN and infinity are refused.
- CMYK: by its colour profile when that is usable, else by the plain formula.
- Transparency: composited on white; a picture that is nothing but transparent is refused.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from lib_lora_train.errors import UserError
from lib_lora_train.signals import Log

_ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")


def to_rgb(image: Image.Image, where: str, notes: list[Log]) -> Image.Image:
    """`image` in mode RGB; what was changed on the way is added to `notes`.

    Raises UserError("image.transparent", "image.not_finite" or "image.mode").
    """
    if image.mode.startswith("I"):
        return _from_integers(image, where, notes)
    if image.mode == "F":
        return _from_floats(image, where, notes)
    if image.mode == "CMYK":
        return _from_cmyk(image, where, notes)
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        return _on_white(image, where, notes)
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise UserError("image.mode", where, mode=image.mode) from error


def _grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(values, 0.0, 255.0)).astype(np.uint8)).convert("RGB")


def _from_integers(image: Image.Image, where: str, notes: list[Log]) -> Image.Image:
    values = np.asarray(image).astype(np.float32)
    largest = float(values.max())
    # Pillow 9 opens a 16-bit PNG in the 32-bit mode, so the format decides as well as the mode.
    if image.mode != "I" or image.format == "PNG" or 255.0 < largest <= 65535.0:
        scale, code = 1.0 / 257.0, "image.16_bit"
    else:
        scale, code = 255.0 / max(largest, 255.0), "image.32_bit"
    notes.append(Log(code, {"where": where}))
    return _grey(values * scale)


def _from_floats(image: Image.Image, where: str, notes: list[Log]) -> Image.Image:
    values = np.asarray(image).astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError("image.not_finite", where)
    largest = max(float(values.max()), 1.0)
    notes.append(Log("image.float", {"where": where, "largest": f"{largest:g}"}))
    return _grey(values * (255.0 / largest))


def _from_cmyk(image: Image.Image, where: str, notes: list[Log]) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, source, target, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError, ImportError):  # broken, or no colour engine
            notes.append(Log("image.icc", {"where": where}))
    notes.append(Log("image.cmyk", {"where": where}))
    return image.convert("RGB")


def _on_white(image: Image.Image, where: str, notes: list[Log]) -> Image.Image:
    if image.mode in ("La", "RGBa"):
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    alpha_image = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha = alpha_image.getchannel("A")
    lowest, highest = alpha.getextrema()
    if highest == 0:
        raise UserError("image.transparent", where)
    colour = alpha_image.convert("RGB")
    if lowest == 255:
        return colour
    notes.append(Log("image.alpha", {"where": where}))
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(colour, mask=alpha)
    return white
