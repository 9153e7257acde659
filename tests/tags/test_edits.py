"""What each kind of edit does to captions: of tags, of sentences, of several lines."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from lib_lora_train.dataset.tag_text import tags_of
from lib_lora_train.errors import UserError
from lib_lora_train.messages import LANGUAGES, message
from lib_lora_train.settings.fields import Setting
from lib_lora_train.tags.edits import FORMS, KINDS, EditContext, edit_of, edit_schema, settings_of, values_of
from lib_lora_train.tags.proposing import Proposal, propose, propose_texts
from tests.helpers.sheets import item

PROSE = "A girl with a red hat, smiling, sits on the old bench."


def proposed(edit: dict[str, Any] | list[dict[str, Any]], *texts: str, **context: Any) -> Proposal:
    values = edit if isinstance(edit, list) else [edit]
    counts = Counter(tag for text in texts for tag in tags_of(text))
    items = [item(text, f"{number}.png") for number, text in enumerate(texts)]
    return propose(items, [edit_of(one) for one in values], EditContext(counts, **context))


def edited(there: str, kind: str, trigger: str = "", form: str = "tags", **settings: Any) -> str:
    """The caption afterwards."""
    changes = proposed({"kind": kind, **settings}, there, trigger=trigger, form=form, count_tokens=words).changes
    return changes[0].after if changes else there


def words(text: str) -> int:
    """A comma is a token of its own, as with CLIP."""
    return len(text.replace(",", " , ").split())


# ---------------------------------------------------------------------- add


@pytest.mark.parametrize(
    ("there", "settings", "wanted"),
    [
        ("1girl", {"tags": ["hat, smile"]}, "1girl, hat, smile"),
        ("1girl,hat", {"tags": ["Hat"]}, "1girl,hat"),
        ("1girl, (hat:1.2)", {"tags": ["hat", "long_hair"]}, "1girl, (hat:1.2), long_hair"),
        ("1girl, hat", {"tags": ["smile"], "where": "front"}, "smile, 1girl, hat"),
        ("1girl, hat", {"tags": ["smile"], "where": "before", "tag": "HAT"}, "1girl, smile, hat"),
        ("1girl, hat", {"tags": ["smile"], "where": "after", "tag": "1girl"}, "1girl, smile, hat"),
        ("1girl", {"tags": ["smile"], "where": "after", "tag": "hat"}, "1girl"),
        ("1girl, hat, smile", {"tags": ["hat"], "where": "front"}, "1girl, hat, smile"),
        ("1girl, hat, smile", {"tags": ["hat"], "where": "front", "move": True}, "hat, 1girl, smile"),
        ("", {"tags": ["hat", "hat"]}, "hat"),
        ("", {"tags": ["hat"], "empty": False}, ""),
        (" \n", {"tags": ["hat"]}, "hat"),
        ("1girl\r\nsecond, line\r\n x", {"tags": ["hat"]}, "1girl, hat\r\nsecond, line\r\n x"),
        (PROSE, {"tags": ["red_hat", "dusk"]}, f"{PROSE} dusk"),
        (PROSE[:-1], {"tags": ["dusk"]}, f"{PROSE[:-1]}, dusk"),
        (PROSE, {"tags": ["q"], "where": "front"}, f"q, {PROSE}"),
        (PROSE, {"tags": ["big"], "where": "before", "tag": "red hat"}, PROSE.replace("red", "big red")),
        (PROSE, {"tags": ["on top"], "where": "after", "tag": "hat"}, PROSE.replace("hat", "hat on top")),
        (PROSE, {"tags": ["x"], "where": "after", "tag": "ha"}, PROSE),
        (PROSE, {"tags": ["what? no*"]}, f"{PROSE} what? no*"),
        (f"{PROSE} what? no*", {"tags": ["what? no*"]}, f"{PROSE} what? no*"),
    ],
)
def test_add(there: str, settings: dict[str, Any], wanted: str) -> None:
    assert edited(there, "add", **settings) == wanted


def test_what_stands_between_commas_moves_in_sentences_too() -> None:
    move = {"tags": ["q"], "move": True}
    assert edited(f"{PROSE}, dusk, Q, rain", "add", where="front", **move) == f"q, {PROSE}, dusk, rain"
    assert edited(f"q, {PROSE}", "add", where="front", **move) == f"q, {PROSE}"
    assert edited("A girl called q sits on the old bench.", "add", where="front", **move) == (
        "A girl called q sits on the old bench."
    )
    assert edited(f"{PROSE}, q", "add", where="after", tag="moon", **move) == f"{PROSE}, q"
    assert edited("q", "add", form="sentences", where="front", **move) == "q"


def test_add_behind_the_trigger_word() -> None:
    assert edited("q, word, hat", "add", "q, word", tags=["x"], where="trigger") == "q, word, x, hat"
    assert edited("hat, q", "add", "q", tags=["x"], where="trigger") == "x, hat, q"
    assert edited(f"q, {PROSE}", "add", "q", tags=["x"], where="trigger") == f"q, x, {PROSE}"


def test_sentences_by_the_form_of_the_place() -> None:
    """In a place of sentences a short caption is one too."""
    assert edited("a girl with a hat", "replace", form="sentences", find="hat", replace="cap") == "a girl with a cap"
    assert edited("a girl with a hat", "replace", find="hat", replace="cap") == "a girl with a hat"


# ---------------------------------------------------------------------- remove


@pytest.mark.parametrize(
    ("there", "settings", "wanted"),
    [
        ("1girl, long_hair, (hat:1.2), hat", {"tags": ["Long Hair", "hat"]}, "1girl"),
        ("long hair, hair, hairband", {"tags": ["*hair"]}, "hairband"),
        ("hat, hut, hot", {"tags": ["h?t"]}, ""),
        ("!?, hat, a*b, axb", {"tags": ["!?", r"a\*b"]}, "hat, axb"),
        ("hat, shirt (white)", {"tags": ["shirt_(white)"]}, "hat"),
        ("white hat, hatter, cap", {"tags": ["hat"], "how": "text"}, "cap"),
        ("Hat, hat", {"tags": ["hat"], "how": "text", "ignore_case": False}, "Hat"),
        ("hat, white hat, 3d", {"tags": [r"^hat$", r"\d"], "how": "regex"}, "white hat"),
        ("hat, cap", {"tags": [r"^(?!hat)"], "how": "regex"}, "hat"),
        ("hat\nhat, second", {"tags": ["hat"]}, "\nhat, second"),
        (PROSE, {"tags": ["red hat"]}, "A girl with a, smiling, sits on the old bench."),
        (PROSE, {"tags": ["smiling", "old"]}, "A girl with a red hat, sits on the bench."),
        (PROSE, {"tags": ["ol?", "h*t"]}, "A girl with a red, smiling, sits on the bench."),
        (PROSE, {"tags": ["ha"]}, PROSE),
        (PROSE, {"tags": [r"(red|old) "], "how": "regex"}, "A girl with a hat, smiling, sits on the bench."),
        (PROSE, {"tags": ["with a red"], "how": "text"}, "A girl hat, smiling, sits on the old bench."),
        ("一个女孩站在雨中，微笑着，看向远方的山。", {"tags": ["微笑着"]}, "一个女孩站在雨中，看向远方的山。"),
    ],
)
def test_remove(there: str, settings: dict[str, Any], wanted: str) -> None:
    assert edited(there, "remove", **settings) == wanted


# ---------------------------------------------------------------------- replace, merge


@pytest.mark.parametrize(
    ("there", "settings", "wanted"),
    [
        ("1girl, hat, smile", {"find": "hat", "replace": "cap"}, "1girl, cap, smile"),
        ("hat, cap, smile", {"find": "hat", "replace": "cap"}, "cap, smile"),
        ("Cap, smile, hat", {"find": "hat", "replace": "cap"}, "Cap, smile"),
        ("(hat:1.3), smile", {"find": "hat", "replace": "cap"}, "(cap:1.3), smile"),
        ("hat", {"find": "hat", "replace": "red cap, big cap"}, "red cap, big cap"),
        ("hat, smile", {"find": "hat", "replace": ""}, "smile"),
        ("red hat, blue hat, x", {"find": "*hat", "replace": "hat"}, "hat, x"),
        ("grey hair, grey eyes", {"find": "GREY", "replace": "gray", "how": "text"}, "gray hair, gray eyes"),
        ("red hair, gray hair", {"find": "red", "replace": "gray", "how": "text"}, "gray hair"),
        ("a, b", {"find": ", ", "replace": " and ", "how": "text", "within": "line"}, "a and b"),
        ("a, b", {"find": ", ", "replace": " and ", "how": "text"}, "a, b"),
        ("hat red, x", {"find": r"(\w+) (?P<c>red)", "replace": r"\g<c> \1", "how": "regex"}, "red hat, x"),
        ("hat, x", {"find": "$", "replace": " ", "how": "regex"}, "hat, x"),
        ("hat, x", {"find": "^", "replace": "big ", "how": "regex"}, "big hat, big x"),
        ("hat, x", {"find": "^", "replace": r"q\nr, ", "how": "regex", "within": "line"}, "q r, hat, x"),
        (PROSE, {"find": "red hat", "replace": "blue cap"}, PROSE.replace("red hat", "blue cap")),
        (PROSE, {"find": "girl", "replace": ""}, "A with a red hat, smiling, sits on the old bench."),
        (PROSE, {"find": "S", "replace": "z", "how": "text", "ignore_case": False}, PROSE),
    ],
)
def test_replace(there: str, settings: dict[str, Any], wanted: str) -> None:
    assert edited(there, "replace", **settings) == wanted


def test_merge() -> None:
    assert edited("smile, grin, hat, smirk", "merge", tags=["grin", "smirk"], into="smile") == "smile, hat"
    assert edited("hat, smirk, smile, grin", "merge", tags=["grin, smirk"], into="smile") == "hat, smile"
    assert edited("hat, Smile", "merge", tags=["grin"], into="smile") == "hat, Smile"
    assert edited("a smirk, x", "merge", tags=["*smirk"], into="smile, teeth") == "smile, teeth, x"
    assert edited(PROSE, "merge", tags=["red hat", "old bench"], into="thing") == (
        "A girl with a thing, smiling, sits on the thing."
    )


# ---------------------------------------------------------------------- dedupe, sort, move, truncate


def test_dedupe() -> None:
    assert edited("hat, Hat, (hat:1.2), smile, hat_", "dedupe") == "hat, smile"
    assert edited(PROSE + ", " + PROSE, "dedupe") == PROSE + ", " + PROSE


def test_implied_duplicates_are_asked_for() -> None:
    there = "1girl, hair, long_hair, very long hair, no hat, hat, holding, holding sword, 长发, 黑色长发"
    proposal = proposed({"kind": "dedupe", "implied": True}, there, "hair, long hair")
    assert [change.after for change in proposal.changes] == [
        "1girl, very long hair, no hat, hat, holding sword, 黑色长发",
        "long hair",
    ]
    assert proposal.asked == [
        {"drop": "hair", "because": "long hair", "count": 1},
        {"drop": "hair", "because": "very long hair", "count": 1},
        {"drop": "holding", "because": "holding sword", "count": 1},
        {"drop": "long hair", "because": "very long hair", "count": 1},
        {"drop": "长发", "because": "黑色长发", "count": 1},
    ]
    kept = proposed({"kind": "dedupe", "implied": True, "keep": ["hair", "long hair"]}, there, "hair, long hair")
    assert [change.after for change in kept.changes] == [
        "1girl, hair, long_hair, very long hair, no hat, hat, holding sword, 黑色长发"
    ]
    assert kept.asked == proposal.asked
    assert proposed({"kind": "dedupe"}, there).changes == []


def test_the_trigger_word_is_never_implied() -> None:
    assert edited("hair, long hair", "dedupe", "hair", implied=True) == "hair, long hair"


def test_sort() -> None:
    texts = ("smile, Hat, 1girl", "hat, 1girl", "1girl")
    rank = {"1girl": 0, "smile": 1}
    sorts = {
        "alphabet": ["1girl, Hat, smile", "1girl, hat"],
        "frequency": ["1girl, Hat, smile", "1girl, hat"],
        "order": ["1girl, smile, Hat", "1girl, hat"],
    }
    for by, wanted in sorts.items():
        proposal = proposed({"kind": "sort", "by": by}, *texts, rank=lambda tag: rank.get(tag, 5))
        assert [change.after for change in proposal.changes] == wanted, by
        assert (proposal.removed, proposal.added) == (Counter(), Counter())
    assert edited("c, q, b, a", "sort", "q", by="alphabet") == "a, b, c, q"
    assert edited("q, c, b, a", "sort", "q", by="alphabet") == "q, a, b, c"
    assert edited("q, c, b, a", "sort", "q", by="alphabet", fixed=1) == "q, c, a, b"
    assert edited("a, b", "sort", by="alphabet", reverse=True) == "b, a"
    for by in ("alphabet", "frequency"):  # of one name, they do not change places each time
        assert edited("hat, (hat:1.2)", "sort", by=by, reverse=True) == "hat, (hat:1.2)"
        assert edited("(hat:1.2), hat", "sort", by=by, reverse=True) == "hat, (hat:1.2)"
    assert edited("z, a", "sort") == "z, a"  # of one rank, as they stand


def test_move() -> None:
    assert edited("a, b, c, d", "move", tags=["c", "d"]) == "c, d, a, b"
    assert edited("a, b, c, d", "move", tags=["a"], where="back") == "b, c, d, a"
    assert edited("a, b, c, d", "move", tags=["d"], where="position", position=2) == "a, d, b, c"
    assert edited("a, b, c, d", "move", tags=["a"], where="position", position=900) == "b, c, d, a"
    assert edited("a, b, c, d", "move", tags=["d"], where="before", tag="b") == "a, d, b, c"
    assert edited("a, b, c, d", "move", "a", tags=["d"], where="trigger") == "a, d, b, c"
    assert edited("a, bb, bc", "move", tags=["b*"], where="before", tag="bb") == "a, bc, bb"
    assert edited("a, b", "move", tags=["x"]) == "a, b"


def test_truncate() -> None:
    assert edited("a, b, c", "truncate", by="tags", limit=2) == "a, b"
    assert edited("a a, b, c", "truncate", limit=4) == "a a, b"  # a a , b
    assert edited("a a, b, c", "truncate", limit=3) == "a a"
    assert edited("a a, b, c", "truncate", limit=6) == "a a, b, c"
    assert edited("a a, b, c", "truncate", limit=1) == "a a"  # never to nothing
    assert edited(PROSE, "truncate", limit=6) == "A girl with a red hat"
    assert edited(PROSE, "truncate", by="tags", limit=1) == PROSE


def test_truncate_trusts_known_counts_and_needs_a_tokenizer() -> None:
    long = item("a, b, c", tokens=5)
    shorten = edit_of({"kind": "truncate", "limit": 5})
    asked: list[str] = []

    def count(text: str) -> int:
        asked.append(text)
        return words(text)

    assert propose([long], shorten, EditContext(count_tokens=count)).changes == []
    assert asked == []
    with pytest.raises(UserError) as caught:
        propose([long], shorten, EditContext())
    assert (caught.value.code, caught.value.where) == ("edits.no_tokens", "by")


def test_chinese_sentences_are_cut_between_characters() -> None:
    there = "一个女孩站在雨中微笑着看向远方的山。"
    assert proposed({"kind": "truncate", "limit": 5}, there, count_tokens=len).changes[0].after == there[:5]


# ---------------------------------------------------------------------- spelling, case, weights, affix, write


@pytest.mark.parametrize(
    ("there", "settings", "wanted"),
    [
        ("long_hair, >_<, o_o, a  b", {}, "long hair, >_<, o_o, a b"),
        ("long_hair, long hair", {}, "long hair"),
        (r"shirt \(white\), (hat:1.2)", {}, "shirt (white), (hat:1.2)"),
        (r"shirt \(white\)", {"escapes": False}, r"shirt \(white\)"),
        ("long hair，hat、cap, >_<", {"write": "underscores"}, "long_hair, hat, cap, >_<"),
        ("长发，微笑", {"commas": False}, "长发，微笑"),
        ("long_hair  x", {"write": "keep"}, "long_hair x"),
        ("A girl with long_hair  sits >_< and smiles.", {}, "A girl with long hair sits >_< and smiles."),
        ("A girl with long hair sits and smiles.", {"write": "underscores"}, "A girl with long hair sits and smiles."),
    ],
)
def test_spelling(there: str, settings: dict[str, Any], wanted: str) -> None:
    assert edited(there, "spelling", **settings) == wanted


def test_case() -> None:
    assert edited("Quillon, Long Hair, O_o, o_o", "case", "Quillon") == "Quillon, long hair, o_o"
    assert edited("long hair, o_o", "case", to="title") == "Long Hair, o_o"
    assert edited("long hair, hat", "case", to="upper", only=["h*"]) == "long hair, HAT"
    assert edited("long hair, hat", "case", to="first") == "Long hair, Hat"
    assert edited(PROSE, "case") == PROSE.lower()
    assert edited(PROSE, "case", only=["hat"]) == PROSE


def test_weights() -> None:
    there = "((hat)), [cap], (red eyes:1.25), shirt (white), (o)_(o), 2girls"
    assert edited(there, "weights") == "hat, cap, red eyes, shirt (white), (o)_(o), 2girls"
    assert edited("hat, shirt (white), (o)_(o)", "weights", weight=1.2) == (
        r"(hat:1.2), (shirt \(white\):1.2), (o)_(o)"
    )
    assert edited(r"(shirt \(white\):1.2), (hat:1.5)", "weights", tags=["shirt*"]) == "shirt (white), (hat:1.5)"
    assert edited(PROSE, "weights", weight=1.2) == PROSE


def test_affix() -> None:
    assert edited("apple, hat", "affix", prefix="a ", suffix=", best") == "a apple, hat, best"
    assert edited("a apple, hat, best", "affix", prefix="a ", suffix=", best") == "a apple, hat, best"
    assert edited(PROSE, "affix", prefix="photo of ") == f"photo of {PROSE}"
    assert edited("q, hat, red x", "affix", "q", prefix="red ", to="tags") == "q, red hat, red x"
    assert edited("q, hat", "affix", suffix=" (cloth)", to="tags", only=["hat"]) == "q, hat (cloth)"
    assert edited("", "affix", prefix="x") == ""


def test_write() -> None:
    assert edited("hat\nsecond", "write", text="<b>one</b>\n\u202etwo") == "<b>one</b>\n\u202etwo"
    proposal = proposed({"kind": "write", "text": " "}, "hat", "")
    assert [change.after for change in proposal.changes] == [""]
    assert [note.code for note in proposal.notes] == ["edits.note_emptied"]


# ---------------------------------------------------------------------- proposals


def test_tags_are_counted_and_sentences_are_noted() -> None:
    proposal = proposed({"kind": "remove", "tags": ["hat"]}, "hat, hat, x", "hat", PROSE, "cap")
    assert [change.item.name for change in proposal.changes] == ["0.png", "1.png", "2.png"]
    assert (proposal.removed, proposal.added) == (Counter({"hat": 3}), Counter())
    notes = {note.code: note.values["count"] for note in proposal.notes}
    assert notes == {"edits.note_in_sentences": 1, "edits.note_emptied": 1}


def test_sentences_that_an_edit_leaves_alone_are_counted() -> None:
    notes = proposed({"kind": "sort", "by": "alphabet"}, PROSE, "b, a", "").notes
    assert [(note.code, note.values) for note in notes] == [("edits.note_sentences", {"count": 1})]
    notes = proposed({"kind": "add", "tags": ["x"], "where": "after", "tag": "q"}, PROSE, "b, a").notes
    assert [(note.code, note.values["count"]) for note in notes] == [("edits.note_no_anchor", 2)]


def test_captions_that_cannot_be_read_are_left_alone() -> None:
    broken = item("", version="1-1", problem=UserError("caption.encoding", "1.txt"))
    damaged = item("hat", "2.png", problem=UserError("image.unreadable", "2.png", reason="?"))
    proposal = propose([broken, damaged], edit_of({"kind": "add", "tags": ["x"]}), EditContext())
    assert [(change.item.name, change.after) for change in proposal.changes] == [("2.png", "hat, x")]
    assert [note.code for note in proposal.notes] == ["edits.note_unreadable"]


def test_captions_that_would_become_too_long_are_left_alone() -> None:
    long = ", ".join(f"tag{number}" for number in range(8000))
    proposal = proposed({"kind": "add", "tags": ["x" * 900]}, long, "hat")
    assert [change.item.name for change in proposal.changes] == ["1.png"]
    assert [note.code for note in proposal.notes] == ["edits.note_long"]


def test_two_pictures_with_one_caption_file_change_once() -> None:
    pair = [item("hat", "1.png"), item("hat", "1.jpg")]
    assert len(propose(pair, edit_of({"kind": "add", "tags": ["x"]}), EditContext()).changes) == 1


def test_edits_one_after_the_other() -> None:
    chain = [
        {"kind": "remove", "tags": ["q"]},
        {"kind": "add", "tags": ["q"], "where": "front"},
        {"kind": "replace", "find": "hat", "replace": "cap"},
    ]
    proposal = proposed(chain, "hat, q", "q", PROSE)
    assert [change.after for change in proposal.changes] == ["q, cap", f"q, {PROSE}".replace("hat", "cap")]
    assert proposal.removed == Counter({"hat": 1})


def test_the_digest_is_of_what_is_shown() -> None:
    edit = {"kind": "add", "tags": ["x"]}
    digest = proposed(edit, "hat", "cap").digest
    assert digest == proposed(edit, "hat", "cap").digest == proposed(edit, "hat", "cap", "x").digest
    others = [proposed(edit, "hat", "cup"), proposed({**edit, "where": "front"}, "hat", "cap"), proposed(edit, "hat")]
    assert digest not in [one.digest for one in others]
    # Another text before that gives the same one after: another state.
    assert proposed({"kind": "write", "text": "x"}, "a").digest != proposed({"kind": "write", "text": "x"}, "b").digest


def test_texts_from_elsewhere() -> None:
    items = [item("hat", "1.png"), item("cap", "2.png"), item("cup", "3.png")]
    proposal = propose_texts(items, {items[0].id: "hat", items[1].id: "cap, x", "gone": "y"})
    assert [(change.item.name, change.after) for change in proposal.changes] == [("2.png", "cap, x")]
    assert proposal.added == Counter({"x": 1})


# ---------------------------------------------------------------------- reading and describing


@pytest.mark.parametrize(
    ("values", "code", "where"),
    [
        ({}, "edits.kind", "kind"),
        ({"kind": "drop"}, "edits.kind", "kind"),
        ({"kind": ["add"]}, "edits.kind", "kind"),
        ({"kind": "add", "tags": ["x"], "tag_": 1}, "edits.unknown", "tag_"),
        ({"kind": "add"}, "edits.nothing", "tags"),
        ({"kind": "add", "tags": [" , "]}, "edits.nothing", "tags"),
        ({"kind": "add", "tags": "x"}, "settings.text_list", "tags"),
        ({"kind": "add", "tags": ["x"], "where": "middle"}, "settings.choice", "where"),
        ({"kind": "add", "tags": ["x"], "where": "after"}, "edits.nothing", "tag"),
        ({"kind": "add", "tags": ["x"], "where": "after", "tag": "a, b"}, "edits.comma", "tag"),
        ({"kind": "add", "tags": ["x"], "where": "after", "tag": "X"}, "edits.itself", "tag"),
        ({"kind": "add", "tags": ["a\nb"]}, "edits.characters", "tags"),
        ({"kind": "add", "tags": ["a\ud800"]}, "edits.characters", "tags"),
        ({"kind": "add", "tags": ["a" * 1001]}, "edits.too_long", "tags"),
        ({"kind": "add", "tags": ["a"] * 501}, "edits.too_many", "tags"),
        ({"kind": "add", "tags": [", ".join("a" * 400)] * 2}, "edits.too_many", "tags"),
        ({"kind": "remove", "tags": [""], "how": "regex"}, "edits.nothing", "tags"),
        ({"kind": "remove", "tags": ["a"] * 51, "how": "regex"}, "edits.too_many", "tags"),
        ({"kind": "replace", "find": "a, b"}, "edits.comma", "find"),
        ({"kind": "replace", "find": "", "how": "text"}, "edits.nothing", "find"),
        ({"kind": "replace", "find": "a" * 501, "how": "regex"}, "edits.too_long", "find"),
        ({"kind": "replace", "find": "a", "replace": "b\x00"}, "edits.characters", "replace"),
        ({"kind": "merge", "tags": ["a"]}, "edits.nothing", "into"),
        ({"kind": "affix", "prefix": " "}, "edits.nothing", "prefix"),
        ({"kind": "affix", "suffix": ", x", "to": "tags"}, "edits.comma", "suffix"),
        ({"kind": "move", "tags": ["a"], "position": 0}, "settings.bounds", "position"),
        ({"kind": "truncate", "limit": True}, "settings.whole_number", "limit"),
        ({"kind": "weights", "weight": 9}, "settings.bounds", "weight"),
        ({"kind": "write", "text": "a\x00"}, "collection.caption_characters", "text"),
        ({"kind": "write", "text": "a" * 70_000}, "collection.caption_long", "text"),
    ],
)
def test_what_makes_no_sense_is_named(values: dict[str, Any], code: str, where: str) -> None:
    with pytest.raises(UserError) as caught:
        edit_of(values)
    assert (caught.value.code, caught.value.where) == (code, where)


EXAMPLES = (
    {"kind": "add", "tags": ["x"], "where": "before", "tag": "y"},
    {"kind": "remove", "tags": ["x"], "how": "regex"},
    {"kind": "replace", "find": "x", "replace": "y"},
    {"kind": "replace", "find": "x", "how": "text"},
    {"kind": "merge", "tags": ["x"], "into": "y"},
    {"kind": "dedupe", "implied": True},
    {"kind": "sort", "by": "alphabet"},
    {"kind": "move", "tags": ["x"], "where": "position", "position": 3},
    {"kind": "truncate", "by": "tags", "limit": 3},
    {"kind": "spelling", "write": "keep"},
    {"kind": "case", "to": "upper"},
    {"kind": "weights", "tags": ["x"], "weight": 1.2},
    {"kind": "affix", "prefix": "x ", "to": "tags"},
    {"kind": "write", "text": "x"},
)


@pytest.mark.parametrize("values", EXAMPLES, ids=lambda values: values["kind"])
def test_titles_and_values(values: dict[str, Any]) -> None:
    edit = edit_of(values)
    assert edit_of(values_of(edit)) == edit
    title = edit.title()
    for language in LANGUAGES:
        text = message(title.code, language, **title.values)
        assert text and "{" not in text
    assert {example["kind"] for example in EXAMPLES} == set(KINDS)


def test_every_choice_has_a_title() -> None:
    given = {"tags": ["x"], "tag": "y", "find": "x", "replace": "y", "into": "y", "prefix": "x", "text": "x"}
    for kind in KINDS:
        names = {setting.name: setting for setting in settings_of(kind)}
        values = {name: value for name, value in given.items() if name in names}
        for name, setting in names.items():
            for choice in setting.choices:
                title = edit_of({"kind": kind, **values, name: choice}).title()
                assert message(title.code, "zh-CN", **title.values)


def test_schema() -> None:
    english, chinese = edit_schema("en"), edit_schema("zh-CN")
    assert [entry["kind"] for entry in english] == [table.kind for table in FORMS]
    assert "write" not in {entry["kind"] for entry in english}
    for one, other in zip(english, chinese, strict=True):
        assert one["label"] != other["label"] and one["help"] != other["help"]
        for setting, translated in zip(one["settings"], other["settings"], strict=True):
            assert set(setting) == {*Setting.__dataclass_fields__} - {"group", "is_list"}
            assert setting["label"] and setting["help"] and setting["label"] != translated["label"], setting
            assert setting["help"] != translated["help"]
