"""Tags and their Chinese words: the list that ships, the user's own, and searching in either."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from demo.attributes import ATTRIBUTES, NONE
from lib_lora_train.dataset.tag_text import tag_key
from lib_lora_train.tags.translations import Translations, shipped_tags, translation_files

LIST = Path(__file__).parents[2] / "lib_lora_train" / "tags" / "translations" / "zh-CN.csv"
# The hundred that come first in any booru, but for what only adults look for.
FREQUENT = (
    "1girl", "solo", "long hair", "breasts", "looking at viewer", "blush", "smile", "open mouth", "short hair",
    "simple background", "shirt", "blue eyes", "long sleeves", "skirt", "blonde hair", "multiple girls", "black hair",
    "white background", "brown hair", "hair ornament", "1boy", "holding", "gloves", "dress", "red eyes", "hat", "bow",
    "animal ears", "closed mouth", "thighhighs", "hair between eyes", "navel", "ribbon", "jewelry", "2girls",
    "bare shoulders", "very long hair", "sitting", "jacket", "twintails", "standing", "blue hair", "green eyes",
    "brown eyes", "white shirt", "purple eyes", "full body", "underwear", "school uniform", "collarbone", "tail",
    "upper body", "closed eyes", "white hair", "yellow eyes", "pink hair", "multicolored hair", "grey hair", "swimsuit",
    "ahoge", "purple hair", "monochrome", "braid", "short sleeves", "flower", "hair ribbon", "ponytail", "weapon",
    "heart", "earrings", "cowboy shot", "outdoors", "hair bow", "pantyhose", "sweat", "red hair", "pleated skirt",
    "frills", "parted lips", "hairband", "horns", "boots", "necktie", "shorts", "food", "wings", "sky",
    "one eye closed", "sleeveless", "pants", "green hair", "shoes", "choker", "pointy ears", "socks", "glasses",
    "indoors", "belt", "day", "hood",
)  # fmt: skip


@pytest.fixture(scope="module")
def chinese() -> Translations:
    return Translations.load("zh-CN")


def test_the_shipped_list_is_whole(chinese: Translations) -> None:
    rows = list(csv.reader(LIST.open(encoding="utf-8", newline="")))
    assert rows[0] == ["tag", "translation"] and all(len(row) == 2 for row in rows)
    tags = [tag for tag, _ in rows[1:]]
    assert len(tags) == len(set(map(tag_key, tags))) == len(chinese) >= 1500
    assert tuple(tags) == shipped_tags()
    for tag, text in rows[1:]:
        assert tag == " ".join(tag.split()) and text == text.strip(), tag
        assert re.search(r"[\u4e00-\u9fff]|Hololive|VOCALOID|Fate|Love Live|T恤|3D", text), (tag, text)
    assert len({text for _, text in rows[1:]}) == len(tags)  # no two tags look the same


def test_frequent_tags_and_those_of_the_demo_have_words(chinese: Translations) -> None:
    demo = [value for values in ATTRIBUTES.values() for value in values if value != NONE]
    assert [tag for tag in (*FREQUENT, *demo, "horns") if not chinese.of(tag)] == []


@pytest.mark.parametrize(
    ("tag", "text"),
    [("long hair", "长发"), ("Long_Hair", "长发"), ("^_^", "^_^ 笑眯眯"), ("no such tag", ""), ("", "")],
)
def test_a_tag_has_its_word_however_it_is_written(chinese: Translations, tag: str, text: str) -> None:
    assert chinese.of(tag) == text


@pytest.mark.parametrize("text", ["蓝眼睛", "蓝色眼睛", "蓝色的眼睛", "蓝眼", "蓝瞳", " 蓝 瞳 "])
def test_eyes_are_found_by_any_of_their_names(chinese: Translations, text: str) -> None:
    assert "blue eyes" in chinese.search(text) and "red eyes" not in chinese.search(text)


def test_search_is_inside_the_words_and_the_closest_is_marked(chinese: Translations) -> None:
    assert {"long hair", "very long hair"} <= chinese.search("长发")
    assert "blonde hair" in chinese.search("金色头发")
    assert "t-shirt" in chinese.search("ｔ恤")  # full-width letters
    assert chinese.search("") == chinese.search(" ") == chinese.search("没有这个词") == set()
    closeness = {key: how for how, key in chinese.matches("长发")}
    assert (closeness["long hair"], closeness["very long hair"]) == (0, 2)
    assert {key: how for how, key in chinese.matches("口罩")}["mask"] == 0  # 面具/口罩
    assert chinese.search("x" * 10_000) == set()


def test_the_users_words_replace_ours(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "tag,translation\nLong_Hair,秀发\nmy_tag,我的\nempty,\nonly\n", encoding="utf-8-sig"
    )
    (tmp_path / "b.csv").write_text("my_tag,0,自己的\nhat,5,\n", encoding="utf-8")  # with a category between
    (tmp_path / "c.csv").write_bytes(b'x,"y\n' + b"z,z\n" * 50_000)
    (tmp_path / "notes.txt").write_text("x,y")
    words = Translations.load("zh-CN", tmp_path)
    assert (words.of("long hair"), words.of("my tag"), words.of("smile")) == ("秀发", "自己的", "微笑")
    assert words.of("hat") == "5"  # of two columns the second
    assert (words.sources, [problem.code for problem in words.problems]) == (("a.csv", "b.csv"), ["words_tags.damaged"])
    assert [path.name for path in translation_files(tmp_path)] == ["a.csv", "b.csv", "c.csv"]
    assert words.tag("my tag") == "my tag" and words.tag("unknown") == "unknown"


def test_another_language_has_only_the_users_words(tmp_path: Path) -> None:
    assert len(Translations.load("en")) == 0 and Translations.load("en", tmp_path / "none").sources == ()
    (tmp_path / "de.csv").write_text("hat,Hut\n", encoding="utf-8")
    german = Translations.load("de", tmp_path)
    assert len(german) == 1 and german.of("hat") == "Hut" and german.search("hu") == {"hat"}


def test_the_list_is_installed_with_the_package() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert '"**/*.csv"' in project
