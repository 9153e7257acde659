"""The sheet of a place: what it shows of files, what it reads again, and edits that are not on the disk yet."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from lib_lora_train.collection import entries
from lib_lora_train.collection.concepts import add_concept
from lib_lora_train.collection.entries import list_pictures
from lib_lora_train.collection.history import TextChange
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project, create_project
from lib_lora_train.signals import Log
from lib_lora_train.tags import shelves
from lib_lora_train.tags.place import Place
from lib_lora_train.tags.sheet import Sheet
from tests.helpers.pictures import encoded, gradient
from tests.helpers.sheets import GIRL, Troubled, WordCounter, item, sheet

TITLE = Log("history.caption", {})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two pictures of the hero with captions, one without, and one for regularization."""
    made = create_project(tmp_path / "projects", "Hero", "character", "quillon")
    for regularization, name, captions in (
        (False, "quillon", {"a10.png": "quillon, solo, hat", "a2.png": "quillon stands in the rain.", "b.png": ""}),
        (True, "girl", {"r.png": "1girl, solo"}),
    ):
        folder = add_concept(made, name, 10, regularization).folder
        for number, (file, text) in enumerate(captions.items()):
            write(folder / file, text, gradient(64 + number, 96))
    return made


def write(path: Path, caption: str = "", image: object = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(image or gradient(), "PNG"))  # type: ignore[arg-type]
    if caption:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    age(path.parent)


def age(folder: Path) -> None:
    """Files as if written some time ago: those of just now are read again in any case."""
    for path in folder.iterdir():
        if path.is_file():
            os.utime(path, ns=(path.stat().st_mtime_ns - 10**9,) * 2)


