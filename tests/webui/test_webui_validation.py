"""The loss on held back pictures, on the model that the WebUI has in memory: it changes neither the training nor the model."""

from __future__ import annotations

from tests.helpers.pictures import gradient
from tests.helpers.webui import Webui, losses, settings_for
from tests.webui.conftest import new_project

HELD = {1, 4}  # places of five pictures, of which two are held back by seed 3


def test_a_run_that_holds_pictures_back(family_webui: Webui, family: str) -> None:
    webui = family_webui
    whole = new_project(webui, f"Held {family}", 5)
    names = sorted(path.stem for path in next(webui.data.rglob(f"{whole}/dataset")).rglob("*.png"))
    captions = [f"zuna, girl, smile {number}" for number in range(5)]
    trained = [place for place in range(5) if place not in HELD]
    assert len(names) == 5
    part = webui.rest.new_project(f"Part {family}", trigger="zuna")
    webui.rest.add_pictures(part, [(gradient(64, 64 + 8 * place), captions[place]) for place in trained])
    before = webui.hash()

    def run(project: str, **dataset: object) -> str:
        usual = {"resolution": "64", "min_bucket_reso": 64, "max_bucket_reso": 64}
        settings = settings_for(
            webui, family, dataset={**usual, **dataset}, optimizer={"learning_rate": "1e-2"},
            run=settings_for(webui, family)["run"] | {"save_every_n_steps": 2},
        )  # fmt: skip
        started = webui.rest.start(project, settings)
        webui.rest.wait_for_end(project, started)
        return started

    held = run(whole, validation_split=0.4, validation_seed=3)
    alone = run(part)
    assert losses(webui, whole, held) == losses(webui, part, alone)
    assert webui.hash().against(before) == {}
    found = webui.rest.get(f"projects/{whole}/runs/{held}/metrics")["validation"]
    assert [step for step, _ in found] == [0, 2, 4, 6]
    assert len({loss for _, loss in found}) == 4 and all(0 < loss < 10 for _, loss in found)
    assert webui.rest.get(f"projects/{part}/runs/{alone}/metrics")["validation"] == []
    lines = [line["text"] for line in webui.rest.get(f"projects/{whole}/runs/{held}/log")["lines"]]
    assert any("2 of 5" in line for line in lines) and [line for line in lines if "Put back on the model" in line] == []
