"""From a run to a LoRA that is used, in the WebUI: each cell is the picture that its text gives in txt2img, and so is
the one that is picked, by whatever names."""

from __future__ import annotations

import base64
import html
import io
import json
import shutil
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from tests.helpers.serving import wait_for
from tests.helpers.webui import Drawn, Webui, in_thread, settings_for
from tests.webui.conftest import new_project
from tests.webui.test_webui_grid import HARD, HARD_PROMPT

TITLE = f'{HARD}, : > "'
HARD_NAME = "it's (of) [them], 7 % 小猫 🐈 {x} & y"
NEGATIVE = 'Negative, 坏: "x", <lora:none:1>'
SETTINGS = {
    "width": 64,
    "height": 72,
    "steps": 3,
    "cfg_scale": 4.5,
    "clip_skip": 2,
    "weights": "0, 0.35, 1",
    "seeds": "1, 4294967295",
    "prompts": f"zuna, girl\n{HARD_PROMPT}",
    "negative_prompt": NEGATIVE,
}
END = ("done", "failed", "stopped", "interrupted")


@dataclass(frozen=True)
class Made:
    """A grid of a run in a WebUI."""

    webui: Webui
    project: str
    run: str
    grid: str

    @property
    def place(self) -> str:
        return f"projects/{self.project}/grids/{self.grid}"

    def shown(self) -> dict[str, Any]:
        return self.webui.rest.get(self.place)

    def cell(self, column: int = 1, weight: float = 1.0, prompt: int = 0, seed: int = 1) -> dict[str, Any]:
        wanted = {"column": column, "weight": weight, "prompt": prompt, "seed": seed}
        return next(each for each in self.shown()["cells"] if wanted.items() <= each.items())

    def picture(self, key: str) -> Drawn:
        image = Image.open(io.BytesIO(self.webui.rest.get(f"{self.place}/cells/{key}")))
        return Drawn(image, image.info["parameters"])

    def pick(self, cell: dict[str, Any], name: str, **fields: Any) -> dict[str, Any]:
        return self.webui.rest.post(f"{self.place}/pick", {"cell": cell["key"], "name": name, **fields})

    def undo(self) -> None:
        self.webui.rest.post(f"projects/{self.project}/grids/unpick", {})


def draw(webui: Webui, project: str, body: dict[str, Any]) -> str:
    """The id of a grid that is drawn."""
    grid = webui.rest.post(f"projects/{project}/grids", body)["grid"]
    place = f"projects/{project}/grids/{grid}"
    over = wait_for(
        lambda: webui.rest.get(f"{place}?cells=false"), lambda one: one["job"] is None and one["state"] in END, 120
    )
    assert over["state"] == "done", over
    return grid


@pytest.fixture(scope="module")
def drawn(webuis: Callable[..., Webui]) -> Made:
    webui = webuis()
    webui.put_in_order()
    project = new_project(webui, TITLE)
    fast = {"learning_rate": "1e-2"}
    run = webui.rest.start(project, settings_for(webui, optimizer=fast, run={"save_every_n_steps": 3}))
    webui.rest.wait_for_end(project, run)
    return Made(webui, project, run, draw(webui, project, {"settings": SETTINGS, "runs": [run]}))


@pytest.fixture
def made(webui: Webui, drawn: Made) -> Iterator[Made]:
    yield drawn
    for _ in webui.rest.get(f"projects/{drawn.project}/grids")["picks"]:
        drawn.undo()


def pasted(webui: Webui, picture: Image.Image) -> dict[str, str]:
    """What the tab "PNG Info" reads from a picture, and hands on to txt2img."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=_with_text(picture))
    image = base64.b64encode(buffer.getvalue()).decode()
    return webui.sdapi("png-info", {"image": f"data:image/png;base64,{image}"})["parameters"]


def generate(webui: Webui, text: str) -> Drawn:
    """The picture that Generate makes in txt2img, where the text was pasted."""
    answer = webui.sdapi("txt2img", {"infotext": text})
    image = Image.open(io.BytesIO(base64.b64decode(answer["images"][0])))
    return Drawn(image, json.loads(answer["info"])["infotexts"][0])


def card(webui: Webui, name: str) -> str:
    """A card of the WebUI's Lora page, after its Refresh."""
    shown = html.unescape(webui.inside("gridding", "cards"))
    [found] = [one for one in shown.split('<div class="card"') if f'data-name="{name}"' in one]
    return found


def _with_text(picture: Image.Image) -> PngImagePlugin.PngInfo:
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", picture.info["parameters"])
    return text


