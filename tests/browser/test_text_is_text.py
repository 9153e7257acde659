"""Captions, titles, concepts and file names that hold markup and scripts are shown as the text they are."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from demo.character import training_set
from tests.helpers.serving import Rest, Server, png, short_settings
from tests.helpers.tab import Tab

ELSEWHERE = "http://127.0.0.1:9/"
PAYLOADS = [
    "<script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 2'>",
    "<svg onload=window.pwned=3>",
    '"><iframe src=javascript:window.parent.pwned=4>',
    "' onmouseover='window.pwned=5' x='",
    '" autofocus onfocus="window.pwned=6',
    "<a href=javascript:window.pwned=7>x</a>",
    "</title><script>window.pwned=8</script>",
    "</textarea><script>window.pwned=9</script>",
    "<style>@import url(http://127.0.0.1:9/a.css)</style>",
    f"<link rel=stylesheet href={ELSEWHERE}b.css>",
    f"<img src={ELSEWHERE}c.png>",
    "<math><mtext></p><img src onerror=window.pwned=10>",
    "{{constructor.constructor('window.pwned=11')()}}",
    "${window.pwned=12}",
    "&lt;b&gt; &amp; &quot;",
    "javascript:window.pwned=13",
    "<b>bold</b> **bold** [x](http://127.0.0.1:9/)",
    "\u202egnp.<script>window.pwned=14</script>",
    "<template><script>window.pwned=15</script></template><object data=x>",
]
# What only markup can have made: nothing that we draw has handlers in attributes, or any of these elements.
INTRUDERS = """() => {
    const all = [...document.querySelector("#lora_train_root").querySelectorAll("*")];
    const armed = all.filter((one) => [...one.attributes].some((a) => a.name.startsWith("on") || /^\\s*javascript:/i.test(a.value)));
    const strange = all.filter((one) => one.matches("script, iframe, object, embed, link, math, b, template, [autofocus]"));
    return [window.pwned ?? null, ...[...armed, ...strange].map((one) => one.outerHTML.slice(0, 200))];
}"""
CLEAN = [None]


@pytest.fixture(scope="module")
def hostile(served: Server) -> tuple[Rest, str]:
    """A project where everything that can have a name has a hostile one."""
    assert len(PAYLOADS) == 20
    rest = served.rest()
    projects = [rest.new_project(payload, payload) for payload in PAYLOADS]
    project, image = projects[-1], png(training_set()[0][0])
    for payload in PAYLOADS:
        answer = rest.call("POST", f"projects/{project}/concepts", {"name": payload})
        assert answer.status in (201, 400), answer.body
    concept = rest.get(f"projects/{project}")["concepts"][0]["id"]
    for payload in PAYLOADS:
        query = urllib.parse.urlencode({"concept": concept, "name": f"{payload}.png"})
        answer = rest.call("POST", f"projects/{project}/files?{query}", data=image)
        assert answer.status in (200, 201, 400), answer.body
    for number in range(len(PAYLOADS)):
        rest.add(project, f"plain{number:02d}.png", image, concept)
    return rest, project


def test_titles_concepts_and_names(hostile: tuple[Rest, str], served: Server, open_tab: Callable[..., Tab]) -> None:
    rest, project = hostile
    tab = open_tab(served)
    page = tab.page
    titles = page.locator('select[data-action="project"] option')
    expect(titles.nth(len(PAYLOADS) - 1)).to_be_attached()  # the page has its list
    assert set(PAYLOADS) <= set(titles.all_text_contents())
    for one in rest.get("projects")["projects"][: len(PAYLOADS)]:
        tab.select_project(one["id"])
        assert page.evaluate(INTRUDERS) == CLEAN
    tab.select_project(project)
    concepts = {one["name"] for one in rest.get(f"projects/{project}")["concepts"]}
    chips = page.locator(".lora_train_chip > span:first-child")
    expect(chips).to_have_count(len(concepts) + 1)
    assert concepts <= set(chips.all_text_contents())
    listed = rest.get(f"projects/{project}/pictures")
    tiles = page.locator(".lora_train_tile")
    expect(tiles.first).to_be_visible()
    names = {picture["name"] for picture in listed["pictures"]}
    assert sum("pwned" in name or "<" in name for name in names) >= 8  # what stands behind a slash is a folder
    assert set(tiles.evaluate_all("tiles => tiles.map((tile) => tile.title)")) <= names
    for name in ("train", "runs", "tags", "previews", "dataset"):
        tab.tab(name)
        assert page.evaluate(INTRUDERS) == CLEAN
    tab.press("rename-project")
    assert page.locator('[data-form="project"] [name="title"]').input_value() == PAYLOADS[-1]
    expect(page.locator("#lora_train_name textarea, #lora_train_name input").first).to_have_value(PAYLOADS[-1])
    assert page.evaluate(INTRUDERS) == CLEAN


def test_captions(hostile: tuple[Rest, str], served: Server, open_tab: Callable[..., Tab]) -> None:
    """Typed into the page, found on disk byte by byte, and shown again."""
    rest, project = hostile
    tab = open_tab(served)
    page = tab.page
    tab.select_project(project)
    listed = rest.get(f"projects/{project}/pictures")["pictures"]
    first = next(place for place, picture in enumerate(listed) if picture["name"] == "plain00.png")
    page.locator(f'.lora_train_tile[data-place="{first}"]').click()
    caption = page.locator('dialog [name="caption"]')
    for payload in PAYLOADS:
        caption.fill(payload)
        page.keyboard.press("Control+Enter")
        expect(page.locator('[data-note="caption"]')).to_have_text("Saved")
        tab.press("next")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    shown = page.locator(".lora_train_tile_caption").all_text_contents()
    assert set(PAYLOADS) <= set(shown)
    assert page.evaluate(INTRUDERS) == CLEAN
    folder = served.data / "projects" / project / "dataset"
    written = {path.name: path.read_bytes() for path in folder.rglob("plain*.txt")}
    assert written == {f"plain{n:02d}.txt": payload.encode() for n, payload in enumerate(PAYLOADS)}


def test_a_run_of_a_hostile_project(hostile: tuple[Rest, str], served: Server, open_tab: Callable[..., Tab]) -> None:
    """Title, samples' prompts, log and files of a run; the first payload's project."""
    rest, _ = hostile
    projects = {one["title"]: one["id"] for one in rest.get("projects")["projects"]}
    project = projects[PAYLOADS[0]]
    rest.add_pictures(project, [(image, PAYLOADS[1]) for image, _ in training_set()[:2]])
    tab = open_tab(served)
    page = tab.page
    tab.select_project(project)
    tab.tab("train")
    run = rest.start(project, short_settings(sample_prompts="\n".join(PAYLOADS[:2]), sample_every_n_epochs=1))
    tab.expect_run("done", run)
    expect(page.locator("#lora_train_live .lora_train_run_title")).to_contain_text(PAYLOADS[0])
    assert page.evaluate(INTRUDERS) == CLEAN
    tab.tab("runs")
    page.locator(f'tr[data-run="{run}"] .lora_train_link').click()
    page.locator(f'[data-details="{run}"]').wait_for()
    for one in page.locator("details > summary:visible").all():
        one.click()
    assert page.evaluate(INTRUDERS) == CLEAN
