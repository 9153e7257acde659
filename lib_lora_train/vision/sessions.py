"""ONNX Runtime sessions: which processor they run on, and one clear sentence when they cannot be opened."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.errors import UserError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

PREFERRED_PROVIDERS = (
    "CUDAExecutionProvider",
    "DmlExecutionProvider",
    "CoreMLExecutionProvider",
    "CPUExecutionProvider",
)


def open_session(model: Path, threads: int | None = None) -> InferenceSession:
    """A session on the best processor that this onnxruntime offers; `threads` None takes half the cores' worth.

    Raises UserError("onnx.missing_package"), ("onnx.missing_file") or ("onnx.unreadable").
    """
    if find_spec("onnxruntime") is None:
        raise UserError("onnx.missing_package", "onnxruntime")
    if not model.is_file():
        raise UserError("onnx.missing_file", model.name)
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or max(1, (os.cpu_count() or 2) // 2)
    options.log_severity_level = 3  # its warnings speak of graph details that no user can act on
    available = onnxruntime.get_available_providers()
    providers = [name for name in PREFERRED_PROVIDERS if name in available]
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=providers)
    except (
        errors.Fail,
        errors.InvalidArgument,
        errors.InvalidGraph,
        errors.InvalidProtobuf,
        errors.NotImplemented,
        errors.RuntimeException,
    ) as error:
        raise UserError("onnx.unreadable", model.name) from error
