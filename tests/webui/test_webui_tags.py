"""The tag editor in the WebUI's own page: what is on the disk is what is on the screen, step by step; tokens as the
loaded checkpoint counts them; the WebUI's keys and ours; completion by the WebUI's extension for it."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from demo.originals import originals
from tests.browser.preparing import pressed_to_the_end
from tests.helpers.preparing import DEMO_TAGGER
from tests.helpers.serving import wait_for
from tests.helpers.webui import Webui
from tests.helpers.webui_tab import WebuiTab

MANY = 60
# As the list of all tags says it: those of the pictures found, in the rows that are in the page.
ROWS = """(list) => [...list.querySelectorAll(".lora_train_frequency_row")].map((row) => [
    row.querySelector(".lora_train_tag_name").textContent,
    Number(row.querySelector(".lora_train_frequency_count").textContent)])"""
# What the page knows of every picture that the filter found, once nothing is on its way any more.
KNOWN = """async () => {
    const {tags} = loraTrain;
    await tags.queue;
    const read = await Promise.all(tags.found.pictures.map((id) => (
        tags.pictures.known.has(id) && !tags.pictures.old.has(id) ? tags.pictures.known.get(id)
            : tags.pictures.read(id))));
    return read.map(({name, tags}) => [name, tags]);
}"""
# A stand-in for the extension, as far as a page can tell: a global of a script, settings, a class on the field, and
# its events without `inputType`.
OTHER_COMPLETION = r"""() => {
    window.TAC_CFG = {activeIn: {thirdParty: true}};
    window.handed = [];
    window.addAutocompleteToArea = (area) => {
        if (area.classList.contains("autocomplete")) return;
        window.handed.push(area.name);
        area.classList.add("autocomplete");
        area.addEventListener("keydown", (event) => {
            if (event.key !== "Tab") return;
            area.value = "zuna \\(series\\), ";
            area.dispatchEvent(new Event("input", {bubbles: true}));
            event.preventDefault();
            event.stopPropagation();
        });
    };
}"""


def own_tagger(webui: Webui) -> None:
    """The demo's tagger, where the WebUI looks for models of its user's own."""
    folder = webui.data / "models" / "lora_train" / "demo-tagger"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("model.onnx", "selected_tags.csv"):
        shutil.copyfile(DEMO_TAGGER / name, folder / name)


def new_project(webui: Webui, title: str, captions: list[str]) -> str:
    project = webui.rest.new_project(title)
    pictures = originals(n=len(captions))
    webui.rest.add_pictures(project, list(zip(pictures, captions, strict=True)))
    return project


class Editor:
    """The sub-tab Tags of a project, beside the project's folder."""

    def __init__(self, webui: Webui, tab: WebuiTab, project: str) -> None:
        self.webui, self.tab, self.page, self.project = webui, tab, tab.page, project
        [dataset] = (one for one in webui.data.rglob("dataset") if one.parent.name == project)
        [self.folder] = (one for one in dataset.iterdir() if one.is_dir())

    def show(self) -> Editor:
        self.tab.select_project(self.project)
        self.tab.tab("tags")
        expect(self.tiles.first).to_be_visible()
        self.page.wait_for_function("loraTrain.tags.pictures.known.has(loraTrain.tags.current)")
        return self

    @property
    def tiles(self) -> Locator:
        return self.page.locator(".lora_train_tagging_gallery .lora_train_tile")

    @property
    def name(self) -> str:
        return self.page.locator(".lora_train_tagging_name").inner_text()

    @property
    def count(self) -> Locator:
        return self.page.locator('[data-note="found"]')

    def filter(self, words: str) -> None:
        self.page.locator('[name="filter"]').fill(words)
        self.page.keyboard.press("Enter")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def captions(self) -> dict[str, list[str]]:
        """On the disk: tags by the pictures' names."""
        self._written()
        files = {path.stem: path.read_text(encoding="utf-8") for path in self.folder.glob("*.txt")}
        stems = {path.name: path.stem for path in self.folder.glob("*.png")}
        return {name: [tag for tag in files.get(stem, "").strip().split(", ") if tag] for name, stem in stems.items()}

    def same(self, found: int = MANY) -> dict[str, list[str]]:
        """Screen and disk say the same: the caption in sight, those of all pictures found, and the list of all tags."""
        self.page.evaluate("() => loraTrain.tags.queue")
        disk = self.captions()
        shown = dict(wait_for(lambda: self.page.evaluate(KNOWN), lambda seen: dict(seen).items() <= disk.items(), 20))
        assert len(shown) == found
        expect(self.page.locator(".lora_train_tag_words")).to_have_text(disk[self.name])
        counts = Counter(tag for name in shown for tag in disk[name])
        rows = self.page.locator(".lora_train_frequency_list")
        wait_for(lambda: Counter(dict(rows.evaluate(ROWS))), lambda seen: len(seen) > 3 and seen <= counts, 20)
        expect(self.page.locator(".lora_train_frequency_head [role='status']")).to_have_text(f"{len(counts)} tags")
        expect(self.page.locator('[role="status"]:visible').get_by_text("Writing the files")).to_have_count(0)
        return disk

    def _written(self) -> None:
        path = f"projects/{self.project}/tags"
        wait_for(lambda: self.webui.rest.get(path)["writing"], lambda writing: writing is None)


