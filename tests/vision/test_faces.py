"""Faces on real photographs, and each detector's conventions through stand-ins."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib_lora_train.errors import UserError
from lib_lora_train.vision import faces as faces_module
from lib_lora_train.vision import haar
from lib_lora_train.vision.faces import FaceFinder, YunetFaces, merged
from lib_lora_train.vision.geometry import Box, Face

# YuNet's own box (the 2026 file, 512 px), and what a person would draw: forehead to chin, temple to temple.
ASTRONAUT = Box(180.0, 63.0, 270.0, 174.0)


def picture(name: str) -> np.ndarray:
    data = pytest.importorskip("skimage.data", reason="needs scikit-image")
    image = data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()
    image = image.astype(np.uint8) * 255 if image.dtype == bool else image
    return np.ascontiguousarray(image[..., :3] if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2))


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    if haar.haar_folder() is None:
        pytest.skip("this OpenCV has no cascades")
    return FaceFinder(None)


@pytest.mark.parametrize("width", [256, 512, 1300, 4000])
def test_the_astronaut_is_found_at_any_size(finder: FaceFinder, width: int) -> None:
    image = picture("astronaut")
    scale = width / 512
    (face,) = finder.find(cv2.resize(image, (width, width), interpolation=cv2.INTER_AREA))
    assert face.scaled(1 / scale).box.overlap(ASTRONAUT) > 0.8
    assert 0.9 < face.box.height / scale / ASTRONAUT.height < 1.1
    assert face.kind == "photo"
    assert 0.5 <= face.score <= 1


def test_a_face_from_the_side(finder: FaceFinder) -> None:
    image = picture("camera")
    for seen in (image, np.ascontiguousarray(image[:, ::-1])):
        (face,) = finder.find(seen)
        box = (
            face.box if seen is image else Box(512 - face.box.right, face.box.top, 512 - face.box.left, face.box.bottom)
        )
        assert box.overlap(Box(198.0, 112.0, 256.0, 198.0)) > 0.5  # YuNet's


@pytest.mark.parametrize(
    "name",
    [
        "brick", "cat", "chelsea", "clock", "coffee", "coins", "colorwheel", "grass", "gravel", "horse", "hubble_deep_field",
        "immunohistochemistry", "logo", "moon", "motorcycle", "page", "retina", "rocket", "text",
    ],
)  # fmt: skip
def test_no_faces_where_there_are_none(finder: FaceFinder, name: str) -> None:
    assert finder.find(picture(name)) == []


def test_two_persons_largest_first(finder: FaceFinder) -> None:
    image = picture("astronaut")[:, 60:400]
    small = cv2.copyMakeBorder(cv2.resize(image, (204, 307)), 0, 205, 0, 0, cv2.BORDER_REPLICATE)
    found = finder.find(np.hstack([small, image]))
    assert [round(face.box.center[0], -1) for face in found] == [370, 100]
    assert 1.4 < found[0].box.height / found[1].box.height < 2.0


def test_faces_lie_inside_and_parts_of_pixels_are_no_faces() -> None:
    finder = FaceFinder(None)
    finder._detectors = [Stub([Face(Box(-5, -5, 40, 60), 0.9, "photo"), Face(Box(90, 70, 140, 140), 0.8, "photo")])]
    assert [face.box.as_list() for face in finder.find(np.zeros((75, 100, 3), np.uint8))] == [[0, 0, 40, 60]]


class Stub:
    name = "stub"

    def __init__(self, found: list[Face]) -> None:
        self.found = found

    def find(self, image: np.ndarray) -> list[Face]:
        return self.found

    def close(self) -> None:
        self.found = []


# ---------------------------------------------------------------------- YuNet's rows


class StandIn:
    """cv2.FaceDetectorYN as far as it is used: finds one white square, if it is 10 to 300 px as in training."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def setInputSize(self, size: tuple[int, int]) -> None:  # noqa: N802
        self.size = size

    def detect(self, image: np.ndarray) -> tuple[int, np.ndarray | None]:
        assert (image.shape[1], image.shape[0]) == self.size
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        self.sizes.append(self.size)
        rows, columns = np.nonzero(image[:, :, 2] > 128)  # red, so BGR
        if not len(rows):
            return 1, None
        x, y, w, h = columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
        if not 10 <= h <= 300:
            return 1, None
        points = [x + 0.3 * w, y + 0.4 * h, x + 0.7 * w, y + 0.4 * h, x + 0.5 * w, y + 0.6 * h, x + 0.35 * w, y + 0.8 * h, x + 0.65 * w, y + 0.8 * h]  # fmt: skip
        return 1, np.array([[x, y, w, h, *points, 0.93]], np.float32)


