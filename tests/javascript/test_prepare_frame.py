"""Crops as geometry: whatever is pulled, a box stays inside its picture and keeps its shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from playwright.sync_api import Page

LEAST = 16
PICTURE = {"width": 800, "height": 600}
BOX = {"left": 100, "top": 100, "right": 300, "bottom": 200}
HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"]
pulls = st.integers(-3000, 3000)


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, int], dict[str, int]]:
    """A picture and a box in it."""
    width, height = draw(st.integers(40, 4000)), draw(st.integers(40, 4000))
    left, top = draw(st.integers(0, width - LEAST)), draw(st.integers(0, height - LEAST))
    right, bottom = draw(st.integers(left + LEAST, width)), draw(st.integers(top + LEAST, height))
    return {"width": width, "height": height}, {"left": left, "top": top, "right": right, "bottom": bottom}


def shape(box: dict[str, float]) -> float:
    return (box["right"] - box["left"]) / (box["bottom"] - box["top"])


def assert_inside(box: dict[str, float], picture: dict[str, int]) -> None:
    slack = 1e-6 * max(picture.values())
    assert -slack <= box["left"] < box["right"] <= picture["width"] + slack
    assert -slack <= box["top"] < box["bottom"] <= picture["height"] + slack


@given(cases(), pulls, pulls)
@settings(max_examples=60)
def test_moving_keeps_the_size(shared_page: Page, case: Any, dx: int, dy: int) -> None:
    picture, box = case
    move = "([box, dx, dy, picture]) => loraTrain.moveBox(box, dx, dy, picture)"
    moved = shared_page.evaluate(move, [box, dx, dy, picture])
    assert_inside(moved, picture)
    assert moved["right"] - moved["left"] == box["right"] - box["left"]
    assert moved["bottom"] - moved["top"] == box["bottom"] - box["top"]


@given(cases(), st.sampled_from(HANDLES), pulls, pulls, st.booleans())
@settings(max_examples=200)
def test_resizing(shared_page: Page, case: Any, handle: str, dx: int, dy: int, free: bool) -> None:
    picture, box = case
    aspect = None if free else shape(box)
    resize = """([box, handle, dx, dy, aspect, picture]) =>
        loraTrain.resizeBox(box, handle, dx, dy, aspect, picture)"""
    resized = shared_page.evaluate(resize, [box, handle, dx, dy, aspect, picture])
    assert_inside(resized, picture)
    if not free:
        assert shape(resized) == pytest.approx(shape(box), rel=1e-6)
    for sign, stays in (("w", "right"), ("e", "left"), ("n", "bottom"), ("s", "top")):
        if sign in handle:
            assert resized[stays] == pytest.approx(box[stays], abs=1e-6 * max(picture.values()))


@given(cases(), st.floats(0.01, 50), st.floats(0.2, 5))
@settings(max_examples=80)
def test_scaling_and_shaping(shared_page: Page, case: Any, factor: float, aspect: float) -> None:
    picture, box = case
    scale = "([box, factor, picture]) => loraTrain.scaleBox(box, factor, picture)"
    scaled = shared_page.evaluate(scale, [box, factor, picture])
    assert_inside(scaled, picture)
    assert shape(scaled) == pytest.approx(shape(box), rel=1e-6)
    shaped = shared_page.evaluate(
        "([box, to, picture]) => loraTrain.shapeBox(box, to, picture)", [box, aspect, picture]
    )
    assert_inside(shaped, picture)
    assert shape(shaped) == pytest.approx(aspect, rel=1e-6)


@pytest.mark.parametrize(
    ("handle", "pull", "aspect", "expected"),
    [
        ("se", (100, 0), 2.0, (100, 100, 400, 250)),
        ("nw", (-50, -100), 2.0, (-0.0, 50, 300, 200)),
        ("e", (100, 0), 2.0, (100, 75, 400, 225)),  # both neighbours, evenly
        ("n", (0, -50), 2.0, (50, 50, 350, 200)),
        ("e", (100, 77), None, (100, 100, 400, 200)),
        ("se", (5000, 5000), None, (100, 100, 800, 600)),
        ("se", (-5000, -5000), None, (100, 100, 116, 116)),
    ],
)
def test_known_pulls(page: Page, handle: str, pull: Any, aspect: float | None, expected: Any) -> None:
    resize = "([box, handle, pull, aspect, picture]) => loraTrain.resizeBox(box, handle, ...pull, aspect, picture)"
    box = page.evaluate(resize, [BOX, handle, pull, aspect, PICTURE])
    assert [box[name] for name in ("left", "top", "right", "bottom")] == pytest.approx(list(expected), abs=1e-6)


def test_what_is_written(page: Page) -> None:
    """Pixel by pixel stays so; a size that was asked for stays, unless the shape is free."""
    write = "([crop, box, free]) => loraTrain.withBox(crop, box, free)"
    box = {"left": 0, "top": 0, "right": 400, "bottom": 300}
    whole = {**BOX, "width": 200, "height": 100, "mirror": True, "by": "trim"}
    written = page.evaluate(write, [whole, box, False])
    assert (written["width"], written["height"], written["scale"]) == (400, 300, 1)
    assert (written["mirror"], written["by"]) == (True, "user")
    fixed = {**BOX, "width": 1024, "height": 512, "mirror": False, "by": "face"}
    smaller = {"left": 0, "top": 0, "right": 100, "bottom": 50}
    written = page.evaluate(write, [fixed, smaller, False])
    assert (written["width"], written["height"], written["scale"]) == (1024, 512, 10.24)
    written = page.evaluate(write, [fixed, {"left": 0, "top": 0, "right": 300, "bottom": 300}, True])
    assert (written["width"], written["height"]) == (724, 724)  # its area
