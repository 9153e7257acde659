"""Hostile and damaged model files: refused with a sentence, before onnxruntime sees them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("onnxruntime")
import onnxruntime

from lib_lora_train.errors import UserError
from lib_lora_train.vision.onnx_file import check_onnx
from lib_lora_train.vision.sessions import open_session
from tests.helpers.onnx_bytes import number, piece, tiny_model, value_info, varint

WEB_PAGE = b"\xef\xbb\xbf\n <!doctype html><html><head><title>Sign in</title></head></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 379000000\n"


def write(folder: Path, data: bytes, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def refusal(path: Path, monkeypatch: pytest.MonkeyPatch | None = None) -> str:
    with pytest.raises(UserError) as caught:
        check_onnx(path)
    if monkeypatch:  # and the session layer does not get further either
        monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *args, **kwargs: pytest.fail("it was opened"))
        with pytest.raises(UserError) as again:
            open_session(path)
        assert again.value.code == caught.value.code
    assert path.name in caught.value.text() and caught.value.remedy()
    return caught.value.code


# ---------------------------------------------------------------------- built with the onnx package


def build(**parts: object) -> bytes:
    """An Identity model with further nodes, initializers, functions."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    nodes = [helper.make_node("Identity", ["x"], ["y"]), *parts.get("nodes", [])]
    ends = [[helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1])] for name in "xy"]
    graph = helper.make_graph(
        nodes, "g", *ends, initializer=parts.get("initializers", []), sparse_initializer=parts.get("sparse", [])
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("evil", 1)])
    model.functions.extend(parts.get("functions", []))
    model.training_info.extend(parts.get("training", []))
    return model.SerializeToString()


def external(location: str = "../secret.bin", entries: bool = True, marked: bool = True):
    onnx = pytest.importorskip("onnx")
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[1])
    if marked:
        tensor.data_location = onnx.TensorProto.EXTERNAL
    if entries:
        tensor.external_data.add(key="location", value=location)
    return tensor


def constant(**attribute: object):
    onnx = pytest.importorskip("onnx")
    node = onnx.NodeProto(op_type="Constant", output=["c"])
    node.attribute.add(name="value", **attribute)
    return node


def subgraph(*nodes, **parts):
    onnx = pytest.importorskip("onnx")
    return onnx.GraphProto(name="inner", node=nodes, **parts)


def function(*nodes, domain: str = "evil", name: str = "Own", **parts):
    onnx = pytest.importorskip("onnx")
    made = onnx.helper.make_function(domain, name, ["a"], ["b"], list(nodes), [onnx.helper.make_opsetid("", 17)])
    made.MergeFrom(onnx.FunctionProto(**parts))
    return made


def node(domain: str, name: str = "Own"):
    onnx = pytest.importorskip("onnx")
    return onnx.helper.make_node(name, ["x"], ["z"], domain=domain)


def attribute(**fields: object):
    onnx = pytest.importorskip("onnx")
    return onnx.AttributeProto(name="a", **fields)


EXTERNAL = {
    "an initializer, upwards": lambda: build(initializers=[external()]),
    "an absolute path": lambda: build(initializers=[external("/etc/passwd")]),
    "a file beside it": lambda: build(initializers=[external("weights.bin")]),
    "a link beside it": lambda: build(initializers=[external("link.bin")]),
    "an address in memory": lambda: build(initializers=[external("*/_ORT_MEM_ADDR_/*")]),
    "entries without the mark": lambda: build(initializers=[external(marked=False)]),
    "the mark without entries": lambda: build(initializers=[external(entries=False)]),
    "an attribute": lambda: build(nodes=[constant(t=external())]),
    "one of an attribute's tensors": lambda: build(nodes=[constant(tensors=[external()])]),
    "a subgraph": lambda: build(nodes=[constant(g=subgraph(initializer=[external()]))]),
    "a subgraph in a subgraph": lambda: build(nodes=[constant(g=subgraph(constant(graphs=[subgraph(initializer=[external()])])))]),
    "a sparse initializer's values": lambda: build(sparse=[sparse(values=external())]),
    "a sparse initializer's indices": lambda: build(sparse=[sparse(indices=external())]),
    "a sparse attribute": lambda: build(nodes=[constant(sparse_tensor=sparse(values=external()))]),
    "one of the sparse attributes": lambda: build(nodes=[constant(sparse_tensors=[sparse(values=external())])]),
    "a function": lambda: build(functions=[function(constant(t=external()))]),
    "a function's default": lambda: build(functions=[function(attribute_proto=[attribute(t=external())])]),
    "the training graph": lambda: build(training=[training(external())]),
    "a second graph that is merged with the first": lambda: tiny_model() + piece(7, piece(5, piece(13, piece(1, "location")))),
    "a tensor in pieces that are merged": lambda: tiny_model() + piece(7, piece(5, number(2, 1) + number(14, 1))),
}  # fmt: skip


