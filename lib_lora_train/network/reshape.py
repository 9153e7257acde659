"""LoRA files made from LoRA files: another rank, a sum, another precision, less said about whom it was made of.

A rank is changed by singular value decomposition, which by Eckart and Young (1936) gives the nearest matrix of that
rank; `scale` (alpha / rank) stays that of the file, as in sd-scripts' resize_lora.py. Several LoRAs are added exactly,
by putting their ranks side by side, and only then brought down to a rank, if one is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from lib_lora_train.errors import UserError
from lib_lora_train.network.files import MAX_RANK, check_lora, save_lora
from lib_lora_train.network.rewriting import HASHES, family_of

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
MAX_FILES = 16
_STORED = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
_PARTS = ("lora_down.weight", "lora_up.weight", "alpha")
# What the WebUI and kohya's tools need of a file; the rest tells of pictures, folders, tags, times and settings.
_NEEDED = (
    "ss_base_model_version", "ss_v2", "ss_network_module", "ss_network_dim", "ss_network_alpha", "ss_network_args",
    "ss_output_name", "ss_clip_skip", "ss_zero_terminal_snr", "modelspec.sai_model_spec", "modelspec.architecture",
    "modelspec.implementation", "modelspec.title", "modelspec.resolution", "modelspec.prediction_type",
    "modelspec.encoder_layer", "modelspec.trigger_phrase",
)  # fmt: skip


@dataclass
class Factors:
    """One adapter: `down` is (rank, in) or (rank, in, height, width), `up` (out, rank) or (out, rank, 1, 1), fp32."""

    down: Tensor
    up: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def change(self) -> Tensor:
        """What it adds to the layer's weight, (out, in) with a kernel's sides behind one another."""
        return self.up.flatten(1) @ self.down.flatten(1) * self.scale


@dataclass
class Opened:
    """A LoRA file of ours, kohya's or another trainer's, taken apart. `dtype` is that of its tensors."""

    path: Path
    factors: dict[str, Factors]
    metadata: dict[str, str]
    dtype: torch.dtype

    @property
    def family(self) -> str:
        """As the WebUI reads it from the metadata: sdxl, sd2, sd1, or "" where there is none."""
        return family_of(self.metadata)


def open_factors(path: Path) -> Opened:
    """Reads a LoRA, also one with convolutions of any kernel.

    Raises UserError: reshape.kind for LoHa, LoKr, DoRA and the like, network.file_inconsistent,
    network.file_not_finite, and as `files.check_lora`.
    """
    header = check_lora(path)
    names = [name for name in header if name != "__metadata__"]
    for name in names:
        if name.partition(".")[2] not in _PARTS or header[name]["dtype"] not in _STORED:
            raise UserError("reshape.kind", path.name, name=name[:120])
    tensors: dict[str, Tensor] = {}
    with safe_open(str(path), framework="pt", device="cpu") as handle:
        metadata = dict(handle.metadata() or {})
        for name in names:
            tensors[name] = handle.get_tensor(name).to(torch.float32)
            if not torch.isfinite(tensors[name]).all():
                raise UserError("network.file_not_finite", path.name, name=name)
    factors = {key: _factors(path, key, tensors) for key in dict.fromkeys(name.partition(".")[0] for name in names)}
    weights = [header[name]["dtype"] for name in names if name.endswith(".weight")]
    return Opened(path, factors, metadata, _STORED[max(weights, key=weights.count)])


def resize(opened: Opened, rank: int, energy: float = 1.0) -> dict[str, Factors]:
    """Every adapter at the nearest of at most `rank`; fewer where these already hold the share `energy` (0..1] of its
    squared singular values. An adapter with fewer ranks than that keeps its own. Raises UserError: reshape.rank,
    reshape.energy.
    """
    _check_rank(rank)
    if not 0 < energy <= 1:
        raise UserError("reshape.energy", "energy", value=f"{energy:g}")
    return {key: _nearest(factors, rank, energy) for key, factors in opened.factors.items()}


def merge(files: Sequence[Opened], weights: Sequence[float], rank: int | None = None) -> dict[str, Factors]:
    """The sum of several LoRAs at their weights, exact unless it is brought down to `rank`.

    Raises UserError: reshape.few, reshape.weight, reshape.families, reshape.shapes, reshape.rank.
    """
    if not 2 <= len(files) <= MAX_FILES or len(files) != len(weights):
        raise UserError("reshape.few", "files", most=MAX_FILES)
    if not all(-10 <= weight <= 10 for weight in weights):
        raise UserError("reshape.weight", "weights")
    families = {opened.family for opened in files} - {""}
    if len(families) > 1:
        raise UserError("reshape.families", files[-1].path.name, families=", ".join(sorted(families)))
    if rank is not None:
        _check_rank(rank)
    merged = {}
    for key in dict.fromkeys(key for opened in files for key in opened.factors):
        parts = [(opened, weight) for opened, weight in zip(files, weights, strict=True) if key in opened.factors]
        added = _sum(key, parts)
        merged[key] = added if rank is None else _nearest(added, rank, 1.0)
    return merged


def write_factors(path: Path, factors: Mapping[str, Factors], metadata: Mapping[str, str], dtype: torch.dtype) -> None:
    """Writes adapters as a LoRA file; the entries of `metadata` that tell rank and alpha follow them.

    Raises UserError: reshape.exists (nothing is overwritten), and as `files.save_lora`.
    """
    if path.exists():
        raise UserError("reshape.exists", path.name)
    tensors: dict[str, Tensor] = {}
    for key, each in factors.items():
        tensors[f"{key}.lora_down.weight"] = each.down
        tensors[f"{key}.lora_up.weight"] = each.up
        tensors[f"{key}.alpha"] = torch.tensor(each.alpha)
    kept = {name: text for name, text in metadata.items() if name not in HASHES}
    kept |= {
        "ss_output_name": path.stem,
        "ss_network_dim": _one_of(sorted({each.rank for each in factors.values()})),
        "ss_network_alpha": _one_of(sorted({each.alpha for each in factors.values()})),
    }
    if "modelspec.title" in kept:
        kept["modelspec.title"] = path.stem
    save_lora(path, tensors, kept, dtype)


def merged_metadata(files: Sequence[Opened], weights: Sequence[float]) -> dict[str, str]:
    """Of a sum: what the WebUI needs, taken from the first file that says it, and what it was made of."""
    first: dict[str, str] = {}
    for opened in files:
        first = {**needed_metadata(opened.metadata), **first}
    triggers = [opened.metadata.get("modelspec.trigger_phrase", "") for opened in files]
    if any(triggers):
        first["modelspec.trigger_phrase"] = ", ".join(dict.fromkeys(filter(None, triggers)))
    recipe = {opened.path.stem: weight for opened, weight in zip(files, weights, strict=True)}
    return {**first, "ss_merged_from": json.dumps(recipe, ensure_ascii=False)}


def needed_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Without everything that tells of the pictures, their folders and tags, of times and settings."""
    return {name: text for name, text in metadata.items() if name in _NEEDED}