@pytest.fixture
def opened(webui: Webui, open_tab: Callable[..., WebuiTab]) -> Callable[[str], Editor]:
    return lambda project: Editor(webui, open_tab(webui), project).show()


def test_sixty_drawings(webui: Webui, open_tab: Callable[..., WebuiTab]) -> None:
    own_tagger(webui)
    project = new_project(webui, "Sixty", [""] * MANY)
    webui.rest.put(f"projects/{project}/prepare/settings", {"settings": {"tag": {"taggers": ["demo-tagger"]}}})
    before = webui.hash()
    editor = Editor(webui, open_tab(webui), project).show()
    tab, page = editor.tab, editor.page

    # Tag.
    tab.press("to-prepare")
    pressed_to_the_end(tab, "prepare")
    pressed_to_the_end(tab, "apply")
    tab.tab("tags")
    expect(page.locator('[data-note="no-captions"]')).to_have_count(0)
    tagged = editor.same()
    assert all(tags[0] == "quillon" and len(tags) > 3 for tags in tagged.values())

    # Filter.
    smiling = {name for name, tags in tagged.items() if "smile" in tags}
    assert 5 < len(smiling) < MANY - 5
    editor.filter("tag:smile")
    expect(editor.count).to_have_text(f"{len(smiling)} of {MANY} pictures")
    assert editor.same(len(smiling)) == tagged

    # Replace in those found, after a look at what that does.
    expect(tab.action("edit-captions")).to_have_text(f"Edit {len(smiling)} found")
    tab.press("edit-captions")
    page.locator('dialog .lora_train_chip[data-kind="replace"]').click()
    page.locator('dialog [data-field="find"]').fill("smile")
    page.locator('dialog [data-field="replace"]').fill("grin, teeth")
    expect(tab.action("edit-apply")).to_have_text(f"Apply to {len(smiling)} pictures")
    assert editor.captions() == tagged  # so far it was only shown
    tab.press("edit-apply")
    expect(page.locator(".lora_train_message", has_text=f"{len(smiling)} captions were changed.")).to_be_visible()
    editor.press("Escape")
    editor.filter("")
    expect(editor.count).to_have_text(f"{MANY} pictures")
    replaced = editor.same()
    assert replaced == {
        name: [new for tag in tags for new in (("grin", "teeth") if tag == "smile" else (tag,))]
        for name, tags in tagged.items()
    }

    # Bind, and rewrite one caption by hand.
    tab.press("binding")
    expect(page.locator('[data-note="summary"]')).to_contain_text("green hair")
    bound = page.locator('.lora_train_bind_column[data-decision="bind"] .lora_train_bind_card').evaluate_all(
        "all => all.map((one) => one.dataset.tag)"
    )
    tab.press("binding-apply")
    expect(page.locator(".lora_train_message", has_text="The traits are bound;")).to_be_visible()
    editor.press("Escape")
    traits = editor.same()
    assert "green hair" in bound
    assert traits == {name: [tag for tag in tags if tag not in bound] for name, tags in replaced.items()}
    editor.press("g", "End", "a")
    page.keyboard.type("by hand")
    editor.press("Enter", "Escape")
    by_hand = editor.same()
    assert by_hand["060.png"] == [*traits["060.png"], "by hand"]

    # Undo everything, in one step and one by one; redo.
    tab.press("history")
    expect(page.locator(".lora_train_history [data-step]")).to_have_count(3)
    tab.press("undo-sitting")
    expect(page.locator(".lora_train_undone")).to_have_count(3)
    editor.press("Escape")
    assert editor.same() == tagged
    for after in (replaced, traits, by_hand):
        editor.press("g", "Control+y")
        assert editor.same() == after
    editor.press("Control+z", "Control+z", "Control+z")
    assert editor.same() == tagged
    editor.press("Control+Shift+z", "Control+Shift+z")
    assert editor.same() == traits

    # Close the page in the middle of two things, and come back.
    editor.press("Home", "a")
    page.keyboard.type("before leaving")
    editor.press("Enter", "Escape", "PageDown")
    tab.press("as-text")
    text = page.locator('[name="tags-caption"]')
    expect(text).to_have_value(", ".join(traits["002.png"]))
    text.fill("quillon, half of a")
    page.goto("about:blank")  # while the field still has the keyboard
    wait_for(lambda: editor.captions()["002.png"], lambda tags: tags == ["quillon", "half of a"])
    again = Editor(webui, open_tab(webui), project).show()
    left = again.same()
    assert left == traits | {
        "001.png": [*traits["001.png"], "before leaving"], "002.png": ["quillon", "half of a"],
    }  # fmt: skip
    again.press("Control+z", "Control+z")
    assert again.same() == traits
    again.tab.press("history")
    expect(again.page.locator(".lora_train_history [data-step]")).to_have_count(4)
    again.page.locator('[data-action="rollback"]').last.click()
    expect(again.page.locator(".lora_train_undone")).to_have_count(4)
    again.press("Escape")
    assert again.same() == tagged
    assert webui.hash().against(before) == {}
    assert webui.complaints() == []


