"""Vectors of pictures: each model's own pre-processing, and what is alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx", reason="makes models with onnx")
from onnx import TensorProto, helper  # noqa: E402

from lib_lora_train.errors import UserError  # noqa: E402
from lib_lora_train.vision.embeddings import CCIP, CCIP_SAME, CLIP, DINOV2, Embedder, find_embedder  # noqa: E402
from lib_lora_train.vision.store import ModelStore  # noqa: E402


def save(path: Path, nodes: list, constants: list, given: list, outputs: dict[str, list]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def axes(*values: int) -> object:
    return helper.make_tensor("axes", TensorProto.INT64, [len(values)], values)


def mean_colour(path: Path, side: int | str = "s") -> Path:
    """(n, 3): the mean of each channel of what came in."""
    node = helper.make_node("ReduceMean", ["input", "axes"], ["output"], keepdims=0)
    return save(path, [node], [axes(2, 3)], ["n", 3, side, side], {"output": ["n", 3]})


def tokens(path: Path) -> Path:
    """As DINOv2: (n, 2, 3), the first token the means, the second zeros."""
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["first"]),
        helper.make_node("Mul", ["first", "zero"], ["second"]),
        helper.make_node("Concat", ["first", "second"], ["output"], axis=1),
    ]
    constants = [
        axes(2, 3),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
    ]
    return save(path, nodes, constants, ["n", 3, "h", "w"], {"output": ["n", 2, 3]})


def differences(path: Path) -> Path:
    """As CCIP's second graph: (n, n), here the distance between first numbers."""
    nodes = [
        helper.make_node("Slice", ["input", "zero", "one", "one"], ["column"]),
        helper.make_node("Transpose", ["column"], ["row"], perm=[1, 0]),
        helper.make_node("Sub", ["column", "row"], ["apart"]),
        helper.make_node("Abs", ["apart"], ["output"]),
    ]
    constants = [helper.make_tensor(name, TensorProto.INT64, [1], [v]) for name, v in (("zero", 0), ("one", 1))]
    return save(path, nodes, constants, ["n", 3], {"output": ["n", "m"]})


def colour(red: int, green: int, blue: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.new("RGB", size, (red, green, blue))


@pytest.mark.parametrize("recipe", [CCIP, DINOV2, CLIP])
def test_a_plain_colour_is_standardized_by_the_models_own_numbers(recipe):
    found = recipe.prepared(colour(255, 0, 128))
    assert found.shape == (3, recipe.side, recipe.side) and found.dtype == np.float32
    wanted = (np.array([1.0, 0.0, 128 / 255]) - recipe.mean) / recipe.deviation
    np.testing.assert_allclose(found[:, 7, 9], wanted, atol=1e-5)


def test_the_numbers_are_those_that_the_models_files_say():
    """CLIP's and ImageNet's means and deviations; sizes of the processors' files; imgutils for CCIP."""
    assert (CCIP.side, CCIP.resized, CCIP.resample) == (384, 0, Image.Resampling.BILINEAR)
    assert (DINOV2.side, DINOV2.resized, DINOV2.resample) == (224, 256, Image.Resampling.BICUBIC)
    assert (CLIP.side, CLIP.resized, CLIP.resample) == (224, 224, Image.Resampling.BICUBIC)
    assert CCIP.mean == CLIP.mean == (0.48145466, 0.4578275, 0.40821073)
    assert CCIP.deviation == CLIP.deviation == (0.26862954, 0.26130258, 0.27577711)
    assert DINOV2.mean == (0.485, 0.456, 0.406) and DINOV2.deviation == (0.229, 0.224, 0.225)
    assert pytest.approx(0.178475) == CCIP_SAME


def test_dinov2_looks_at_the_middle_and_ccip_at_all():
    """A wide picture whose left and right quarters are red."""
    wide = colour(0, 0, 255, (512, 256))
    wide.paste((255, 0, 0), (0, 0, 128, 256))
    wide.paste((255, 0, 0), (384, 0, 512, 256))
    red = np.array(DINOV2.prepared(wide))[0]
    assert red.max() < 0, "nothing of the red parts is seen"
    whole = CCIP.prepared(wide)[0]
    assert whole[:, 0].min() > 0 > whole[:, 192].max()
    same = CLIP.prepared(wide.resize((256, 128)))
    assert same.shape == (3, 224, 224)


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (3, 2), (227, 223)])
def test_any_size_fits(size):
    for recipe in (CCIP, DINOV2, CLIP):
        assert recipe.prepared(colour(1, 2, 3, size)).shape == (3, recipe.side, recipe.side)


