"""A cell becomes a LoRA that can be used, is taken back, saved and made into others: in the page, on the real server."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Download, Locator, Page, expect
from safetensors import safe_open

from demo.character import training_set
from tests.helpers.serving import Server, short_settings, wait_for
from tests.helpers.tab import Tab

TITLE = 'Quillon 祖 <b>"A"</b>'
RUN = {
    "max_train_epochs": 0,
    "max_train_steps": 4,
    "save_every_n_steps": 2,
    "sample_steps": 2,
    "grid_after_training": False,
}
GRID = {"weights": "0, 0.5, 1", "seeds": "1", "prompts": "quillon, 1girl", "steps": 3, "width": 64, "height": 64}
HOSTILE = "<img src=x onerror=alert(1)>"
OPEN = """async ([column, weight]) => {
    const model = loraTrain.previews;
    const cell = [...model.cells.values()].find((one) => one.column === column && one.weight === weight);
    model.choose(cell.key);
    await loraTrain.attempt(() => loraTrain.openPick(model, cell));
}"""
WINDOW = "(name) => loraTrain.attempt(() => loraTrain.previewsCard.open(name))"


@dataclass(frozen=True)
class Drawn:
    """A project with a run of two files and its grid."""

    server: Server
    project: str
    run: str
    grid: str

    @property
    def place(self) -> str:
        return f"projects/{self.project}/grids"

    @property
    def loras(self) -> Path:
        return self.server.data / "loras"

    def overview(self) -> Any:
        return self.server.rest().get(self.place)

    def files(self, name: str) -> list[str]:
        return sorted(path.name for path in self.loras.iterdir() if path.stem == name)

    def names(self) -> set[str]:
        """Of all LoRA files."""
        return {path.name for path in self.loras.rglob("*.safetensors")}


@pytest.fixture(scope="module")
def drawn(served: Server) -> Drawn:
    rest = served.rest()
    project = rest.new_project(TITLE)
    rest.add_pictures(project, training_set(n=6))
    run = rest.start(project, short_settings(**RUN))
    rest.wait_for_end(project, run)
    grid = rest.post(f"projects/{project}/grids", {"runs": [run], "settings": GRID})["grid"]
    place = f"projects/{project}/grids/{grid}?cells=false"
    over = wait_for(lambda: rest.get(place), lambda one: one["state"] not in ("new", "queued", "running"), 180)
    assert over["state"] == "done", over
    return Drawn(served, project, run, grid)


@pytest.fixture
def opened(drawn: Drawn, open_tab: Callable[..., Tab]) -> Tab:
    """The page on the grid; what is picked is taken back before."""
    while drawn.overview()["picks"]:
        drawn.server.rest().post(f"{drawn.place}/unpick", {})
    return show(drawn, open_tab)


def refused(tab: Tab) -> None:
    """Chromium writes into its console what the server refuses."""
    tab.allowed.append(r"console error: .*status of 4\d\d ")


def show(drawn: Drawn, open_tab: Callable[..., Tab], **options: Any) -> Tab:
    tab = open_tab(drawn.server, **options)
    tab.select_project(drawn.project)
    tab.tab("previews")
    tab.page.evaluate("(id) => loraTrain.previews.show(id)", drawn.grid)
    tab.page.wait_for_function("() => loraTrain.previews.cells.size > 0")
    return tab


def ask(page: Page, column: int = 0, weight: float = 0.5) -> Locator:
    """The window of picking a cell, with its form."""
    page.evaluate(OPEN, [column, weight])
    dialog = page.locator("dialog[open]")
    expect(dialog.locator('[data-action="pick"]')).to_be_visible()
    return dialog


def use(dialog: Locator, **values: str) -> None:
    for name, value in values.items():
        dialog.locator(f'[name="{name}"]').fill(value)
    dialog.locator('[data-action="pick"]').click()


def heading(dialog: Locator, name: str) -> None:
    expect(dialog.locator("h4").first).to_have_text(f"“{name}” is among your LoRAs now.", timeout=60_000)


def saved(page: Page, press: Locator) -> tuple[str, bytes]:
    with page.expect_download() as waited:
        press.click()
    download: Download = waited.value
    return download.suggested_filename, Path(download.path()).read_bytes()


def test_a_cell_is_used_checked_saved_and_taken_back(drawn: Drawn, opened: Tab) -> None:
    refused(opened)
    page, before = opened.page, drawn.names()
    dialog = ask(page)
    expect(dialog.locator(".lora_train_previews_pick_side")).to_contain_text("quillon, 1girl")
    expect(dialog.locator('[name="trigger"]')).to_have_value("quillon")
    expect(dialog.locator('[name="weight"]')).to_have_value("0.5")
    proposed = dialog.locator('[name="name"]').input_value()
    assert proposed and proposed not in before
    use(dialog, name="祖 'Best' & <i>", weight="0.7", notes=f"{HOSTILE} mine")
    expect(dialog.get_by_role("alert")).to_contain_text("cannot be the name of a LoRA")
    expect(dialog.locator("code")).to_have_text("<lora:祖 'Best' & <i>:0.7>")
    use(dialog, name="祖 'Best'")
    heading(dialog, "祖 'Best'")
    lines = dialog.locator(".lora_train_previews_pick_checks li")
    expect(lines.nth(0)).to_have_text(re.compile(r"Loaded again: all \d+ parts fit the checkpoint\."))
    expect(lines.nth(1)).to_have_text(re.compile(r"Drawn again: the same picture"))
    assert {line.get_attribute("data-good") for line in lines.all()} == {"true"}
    expect(dialog.locator(".lora_train_facts").last).to_contain_text(f"{HOSTILE} mine")
    assert drawn.files("祖 'Best'") == ["祖 'Best'.json", "祖 'Best'.png", "祖 'Best'.safetensors"]
    card = json.loads((drawn.loras / "祖 'Best'.json").read_text(encoding="utf-8"))
    assert (card["preferred weight"], card["activation text"]) == (0.7, "quillon")
    for part, ending in (("lora", ".safetensors"), ("card", ".json"), ("picture", ".png")):
        name, content = saved(page, dialog.locator(f'[data-action="save-{part}"]'))
        assert name == f"祖 'Best'{ending}" and content == (drawn.loras / name).read_bytes()
    expect(dialog.locator('[data-action="send-picked"]')).to_have_count(0)  # there is no txt2img here
    dialog.locator('[data-action="undo-pick"]').click()
    expect(page.locator("dialog[open]")).to_have_count(0)
    expect(opened.message("is no LoRA any more")).to_be_visible()
    assert drawn.files("祖 'Best'") == [] and drawn.names() == before


def test_a_name_that_is_taken_is_asked_about(drawn: Drawn, opened: Tab) -> None:
    refused(opened)
    page = opened.page
    (drawn.loras / "Taken.safetensors").write_bytes(b"somebody's")
    try:
        dialog = ask(page)
        use(dialog, name="Taken")
        expect(dialog.get_by_role("alert")).to_contain_text('The name "Taken" is in use')
        dialog.locator('[name="name"]').press("End")
        dialog.locator('[data-action="use-free"]').click()
        heading(dialog, "Taken 2")
        assert (drawn.loras / "Taken.safetensors").read_bytes() == b"somebody's"
    finally:
        (drawn.loras / "Taken.safetensors").unlink()


def test_a_form_that_is_not_right_sends_nothing(drawn: Drawn, opened: Tab) -> None:
    refused(opened)
    dialog = ask(opened.page)
    use(dialog, name="  ")
    expect(dialog.get_by_role("alert")).to_contain_text("The LoRA needs a name.")
    expect(dialog.locator('[name="name"]')).to_be_focused()
    dialog.locator('[name="name"]').fill("Fine")
    dialog.locator('[name="weight"]').fill("")
    use(dialog)
    expect(dialog.get_by_role("alert")).to_contain_text("The weight is no number.")
    use(dialog, weight="11")
    expect(dialog.get_by_role("alert")).to_contain_text("from -10 to 10")
    assert drawn.overview()["picks"] == []


@pytest.mark.parametrize(("others", "left"), [("keep", 2), ("move", 1), ("trash", 1)])
def test_the_other_checkpoints(drawn: Drawn, opened: Tab, others: str, left: int) -> None:
    before = drawn.names()
    dialog = ask(opened.page)
    expect(dialog.locator(".lora_train_previews_pick_others")).to_contain_text("The 1 other checkpoint of the run")
    dialog.locator(f'.lora_train_previews_pick_others label:has(input[value="{others}"])').click()
    hint = {"keep": "stay in the list", "move": "stays with the run", "trash": "trash of this project"}[others]
    expect(dialog.locator(".lora_train_previews_pick_others")).to_contain_text(hint)
    dialog.locator('[name="compare"]').uncheck()
    dialog.locator('[name="scrub"]').check()
    use(dialog, name="Only")
    heading(dialog, "Only")
    expect(dialog.locator(".lora_train_previews_pick_checks")).not_to_contain_text("Drawn again")
    with safe_open(drawn.loras / "Only.safetensors", "pt") as file:
        assert "ss_tag_frequency" not in file.metadata() and file.metadata()["ss_output_name"] == "Only"
    folder = drawn.loras / drawn.project
    assert len(list(folder.glob("*.safetensors"))) == left
    if others != "keep":
        expect(dialog.locator(".lora_train_previews_pick_checks")).to_contain_text("out of the list of LoRAs")
    dialog.locator('[data-action="undo-pick"]').click()
    expect(opened.message("is no LoRA any more")).to_be_visible()
    assert drawn.names() == before


def test_what_cannot_be_used_is_said(drawn: Drawn, opened: Tab) -> None:
    opened.page.evaluate(OPEN, [-1, 0])
    expect(opened.message("drawn without a LoRA")).to_be_visible()
    expect(opened.page.locator("dialog[open]")).to_have_count(0)


def test_picking_goes_on_when_the_window_is_closed_and_is_listed(drawn: Drawn, opened: Tab) -> None:
    page = opened.page
    dialog = ask(page, weight=1)
    use(dialog, name="Quiet")
    dialog.locator('[data-action="close"]').click()
    expect(opened.message("“Quiet” is among your LoRAs now.")).to_be_visible(timeout=60_000)
    page.evaluate(WINDOW, "PreviewTools")
    line = page.locator("dialog[open] .lora_train_previews_picks li")
    expect(line).to_contain_text("Quiet")
    expect(line).to_contain_text("at weight 1")
    name, content = saved(page, line.locator('[data-action="save-lora"]'))
    assert (name, content) == ("Quiet.safetensors", (drawn.loras / "Quiet.safetensors").read_bytes())
    line.locator('[data-action="undo-pick"]').click()
    expect(line).to_have_count(0)
    expect(page.locator("dialog[open]")).to_contain_text("None yet.")
    assert drawn.files("Quiet") == []


def test_a_grid_is_saved_in_every_form(drawn: Drawn, opened: Tab) -> None:
    page = opened.page
    page.evaluate("() => loraTrain.previews.choose(null)")
    page.evaluate(WINDOW, "PreviewExports")
    dialog = page.locator("dialog[open]")
    expect(dialog.locator('[data-part="cell"]')).to_contain_text("Choose a cell in the grid")
    contents = {}
    for kind, ending in (("png", ".png"), ("zip", ".zip"), ("csv", ".csv"), ("plot", ".txt")):
        name, contents[kind] = saved(page, dialog.locator(f'[data-action="export-{kind}"]'))
        assert drawn.grid in name and name.endswith(ending) and not set('<>:"/\\|?*') & set(name)
    assert min(Image.open(io.BytesIO(contents["png"])).size) > 128
    with zipfile.ZipFile(io.BytesIO(contents["zip"])) as packed:
        cells = [name for name in packed.namelist() if name.startswith("cells/")]
        assert len(cells) == 5 and {"grid.png", "scores.csv", "plot.txt", "recommendation.json"} < set(
            packed.namelist()
        )
    assert len(contents["csv"].decode("utf-8-sig").strip().splitlines()) == 1 + 5 + 1 or contents["csv"]
    dialog.locator('[data-action="show-plot"]').click()
    text = dialog.locator("textarea")
    expect(text).to_have_value(re.compile("Script: X/Y/Z plot"))
    assert text.input_value() == contents["plot"].decode()


def test_the_chosen_cell_is_saved_by_itself(drawn: Drawn, opened: Tab) -> None:
    page = opened.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    cell = page.evaluate(
        "() => { const m = loraTrain.previews; const c = m.at(0, 1, 1, 0, 1); m.choose(c.key); return c.key; }"
    )
    page.evaluate(WINDOW, "PreviewExports")
    part = page.locator('dialog[open] [data-part="cell"]')
    name, content = saved(page, part.locator('[data-action="save-picture"]'))
    picture = Image.open(io.BytesIO(content))
    assert name.endswith(" w1 p1 s1.png") and picture.size == (64, 64)
    assert content == drawn.server.rest().get(f"{drawn.place}/{drawn.grid}/cells/{cell}")
    name, content = saved(page, part.locator('[data-action="save-difference"]'))
    assert name.endswith("difference.png") and Image.open(io.BytesIO(content)).size == (64, 64)
    name, content = saved(page, part.locator('[data-action="save-file"]'))
    assert content == (drawn.loras / drawn.project / name).read_bytes()
    part.locator('[data-action="copy-text"]').click()
    expect(opened.page.locator("dialog[open] .lora_train_message").filter(has_text="Copied.")).to_be_visible()
    assert page.evaluate("() => navigator.clipboard.readText()") == picture.info["parameters"]


def test_tools_make_files_and_say_what_came_of_it(drawn: Drawn, opened: Tab) -> None:
    refused(opened)
    page = opened.page
    page.evaluate("() => { const m = loraTrain.previews; m.choose(m.at(0, 1, 1, 0, 1).key); }")
    page.evaluate(WINDOW, "PreviewTools")
    part = page.locator('dialog[open] [data-part="tools"]')
    press, told = part.locator('[data-action="make-lora"]'), part.locator('[role="status"].lora_train_message')
    file, name = part.locator('[name="file"]'), part.locator('[name="name"]')
    expect(file).to_have_count(1)
    chosen = file.input_value()
    assert chosen.startswith("Quillon") and chosen in {path.stem for path in drawn.loras.rglob("*.safetensors")}
    expect(name).to_have_value(f"{chosen} r8")
    part.locator('[name="rank"]').fill("2")
    expect(name).to_have_value(f"{chosen} r2")
    name.fill("Small")
    press.click()
    expect(told).to_contain_text("“Small” is among your LoRAs now: rank 2, ")
    assert saved(page, told.locator('[data-action="save-made"]')) == (
        "Small.safetensors",
        (drawn.loras / "Small.safetensors").read_bytes(),
    )
    press.click()
    expect(part.get_by_role("alert")).to_contain_text('The name "Small" is in use')
    part.locator('[data-action="use-free"]').click()
    expect(told).to_contain_text("“Small 2” is among your LoRAs now")

    part.locator('label:has(input[value="merge"])').click()
    expect(file).to_have_count(2)
    assert file.nth(0).input_value() != file.nth(1).input_value()
    expect(part.locator('[data-action="remove-file"]').first).to_be_disabled()
    part.locator('[data-action="add-file"]').click()
    expect(file).to_have_count(3)
    part.locator('[data-action="remove-file"]').nth(2).click()
    part.locator('[name="weight"]').nth(1).fill("0.5")
    name.fill("Sum")
    press.click()
    expect(told).to_contain_text("“Sum” is among your LoRAs now")
    with safe_open(drawn.loras / "Sum.safetensors", "pt") as made:
        assert list(json.loads(made.metadata()["ss_merged_from"]).values()) == [1, 0.5]

    part.locator('label:has(input[value="convert"])').click()
    expect(file).to_have_count(1)
    part.locator('[name="precision"]').select_option("bf16")
    name.fill("Half")
    press.click()
    expect(told).to_contain_text("bf16")
    part.locator('label:has(input[value="scrub"])').click()
    name.fill("../Bad")
    press.click()
    expect(part.get_by_role("alert")).to_contain_text("cannot be the name of a LoRA")
    name.fill("Clean")
    press.click()
    expect(told).to_contain_text("“Clean” is among your LoRAs now")
    with safe_open(drawn.loras / "Clean.safetensors", "pt") as made:
        assert "ss_tag_frequency" not in made.metadata()


def test_in_chinese_nothing_is_left_in_english(drawn: Drawn, open_tab: Callable[..., Tab]) -> None:
    tab = show(drawn, open_tab, locale="zh-CN")
    page = tab.page
    english = re.compile(r"[A-Za-z]{3,} [a-z]{2,} [a-z]{2,}")
    for name in ("PreviewExports", "PreviewTools"):
        page.evaluate(WINDOW, name)
        dialog = page.locator("dialog[open]")
        expect(dialog.locator(".lora_train_previews_part").first).to_be_visible()
        page.wait_for_timeout(300)
        assert english.findall(dialog.inner_text()) == []
        page.keyboard.press("Escape")
    dialog = ask(page)
    assert english.findall(dialog.inner_text()) == []
    use(dialog, name="中文")
    expect(dialog.locator("h4").first).to_have_text("“中文”已加入你的 LoRA。", timeout=60_000)
    words = dialog.locator(".lora_train_previews_pick_checks").inner_text()
    assert english.findall(words) == []
    dialog.locator('[data-action="undo-pick"]').click()
    expect(page.locator("dialog[open]")).to_have_count(0)