def sparse(**parts):
    return pytest.importorskip("onnx").SparseTensorProto(**parts)


def training(tensor):
    return pytest.importorskip("onnx").TrainingInfoProto(initialization=subgraph(initializer=[tensor]))


@pytest.mark.parametrize("kind", EXTERNAL)
def test_external_data_is_refused(tmp_path, monkeypatch, kind):
    (tmp_path / "secret.bin").write_bytes(b"\0\0\0\0")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"\0\0\0\0")
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    assert refusal(write(folder, EXTERNAL[kind]()), monkeypatch) == "onnx.external_data"


@pytest.mark.parametrize(
    "make",
    [
        lambda: build(nodes=[node("evil")]),
        lambda: build(nodes=[node("ai.onnx.contrib")]),
        lambda: build(nodes=[node("com.microsoft.extensions")]),
        lambda: build(nodes=[constant(g=subgraph(node("evil")))]),
        lambda: build(functions=[function(node("worse"))], nodes=[node("evil")]),
        lambda: build(functions=[function(constant(t=None), name="Other")], nodes=[node("evil")]),
        lambda: build(nodes=[node("com.microsoft", "EPContext")]),
        lambda: build(nodes=[node("evil", "EPContext")], functions=[function(name="EPContext")]),
    ],
)
def test_operators_that_onnxruntime_does_not_ship_are_refused(tmp_path, monkeypatch, make):
    assert refusal(write(tmp_path, make()), monkeypatch) == "onnx.foreign_operator"


