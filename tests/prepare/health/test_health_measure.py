"""Measuring pictures: known faults are found in photographs, and clean ones are left alone."""

import random

import numpy as np
import PIL
import pytest
from PIL import Image, ImageDraw

pytest.importorskip("skimage")

from benchmarks import health as benchmark
from benchmarks import health_faults as make
from demo.draw import draw, sample
from lib_lora_train.prepare.health import HealthWishes, Item, Measures, judge, measure
from lib_lora_train.signals import Log
from lib_lora_train.vision.geometry import Box, Face

# The milder of the strengths that count, and a combined one.
CHOSEN = {
    "blur": ("Gaussian, 2 px", "shaken, 15 px"),
    "re-compression": ("quality 30", "quality 25, cut, again 90"),
    "upscaling": ("x 2 bicubic", "x 4 Lanczos"),
    "wrong exposure": ("2.5 stops under", "over: 25 % lost", "contrast 20 %"),
    "borders": ("black beside, 20 %", "white beside, 10 %"),
    "watermark": ("corner, opaque", "tiled, 65 %"),
    "flipped copy": ("flipped, JPEG 60",),
    "cropped copy": ("80 % of the area, enlarged", "60 % of the area, enlarged"),
    "near copy": ("60 % of the size, JPEG 60",),
}


@pytest.fixture(scope="module")
def clean() -> list[benchmark.Sample]:
    """Ten pieces of photographs by which no threshold was set."""
    pieces = benchmark.pieces(benchmark.photographs("report", packages=("skimage",)))
    chosen = [piece for piece in pieces if piece.origin.split()[1] in ("00", "11")]
    assert len(chosen) == 9
    return chosen


@pytest.fixture(scope="module")
def originals(clean: list[benchmark.Sample]) -> list[Item]:
    return [benchmark.item(piece) for piece in clean]


@pytest.fixture
def photograph() -> np.ndarray:
    return next(
        picture for name, picture in benchmark.photographs("tune", packages=("skimage",)) if name == "astronaut"
    )


@pytest.mark.parametrize("fault", CHOSEN)
def test_faults_are_found(fault: str, clean: list[benchmark.Sample], originals: list[Item]) -> None:
    if fault == "watermark" and int(PIL.__version__.split(".")[0]) < 10:
        pytest.skip("this Pillow has no font of a chosen size")
    wishes = HealthWishes(size=benchmark.SIZE, kind="style")
    samples = [
        sample for piece in clean for sample in benchmark.faulty(piece, [fault]) if sample.strength in CHOSEN[fault]
    ]
    assert len(samples) == len(clean) * len(CHOSEN[fault])
    missed = [sample.key for sample in samples if not benchmark.found(sample, originals, wishes)]
    assert len(missed) <= 0.1 * len(samples) + 0.5, missed


def test_clean_pictures_have_no_faults(clean: list[benchmark.Sample], originals: list[Item]) -> None:
    """Per fault, at most one of the eighteen: 5 % of so few."""
    saved = [benchmark.Sample(piece.origin, "", "as JPEG 92", make.jpeg(piece.picture, 92)) for piece in clean]
    for group in (originals, [benchmark.item(each) for each in saved]):
        report = judge(group, HealthWishes(size=benchmark.SIZE, kind="style"))
        for fault, codes in benchmark.CODES.items():
            wrong = {key for each in report.findings if each.code in codes for key in each.keys}
            # The night sky over the rocket is as dark as it looks.
            wrong -= {key for key in wrong if key.startswith("rocket") and fault == "wrong exposure"}
            assert len(wrong) <= 1, (fault, wrong)


def test_drawings_are_not_taken_for_faulty_photographs() -> None:
    draws = random.Random(3)
    items = []
    for number in range(12):
        drawing = draw(sample(draws), draws).image.resize((640, 640), Image.Resampling.LANCZOS)
        picture = np.asarray(drawing)
        items.append(Item(str(number), str(number), (640, 640), measure(picture, [])))
    report = judge(items, HealthWishes(size=256, kind="character"))
    found = {each.code: len(each.keys) for each in report.findings}
    for code in ("empty", "dark", "bright", "flat", "compressed", "lettering", "borders"):
        assert found.get(code, 0) <= 1, (code, found)
    assert not [code for code in found if code.startswith("duplicate")]


