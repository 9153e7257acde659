"""The WD14 pre-processing, with a model made here that answers with the pixels it was given."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.vision.tagger import Tagger, tag_words

onnx = pytest.importorskip("onnx", reason="makes models with onnx")
from onnx import TensorProto, helper  # noqa: E402

SIDE = 8


def write_tagger(folder: Path, tags: int = 3, batch: str | int = "n") -> Path:
    """A model whose probabilities are the mean B, G and R of the whole picture / 255."""
    folder.mkdir(exist_ok=True)
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "full"], ["output"]),
    ]
    initializers = [
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("full", TensorProto.FLOAT, [], [255.0]),
    ]
    graph = helper.make_graph(
        nodes,
        "mean colour",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, 3])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    names = ["blue_sky", "green_hair", "0_0", "extra"][:tags]
    rows = "".join(f"{number},{name},0,1\n" for number, name in enumerate(names))
    (folder / "selected_tags.csv").write_text("tag_id,name,category,count\n" + rows, encoding="utf-8")
    return folder


def test_channels_go_in_as_bgr_and_names_come_out_with_spaces(tmp_path):
    tagger = Tagger(write_tagger(tmp_path))
    found = tagger.probabilities([Image.new("RGB", (SIDE, SIDE), (255, 127, 0))])
    np.testing.assert_allclose(found, [[0, 127 / 255, 1]], atol=1e-6)
    assert tagger.tags == ["blue sky", "green hair", "0_0"]


def test_padding_is_white_and_centred_transparency_is_white(tmp_path):
    tagger = Tagger(write_tagger(tmp_path))
    half = Image.new("RGB", (8, 4), (0, 0, 0))
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    np.testing.assert_allclose(tagger.probabilities([half, clear]), [[0.5] * 3, [1.0] * 3], atol=1e-6)


@pytest.mark.parametrize("batch", ["n", 1])
def test_many_pictures_in_order_also_with_a_fixed_batch(tmp_path, batch):
    tagger = Tagger(write_tagger(tmp_path, batch=batch))
    images = [Image.new("RGB", (SIDE * 2, SIDE * 2), (value, 0, 0)) for value in range(0, 250, 10)]
    found = tagger.probabilities(images, batch_size=4)
    np.testing.assert_allclose(found[:, 2], np.arange(0, 250, 10) / 255, atol=1e-5)
    assert tagger.probabilities([]).shape == (0, 3)


def test_faults_are_named(tmp_path):
    with pytest.raises(UserError) as error:
        Tagger(tmp_path)
    assert error.value.code == "onnx.missing_file"
    write_tagger(tmp_path, tags=2)
    with pytest.raises(UserError) as error:
        Tagger(tmp_path)
    assert error.value.code == "tagger.tags_do_not_match"
    (tmp_path / "selected_tags.csv").write_text("nothing of use")
    with pytest.raises(UserError) as error:
        Tagger(tmp_path)
    assert error.value.code == "tagger.tags_do_not_match"
    (tmp_path / "selected_tags.csv").write_text("name,category\nx,many\n")
    with pytest.raises(UserError) as error:
        Tagger(tmp_path)
    assert error.value.code == "tagger.unreadable_tags"
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(UserError) as error:
        Tagger(tmp_path)
    assert error.value.code == "onnx.unreadable"


@pytest.mark.parametrize(
    ("name", "words"), [("long_hair", "long hair"), ("^_^", "^_^"), (">_<", ">_<"), ("1girl", "1girl")]
)
def test_tag_words(name, words):
    assert tag_words(name) == words