@pytest.mark.parametrize("domain", ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"])
def test_operators_that_it_ships_pass(tmp_path, domain):
    """As do functions that the file brings along, weights inside the file, and a name that is only imported."""
    onnx = pytest.importorskip("onnx")
    weight = onnx.numpy_helper.from_array(pytest.importorskip("numpy").zeros(100_000, "float32"), "w")
    check_onnx(write(tmp_path, build(nodes=[node(domain), constant(t=weight), node("evil")], initializers=[weight], functions=[function(node(domain))])))  # fmt: skip


# ---------------------------------------------------------------------- damaged, and something else

PICKLE = b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94."


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", PICKLE)
    return buffer.getvalue()


NO_MODELS = {
    "nothing": b"",
    "a pickle": PICKLE,
    "an old pickle": b"cposix\nsystem\n(S'true'\ntR.",
    "a torch file": zipped(),
    "onnxruntime's own format": b"\x18\0\0\0ORTM\0\0\0\0" + bytes(64),
    "zeros": bytes(1000),
    "text": b"this is not a model " * 50,
    "safetensors": (8).to_bytes(8, "little") + b"{}      ",
    "no graph": number(1, 8) + piece(8, number(2, 17)),
    "no opset": number(1, 8) + piece(7, b""),
    "the graph is a number": number(1, 8) + number(7, 1) + piece(8, b""),
    "a huge graph": number(1, 8) + varint(7 << 3 | 2) + varint(1 << 62),
    "a huge name": number(1, 8) + piece(7, piece(1, varint(7 << 3 | 2) + varint((1 << 63) - 1))) + piece(8, b""),
    "a longer name than its node": number(1, 8) + piece(7, piece(1, varint(7 << 3 | 2) + varint(100))) + piece(8, b""),
    "a name that is no text": number(1, 8) + piece(7, piece(1, piece(7, b"\xff\xfe"))) + piece(8, b""),
    "a long name": number(1, 8) + piece(7, piece(1, piece(7, "d" * 5000))) + piece(8, b""),
    "an endless number": b"\x08" + b"\xff" * 20,
    "a field number with more bits than there are": number(1, 8) + varint(1 << 35 | 7 << 3 | 2) + b"\x00",
    "field 0": b"\x02\x00" + tiny_model(),
    "a group": tiny_model() + b"\x0b\x0c",
    "an unknown wire type": tiny_model() + b"\x0f",
}


def deep(levels: int) -> bytes:
    graph = b""
    for _ in range(levels):
        graph = piece(1, piece(5, piece(6, graph)))
    return number(1, 8) + piece(7, graph) + piece(8, b"")


@pytest.mark.parametrize("kind", NO_MODELS)
def test_what_is_no_model_is_refused(tmp_path, monkeypatch, kind):
    assert refusal(write(tmp_path, NO_MODELS[kind]), monkeypatch) == "onnx.unreadable"


@pytest.mark.parametrize("data", [WEB_PAGE, POINTER])
def test_a_page_or_a_pointer_is_named(tmp_path, monkeypatch, data):
    assert refusal(write(tmp_path, data), monkeypatch) == "onnx.web_page"


def test_bombs_end(tmp_path):
    """Nested beyond all sense (a recursive reader would overflow), and two bytes repeated five million times."""
    assert refusal(write(tmp_path, deep(5000))) == "onnx.unreadable"
    check_onnx(write(tmp_path, deep(20)))
    graph = piece(1, b"") * 5_000_000
    assert refusal(write(tmp_path, number(1, 8) + piece(7, graph) + piece(8, b""))) == "onnx.unreadable"


def test_no_file(tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "loop.onnx").symlink_to("loop.onnx")
    os.mkfifo(tmp_path / "pipe.onnx")
    for name in ("none.onnx", "folder.onnx", "loop.onnx", "pipe.onnx"):
        assert refusal(tmp_path / name) == "onnx.missing_file"


def test_cut_at_twenty_points(tmp_path):
    for whole in (tiny_model(filling=5000), tiny_model()):
        for part in range(20):
            path = write(tmp_path, whole[: len(whole) * part // 20])
            assert refusal(path) == "onnx.unreadable"
            with pytest.raises(UserError):
                open_session(path)
    check_onnx(write(tmp_path, whole))


@given(st.binary(max_size=300))
@example(b"<")
def test_random_bytes_never_do_anything_else(tmp_path_factory, data):
    path = write(tmp_path_factory.getbasetemp(), data, "random.onnx")
    with pytest.raises(UserError):
        open_session(path)


@given(st.integers(0, len(tiny_model(filling=40)) - 1), st.integers(0, 255))
def test_one_wrong_byte_is_refused_or_harmless(tmp_path_factory, position, value):
    """Whatever passes the walk, onnxruntime opens or refuses with an error of its own, which becomes ours."""
    data = bytearray(tiny_model(filling=40))
    data[position] = value
    path = write(tmp_path_factory.getbasetemp(), bytes(data), "mutant.onnx")
    try:
        open_session(path)
    except UserError as error:
        assert error.code.startswith("onnx.")


SECRET = b"\x00\x00\x28\x42"  # 42.0


def thief(field: int = 13, location: int = 14) -> bytes:
    """y = x + the number in the file "secret"; the two arguments are the keys of the tensor's fields."""
    entry = piece(1, "location") + piece(2, "secret")
    tensor = number(1, 1) + number(2, 1) + piece(8, "w") + varint(field << 3 | 2) + varint(len(entry)) + entry
    tensor += varint(location << 3) + varint(1)
    add = piece(1, "x") + piece(1, "w") + piece(2, "y") + piece(4, "Add")
    graph = piece(1, add) + piece(2, "g") + piece(5, tensor) + piece(11, value_info("x", (1, 1)))
    return number(1, 8) + piece(7, graph + piece(12, value_info("y", (1, 1)))) + piece(8, piece(1, "") + number(2, 17))


def steals(path: Path) -> bool:
    """Whether onnxruntime by itself reads the secret."""
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        found = session.run(None, {"x": numpy.zeros((1, 1), numpy.float32)})
    except Exception:  # noqa: BLE001 - whatever it says, it has not read the secret
        return False
    return found[0].tobytes() == SECRET


def test_the_danger_is_real(tmp_path):
    (tmp_path / "secret").write_bytes(SECRET)
    assert steals(write(tmp_path, thief()))
    assert refusal(tmp_path / "model.onnx") == "onnx.external_data"


@pytest.mark.parametrize("bit", [29, 30, 31])
def test_field_numbers_that_protobuf_would_shorten(tmp_path, bit):
    """It keeps the lower 32 bits of a key, so that field 2^29 + 13 is field 13 to it."""
    (tmp_path / "secret").write_bytes(SECRET)
    path = write(tmp_path, thief(13 | 1 << bit, 14 | 1 << bit))
    assert steals(path)
    assert refusal(path) == "onnx.unreadable"


@given(st.data())
@settings(max_examples=300)
def test_what_passes_reads_no_other_file(tmp_path_factory, data):
    """Bytes of a thief are changed, put in or left out; then our reader and protobuf's must agree about it."""
    folder = tmp_path_factory.getbasetemp()
    (folder / "secret").write_bytes(SECRET)
    model = bytearray(thief(*data.draw(st.sampled_from([(13, 14), (13 | 1 << 28, 14), (13 | 1 << 29, 14 | 1 << 29)]))))
    for _ in range(data.draw(st.integers(0, 3))):
        position = data.draw(st.integers(0, len(model) - 1))
        length = data.draw(st.integers(0, 2))
        model[position : position + length] = data.draw(st.binary(max_size=2))
    path = write(folder, bytes(model), "changed.onnx")
    try:
        check_onnx(path)
    except UserError:
        return
    assert not steals(path)


def test_weights_are_stepped_over(tmp_path):
    """4 GB, almost all of it a hole in the file: reading it would take minutes and all memory."""
    size = 4_000_000_000
    weight = number(2, 1) + varint(9 << 3 | 2) + varint(size)
    tensor = varint(5 << 3 | 2) + varint(len(weight) + size) + weight
    tail = piece(1, piece(4, "Identity"))
    path = tmp_path / "large.onnx"
    with path.open("wb") as handle:
        handle.write(
            number(1, 8)
            + piece(8, number(2, 17))
            + varint(7 << 3 | 2)
            + varint(len(tensor) + size + len(tail))
            + tensor
        )
        handle.seek(size, os.SEEK_CUR)
        handle.write(tail)
    check_onnx(path)
    path.write_bytes(b"")


def test_nothing_is_imported_or_run(tmp_path):
    """With Python's audit hook: no unpickling, no process, no import of ours to make sense of a file."""
    for number_, data in enumerate([*NO_MODELS.values(), WEB_PAGE, POINTER]):
        write(tmp_path, data, f"{number_}.onnx")
    code = (
        "import sys; from pathlib import Path\n"
        "from lib_lora_train.errors import UserError; from lib_lora_train.vision.onnx_file import check_onnx\n"
        "files = sorted(Path(sys.argv[1]).iterdir()); UserError('onnx.unreadable').text('en'); seen = []\n"
        "sys.addaudithook(lambda event, args: seen.append((event, str(args[:1]))))\n"
        "for file in files:\n"
        "    try: check_onnx(file); print('passed', file)\n"
        "    except UserError: pass\n"
        "opened = [what for event, what in seen if event == 'open']\n"
        "others = {event for event, _ in seen} - {'open', 'os.listdir', 'object.__getattr__', 'sys._getframe'}\n"
        "print(len(opened), sorted(others), all(sys.argv[1] in what for what in opened))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )  # fmt: skip
    assert done.stdout.split("\n")[0] == f"{len(NO_MODELS) + 2} [] True"
