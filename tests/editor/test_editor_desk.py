"""What is shown is what is there: files read once, changed by others, written behind, and finished after a crash."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from lib_lora_train.collection.locking import locked
from lib_lora_train.editor import finding, going_back, saving, writing
from lib_lora_train.errors import UserError
from lib_lora_train.tags import shelves
from tests.helpers.editing import Office

ADD = {"kind": "add", "tags": ["hat"]}


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path, ["hero, red hair", "hero, smile", None])


def save(office: Office, number: int, text: str, version: str | None = None) -> None:
    item = office.desk.item(office.id(number))
    saving.save_caption(office.desk, item.id, saving.Wording(text, None), item.version if version is None else version)


def test_nothing_is_read_twice(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = shelves.read_file
    monkeypatch.setattr(shelves, "read_file", lambda path, where: read.append(path.name) or real(path, where))
    office.age()
    office.texts()
    office.texts()
    assert read == []  # the first reading goes by the index
    office.put(2, "hero, frown")
    assert office.texts()[1] == "hero, frown" and set(read) == {"2.txt"}
    office.do(ADD, "tag:frown")
    office.texts()
    assert set(read) == {"2.txt"}


def test_the_same_find_and_preview_are_worked_out_once(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib_lora_train.editor import batches, desk

    counts = {"select": 0, "propose": 0}
    for module, name in ((desk, "select"), (batches, "propose")):
        real = getattr(module, name)

        def counted(*given: object, real=real, name=name) -> object:
            counts[name] += 1
            return real(*given)

        monkeypatch.setattr(module, name, counted)
    for offset in (0, 1, 2):
        batches.preview(office.desk, ADD, batches.Target("hero"), offset, 1, "en")
    assert counts == {"select": 1, "propose": 1}
    save(office, 1, "hero")
    batches.preview(office.desk, ADD, batches.Target("hero"), 0, 1, "en")
    assert counts == {"select": 2, "propose": 2}


def test_a_caption_is_saved_over_the_version_that_was_seen_and_no_other(office: Office) -> None:
    old = office.desk.item(office.id(1)).version
    office.put(1, "theirs")  # and the sheet does not know yet
    with pytest.raises(UserError) as caught:
        saving.save_caption(office.desk, office.id(1), saving.Wording("mine", None), old)
    assert caught.value.code == "collection.caption_changed" and caught.value.values["theirs"] == "theirs"
    assert office.disk()["1.txt"] == b"theirs"
    save(office, 1, "mine", str(caught.value.values["version"]))
    assert office.disk()["1.txt"] == b"mine"
    office.undo()
    assert office.disk()["1.txt"] == b"theirs"


@pytest.mark.parametrize("arrived", [True, False])
@pytest.mark.parametrize(
    "sent", [saving.Wording("hero, one\n", None), saving.Wording(None, ["hero", "one"])], ids=["text", "tags"]
)
def test_a_caption_on_top_of_one_that_was_not_answered_yet(office: Office, sent: saving.Wording, arrived: bool) -> None:
    """The page is closed between two edits: the second is sent before anything is known of the first."""
    old = office.desk.item(office.id(1)).version
    if arrived:
        saving.save_caption(office.desk, office.id(1), sent, old)
    saving.save_caption(office.desk, office.id(1), saving.Wording("hero, two", None), old, after=sent)
    assert office.disk()["1.txt"] == b"hero, two"
    if not arrived:
        with pytest.raises(UserError, match="changed elsewhere"):
            saving.save_caption(office.desk, office.id(1), sent, old)
    office.put(1, "theirs")
    with pytest.raises(UserError, match="changed elsewhere"):
        saving.save_caption(office.desk, office.id(1), saving.Wording("three", None), old, after=sent)
    assert office.disk()["1.txt"] == b"theirs"


def test_a_caption_that_somebody_began_elsewhere_is_not_overwritten(office: Office) -> None:
    office.texts()
    office.put(3, "theirs")
    with pytest.raises(UserError, match="changed elsewhere"):
        saving.save_caption(office.desk, office.id(3), saving.Wording("mine", None), "")
    assert office.disk()["3.txt"] == b"theirs" and office.texts()[2] == "theirs"


def test_tags_are_saved_into_the_line_that_is_trained_on(office: Office) -> None:
    office.put(1, "\n hero, red hair \nnote, of mine\n")
    item = office.desk.item(office.id(1), now=True)
    saving.save_caption(office.desk, item.id, saving.Wording(None, ["hero", " blue, hair ", ""]), item.version)
    assert office.disk()["1.txt"] == b"\n hero, blue, hair \nnote, of mine"
    with pytest.raises(UserError, match="line break"):
        saving.save_caption(office.desk, item.id, saving.Wording(None, ["a\nb"]), office.desk.item(item.id).version)
    for text, tags in ((None, None), ("x", ["x"])):
        with pytest.raises(UserError, match="as text or as tags"):
            saving.save_caption(office.desk, item.id, saving.Wording(text, tags), "")


def test_an_edit_does_what_it_showed_or_nothing(office: Office) -> None:
    from lib_lora_train.editor import batches

    target = batches.Target("tag:hero")
    shown = batches.preview(office.desk, ADD, target, 0, 50, "en")
    office.put(2, "hero, frown")  # matches as before, and reads otherwise
    before = office.disk()
    with pytest.raises(UserError, match="no longer as they were"):
        batches.apply(office.desk, ADD, target, shown["digest"], "en")
    assert office.disk() == before and office.overview()["undo"] is None
    shown = office.do(ADD, "tag:hero")
    assert office.disk() == {"1.txt": b"hero, red hair, hat", "2.txt": b"hero, frown, hat"}
    assert {each["name"]: each["after"] for each in shown["pictures"]} == {
        "1.png": "hero, red hair, hat", "2.png": "hero, frown, hat",
    }  # fmt: skip


def test_undo_leaves_what_another_program_wrote_and_says_so(office: Office) -> None:
    office.do(ADD, "tag:hero")
    office.put(2, "theirs")
    office.undo()
    assert office.disk() == {"1.txt": b"hero, red hair", "2.txt": b"theirs"}
    assert office.overview()["left"] == {"count": 1, "names": ["2.txt"]} and office.texts()[1] == "theirs"
    entry = going_back.log(office.desk, 0, 10, "en")["entries"][0]
    assert (entry["left"], entry["in_force"], entry["title"]) == (1, False, "Added at the end: hat")
    office.open()
    save(office, 1, "hero")
    assert office.overview()["left"] is None


def test_what_is_shown_moves_with_the_journal(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a project is so large that its files are not looked at again for a while."""
    from lib_lora_train.editor import desk

    monkeypatch.setattr(desk.Desk, "_stale", lambda self, fresh: False)

    def shown() -> list[str]:
        return [item.text for item in office.desk.sheet().items]

    before = shown()
    office.do(ADD)
    after = shown()
    assert after == ["hero, red hair, hat", "hero, smile, hat", "hat"] and office.desk.sheet().counts["hat"] == 3
    office.undo()
    assert shown() == before
    office.redo()
    assert shown() == after
    going_back.roll_back(office.desk, 0)
    assert shown() == before