def texts(of: Sheet) -> dict[str, str]:
    return {one.picture.rpartition("/")[2]: one.text for one in of.items}


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are opened from now on."""
    opened: list[str] = []
    read_file, read_size = shelves.read_file, entries.read_size
    monkeypatch.setattr(shelves, "read_file", lambda path, where: opened.append(path.name) or read_file(path, where))
    monkeypatch.setattr(entries, "read_size", lambda path, where: opened.append(path.name) or read_size(path, where))
    return opened


# ------------------------------------------------------------------ what is shown


def test_it_shows_what_the_list_of_pictures_shows(project: Project) -> None:
    (project.folder / "dataset" / "10_quillon" / "torn.png").write_bytes(b"\x89PNG torn")
    (project.folder / "dataset" / "10_quillon" / "big.txt").write_bytes(b"x" * 300_000)
    write(project.folder / "dataset" / "10_quillon" / "big.png")
    (project.folder / "dataset" / "10_quillon" / "link.png").symlink_to("b.png")
    found = Place.of_project(project).read()
    expected = list_pictures(project)
    assert [one.name for one in found.items] == [
        "a2.png",
        "a10.png",
        "b.png",
        "big.png",
        "link.png",
        "torn.png",
        "r.png",
    ]
    for ours, theirs in zip(found.items, expected, strict=True):
        assert (ours.id, ours.concept, ours.name, ours.width, ours.height, ours.bytes, ours.stamp) == (
            theirs.id, theirs.concept, theirs.name, theirs.width, theirs.height, theirs.bytes, theirs.stamp,
        )  # fmt: skip
        assert (ours.text, ours.version) == (theirs.caption, theirs.version)
        assert (ours.problem.as_dict() if ours.problem else None) == theirs.problem
        assert project.folder / ours.picture == theirs.path


def test_items_tell_tags_prose_and_tokens(project: Project) -> None:
    counter = WordCounter()
    found = Place.of_project(project).read(counter=counter)
    prose, tags, bare, other = found.items
    assert (prose.tags, prose.prose, prose.tokens) == (("quillon stands in the rain.",), True, 5)
    assert (tags.tags, tags.prose, tags.tokens) == (("quillon", "solo", "hat"), False, 3)
    assert (tags.key, tags.files) == ("dataset/10_quillon/a10.txt", ("a10.txt",))
    assert (bare.tags, bare.text, bare.version, bare.files, bare.tokens) == ((), "", "", (), 0)
    assert (other.regularization, bare.regularization) == (True, False)
    assert (found.total, found.captioned) == (4, 3)
    assert found.counts == {"solo": 2, "quillon": 1, "hat": 1, "1girl": 1}
    assert found.tags_of([1, 2]) == {"quillon": 1, "solo": 1, "hat": 1}
    assert [concept.name for concept in found.concepts] == ["quillon", "girl"]
    assert found.by_id[tags.id] is tags
    assert found.index_of[tags.id] == 1


def test_of_sentences_shared_parts_are_tags() -> None:
    found = sheet(["x, solo, a lone part, she stands in the rain.", "x, she stands in the sun.", "solo, hat"])
    assert found.counts == {"x": 2, "solo": 2, "hat": 1}
    assert found.tags_of([0]) == {"x": 1, "solo": 1}
    assert sheet(["solo, solo"]).counts == {"solo": 1}  # in one caption


def test_the_caption_file_that_counts(project: Project) -> None:
    folder = project.folder / "dataset" / "10_quillon"
    (folder / "b.caption").write_text("second choice", encoding="utf-8")
    (folder / "a10.caption").write_text("no", encoding="utf-8")
    (folder / "b.txt").write_text("  \n", encoding="utf-8")
    found = {one.name: one for one in Place.of_project(project).read().items}
    assert (found["b.png"].text, found["b.png"].key) == ("second choice", "dataset/10_quillon/b.caption")
    assert found["b.png"].files == ("b.txt", "b.caption")
    assert (found["a10.png"].text, found["a10.png"].key) == ("quillon, solo, hat", "dataset/10_quillon/a10.txt")


def test_tokens_are_unknown_without_a_counter(project: Project) -> None:
    place = Place.of_project(project)
    for counter in (None, Troubled()):
        assert {one.tokens for one in place.read(counter=counter).items} == {-1}


# ------------------------------------------------------------------ reading again


def test_nothing_is_read_twice(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    place, counter = Place.of_project(project), WordCounter()
    first = place.read(counter=counter)
    opened, counter.asked = reads(monkeypatch), []
    again = place.read(first, counter)
    assert (opened, counter.asked) == ([], [])
    assert again.revision == first.revision
    assert all(ours is theirs for ours, theirs in zip(again.items, first.items, strict=True))
    # and by another process, from the index
    fresh = WordCounter()
    later = Place.of_project(project).read(counter=fresh)
    assert (opened, fresh.asked) == ([], [])
    assert later.items == first.items
    assert later.revision == first.revision


def test_only_what_changed_is_read_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    place, counter = Place.of_project(project), WordCounter()
    first = place.read(counter=counter)
    folder = project.folder / "dataset" / "10_quillon"
    opened, counter.asked = reads(monkeypatch), []
    (folder / "a10.txt").write_text("quillon, SOLO, hat", encoding="utf-8")
    second = place.read(first, counter)
    assert opened == ["a10.txt"]
    assert counter.asked == ["quillon, SOLO, hat"]
    assert texts(second) == {**texts(first), "a10.png": "quillon, SOLO, hat"}
    assert second.revision != first.revision
    (folder / "a2.txt").unlink()
    (folder / "b.caption").write_text("now one", encoding="utf-8")
    write(folder / "c.png", "new")
    third = place.read(second, counter)
    assert texts(third) == {**texts(second), "a2.png": "", "b.png": "now one", "c.png": "new"}
    (folder / "a10.png").unlink()
    fourth = place.read(third, counter)
    assert "a10.png" not in texts(fourth)
    assert len({first.revision, second.revision, third.revision, fourth.revision}) == 4


def test_a_change_within_one_tick_of_the_clock_is_seen(project: Project) -> None:
    """Same length, same time: whoever reads right after a write cannot tell, and reads again."""
    place = Place.of_project(project)
    path = project.folder / "dataset" / "10_quillon" / "a10.txt"
    path.write_text("one", encoding="utf-8")
    facts = path.stat()
    first = place.read()
    with path.open("r+", encoding="utf-8") as handle:
        handle.write("two")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert texts(place.read(first))["a10.png"] == "two"


def test_another_counter_counts_anew(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.folder / "dataset" / "10_quillon" / "b.txt").write_bytes(b"x" * 300_000)  # too long to be read
    place = Place.of_project(project)
    age(project.folder / "dataset" / "10_quillon")
    first = place.read(counter=WordCounter())
    opened = reads(monkeypatch)
    other = WordCounter()
    other.key, other.count = "letters", lambda found: [len(text) for text in found]  # type: ignore[method-assign]
    second = place.read(first, other)
    assert [one.tokens for one in second.items] == [27, 18, -1, 11]
    assert second.revision != first.revision
    assert [one.tokens for one in place.read(second).items] == [-1] * 4
    assert place.read(place.read(second), WordCounter()).items == first.items
    assert opened == []


def test_a_damaged_index_is_made_anew(project: Project) -> None:
    place = Place.of_project(project)
    first = place.read(counter=WordCounter())
    for name in ("index.json", "tokens.json"):
        for content in ("", "[]", '{"version": 1}', '{"version": 1, "counter": "words", "counts": [1]}', "{" * 100_000):
            (project.folder / ".cache" / name).write_text(content, encoding="utf-8")
            assert place.read(counter=WordCounter()).items == first.items


# ------------------------------------------------------------------ edits


def test_edits_that_are_not_on_the_disk_yet_are_shown(project: Project) -> None:
    place, counter = Place.of_project(project), WordCounter()
    first = place.read(counter=counter)
    key = "dataset/10_quillon/"
    edits = {"a10": b"quillon, cat", "a2": None, "b": "新的, b".encode()}
    before = {"a10": b"quillon, solo, hat", "a2": b"quillon stands in the rain.", "b": None}
    place.history.append([TextChange(f"{key}{name}.txt", before[name], edits[name]) for name in edits], TITLE)
    shown = {**texts(first), "a10.png": "quillon, cat", "a2.png": "", "b.png": "新的, b"}
    for known in (None, first):
        waiting = place.read(known, counter)
        assert texts(waiting) == shown
    assert (project.folder / key / "a10.txt").read_bytes() == before["a10"]  # reading waits for nobody
    counter.asked = []
    again = place.read(waiting, counter)
    assert counter.asked == []
    assert again.revision == waiting.revision
    place.history.finish()
    done = place.read(again, counter)
    assert texts(done) == shown
    assert done.revision == waiting.revision
    place.history.undo(1)
    assert texts(place.read(done, counter)) == texts(first)
    place.history.finish()
    assert texts(place.read(done, counter)) == texts(first)
    assert place.read(done, counter).revision == first.revision


def test_an_edit_that_is_undone_before_it_was_written(project: Project) -> None:
    place = Place.of_project(project)
    first = place.read()
    place.history.append([TextChange("dataset/10_quillon/a10.txt", b"quillon, solo, hat", b"cat")], TITLE)
    waiting = place.read(first)
    assert texts(waiting)["a10.png"] == "cat"
    place.history.undo(1)
    place.history.finish()
    assert place.read(waiting).items == first.items


def test_other_texts_are_what_would_be_read(project: Project) -> None:
    place, counter = Place.of_project(project), WordCounter()
    first = place.read(counter=counter)
    prose, tags, bare, _ = first.items
    wanted = {prose.id: "x, y\nsecond", tags.id: "  ", bare.id: "\ufeffnew, one\r\n"}
    made = first.with_texts(wanted)
    assert first.items[0] is prose
    assert made.revision != first.revision
    for one, text in ((prose, "x, y\nsecond"), (bare, "\ufeffnew, one\r\n")):
        (project.folder / one.picture).with_suffix(".txt").write_bytes(text.encode())
    (project.folder / tags.picture).with_suffix(".txt").unlink()
    read = Place.of_project(project).read(counter=counter)
    assert made.items == read.items
    assert made.revision == read.revision
    assert texts(made) == {**texts(first), "a2.png": "x, y\nsecond", "a10.png": "", "b.png": "new, one"}
    assert made.counts == Counter({"x": 1, "y": 1, "new": 1, "one": 1, "1girl": 1, "solo": 1})


def test_other_texts_are_read_again_when_the_disk_has_them_not(project: Project) -> None:
    place = Place.of_project(project)
    first = place.read()
    made = first.with_texts({first.items[0].id: "never written"})
    assert place.read(made).items == first.items
    with pytest.raises(KeyError):
        first.with_texts({"unknown": "x"})


def test_pictures_that_share_a_caption_change_together(project: Project) -> None:
    write(project.folder / "dataset" / "10_quillon" / "a10.jpg")
    place = Place.of_project(project)
    first = place.read()
    twins = [one for one in first.items if one.name.startswith("a10")]
    assert len(twins) == 2
    made = first.with_texts({twins[0].id: "both"})
    assert [one.text for one in made.items if one.name.startswith("a10")] == ["both", "both"]


def test_a_problem_of_the_caption_goes_with_it() -> None:
    missing = UserError("image.missing", "x")
    unreadable = UserError("caption.encoding", "x")
    found = sheet([item("", "1.png", problem=unreadable), item("", "2.png", GIRL, problem=missing)])
    made = found.with_texts({one.id: "new" for one in found.items})
    assert [one.problem for one in made.items] == [None, missing]


# ------------------------------------------------------------------ plain folders


def test_a_plain_folder(tmp_path: Path) -> None:
    base = tmp_path / "pictures"
    write(base / "loose.png", "a, b")
    write(base / "10_hero" / "x.png", "hero")
    write(base / "2_hero" / "x.jpg", "hero, hat")
    write(base / "masks" / "x.png")
    write(base / ".hidden" / "x.png")
    write(base / "deep" / "deeper" / "x.png")
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere" / "x.png")
    (base / "link").symlink_to(tmp_path / "elsewhere")
    place = Place.of_folder(base)
    found = place.read(counter=WordCounter())
    assert [one.picture for one in found.items] == ["loose.png", "2_hero/x.jpg", "10_hero/x.png"]
    assert [one.key for one in found.items] == ["loose.txt", "2_hero/x.txt", "10_hero/x.txt"]
    assert len({one.id for one in found.items}) == 3
    assert [(concept.name, concept.repeats) for concept in found.concepts] == [
        ("pictures", 1),
        ("hero", 2),
        ("hero", 10),
    ]
    assert (place.is_project, place.kind, place.trigger, place.title) == (False, "", "hero", "pictures")
    place.history.append([TextChange("loose.txt", b"a, b", b"c"), TextChange("10_hero/x.txt", b"hero", None)], TITLE)
    assert texts(place.read(found)) == {"loose.png": "c", "x.jpg": "hero, hat", "x.png": ""}
    place.history.finish()
    assert (base / "loose.txt").read_bytes() == b"c"
    assert texts(Place.of_folder(base).read()) == {"loose.png": "c", "x.jpg": "hero, hat", "x.png": ""}
    assert {path.name for path in (base / ".lora_train").iterdir()} >= {"index.json", "tokens.json"}


def test_the_trigger_of_kohyas_folders(tmp_path: Path) -> None:
    for name in ("10_hero", "2_hero"):
        write(tmp_path / name / "x.png")
    assert Place.of_folder(tmp_path).trigger == "hero"
    assert Place.of_folder(tmp_path / "10_hero").trigger == "hero"
    assert Place.of_folder(tmp_path / "10_hero").read().total == 1
    write(tmp_path / "1_other" / "x.png")
    assert Place.of_folder(tmp_path).trigger == ""
    with pytest.raises(UserError) as error:
        Place.of_folder(tmp_path / "nowhere")
    assert error.value.code == "dataset.folder_missing"
