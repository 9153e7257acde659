"""The card of the preparation against the real server: run, stopped, applied, undone; the report and its buttons."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from demo.character import training_set
from tests.browser.preparing import SETTINGS, card, idle, new_project, opened, path, prepared, pressed_to_the_end
from tests.helpers.preparing import barred, photo
from tests.helpers.serving import Rest, Server, png, wait_for
from tests.helpers.tab import LONG, Tab

PASS = ["check", "crop", "matte", "tag"]
HOSTILE = "<img src=x onerror='window.pwned=1'>"


@pytest.fixture
def rest(served: Server) -> Rest:
    return served.rest()


def pictures(rest: Rest, project: str) -> list[tuple[int, int, str]]:
    shown = rest.get(f"projects/{project}/pictures")["pictures"]
    return [(one["width"], one["height"], one["caption"]) for one in shown]


def test_prepared_applied_and_undone(served: Server, rest: Rest, open_tab: Callable[..., Tab]) -> None:
    project = new_project(rest, "Pass", [barred(photo(seed)) for seed in range(3)], SETTINGS)
    before = pictures(rest, project)
    tab = opened(open_tab(served), project)
    step = lambda name: tab.page.locator(f'[data-step="{name}"]')  # noqa: E731
    expect(step("check")).to_contain_text("Not done yet")
    expect(step("tag")).to_contain_text("Off: captions stay")
    expect(tab.action("show-check")).to_be_disabled()
    pressed_to_the_end(tab, "prepare")
    expect(step("check")).to_contain_text("Score")
    expect(step("crop")).to_contain_text("3 of 3 cropped")
    expect(step("crop")).to_have_attribute("data-state", "done")
    expect(tab.page.locator(".lora_train_changes")).to_contain_text("3 pictures change")
    assert pictures(rest, project) == before  # nothing before it is applied

    pressed_to_the_end(tab, "apply")
    expect(tab.page.locator(".lora_train_changes")).to_be_hidden()
    assert [one[:2] for one in pictures(rest, project)] == [(128, 128)] * 3
    undo = tab.action("undo-prepare")
    expect(undo).to_be_visible()
    undo.click()
    expect(tab.message("as they were before")).to_be_visible()
    assert pictures(rest, project) == before
    expect(tab.page.locator(".lora_train_changes")).to_contain_text("3 pictures change")

    tab.press("discard")
    tab.press("discard")  # it asks first
    expect(tab.page.locator(".lora_train_changes")).to_be_hidden()
    assert not any(rest.get(path(project))["changes"].values())


def test_stopped(served: Server, rest: Rest, open_tab: Callable[..., Tab]) -> None:
    settings = {**SETTINGS, "matte": {"background": "white", "matte": "grabcut"}}
    project = new_project(rest, "Stopped", [photo(seed, (480, 640)) for seed in range(24)], settings)
    before = pictures(rest, project)
    tab = opened(open_tab(served), project)
    tab.press("prepare")
    progress = tab.page.locator(".lora_train_prepare_progress")
    expect(progress).to_contain_text("/ 24")
    expect(tab.action("prepare")).to_be_disabled()
    expect(tab.action("train-now")).to_be_disabled()
    tab.press("stop-prepare")
    expect(progress).to_be_hidden(timeout=LONG)  # what is in progress is ended first
    expect(tab.page.locator(".lora_train_prepare_outcome")).to_contain_text("Stopped.")
    assert idle(rest, project)["last"]["state"] == "stopped"
    assert pictures(rest, project) == before
    expect(tab.action("prepare")).to_be_enabled()


def test_a_finding_and_its_button(served: Server, rest: Rest, open_tab: Callable[..., Tab]) -> None:
    project = new_project(rest, "Report", [barred(photo(seed)) for seed in range(3)], SETTINGS)
    rest.add(project, "twin.png", png(barred(photo(0)).resize((300, 300))))
    prepared(rest, project, "check")
    tab = opened(open_tab(served), project)
    page = tab.page
    tab.press("show-check")
    score = page.locator(".lora_train_ring")
    expect(score).to_have_attribute("aria-label", f"Score {rest.get(path(project, 'report'))['score']} of 100")
    twins = page.locator('.lora_train_finding[data-code^="duplicate"]')
    expect(twins.locator(".lora_train_tile")).to_have_count(2)
    expect(twins.locator(".lora_train_tile img").first).to_have_js_property("complete", True)
    twins.locator('[data-action="fix-keep_best"]').click()
    expect(twins).to_have_count(0)
    assert len(pictures(rest, project)) == 3
    page.locator('dialog [data-action="message-action"]').first.click()
    expect(twins).to_have_count(1)
    assert len(pictures(rest, project)) == 4

    bars = page.locator('.lora_train_finding[data-code="borders"]')
    expect(bars).to_have_count(1)
    bars.locator('[data-action="fix-trim"]').click()  # takes a moment, and waits to be applied
    expect(bars).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator(".lora_train_changes")).to_contain_text("4 pictures change")
    page.locator(".lora_train_tile").first.wait_for()
    rest.add(project, "later.png", png(photo(9)))
    tab.reload()
    opened(tab, project)
    expect(page.locator('[data-step="check"]')).to_contain_text("out of date")
    tab.press("show-check")
    tab.press("check-again")
    expect(tab.action("check-again")).to_have_count(0)
    expect(page.locator(".lora_train_score")).to_contain_text("5 pictures checked")


def test_names_and_captions_are_text(served: Server, rest: Rest, open_tab: Callable[..., Tab]) -> None:
    project = rest.new_project(HOSTILE, HOSTILE, kind="object")
    for number in range(2):
        rest.add(project, f"{HOSTILE}{number}.png", png(barred(photo(0))))
        rest.add(project, f"{HOSTILE}{number}.txt", f"<b>x</b>, {HOSTILE}, <script>pwned=2</script>".encode())
    rest.put(path(project, "settings"), {"settings": {**SETTINGS, "tag": {"taggers": [], "exclude": [HOSTILE]}}})
    prepared(rest, project, *PASS)
    tab = opened(open_tab(served), project)
    page = tab.page
    dialog = page.locator("dialog[open]")
    for name in ("show-check", "show-crop", "show-tag", "buckets", "models"):
        tab.press(name)
        expect(dialog).to_have_count(1)
        page.wait_for_timeout(300)
        assert dialog.locator("b, script, [onerror]").count() == 0, name
        if name == "show-crop":
            dialog.locator(".lora_train_tile").first.click()
            name_line = page.locator(".lora_train_cropper .lora_train_view_name")
            expect(name_line).to_contain_text("onerror")
            assert page.locator(".lora_train_cropper [onerror]").count() == 0
            page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
    tab.press("settings-tag")
    expect(card(tab).locator('[data-setting="tag.exclude"]')).to_have_value(HOSTILE)
    assert page.evaluate("window.pwned") is None


def test_settings_are_kept(served: Server, rest: Rest, open_tab: Callable[..., Tab]) -> None:
    project = new_project(rest, "Settings", [photo(1)], SETTINGS)
    tab = opened(open_tab(served), project)
    tab.press("settings-crop")
    width = card(tab).locator('[data-setting="crop.width"]')
    width.fill("192")
    width.press("Tab")
    tab.page.locator('[data-setting="crop.crop"]').select_option("aspect")
    expect(width).to_be_hidden()
    kept = lambda: rest.get(path(project))["settings"]["crop"]  # noqa: E731
    wait_for(kept, lambda crop: (crop["width"], crop["crop"]) == (192, "aspect"))
    tab.reload()
    opened(tab, project)
    tab.press("settings-crop")
    expect(tab.page.locator('[data-setting="crop.crop"]')).to_have_value("aspect")
    tab.press("use-planned")
    expect(tab.action("use-planned")).to_have_count(0)
    shown = rest.get(path(project))
    assert json.dumps(shown["settings"], sort_keys=True) == json.dumps(shown["planned"]["settings"], sort_keys=True)


def test_models_without_a_connection(served: Server, rest: Rest, open_tab: Callable[..., Tab]) -> None:
    project = new_project(rest, "Models", [training_set()[0][0]], SETTINGS)
    tab = opened(open_tab(served), project)
    tab.press("models")
    rows = tab.page.locator("tr[data-model]")
    expect(rows).to_have_count(len(rest.get("models")["models"]))
    expect(tab.page.locator(".lora_train_models")).to_contain_text("The server is set to stay offline.")
    expect(rows.first.locator('[data-action="fetch-model"]')).to_be_disabled()
    tab.page.locator(".lora_train_by_hand summary").click()
    expect(tab.page.locator(".lora_train_by_hand")).to_contain_text("wd-vit-tagger-v3/: model.onnx, selected_tags.csv")
    expect(tab.page.locator(".lora_train_by_hand code").first).to_have_text("data/models")
