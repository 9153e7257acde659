"""Sessions: which processor, fixed batches, unloading, and faults as sentences."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onnxruntime")
import onnxruntime

from lib_lora_train.errors import UserError
from lib_lora_train.signals import Log
from lib_lora_train.vision import sessions
from lib_lora_train.vision.sessions import CHOICES, OnnxModel, Port, active_provider, offered_providers, open_session
from tests.helpers.onnx_bytes import number, piece, tiny_model, value_info

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def write(folder: Path, **parts: object) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(tiny_model(**parts))
    return path


def offer(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*names, "AzureExecutionProvider", CPU])


# ---------------------------------------------------------------------- running


@pytest.mark.parametrize("batch", ["n", 1, 4])
@pytest.mark.parametrize("rows", [1, 3, 4, 9])
def test_rows_come_back_in_order_whatever_batch_the_model_insists_on(tmp_path, batch, rows):
    given_rows = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    with OnnxModel(write(tmp_path, batch=batch)) as model:
        assert model.fixed_batch == (None if batch == "n" else batch)
        (found,) = model.run(given_rows)
    np.testing.assert_array_equal(found, given_rows)


def test_the_last_piece_is_filled_up_with_its_own_row(tmp_path):
    """A row of zeros could give infinities, or trip an accelerator."""
    seen = []
    model = OnnxModel(write(tmp_path, batch=4))
    real = model._session
    model._session = type(
        "Spy", (), {"run": lambda self, names, feed: seen.append(feed["x"]) or real.run(names, feed)}
    )()
    model.run(np.arange(6, dtype=np.float32).repeat(3).reshape(6, 3))
    assert [piece[:, 0].tolist() for piece in seen] == [[0, 1, 2, 3], [4, 5, 5, 5]]


def test_ports_and_an_empty_batch(tmp_path):
    with OnnxModel(write(tmp_path, batch="n", width=5)) as model:
        assert model.inputs == (Port("x", (None, 5), "tensor(float)"),)
        assert model.outputs == (Port("y", (None, 5), "tensor(float)"),)
        assert [output.shape for output in model.run(np.zeros((0, 5), np.float32))] == [(0, 5)]
        assert model.provider in ("cpu", "coreml", "cuda", "directml")
    with OnnxModel(write(tmp_path, batch=2, width="w")) as model:
        assert model.inputs[0].shape == (2, None)


def test_numbers_of_another_type_are_converted(tmp_path):
    with OnnxModel(write(tmp_path)) as model:
        (found,) = model.run(np.array([[1, 2, 255]], np.uint8))
    assert (found.dtype, found.tolist()) == (np.float32, [[1, 2, 255]])


def test_several_outputs_each_in_one_piece(tmp_path):
    nodes = piece(1, piece(1, "x") + piece(2, "y") + piece(4, "Identity")) + piece(
        1, piece(1, "x") + piece(2, "z") + piece(4, "Neg")
    )
    graph = (
        nodes
        + piece(2, "g")
        + piece(11, value_info("x", (2, 3)))
        + piece(12, value_info("y", (2, 3)))
        + piece(12, value_info("z", (2, 3)))
    )
    path = tmp_path / "two.onnx"
    path.write_bytes(number(1, 8) + piece(7, graph) + piece(8, piece(1, "") + number(2, 17)))
    rows = np.arange(9, dtype=np.float32).reshape(3, 3)
    with OnnxModel(path) as model:
        first, second = model.run(rows)
    np.testing.assert_array_equal(first, rows)
    np.testing.assert_array_equal(second, -rows)


@given(st.integers(1, 5), st.integers(0, 12))
def test_any_number_of_rows_through_any_batch(tmp_path_factory, batch, rows):
    data = np.random.default_rng(rows).random((rows, 3), np.float32)
    with OnnxModel(write(tmp_path_factory.getbasetemp(), batch=batch)) as model:
        np.testing.assert_array_equal(model.run(data)[0], data)


def test_close_unloads(tmp_path):
    model = OnnxModel(write(tmp_path))
    session = weakref.ref(model._session)
    model.close()
    model.close()
    gc.collect()
    assert session() is None
    with pytest.raises(ValueError, match="closed"):
        model.run(np.zeros((1, 3), np.float32))


# ---------------------------------------------------------------------- processors


def test_the_choice_of_processor(tmp_path, monkeypatch):
    path = write(tmp_path)
    assert CHOICES == ("auto", "cuda", "directml", "coreml", "cpu")
    assert active_provider(open_session(path, provider="cpu")) == "cpu"
    offer(monkeypatch)
    assert offered_providers() == ["cpu"]
    for wanted in ("cuda", "directml", "coreml", "tpu", ""):
        with pytest.raises(UserError) as caught:
            open_session(path, provider=wanted)
        assert caught.value.code == "onnx.provider" and "auto, cpu" in caught.value.remedy()
    offer(monkeypatch, "DmlExecutionProvider", CUDA)
    assert offered_providers() == ["cuda", "directml", "cpu"]


@pytest.mark.parametrize("provider", ["auto", "cuda"])
@pytest.mark.parametrize("silently", [True, False])
def test_cuda_that_does_not_start_gives_way_to_the_cpu_and_says_so(tmp_path, monkeypatch, provider, silently):
    """onnxruntime either raises, or leaves CUDA out of a session that works (here: it was built without)."""
    offer(monkeypatch, CUDA)
    real, asked, events = onnxruntime.InferenceSession, [], []

    def make(path, options, providers, **more):
        asked.append([name for name, _ in providers])
        if not silently and asked[-1][0] == CUDA:
            raise RuntimeError("libcudnn.so.9: cannot open shared object file")
        return real(path, options, providers=[CPU], **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", make)
    with OnnxModel(write(tmp_path), provider=provider, events=events.append) as model:
        assert model.provider == "cpu"
        assert model.run(np.ones((1, 3), np.float32))[0].tolist() == [[1, 1, 1]]
    assert asked == ([[CUDA, CPU]] if silently else [[CUDA, CPU], [CPU]])
    assert events == [Log("onnx.fell_back", {"provider": "cuda", "model": "model.onnx"}, level="warning")]


def test_cuda_that_fails_at_work_gives_way_too(tmp_path, monkeypatch):
    """As with a cuDNN of another version, or with memory that the WebUI's model has taken."""
    events = []
    model = OnnxModel(write(tmp_path, batch=2), provider="cpu", events=events.append)

    def fail(names, feed):
        raise onnxruntime.capi.onnxruntime_pybind11_state.Fail("CUDA failure 2: out of memory")

    model._session, model.provider = type("Broken", (), {"run": staticmethod(fail)})(), "cuda"
    rows = np.arange(9, dtype=np.float32).reshape(3, 3)
    np.testing.assert_array_equal(model.run(rows)[0], rows)
    assert model.provider == "cpu" and [event.code for event in events] == ["onnx.fell_back"]
    model._session = type("Broken", (), {"run": staticmethod(fail)})()
    with pytest.raises(UserError) as caught:
        model.run(rows)
    assert caught.value.code == "onnx.run" and "out of memory" in caught.value.sentence()


