"""The matting models' conventions, with small ONNX models made here; the pre-processing against the authors' words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lib_lora_train.errors import UserError
from lib_lora_train.vision.geometry import Box, Face
from lib_lora_train.vision.grabcut import grabcut_matte
from lib_lora_train.vision.mattes import GRABCUT, MatteFinder, MatteModel
from lib_lora_train.vision.models import known_model
from lib_lora_train.vision.sessions import OnnxModel
from tests.helpers.composites import composite

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SIDE = 64
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def write_model(
    file: Path, slope: float = 1.0, offset: float = 0.0, shape=("n", 3, SIDE, SIDE), out=None, rank: int = 4
) -> Path:
    """Answers slope * (mean of the channels) + offset, (n, 1, h, w), and a second output of no meaning."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    file.parent.mkdir(parents=True, exist_ok=True)
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1], keepdims=int(rank == 4)),
        helper.make_node("Mul", ["mean", "slope"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["mask"]),
        helper.make_node("Neg", ["mask"], ["other"]),
    ]
    weights = [helper.make_tensor("slope", kind, [], [slope]), helper.make_tensor("offset", kind, [], [offset])]
    answer = (shape[0], 1, *shape[2:]) if rank == 4 else (shape[0], *shape[2:])
    outputs = [helper.make_tensor_value_info(name, kind, out or answer) for name in ("mask", "other")]
    graph = helper.make_graph(nodes, "m", [helper.make_tensor_value_info("input", kind, shape)], outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), file)
    return file


@pytest.fixture
def fed(monkeypatch) -> list[np.ndarray]:
    """Every batch that goes into a model."""
    batches, run = [], OnnxModel.run
    monkeypatch.setattr(OnnxModel, "run", lambda self, batch: batches.append(batch.copy()) or run(self, batch))
    return batches


def bilinear(values: np.ndarray, size: int, axis: int, smooth: bool) -> np.ndarray:
    """By the definition: pixel centres at halves; `smooth` widens the triangle to the step when it reduces."""
    count = values.shape[axis]
    step = count / size
    reach = max(step, 1.0) if smooth else 1.0
    centres = (np.arange(size) + 0.5) * step
    weights = np.maximum(0.0, 1.0 - np.abs(np.arange(count) + 0.5 - centres[:, None]) / reach)
    if not smooth:  # the border repeats
        weights[centres < 0.5, :] = np.eye(1, count)
        weights[centres > count - 0.5, :] = np.eye(1, count, count - 1)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.moveaxis(np.tensordot(weights, values, axes=(1, axis)), 0, axis)


@pytest.mark.parametrize("size", [(90, 151), (151, 90), (37, 37), (20, 33), (200, 65)])
def test_isnet_gets_what_its_author_describes(tmp_path, fed, size):
    """RGB 0..1, the longer side made 1024 (here 64), the picture in the middle of zeros, channels first."""
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    MatteModel(write_model(tmp_path / "m.onnx"), padded=True).mattes([image])
    height, width = size
    if height > width:
        h, w = SIDE, int(SIDE * width / height)
    else:
        h, w = int(SIDE * height / width), SIDE
    top, left = (SIDE - h) // 2, (SIDE - w) // 2
    wanted = np.zeros((SIDE, SIDE, 3))
    resized = bilinear(bilinear(image.astype(float), h, 0, False), w, 1, False)
    wanted[top : top + h, left : left + w] = resized / 255
    (batch,) = fed
    assert batch.shape == (1, 3, SIDE, SIDE) and batch.dtype == np.float32
    assert np.abs(batch[0].transpose(1, 2, 0) - wanted).max() <= 1.01 / 255


@pytest.mark.parametrize("size", [(90, 151), (151, 90), (37, 37), (20, 33), (200, 65)])
def test_birefnet_gets_what_its_authors_describe(tmp_path, fed, size):
    """Resized to the square whatever its shape, as torchvision does with Pillow; ImageNet's mean and deviation."""
    image = np.random.default_rng(2).integers(0, 256, (*size, 3), dtype=np.uint8)
    MatteModel(write_model(tmp_path / "m.onnx"), padded=False).mattes([image])
    resized = bilinear(bilinear(image.astype(float), SIDE, 1, True), SIDE, 0, True)
    (batch,) = fed
    assert batch.shape == (1, 3, SIDE, SIDE) and batch.dtype == np.float32
    grey_levels = (batch[0].transpose(1, 2, 0) * DEVIATION + MEAN) * 255
    assert np.abs(grey_levels - resized).max() <= 1.01