def test_many_files_follow_while_the_page_goes_on(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal has moved, the screen too; the disk waits for whoever holds the project's pictures."""
    monkeypatch.setattr(writing, "AT_ONCE", 1)
    before = office.disk()
    with locked(office.project):
        thread = threading.Thread(target=lambda: office.do(ADD))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()  # somebody else changes pictures: the edit waits
        assert office.found() == ["1.png", "2.png", "3.png"]  # reading does not
    thread.join(30)
    assert not thread.is_alive()
    assert office.texts() == ["hero, red hair, hat", "hero, smile, hat", "hat"]
    assert len(office.disk()) == 3
    for _ in range(3):  # each at once, whatever is still being written
        office.undo()
        assert office.texts() == ["hero, red hair", "hero, smile", ""]
        office.redo()
    office.undo()
    assert office.disk() == before and office.overview()["writing"] is None


def test_a_process_that_died_is_finished_by_the_next(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("write", "catch_up"):  # dies before the first file
        monkeypatch.setattr(writing.Writer, name, lambda *given: None)
    office.do(ADD)
    assert office.texts()[1] == "hero, smile, hat"
    assert (office.folder / "2.txt").read_bytes() == b"hero, smile"
    monkeypatch.undo()
    office.open()
    assert office.texts()[1] == "hero, smile, hat"
    assert office.disk()["2.txt"] == b"hero, smile, hat"


def test_a_full_disk_is_said_and_tried_again(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib_lora_train.collection.history import History

    def full(self: History, progress: object = None) -> None:
        raise UserError("file.write", "1.txt", reason="No space left on device")

    monkeypatch.setattr(writing, "AT_ONCE", 0)
    monkeypatch.setattr(History, "follow", full)
    monkeypatch.setattr(History, "finish", full)
    office.do(ADD)
    assert office.desk.writer.close(30)
    assert "No space left" in office.overview()["trouble"]["sentence"]
    assert office.texts()[0] == "hero, red hair, hat"
    monkeypatch.undo()
    office.texts()
    assert office.disk()["1.txt"] == b"hero, red hair, hat" and office.overview()["trouble"] is None


def test_ten_edit_at_once(office: Office) -> None:
    """Nobody's edit is lost, and everything can be taken back."""
    before, ready, refused = office.disk(), threading.Barrier(10), []

    def edit(number: int) -> None:
        ready.wait()
        for turn in range(3):
            try:
                office.do({"kind": "add", "tags": [f"t{number} {turn}"]}, "", (office.id(number % 3 + 1),))
            except UserError as error:
                refused.append(error.code)

    threads = [threading.Thread(target=edit, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(refused) <= {"editor.changed"}
    written = re.findall(rb"t\d \d", b", ".join(office.disk().values()))
    assert len(set(written)) == len(written) == 30 - len(refused)
    assert going_back.log(office.desk, 0, 1, "en")["total"] == 30 - len(refused)
    assert office.texts() == [text.decode() for text in office.disk().values()]
    going_back.roll_back(office.desk, 0)
    assert office.disk() == before


def test_pictures_in_every_order(office: Office) -> None:
    def names(order: str, reverse: bool = False) -> str:
        shown = finding.find(office.desk, "", order, reverse, "en")["pictures"]
        known = {item.id: item.name[0] for item in office.desk.sheet().items}
        return "".join(known[each] for each in shown)

    save(office, 2, "a, b, c, d")
    assert names("name") == "123" and names("name", True) == "321"
    assert names("tags") == "312" and names("tokens") == "312"
    assert names("changed")[0] == "2" and names("changed")[2] == "3"
    with pytest.raises(UserError, match='there is no "size"'):
        names("size")


def test_what_the_limit_cuts_off(office: Office) -> None:
    office.put(1, ", ".join(f"tag{number}" for number in range(80)))
    office.put(2, "A sentence. " + "word " * 80)
    first, second, third = finding.show_pictures(office.desk, [office.id(each) for each in (1, 2, 3)], "en")
    assert (first["tokens"], first["cut"], first["text"][first["cut_at"] :][:5]) == (80, 75, "tag75")
    assert (second["prose"], second["tokens"], second["cut"]) == (True, 82, -1) and second["cut_at"] > 0
    assert (third["tokens"], third["cut"], third["cut_at"], third["version"]) == (0, -1, -1, "")
