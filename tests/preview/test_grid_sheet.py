"""The labelled picture of a grid, the plot's text, and the fonts they need."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from lib_lora_train.preview import fonts
from lib_lora_train.preview.cells import CellStore, png_bytes
from lib_lora_train.preview.fonts import label_font, readable
from lib_lora_train.preview.grids import Base, Column, Drawing, Grid, GridPrompt
from lib_lora_train.preview.plot_text import plot_text
from lib_lora_train.preview.sheet import draw_sheet

NAMES = ("zuna-000002", "zuna, \"quoted\": <b>'名字'-000004")
GRID = Grid(
    bases=(Base("demo", "d"),),
    columns=tuple(Column(Path(f"{name}.safetensors"), name, name) for name in NAMES),
    weights=(0.0, 0.5, 1.0),
    prompts=(GridPrompt("zuna, 微笑"), GridPrompt("a, b: \"c\" <i>")),
    seeds=(1, 2),
    drawing=Drawing("bad, worse", "DDIM", 20, 7.0, 64, 48, 2),
    host="embedded",
)  # fmt: skip


def colour(cell) -> tuple[int, int, int]:
    return (50 + 40 * cell.column + int(7 * cell.weight), 100 + 60 * cell.prompt, 10 + 80 * cell.seed)


@pytest.fixture
def store(tmp_path: Path) -> CellStore:
    store = CellStore(tmp_path)
    for cell in GRID.cells():
        store.put(cell.key, Image.new("RGB", (64, 48), colour(cell)), "text")
    return store


def areas(sheet: Image.Image) -> dict[tuple[int, int, int], int]:
    return {pixel: count for count, pixel in sheet.getcolors(sheet.width * sheet.height)}


def test_every_picture_is_in_it_as_often_as_it_stands_in_the_table(store):
    found = areas(draw_sheet(GRID, store))
    for cell in GRID.cells():
        assert found[colour(cell)] == 64 * 48 * (len(NAMES) if cell.weight == 0 else 1)


def test_places_are_those_of_files_weights_and_seeds(store):
    sheet = draw_sheet(GRID, store)
    last = [sheet.getpixel((sheet.width - 20 - 66 * back, sheet.height - 30)) for back in (0, 1)]
    assert last == [colour(GRID.cell(0, 1, 1.0, 1, seed)) for seed in (2, 1)]
    above = sheet.getpixel((sheet.width - 20, sheet.height - 30 - 54))
    assert above == colour(GRID.cell(0, 1, 0.5, 1, 2))


def test_missing_and_marked_cells(store):
    cell = GRID.cell(0, 1, 1.0, 1, 2)
    store.drop([cell.key])
    sheet = draw_sheet(GRID, store, {cell.key})
    assert sheet.getpixel((sheet.width - 40, sheet.height - 40)) == (226, 226, 230)
    assert (214, 120, 20) in areas(sheet)


def test_a_large_grid_is_reduced(store, monkeypatch):
    monkeypatch.setattr("lib_lora_train.preview.sheet.MOST_PIXELS", 40_000)
    sheet = draw_sheet(GRID, store)
    assert sheet.width * sheet.height < 4 * 40_000


def test_labels_are_drawn(store):
    plain = draw_sheet(replace(GRID, prompts=(GridPrompt(" "),), columns=(replace(GRID.columns[0], label=" "),)), store)
    other = draw_sheet(replace(GRID, prompts=(GridPrompt("微笑"),), columns=GRID.columns[:1]), store)
    for top, bottom in ((12, 34), (38, 56)):  # the prompt's line, the files' line
        written, blank = (
            sheet.crop((0, top, sheet.width, bottom)).convert("L").getextrema() for sheet in (other, plain)
        )
        assert written[0] < 180 < blank[0]


def test_without_a_font_for_it_chinese_is_written_as_numbers(monkeypatch):
    monkeypatch.setattr(fonts, "_chinese_font", lambda: None)
    assert readable("a 微") == "a \\u5fae"
    assert label_font(14).getlength(readable("a 微")) > 0


def test_a_file_that_is_no_font_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "x.ttf").write_bytes(b"no font")
    monkeypatch.setenv(fonts.OWN_FONT, str(tmp_path / "x.ttf"))
    fonts._chinese_font.cache_clear()
    label_font(12)
    fonts._chinese_font.cache_clear()


@pytest.mark.parametrize("text", ["plain", "微笑 é <b>", "a\nNegative prompt: b\nSteps: 1", "🙂"])
def test_infotexts_in_any_script(tmp_path, text):
    path = tmp_path / ("0" * 32 + ".png")
    path.write_bytes(png_bytes(Image.new("RGB", (8, 8)), text))
    assert CellStore(tmp_path).infotext("0" * 32) == text


def test_the_plots_text():
    lines = plot_text(GRID).split("\n")
    assert lines[:2] == ["zuna, 微笑 <lora:zuna-000002:0>", "Negative prompt: bad, worse"]
    assert lines[2].startswith("Steps: 20, Sampler: DDIM, CFG scale: 7, Seed: 1, Size: 64x48, Model: demo, Clip skip: 2, Script: X/Y/Z plot, X Type: Prompt S/R, X Values: ")  # fmt: skip
    assert lines[2].endswith('Y Type: Prompt S/R, Y Values: ":0>,:0.5>,:1>", Z Type: Seed, Z Values: "1, 2"')
    import json

    quoted = lines[2].split("X Values: ", 1)[1].split(", Y Type", 1)[0]
    assert next(csv.reader([json.loads(quoted)])) == list(NAMES)
