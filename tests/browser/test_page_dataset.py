"""The sub-tab Dataset: concepts, captions, deleting with a way back, zips in and out, hundreds of pictures."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from demo.character import training_set
from tests.helpers.serving import Rest, Server, png, write_drawings
from tests.helpers.tab import Tab

MANY, MOST_TILES = 320, 300


@pytest.fixture
def rest(served: Server) -> Rest:
    return served.rest()


def opened(tab: Tab, project: str) -> Tab:
    tab.select_project(project)
    tab.page.locator("#lora_train_dataset .lora_train_dataset").wait_for()
    return tab


def test_concepts(served: Server, rest: Rest, open_tab: Callable[..., Tab]) -> None:
    project = rest.new_project("Concepts")
    rest.add_pictures(project, training_set()[:3])
    tab = opened(open_tab(served), project)
    page = tab.page
    form = page.locator('[data-form="concept"]')
    tab.press("add-concept")
    form.locator('[name="name"]').fill("hat")
    form.locator('[name="repeats"]').fill("3")
    form.get_by_role("button", name="Add concept").click()
    chip = page.locator(".lora_train_chip", has_text="hat")
    expect(chip).to_contain_text("0 × 3")
    page.locator(".lora_train_chip", has_text="All pictures").click()
    expect(page.locator(".lora_train_tile")).to_have_count(3)

    page.locator(".lora_train_tile_mark").nth(0).click()
    page.locator(".lora_train_tile").nth(1).click()
    expect(page.locator(".lora_train_counts")).to_have_text("2 chosen")
    page.locator('[data-action="move"]').select_option(label="hat")
    expect(chip).to_contain_text("2 × 3")
    chip.click()
    expect(page.locator(".lora_train_tile")).to_have_count(2)

    tab.press("edit-concept")
    form.locator('[name="name"]').fill("red hat")
    form.locator('[name="repeats"]').fill("5")
    form.get_by_role("button", name="Save").click()
    expect(page.locator(".lora_train_chip", has_text="red hat")).to_contain_text("2 × 5")
    assert (
        sorted(folder.name for folder in (served.data / "projects" / project / "dataset").iterdir())[-1] == "5_red hat"
    )

    tab.allowed.append("status of 404.*concept=|status of 404.*thumbnail")  # asked for in the moment it goes
    tab.press("edit-concept")
    tab.press("delete-concept")
    expect(page.locator(".lora_train_chip", has_text="red hat")).to_have_count(0)
    expect(page.locator(".lora_train_tile")).to_have_count(1)
    tab.press("message-action")
    expect(page.locator(".lora_train_chip", has_text="red hat")).to_contain_text("2 × 5")
    expect(page.locator(".lora_train_tile")).to_have_count(3)


def test_a_caption_that_was_changed_elsewhere(served: Server, rest: Rest, open_tab: Callable[..., Tab]) -> None:
    project = rest.new_project("Captions")
    rest.add_pictures(project, training_set()[:2])
    tab = opened(open_tab(served), project)
    tab.allowed.append(r"status of 409")
    page = tab.page
    page.locator('.lora_train_tile[data-place="0"]').click()
    caption = page.locator('dialog [name="caption"]')
    expect(caption).not_to_have_value("")
    caption.fill("mine, written here")
    path = f"projects/{project}/pictures"
    picture = rest.get(path)["pictures"][0]
    rest.put(f"{path}/{picture['id']}/caption", {"text": "theirs, from elsewhere", "version": picture["version"]})
    tab.press("next")
    conflict = page.locator(".lora_train_conflict")
    expect(conflict.locator('[data-text="mine"]')).to_have_text("mine, written here")
    expect(conflict.locator('[data-text="theirs"]')).to_have_text("theirs, from elsewhere")
    assert rest.get(path)["pictures"][0]["caption"] == "theirs, from elsewhere"
    conflict.locator('[data-action="keep-mine"]').click()
    expect(page.locator('[data-note="caption"]')).to_have_text("Saved")
    assert rest.get(path)["pictures"][0]["caption"] == "mine, written here"
    tab.press("next")
    caption.fill("second, 红发, été")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    expect(page.locator('.lora_train_tile[data-place="1"]')).to_contain_text("second, 红发, été")
    assert rest.get(path)["pictures"][1]["caption"] == "second, 红发, été"


def test_deleting_and_bringing_back(served: Server, rest: Rest, open_tab: Callable[..., Tab]) -> None:
    project = rest.new_project("Deleting")
    rest.add_pictures(project, training_set()[:4])
    tab = opened(open_tab(served), project)
    page, tiles = tab.page, tab.page.locator(".lora_train_tile")
    before = rest.get(f"projects/{project}/pictures")["pictures"]
    page.locator('.lora_train_tile[data-place="0"]').click(modifiers=["Control"])
    page.locator('.lora_train_tile[data-place="2"]').click(modifiers=["Shift"])
    tab.press("delete-pictures")
    expect(tiles).to_have_count(1)
    tab.press("message-action")
    expect(tiles).to_have_count(4)
    assert rest.get(f"projects/{project}/pictures")["pictures"] == before

    page.locator('.lora_train_tile[data-place="0"]').click()
    page.locator('dialog [name="caption"]').fill("typed, and then deleted")
    tab.press("delete-picture")
    expect(page.locator(".lora_train_view_name")).to_contain_text("1 / 3")
    page.keyboard.press("Escape")
    tab.press("trash")
    page.locator('dialog [data-action="restore"]').click()
    expect(tiles).to_have_count(4)
    typed, *others = rest.get(f"projects/{project}/pictures")["pictures"]
    assert typed["caption"] == "typed, and then deleted" and others == before[1:]


def test_a_zip_comes_in_and_the_dataset_goes_out(
    served: Server, rest: Rest, open_tab: Callable[..., Tab], tmp_path: Path
) -> None:
    project = rest.new_project("Zips")
    source = write_drawings(tmp_path / "set" / "7_zuna girl", training_set()[:3])
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for path in sorted(source.iterdir()):
            made.write(path, f"set/{source.name}/{path.name}")
        made.writestr("set/readme.html", "<p>not a picture")
        made.writestr("../../outside.png", png(training_set()[0][0]))
    tab = opened(open_tab(served), project)
    page = tab.page
    with page.expect_file_chooser() as chooser:
        tab.press("choose-files")
    chooser.value.set_files(archive)
    expect(page.locator(".lora_train_chip", has_text="zuna girl")).to_contain_text("4 × 7")
    expect(page.locator(".lora_train_upload")).to_contain_text("left out")
    inside = served.data / "projects" / project
    assert all(inside in path.parents for path in served.data.parent.rglob("outside.png"))

    with page.expect_download() as download:
        tab.press("download-dataset")
    with zipfile.ZipFile(download.value.path()) as given:
        names = [name for name in given.namelist() if "7_zuna girl/" in name]
        back = {name.rsplit("/", 1)[1]: given.read(name) for name in names if not name.endswith("/")}
    assert back.keys() - {"outside.png"} == {path.name for path in source.iterdir()}
    assert all(content == (source / name).read_bytes() for name, content in back.items() if name != "outside.png")


def test_a_bad_file_is_named_and_the_others_come(
    served: Server, rest: Rest, open_tab: Callable[..., Tab], tmp_path: Path
) -> None:
    project = rest.new_project("Bad files")
    folder = write_drawings(tmp_path / "mixed", training_set()[:2])
    (folder / "broken.png").write_bytes(png(training_set()[0][0])[:500])
    (folder / "page.png").write_bytes(b"<html>404</html>")
    tab = opened(open_tab(served), project)
    tab.allowed.append(r"status of 400")
    page = tab.page
    with page.expect_file_chooser() as chooser:
        tab.press("choose-files")
    chooser.value.set_files(sorted(folder.iterdir()))
    expect(page.locator(".lora_train_tile")).to_have_count(2)
    left_out = page.locator(".lora_train_upload details")
    expect(left_out).to_contain_text("2 files left out")
    left_out.locator("summary").click()
    expect(left_out).to_contain_text("broken.png")
    expect(left_out).to_contain_text("page.png")


def test_hundreds_of_pictures(served: Server, rest: Rest, open_tab: Callable[..., Tab]) -> None:
    project = rest.new_project("Hundreds")
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(MANY):
            image = Image.new("RGB", (64, 64), (number % 256, 255 - number % 256, number // 2))
            archive.writestr(f"{number:04d}.png", png(image))
            archive.writestr(f"{number:04d}.txt", f"number {number}")
    added = rest.add(project, "many.zip", buffer.getvalue())
    assert len(added["pictures"]) == MANY
    tab = opened(open_tab(served), project)
    page, tiles = tab.page, tab.page.locator(".lora_train_tile")
    expect(page.locator(".lora_train_counts")).to_contain_text(f"{MANY} pictures")
    expect(tiles.first).to_contain_text("number 0")
    assert 4 <= tiles.count() <= MOST_TILES
    page.locator(".lora_train_grid:visible").focus()
    page.keyboard.press("End")
    last = page.locator(f'.lora_train_tile[data-place="{MANY - 1}"]')
    expect(last).to_contain_text(f"number {MANY - 1}")
    expect(last.locator("img")).to_have_js_property("complete", True)
    assert last.locator("img").evaluate("(image) => image.naturalWidth") > 0
    assert tiles.count() <= MOST_TILES
    page.keyboard.press("Control+a")
    expect(page.locator(".lora_train_counts")).to_have_text(f"{MANY} chosen")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page.locator(".lora_train_view_name")).to_contain_text(f"{MANY} / {MANY}")