def test_tokens_are_those_of_the_loaded_checkpoint(webui: Webui, opened: Callable[[str], Editor]) -> None:
    long = [f"{colour} {thing}" for colour in ("red", "blue", "green") for thing in ("hat", "dress", "ribbon") * 6]
    editor = opened(new_project(webui, "Tokens", ["quillon, smile", ", ".join(["quillon", *long])]))
    page, line = editor.page, editor.page.locator('[data-note="tokens"]')
    told = webui.inside("counting", "counts", texts=["quillon, smile", ", ".join(["quillon", *long])], limit=75)
    short, over = told["theirs"]
    assert short < 75 < over
    expect(line).to_have_text(f"{short} of 75 tokens")
    editor.press("PageDown")
    expect(line).to_contain_text(f"{over} of 75 tokens · the last ")
    cut = page.locator(".lora_train_tag_chip.lora_train_cut")
    assert cut.locator("s").all_text_contents() == long[-cut.count() :]
    kept = ", ".join(["quillon", *long][: -cut.count()])
    fits, next_tag = (
        webui.inside("counting", "counts", texts=[words], limit=75)["theirs"][0]
        for words in (kept, f"{kept}, {long[-cut.count()]}")
    )
    assert fits <= 75 < next_tag
    editor.filter(f"tokens:>={over}")
    expect(editor.count).to_have_text("1 of 2 pictures")


