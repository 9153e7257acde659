"""Crops: on real photographs, and for any picture, faces, settings and hostile numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from lib_lora_train.errors import UserError
from lib_lora_train.prepare.crops import carried_over, content_box, fit_crop, propose_crops, with_frame
from lib_lora_train.prepare.frames import BY, NOTES, Crop, enlargement, output_size
from lib_lora_train.prepare.tables import CROPS, CropSettings
from lib_lora_train.vision.faces import FaceFinder
from lib_lora_train.vision.geometry import Box, Face
from lib_lora_train.vision.haar import haar_folder

ASTRONAUT = Box(180.0, 63.0, 270.0, 174.0)  # forehead to chin, temple to temple


def photograph(name: str) -> np.ndarray:
    data = pytest.importorskip("skimage.data", reason="needs scikit-image")
    image = data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()
    image = image.astype(np.uint8) * 255 if image.dtype == bool else image
    return np.ascontiguousarray(image[..., :3] if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2))


def face(left: float, top: float, right: float, bottom: float) -> Face:
    return Face(Box(left, top, right, bottom), 0.9, "photo")


# ---------------------------------------------------------------------- the astronaut


@pytest.fixture(scope="module")
def astronaut() -> tuple[np.ndarray, list[Face]]:
    """With room around, so that every portrait has its place: 1024 px, the photograph's 512 at (280, 340)."""
    if haar_folder() is None:
        pytest.skip("this OpenCV has no cascades")
    image = cv2.copyMakeBorder(photograph("astronaut"), 340, 172, 280, 232, cv2.BORDER_REFLECT)[:1024]
    image[:300] = cv2.GaussianBlur(image[:300], (0, 0), 40)  # no second, mirrored face
    image[900:] = cv2.GaussianBlur(image[900:], (0, 0), 40)
    image[:, :250] = cv2.GaussianBlur(image[:, :250], (0, 0), 40)
    return image, FaceFinder(None).find(image)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
@pytest.mark.parametrize(
    ("mode", "part", "place"), [("face", 1.0, 0.5), ("head", 0.6, 0.42), ("upper_body", 0.36, 0.3)]
)
def test_the_astronauts_face_fills_its_share(
    astronaut: tuple[np.ndarray, list[Face]], mode: str, part: float, place: float, share: float
) -> None:
    image, faces = astronaut
    (crop,) = propose_crops(
        image, faces, CropSettings(crop=mode, width=512, height=512, face_share=share, max_upscale=4)
    )
    truth = ASTRONAUT.moved(280, 340)
    wished = share * part
    assert crop.by == mode
    if truth.height / wished > 1000:
        assert "shrunk" in crop.notes
        return
    assert crop.notes == ()
    assert (crop.width, crop.height) == (512, 512)
    assert truth.height / crop.box.height == pytest.approx(wished, rel=0.1)
    assert (truth.center[0] - crop.box.left) / crop.box.width == pytest.approx(0.5, abs=0.05)
    assert (truth.center[1] - crop.box.top) / crop.box.height == pytest.approx(place, abs=0.05)


def test_the_photograph_itself(astronaut: tuple[np.ndarray, list[Face]]) -> None:
    image = photograph("astronaut")
    faces = FaceFinder(None).find(image)
    (tight,) = propose_crops(image, faces, CropSettings(crop="face"))
    assert tight.notes == ("small",)  # not enlarged
    assert tight.width == tight.height
    assert 208 <= tight.width <= 224
    assert enlargement(tight) == 1
    assert ASTRONAUT.height / tight.box.height == pytest.approx(0.5, rel=0.1)
    assert tight.box.center[0] == pytest.approx(ASTRONAUT.center[0], abs=0.05 * 216)
    assert tight.box.center[1] == pytest.approx(ASTRONAUT.center[1], abs=0.05 * 216)
    (head,) = propose_crops(image, faces, CropSettings(crop="head"))
    assert head.notes == ("moved", "small")
    assert head.box.top <= 2
    assert ASTRONAUT.height / head.box.height == pytest.approx(0.3, rel=0.1)
    (body,) = propose_crops(image, faces, CropSettings(crop="upper_body"))
    assert body.box == Box(0, 0, 512, 512)
    assert "shrunk" in body.notes
    whole, close = propose_crops(image, faces, CropSettings(crop="aspect", close_ups=True))
    assert (whole.by, close.by) == ("whole", "close_up")
    assert close.box == tight.box


