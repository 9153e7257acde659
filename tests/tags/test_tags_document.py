"""docs/tags.md tells what there is."""

from __future__ import annotations

import re

from lib_lora_train.tags.document import PAGE, renewed
from lib_lora_train.tags.edits import FORMS
from lib_lora_train.tags.filters import parse_filter
from lib_lora_train.tags.translations import shipped_tags
from lib_lora_train.tags_commands import ACTIONS

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_tables_are_current() -> None:
    assert renewed(TEXT) == TEXT, "python -m lib_lora_train.tags.document"


def test_every_action_is_there() -> None:
    command = TEXT.partition("## On the command line")[2]
    assert [action for action in ACTIONS if f"`{action}" not in command] == []
    assert [table.kind for table in FORMS if f"### `{table.kind}`" not in TEXT] == []


def test_every_filter_in_it_is_one() -> None:
    section = TEXT.partition("## The filter")[2].partition("\n## ")[0]
    terms = [term for term in re.findall(r"`([^`]+)`", section) if ":" in term and not term.endswith(":")]
    assert len(terms) > 15
    for term in [*terms, section.strip().splitlines()[2].strip()]:
        assert parse_filter(term.replace("\\|", "|")).root is not None


def test_links_lead_somewhere() -> None:
    headings = {re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).strip().replace(" ", "-") for line in TEXT.splitlines() if line.startswith("## ")}  # fmt: skip
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= headings
    assert all((PAGE.parent / name).is_file() for name in re.findall(r"\]\(([a-z]+\.md)\)", TEXT))


def test_it_knows_how_many_tags_ship() -> None:
    number = re.search(r"the ([0-9,]+) most frequent", TEXT)
    assert number and int(number[1].replace(",", "")) <= len(shipped_tags()) < int(number[1].replace(",", "")) + 100
