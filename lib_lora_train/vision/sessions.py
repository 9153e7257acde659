"""ONNX Runtime sessions: which processor they run on, and one clear sentence when they cannot be opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from lib_lora_train.errors import UserError
from lib_lora_train.signals import EventSink, Log, ignore_events
from lib_lora_train.vision.onnx_file import check_onnx

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# By preference; the CPU is always there.
PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
CHOICES = ("auto", *PROVIDERS)
# Beside a checkpoint in the same memory: no growing in powers of two, no trial run of every convolution.
_OPTIONS = {"cuda": {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"}}
_KINDS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


@dataclass(frozen=True)
class Port:
    """An input or output. `shape` has a number where the model fixes a side, and None where it leaves it open."""

    name: str
    shape: tuple[int | None, ...]
    kind: str = "tensor(float)"


def offered_providers() -> list[str]:
    """Of `PROVIDERS`, those that the installed onnxruntime was built with; empty without onnxruntime."""
    if find_spec("onnxruntime") is None:
        return []
    import onnxruntime

    available = onnxruntime.get_available_providers()
    return [name for name, full in PROVIDERS.items() if full in available]


def active_provider(session: InferenceSession) -> str:
    """Of `PROVIDERS`, the one that a session runs on; what it cannot do runs on the CPU."""
    running = session.get_providers()
    return next((name for name, full in PROVIDERS.items() if full in running), "cpu")


def open_session(
    model: Path, threads: int | None = None, provider: str = "auto", events: EventSink = ignore_events
) -> InferenceSession:
    """A session on `provider`, one of `CHOICES`; `threads` None takes half the cores' worth.

    A provider that is offered and does not start gives way to the CPU, and a warning is sent. Raises UserError of
    `check_onnx`, and onnx.missing_package, onnx.provider, onnx.unreadable.
    """
    if find_spec("onnxruntime") is None:
        raise UserError("onnx.missing_package", "onnxruntime")
    offered = offered_providers()
    wanted = next(iter(offered), "cpu") if provider == "auto" else provider
    if wanted not in offered:
        raise UserError("onnx.provider", provider, offered=", ".join(["auto", *offered]))
    check_onnx(model)
    try:
        session = _session(model, threads, wanted)
    except UserError:
        if wanted == "cpu":
            raise
        session = _session(model, threads, "cpu")
    if active_provider(session) != wanted:
        events(Log("onnx.fell_back", {"provider": wanted, "model": model.name}, level="warning"))
    return session


class OnnxModel:
    """A model that takes one batch of arrays and gives arrays; `with` unloads it at the end.

    `inputs` and `outputs` are Ports; `fixed_batch` is the number of rows that the model insists on, or None;
    `provider` is the one of `PROVIDERS` that is active.
    """

    def __init__(
        self, model: Path, *, threads: int | None = None, provider: str = "auto", events: EventSink = ignore_events
    ) -> None:
        """Raises UserError as `open_session`."""
        self._model, self._threads, self._events = model, threads, events
        self._session: InferenceSession | None = open_session(model, threads, provider, events)
        self.provider = active_provider(self._session)
        self.inputs = tuple(map(_port, self._session.get_inputs()))
        self.outputs = tuple(map(_port, self._session.get_outputs()))
        first = self.inputs[0].shape if self.inputs else ()
        self.fixed_batch = first[0] if first else None

    def __enter__(self) -> OnnxModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unloads the model: onnxruntime gives the memory back with the session. May be called twice."""
        self._session = None

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        """Every output for `batch` (n, ...), each (n, ...), in the order of `outputs`.

        The batch goes to the first input, as the number type it asks for. A model with a fixed batch is fed in pieces;
        the last is filled up with its own last row, and what that gives is cut off. When an accelerator fails, the
        model goes on by the CPU, and a warning is sent. Raises UserError("onnx.run"), and ValueError after `close`.
        """
        batch = np.ascontiguousarray(batch, dtype=_KINDS.get(self.inputs[0].kind, batch.dtype))
        if not len(batch):
            return [np.zeros((0, *(side or 0 for side in port.shape[1:])), np.float32) for port in self.outputs]
        if not self.fixed_batch:
            return self._run(batch)
        pieces = [self._run_fixed(batch[at : at + self.fixed_batch]) for at in range(0, len(batch), self.fixed_batch)]
        return [np.concatenate(rows) for rows in zip(*pieces, strict=True)]

    def _run_fixed(self, piece: np.ndarray) -> list[np.ndarray]:
        missing = self.fixed_batch - len(piece)
        filled = np.concatenate([piece, np.repeat(piece[-1:], missing, axis=0)]) if missing else piece
        return [output[: len(piece)] for output in self._run(filled)]

    def _run(self, batch: np.ndarray) -> list[np.ndarray]:
        if self._session is None:
            raise ValueError(f"{self._model.name} was closed")
        try:
            with _failures(self._model, "onnx.run"):
                return self._session.run(None, {self.inputs[0].name: batch})
        except UserError:
            if self.provider == "cpu":
                raise
        self._session = None  # before the next one is loaded
        self._session = open_session(self._model, self._threads, "cpu")
        self._events(Log("onnx.fell_back", {"provider": self.provider, "model": self._model.name}, level="warning"))
        self.provider = "cpu"
        return self._run(batch)


def _session(model: Path, threads: int | None, provider: str) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or max(1, (os.cpu_count() or 2) // 2)
    options.log_severity_level = 3  # its warnings speak of graph details that no user can act on
    if provider == "directml":  # its documentation asks for both
        options.enable_mem_pattern = False
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    providers = [(PROVIDERS[name], _OPTIONS.get(name, {})) for name in dict.fromkeys([provider, "cpu"])]
    with _failures(model, "onnx.unreadable"):
        # Its own fallback to the CPU prints to the console, and says nothing to whoever asked.
        return onnxruntime.InferenceSession(str(model), options, providers=providers, enable_fallback=0)


@contextmanager
def _failures(model: Path, code: str) -> Iterator[None]:
    """Makes onnxruntime's exceptions UserErrors of `code`; they have no ancestor of their own, so all are named."""
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    known = tuple(kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception))
    try:
        yield
    except (*known, RuntimeError, ValueError) as error:
        lines = str(error).strip().splitlines()
        raise UserError(code, model.name, reason=lines[0][:200] if lines else type(error).__name__) from error


def _port(described: object) -> Port:
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in described.shape)
    return Port(described.name, shape, described.type)