def pictured(shape: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    image = np.zeros((*shape, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return image


@pytest.mark.parametrize("shape", [(64, 40), (40, 64), (64, 37), (31, 64), (64, 64)])
def test_a_mask_comes_back_to_the_very_pixel(tmp_path, shape):
    """At the model's own scale: the padding is cut off where it was put, also when it is uneven."""
    image = pictured(shape, (3, 5, 20, 27))
    matte = MatteModel(write_model(tmp_path / "m.onnx"), padded=True).mattes([image])[0]
    np.testing.assert_allclose(matte, image[:, :, 0] / 255, atol=1e-6)


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("shape", [(300, 120), (121, 333), (57, 57), (23, 200), (1000, 16)])
def test_masks_lie_where_the_subject_is_at_any_scale(tmp_path, shape, padded):
    height, width = shape
    box = (width // 4, height // 3, width * 3 // 4, height * 7 // 8)
    slope, offset = (1.0, 0.0) if padded else (1 / 4.9, 0.42)  # roughly back to 0..1
    model = MatteModel(write_model(tmp_path / "m.onnx", slope, offset), padded=padded)
    matte, white = model.mattes([pictured(shape, box), np.full((*shape, 3), 255, np.uint8)])
    assert matte.shape == shape and matte.dtype == np.float32
    weights = matte - matte.min()
    rows, columns = np.mgrid[:height, :width] + 0.5
    tolerance = max(1.0, 0.6 * max(shape) / SIDE)
    assert abs(np.average(columns, weights=weights) - (box[0] + box[2]) / 2) < tolerance
    assert abs(np.average(rows, weights=weights) - (box[1] + box[3]) / 2) < tolerance
    assert np.ptp(white) < 1e-5  # nothing of the padding leaks in


def test_other_sides_are_read_from_the_graph_and_open_ones_are_1024(tmp_path, fed):
    image = np.full((50, 70, 3), 128, np.uint8)
    for padded in (True, False):
        model = MatteModel(write_model(tmp_path / "m.onnx", shape=("n", 3, 32, 48)), padded=padded)
        assert (model.height, model.width) == (32, 48)
        assert model.mattes([image])[0].shape == (50, 70)
    model = MatteModel(write_model(tmp_path / "o.onnx", shape=("n", 3, "h", "w")), padded=True)
    assert model.mattes([image])[0].shape == (50, 70)
    assert [batch.shape[2:] for batch in fed] == [(32, 48), (32, 48), (1024, 1024)]


@pytest.mark.parametrize("batch", [1, 4, "n"])
@pytest.mark.parametrize("rank", [3, 4])
def test_many_pictures_in_order(tmp_path, batch, rank):
    model = MatteModel(write_model(tmp_path / "m.onnx", shape=(batch, 3, SIDE, SIDE), rank=rank), padded=True)
    greys = [0, 51, 102, 153, 204, 255]
    images = [np.full((20 + grey, 30, 3), grey, np.uint8) for grey in greys]
    mattes = model.mattes(images)
    assert [matte.shape for matte in mattes] == [image.shape[:2] for image in images]
    np.testing.assert_allclose([matte.mean() for matte in mattes], np.array(greys) / 255, atol=1e-5)
    assert model.mattes([]) == []


def test_logits_and_probabilities_are_told_apart_and_nothing_is_stretched(tmp_path):
    dark, light = np.zeros((40, 40, 3), np.uint8), np.full((40, 40, 3), 255, np.uint8)
    probabilities = MatteModel(write_model(tmp_path / "p.onnx", 0.1, 0.02), padded=True)
    np.testing.assert_allclose(probabilities.mattes([dark])[0], 0.02, atol=1e-6)
    np.testing.assert_allclose(probabilities.mattes([light])[0], 0.12, atol=1e-6)
    logits = MatteModel(write_model(tmp_path / "l.onnx", 6.5, -6.0), padded=True)
    np.testing.assert_allclose(logits.mattes([dark])[0], 1 / (1 + np.exp(6)), atol=1e-6)
    np.testing.assert_allclose(logits.mattes([light])[0], 1 / (1 + np.exp(-0.5)), atol=1e-6)  # 0.5 is a logit now
    huge = MatteModel(write_model(tmp_path / "h.onnx", 2e5, -1e5), padded=True)
    np.testing.assert_allclose(huge.mattes([light])[0], 1.0)


def test_models_that_are_something_else(tmp_path):
    for shape in (("n", 3, SIDE), ("n", SIDE, SIDE, 3)):
        with pytest.raises(UserError) as error:
            MatteModel(write_model(tmp_path / "m.onnx", shape=shape, out=(None,)), padded=True)
        assert error.value.code == "matte.no_matte_model"
    with pytest.raises(UserError) as error:
        MatteModel(write_model(tmp_path / "n.onnx", float("nan")), padded=True).mattes(
            [np.zeros((16, 16, 3), np.uint8)]
        )
    assert error.value.code == "matte.not_finite"


# ---------------------------------------------------------------------- which model


class Store:
    """Only what the finder asks for."""

    def __init__(self, folder: Path, **values: float) -> None:
        self.folder, self.asked = folder, []
        for name, value in values.items():
            name = name.replace("_", "-")
            write_model(folder / name / known_model(name).file_names[0], 0.0, value, ("n", 3, 16, 16))

    def find(self, name: str) -> Path | None:
        self.asked.append(name)
        return self.folder / name if (self.folder / name).is_dir() else None


IMAGE = np.zeros((24, 24, 3), np.uint8)
DRAWN, PHOTO = Face(Box(2, 2, 12, 12), 0.9, "drawn"), Face(Box(2, 2, 9, 9), 0.9, "photo")


@pytest.mark.parametrize(
    ("matte", "medium", "faces", "used"),
    [
        ("auto", "drawn", [], "isnet-anime"),
        ("auto", "photo", [], "birefnet"),
        ("auto", "photo", [DRAWN], "birefnet"),
        ("auto", "auto", [DRAWN, PHOTO], "isnet-anime"),
        ("auto", "auto", [PHOTO], "birefnet"),
        ("auto", "auto", [], "birefnet"),
        ("birefnet-lite", "drawn", [DRAWN], "birefnet-lite"),
        ("isnet-anime", "photo", [], "isnet-anime"),
    ],
)
def test_which_model_cuts_out(tmp_path, matte, medium, faces, used):
    values = {"isnet_anime": 0.25, "birefnet": 0.5, "birefnet_lite": 0.75}
    with MatteFinder(Store(tmp_path, **values), matte, medium) as finder:
        found = finder.matte(IMAGE, faces)
    assert finder.used == used and finder.notes == []
    np.testing.assert_allclose(found, values[used.replace("-", "_")], atol=1e-6)


def test_what_is_missing_is_passed_over_and_said_once(tmp_path):
    heard = []
    finder = MatteFinder(Store(tmp_path / "a", birefnet_lite=0.75), "auto", "photo", events=heard.append)
    for _ in range(3):
        finder.matte(IMAGE)
    assert finder.used == "birefnet-lite" and finder.notes == heard
    assert [(note.code, note.values) for note in heard] == [
        ("matte.model_missing", {"model": "BiRefNet", "used": "BiRefNet lite"})
    ]
    finder = MatteFinder(Store(tmp_path / "b"), "isnet-anime")
    made = composite(1)
    np.testing.assert_array_equal(finder.matte(made.picture, [made.face]), grabcut_matte(made.picture, [made.face]))
    assert finder.used == GRABCUT
    assert [note.values for note in finder.notes] == [{"model": "ISNet anime", "used": "GrabCut"}]
    photos_only = MatteFinder(Store(tmp_path / "c", isnet_anime=0.25), "auto", "photo")
    photos_only.matte(IMAGE)
    assert photos_only.used == GRABCUT  # ISNet-anime knows drawings alone


def test_grabcut_by_wish_or_without_a_store_asks_for_nothing(tmp_path):
    store = Store(tmp_path, birefnet=0.5)
    for finder in (MatteFinder(store, GRABCUT), MatteFinder(None)):
        finder.matte(IMAGE)
        assert (finder.used, finder.notes, store.asked) == (GRABCUT, [], [])


def test_a_mixed_batch_comes_back_in_order_and_models_are_unloaded(tmp_path, monkeypatch):
    closed, close = [], OnnxModel.close
    monkeypatch.setattr(OnnxModel, "close", lambda self: closed.append(self) or close(self))
    store = Store(tmp_path, isnet_anime=0.25, birefnet=0.5)
    finder = MatteFinder(store)
    mattes = finder.mattes([IMAGE] * 4, [[DRAWN], [], [DRAWN], [PHOTO]])
    np.testing.assert_allclose([matte.mean() for matte in mattes], [0.25, 0.5, 0.25, 0.5], atol=1e-6)
    assert store.asked == ["isnet-anime", "birefnet"] and not closed  # each loaded once
    finder.close()
    assert len(closed) == 2
    with pytest.raises(ValueError, match="closed"):
        closed[0].run(np.zeros((1, 3, 16, 16), np.float32))
    assert finder.matte(IMAGE).mean() == pytest.approx(0.5)  # loaded again


def test_a_changed_model_is_refused(tmp_path):
    class Changed(Store):
        def find(self, name: str) -> Path | None:
            raise UserError("onnx.missing_file", name)

    with pytest.raises(UserError):
        MatteFinder(Changed(tmp_path)).matte(IMAGE)
