"""The extension in the WebUI: what it adds to the page, and what it survives."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from tests.helpers.serving import wait_for
from tests.helpers.webui import Webui, settings_for
from tests.webui.conftest import new_project

if TYPE_CHECKING:
    from tests.helpers.webui_tab import WebuiTab

TabOpener = Callable[..., "WebuiTab"]
PREFIX = "lora_train/"


def start_long(webui: Webui, **run: Any) -> tuple[str, str]:
    """A new project and its run, which has made its first steps. `run` are settings of that group."""
    project = new_project(webui)
    usual = {"max_train_steps": 5000, "mixed_precision": "fp32", "max_train_epochs": 0, "train_batch_size": 1}
    started = webui.rest.start(project, settings_for(webui, run={**usual, "sample_prompts": "", **run}))
    wait_for(lambda: webui.rest.get("live")["running"], lambda now: bool(now) and now["step"] > 2, 120)
    return project, started


def end_of(webui: Webui, project: str, run: str) -> Any:
    """What the run's folder says of it, when the WebUI has gone."""
    path = next(webui.data.rglob(f"{project}/runs/{run}/job.json"))
    return json.loads(path.read_text(encoding="utf-8"))


def files_of_run(webui: Webui, project: str) -> list[Path]:
    return sorted(webui.loras.rglob("*.safetensors"))


# ---------------------------------------------------------------------- what it adds


def test_tab_routes_and_settings(webui: Webui) -> None:
    tabs = webui.ask("GET", "config")["components"]
    assert [one["props"]["label"] for one in tabs if one["props"].get("elem_id") == "tab_lora_train"] == ["LoRA Train"]
    assert {one["name"] for one in webui.rest.get("checkpoints")["checkpoints"]} >= {"nano_sd1", "nano_sd2v"}
    assert {"lora_train_projects", "lora_train_exact_check"} <= webui.sdapi("options").keys()
    assert "LoRA Train" in {route["tags"][0] for route in _routes(webui)}
    assert webui.complaints() == []


def _routes(webui: Webui) -> list[dict[str, Any]]:
    paths = webui.ask("GET", "openapi.json")["paths"]
    return [
        one
        for path, methods in paths.items()
        if path.startswith("/lora-train/v1/")
        for one in methods.values()
        if one.get("tags")
    ]


def test_saved_defaults_stay_as_they_are(own_webui: Callable[..., Webui]) -> None:
    """Each component has a key of its own, and the next start writes none of them anew."""
    webui = own_webui()
    path = webui.data / "ui-config.json"

    def ours() -> dict[str, Any]:
        saved = json.loads(path.read_text(encoding="utf-8"))
        return {key: value for key, value in saved.items() if key.startswith(PREFIX)}

    before = ours()
    assert f"{PREFIX}Rank/value" in before and len(before) > 50
    webui.reload_ui()
    assert ours() == before
    changed = {**json.loads(path.read_text(encoding="utf-8")), f"{PREFIX}Rank/value": 77.0}
    path.write_text(json.dumps(changed), encoding="utf-8")
    webui.reload_ui()
    ranks = [
        one["props"]["value"]
        for one in webui.ask("GET", "config")["components"]
        if one["props"].get("value") == 77 and one["props"].get("label")
    ]
    assert len(ranks) == 1


def test_the_tab_is_in_the_webuis_language(webui: Webui, open_tab: TabOpener) -> None:
    webui.set_options(localization="zh_CN")
    webui.reload_ui()
    try:
        tab = open_tab(webui)  # by a browser that would rather have English
        expect(tab.page.locator(".lora_train_head")).to_contain_text("项目")
        tab.tab("train")
        expect(tab.page.locator("#lora_train_train_button")).to_contain_text("训练")
        tab.page.goto("about:blank")  # the server is away for a moment
    finally:
        webui.set_options(localization="None")
        webui.reload_ui()


def test_settings_section(webui: Webui, open_tab: TabOpener) -> None:
    page = open_tab(webui).page
    page.locator("#tabs > .tab-nav > button").get_by_text("Settings", exact=True).click()
    page.locator("#settings > .tab-nav > button").get_by_text("LoRA Train", exact=True).click()
    expect(page.locator("#setting_lora_train_projects")).to_be_visible()
    expect(page.locator("#setting_lora_train_exact_check")).to_be_visible()


def test_the_projects_are_where_the_setting_says(own_webui: Callable[..., Webui], tmp_path: Path) -> None:
    webui = own_webui()
    path = webui.data / "config.json"
    refused = webui.sdapi("options", {"lora_train_projects": str(tmp_path / "by the API")})
    webui.kill()
    options = json.loads(path.read_text(encoding="utf-8"))
    assert refused is None and options.get("lora_train_projects", "") == ""
    path.write_text(json.dumps({**options, "lora_train_projects": str(tmp_path / "chosen")}), encoding="utf-8")
    webui.start()
    project = new_project(webui)
    assert (tmp_path / "chosen" / project / "project.json").is_file()
    webui.kill()
    webui.start("--lora-train-dir", str(tmp_path / "by the flag"))
    assert webui.rest.get("projects")["projects"] == []
    assert webui.rest.call("GET", f"projects/{project}").status == 404