# ---------------------------------------------------------------------- any picture


SETTINGS = st.builds(
    CropSettings,
    crop=st.sampled_from(CROPS),
    width=st.integers(64, 1024),
    height=st.integers(64, 1024),
    face_share=st.floats(0.05, 0.95),
    several=st.integers(1, 8),
    close_ups=st.booleans(),
    mirror=st.booleans(),
    max_upscale=st.floats(1, 4),
    trim=st.booleans(),
    face_weight=st.floats(0, 1),
    split_threshold=st.floats(0, 1),
    overlap=st.floats(0, 0.9),
    auto_min=st.integers(64, 1024),
    auto_max=st.integers(64, 1024),
    auto_area_max=st.integers(4096, 1_000_000),
    auto_error=st.floats(0, 1),
)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, list[Face]]:
    width, height = draw(st.integers(16, 700)), draw(st.integers(16, 700))
    kind = draw(st.sampled_from(["noise", "flat", "boxed"]))
    image = np.full((height, width, 3), 200, np.uint8)
    if kind != "flat":
        image[:] = np.random.default_rng(width + height).integers(0, 256, image.shape, np.uint8)
    if kind == "boxed":
        image[: height // 5] = image[height - height // 5 :] = 0
    faces = []
    for _ in range(draw(st.integers(0, 3))):
        side = draw(st.floats(8, max(9.0, 0.9 * min(width, height))))
        x, y = draw(st.floats(0, max(0.0, width - 0.8 * side))), draw(st.floats(0, max(0.0, height - side)))
        box = Box(x, y, x + 0.8 * side, y + side).clipped(width, height)
        faces.append(Face(box, 0.9, "photo"))
    return image, sorted(faces, key=lambda found: -found.box.area)


@settings(max_examples=120)
@given(scene=scenes(), wishes=SETTINGS)
def test_every_proposal_is_possible(scene: tuple[np.ndarray, list[Face]], wishes: CropSettings) -> None:
    image, faces = scene
    height, width = image.shape[:2]
    crops = propose_crops(image, faces, wishes)
    assert crops
    assert len(crops) <= 2 * (64 + 8)
    for crop in crops:
        assert crop.by in BY
        assert set(crop.notes) <= set(NOTES)
        assert crop.width >= 16
        assert crop.height >= 16
        box = crop.box
        assert 0 <= box.left < box.right <= width
        assert 0 <= box.top < box.bottom <= height
        shape = box.width / box.height * crop.height / crop.width
        assert shape == pytest.approx(1, abs=0.03 / min(box.width, box.height) + 1e-6)
        if min(crop.width, crop.height) > 16:
            assert enlargement(crop) <= wishes.max_upscale * (1 + 0.02 / min(box.width, box.height))
        assert fit_crop(crop, (width, height)) == crop
        assert Crop.of(json.loads(json.dumps(crop.as_dict()))) == crop
    if wishes.mirror:
        half = len(crops) // 2
        assert [replace(crop, mirror=True) for crop in crops[:half]] == crops[half:]
    if wishes.crop == "size":
        assert all(
            (crop.width, crop.height) == (wishes.width, wishes.height) or "small" in crop.notes for crop in crops
        )


@settings(max_examples=60)
@given(scene=scenes(), wishes=SETTINGS)
def test_portraits_hold_the_face(scene: tuple[np.ndarray, list[Face]], wishes: CropSettings) -> None:
    image, faces = scene
    wishes = replace(wishes, crop="face", trim=False, mirror=False, several=1)
    (crop,) = propose_crops(image, faces, wishes)
    if not faces:
        assert "no_face" in crop.notes
        return
    x, y = faces[0].box.center
    assert crop.box.left - 1 <= x <= crop.box.right + 1
    assert crop.box.top - 1 <= y <= crop.box.bottom + 1
    if not set(crop.notes) & {"grown", "shrunk", "moved", "small"}:
        assert faces[0].box.height / crop.box.height == pytest.approx(wishes.face_share, rel=0.01)


@pytest.mark.parametrize("left", [0, 200, 700, 1300])
def test_the_focal_crop_cuts_no_head(left: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (400, 1500, 3), np.uint8)
    (crop,) = propose_crops(image, [face(left + 40, 100, left + 140, 220)], CropSettings(crop="size", max_upscale=2))
    assert (crop.by, crop.width, crop.height) == ("focal", 512, 512)
    assert crop.box.height == 400
    assert crop.box.left <= left + 20
    assert left + 160 <= crop.box.right


def test_several_persons_and_several_places() -> None:
    image = np.random.default_rng(0).integers(0, 256, (600, 1800, 3), np.uint8)
    faces = [face(100, 100, 220, 250), face(1500, 120, 1600, 250), face(800, 300, 810, 312)]
    crops = propose_crops(image, faces, CropSettings(crop="face", several=5))
    assert [round(crop.box.center[0], -1) for crop in crops] == [160, 1550]  # the third is somebody in the background
    crops = propose_crops(image, faces, CropSettings(crop="size", several=2))
    assert [crop.by for crop in crops] == ["focal", "focal"]
    assert crops[0].box.overlap(crops[1].box) == 0
    assert len(propose_crops(image, faces, CropSettings(crop="size", several=1))) == 1


def test_split_as_a1111() -> None:
    """A 512 x 2000 strip: ceil((2000 - 102.4) / 409.6) = 5 parts, evenly spread."""
    image = np.random.default_rng(0).integers(0, 256, (2000, 512, 3), np.uint8)
    crops = propose_crops(image, [], CropSettings(crop="split"))
    assert [crop.box.top for crop in crops] == [0, 372, 744, 1116, 1488]
    assert {(crop.box.left, crop.box.width, crop.box.height, crop.by) for crop in crops} == {(0, 512, 512, "split")}
    assert len(propose_crops(image.transpose(1, 0, 2), [], CropSettings(crop="split", overlap=0.5))) == 7
    assert [crop.by for crop in propose_crops(image[:900], [], CropSettings(crop="split"))] == ["focal"]
    assert len(propose_crops(image[:900], [], CropSettings(crop="split", split_threshold=0.6))) == 2


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1000, 1000), (640, 640)), ((1500, 1000), (768, 512)), ((1000, 1600), (512, 768)), ((600, 400), (576, 384))],
)
def test_auto_takes_the_most_pixels_in_the_limits(size: tuple[int, int], expected: tuple[int, int]) -> None:
    """A1111's rule: sides of 384 to 768 in steps of 64, 640 x 640 px at most, a shape within 10%."""
    image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    shape = size[0] / size[1]
    sizes = [(w, h) for w in range(384, 769, 64) for h in range(384, 769, 64) if w * h <= 409600]
    near = [
        s
        for s in sizes
        if 1 - min(shape * s[1] / s[0], s[0] / s[1] / shape) <= 0.1 and max(s[0] / size[0], s[1] / size[1]) <= 1
    ]
    assert expected[0] * expected[1] == max(w * h for w, h in near)
    (crop,) = propose_crops(image, [], CropSettings(crop="auto"))
    assert (crop.by, crop.width, crop.height) == ("auto", *expected)


