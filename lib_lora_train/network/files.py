"""LoRA files: written so that they are whole and finite, read as if a stranger had made them.

Only .safetensors: a .pt or .ckpt is a pickle and can run programs. The format itself is safe to open; what it means
is checked here: names, number and size of the entries, ranks that fit together, finite values.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lib_lora_train.errors import UserError
from lib_lora_train.files import atomic_path
from lib_lora_train.network.network import sizes_of

SUFFIX = ".safetensors"
MAX_FILE_BYTES = 8 << 30  # rank 1024 on SDXL in fp32 is 7 GiB
MAX_HEADER_BYTES = 16 << 20  # 1000 modules take a quarter of a megabyte; the rest is for metadata
MAX_TENSORS = 10_000
MAX_RANK = 4096
_KEY = re.compile(r"lora_(?:unet|te|te1|te2)_[a-z0-9_]{1,200}\.(?:alpha|lora_down\.weight|lora_up\.weight)")
_DTYPES = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}
_OTHER_KINDS = (
    ("lora_mid.weight", "LoCon"),
    ("hada_w1_a", "LoHa"),
    ("lokr_w1", "LoKr"),
    ("dora_scale", "DoRA"),
    ("oft_blocks", "OFT"),
)


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file that was read. `sizes` is (rank, alpha) by key."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    sizes: dict[str, tuple[int, float]]

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(frozen=True)
class LoraDescription:
    """What `info` shows of a LoRA file. `kind` is LoRA, or the name of a kind that is not trained here.

    `modules` counts by prefix (lora_te, lora_te1, lora_te2, lora_unet), `ranks` and `alphas` by value. `hash_matches`
    tells whether the tensors are those that `sshs_model_hash` was computed of, None where the file has no hash.
    """

    name: str
    bytes: int
    kind: str
    modules: dict[str, int]
    ranks: dict[int, int]
    alphas: dict[float, int]
    dtypes: dict[str, int]
    metadata: dict[str, str] = field(repr=False)
    hash_matches: bool | None = None


def save_lora(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], dtype: torch.dtype) -> None:
    """Writes a LoRA in `dtype` (fp16, bf16 or fp32) with the hashes that the WebUI and kohya's tools look for.

    `metadata` is that of `metadata.build_metadata`; `sshs_model_hash`, `sshs_legacy_hash` and `modelspec.hash_sha256`
    are added. An existing file is replaced only when the new one is complete. Raises UserError("network.not_finite")
    or ("network.overflow") naming the tensor before anything is written, UserError("file.write") when writing fails.
    """
    rounded = {}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise UserError("network.not_finite", path.name, name=name)
        rounded[name] = tensor.detach().to("cpu", dtype).contiguous()
        if not torch.isfinite(rounded[name]).all():
            raise UserError("network.overflow", path.name, name=name, dtype=str(dtype).removeprefix("torch."))
    with atomic_path(path) as temporary:
        # Both hashes are by definition those of a file with the ss_ entries alone: write that one, read it, write ours.
        _write(temporary, rounded, {key: text for key, text in metadata.items() if key.startswith("ss_")})
        model_hash, legacy_hash = _hashes(temporary)
        hashes = {
            "sshs_model_hash": model_hash,
            "sshs_legacy_hash": legacy_hash,
            "modelspec.hash_sha256": f"0x{model_hash}",
        }
        _write(temporary, rounded, {**metadata, **hashes})


def load_lora(path: Path) -> LoraFile:
    """Reads a LoRA of ours or kohya's to continue from, into memory and fp32.

    Raises UserError with code network.file_suffix, file_missing, file_cut, file_broken, file_twice, file_too_large,
    header_too_large, file_too_many, file_not_lora, file_inconsistent or file_not_finite.
    """
    header = _read_header(path)
    for name in header:
        if name != "__metadata__" and not (_KEY.fullmatch(name) and header[name]["dtype"] in _DTYPES):
            raise UserError("network.file_not_lora", path.name, name=name[:120])
    shapes = {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    _check_parts(path, shapes)
    tensors = {}
    with _opened(path) as handle:
        metadata = dict(handle.metadata() or {})
        for name in shapes:
            tensors[name] = handle.get_tensor(name).to(torch.float32)
            if not torch.isfinite(tensors[name]).all():
                raise UserError("network.file_not_finite", path.name, name=name)
    return LoraFile(path, tensors, metadata, sizes_of(tensors))


def check_lora(path: Path) -> dict[str, dict]:
    """The header of a LoRA file of any kind, by the names of its entries. Raises UserError as `describe_lora` does."""
    header = _read_header(path)
    names = [name for name in header if name != "__metadata__"]
    if not any(name.startswith("lora_") and "." in name for name in names):
        raise UserError("network.file_not_lora", path.name, name=next(iter(names), "-")[:120])
    return header


def describe_lora(path: Path) -> LoraDescription:
    """What is in a LoRA file of any kind. Raises UserError as `load_lora` does, but not for kinds it cannot train."""
    header = check_lora(path)
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    metadata = header.get("__metadata__", {})
    kind = next((kind for mark, kind in _OTHER_KINDS if any(mark in name for name in entries)), "LoRA")
    ranks: Counter[int] = Counter()
    modules: dict[str, set[str]] = {}
    for name, entry in entries.items():
        key, _, part = name.partition(".")
        modules.setdefault("_".join(key.split("_")[:2]), set()).add(key)
        if part == "lora_down.weight" and entry["shape"]:
            ranks[entry["shape"][0]] += 1
    with _opened(path) as handle:
        alphas = Counter(_scalar(handle.get_tensor(name)) for name in entries if name.endswith(".alpha"))
    stored = metadata.get("sshs_model_hash")
    return LoraDescription(
        name=path.name,
        bytes=path.stat().st_size,
        kind=kind,
        modules={prefix: len(keys) for prefix, keys in sorted(modules.items())},
        ranks=dict(sorted(ranks.items())),
        alphas=dict(sorted(alphas.items())),
        dtypes=dict(Counter(_DTYPES.get(entry["dtype"], entry["dtype"]) for entry in entries.values())),
        metadata=metadata,
        hash_matches=None if stored is None else stored == _hashes(path)[0],
    )


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    try:
        save_file(tensors, str(path), metadata)
    except SafetensorError as error:  # how the library reports a full disk; the number is in its words
        number = re.search(r"(?:code: |os error )(\d+)", str(error))
        if number and os.name != "nt":
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
        raise OSError(str(error)) from error


def _read_header(path: Path) -> dict[str, dict]:
    """The header of a .safetensors file, checked for form, size and number before it is believed."""
    if path.suffix.lower() != SUFFIX:
        raise UserError("network.file_suffix", path.name)
    if not path.is_file():
        raise UserError("network.file_missing", path.name)
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if size < 8 or length > size - 8:
                raise UserError("network.file_cut", path.name)
            if size > MAX_FILE_BYTES:
                raise UserError("network.file_too_large", path.name, size=size >> 20)
            if length > MAX_HEADER_BYTES:
                raise UserError("network.header_too_large", path.name, size=length >> 20)
            text = handle.read(length)
    except OSError as error:
        raise UserError("network.file_broken", path.name, reason=error.strerror or str(error)) from error
    with _opened(path):  # the library checks the structure, offsets and sizes; duplicates it lets pass
        pass
    header = json.loads(text, object_pairs_hook=lambda pairs: _without_duplicates(path, pairs))
    if len(header) - ("__metadata__" in header) > MAX_TENSORS:
        raise UserError("network.file_too_many", path.name, count=len(header))
    return header


def _opened(path: Path) -> safe_open:
    try:
        return safe_open(str(path), framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise UserError("network.file_broken", path.name, reason=str(error)[:200]) from error


def _without_duplicates(path: Path, pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, entry in pairs:
        if key in found:
            raise UserError("network.file_twice", path.name, name=key[:120])
        found[key] = entry
    return found


def _check_parts(path: Path, shapes: Mapping[str, list[int]]) -> None:
    """Every adapter has both matrices, of one rank, and its alpha is one number."""
    keys = sorted({name.partition(".")[0] for name in shapes})
    for key in keys:
        down, up = shapes.get(f"{key}.lora_down.weight"), shapes.get(f"{key}.lora_up.weight")
        if down is None or up is None:
            raise UserError("network.file_inconsistent", path.name, name=key, reason="lora_down / lora_up")
        for shape in (down, up):
            if len(shape) not in (2, 4) or any(side != 1 for side in shape[2:]):
                raise UserError("network.file_not_lora", path.name, name=f"{key} {shape}")
        if down[0] != up[1] or len(down) != len(up):
            raise UserError("network.file_inconsistent", path.name, name=key, reason=f"{down} / {up}")
        if not 1 <= down[0] <= MAX_RANK:
            raise UserError("network.file_inconsistent", path.name, name=key, reason=f"lora_down {down}")
        alpha = shapes.get(f"{key}.alpha", [])
        if alpha not in ([], [1]):
            raise UserError("network.file_inconsistent", path.name, name=key, reason=f"alpha {alpha}")


def _hashes(path: Path) -> tuple[str, str]:
    """The two hashes of sd-webui-additional-networks: of all after the header, and of 64 KiB at one MiB (8 digits)."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        handle.seek(0x100000)
        legacy = hashlib.sha256(handle.read(0x10000)).hexdigest()[:8]
        handle.seek(0)
        handle.seek(8 + int.from_bytes(handle.read(8), "little"))
        for chunk in iter(lambda: handle.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest(), legacy


def _scalar(tensor: Tensor) -> float:
    return float(tensor.reshape(-1)[0]) if tensor.numel() else float("nan")
