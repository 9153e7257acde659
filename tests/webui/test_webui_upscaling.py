"""Pictures enlarged by the WebUI's own upscalers, as its Extras tab does it, and the checkpoint untouched by it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.pictures import gradient
from tests.helpers.webui import Webui, in_thread

NAME = "made-by-test"


@pytest.fixture
def upscaling(webui: Webui) -> Iterator[Webui]:
    assert webui.inside("upscaling", "offered") == []  # what would have to be downloaded is not offered
    assert webui.inside("upscaling", "put_model", name=NAME) == [NAME]
    yield webui
    assert webui.inside("upscaling", "remove_models") == []


def coded(image: Image.Image) -> str:
    kept = BytesIO()
    image.save(kept, "PNG")
    return base64.b64encode(kept.getvalue()).decode()


def upscale(webui: Webui, image: Image.Image, factor: float = 4, name: str = NAME, **how: Any) -> dict[str, Any]:
    told = webui.inside("upscaling", "upscaled", picture=coded(image), name=name, factor=factor, **how)
    assert told["flags"] == [False] * 3
    assert (told["job"], told["random"]) == ("", True)
    return told


@pytest.mark.parametrize("factor", [4, 2])
def test_pixels_are_those_of_the_extras_tab(upscaling: Webui, factor: float) -> None:
    image = gradient(48, 40)
    before = upscaling.hash()
    told = upscale(upscaling, image, factor)
    asked = {"image": coded(image), "upscaler_1": NAME, "upscaling_resize": factor}
    theirs = Image.open(BytesIO(base64.b64decode(upscaling.sdapi("extra-single-image", asked)["image"])))
    assert told["outcome"] == "done"
    assert tuple(told["size"]) == theirs.size == (48 * factor, 40 * factor)
    assert base64.b64decode(told["pixels"]) == theirs.convert("RGB").tobytes()
    assert len(np.unique(np.asarray(theirs))) > 4
    assert upscaling.hash().against(before) == {}


def test_odd_sizes_and_transparency(upscaling: Webui) -> None:
    image = gradient(31, 17).convert("RGBA")
    image.putalpha(gradient(31, 17).convert("L"))
    told = upscale(upscaling, image, 2.5)
    assert (told["outcome"], told["mode"], told["size"]) == ("done", "RGBA", [78, 42])


def test_a_torn_model_is_said(upscaling: Webui) -> None:
    assert upscaling.inside("upscaling", "put_model", name="torn", broken=True) == [NAME, "torn"]
    assert upscale(upscaling, gradient(32, 32), name="torn")["outcome"] == "webui.upscale_nothing"


def test_a_stop_ends_it_between_tiles(upscaling: Webui) -> None:
    assert upscale(upscaling, gradient(512, 512), asked=3, tile=16)["outcome"] == "stopped"
    assert upscale(upscaling, gradient(32, 32))["outcome"] == "done"


def test_it_waits_for_a_generation(upscaling: Webui) -> None:
    expected = upscaling.txt2img().pixels
    upscaling.hold("sampling", after=2)
    drawn = in_thread(upscaling.txt2img)
    upscaling.wait_held()
    enlarged = in_thread(lambda: upscale(upscaling, gradient(32, 32)))
    assert not enlarged.done()
    upscaling.release()
    assert drawn.result(60).pixels == expected
    assert enlarged.result(60)["outcome"] == "done"
