"""Reading weights into modules with little memory: one group of tensors at a time, straight into their final place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lib_lora_train.errors import UserError
from lib_lora_train.files import resolve_inside

PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
GROUP_BYTES = 256 * 2**20  # how much of a file is mapped into memory at once


@contextmanager
def open_weights(path: Path) -> Iterator[safe_open]:
    """A safetensors file opened for reading. Raises UserError("host.damaged") with the reason."""
    try:
        with safe_open(str(path), framework="pt") as handle:
            yield handle
    except (SafetensorError, OSError) as error:
        raise UserError("host.damaged", path.name, reason=reason_of(error)) from error


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of a safetensors file; nothing but its header is read.

    It is read by us once the library has found it good: older ones take half a second to tell all shapes of SDXL.
    """
    with open_weights(path) as handle, path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return {name: tuple(header[name]["shape"]) for name in handle.keys()}  # noqa: SIM118 - no mapping


def read_tensors(
    path: Path,
    names: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: torch.dtype,
    device: torch.device,
) -> Iterator[tuple[str, Tensor]]:
    """Copies of the tensors `names` (in the file: outside) in `dtype` on `device`, under their outside names.

    `shapes` are the file's. The file is closed and opened again after every `GROUP_BYTES`: a mapped page counts as
    used memory for as long as the file is open, so one pass would hold the weights twice.
    """
    groups: list[list[str]] = [[]]
    size = 0
    for name in names:
        size += 4 * torch.Size(shapes[name]).numel()
        if size > GROUP_BYTES and groups[-1]:
            groups.append([])
            size = 0
        groups[-1].append(name)
    for group in groups:
        with open_weights(path) as handle:
            for name in group:
                # A copy even when nothing changes: a view would tie the model to a file that may be replaced.
                yield names[name], handle.get_tensor(name).to(device=device, dtype=dtype, copy=True)


def fill(
    module: nn.Module, sources: Mapping[Path, Mapping[str, str]], dtype: torch.dtype, device: torch.device
) -> None:
    """Gives a module built on the meta device its weights, frozen and in evaluation mode.

    `sources` names the tensors of each file (in the file: in the module). A weight with two trailing axes of size 1
    fits a linear layer, as the autoencoder's attention has them in the LDM layout.
    Raises UserError("host.weights_missing", "host.weights_shape", "host.damaged").
    """
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    state: dict[str, Tensor] = {}
    for path, names in sources.items():
        shapes = read_shapes(path)
        wanted = {name: inside for name, inside in names.items() if inside in expected and name in shapes}
        for name, inside in wanted.items():
            if shapes[name] not in (expected[inside], (*expected[inside], 1, 1)):
                raise UserError("host.weights_shape", path.name, name=name, shape=list(shapes[name]))
        for inside, tensor in read_tensors(path, wanted, shapes, dtype, device):
            state[inside] = tensor.reshape(expected[inside])
    missing = sorted(set(expected) - set(state))
    if missing:
        raise UserError("host.weights_missing", next(iter(sources)).name, name=missing[0], count=len(missing))
    module.load_state_dict(state, strict=True, assign=True)
    for owner in module.modules():
        for name, buffer in list(owner.named_buffers(recurse=False)):
            if buffer.is_meta:
                _restore_buffer(owner, name, buffer, device)
    module.requires_grad_(False).eval()


def _restore_buffer(owner: nn.Module, name: str, buffer: Tensor, device: torch.device) -> None:
    """Buffers that no file carries: CLIP's position numbers are the only ones."""
    if name != "position_ids":
        raise TypeError(f"{type(owner).__name__} has the buffer {name!r}, which no file carries")
    owner.register_buffer(name, torch.arange(buffer.shape[-1], device=device).expand(buffer.shape), persistent=False)


def folder_files(folder: Path, stem: str) -> list[Path]:
    """The safetensors files of one part of a diffusers folder; `stem` is the file name without ending.

    Raises UserError("host.pickle") when there is a pickled file only, ("host.part_missing") when there is none.
    """
    index = folder / f"{stem}.safetensors.index.json"
    if index.is_file():
        names = read_config(index).get("weight_map", {})
        return [resolve_inside(folder, name) for name in sorted(set(names.values()))]
    for name in (f"{stem}.safetensors", f"{stem}.fp16.safetensors"):
        if (folder / name).is_file():
            return [folder / name]
    where = f"{folder.parent.name}/{folder.name}"
    if folder.is_dir() and any(path.suffix in PICKLE_SUFFIXES for path in folder.iterdir()):
        raise UserError("host.pickle", where)
    raise UserError("host.part_missing", where, part=folder.name)


def read_config(path: Path) -> dict:
    """A JSON object. Raises UserError("host.config")."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError("host.config", path.name, reason=reason_of(error)) from error
    if not isinstance(value, dict):
        raise UserError("host.config", path.name, reason=type(value).__name__)
    return value


def reason_of(error: Exception) -> str:
    """What went wrong in a few words, without the path that the system puts into its own."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error).rstrip(".")


def sha256(paths: list[Path]) -> str:
    """Hash of the files' bytes one after another, as the WebUI computes it for one file."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as handle:
            while block := handle.read(2**20):
                digest.update(block)
    return digest.hexdigest()
