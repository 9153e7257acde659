"""A run that is over shows its grid, or says why there is none."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from demo.character import training_set
from tests.helpers.serving import Server, short_settings, wait_for
from tests.helpers.tab import LONG, Tab


def test_from_a_run_to_its_grid(served: Server, open_tab: Callable[..., Tab]) -> None:
    rest = served.rest()
    project = rest.new_project("Followed")
    rest.add_pictures(project, training_set()[:2])
    steps = {"max_train_epochs": 0, "max_train_steps": 2, "grid_after_training": True}
    rest.wait_for_end(project, rest.start(project, short_settings(**steps)))
    grids = f"projects/{project}/grids"
    grid = rest.run(project, "r01")["grid"]
    rest.post(f"{grids}/{grid}/stop", {})  # what it shows is looked at elsewhere
    wait_for(lambda: rest.get(f"{grids}/{grid}")["job"], lambda job: job is None, 120)

    tab = open_tab(served)
    tab.select_project(project)
    tab.tab("train")
    note = tab.page.locator("#lora_train_live [data-grid-note]")
    expect(note).to_contain_text(f"{grid} in Previews")
    tab.press("show-grid")
    tab.page.wait_for_function("(grid) => loraTrain.previews.grid && loraTrain.previews.grid.id === grid", arg=grid)
    expect(tab.page.locator("#lora_train_previews")).to_be_visible(timeout=LONG)
    tab.tab("runs")
    assert rest.get(grids)["grids"][0]["runs"] == ["r01"]

    started = rest.start(project, short_settings(max_train_epochs=10_000, grid_after_training=True))
    job = wait_for(lambda: rest.get("live")["running"], lambda run: run and run["step"] > 0, 120)["job"]
    rest.post(f"jobs/{job}/stop", {"save": False})
    rest.wait_for_end(project, started, "stopped")
    tab.tab("train")
    expect(note).to_contain_text("No grid was made, because the training was told to stop", timeout=LONG)
    expect(tab.page.locator('#lora_train_live [data-action="show-grid"]')).to_have_count(0)