def test_measures_are_numbers_of_the_picture(photograph: np.ndarray) -> None:
    own = measure(photograph, [Face(Box(180, 60, 270, 190), 0.9, "photo")], [Log("image.alpha", {"where": "x"})])
    assert (own.width, own.height, own.opaque) == (512, 512, False)
    assert own.quality == 100.0
    assert own.detail == 1.0
    assert own.content == (0.0, 0.0, 1.0, 1.0)
    assert own.edges[0][0] == 512.0
    assert 0.3 < own.edges[0][1] < 0.8
    assert own.faces[0].framing == "upper_body"
    assert Measures.of(own.as_dict()) == own
    assert measure(photograph.copy(), []).digest == own.digest
    assert measure(photograph[:, ::-1], []).prints == own.mirrored


@pytest.mark.parametrize("quality", [15, 30, 45, 60, 75])
def test_quality_is_read_from_the_pixels(photograph: np.ndarray, quality: int) -> None:
    assert measure(make.jpeg(photograph, quality), []).quality == pytest.approx(quality, abs=3)
    again = make.jpeg(np.ascontiguousarray(make.jpeg(photograph, quality)[5:, 3:]), 93)
    assert measure(again, []).quality == pytest.approx(quality, abs=4)


@pytest.mark.parametrize("width", [1.5, 2.0, 3.0])
def test_edges_tell_the_width_of_a_blur(photograph: np.ndarray, width: float) -> None:
    assert measure(make.gaussian(width)(photograph, np.random.default_rng(), 512), []).edges[0][1] == pytest.approx(
        width, rel=0.2
    )


def test_borders_are_measured(photograph: np.ndarray) -> None:
    framed = np.pad(photograph, ((64, 64), (0, 0), (0, 0)))
    left, top, right, bottom = measure(framed, []).content
    assert (left, right) == (0.0, 1.0)
    assert top == pytest.approx(0.1, abs=0.004)
    assert bottom == pytest.approx(0.9, abs=0.004)


@pytest.mark.parametrize("shape", [(16, 16), (17, 1500), (1500, 17), (40, 33), (3000, 16)])
@pytest.mark.parametrize("kind", ["noise", "grey"])
def test_any_picture_can_be_measured(shape: tuple[int, int], kind: str) -> None:
    draws = np.random.default_rng(1)
    picture = (
        draws.integers(0, 256, (*shape, 3), dtype=np.uint8) if kind == "noise" else np.full((*shape, 3), 90, np.uint8)
    )
    own = measure(picture, [Face(Box(-3, -3, 8, 8), 0.5, "photo", ((1, 1), (2, 1), (1.5, 2), (1, 3), (2, 3)))])
    report = judge([Item("a", "a", (shape[1], shape[0]), own)], HealthWishes())
    assert ("empty" in {each.code for each in report.findings}) is (kind == "grey")


def face(landmarks: tuple[tuple[float, float], ...]) -> Face:
    return Face(Box(180, 75, 250, 160), 0.95, "photo", landmarks)


def test_landmarks_tell_where_a_face_looks(photograph: np.ndarray) -> None:
    def angle(nose: float, apart: float = 25.0) -> str:
        points = ((212.0 - apart / 2, 108.0), (212.0 + apart / 2, 108.0), (nose, 122.0), (203.0, 137.0), (222.0, 137.0))
        return measure(photograph, [face(points)]).faces[0].angle

    assert angle(212) == "front"
    assert angle(220) == "right"
    assert angle(204) == "left"
    assert angle(190) == "left_profile"
    assert angle(218, apart=4) == "right_profile"


def test_a_mask_or_dark_glasses_cover_a_face(photograph: np.ndarray) -> None:
    points = ((200.0, 108.0), (225.0, 108.0), (212.0, 122.0), (203.0, 137.0), (222.0, 137.0))
    assert measure(photograph, [face(points)]).faces[0].covered == ""
    for place, name in (((190, 124, 236, 155), "mouth"), ((188, 100, 237, 116), "eyes")):
        picture = Image.fromarray(photograph)
        ImageDraw.Draw(picture).rectangle(place, fill=(120, 160, 190) if name == "mouth" else (20, 20, 22))
        assert measure(np.asarray(picture), [face(points)]).faces[0].covered == name
