"""What a limit of tokens cuts off a caption, and counts that are kept."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.dataset.tag_text import join_tags
from lib_lora_train.tags.token_counts import TokenCounts, cut_at, first_cut_tag
from tests.helpers.sheets import WordCounter


def test_where_a_caption_is_cut() -> None:
    counter = WordCounter()
    assert cut_at("one two, three four", counter, 3) == len("one two, three ")
    assert cut_at("one two, three four", counter, 4) == -1
    assert cut_at("\n  one two, three\nfour five", counter, 2) == len("\n  one two, ")
    assert cut_at("one\u200b two\u200b, \u200bthree", counter, 2) == len("one\u200b two\u200b, \u200b")
    assert cut_at("", counter, 75) == -1


def test_the_first_tag_that_is_cut() -> None:
    counter = WordCounter()
    assert first_cut_tag(["one", "two three", "four"], counter, 1) == 1
    assert first_cut_tag(["one", "two three", "four"], counter, 2) == 1  # in part
    assert first_cut_tag(["one", "two three", "four"], counter, 3) == 2
    assert first_cut_tag(["one", "two three", "four"], counter, 4) == -1
    assert first_cut_tag([], counter, 75) == -1


@given(
    st.lists(st.text("ab\u200b", min_size=1).filter(lambda text: text.strip("\u200b")), min_size=1), st.integers(0, 9)
)
def test_both_agree(tags: list[str], limit: int) -> None:
    counter = WordCounter()
    line = join_tags(tags)
    cut, first = cut_at(line, counter, limit), first_cut_tag(tags, counter, limit)
    assert (cut < 0) == (first < 0)
    if first >= 0:
        start = len(join_tags(tags[:first]) + ", ") if first else 0
        assert start <= cut < start + len(tags[first])


def test_counts_are_kept_by_what_a_caption_says(tmp_path: Path) -> None:
    path, counter = tmp_path / "tokens.json", WordCounter()
    counts = TokenCounts(path, counter)
    assert [counts.of("v1", "a b"), counts.of("v1", "a b"), counts.of("v2", "a\u200b b c"), counts.of("", "")] == [
        2,
        2,
        3,
        0,
    ]
    assert counter.asked == ["a b", "a b c"]  # as training sees it
    counts.save(["v1", "v2"], least=3)
    assert not path.exists()
    counts.save(["v1"])
    again = WordCounter()
    assert [TokenCounts(path, again).of(version, "a b") for version in ("v1", "v2")] == [2, 2]
    assert again.asked == ["a b"]  # v2 was nobody's caption any more
    again.key = "other"
    assert TokenCounts(path, again).of("v1", "a") == 1


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    counts = TokenCounts(tmp_path / "file" / "tokens.json", WordCounter())
    assert counts.of("v", "a b") == 2
    counts.save(["v"])
