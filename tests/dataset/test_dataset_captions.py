"""Captions: every encoding, and what one showing makes of them, in kohya's order."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.dataset.captions import (
    MAX_CAPTION_BYTES,
    caption_paths,
    captions_vary,
    compose,
    decode,
    read_caption,
)
from lib_lora_train.draws import python_random
from lib_lora_train.errors import UserError
from lib_lora_train.settings.tables import DatasetSettings


def composed(caption: str, epoch: int = 0, seed: int = 1, **chosen: object) -> str:
    return compose(caption, DatasetSettings(**chosen), epoch, random.Random(seed))


@pytest.mark.parametrize(
    ("extension", "expected"),
    [(".txt", [".txt", ".caption"]), ("caption", [".caption", ".txt"]), (".tags", [".tags", ".txt", ".caption"])],
)
def test_where_captions_stand(tmp_path, extension, expected):
    assert caption_paths(tmp_path / "a.b.png", extension) == [tmp_path / f"a.b{ending}" for ending in expected]


@pytest.mark.parametrize(
    ("text", "encoding", "said"),
    [
        ("cat, 猫, café", "utf-8", "utf-8"),
        ("cat, 猫", "utf-8-sig", "utf-8"),
        ("cat, 猫", "utf-16", "UTF-16"),
        ("\ufeff猫, cat", "utf-16-be", "UTF-16"),
        ("一个女孩，白色头发, solo", "gbk", "GBK"),
        ("站立", "gb18030", "GBK"),
        ("naïve café, déjà vu", "cp1252", "Windows-1252"),
        ("Mädchen, weiße Haare, grüne Augen", "cp1252", "Windows-1252"),
        ("señorita, “smile” – año", "cp1252", "Windows-1252"),
    ],
)
def test_encodings(text, encoding, said):
    read, used = decode(text.encode(encoding), "x.txt")
    assert (read.lstrip("\ufeff"), used) == (text.lstrip("\ufeff"), said)


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"\x81\xff\x8d"])
def test_no_encoding_fits(data):
    with pytest.raises(UserError) as caught:
        decode(data, "x.txt")
    assert (caught.value.code, caught.value.where) == ("caption.encoding", "x.txt")


def test_first_line_with_text_is_read_and_more_is_said(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"\n \n first , line \nsecond\n")
    caption = read_caption(path)
    assert caption.text == "first , line"
    assert [(note.code, note.values["count"]) for note in caption.notes] == [("caption.first_line", 2)]


def test_a_byte_order_mark_is_nothing_to_talk_about(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes("cat".encode("utf-8-sig"))
    assert (read_caption(path).text, read_caption(path).notes) == ("cat", [])


def test_invisible_characters_go_and_joiners_stay(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes("c\u200bat\x00, \u2066dog\u2069, 👩\u200d🎨, می\u200cخواهم".encode())
    caption = read_caption(path)
    assert caption.text == "cat, dog, 👩\u200d🎨, می\u200cخواهم"
    assert caption.notes[0].values["count"] == 4


def test_size_cap_and_odd_files(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"a" * MAX_CAPTION_BYTES)
    assert read_caption(path).text == "a" * MAX_CAPTION_BYTES
    path.write_bytes(b"a" * (MAX_CAPTION_BYTES + 1))
    (tmp_path / "y.txt").mkdir()
    for name, code in (("x.txt", "caption.too_large"), ("y.txt", "caption.not_file"), ("z.txt", "caption.unreadable")):
        with pytest.raises(UserError) as caught:
            read_caption(tmp_path / name)
        assert caught.value.code == code


def test_without_settings_a_caption_stays_as_it_is():
    assert composed("a ,b,, c") == "a ,b,, c"
    assert composed("") == ""


def test_prefix_and_suffix():
    assert composed("b, c", caption_prefix="a,", caption_suffix=", d") == "a, b, c , d"
    assert composed("", caption_prefix="a") == "a"


def test_shuffle_keeps_the_first_tags_and_all_others():
    results = {composed("a, b, c, d, e", seed=seed, shuffle_caption=True, keep_tokens=2) for seed in range(200)}
    assert results == {
        "a, b, c, d, e",
        "a, b, c, e, d",
        "a, b, d, c, e",
        "a, b, d, e, c",
        "a, b, e, c, d",
        "a, b, e, d, c",
    }


def test_separator_keeps_front_and_back_whatever_keep_tokens_says():
    results = {
        composed("a, b ||| c, d ||| e", seed=s, shuffle_caption=True, keep_tokens=1, keep_tokens_separator="|||")
        for s in range(50)
    }
    assert results == {"a, b, c, d, e", "a, b, d, c, e"}


def test_separator_is_never_taught():
    assert composed("a ||| b, c", keep_tokens_separator="|||") == "a, b, c"
    assert composed("a, b", keep_tokens_separator="|||") == "a, b"
    assert composed("a ||| b", keep_tokens_separator="") == "a ||| b"


def test_keep_tokens_counts_prefix_tags():
    assert composed("b, c", caption_prefix="a,", keep_tokens=3, shuffle_caption=True, seed=3) == "a, b, c"


def test_caption_dropout_takes_all_even_the_prefix():
    assert composed("a", caption_prefix="p", caption_dropout_rate=1.0) == ""
    kept = sum(bool(composed("a", seed=seed, caption_dropout_rate=0.25)) for seed in range(4000))
    assert 0.72 < kept / 4000 < 0.78


def test_dropout_epochs_are_every_nth():
    shown = [composed("a", epoch=epoch, caption_dropout_every_n_epochs=3) for epoch in range(7)]
    assert shown == ["a", "a", "", "a", "a", "", "a"]


def test_tag_dropout_spares_the_fixed_part():
    counts: Counter[str] = Counter()
    for seed in range(4000):
        counts.update(composed("a, b, c", seed=seed, keep_tokens=1, caption_tag_dropout_rate=0.4).split(", "))
    assert counts["a"] == 4000
    assert 0.57 < counts["b"] / 4000 < 0.63
    assert 0.57 < counts["c"] / 4000 < 0.63


def test_draws_are_pinned():
    chosen = {"shuffle_caption": True, "caption_tag_dropout_rate": 0.3, "caption_dropout_rate": 0.1}
    results = [
        compose("a, b, c, d, e", DatasetSettings(**chosen), 0, python_random(42, "caption", 0, 0, repeat))
        for repeat in range(4)
    ]
    assert results == ["a, e, c, d, b", "b, d, e, c", "c, e, a, d", "d, b, a"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shuffle_caption", True),
        ("caption_dropout_rate", 0.1),
        ("caption_tag_dropout_rate", 0.1),
        ("caption_dropout_every_n_epochs", 2),
    ],
)
def test_what_makes_captions_vary(name, value):
    assert not captions_vary(DatasetSettings(keep_tokens=1, caption_prefix="p"))
    assert captions_vary(DatasetSettings(**{name: value}))


TAGS = st.lists(st.text("abcdef 猫_()", min_size=1, max_size=8).map(str.strip).filter(bool), max_size=12)


@settings(max_examples=300, deadline=None)
@given(TAGS, st.integers(0, 14), st.booleans(), st.floats(0, 1), st.integers(0, 10**6))
def test_every_showing(tags, keep, shuffle, rate, seed):
    result = composed(
        ", ".join(tags), seed=seed, keep_tokens=keep, shuffle_caption=shuffle, caption_tag_dropout_rate=rate
    )
    shown = [tag for tag in result.split(", ") if tag]
    assert shown[: min(keep, len(tags))] == tags[:keep]
    assert not Counter(shown) - Counter(tags)
    if rate == 0:
        assert Counter(shown) == Counter(tags)
    if not shuffle:
        places = iter(tags)
        assert all(tag in places for tag in shown)