def test_a_wish_for_the_cpu_is_no_fallback(tmp_path, monkeypatch):
    offer(monkeypatch, CUDA)
    events = []
    OnnxModel(write(tmp_path), provider="cpu", events=events.append).close()
    assert events == []


# ---------------------------------------------------------------------- faults


def test_faults_are_sentences(tmp_path, monkeypatch, capfd):
    path = tmp_path / "model.onnx"
    for data, code in [
        (None, "onnx.missing_file"),
        (b"no model", "onnx.unreadable"),
        (tiny_model(operator="NoSuchOperator"), "onnx.unreadable"),
        (tiny_model(domain="com.microsoft", operator="NoSuchOperator"), "onnx.unreadable"),
        (tiny_model(domain="other"), "onnx.foreign_operator"),
    ]:
        if data is not None:
            path.write_bytes(data)
        for opened in (open_session, OnnxModel):
            with pytest.raises(UserError) as caught:
                opened(path)
            assert caught.value.code == code
    with OnnxModel(write(tmp_path)) as model, pytest.raises(UserError) as caught:
        model.run(np.zeros((2, 7), np.float32))
    assert caught.value.code == "onnx.run"
    monkeypatch.setattr(sessions, "find_spec", lambda name: None)
    assert offered_providers() == []
    with pytest.raises(UserError) as caught:
        open_session(path)
    assert caught.value.code == "onnx.missing_package"
    assert capfd.readouterr() == ("", ""), "onnxruntime talks to the console"
