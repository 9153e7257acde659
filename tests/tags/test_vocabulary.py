"""Known tags: read from the lists people have, found by what is typed, whatever the lists hold."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.dataset.tag_text import tag_key
from lib_lora_train.tags.translations import Translations, shipped_tags
from lib_lora_train.tags.vocabulary import MAX_SUGGESTIONS, KnownTag, Vocabulary, find_vocabulary, list_files
from lib_lora_train.tags.vocabulary.reading import read_list

ROOT = Path(__file__).parents[2]
LIST = """1girl,0,6008644,"1girls,sole_female"
blue_eyes,0,1762765,"blue_eye"
thighhighs,0,1166845,"stockings,thigh-highs"
hatsune_miku,4,106634,"miku"
light_blue_hair,0,32469,
re:zero,3,5000,
^_^,0,110141,"^-^"
blueberry,0,900,
"""


def names(vocabulary: Vocabulary, text: str, limit: int = 20, **more: object) -> list[str]:
    return [suggestion.tag for suggestion in vocabulary.complete(text, limit, **more)]  # type: ignore[arg-type]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "tags").mkdir()
    (tmp_path / "tags" / "danbooru.csv").write_text(LIST, encoding="utf-8")
    return tmp_path


# ---------------------------------------------------------------------- lists


def test_a_list_in_tagcompletes_format_is_read(models: Path) -> None:
    vocabulary = find_vocabulary(models)
    assert (len(vocabulary), vocabulary.sources, vocabulary.problems) == (8, ("danbooru.csv",), ())
    assert vocabulary.known("Blue_Eyes") == vocabulary.known("blue eyes") == 1762765
    assert vocabulary.known("blue eye") is None
    assert vocabulary.alias_of("blue_eye") == "blue eyes"
    assert vocabulary.alias_of("1girl") == ""
    assert vocabulary.category("hatsune miku") == "character"
    assert "light blue hair" in vocabulary.names and "^ ^" in vocabulary.names
    assert [tag.tag for tag in read_list(models / "tags" / "danbooru.csv")][6] == "^_^"


def test_a_taggers_list_is_read_without_its_ratings() -> None:
    vocabulary = find_vocabulary(ROOT / "demo")  # demo/tagger and demo/judge
    assert vocabulary.sources == ("judge", "tagger")
    assert "general" not in vocabulary.names
    assert "cat ears" in vocabulary.names and "horns" in vocabulary.names


def test_the_users_list_counts_before_the_taggers(models: Path) -> None:
    tagger = models / "my-tagger"
    tagger.mkdir()
    (tagger / "selected_tags.csv").write_text(
        "tag_id,name,category,count\n0,general,9,1\n1,blue_eyes,0,5\n2,red_eyes,0,7\n", encoding="utf-8"
    )
    vocabulary = find_vocabulary(models)
    assert vocabulary.sources == ("danbooru.csv", "my-tagger")
    assert (vocabulary.known("blue eyes"), vocabulary.known("red eyes")) == (1762765, 7)
    elsewhere = find_vocabulary(models / "tags", [tagger, models / "none"])
    assert elsewhere.sources == ("my-tagger",)
    assert [path.name for path in list_files(models)] == ["danbooru.csv", "selected_tags.csv"]


def test_without_a_list_the_shipped_tags_are_known(tmp_path: Path) -> None:
    vocabulary = find_vocabulary(tmp_path / "none")
    assert vocabulary.sources == () and len(vocabulary) >= 600
    assert vocabulary.known("blue eyes") == 0
    assert names(vocabulary, "blue ", 3) == ["blue eyes", "blue hair", "blue archive"]  # by frequency


def test_a_short_list_says_nothing_about_spelling(tmp_path: Path) -> None:
    """By the list that ships, ripples would be a misspelt other word."""
    assert not find_vocabulary(tmp_path).spelling
    long = Vocabulary([KnownTag(f"tag {number}") for number in range(5_000)])
    assert "tag 7" in long.spelling and len(long.spelling) == 5_000


def test_e621s_categories_are_its_own(tmp_path: Path) -> None:
    path = tmp_path / "e621_sfw.csv"
    path.write_text("canine,5,9,\nhi_res,7,8,\nanthro,0,7,\nodd,,,\n", encoding="utf-8")
    assert [tag.category for tag in read_list(path)] == ["species", "meta", "general", ""]


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("open.csv", b'a,0,1,"b\n' + b"x,0,1\n" * 40_000, "words_tags.damaged"),
        ("noise.csv", b"\x81\x8d\x8f\x90\x9d", "caption.encoding"),
        ("tagger/selected_tags.csv", b"id,tag\n1,hat\n", "words_tags.columns"),
    ],
)
def test_a_list_that_cannot_be_used_is_said_and_the_others_are_used(
    models: Path, name: str, data: bytes, code: str
) -> None:
    path = models / name if "/" in name else models / "tags" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    vocabulary = find_vocabulary(models)
    assert [problem.code for problem in vocabulary.problems] == [code]
    assert vocabulary.sources == ("danbooru.csv",) and len(vocabulary) == 8
    assert path.name in vocabulary.problems[0].text("zh-CN")


def test_too_large_lists_are_refused(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shipped_tags()  # read once, and within its limits
    monkeypatch.setattr("lib_lora_train.tags.tables.MAX_ROWS", 5)
    assert [problem.code for problem in find_vocabulary(models).problems] == ["words_tags.too_many"]
    monkeypatch.setattr("lib_lora_train.tags.tables.MAX_BYTES", 100)
    vocabulary = find_vocabulary(models)
    assert [problem.code for problem in vocabulary.problems] == ["words_tags.too_large"]
    assert vocabulary.sources == () and len(vocabulary) >= 600


def test_strange_rows_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    rows = ["name,category,count", "", ",,,", "hat", "cap,x,y", "\0bow,0,\0" + "9", "x" * 300 + ",0,1", 'a,0,99999999999,"b,,c"', "²,0,²"]  # fmt: skip
    path.write_bytes("\n".join(rows).encode("utf-8-sig"))
    assert read_list(path) == [
        KnownTag("hat"), KnownTag("cap", 0, "general"), KnownTag("bow", 9, "general"),
        KnownTag("a", 0, "general", ("b", "c")), KnownTag("²", 0, "general"),
    ]  # fmt: skip


def test_a_chinese_list_from_windows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "gbk.csv"
    path.write_bytes('hat,0,5,"帽子的其他名称和叫法"\n'.encode("gbk"))
    assert read_list(path)[0].aliases == ("帽子的其他名称和叫法",)


# ---------------------------------------------------------------------- completion


def test_the_tag_then_beginnings_then_words_then_the_rest(models: Path) -> None:
    tags = [
        ("hair", 5),
        ("hair bow", 900),
        ("hairband", 800),
        ("long hair", 4000),
        ("crosshair", 9000),
        ("sunshade", 1),
    ]
    vocabulary = Vocabulary([KnownTag(tag, count) for tag, count in tags])
    assert names(vocabulary, "hair") == ["hair", "hair bow", "hairband", "long hair", "crosshair"]
    assert names(vocabulary, "HAIR_b") == ["hair bow"]
    assert names(vocabulary, "hair", 2) == ["hair", "hair bow"]
    assert names(vocabulary, "zzz") == names(vocabulary, " ") == names(vocabulary, "_") == []
    assert names(vocabulary, "hair", 0) == names(vocabulary, "hair", -3) == []
    assert names(find_vocabulary(models), "zer") == ["re:zero"]
    assert names(find_vocabulary(models), "^_^") == ["^_^"]


def test_other_names_lead_to_the_tag_once(models: Path) -> None:
    found = find_vocabulary(models).complete("stockings")
    assert [(one.tag, one.alias, one.count, one.category) for one in found] == [
        ("thighhighs", "stockings", 1166845, "general")
    ]
    assert names(find_vocabulary(models), "miku") == ["hatsune miku"]
    assert names(find_vocabulary(models), "thigh") == ["thighhighs"]


def test_tags_in_use_come_first_known_or_not(models: Path) -> None:
    own = Counter({"blueberry": 2, "blue lantern": 7, "BLUE_moon": 1})
    found = find_vocabulary(models).complete("blue", own=own)
    assert [(one.tag, one.own, one.count) for one in found] == [
        ("blue lantern", 7, 0), ("blueberry", 2, 900), ("BLUE_moon", 1, 0), ("blue eyes", 0, 1762765),
        ("light blue hair", 0, 32469),
    ]  # fmt: skip


def test_chinese_text_finds_tags_by_their_translation(models: Path) -> None:
    words = Translations("zh-CN", {"blue eyes": "蓝眼睛", "light blue hair": "浅蓝发", "odd": "蓝"})
    found = find_vocabulary(models).complete("蓝", translations=words)
    assert [(one.tag, one.translation) for one in found] == [
        ("odd", "蓝"), ("blue eyes", "蓝眼睛"), ("light blue hair", "浅蓝发")
    ]  # fmt: skip
    assert names(find_vocabulary(models), "蓝", translations=words, own={"light_blue_hair": 3})[:2] == [
        "odd",
        "blue eyes",
    ]
    assert names(find_vocabulary(models), "发", translations=words, own={"light_blue_hair": 3}) == ["light_blue_hair"]
    assert find_vocabulary(models).complete("blue e", translations=words)[0].translation == "蓝眼睛"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text("ab _-:(", max_size=6), st.integers(0, 9)), max_size=30),
    st.text("ab _-:(", max_size=3), st.integers(1, 40), st.dictionaries(st.text("ab _", min_size=1, max_size=4), st.integers(1, 9), max_size=4),
)  # fmt: skip
def test_completion_is_what_a_naive_one_finds(rows, typed, limit, own) -> None:
    vocabulary = Vocabulary([KnownTag(tag, count) for tag, count in rows])
    found = vocabulary.complete(typed, limit, own=own)
    wanted = tag_key(typed)
    keys = [tag_key(one.tag) for one in found]
    known = {tag_key(tag) for tag, _ in rows} | {tag.casefold().replace("_", " ").strip() for tag in own}
    assert len(keys) == len(set(keys)) <= limit
    assert all(wanted and wanted in key for key in keys)
    if wanted and len(found) < limit:
        assert {key for key in vocabulary.names if wanted in key} <= set(keys) <= known | set(map(tag_key, own))


def test_a_hundred_and_fifty_thousand_tags_are_few(models: Path) -> None:
    """By work done, not by the clock: no scan in Python of what cannot match."""
    draws = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    tags = [KnownTag("".join(draws.choices(letters, k=8)) + f" {number}", draws.randrange(10**6)) for number in range(150_000)]  # fmt: skip
    vocabulary = Vocabulary(tags)
    assert len(vocabulary.complete("a", 10**9)) == MAX_SUGGESTIONS
    found = vocabulary.complete("q", 20)
    counts = [one.count for one in found]
    assert counts == sorted(counts, reverse=True) and all(one.tag.startswith("q") for one in found)
    best = sorted((tag for tag in tags if tag.tag.startswith("q")), key=lambda tag: -tag.count)[:20]
    assert counts == [tag.count for tag in best]
    assert names(vocabulary, tags[777].tag)[0] == tags[777].tag