def test_auto_without_a_size_in_the_limits() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 1500, 3), np.uint8)
    (crop,) = propose_crops(image, [], CropSettings(crop="auto"))
    assert (crop.width, crop.height, crop.notes) == (1500, 300, ("no_size",))


def test_none_and_aspect() -> None:
    image = photograph("chelsea")
    boxed = np.pad(image, ((60, 50), (0, 0), (0, 0)))
    assert propose_crops(boxed, [], CropSettings(crop="none"))[0] == Crop(Box(0, 0, 451, 410), 451, 410)
    assert propose_crops(boxed, [], CropSettings())[0] == Crop(Box(0, 60, 451, 360), 451, 300, by="trim")
    assert propose_crops(boxed, [], CropSettings(trim=False))[0].by == "whole"
    assert propose_crops(image, [], CropSettings())[0] == Crop(Box(0, 0, 451, 300), 451, 300)


@pytest.mark.parametrize(
    ("box", "wished", "upscale", "expected"),
    [
        ((222, 222), (512, 512), 1, (216, 216)), ((222, 222), (512, 512), 2, (440, 440)), ((222, 222), (512, 512), 3, (512, 512)),
        ((200, 300), (512, 768), 1, (192, 288)), ((900, 900), (512, 512), 1, (512, 512)), ((20, 20), (512, 512), 1, (16, 16)),
        ((4, 4), (512, 512), 1, (16, 16)), ((100, 40), (500, 200), 1, (80, 32)), ((97, 31), (970, 310), 1, (97, 31)),
    ],
)  # fmt: skip
def test_output_sizes(box: tuple[int, int], wished: tuple[int, int], upscale: float, expected: tuple[int, int]) -> None:
    assert output_size(Box(0, 0, *box), *wished, upscale) == expected


