"""The preparation inside the WebUI, with its Python and its versions of everything: check, crop, matte, tag, apply, undo,
and a training of what was prepared."""

from __future__ import annotations

import shutil
import time
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from tests.helpers.pictures import encoded
from tests.helpers.preparing import DEMO_TAGGER, barred, drawings, photo
from tests.helpers.serving import wait_for
from tests.helpers.webui import Webui, settings_for

SETTINGS = {
    "check": {"size": 64},
    "crop": {"crop": "aspect", "width": 64, "height": 64},
    "matte": {"background": "white", "matte": "grabcut"},
    "tag": {"taggers": ["demo-tagger"], "threshold": 0.5},
}


@pytest.fixture
def prepared(webui: Webui) -> tuple[Webui, str]:
    """A project of six drawings and photographs between bars, and the demo's tagger in the WebUI's models folder."""
    folder = webui.data / "models" / "lora_train" / "demo-tagger"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("model.onnx", "selected_tags.csv"):
        shutil.copyfile(DEMO_TAGGER / name, folder / name)
    project = webui.rest.new_project("Prepared")
    for number, image in enumerate([*drawings(3, 128), *(photo(seed, (160, 120)) for seed in range(3))]):
        webui.rest.add(project, f"{number}.png", encoded(barred(image, 16), "PNG"))
    return webui, project


def finished(webui: Webui, project: str) -> dict[str, Any]:
    wait_for(lambda: webui.rest.get(f"projects/{project}/prepare")["job"], lambda job: job is None, 120)
    shown = webui.rest.get(f"projects/{project}/prepare")
    assert shown["last"]["state"] == "done", shown["last"]
    return shown


def pictures(webui: Webui, project: str) -> list[dict[str, Any]]:
    return webui.rest.get(f"projects/{project}/pictures")["pictures"]


def test_all_steps_then_apply_then_undo_then_train(prepared: tuple[Webui, str]) -> None:
    webui, project = prepared
    rest, place = webui.rest, f"projects/{project}/prepare"
    before = webui.hash()
    rest.put(f"{place}/settings", {"settings": SETTINGS})
    rest.post(f"{place}/start", {"steps": ["check", "crop", "matte", "tag"]})
    shown = finished(webui, project)
    assert [step["state"] for step in shown["steps"].values()] == ["done"] * 4
    assert shown["changes"]["pictures"] == 6 and shown["changes"]["captions"] == 6
    report = rest.get(f"{place}/report")
    assert report["findings"] and 0 <= report["score"] <= 100
    rest.post(f"{place}/apply", {})
    shown = finished(webui, project)
    after = pictures(webui, project)
    assert {(each["width"], each["height"]) for each in after} == {(128, 128), (160, 120)}  # without the bars
    assert all(each["caption"].startswith("quillon, ") for each in after)
    view = rest.call("GET", f"projects/{project}/pictures/{after[3]['id']}/view").body
    assert min(Image.open(BytesIO(view)).convert("RGB").getpixel((1, 1))) > 240  # a white background
    rest.post(f"{place}/undo", {"id": shown["undo"]["id"]})
    assert {each["caption"] for each in pictures(webui, project)} == {""}
    rest.post(f"{place}/apply", {})
    finished(webui, project)
    run = rest.post(f"projects/{project}/runs", {"settings": settings_for(webui)})
    wait_for(lambda: rest.get(f"projects/{project}/runs/{run['run']}")["state"], lambda state: state == "done", 120)
    assert webui.hash().against(before) == {}
    assert webui.complaints() == []


def test_the_webuis_captioners_say_what_is_missing(prepared: tuple[Webui, str]) -> None:
    """Their models are not here, and nothing is downloaded behind anybody's back."""
    webui, project = prepared
    place = f"projects/{project}/prepare"
    shown = webui.rest.get(place)
    assert "blip" not in {each["name"] for each in shown["tools"]["captioners"]}
    webui.rest.put(f"{place}/settings", {"settings": {"tag": {"taggers": [], "captioner": "blip"}}})
    webui.rest.post(f"{place}/start", {"steps": ["tag"]})
    wait_for(lambda: webui.rest.get(place)["job"], lambda job: job is None)
    last = webui.rest.get(place)["last"]
    assert last["state"] == "failed" and last["error"]["remedy"], last
    time.sleep(0.1)
    assert webui.txt2img().pixels