def test_the_webuis_keys_and_ours(webui: Webui, opened: Callable[[str], Editor]) -> None:
    """A key does one thing: in our tab ours, in txt2img the WebUI's, whose handler fails where nothing is drawn."""
    editor = opened(new_project(webui, "Keys", ["quillon, a, b, c", "quillon, d, e, f"]))
    tab, page = editor.tab, editor.page
    gallery = page.locator("#txt2img_gallery img")
    editor.press("a")
    page.keyboard.type("new")
    editor.press("Enter", "Control+Enter", "Alt+Enter", "Escape", "Escape", "c", "Escape", "Control+Enter")
    editor.press("c", "End", "Alt+ArrowLeft")
    changed = editor.same(2)
    assert changed["001.png"] == ["quillon", "a", "b", "new", "c"]
    assert webui.state()["state"]["job_count"] <= 0
    expect(gallery).to_have_count(0)

    tab.show("txt2img")
    prompt = page.locator("#txt2img_prompt textarea")
    prompt.click()
    page.keyboard.type("a/?gce, second")
    expect(prompt).to_have_value("a/?gce, second")
    page.wait_for_timeout(500)  # gradio takes what was typed a moment later, and would put it over the moved text
    editor.press("Alt+ArrowLeft")
    expect(prompt).to_have_value(" second,a/?gce")
    prompt.fill("")
    prompt.press_sequentially("word")
    editor.press("Control+z")
    expect(prompt).not_to_have_value("word")
    expect(page.locator("dialog[open]")).to_have_count(0)
    prompt.blur()
    editor.press("Control+z", "a", "e", "Delete", "PageDown", "?")  # on nothing
    expect(page.locator("dialog[open]")).to_have_count(0)
    assert editor.captions() == changed

    for name, value in (("width", 64), ("height", 64), ("steps", 4)):
        page.locator(f"#txt2img_{name} input[type=number]").first.fill(str(value))
    prompt.fill("a cat")
    editor.press("Control+Enter")
    expect(page.locator("#html_info_txt2img").first).to_contain_text("Steps: 4", timeout=60_000)
    expect(page.locator("#txt2img_interrupt")).to_be_hidden()
    webui.hold("sampling")
    editor.press("Control+Enter")
    webui.wait_held()
    expect(page.locator("#txt2img_interrupt")).to_be_visible()
    editor.press("Escape")
    wait_for(lambda: webui.state()["state"]["interrupted"], bool)
    webui.release()
    webui.wait_idle()

    tab.show("LoRA Train")
    expect(editor.tiles).to_have_count(2)
    editor.press("g", "Control+z", "Control+z")
    assert editor.same(2)["001.png"] == ["quillon", "a", "b", "c"]


def test_the_webuis_own_completion(webui: Webui, opened: Callable[[str], Editor]) -> None:
    """Where its extension for that is there, it has the field: with its list and keys, and what it writes is a tag."""
    editor = opened(new_project(webui, "Completed", ["quillon, smile, a, b", "quillon, c"]))
    page = editor.page
    page.evaluate(OTHER_COMPLETION)
    editor.press("a")
    page.keyboard.type("smi")
    page.wait_for_timeout(300)
    expect(page.locator(".lora_train_suggestions:visible")).to_have_count(0)
    editor.press("Tab")
    assert editor.same(2)["001.png"][-1] == "zuna (series)"
    page.keyboard.type("as it is")
    editor.press("Enter", "PageDown")
    page.keyboard.type("another")
    editor.press("Enter")
    disk = editor.same(2)
    assert (disk["001.png"][-2:], disk["002.png"]) == (["zuna (series)", "as it is"], ["quillon", "c", "another"])
    assert page.evaluate("window.handed") == ["add-tag"]  # once