# ---------------------------------------------------------------------- borders


def jpeg(image: np.ndarray, quality: int = 60) -> np.ndarray:
    target = BytesIO()
    Image.fromarray(image).save(target, "JPEG", quality=quality)
    return np.asarray(Image.open(BytesIO(target.getvalue())).convert("RGB"))


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket", "motorcycle", "retina"])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (120, 30, 40)])
@pytest.mark.parametrize("pads", [(53, 53, 0, 0), (0, 0, 80, 70), (31, 40, 25, 25)])
def test_bars_are_trimmed(name: str, colour: tuple[int, int, int], pads: tuple[int, int, int, int]) -> None:
    image = photograph(name)[40:-40, 40:-40]
    if name == "retina":
        image = image[300:900, 300:1000]
    top, bottom, left, right = pads
    framed = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=colour)
    height, width = image.shape[:2]
    wanted = [left, top, left + width, top + height]
    assert content_box(jpeg(framed)).as_list() == pytest.approx(wanted, abs=3)
    assert content_box(framed).as_list() == pytest.approx(wanted, abs=2)


@pytest.mark.parametrize(
    "name", ["astronaut", "camera", "cat", "coffee", "rocket", "motorcycle", "horse", "logo", "hubble_deep_field", "page", "clock", "coins", "moon", "retina"]
)  # fmt: skip
def test_pictures_without_bars_keep_everything(name: str) -> None:
    image = photograph(name)
    assert content_box(image) == Box(0, 0, image.shape[1], image.shape[0])


def test_a_drawing_on_white_keeps_its_margins() -> None:
    for shape in ("ellipse", "rectangle", "figure"):
        picture = Image.new("RGB", (600, 800), "white")
        draw = ImageDraw.Draw(picture)
        if shape == "figure":
            draw.ellipse((250, 90, 350, 200), fill=(230, 190, 160), outline="black")
            draw.polygon([(300, 200), (180, 799), (420, 799)], fill=(40, 60, 160))
        else:
            getattr(draw, shape)((200, 300, 390, 520), fill=(200, 60, 60), outline="black")
        for image in (np.asarray(picture), jpeg(np.asarray(picture))):
            found = content_box(image)
            if shape == "rectangle":  # a card on a table: its edges are straight, it may count as framed
                assert found in (Box(0, 0, 600, 800), Box(200, 300, 391, 521))
            else:
                assert found == Box(0, 0, 600, 800), shape


def test_a_flat_sky_is_no_bar() -> None:
    land = photograph("coffee")
    columns = np.arange(600)
    image = np.full((700, 600, 3), 250, np.uint8)
    for x in columns:
        start = int(300 + 40 * np.sin(x / 60) + 20 * np.sin(x / 17))
        image[start:, x] = land[: 700 - start, x] if 700 - start <= 400 else land[-1, x]
    assert content_box(image).top == 0


@pytest.mark.parametrize("colour", [0, 255, 128])
def test_one_colour_is_left_alone(colour: int) -> None:
    assert content_box(np.full((200, 300, 3), colour, np.uint8)) == Box(0, 0, 300, 200)
    dot = np.full((200, 300, 3), colour, np.uint8)
    dot[90:110, 140:160] = 60
    assert content_box(dot) == Box(0, 0, 300, 200)


# ---------------------------------------------------------------------- what a browser sends


NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.integers(-(10**30), 10**30), st.floats(-2000, 2000), st.integers(-50, 900)
)  # fmt: skip


