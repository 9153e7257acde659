"""The page's scripts as text: what must not be in them, and that every word they show is translated."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "javascript").glob("*.js"))
STYLE = ROOT / "style.css"
LONGEST, WIDEST = 350, 120
LITERAL = r'"((?:[^"\\]|\\.)*)"'
TEXT = re.compile(rf"\btext\(\s*{LITERAL}")
PLURAL = re.compile(rf"\bplural\([^\"]*{LITERAL},\s*{LITERAL}")
# Ways by which words become markup or code.
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|srcdoc|\beval\b"
    r"|\bFunction\(|setTimeout\(\s*[\"'`]|setInterval\(\s*[\"'`]|javascript:|\.setAttribute\(\s*[\"']on"
)


def translations() -> dict[str, str]:
    return json.loads((ROOT / "localizations" / "zh_CN.json").read_text(encoding="utf-8"))


def shown_texts(script: str) -> Iterator[str]:
    for match in TEXT.finditer(script):
        yield match[1]
    for match in PLURAL.finditer(script):
        yield from match.groups()


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_there_are_scripts() -> None:
    assert [path.name for path in SCRIPTS][:1] == ["lora_train_0_base.js"]  # loaded by name, the base first
    assert all(path.name.startswith("lora_train_") for path in SCRIPTS)  # the WebUI has one namespace for all


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script(path: Path) -> None:
    script = path.read_text(encoding="utf-8")
    assert FORBIDDEN.findall(script) == []
    lines = script.splitlines()
    assert len(lines) <= LONGEST
    assert [number for number, line in enumerate(lines, 1) if len(line) > WIDEST] == []
    # Strict, and nothing of it can be seen from outside but what is hung on the one name.
    assert script.count('"use strict";') == 1
    outside = [line for line in lines if line and not line.startswith((" ", "/*", "*", "//"))]
    assert outside[0] in ("(() => {", "window.loraTrain = (() => {")
    assert outside[1:] == ["})();"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_every_word_is_translated(path: Path) -> None:
    script, known = path.read_text(encoding="utf-8"), translations()
    shown = sorted(set(shown_texts(script)))
    assert [text for text in shown if text not in known] == []
    assert [text for text in shown if fields(known[text]) != fields(text)] == []
    assert [text for text in shown if "<" in known[text]] == []
    # A text made at run time could not be looked for here; `plural` itself chooses between two that were.
    made = re.findall(r"(?<![.\w])(?<!function )text\((?!\s*\")(.*)", script)
    assert made == (["form, {count: number(count), ...values});"] if path == SCRIPTS[0] else [])


def test_no_translation_is_left_over() -> None:
    """Every English text of the localisation stands in a script, in the program, or names a preset."""
    places = [*SCRIPTS, *(ROOT / "lib_lora_train").rglob("*.py"), *(ROOT / "lib_lora_train" / "presets").glob("*.json")]
    written = "".join(path.read_text(encoding="utf-8") for path in places)
    # A help is put together: what the table says, a unit, kohya's name.
    helps = [re.sub(r"\s*(\[\w+\])?\s*((kohya|name): \w+)?$", "", text) for text in translations()]
    # The WebUI puts brackets around what it says of a setting.
    pieces = {text: re.split(r"[\"\n]", re.sub(r"^\((.*)\)$", r"\1", text)) for text in helps}
    assert [text for text, parts in pieces.items() if not all(part in written for part in parts)] == []


def test_style_touches_nothing_but_ours() -> None:
    text = re.sub(r"/\*.*?\*/", "", STYLE.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"@keyframes[^{]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}", "", text)
    selectors = [
        selector.strip()
        for group in re.findall(r"([^{}]+)\{", text)
        if not group.strip().startswith("@")
        for selector in group.split(",")
    ]
    assert len(selectors) > 100
    assert [selector for selector in selectors if "lora_train_" not in selector.split(" ")[0].lstrip(".#")] == [
        selector for selector in selectors if selector.startswith(".dark #lora_train_root ")
    ]
    assert re.findall(r"url\(|@import|expression\(", text) == []


def test_style_names_only_what_gradio_has_or_we_set() -> None:
    style = STYLE.read_text(encoding="utf-8")
    used = set(re.findall(r"var\(--([a-z0-9-]+)", style))
    ours = {name for name in used if name.startswith("lora-train-")}
    gradio = pytest.importorskip("gradio")
    themed = set(re.findall(r"--([a-z0-9-]+):", gradio.themes.Default()._get_theme_css()))
    assert used - ours - themed == set()
