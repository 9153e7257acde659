"""YOLOv8's conventions, with small graphs that find one coloured square by the same output layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lib_lora_train.errors import UserError
from lib_lora_train.vision.anime_faces import AnimeFaces, letterbox, suppress
from lib_lora_train.vision.faces import FaceFinder

onnx = pytest.importorskip("onnx", reason="needs onnx, which a WebUI does not have")


def write_model(path: Path, height: int | str, width: int | str, channels: int = 3, rows: int = 5) -> Path:
    """images (1, 3, h, w), RGB 0..1 -> output0 (1, 5, 3): the box of all that is red (r > 0.8, g < 0.2); the same box one
    pixel to the right with a lower score; and a third below the threshold.
    """
    text = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    detector (float[1, {channels}, {height}, {width}] images) => (float[1, {rows}, n] output0)
    <float high = {{0.8}}, float low = {{0.2}}, int64[1] c0 = {{0}}, int64[1] c1 = {{1}}, int64[1] c2 = {{2}}, int64[1] axis1 = {{1}},
     int64[1] all = {{-1}}, float half = {{0.5}}, float one = {{1}}, float big = {{100000}}, int64 zero = {{0}}, int64 unit = {{1}},
     int64 two = {{2}}, int64 three = {{3}}, int64[1] v0 = {{0}},
     float[1, 5, 3] shift = {{0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.9, 0.6, 0.27}}, int64[3] form = {{1, 5, 1}}, int64[1] nothing = {{1}}>
    {{
        red = Slice(images, c0, c1, axis1)
        green = Slice(images, c1, c2, axis1)
        is_red = Greater(red, high)
        is_dark = Less(green, low)
        both = And(is_red, is_dark)
        marked = Cast <to = 1> (both)
        shape = Shape(images)
        rows = Gather(shape, two)
        columns = Gather(shape, three)
        y_range = Range(zero, rows, unit)
        x_range = Range(zero, columns, unit)
        ys = Cast <to = 1> (y_range)
        xs = Cast <to = 1> (x_range)
        by_row4 = ReduceMax <axes = [0, 1, 3], keepdims = 0> (marked)
        by_column4 = ReduceMax <axes = [0, 1, 2], keepdims = 0> (marked)
        no_row = Sub(one, by_row4)
        no_column = Sub(one, by_column4)
        far_row = Mul(no_row, big)
        far_column = Mul(no_column, big)
        ys_far = Add(ys, far_row)
        xs_far = Add(xs, far_column)
        top = ReduceMin <keepdims = 0> (ys_far)
        left = ReduceMin <keepdims = 0> (xs_far)
        ys_in = Mul(ys, by_row4)
        xs_in = Mul(xs, by_column4)
        y_last = ReduceMax <keepdims = 0> (ys_in)
        x_last = ReduceMax <keepdims = 0> (xs_in)
        bottom = Add(y_last, one)
        right = Add(x_last, one)
        x_sum = Add(left, right)
        y_sum = Add(top, bottom)
        x_mid = Mul(x_sum, half)
        y_mid = Mul(y_sum, half)
        w = Sub(right, left)
        h = Sub(bottom, top)
        none = Sub(w, w)
        u0 = Unsqueeze(x_mid, v0)
        u1 = Unsqueeze(y_mid, v0)
        u2 = Unsqueeze(w, v0)
        u3 = Unsqueeze(h, v0)
        u4 = Unsqueeze(none, v0)
        box = Concat <axis = 0> (u0, u1, u2, u3, u4)
        box3 = Reshape(box, form)
        output0 = Add(box3, shift)
    }}
    """
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def with_red(width: int, height: int, box: tuple[int, int, int, int]) -> np.ndarray:
    image = np.full((height, width, 3), (40, 90, 200), np.uint8)
    left, top, right, bottom = box
    image[top:bottom, left:right] = (255, 0, 0)
    return image


@pytest.mark.parametrize("side", [(640, 640), (320, 320), (384, 640), ("h", "w")])
@pytest.mark.parametrize(
    ("size", "box"),
    [((640, 640), (100, 200, 220, 340)), ((1280, 720), (600, 80, 900, 500)), ((333, 1001), (40, 700, 200, 905)), ((90, 70), (20, 10, 60, 50))],
)  # fmt: skip
def test_boxes_come_back_to_the_picture(
    tmp_path: Path, side: tuple[int | str, int | str], size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    detector = AnimeFaces(write_model(tmp_path / "model.onnx", *side))
    (face,) = detector.find(with_red(*size, box))
    height, width = (640 if isinstance(s, str) else s for s in side)
    pixel = max(1.0, size[0] / width, size[1] / height)
    assert face.box.as_list() == pytest.approx(box, abs=1.2 * pixel)
    assert face.score == pytest.approx(0.9, abs=1e-6)  # the second is suppressed, the third below 0.278
    assert face.kind == "drawn"


def test_letterbox_is_the_authors() -> None:
    """Grey 114 around the middle, RGB, 0..1, the shape kept: checked against the description, pixel by pixel."""
    image = np.random.default_rng(0).integers(0, 256, (60, 120, 3), np.uint8)
    batch, scale, corner = letterbox(image, 120, 100)
    assert batch.shape == (1, 3, 100, 120)
    assert batch.dtype == np.float32
    assert (scale, corner) == (1.0, (0, 20))
    assert np.allclose(batch[0, :, 20:80].transpose(1, 2, 0) * 255, image, atol=1e-4)
    assert np.allclose(batch[0, :, :20] * 255, 114)
    assert np.allclose(batch[0, :, 80:] * 255, 114)


def test_a_model_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        AnimeFaces(write_model(tmp_path / "model.onnx", 640, 640, channels=1))
    assert caught.value.code == "faces.other_model"


def test_suppression() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 5], [30, 30, 40, 40]], float)
    scores = np.array([0.5, 0.9, 0.7, 0.1])
    assert suppress(boxes, scores, 0.7) == [1, 2, 3]  # 9 / 11 goes; 45 / 105 and 0 stay
    assert suppress(boxes, scores, 0.3) == [1, 3]
    assert suppress(boxes[:0], scores[:0], 0.7) == []


def test_the_finder_takes_both_or_the_drawn_one_alone(tmp_path: Path) -> None:
    write_model(tmp_path / "model.onnx", 320, 320)

    class Store:
        def find(self, name: str) -> Path | None:
            return tmp_path if name == "anime-face" else None

    image = with_red(400, 300, (100, 60, 220, 200))
    drawn = FaceFinder(Store(), "drawn")
    assert drawn.used == ("anime-face",)
    assert drawn.notes == ()
    assert [face.kind for face in drawn.find(image)] == ["drawn"]
    assert "anime-face" in FaceFinder(Store()).used
    assert "anime-face" not in FaceFinder(Store(), "photo").used
    drawn.close()
    assert len(drawn.find(image)) == 1
