"""The WebUI's own progress bar follows a run, from its place in line to its end, and again when it is started again."""

from __future__ import annotations

from typing import Any

from tests.helpers.serving import wait_for
from tests.helpers.webui import Webui, in_thread, settings_for

TASK = "task(lora-train)"


def bar(webui: Webui) -> Any:
    """What the page asks for once a second."""
    return webui.ask("POST", "internal/progress", {"id_task": TASK, "id_live_preview": -1})


def start(webui: Webui, project: str, **run: Any) -> str:
    return webui.rest.start(project, settings_for(webui, run=run))


def held(webui: Webui, project: str, after: int, **run: Any) -> str:
    webui.hold("loop", after)
    started = start(webui, project, **run)
    webui.wait_held()
    return started


def test_it_waits_runs_and_ends(webui: Webui, project: str) -> None:
    webui.hold("sampling")
    picture = in_thread(webui.txt2img)
    webui.wait_held()
    first = start(webui, project)
    waiting = wait_for(lambda: bar(webui), lambda shown: shown["queued"], 30)
    assert not waiting["active"]
    assert not waiting["completed"]
    assert TASK in webui.ask("GET", "internal/pending-tasks")["tasks"]
    webui.release()
    picture.result(60)
    webui.rest.wait_for_end(project, first)
    webui.wait_idle()
    over = bar(webui)
    assert over["completed"]
    assert not over["active"]
    assert not over["queued"]

    second = held(webui, project, after=4)
    active = bar(webui)
    assert active["active"]
    assert not active["completed"]
    assert active["progress"] == 0.5  # three of six steps are done
    assert active["textinfo"].startswith("Training: step 3 of 6, loss 0.") or "loss 1." in active["textinfo"]
    assert "\n" not in active["textinfo"]
    webui.release()
    webui.rest.wait_for_end(project, second)


def test_a_stop_takes_it_out_of_the_line(webui: Webui, project: str) -> None:
    webui.hold("sampling")
    picture = in_thread(webui.txt2img)
    webui.wait_held()
    run = start(webui, project)
    wait_for(lambda: bar(webui), lambda shown: shown["queued"], 30)
    webui.rest.post(f"jobs/{webui.rest.get('live')['running']['job']}/stop", {"save": False})
    webui.rest.wait_for_end(project, run, "stopped", seconds=5)  # while the picture still has the lock
    assert not bar(webui)["queued"]
    webui.release()
    picture.result(60)


def test_it_is_not_shown_while_paused(webui: Webui, project: str) -> None:
    run = held(webui, project, after=3)
    job = f"jobs/{webui.rest.get('live')['running']['job']}"
    webui.rest.post(f"{job}/pause", {})
    webui.release()
    webui.wait_idle()
    assert not bar(webui)["active"]
    assert webui.state()["state"]["job"] == ""
    webui.hold("loop", 2)
    webui.rest.post(f"{job}/continue", {})
    webui.wait_held()
    again = bar(webui)
    assert again["active"]
    assert not again["completed"]
    assert again["progress"] > 0.5
    webui.release()
    webui.rest.wait_for_end(project, run)


def test_what_others_write_into_it_is_put_right_with_the_next_step(webui: Webui, project: str) -> None:
    run = held(webui, project, after=2)
    webui.inside("guard", "forget_the_job")
    assert bar(webui)["progress"] == 0
    webui.release()
    webui.hold("loop", 2)
    webui.wait_held()
    assert bar(webui)["progress"] > 0.3
    webui.release()
    webui.rest.wait_for_end(project, run)


def test_a_sample_is_its_preview(webui: Webui, project: str) -> None:
    webui.hold("loop", 4)
    run = start(webui, project, sample_every_n_steps=2, sample_prompts="zuna --w 64 --h 64 --s 2")
    webui.wait_held()
    shown = bar(webui)
    assert shown["live_preview"].startswith("data:image/")
    assert shown["progress"] == 0.5  # drawing has not moved the bar
    webui.release()
    webui.rest.wait_for_end(project, run)