def test_what_is_wrong_is_said_in_the_tab(own_webui: Callable[..., Webui], tmp_path: Path, open_tab: TabOpener) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    webui = own_webui("--lora-train-dir", str(tmp_path / "file"))
    assert webui.rest.call("GET", "projects").status == 404
    tabs = webui.ask("GET", "config")["components"]
    said = [one["props"]["value"] for one in tabs if "lora_train_error" in str(one["props"].get("value", ""))]
    assert len(said) == 1 and str(tmp_path / "file") in said[0]
    assert webui.txt2img().pixels


def test_the_projects_are_no_files_of_the_page(webui: Webui) -> None:
    """gradio serves what lies in the WebUI's data folder, to whoever is at the page."""
    project = new_project(webui)
    path = next(webui.data.rglob(f"{project}/project.json"))
    other = webui.data / "config.json"
    assert webui.rest.get(f"projects/{project}")["title"] == "Zuna"
    assert _status(webui, f"file={other}") == 200
    assert _status(webui, f"file={path}") == 403


def _status(webui: Webui, path: str) -> int:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(webui.address + path) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


# ---------------------------------------------------------------------- other ways to start it


def test_without_a_page(own_webui: Callable[..., Webui]) -> None:
    webui = own_webui("--nowebui")
    project, run = start_long(webui, max_train_steps=6)
    webui.rest.wait_for_end(project, run)
    assert files_of_run(webui, project)
    assert webui.complaints() == []


def test_without_a_model(own_webui: Callable[..., Webui]) -> None:
    webui = own_webui("--ui-debug-mode")
    assert webui.rest.get("projects") == {"projects": [], "problems": [], "trash": []}
    assert webui.complaints() == []


# ---------------------------------------------------------------------- what a run survives


def test_reload_ui_leaves_the_run_alive(own_webui: Callable[..., Webui], open_tab: TabOpener) -> None:
    webui = own_webui()
    _, run = start_long(webui)
    before = webui.rest.get("live")["running"]
    webui.reload_ui()
    after = webui.rest.get("live")["running"]
    assert (after["job"], after["id"]) == (before["job"], run)
    wait_for(lambda: webui.rest.get("live")["running"]["step"], lambda step: step > after["step"])
    tab = open_tab(webui)
    tab.tab("train")
    tab.expect_run("running", run)
    expect(tab.bar).to_be_visible()
    tab.press("stop-and-save")
    tab.expect_run("stopped", run)
    expect(tab.bar).to_have_count(0)
    webui.wait_idle(5)
    assert webui.txt2img().pixels
    assert webui.complaints() == []


def test_ctrl_c_saves_the_run(own_webui: Callable[..., Webui]) -> None:
    webui = own_webui()
    project, run = start_long(webui)
    webui.stop()
    assert "Stopping after this step and saving" in webui.log()
    assert end_of(webui, project, run)["state"] == "stopped"
    assert len(files_of_run(webui, project)) == 1
    webui.start()
    info = webui.rest.run(project, run)
    assert info["can_resume"] and info["step"] > 2
    assert webui.rest.get("live")["running"] is None


def test_the_apis_ways_to_stop_save_the_run(own_webui: Callable[..., Webui]) -> None:
    webui = own_webui("--api-server-stop")
    for path in ("server-stop", "server-kill"):
        project, run = start_long(webui)
        with contextlib.suppress(OSError, AssertionError, ValueError):  # words, or nobody is left to answer
            webui.sdapi(path, {})
        wait_for(lambda: webui.running, lambda running: not running)
        assert end_of(webui, project, run)["state"] == "stopped", path
        webui.start("--api-server-stop")
        assert webui.rest.run(project, run)["can_resume"]


def test_a_run_that_was_killed_can_be_resumed(own_webui: Callable[..., Webui], open_tab: TabOpener) -> None:
    webui = own_webui()
    project, run = start_long(webui, max_train_steps=12, save_every_n_steps=2)
    webui.hold("loop", after=2)
    webui.wait_held()
    webui.kill()
    assert end_of(webui, project, run)["state"] == "running"
    webui.start()
    info = webui.rest.run(project, run)
    assert (info["state"], info["can_resume"]) == ("interrupted", True)
    tab = open_tab(webui)
    tab.tab("train")
    tab.expect_run("interrupted", run)
    tab.press("resume")
    tab.expect_run("done", run)


def test_a_request_to_end_ends(own_webui: Callable[..., Webui]) -> None:
    """With nothing running it dies of SIGTERM at once, as without us."""
    webui = own_webui()
    webui._end(signal.SIGTERM)
    assert not webui.running
