"""Another metadata for a LoRA file of any kind; its tensors are copied bit by bit, whatever they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from lib_lora_train.errors import UserError
from lib_lora_train.files import atomic_path

HASHES = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256")
_CHUNK = 1 << 20
_LEGACY_START, _LEGACY_BYTES = 0x100000, 0x10000  # where sd-webui-additional-networks looked


def read_metadata(path: Path) -> dict[str, str]:
    """Raises UserError as `files.check_lora`."""
    return dict(_header_of(path).get("__metadata__", {}))


def rewrite_metadata(source: Path, target: Path, metadata: Mapping[str, str]) -> None:
    """Writes `source` with `metadata` instead of its own, and with the hashes that belong to it (see `save_lora`).

    `target` is replaced when the new file is complete. Raises UserError as `files.check_lora`, and file.write.
    """
    entries = {name: entry for name, entry in _header_of(source).items() if name != "__metadata__"}
    kept = {name: text for name, text in metadata.items() if name not in HASHES}
    try:
        with source.open("rb") as reading:
            start = 8 + int.from_bytes(reading.read(8), "little")
            model_hash = _hash_from(reading, start)
            plain = _header(entries, {name: text for name, text in kept.items() if name.startswith("ss_")})
            hashes = (model_hash, _legacy_hash(reading, start, plain), f"0x{model_hash}")
            header = _header(entries, {**kept, **dict(zip(HASHES, hashes, strict=True))})
            with atomic_path(target) as temporary, temporary.open("wb") as writing:
                writing.write(header)
                reading.seek(start)
                for chunk in iter(lambda: reading.read(_CHUNK), b""):
                    writing.write(chunk)
    except OSError as error:
        raise UserError("network.file_broken", source.name, reason=error.strerror or str(error)) from error


def family_of(metadata: Mapping[str, str]) -> str:
    """As the WebUI reads it: sdxl, sd2, sd1, or "" where nothing is said."""
    if metadata.get("ss_base_model_version", "").startswith("sdxl_"):
        return "sdxl"
    if metadata.get("ss_v2") == "True":
        return "sd2"
    return "sd1" if metadata else ""


def same_tensors(first: Path, second: Path) -> bool:
    """Whether two files hold the same entries with the same bits, whatever their metadata. Raises as `check_lora`."""
    headers = [_header_of(path) for path in (first, second)]
    for header in headers:
        header.pop("__metadata__", None)
    if headers[0] != headers[1]:
        return False
    try:
        return len({_hash_of(path) for path in (first, second)}) == 1
    except OSError as error:
        raise UserError("network.file_broken", first.name, reason=error.strerror or str(error)) from error


def _header_of(path: Path) -> dict[str, dict]:
    from lib_lora_train.network.files import check_lora  # torch; whoever only lists files does without

    return check_lora(path)


def _hash_of(path: Path) -> str:
    with path.open("rb") as handle:
        return _hash_from(handle, 8 + int.from_bytes(handle.read(8), "little"))


def _header(entries: Mapping[str, object], metadata: Mapping[str, str]) -> bytes:
    """Length and JSON as the safetensors library writes them: tight, and filled with blanks to a multiple of 8."""
    text = json.dumps({"__metadata__": dict(metadata), **entries}, ensure_ascii=False, separators=(",", ":"))
    data = text.encode("utf-8", "replace")
    data += b" " * (-len(data) % 8)
    return len(data).to_bytes(8, "little") + data


def _hash_from(handle: BinaryIO, start: int) -> str:
    digest = hashlib.sha256()
    handle.seek(start)
    for chunk in iter(lambda: handle.read(_CHUNK), b""):
        digest.update(chunk)
    return digest.hexdigest()


def _legacy_hash(handle: BinaryIO, start: int, header: bytes) -> str:
    """Of 64 KiB at one MiB of the file that has this header before the tensors, 8 digits."""
    piece = header[_LEGACY_START : _LEGACY_START + _LEGACY_BYTES]
    handle.seek(start + max(0, _LEGACY_START - len(header)))
    return hashlib.sha256(piece + handle.read(_LEGACY_BYTES - len(piece))).hexdigest()[:8]