def _factors(path: Path, key: str, tensors: Mapping[str, Tensor]) -> Factors:
    down, up = tensors.get(f"{key}.lora_down.weight"), tensors.get(f"{key}.lora_up.weight")
    if down is None or up is None:
        raise UserError("network.file_inconsistent", path.name, name=key, reason="lora_down / lora_up")
    fits = len(down.shape) == len(up.shape) and len(down.shape) in (2, 4) and down.shape[0] == up.shape[1]
    if not fits or any(side != 1 for side in up.shape[2:]) or not 1 <= down.shape[0] <= MAX_RANK:
        reason = f"{list(down.shape)} / {list(up.shape)}"
        raise UserError("network.file_inconsistent", path.name, name=key, reason=reason)
    alpha = tensors.get(f"{key}.alpha")
    if alpha is not None and alpha.numel() != 1:
        raise UserError("network.file_inconsistent", path.name, name=key, reason=f"alpha {list(alpha.shape)}")
    return Factors(down, up, (float(alpha) if alpha is not None else 0.0) or float(down.shape[0]))


def _nearest(factors: Factors, rank: int, energy: float) -> Factors:
    """By a decomposition of the small core between two orthogonal bases: the full matrix is never made."""
    left, upper = torch.linalg.qr(factors.up.flatten(1))
    right, lower = torch.linalg.qr(factors.down.flatten(1).T)
    turned_up, values, turned_down = torch.linalg.svd(upper @ lower.T)
    kept = min(rank, len(values), _enough(values, energy))
    root = values[:kept].sqrt()  # half to each side, so that neither leaves the range of fp16
    up = (left @ turned_up[:, :kept]) * root
    down = root[:, None] * (turned_down[:kept] @ right.T)
    return Factors(
        down.reshape(kept, *factors.down.shape[1:]).contiguous(),
        up.reshape(factors.up.shape[0], kept, *factors.up.shape[2:]).contiguous(),
        factors.scale * kept,
    )


def _enough(values: Tensor, energy: float) -> int:
    """How many of the singular values hold the share `energy` of the sum of their squares; at least one."""
    if energy >= 1 or not values.any():
        return len(values)
    shares = values.square().cumsum(0) / values.square().sum()
    return int((shares < energy).sum()) + 1


def _sum(key: str, parts: Sequence[tuple[Opened, float]]) -> Factors:
    first = parts[0][0].factors[key]
    downs, ups = [], []
    for opened, weight in parts:
        each = opened.factors[key]
        if each.down.shape[1:] != first.down.shape[1:] or each.up.shape[0] != first.up.shape[0]:
            raise UserError("reshape.shapes", opened.path.name, name=key)
        downs.append(each.down)
        ups.append(each.up * (weight * each.scale))
    rank = sum(down.shape[0] for down in downs)
    return Factors(torch.cat(downs), torch.cat(ups, dim=1), float(rank))


def _check_rank(rank: int) -> None:
    if not 1 <= rank <= MAX_RANK:
        raise UserError("reshape.rank", "rank", most=MAX_RANK)


def _one_of(values: Sequence[float]) -> str:
    """As kohya's tools write it: the value, or "Dynamic" where adapters differ."""
    return f"{values[0]:g}" if len(values) == 1 else "Dynamic"
