"""Two people with logins: each sees their own projects, and nobody stops the other's training."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, expect

from demo.character import training_set
from tests.helpers.serving import Server, short_settings, wait_for
from tests.helpers.tab import Tab, new_tab

# The login page of gradio 3 would ask its makers something; the page's policy keeps it from that, and says so.
GRADIO_3 = r"console error: .*(gradio-space-api-fetcher.*Content Security Policy|Could not get api details)"
ANN, BOB = "ann:first secret", "bob:other secret"


@pytest.fixture(scope="module")
def server(serve: Callable[..., Server]) -> Server:
    return serve("--auth", f"{ANN},{BOB}")


def test_nobody_stops_somebody_elses_run(server: Server, open_tab: Callable[..., Tab]) -> None:
    ann, bob = server.rest(ANN), server.rest(BOB)
    assert server.rest().call("GET", "projects").status == 401
    assert server.rest("ann:other secret").call("GET", "projects").status == 401
    project = ann.new_project("Secret of Ann")
    ann.add_pictures(project, training_set()[:4])
    run = ann.start(project, short_settings(max_train_epochs=2000))
    wait_for(lambda: ann.get("live")["running"], lambda running: running and running["step"] > 0)

    tab = open_tab(server, login=BOB)
    tab.allowed += [r"status of 40[0134]", GRADIO_3]
    page = tab.page
    page.locator("#lora_train_dataset .lora_train_welcome").wait_for()  # no project of his
    expect(tab.page.locator("#lora_train_root")).not_to_contain_text("Secret of Ann")
    tab.tab("train")
    expect(tab.shown_run).to_be_visible()
    for name in ("pause", "save", "sample", "stop-and-save", "stop"):
        button = tab.action(name)
        expect(button).to_be_disabled()
        expect(button).to_have_attribute("title", "Started by somebody else, who alone can control it.")
    expect(page.locator("#lora_train_root")).not_to_contain_text("Secret of Ann")

    job = ann.get("live")["running"]["job"]
    for action, body in (("stop", {"save": False}), ("save", {}), ("sample", {}), ("pause", {})):
        refused = bob.call("POST", f"jobs/{job}/{action}", body)
        assert (refused.status, refused.code) == (403, "access.not_owner")
    for path in (f"projects/{project}", f"projects/{project}/runs/{run}", f"projects/{project}/pictures"):
        assert bob.call("GET", path).status == 404
    assert bob.get("projects")["projects"] == []
    assert ann.get("live")["running"]["job"] == job  # it goes on

    hers = open_tab(server, login=ANN)
    hers.allowed += [r"status of 401", GRADIO_3]
    hers.tab("train")
    hers.expect_run("running", run)
    hers.press("stop-and-save")
    hers.expect_run("stopped", run)


def test_a_wrong_password_stays_outside(server: Server, browser: Browser, open_tab: Callable[..., Tab]) -> None:
    tab = new_tab(browser, server.address)
    tab.log_in("ann:wrong", enters=False)
    expect(tab.page.locator("body")).to_contain_text(re.compile("incorrect", re.IGNORECASE))
    expect(tab.page.locator("#lora_train_root")).to_have_count(0)
    tab.close()
    inside = open_tab(server, login=ANN)
    inside.allowed += [r"status of 401", GRADIO_3]
    expect(inside.page.locator("#lora_train_root")).to_have_count(1)