def test_what_is_transparent_is_white():
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    np.testing.assert_array_equal(DINOV2.prepared(clear), DINOV2.prepared(colour(255, 255, 255)))


def test_the_first_token_is_the_picture_and_vectors_have_length_one(tmp_path):
    with Embedder(DINOV2, tokens(tmp_path / "model.onnx")) as embedder:
        found = embedder.embed([colour(255, 10, 10), colour(10, 255, 10)] * 6)
        assert found.shape == (12, 3) and embedder.layout
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
        alike = embedder.likeness(found[:2], found[:2])
    np.testing.assert_allclose(np.diag(alike), 1.0, atol=1e-5)
    assert alike[0, 1] < 0.5 and alike.shape == (2, 2)


def test_ccip_measures_by_its_own_graph(tmp_path):
    """0.5 is where its authors draw the line; rows are of the first argument, columns of the second."""
    model, metrics = mean_colour(tmp_path / "feat.onnx", 384), differences(tmp_path / "metrics.onnx")
    with Embedder(CCIP, model, metrics) as embedder:
        assert not embedder.layout
        these = np.array([[0.0, 9, 9], [CCIP_SAME, 9, 9]], np.float32)
        those = np.array([[0.0, 1, 1], [CCIP_SAME, 1, 1], [5.0, 1, 1]], np.float32)
        np.testing.assert_allclose(embedder.likeness(these, those), [[1, 0.5, 0], [0.5, 1, 0]], atol=1e-6)
        assert embedder.likeness(these, those[:0]).shape == (2, 0)
        assert embedder.embed([]).shape[0] == 0
        assert embedder.embed([colour(1, 2, 3)]).shape == (1, 3), "not made one long: its own graph does that"


def test_a_graph_that_is_no_embedding_is_refused(tmp_path):
    with pytest.raises(UserError) as refused:
        Embedder(CCIP, mean_colour(tmp_path / "model.onnx", 224))
    assert refused.value.code == "scores.no_embedding"
    node = helper.make_node("Identity", ["input"], ["output"])
    path = save(tmp_path / "same.onnx", [node], [], ["n", 3, 224, 224], {"output": ["n", 3, 224, 224]})
    with Embedder(CLIP, path) as embedder, pytest.raises(UserError) as refused:
        embedder.embed([colour(1, 2, 3)])
    assert refused.value.code == "scores.no_embedding"


def test_what_lies_there_is_found_and_nothing_else(tmp_path):
    store = ModelStore(tmp_path, offline=True)
    assert find_embedder(store, "character") is None
    mean_colour(tmp_path / "clip" / "vision_model.onnx")
    with find_embedder(store, "person") as embedder:
        assert embedder.name == "clip"
    tokens(tmp_path / "dinov2-small" / "model.onnx")
    with find_embedder(store, "character") as embedder:
        assert embedder.name == "dinov2-small"
    mean_colour(tmp_path / "ccip" / "model_feat.onnx", 384)
    differences(tmp_path / "ccip" / "model_metrics.onnx")
    with find_embedder(store, "character") as embedder:
        assert embedder.name == "ccip"
    for kind, drawn in (("style", True), ("character", False)):
        with find_embedder(store, kind, drawn) as embedder:
            assert embedder.name == "dinov2-small"
