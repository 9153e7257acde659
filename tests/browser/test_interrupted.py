"""A server that is killed in the middle of a run: the next start shows it, and Resume ends it exactly as meant."""

from __future__ import annotations

from collections.abc import Callable

import torch
from playwright.sync_api import expect
from safetensors.torch import load

from demo.character import training_set
from tests.helpers.serving import Rest, Server, short_settings
from tests.helpers.tab import Tab

EPOCHS, PICTURES = 5, 4
SETTINGS = short_settings(max_train_epochs=EPOCHS, save_every_n_epochs=1, seed=7)


def test_killed_and_resumed_is_as_if_nothing_had_been(
    serve: Callable[..., Server], open_tab: Callable[..., Tab]
) -> None:
    server = serve()
    rest = server.rest()
    project = rest.new_project("Zuna")
    rest.add_pictures(project, training_set()[:PICTURES])
    whole = rest.start(project, SETTINGS)
    rest.wait_for_end(project, whole)

    cut = rest.start(project, SETTINGS)
    rest.wait_for_run(project, cut, lambda run: len(run["files"]) >= 2)
    server.kill()
    server.start()

    rest = server.rest()
    found = rest.run(project, cut)
    assert found["state"] == "interrupted"
    assert found["can_resume"]
    assert 0 < found["step"] < found["total_steps"]

    tab = open_tab(server)
    page = tab.page
    tab.tab("runs")
    row = page.locator(f'tr[data-run="{cut}"]')
    expect(row).to_have_attribute("data-state", "interrupted")
    expect(row).to_contain_text("Interrupted")
    row.locator(".lora_train_link").click()
    details = page.locator(f'[data-details="{cut}"]')
    expect(details).to_contain_text("Interrupted")
    details.locator('[data-action="resume"]').click()
    expect(page.locator("#lora_train_live")).to_be_visible()
    tab.expect_run("done", cut)

    ended = rest.run(project, cut)
    assert ended["step"] == ended["total_steps"] == found["total_steps"]
    assert ended["attempt"] == 2
    first, second = (tensors(rest, project, run) for run in (whole, cut))
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def tensors(rest: Rest, project: str, run: str) -> dict[str, torch.Tensor]:
    """Of the last file of a run."""
    details = rest.run(project, run)
    assert details["lora"] == details["files"][-1]["name"]
    content = rest.get(f"projects/{project}/runs/{run}/files/{details['lora']}")
    return load(content)
