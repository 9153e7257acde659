"""Captions as lists of tags: what is parsed is printed again, and other lines stay."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.dataset.captions import read_caption
from lib_lora_train.dataset.tag_text import first_line, join_tags, split_tags, tags_of, with_line, with_tags

texts = st.text(alphabet="ab ,_\n\r\t\x00\x1c\x85\u2028\u200b\ufeff雨，é()", max_size=40)
tags = st.text(alphabet="ab _(){}\"'<>雨é\u200b:!", min_size=1, max_size=12).map(str.strip).filter(lambda tag: tag.strip("\u200b "))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ("", "", "")),
        (" \n\t", (" \n\t", "", "")),
        ("hat, smile", ("", "hat, smile", "")),
        ("\n hat, smile ,\r\nmore\n", ("\n ", "hat, smile ,", "\r\nmore\n")),
        ("\u200b\n\ufeff hat", ("\u200b\n", "\ufeff hat", "")),
        ("\x01\nhat\u2028more", ("\x01\n", "hat", "\u2028more")),
        ("a\x1cb\x0bc", ("", "a\x1cb\x0bc", "")),
    ],
)
def test_the_first_line_with_text(text: str, wanted: tuple[str, str, str]) -> None:
    assert first_line(text) == wanted


@given(texts)
def test_the_first_line_is_the_one_that_training_reads(text: str) -> None:
    before, line, after = first_line(text)
    assert before + line + after == text
    assert line == line.strip()


def test_training_reads_the_same_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for text in ("\u200b\n hat, smile \nmore", "\x01\nhat\u2028more", "a\x1cb\nc", "\x85hat\x85smile", "\n\n"):
        path.write_bytes(text.encode("utf-8"))
        read = read_caption(path).text or ""
        line = first_line(text)[1]
        assert read == "".join(character for character in line if character not in "\u200b\x01\x1c")


@given(st.lists(tags, max_size=8))
def test_what_is_printed_is_parsed_again(written: list[str]) -> None:
    assert split_tags(join_tags(written)) == tuple(written)


@given(texts)
def test_a_text_with_its_own_tags_is_itself(text: str) -> None:
    assert with_tags(text, tags_of(text)) == text
    assert with_line(text, first_line(text)[1]) == text


@given(texts, st.lists(tags, min_size=1, max_size=5))
def test_other_tags_leave_other_lines_alone(text: str, written: list[str]) -> None:
    new = with_tags(text, written)
    assert tags_of(new) == tuple(written)
    before, line, after = first_line(text)
    if line:
        assert new.startswith(before) and new.endswith(after)


def test_line_ends_do_not_get_into_tags() -> None:
    assert join_tags(["a\nb", " ", "c\u2028", "d"]) == "a b, c, d"
    assert with_tags("hat\nsmile", ["a\nb"]) == "a b\nsmile"


def test_without_tags_the_next_line_is_the_trained_one() -> None:
    assert with_tags("hat\nsecond", []) == "\nsecond"
    assert with_tags("", ["hat"]) == with_tags(" \n", ["hat"]) == "hat"
