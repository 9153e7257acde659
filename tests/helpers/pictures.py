"""Pictures for tests, good and bad, made from nothing but Pillow and bytes."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms


def gradient(width: int = 96, height: int = 64) -> Image.Image:
    """A smooth RGB picture whose four corners differ, so that turning and mirroring show."""
    down, right = np.mgrid[0:height, 0:width]
    red, green = right * 255 // max(width - 1, 1), down * 255 // max(height - 1, 1)
    return Image.fromarray(np.stack([red, green, 255 - (red + green) // 2], axis=-1).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))


def png_with_chunk(data: bytes, name: bytes, content: bytes, before: bytes = b"IDAT") -> bytes:
    """`data` with one more chunk, before the first chunk called `before`."""
    at = data.index(before) - 4
    return data[:at] + png_chunk(name, content) + data[at:]


def blank_png(width: int, height: int) -> bytes:
    """A real 1-bit PNG of any size: the rows are there, and compress to next to nothing."""
    row = b"\x00" * (1 + (width + 7) // 8)
    packer = zlib.compressobj(1)
    body = b"".join(packer.compress(row * min(500, height - start)) for start in range(0, height, 500)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def with_orientation(image: Image.Image, orientation: int, kind: str = "JPEG") -> bytes:
    """`image` stored so that a viewer who obeys the EXIF tag sees it as it is."""
    stored = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180], 4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90], 7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }  # fmt: skip
    for step in stored.get(orientation, []):
        image = image.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    return encoded(image, kind, exif=exif, **options)


def _tag(content: bytes) -> bytes:
    return content + b"\x00" * (-len(content) % 4)


def cmyk_profile() -> bytes:
    """A small but complete CMYK profile: one table of 2^4 points from ink to Lab, ink of any colour being dark grey.

    Through it full cyan comes out grey; by the plain formula it would be cyan, so the two cannot be mistaken.
    """
    table = bytearray()
    for point in range(16):
        inks = bin(point).count("1")
        table += bytes((255 - inks * 60, 128, 128))  # L, a, b
    identity = b"".join(bytes(range(256)) for _ in range(4))
    lut = b"mft1" + b"\x00" * 4 + bytes((4, 3, 2, 0)) + struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut += identity + bytes(table) + b"".join(bytes(range(256)) for _ in range(3))
    text = b"desc" + b"\x00" * 4 + struct.pack(">I", 5) + b"test\x00" + b"\x00" * 78
    copyright_text = b"text" + b"\x00" * 4 + b"none\x00"
    white = b"XYZ " + b"\x00" * 4 + struct.pack(">3i", 63190, 65536, 54061)
    tags = {b"desc": text, b"cprt": copyright_text, b"wtpt": white, b"A2B0": lut}
    offset, directory, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        directory += name + struct.pack(">II", offset + len(body), len(content))
        body += _tag(content)
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\x00" * 28
    header += struct.pack(">3i", 63190, 65536, 54061)
    profile = header.ljust(128, b"\x00") + directory + body
    ImageCms.ImageCmsProfile(BytesIO(profile))
    return profile


def write_picture(path: Path, caption: str | None = None, size: tuple[int, int] = (96, 64), shift: int = 0) -> Path:
    """A good PNG (its bytes differ with `shift`), with a caption beside it when one is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = gradient(*size)
    image.putpixel((0, 0), (shift % 256, shift // 256 % 256, 0))
    image.save(path)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def encode_stub(pixels, full_precision: bool = False):
    """Stands where a VAE would: mean and deviation that depend on the pixels of each patch of 8 x 8 alone."""
    import torch
    from torch.nn import functional

    mean = functional.avg_pool2d(pixels, 8)
    mean = torch.cat([mean, mean.mean(dim=1, keepdim=True)], dim=1)
    return mean, mean.abs() * 0.1 + 0.01