@pytest.mark.parametrize(("side", "height"), [(200, 60), (640, 15), (640, 600), (4000, 400), (4000, 3600), (4000, 40)])
def test_yunet_sees_small_and_large_faces(side: int, height: int) -> None:
    image = np.zeros((side, side, 3), np.uint8)
    place = (side - height) // 2
    image[place : place + height, place : place + height] = (255, 0, 0)
    stand_in = StandIn()
    (face,) = YunetFaces(Path("yunet.onnx"), stand_in).find(image)
    unit = max(1.0, side / 256)
    assert face.box.as_list() == pytest.approx([place, place, place + height, place + height], abs=2.1 * unit)
    assert face.score == pytest.approx(0.93)
    assert face.kind == "photo"
    assert len(face.landmarks) == 5
    assert face.landmarks[0][0] < face.landmarks[1][0]  # the person's right eye is on the left of the picture
    assert face.landmarks[2] == pytest.approx((side / 2, place + 0.6 * height), abs=3 * unit)
    assert max(map(max, stand_in.sizes)) <= 1280


def test_yunet_without_faces() -> None:
    assert YunetFaces(Path("yunet.onnx"), StandIn()).find(np.zeros((300, 500, 3), np.uint8)) == []


# ---------------------------------------------------------------------- which detectors


class Store:
    def __init__(self, **folders: Path) -> None:
        self.folders = folders

    def find(self, name: str) -> Path | None:
        return self.folders.get(name.replace("-", "_"))


def test_offline_it_says_what_may_be_missed(finder: FaceFinder) -> None:
    assert FaceFinder(Store()).used == ("haar",)
    assert [note.code for note in FaceFinder(Store()).notes] == ["faces.no_drawn_detector", "faces.haar_only"]
    assert [note.code for note in FaceFinder(None, "photo").notes] == ["faces.haar_only"]
    with pytest.raises(ValueError, match="no such medium"):
        FaceFinder(None, "clay")


def test_without_any_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces_module, "haar_folder", lambda: None)
    finder = FaceFinder(None, "photo")
    assert finder.find(np.full((64, 64, 3), 200, np.uint8)) == []
    assert finder.used == ()
    assert [note.code for note in finder.notes] == ["faces.no_detector"]


def test_newer_opencv_without_cascades(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier")
    assert haar.haar_folder() is None


def test_opencv_while_another_thread_imports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its package puts its binary module in its own place for a moment, which has everything but `data`."""
    binary = cv2._native
    assert not hasattr(binary, "data")
    monkeypatch.setitem(sys.modules, "cv2", binary)
    assert haar.haar_folder() is not None


def test_a_broken_yunet_gives_way_to_the_cascades_and_says_so(tmp_path: Path, finder: FaceFinder) -> None:
    (tmp_path / "face_detection_yunet_2023mar.onnx").write_bytes(b"no model")
    broken = FaceFinder(Store(yunet=tmp_path), "photo")
    assert broken.used == ("haar",)
    assert [note.code for note in broken.notes] == ["faces.yunet", "faces.haar_only"]
    with pytest.raises(UserError, match="2023mar"):
        YunetFaces(tmp_path / "face_detection_yunet_2023mar.onnx")


def test_a_store_that_refuses_a_changed_file(finder: FaceFinder) -> None:
    class Refusing(Store):
        def find(self, name: str) -> Path | None:
            raise UserError("onnx.unreadable", name, reason="changed")

    refused = FaceFinder(Refusing())
    assert refused.used == ("haar",)
    assert [note.code for note in refused.notes][:2] == ["onnx.unreadable", "onnx.unreadable"]


def test_closed_it_loads_again(finder: FaceFinder) -> None:
    image = picture("astronaut")
    before = finder.find(image)
    finder.close()
    assert finder.find(image) == before


def test_one_face_from_two_detectors() -> None:
    photo, drawn = Face(Box(10, 10, 50, 60), 0.7, "photo"), Face(Box(14, 12, 55, 66), 0.9, "drawn")
    inner, other = Face(Box(25, 30, 40, 45), 0.6, "photo"), Face(Box(51, 10, 90, 60), 0.5, "photo")
    assert merged([photo, drawn, inner, other]) == [drawn, other]
