"""A whole, small ONNX model as bytes, written without the onnx package, which a WebUI does not have."""

from __future__ import annotations


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def piece(field: int, data: bytes | str) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def value_info(name: str, sides: tuple[int | str, ...]) -> bytes:
    dims = b"".join(piece(1, number(1, side) if isinstance(side, int) else piece(2, side)) for side in sides)
    return piece(1, name) + piece(2, piece(1, number(1, 1) + piece(2, dims)))


def tiny_model(
    filling: int = 0, batch: int | str = "n", width: int | str = 3, operator: str = "Identity", domain: str = ""
) -> bytes:
    """y = operator(x), float32 (batch, width); an unused weight of `filling` bytes makes it as large as wished."""
    node = piece(1, "x") + piece(2, "y") + piece(4, operator) + (piece(7, domain) if domain else b"")
    weight = (
        number(1, filling // 4)
        + number(2, 1)
        + piece(8, "filling")
        + piece(9, bytes(range(256)) * (filling // 256) + bytes(filling % 256))
    )
    graph = piece(1, node) + piece(2, "g")
    graph += piece(5, weight) if filling else b""
    graph += piece(11, value_info("x", (batch, width))) + piece(12, value_info("y", (batch, width)))
    return number(1, 8) + piece(7, graph) + piece(8, piece(1, "") + number(2, 17))
