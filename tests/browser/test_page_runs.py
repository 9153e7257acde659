"""The sub-tab Runs: in detail, two compared, continued, their settings again, files, deleting with a way back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from demo.character import training_set
from lib_lora_train.network.files import describe_lora
from tests.helpers.serving import Rest, Server, short_settings
from tests.helpers.tab import Tab


@pytest.fixture(scope="module")
def trained(served: Server) -> tuple[Rest, str]:
    """A project with two runs that differ in seed and epochs."""
    rest = served.rest()
    project = rest.new_project("Trained")
    rest.add_pictures(project, training_set()[:2])
    once = short_settings(seed=1, save_every_n_epochs=1, sample_prompts="quillon, smile", sample_every_n_epochs=1)
    twice = short_settings(seed=2, max_train_epochs=3)
    for settings in (once, twice):
        rest.wait_for_end(project, rest.start(project, settings))
    return rest, project


@pytest.fixture
def runs(trained: tuple[Rest, str], served: Server, open_tab: Callable[..., Tab]) -> Tab:
    """Its list of runs."""
    tab = open_tab(served)
    tab.select_project(trained[1])
    tab.tab("runs")
    expect(tab.page.locator("tr[data-run]")).not_to_have_count(0)
    return tab


def details(tab: Tab, run: str) -> Locator:
    tab.page.locator(f'tr[data-run="{run}"] .lora_train_link').click()
    found = tab.page.locator(f'[data-details="{run}"]')
    found.wait_for()
    return found


def test_a_run_in_detail(runs: Tab, trained: tuple[Rest, str], tmp_path: Path) -> None:
    rest, project = trained
    run = details(runs, "r01")
    expect(run.locator("svg path, svg polyline").first).to_be_attached()
    sample = run.locator(".lora_train_samples img").first
    expect(sample).to_be_visible()
    expect(sample).to_have_js_property("complete", True)
    assert sample.evaluate("(image) => image.naturalWidth") > 0
    files = run.locator('[data-table="files"] tbody tr')
    expect(files).to_have_count(2)
    expect(run.locator('[data-table="changed"]')).to_contain_text("Epochs")
    run.locator("summary", has_text="Log").click()
    expect(run.locator(".lora_train_log > div").first).to_be_visible()
    with runs.page.expect_download() as download:
        files.first.locator('[data-action="download-file"]').click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == rest.run(project, "r01")["files"][0]["name"]
    assert list(describe_lora(path).ranks) == [4]


def test_two_beside_each_other(runs: Tab) -> None:
    page = runs.page
    for run in ("r01", "r02"):
        page.locator(f'[data-compare="{run}"]').check()
    runs.press("compare")
    both = page.locator('[data-comparison="r01 r02"]')
    rows = both.locator('[data-table="differences"] tbody tr')
    expect(rows.first).to_be_visible()
    cells = {tuple(row.locator("td").all_inner_texts()) for row in rows.all()}
    assert {("Seed", "1", "2"), ("Epochs", "2", "3"), ("Save every n epochs", "1", "0")} <= cells
    expect(both.locator("svg path, svg polyline").nth(1)).to_be_attached()


def test_the_same_settings_again(runs: Tab) -> None:
    run = details(runs, "r02")
    run.locator('[data-action="use-settings"]').click()
    page = runs.page
    expect(page.locator("#lora_train_tab_train")).to_be_visible()
    expect(page.locator("#lora_train_setting_seed input").first).to_have_value("2")
    expect(page.locator("#lora_train_setting_max_train_epochs input").first).to_have_value("3")


def test_continued_from_a_file(runs: Tab, trained: tuple[Rest, str]) -> None:
    rest, project = trained
    before = {run["id"] for run in rest.get(f"projects/{project}/runs")["runs"]}
    name = rest.run(project, "r01")["files"][0]["name"]
    run = details(runs, "r01")
    run.locator('[data-table="files"] tbody tr').first.locator('[data-action="continue-from-file"]').click()
    expect(runs.page.locator("#lora_train_tab_train")).to_be_visible()
    (new,) = {run["id"] for run in rest.get(f"projects/{project}/runs")["runs"]} - before
    runs.expect_run("done", new)
    assert rest.run(project, new)["settings"]["network"]["network_weights"] in (name, name.removesuffix(".safetensors"))
    runs.allowed.append(rf"status of 404.*runs/{new}/")  # asked for in the moment it goes
    rest.delete(f"projects/{project}/runs/{new}")


def test_deleted_and_brought_back(runs: Tab, trained: tuple[Rest, str]) -> None:
    rest, project = trained
    page, before = runs.page, rest.run(project, "r02")
    runs.allowed.append(r"status of 404.*runs/r02/")  # asked for in the moment it goes
    run = details(runs, "r02")
    run.locator('[data-action="delete-run"]').click()
    expect(page.locator('tr[data-run="r02"]')).to_have_count(0)
    assert rest.call("GET", f"projects/{project}/runs/r02").status == 404
    runs.press("message-action")
    expect(page.locator('tr[data-run="r02"]')).to_be_visible()
    assert rest.run(project, "r02") == before
