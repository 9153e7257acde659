"""The form of Train: what is typed stays, plans have reasons, and settings go to files, presets, kohya and back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from demo.character import training_set
from lib_lora_train.settings.reading import load_settings
from tests.helpers.serving import Rest, Server, wait_for
from tests.helpers.tab import Tab


@pytest.fixture
def project(served: Server) -> str:
    rest = served.rest()
    project = rest.new_project("Form", trigger="quillon")
    rest.add_pictures(project, training_set()[:4])
    return project


@pytest.fixture
def tab(served: Server, project: str, open_tab: Callable[..., Tab]) -> Tab:
    """The form of the project, with a plan in it."""
    tab = open_tab(served)
    to_form(tab, project)
    return tab


@pytest.fixture
def rest(served: Server) -> Rest:
    return served.rest()


def to_form(tab: Tab, project: str) -> None:
    tab.select_project(project)
    tab.tab("train")
    filled(tab, project)
    expect(box(tab.page, "name")).to_have_value("Form")
    expect(tab.page.locator("#lora_train_plan dt").first).to_be_visible()


def filled(tab: Tab, project: str) -> None:
    """The form holds the project, and takes what is typed."""
    expect(box(tab.page, "opened")).to_have_value(project)
    expect(tab.page.locator("#lora_train_setup")).to_have_js_property("inert", False)


def box(page: Page, name: str) -> Locator:
    """The field in a component of the form."""
    return page.locator(f"#lora_train_{name}").locator("textarea, input").first


def part(page: Page, name: str) -> Locator:
    """A place of the form. gradio 3 gives some ids twice: to a component and to what is in it."""
    return page.locator(f"#lora_train_{name}").first


def setting(page: Page, name: str) -> Locator:
    return box(page, f"setting_{name}")


def unfold(page: Page, group: str) -> None:
    if not page.locator(f"#lora_train_group_{group}").locator("textarea, input, button.primary").first.is_visible():
        page.locator(f"#lora_train_group_{group} > button, #lora_train_group_{group} > .label-wrap").first.click()


def change(page: Page, name: str, value: str) -> None:
    setting(page, name).fill(value)
    setting(page, name).blur()


def draft(rest: Rest, project: str) -> dict[str, dict]:
    return rest.get(f"projects/{project}/settings?form=json")


def saved_file(tab: Tab, button: str, folder: Path) -> Path:
    with tab.page.expect_download() as download:
        tab.page.locator(f"button#lora_train_{button}").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def load_file(tab: Tab, path: Path) -> None:
    with tab.page.expect_file_chooser() as chooser:
        tab.page.locator("button#lora_train_load_file").click()
    chooser.value.set_files(path)


def test_what_is_typed_is_there_after_a_reload(tab: Tab, rest: Rest, project: str) -> None:
    page = tab.page
    unfold(page, "network")
    change(page, "network_dim", "12")
    box(page, "name").fill("表单 Form")
    box(page, "trigger").fill("zuna")
    page.locator("#lora_train_choice label", has_text="Thorough").click()
    expect(tab.message("Planned.")).to_be_visible()  # what is typed before the plan is there, it replaces
    unfold(page, "optimizer")
    change(page, "learning_rate", "2e-4")
    page.locator("#lora_train_setting_network_train_unet_only input").check()
    wait_for(lambda: draft(rest, project), lambda kept: kept["optimizer"]["learning_rate"] == "2e-4")
    wait_for(lambda: draft(rest, project), lambda kept: kept["network"]["network_train_unet_only"] is True)
    tab.reload()
    tab.tab("train")
    expect(box(page, "name")).to_have_value("表单 Form")
    expect(box(page, "trigger")).to_have_value("zuna")
    expect(page.locator("#lora_train_choice input:checked")).to_have_value("Thorough")
    unfold(page, "optimizer")
    expect(setting(page, "learning_rate")).to_have_value("2e-4")
    expect(page.locator("#lora_train_setting_network_train_unet_only input")).to_be_checked()
    assert rest.get(f"projects/{project}")["title"] == "表单 Form"
    assert rest.get(f"projects/{project}")["trigger_word"] == "zuna"


def test_another_project_is_opened_before_a_change_is_kept(tab: Tab, rest: Rest, project: str) -> None:
    page = tab.page
    other = rest.new_project("Other form", trigger="other")
    rest.add_pictures(other, training_set()[:2])
    tab.reload()
    to_form(tab, project)
    unfold(page, "network")
    change(page, "network_dim", "12")
    tab.select_project(other)
    expect(box(page, "name")).to_have_value("Other form")
    wait_for(lambda: draft(rest, project), lambda kept: kept["network"]["network_dim"] == 12)
    page.wait_for_timeout(1500)  # a change is kept a second after it
    assert rest.get(f"projects/{other}")["title"] == "Other form"
    assert rest.get(f"projects/{other}")["trigger_word"] == "other"
    assert draft(rest, other)["network"]["network_dim"] != 12
    tab.select_project(project)
    expect(setting(page, "network_dim")).to_have_value("12")


def test_nothing_can_be_typed_that_an_answer_would_replace(tab: Tab, project: str) -> None:
    page = tab.page
    held: list[Route] = []
    page.route("**/run/predict*", lambda route: held.append(route))
    tab.tab("dataset")
    tab.tab("train")
    setup, group = page.locator("#lora_train_setup"), page.locator("#lora_train_group_network")
    for place in (setup, group):
        expect(place).to_have_js_property("inert", True)
    wait_for(lambda: page.wait_for_timeout(20) or held, bool)
    for route in held:
        route.continue_()
    page.unroute("**/run/predict*")
    filled(tab, project)
    unfold(page, "network")
    change(page, "network_dim", "14")
    tab.tab("dataset")
    tab.tab("train")
    filled(tab, project)
    expect(setting(page, "network_dim")).to_have_value("14")
    change(page, "network_dim", "-3")  # cannot be kept, and yet is not taken away
    expect(part(page, "estimate")).to_contain_text("Rank")
    change(page, "network_dim", "-4")
    tab.tab("dataset")
    tab.tab("train")
    page.wait_for_timeout(300)
    filled(tab, project)
    expect(setting(page, "network_dim")).to_have_value("-4")


def test_a_plan_says_why_and_what_it_takes(tab: Tab, rest: Rest, project: str) -> None:
    page = tab.page
    reasons = page.locator("#lora_train_plan dt:visible")
    assert reasons.count() >= 5
    expect(part(page, "plan")).to_contain_text("Resolution")
    estimate = part(page, "estimate")
    expect(estimate).to_contain_text("GB")
    before = estimate.inner_text()
    unfold(page, "run")
    change(page, "train_batch_size", "64")
    expect(estimate).not_to_have_text(before)
    expect(page.locator("#lora_train_plan .lora_train_changed", has_text="64")).to_be_visible()
    page.locator("button#lora_train_plan_button").click()
    expect(page.locator("#lora_train_plan .lora_train_changed")).to_have_count(0)
    expect(setting(page, "train_batch_size")).not_to_have_value("64")
    page.locator("#lora_train_choice label", has_text="Quick").click()
    quick = rest.post(f"projects/{project}/plan", {"kind": "character", "choice": "quick", "checkpoint": "demo"})
    expect(setting(page, "max_train_epochs")).to_have_value(str(quick["settings"]["run"]["max_train_epochs"]))
    assert rest.get(f"projects/{project}")["concepts"][0]["repeats"] == next(
        reason["value"] for reason in quick["reasons"] if reason["setting"] == "dataset.repeats"
    )


def test_files_and_kohya(tab: Tab, tmp_path: Path) -> None:
    page = tab.page
    unfold(page, "network")
    change(page, "network_dim", "13")
    unfold(page, "transfer")
    as_json = saved_file(tab, "save_json", tmp_path)
    assert json.loads(as_json.read_text(encoding="utf-8"))["network"]["network_dim"] == 13
    as_toml = saved_file(tab, "save_toml", tmp_path)
    assert load_settings(as_toml).settings.network.network_dim == 13
    page.locator("button#lora_train_show_command").click()
    expect(box(page, "command")).to_have_value(re.compile(r"--network_dim[= ]\"?13\b"))
    for path in (as_json, as_toml):
        change(page, "network_dim", "5")
        load_file(tab, path)
        expect(setting(page, "network_dim")).to_have_value("13")
    strange = tmp_path / "strange.json"
    strange.write_text('{"network": {"network_dmi": 4}}', encoding="utf-8")
    load_file(tab, strange)
    expect(tab.message("network_dmi")).to_be_visible()
    expect(setting(page, "network_dim")).to_have_value("13")


def test_presets(tab: Tab) -> None:
    page = tab.page
    unfold(page, "network")
    unfold(page, "transfer")
    change(page, "network_dim", "21")
    name = "My own 预设"
    box(page, "preset_name").fill(name)
    page.locator("button#lora_train_save_preset").click()
    expect(part(page, "message")).to_contain_text(name)
    change(page, "network_dim", "3")
    choose(page, "preset", name)
    page.locator("button#lora_train_load_preset").click()
    expect(setting(page, "network_dim")).to_have_value("21")
    choose(page, "preset", name)
    page.locator("button#lora_train_delete_preset").click()
    expect(part(page, "message")).to_contain_text(name)
    box(page, "preset").click()
    options = page.locator("#lora_train_preset ul.options li")
    expect(options.first).to_be_visible()
    assert name not in [text.strip() for text in options.all_inner_texts()]


def choose(page: Page, name: str, value: str) -> None:
    """An entry of a dropdown."""
    box(page, name).click()
    page.locator(f"#lora_train_{name} ul.options li", has_text=value).first.click()


@pytest.mark.parametrize(
    ("group", "name", "value", "label"),
    [("network", "network_dim", "-3", "Rank"), ("optimizer", "learning_rate", "fast", "Learning rate")],
)
def test_a_wrong_value_is_named(
    tab: Tab, rest: Rest, project: str, group: str, name: str, value: str, label: str
) -> None:
    page = tab.page
    unfold(page, group)
    change(page, name, value)
    page.locator("button#lora_train_train_button").click()
    notice = page.locator("#lora_train_message .lora_train_notice")
    expect(notice).to_have_count(1)
    expect(notice).to_contain_text(label)
    expect(notice).to_have_class(re.compile("lora_train_error"))
    expect(notice).to_be_in_viewport()
    assert rest.get(f"projects/{project}/runs")["runs"] == []
    assert setting(page, name).input_value() == value  # what was typed is not taken away
    expect(page.locator("select[data-action=project]")).to_have_value(project)
