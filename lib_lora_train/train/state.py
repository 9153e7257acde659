"""What a run needs to go on exactly where it stopped: one folder of safetensors and JSON, never a pickle.

Every random draw of a run is a pure function of the seed and the position, so the position is all there is to
remember of the randomness. A state is written to a temporary folder and renamed; an older one is removed only after
that. A folder without a matching `state.json` (written last) is not a state.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lib_lora_train.errors import UserError
from lib_lora_train.files import TEMPORARY_SUFFIX, atomic_path, write_json

STATE_VERSION = 1
_TENSORS = "state.safetensors"
_FACTS = "state.json"


@dataclass
class Progress:
    """The position in a run, and what is shown of it."""

    step: int = 0  # optimizer steps done
    epoch: int = 0  # epochs done
    batch: int = 0  # batches of this epoch done
    accumulated: int = 0  # of those, batches whose gradients wait for the next optimizer step
    waiting_loss: float = 0.0  # their summed loss
    loss_smoothed: float | None = None
    elapsed: float = 0.0  # seconds of training
    session_id: str = ""
    started_at: float = 0.0  # seconds since 1970
    checkpoints: list[str] = field(default_factory=list)  # file names, oldest first
    last_sample_step: int = -1


@dataclass
class TrainState:
    """A run at one moment. Tensors are on the CPU in their own dtype."""

    progress: Progress
    network: dict[str, Tensor]
    gradients: dict[str, Tensor]
    optimizer_tensors: dict[str, Tensor]
    optimizer_facts: dict[str, object]
    scaler: dict[str, float]
    identity: dict[str, object]  # settings that must not change between stop and resume
    batching: dict[str, int]  # settings that say what a batch is; when they change, the epoch starts over

    def save(self, folder: Path) -> Path:
        """Writes the state under `folder` as one named after its step, then removes older ones there.

        Raises UserError("file.write").
        """
        target = folder / f"step{self.progress.step:08d}-batch{self.progress.batch:06d}-epoch{self.progress.epoch:06d}"
        staging = folder / f".{target.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
        try:
            with atomic_path(staging / _TENSORS) as temporary:
                save_file(self._tensors(), temporary)
            facts = {
                "version": STATE_VERSION,
                "progress": asdict(self.progress),
                "optimizer": self.optimizer_facts,
                "scaler": self.scaler,
                "identity": self.identity,
                "batching": self.batching,
                "tensors_sha256": _sha256(staging / _TENSORS),
            }
            write_json(staging / _FACTS, facts)
            if target.exists():  # the same position again, for instance "save now" twice
                target.rename(folder / f".{target.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
            staging.rename(target)
        except OSError as error:
            raise UserError("file.write", target.name, reason=error.strerror or str(error)) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        remove_states(folder, keep=target)
        return target

    def _tensors(self) -> dict[str, Tensor]:
        groups = {"network": self.network, "gradient": self.gradients, "optimizer": self.optimizer_tensors}
        return {f"{group}/{key}": tensor for group, held in groups.items() for key, tensor in held.items()}


def to_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, so that a state held in memory does not follow the training."""
    return {key: tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in tensors.items()}


def load_state(path: Path) -> TrainState:
    """Reads a state folder, or the newest whole one below a run's `state` folder.

    Raises UserError("state.missing") when there is none, "state.damaged" when the one named is cut or altered and
    "state.version" when a later version of this program wrote it.
    """
    candidates = [path] if (path / _FACTS).exists() else newest_first(path)
    failure: UserError | None = None
    for folder in candidates:
        try:
            return _read(folder)
        except UserError as error:
            failure = failure or error
    raise failure or UserError("state.missing", path.name)


def newest_first(folder: Path) -> list[Path]:
    """State folders below `folder` by position, newest first; a run's own folder is searched too."""
    for place in (folder, folder / "state"):
        found = [path.parent for path in place.glob(f"*/{_FACTS}") if not path.parent.name.startswith(".")]
        if found:
            return sorted(found, key=lambda path: path.name, reverse=True)
    return []


def remove_states(folder: Path, keep: Path | None = None) -> None:
    """Removes every state below `folder` but `keep`, and what killed writers left there."""
    leftovers = list(folder.glob(f".*{TEMPORARY_SUFFIX}"))
    for path in [*newest_first(folder), *leftovers]:
        if path != keep:
            shutil.rmtree(path, ignore_errors=True)


def _read(folder: Path) -> TrainState:
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        if facts["version"] > STATE_VERSION:
            raise UserError("state.version", folder.name)
        if facts["tensors_sha256"] != _sha256(folder / _TENSORS):
            raise UserError("state.damaged", folder.name)
        tensors = load_file(folder / _TENSORS)
        known = {item.name for item in fields(Progress)}
        progress = Progress(**{key: value for key, value in facts["progress"].items() if key in known})
        return TrainState(
            progress=progress,
            network=_group(tensors, "network"),
            gradients=_group(tensors, "gradient"),
            optimizer_tensors=_group(tensors, "optimizer"),
            optimizer_facts=facts["optimizer"],
            scaler=facts["scaler"],
            identity=facts["identity"],
            batching=facts["batching"],
        )
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise UserError("state.damaged", folder.name) from error


def _group(tensors: Mapping[str, Tensor], group: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{group}/"): value for key, value in tensors.items() if key.startswith(f"{group}/")}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
