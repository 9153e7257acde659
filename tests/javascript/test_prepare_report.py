"""The report of the check: findings with pictures that can be chosen, fixes with the way back, thousands of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.javascript.preparing import HOSTILE, Preparing, close_preparation, open_preparation

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

MANY = 2000
EXCLUDE, BEST = {"name": "exclude", "label": "Leave out"}, {"name": "keep_best", "label": "Keep the best"}
OPEN = """async () => {
    window.told = [];
    const calls = {changed: async () => { told.push("changed"); }, restore: async (id) => { told.push(id); }};
    const sheet = new loraTrain.ReportSheet(preparation, new loraTrain.CropEditor(preparation), calls);
    await sheet.open();
}"""


def finding(name: str, severity: str, count: int, fixes: list[dict[str, str]], best: str = "") -> dict[str, Any]:
    pictures = [{"source": f"s{place}", "name": HOSTILE, "stamp": "1"} for place in range(count)]
    return {
        "id": name, "code": f"health.{name}", "severity": severity, "title": f"<b>{name}", "fixes": fixes, "best": best,
        "sentence": f"<i>{name} & more</i>", "pictures": pictures,
    }  # fmt: skip


def report(*findings: dict[str, Any], stale: bool = False) -> dict[str, Any]:
    reasons = ["-13: <u>blur"] if findings else []
    return {"score": 87, "reasons": reasons, "checked": 20, "time": 1.7e9, "stale": stale, "findings": list(findings)}


@pytest.fixture
def server() -> Preparing:
    server = Preparing(total=MANY)
    server.answers["report"] = report(
        finding("few", "hint", 0, []),
        finding("small", "warning", MANY, [EXCLUDE]),
        finding("twins", "warning", 3, [BEST, EXCLUDE], "s1"),
        finding("blurred", "error", 2, [EXCLUDE]),
    )
    server.answers["fix"] = {"sentence": "<b>Gone.", "trash_id": "t1", "overview": server.overview}
    return server


@pytest.fixture
def sheet(page: Page, server: Preparing) -> Iterator[Page]:
    page.set_viewport_size({"width": 1280, "height": 900})
    open_preparation(page, server)
    page.evaluate(OPEN)
    yield page
    assert page.evaluate("window.harmed") is None
    close_preparation(page, server)


def card(page: Page, name: str) -> Locator:
    return page.locator(f'[data-finding="{name}"]')


def test_what_is_said(sheet: Page) -> None:
    assert sheet.locator(".lora_train_finding").evaluate_all("all => all.map((one) => one.dataset.finding)") == [
        "blurred", "small", "twins", "few",
    ]  # fmt: skip
    expect(sheet.locator(".lora_train_ring")).to_have_attribute("aria-label", "Score 87 of 100")
    expect(sheet.locator(".lora_train_reasons")).to_have_text("-13: <u>blur")
    expect(card(sheet, "blurred")).to_contain_text("<i>blurred & more</i>")
    assert sheet.locator("dialog b, dialog i, dialog u").count() == 0
    expect(card(sheet, "twins").locator(".lora_train_best:visible")).to_have_count(1)
    expect(card(sheet, "twins").locator('[role="option"]').nth(1)).to_have_attribute("aria-label", f"{HOSTILE}, best")


def test_thousands_are_not_all_in_the_page(sheet: Page, server: Preparing) -> None:
    small = card(sheet, "small")
    assert small.locator(".lora_train_tile").count() <= 14
    small.locator('[data-action="show-all"]').click()
    box = small.locator(".lora_train_grid")
    expect(box).to_be_focused()
    box.press("End")
    expect(small.locator(f'[data-place="{MANY - 1}"]')).to_be_visible()
    assert small.locator(".lora_train_tile").count() < 150
    assert len([path for _, path, _ in server.asked if path.endswith("thumbnail")]) < 400


def test_a_fix_for_all_and_its_undo(sheet: Page, server: Preparing) -> None:
    press = card(sheet, "blurred").locator('[data-action="fix-exclude"]')
    expect(press).to_have_text("Leave out (2)")
    server.answers["report"] = report()
    press.click()
    expect(sheet.locator(".lora_train_report")).to_contain_text("Nothing was found.")
    assert server.posts("fix") == [{"finding": "blurred", "fix": "exclude", "sources": []}]
    said = sheet.locator("dialog .lora_train_messages .lora_train_message")
    expect(said).to_contain_text("<b>Gone.")
    server.answers["report"] = report(finding("blurred", "error", 2, [EXCLUDE]))
    said.locator('[data-action="message-action"]').click()
    expect(card(sheet, "blurred")).to_be_visible()
    assert sheet.evaluate("told") == ["changed", "t1"]


def test_a_fix_for_some(sheet: Page, server: Preparing) -> None:
    twins = card(sheet, "twins")
    expect(twins.locator('[data-action="fix-keep_best"]')).to_have_text("Keep the best")
    twins.locator(".lora_train_tile").nth(2).click()
    twins.locator(".lora_train_grid").press("ArrowLeft")
    twins.locator(".lora_train_grid").press("Space")
    expect(twins.locator('[aria-selected="true"]')).to_have_count(2)
    press = twins.locator('[data-action="fix-exclude"]')
    expect(press).to_have_text("Leave out (2 chosen)")
    twins.locator(".lora_train_tile").nth(2).click()
    press.click()
    expect(sheet.locator("dialog .lora_train_messages")).to_contain_text("Gone")
    assert server.posts("fix") == [{"finding": "twins", "fix": "exclude", "sources": ["s1"]}]


def test_a_picture_large(sheet: Page) -> None:
    twins = card(sheet, "twins").locator(".lora_train_grid")
    twins.focus()
    twins.press("ArrowRight")
    twins.press("Enter")
    expect(sheet.locator(".lora_train_cropper .lora_train_view_name")).to_contain_text("2 / 2,000")
    sheet.keyboard.press("Escape")
    expect(sheet.locator(".lora_train_cropper")).to_have_count(0)
    expect(sheet.locator(".lora_train_report")).to_be_visible()


def test_checked_again(sheet: Page, server: Preparing) -> None:
    server.answers["report"] = report(stale=True)
    sheet.evaluate("loraTrain.emit('prepared')")
    again = sheet.locator('[data-action="check-again"]')
    expect(again).to_be_visible()
    server.answers["report"] = report()
    again.click()
    expect(again).to_be_hidden()
    assert server.posts("start") == [{"steps": ["check"], "apply": False, "train": None}]