@settings(max_examples=250)
@given(
    sides=st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    output=st.tuples(st.one_of(st.integers(16, 2000), st.integers(-5, 10**9)), st.one_of(st.integers(16, 2000), st.integers(-5, 10**9))),
    size=st.tuples(st.integers(16, 3000), st.integers(16, 3000)),
)  # fmt: skip
def test_hostile_frames_are_refused_or_made_possible(
    sides: tuple[float, ...], output: tuple[int, int], size: tuple[int, int]
) -> None:
    sent = dict(zip(("left", "top", "right", "bottom", "width", "height"), (*sides, *output), strict=True))
    try:
        crop = fit_crop(Crop.of(sent), size)
    except UserError as error:
        assert error.code.startswith("crop.")
        return
    assert (crop.width, crop.height) == output
    assert 0 <= crop.box.left < crop.box.right <= size[0]
    assert 0 <= crop.box.top < crop.box.bottom <= size[1]
    least = min(crop.box.width, crop.box.height)
    assert crop.box.width / crop.box.height * output[1] / output[0] == pytest.approx(1, abs=0.003 + 0.05 / least)
    assert fit_crop(crop, size) == crop


def test_a_frame_that_was_dragged_out_is_moved_back() -> None:
    crop = Crop(Box(-50, 20, 150, 220), 512, 512, by="user")
    assert fit_crop(crop, (400, 300)).box == Box(0, 20, 200, 220)
    assert fit_crop(replace(crop, box=Box(300, 200, 500, 400)), (400, 300)).box == Box(200, 100, 400, 300)
    assert fit_crop(replace(crop, box=Box(0, 0, 900, 900)), (400, 300)).box == Box(100, 0, 400, 300)
    assert fit_crop(replace(crop, box=Box(100, 100, 200, 150)), (400, 300)).box == Box(125, 100, 175, 150)
    assert fit_crop(replace(crop, box=Box(100, 100, 101, 101)), (400, 300)).box == Box(96.5, 96.5, 104.5, 104.5)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ([], "crop.no_object"), ({}, "crop.key"), ({"extra": 1}, "crop.key"), ({"left": "1"}, "crop.value"), ({"left": True}, "crop.value"),
        ({"left": None}, "crop.value"), ({"left": 10**400}, "crop.value"), ({"width": 512.5}, "crop.value"), ({"width": float("nan")}, "crop.value"),
        ({"mirror": 1}, "crop.value"), ({"by": "me"}, "crop.value"), ({"notes": "small"}, "crop.value"), ({"by": []}, "crop.value"), ({"notes": [{}]}, "crop.value"),
    ],
)  # fmt: skip
def test_only_crops_are_read(sent: object, code: str) -> None:
    good = {"left": 1, "top": 2.5, "right": 101, "bottom": 102.5, "width": 512, "height": 512.0}
    assert Crop.of(good) == Crop(Box(1, 2.5, 101, 102.5), 512, 512, by="user")
    with pytest.raises(UserError) as caught:
        Crop.of({**good, **sent} if sent else sent)
    assert caught.value.code == code


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_everything_has_words(language: str) -> None:
    for by in BY:
        assert Crop(Box(0, 0, 20, 20), 20, 20, by=by).label(language)
    assert len(set(Crop(Box(0, 0, 20, 20), 20, 20, notes=NOTES).remarks(language))) == len(NOTES)


def test_a_frame_of_a_person() -> None:
    crop = Crop(Box(0, 0, 400, 400), 512, 512, by="face")
    drawn = with_frame(crop, Box(100, 50, 400, 350), CropSettings(crop="face"), (500, 400))
    assert (drawn.by, drawn.box, drawn.width, drawn.notes) == ("user", Box(102, 52, 398, 348), 296, ("small",))
    whole = Crop(Box(0, 0, 500, 400), 500, 400)
    drawn = with_frame(whole, Box(10.4, 20.2, 210.4, 340), CropSettings(), (500, 400))
    assert (drawn.box, drawn.width, drawn.height) == (Box(10, 20, 210, 340), 200, 320)
    with pytest.raises(UserError):
        with_frame(whole, Box(float("nan"), 0, 5, 5), CropSettings(), (500, 400))


def test_the_same_frame_on_another_picture() -> None:
    crop = Crop(Box(100, 0, 300, 200), 512, 512, by="user")
    assert carried_over(crop, (800, 400), (800, 400)).box == crop.box
    assert carried_over(crop, (800, 400), (1600, 800)).box == Box(200, 0, 600, 400)
    tall = carried_over(crop, (800, 400), (400, 800))
    assert tall.box == Box(0, 100, 200, 300)  # half the largest square, around a quarter of both sides
    unchanged = Crop(Box(0, 10, 800, 390), 800, 380, by="trim")
    assert carried_over(unchanged, (800, 400), (400, 200)) == Crop(Box(0, 5, 400, 195), 400, 190, by="trim")
