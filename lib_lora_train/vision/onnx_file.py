"""What an ONNX file may contain, looked at before onnxruntime or OpenCV sees it.

Refused are graphs that make the reader open further files (external data; CVE-2022-25882, CVE-2024-27318 and later
ones are ways to point it anywhere) and operators that onnxruntime does not ship (they would need a library of native
code). The file is walked by the protobuf wire format with the field numbers of onnx/onnx.proto3; weights are stepped
over, not read, so that a model of 1 GB takes as long as one of 1 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lib_lora_train.errors import UserError

ALLOWED_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
_OPENS_FILES = frozenset({"EPContext"})  # of com.microsoft: its ep_cache_context may be the path of another file
_MOST_FIELDS, _DEEPEST = 2_000_000, 100  # the published taggers have some 20,000; protobuf itself stops at 100 levels
_LONGEST_NAME = 1024
_BLOCK = 1 << 16
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5  # wire types

# Which fields of a message hold which messages; every other field is stepped over.
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
    "opset": {},
}
_NAMES = {"node": {4: "operator", 7: "domain"}, "function": {1: "operator", 10: "domain"}}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor


class _MalformedError(Exception):
    """The bytes are no such message."""


def check_onnx(model: Path) -> None:
    """Raises UserError unless `model` is a whole ONNX model of one file with operators of onnxruntime only.

    The codes: onnx.missing_file, onnx.unreadable, onnx.web_page, onnx.external_data, onnx.foreign_operator.
    """
    if not model.is_file():
        raise UserError("onnx.missing_file", model.name)
    try:
        with model.open("rb") as handle:
            head = handle.read(512)
            if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<" or head.startswith(b"version https://git-lfs"):
                raise UserError("onnx.web_page", model.name)
            if head[4:8] == b"ORTM":  # onnxruntime's own format, which this walk does not know
                raise _MalformedError
            _walk(_Reader(handle, model.stat().st_size), model.name)
    except (_MalformedError, OSError) as error:
        raise UserError("onnx.unreadable", model.name) from error


class _Reader:
    """Numbers, names and jumps in a file, through one small window."""

    def __init__(self, handle: BinaryIO, size: int) -> None:
        self._handle, self._start, self._window = handle, 0, b""
        self.size, self.at = size, 0

    def varint(self, end: int) -> int:
        value = 0
        for place in range(10):
            offset = self.at - self._start
            if not 0 <= offset < len(self._window):
                self._handle.seek(self.at)
                self._start, self._window, offset = self.at, self._handle.read(_BLOCK), 0
            if self.at >= end or not self._window:
                raise _MalformedError
            byte = self._window[offset]
            self.at += 1
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return value
        raise _MalformedError

    def skip(self, length: int, end: int) -> None:
        if length > end - self.at:
            raise _MalformedError
        self.at += length

    def name(self, length: int, end: int) -> str:
        if length > _LONGEST_NAME or length > end - self.at:
            raise _MalformedError
        self._handle.seek(self.at)
        data = self._handle.read(length)
        self.at += length
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _MalformedError from error


def _walk(reader: _Reader, where: str) -> None:
    """Without recursion: nesting is the file's choice, and so would be the depth of our stack."""
    open_messages: list[tuple[str, int, dict[str, str]]] = [("model", reader.size, {})]
    seen: set[str] = set()
    used: set[tuple[str, str]] = set()  # (domain, operator)
    defined: set[tuple[str, str]] = set()  # functions that the file brings along
    for _ in range(_MOST_FIELDS):
        kind, end, names = open_messages[-1]
        if reader.at == end:
            open_messages.pop()
            if kind in _NAMES:
                (used if kind == "node" else defined).add((names.get("domain", ""), names.get("operator", "")))
            if not open_messages:
                break
            continue
        tag = reader.varint(end)
        if tag >= 1 << 32:  # protobuf's readers drop the upper bits, and would see another field than we do
            raise _MalformedError
        field, wire = divmod(tag, 8)
        child, name = _CHILDREN[kind].get(field), _NAMES.get(kind, {}).get(field)
        if wire != _BYTES:
            value = _number(reader, wire, end)
            if child or name or field == 0:
                raise _MalformedError
            if kind == "tensor" and field == _DATA_LOCATION and value:
                raise UserError("onnx.external_data", where)
            continue
        length = reader.varint(end)
        if kind == "tensor" and field == _EXTERNAL_DATA:
            raise UserError("onnx.external_data", where)
        if name:
            names[name] = reader.name(length, end)
        elif child and length <= end - reader.at and len(open_messages) < _DEEPEST:
            seen.add(child)
            open_messages.append((child, reader.at + length, {}))
        elif child or field == 0:
            raise _MalformedError
        else:
            reader.skip(length, end)
    else:
        raise _MalformedError
    if not {"graph", "opset"} <= seen:
        raise _MalformedError
    for domain, operator in _foreign(used, defined):
        raise UserError("onnx.foreign_operator", where, operator=f"{domain}.{operator}".strip("."))


def _number(reader: _Reader, wire: int, end: int) -> int:
    """A varint's value; numbers of fixed width are stepped over. Groups are as old as protobuf 1 and not for ONNX."""
    if wire == _VARINT:
        return reader.varint(end)
    if wire not in (_EIGHT, _FOUR):
        raise _MalformedError
    reader.skip(8 if wire == _EIGHT else 4, end)
    return 0


def _foreign(used: set[tuple[str, str]], defined: set[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for domain, operator in sorted(used):
        if operator in _OPENS_FILES or (domain not in ALLOWED_DOMAINS and (domain, operator) not in defined):
            yield domain, operator
