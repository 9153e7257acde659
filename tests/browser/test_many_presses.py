"""Train pressed ten times at once, in several windows and by programs: one runs, the others wait or are told why not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from playwright.sync_api import expect

from demo.character import training_set
from lib_lora_train.jobs import MAX_WAITING
from tests.helpers.serving import Answer, Rest, Server, short_settings, wait_for
from tests.helpers.tab import Tab

PRESSES = 10
BY_PAGE = 5
# All windows press at the same moment of the clock, whatever they were doing.
PRESS_AT = """([at, selectors]) => {
    for (const selector of selectors) {
        setTimeout(() => document.querySelector(selector).click(), at - Date.now());
    }
}"""
# What was said in a window, also where the other press of that moment has said something else since.
KEEP_WORDS = """() => {
    window.wordsSeen = "";
    const look = () => { window.wordsSeen += document.getElementById("lora_train_root").innerText; };
    new MutationObserver(look).observe(document.getElementById("lora_train_root"), {childList: true, subtree: true,
        characterData: true});
}"""
REFUSED = "() => window.wordsSeen.includes('cannot be put in line')"
TRAIN_NOW = '[data-action="train-now"]'
TRAIN = "button#lora_train_train_button"


def test_ten_presses_at_once(served: Server, open_tab: Callable[..., Tab]) -> None:
    rest = served.rest()
    project = rest.new_project("Many")
    rest.add_pictures(project, training_set()[:4])
    wishes = {"kind": "character", "choice": "balanced", "checkpoint": "demo"}
    reasons = rest.post(f"projects/{project}/plan", wishes)["reasons"]
    repeats = next(reason["value"] for reason in reasons if reason["setting"] == "dataset.repeats")
    concept = rest.get(f"projects/{project}")["concepts"][0]["id"]
    # As planned already: once a run has started, its project's folders stay as they are.
    rest.call("PATCH", f"projects/{project}/concepts/{concept}", {"repeats": repeats})
    windows = [open_tab(served) for _ in range(3)]
    for tab in windows:
        tab.select_project(project)
        tab.allowed.append(r"status of 409")  # the line is full
        expect(tab.action("train-now")).to_be_enabled()
        tab.action("prepare-first").uncheck()
    for tab in windows[:2]:
        tab.tab("train")
        expect(tab.page.locator("#lora_train_plan dt").first).to_be_visible()

    for tab in windows:
        tab.page.evaluate(KEEP_WORDS)
    at = time.time() + 1.5
    pressed = ([TRAIN_NOW, TRAIN], [TRAIN_NOW, TRAIN], [TRAIN_NOW])
    assert sum(map(len, pressed)) == BY_PAGE
    for tab, selectors in zip(windows, pressed, strict=True):
        tab.page.evaluate(PRESS_AT, [at * 1000, selectors])
    answers = rest_presses(rest, project, at, PRESSES - BY_PAGE)

    runs = wait_for(
        lambda: rest.get(f"projects/{project}/runs")["runs"],
        lambda found: len(found) == MAX_WAITING + 1 and all(run["job"] for run in found),
    )
    assert sorted(answer.status for answer in answers) <= [201, 201, 201, 201, 409]
    live = wait_for(lambda: rest.get("live"), lambda now: now["running"] is not None)
    assert [waiting["place"] for waiting in live["queue"]] == list(range(1, MAX_WAITING + 1))
    jobs = {live["running"]["job"], *(waiting["job"] for waiting in live["queue"])}
    assert jobs == {run["job"] for run in runs}  # nobody's is lost, and nobody's is there twice
    assert {answer.body["job"] for answer in answers if answer.status == 201} <= jobs

    refused_by_rest = [answer for answer in answers if answer.status == 409]
    assert [answer.code for answer in refused_by_rest] == ["job.queue_full"] * len(refused_by_rest)
    told = wait_for(
        lambda: sum(tab.page.evaluate(REFUSED) for tab in windows) + len(refused_by_rest),
        lambda count: count == PRESSES - (MAX_WAITING + 1),
    )
    assert told == 1
    for tab in windows:
        tab.tab("train")
        expect(tab.page.locator(".lora_train_queue li")).to_have_count(MAX_WAITING)
        places = tab.page.locator(".lora_train_queue .lora_train_place").all_inner_texts()
        assert places == [str(place) for place in range(1, MAX_WAITING + 1)]

    order_and_cancel(windows[0], rest)
    rest.end_jobs()
    states = [run["state"] for run in rest.get(f"projects/{project}/runs")["runs"]]
    assert states == ["stopped"] * (MAX_WAITING + 1)


def rest_presses(rest: Rest, project: str, at: float, count: int) -> list[Answer]:
    """As many programs at the same moment."""
    together = threading.Barrier(count)
    settings = short_settings(max_train_epochs=200)

    def press(_: int) -> Answer:
        together.wait()
        time.sleep(max(0.0, at - time.time()))
        return rest.call("POST", f"projects/{project}/runs", {"settings": settings})

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(press, range(count)))


def order_and_cancel(tab: Tab, rest: Rest) -> None:
    """The second in line goes first, then the last is taken out of it."""
    line = tab.page.locator(".lora_train_queue li")
    second, last = (line.nth(place).get_attribute("data-job") for place in (1, MAX_WAITING - 1))
    line.nth(1).locator('[data-action="up"]').click()
    expect(line.first).to_have_attribute("data-job", second or "")
    line.nth(MAX_WAITING - 1).locator('[data-action="cancel-job"]').click()
    expect(line).to_have_count(MAX_WAITING - 1)
    queue = [waiting["job"] for waiting in rest.get("live")["queue"]]
    assert queue[0] == second
    assert last not in queue
