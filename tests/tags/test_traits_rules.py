"""The table of rules: patterns, which of two decides, the user's file on top, mistakes named by line or field."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.errors import UserError
from lib_lora_train.project import SUBJECT_KINDS
from lib_lora_train.tags.traits import GROUPS, load_rules
from lib_lora_train.tags.traits.patterns import expression, plain
from lib_lora_train.tags.traits.table import THEMES

RULES = load_rules()
FRESH = load_rules()  # has seen no tag before


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("* hair", ["hair", "long hair", "very long hair"], ["hairband", "hair bow", "chair"]),
        ("hair *", ["hair", "hair over one eye"], ["long hair"]),
        ("{color} hair", ["red hair", "dark blue hair"], ["hair", "long hair", "very red hair"]),
        ("* of *", ["of", "out of frame", "string of flags"], ["often"]),
        ("*-shaped pupils", ["star-shaped pupils"], ["star shaped pupils", "shaped pupils"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_patterns_are_of_whole_words(pattern: str, fits: list[str], fits_not: list[str]) -> None:
    regex = expression(pattern, {"color": ["red", "dark blue"]})
    assert [tag for tag in fits if not regex.fullmatch(f" {tag}")] == []
    assert [tag for tag in fits_not if regex.fullmatch(f" {tag}")] == []


@pytest.mark.parametrize(
    "written", ["blue eyes", "blue_eyes", "Blue Eyes", "(blue eyes:1.2)", "((blue_eyes))", " blue  eyes "]
)
def test_a_tag_is_known_however_it_is_written(written: str) -> None:
    assert RULES.category(written).name == "eye_color"


def test_brackets_of_a_name_are_no_weight() -> None:
    assert plain("hu tao \\(genshin impact\\)") == "hu tao (genshin impact)"
    assert RULES.category("hu_tao_(genshin_impact)").name == "name"
    assert RULES.category("star (symbol)").name == "object"


@pytest.mark.parametrize(
    ("tag", "category"),
    [
        ("hair bow", "hair_ornament"),  # not "* bow", not hair
        ("hair over one eye", "hair"),
        ("holding sword", "action"),  # not a sword
        ("black skirt", "clothing"),
        ("black hair", "hair_color"),
        ("open mouth", "expression"),  # not an open garment
        ("open jacket", "clothing"),
        ("from behind", "angle"),
        ("sword", "object"),
        ("quillon", ""),
        (":d", "expression"),
        ("^_^", "expression"),
    ],
)
def test_the_pattern_that_says_more_decides(tag: str, category: str) -> None:
    assert RULES.category(tag).name == category


def test_sorted_tags_stand_in_the_order_of_the_tutorials() -> None:
    tags = ["masterpiece", "sunlight", "from above", "red hair", "sitting", "1girl"]
    assert sorted(tags, key=RULES.rank) == ["1girl", "sitting", "red hair", "from above", "sunlight", "masterpiece"]
    assert [RULES.rank(tag) for tag in reversed(tags)] == [0, 1, 2, 3, 4, 5]


def test_the_shipped_table_is_of_one_mind() -> None:
    """No tag stands in two categories, and each category says something."""
    seen: dict[str, str] = {}
    for name, category in RULES.categories.items():
        assert category.entry.tags, name
        assert category.group in GROUPS and category.entry.theme in THEMES
        for tag in map(plain, category.entry.tags):
            assert seen.setdefault(tag, name) == name, tag
    assert len(RULES.categories) > 25
    assert "style" not in {kind for category in RULES.categories.values() for kind in category.entry.bind}


@given(st.text(max_size=60))
def test_every_text_has_a_category(tag: str) -> None:
    category = RULES.category(tag)
    assert category == FRESH.category(tag)
    assert 0 <= RULES.rank(tag) < len(GROUPS)


def test_a_hostile_tag_does_not_keep_it_busy() -> None:
    started = time.process_time()
    for tag in ("a " * 20_000 + "hair", "a-" * 50_000, "* " * 5_000 + "shirt", "((" * 30_000):
        RULES.category(tag)
    assert time.process_time() - started < 5


# ---------------------------------------------------------------------- the user's file


def user_rules(tmp_path: Path, text: str):
    path = tmp_path / "binding.toml"
    path.write_text(text, encoding="utf-8")
    return load_rules(path)


def test_without_a_file_the_shipped_rules_are_in_force(tmp_path: Path) -> None:
    assert load_rules(tmp_path / "binding.toml").categories == RULES.categories


def test_a_user_adds_patterns_and_overrides_what_is_said_of_a_category(tmp_path: Path) -> None:
    rules = user_rules(
        tmp_path,
        """
        [lists]
        metal = ["bronze", "chrome"]
        [category.mark]
        share = 0.9
        tags = ["{metal} plate", "sword"]
        [category.wheels]
        group = "feature"
        theme = "object"
        bind = ["object"]
        tags = ["* wheel", "* hair"]
        """,
    )
    assert rules.category("chrome plate").name == "mark"
    assert rules.category("sword").name == "mark"  # was an object
    assert (
        rules.category("scar").entry.share == 0.9
        and rules.category("scar").entry.bind == RULES.category("scar").entry.bind
    )
    assert rules.category("steering wheel").entry.bind == ("object",)
    assert rules.category("red hair").name == "wheels"  # a pattern of the user's goes before all of ours
    assert rules.category("blue eyes").name == "eye_color"
    assert rules.rank("steering wheel") == 2


def test_letters_decide_and_not_the_place_in_the_file(tmp_path: Path) -> None:
    rules = user_rules(
        tmp_path,
        "[category.a]\ngroup = 'view'\ntags = ['* gizmo']\n[category.b]\ngroup = 'view'\ntags = ['odd * gizmo', 'gizmo']\n",
    )
    assert [rules.category(tag).name for tag in ("big gizmo", "odd gizmo", "gizmo")] == ["a", "b", "b"]


def test_a_user_can_extend_a_shipped_list(tmp_path: Path) -> None:
    assert RULES.category("ultramarine hair").name == "hair"
    rules = user_rules(tmp_path, '[lists]\ncolor = ["ultramarine"]\n')
    assert rules.category("ultramarine hair").name == "hair_color"
    assert rules.category("red hair").name == "hair_color"


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("[category.mark]\ntags = [\n\n=", "traits.unreadable", "line 4"),
        ("[categories]\n", "traits.unknown", "categories"),
        ("[category.mark]\ntag = []\n", "traits.unknown", "category.mark.tag"),
        ("[category.mark]\ntags = 'scar'\n", "traits.value", "category.mark.tags"),
        ("[category.mark]\ntags = [1]\n", "traits.value", "category.mark.tags"),
        ("[category.mark]\nshare = 2\n", "traits.value", "category.mark.share"),
        ("[category.mark]\nshare = true\n", "traits.value", "category.mark.share"),
        ("[category.mark]\none = 1\n", "traits.value", "category.mark.one"),
        ("[category.mark]\ngroup = 'front'\n", "traits.value", "category.mark.group"),
        ("[category.mark]\ngroup = ['view']\n", "traits.value", "category.mark.group"),
        ("[category.mark]\nbind = ['animal']\n", "traits.value", "category.mark.bind"),
        ("[category]\nmark = 3\n", "traits.value", "category.mark"),
        ("[category.marks]\ntags = ['scar']\n", "traits.no_group", "category.marks"),
        ("[least]\nanimal = 0.5\n", "traits.unknown", "least.animal"),
        ("[category.mark]\ntags = ['* * * *']\n", "traits.pattern", "category.mark.tags"),
        ("[category.mark]\ntags = ['']\n", "traits.pattern", "category.mark.tags"),
        ("[category.mark]\ntags = ['{metal} plate']\n", "traits.list", "metal"),
        ("[lists]\ncolor = []\n", None, ""),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, code: str | None, says: str) -> None:
    if code is None:
        assert user_rules(tmp_path, text).category("red hair").name == "hair_color"
        return
    with pytest.raises(UserError) as error:
        user_rules(tmp_path, text)
    assert error.value.code == code
    assert error.value.where == "binding.toml"
    assert says in error.value.text() and says in error.value.text("zh-CN")


def test_bytes_that_are_no_text_and_files_that_are_too_large(tmp_path: Path) -> None:
    path = tmp_path / "binding.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="UTF-8"):
        load_rules(path)
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(UserError) as error:
        load_rules(path)
    assert error.value.code == "traits.heavy"


def test_all_kinds_of_subject_can_be_named(tmp_path: Path) -> None:
    kinds = ", ".join(f'"{kind}"' for kind in SUBJECT_KINDS)
    assert (
        user_rules(tmp_path, f"[category.view_of_mine]\ngroup = 'view'\nbind = [{kinds}]\n")
        .categories["view_of_mine"]
        .entry.bind
        == SUBJECT_KINDS
    )