def test_each_cell_is_the_picture_that_its_text_gives(made: Made) -> None:
    webui, shown = made.webui, made.shown()
    assert [each["step"] for each in shown["columns"]] == [3, 6] and shown["size"] == shown["made"] == 20
    drawn = {cell["key"]: made.picture(cell["key"]) for cell in shown["cells"]}
    assert len({picture.pixels for picture in drawn.values()}) == 20
    prompts = [
        each["text"].partition(" #")[0] for each in shown["prompts"]
    ]  # the WebUI takes away what stands behind #
    for cell in shown["cells"]:
        picture = drawn[cell["key"]]
        read = pasted(webui, picture.image)
        name = Path(shown["columns"][cell["column"]]["file"]).stem
        tag = f" <lora:{name}:{cell['weight']:g}>" if cell["column"] >= 0 else ""
        assert read["Prompt"] == prompts[cell["prompt"]] + tag
        assert read["Negative prompt"] == NEGATIVE
        known = {"Seed": str(cell["seed"]), "Steps": "3", "Sampler": "DDIM", "CFG scale": "4.5", "Size-1": "64", "Size-2": "72", "Clip skip": "2"}  # fmt: skip
        assert {each: read[each] for each in known} == known
        again = generate(webui, picture.infotext)
        assert (again.pixels, again.infotext) == (picture.pixels, picture.infotext)
    assert webui.complaints() == []


@pytest.mark.parametrize("name", [HARD_NAME, "Mine"])
def test_a_picked_file_is_a_card_and_gives_its_cell(made: Made, name: str) -> None:
    webui, cell = made.webui, made.cell(weight=0.35, prompt=1, seed=4294967295)
    plain, before = webui.txt2img().pixels, webui.hash()
    webui.txt2img(f"a cat <lora:{Path(made.shown()['columns'][0]['file']).stem}:1>")  # left merged
    picked = made.pick(cell, name, notes=HARD)
    assert (picked["matched"], picked["total"], picked["unmatched"]) == (264, 264, [])
    assert (picked["difference"], picked["notes"], picked["weight"]) == (0, [], 0.35)

    thumbnail = webui.loras / f"{name}.png"
    shown = card(webui, name)
    assert f'"<lora:{name}:" + 0.35 + ">" + " zuna"' in shown
    assert f"thumb?filename={urllib.parse.quote(str(thumbnail))}" in shown
    with Image.open(thumbnail) as opened:
        image = opened.copy()
    drawn = made.picture(cell["key"])
    assert image.convert("RGB").tobytes() == drawn.pixels
    assert image.info["parameters"] == picked["infotext"]
    assert pasted(webui, image)["Prompt"] == f"{HARD_PROMPT.partition(' #')[0]} <lora:{name}:0.35>"

    again = generate(webui, picked["infotext"])
    assert (again.pixels, again.infotext) == (drawn.pixels, picked["infotext"])
    assert webui.txt2img().pixels == plain and webui.hash().against(before) == {}
    made.undo()
    assert not thumbnail.exists() and webui.txt2img(f"a cat <lora:{name}:1>").pixels == plain
    assert webui.complaints() == []


def test_a_name_that_was_used_before_draws_what_it_is_now(made: Made) -> None:
    """Of a name whose file is another one, the WebUI must not go on with the weights that it has seen."""
    webui = made.webui
    first, second = made.cell(column=0), made.cell(column=1)
    for cell in (first, second):
        text = made.pick(cell, "Mine", compare=False)["infotext"]
        assert generate(webui, text).pixels == made.picture(cell["key"]).pixels
        made.undo()
    assert made.picture(first["key"]).pixels != made.picture(second["key"]).pixels


def test_a_file_that_no_prompt_can_name_is_picked_under_one_that_can(made: Made) -> None:
    webui = made.webui
    path = webui.loras / made.project / made.shown()["columns"][1]["file"]
    colon = webui.loras / "a: b>c.safetensors"
    shutil.copy(path, colon)
    try:
        body = {"settings": {**SETTINGS, "seeds": "1", "weights": "0, 0.5"}, "files": [colon.stem]}
        other = Made(webui, made.project, "", draw(webui, made.project, body))
        cell = other.cell(column=0, weight=0.5)
        drawn = other.picture(cell["key"])
        assert pasted(webui, drawn.image)["LoRA"] == "a: b>c 0.5"
        picked = other.pick(cell, "Better named")
        again = generate(webui, picked["infotext"])
        assert again.pixels == drawn.pixels and "<lora:Better named:0.5>" in again.infotext
    finally:
        colon.unlink()


def test_a_pick_that_waits_for_the_webui_can_be_cancelled(made: Made) -> None:
    webui, grids = made.webui, f"projects/{made.project}/grids"
    cell, names = made.cell(), sorted(path.name for path in webui.loras.iterdir())

    def picking() -> dict[str, Any]:
        return webui.rest.get(grids)["picking"]

    webui.hold("sampling", after=2)
    drawn = in_thread(webui.txt2img)
    webui.wait_held()
    made.pick(cell, "Never", wait=False)
    wait_for(picking, lambda told: told["stage"] == "Waiting for the model to be free", 30)
    webui.rest.post(f"{grids}/cancel-pick", {})
    ended = wait_for(picking, lambda told: told["state"] in END, 30)  # the generation has not gone on yet
    assert (ended["state"], ended["result"], ended["error"]) == ("stopped", None, None)
    assert sorted(path.name for path in webui.loras.iterdir()) == names
    webui.release()
    assert drawn.result(60).pixels == webui.txt2img().pixels
    assert made.pick(cell, "Afterwards")["difference"] == 0
    assert webui.complaints() == []
