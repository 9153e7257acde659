"""Each route of the tag editor: the shape of its answer, its refusals, and captions that nobody would write."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib_lora_train.access import Exposure
from tests.helpers.rest import PNG, Server, error_code
from tests.helpers.serving import wait_for
from tests.helpers.tag_page import Page

PICTURE = {
    "id", "name", "concept", "width", "height", "stamp", "text", "version", "tags", "translations", "prose", "tokens",
    "cut", "cut_at", "problem",
}  # fmt: skip
ADD = {"kind": "add", "tags": ["hat"]}
CHINESE = {"accept-language": "zh-CN"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path, Exposure())
    yield made
    assert made.studio.close(60)


@pytest.fixture
def page(server: Server) -> Page:
    """A project with three pictures, captioned "zuna, girl, red hair, smile 0" and so on."""
    return Page(server, server.filled(3))


def test_a_new_project_has_nothing_and_says_so(server: Server) -> None:
    page = Page(server, server.project())
    assert page.screen() == {}
    assert page.find()["pictures"] == [] and page.find()["tags"] == []
    assert page.ask("GET", "/log") == {"total": 0, "entries": []}
    shown = page.ask("POST", "/preview", json={"edit": ADD})
    assert (shown["changes"], shown["total"], shown["pictures"]) == (0, 0, [])
    advice = page.ask("GET", "/binding")
    assert advice["rows"] == [] and advice["summary"]
    for path, body in (("/apply", {"edit": ADD, "digest": shown["digest"]}), ("/binding/apply", {}), ("/trigger", {"word": "zuna"})):  # fmt: skip
        assert page.ask("POST", path, json=body)["undo"] is None  # nothing was done
    assert page.ask("POST", "/rollback", json={"to": 0})["undo"] is None


def test_shapes(page: Page) -> None:
    # Nobody waits for long lists to be read: the first answer may come before them.
    overview = wait_for(lambda: page.ask("GET", ""), lambda shown: shown["vocabulary"]["count"] > 500)
    assert overview["trigger"] == {"word": "zuna", "notes": [], "everywhere": 0}
    assert set(overview["tokens"]) == {"available", "name", "limit", "trouble"} and overview["tokens"]["limit"] == 75
    assert set(overview["vocabulary"]) == {"source", "count"}
    [concept] = overview["concepts"]
    assert set(concept) == {"id", "name", "repeats", "regularization", "pictures"} and concept["pictures"] == 3
    found = page.find("tag:girl")
    assert set(found) == {"revision", "total", "pictures", "tags", "captioned"}
    assert found["tags"][2] == {"tag": "zuna", "count": 3, "all": 3, "translation": ""}
    [picture] = page.pictures(found["pictures"][:1])
    assert set(picture) == PICTURE and picture["tags"] == ["zuna", "girl", "red hair", "smile 0"]
    assert (picture["width"], picture["height"], picture["problem"]) == (64, 64, None)
    assert page.pictures(["f" * 16]) == []  # one that was deleted meanwhile is left out
    kinds = page.ask("GET", "/schema")["edits"]
    assert {"add", "remove", "replace", "merge", "dedupe", "sort", "truncate", "spelling", "case", "weights", "affix", "move"} == {each["kind"] for each in kinds}  # fmt: skip
    assert set(kinds[0]) == {"kind", "label", "help", "settings"}
    shown = page.ask("POST", "/preview", json={"edit": ADD, "filter": "smile"})
    assert set(shown) == {"changes", "total", "digest", "removed", "added", "asked", "notes", "pictures"}
    assert shown["added"] == [{"tag": "hat", "count": 3}]
    assert set(shown["pictures"][0]) == {"id", "name", "stamp", "before", "after"}
    page.ask("POST", "/apply", json={"edit": ADD, "filter": "smile", "digest": shown["digest"]})
    [entry] = page.ask("GET", "/log")["entries"]
    assert set(entry) == {"number", "time", "sitting", "title", "count", "in_force", "left"}
    assert (entry["number"], entry["count"], entry["in_force"], entry["left"]) == (1, 3, True, 0)
    advice = page.ask("GET", "/binding?outfit=true")
    assert set(advice) == {"kind", "applies", "outfit", "pictures", "summary", "digest", "rows"} and advice["outfit"]
    assert set(advice["rows"][0]) == {
        "tag", "translation", "count", "share", "decision", "suggested", "category", "reason", "replacement", "disagree",
    }  # fmt: skip
    checked = page.ask("GET", "/trigger?word=long hair")
    assert set(checked) == {"notes", "tokens", "missing"} and checked["missing"] == 3 and len(checked["notes"]) > 0
    [first, *_] = page.ask("GET", "/complete?text=sm&limit=5")["suggestions"]
    assert first == {"tag": "smile 0", "count": 0, "category": "", "alias": "", "translation": "", "own": 1}


def test_chinese_beside_the_tags(page: Page) -> None:
    page.ask("PUT", "/caption", json={"picture": page.find()["pictures"][0], "tags": ["long hair", "zuna"], "version": page.pictures(page.find()["pictures"])[0]["version"]})  # fmt: skip
    overview = page.ask("GET", "", headers=CHINESE)
    assert overview["translation"]["language"] == "zh-CN" and overview["translation"]["count"] >= 600
    [tag] = [each for each in page.ask("POST", "/find", json={}, headers=CHINESE)["tags"] if each["tag"] == "long hair"]
    assert tag["translation"].startswith("长")
    assert page.ask("POST", "/find", json={"filter": tag["translation"]}, headers=CHINESE)["total"] == 1
    assert page.find(tag["translation"])["total"] == 0  # an English page has no Chinese
    shown = page.ask("GET", "/complete", params={"text": tag["translation"]}, headers=CHINESE)["suggestions"]
    assert shown[0]["tag"] == "long hair" and shown[0]["translation"] == tag["translation"]
    edits = page.ask("GET", "/schema", headers=CHINESE)["edits"]
    assert all(not each["label"].isascii() and not each["help"].isascii() for each in edits)
    assert not page.ask("GET", "/log", headers=CHINESE)["entries"][0]["title"].isascii()


@pytest.mark.parametrize(
    ("text", "position", "length"),
    [("girl tag:", 5, 4), ("(girl", 0, 1), ("girl tokens:>x", 12, 2), ("girl AND", 5, 3), ("zuna is:funny", 8, 5)],
)
def test_a_filter_is_wrong_at_a_place(page: Page, text: str, position: int, length: int) -> None:
    for path, body in (("/find", {}), ("/preview", {"edit": ADD}), ("/filter", {"tag": "x", "how": "include"})):
        answer = page.server.call("POST", f"/projects/{page.project}/tags{path}", json={"filter": text, **body})
        assert answer.status_code == 400 and error_code(answer).startswith("filter.")
        assert answer.json()["mark"] == {"position": position, "length": length}


def test_refusals(page: Page) -> None:
    before = page.screen()
    ids = page.find()["pictures"]
    for status, code, method, path, body in (
        (400, "editor.choice", "POST", "/find", {"order": "size"}),
        (400, "editor.choice", "POST", "/filter", {"tag": "x", "how": "perhaps"}),
        (400, "editor.too_many", "POST", "/pictures", {"pictures": ["x"] * 201}),
        (404, "collection.unknown_picture", "PUT", "/caption", {"picture": "x", "text": "x", "version": ""}),
        (400, "editor.one_of", "PUT", "/caption", {"picture": ids[0], "version": ""}),
        (404, "collection.unknown_picture", "POST", "/preview", {"edit": ADD, "pictures": [*ids, "x"]}),
        (400, "editor.page", "POST", "/preview", {"edit": ADD, "limit": 201}),
        (400, "editor.page", "POST", "/preview", {"edit": ADD, "offset": -1}),
        (400, "editor.edit", "POST", "/preview", {"edit": "add"}),
        (400, "edits.kind", "POST", "/preview", {"edit": {"kind": "explode"}}),
        (400, "edits.unknown", "POST", "/preview", {"edit": {"kind": "add", "who": "me"}}),
        (400, "edits.nothing", "POST", "/preview", {"edit": {"kind": "add"}}),
        (409, "editor.changed", "POST", "/apply", {"edit": ADD, "digest": "0" * 32}),
        (409, "history.not_newest", "POST", "/undo", {"number": 1}),
        (409, "history.not_newest", "POST", "/redo", {"number": 0}),
        (409, "history.not_newest", "POST", "/rollback", {"to": 5}),
        (400, "editor.word", "POST", "/trigger", {"word": "x" * 201}),
        (400, "editor.word", "POST", "/trigger", {"word": "a\nb"}),
        (400, "editor.choice", "POST", "/form", {"form": "verses"}),
        (400, "editor.choices", "PUT", "/binding", {"choices": {"girl": "burn"}}),
        (400, "editor.choices", "PUT", "/binding", {"choices": [1]}),
        (409, "editor.changed", "POST", "/binding/apply", {"digest": "x"}),
        (400, "editor.import_gone", "POST", "/import/apply", {"token": "x", "digest": "x"}),
    ):
        assert page.refused(method, path, json=body) == (status, code), (path, body)
    assert page.refused("GET", "/export?as=stone") == (400, "edits.export_kind")
    assert page.screen() == before and page.ask("GET", "")["undo"] is None


HOSTILE = [
    "<script>window.pwned = 1</script>, </textarea><img src=x onerror=alert(1)>",
    "\"quoted\", 'single', back\\slash, `tick`, {brace}, %s %d, $(rm -rf)",
    "\u202eright to left\u202c, \u0645\u0631\u062d\u0628\u0627, \u200bnothing\u200b to see",
    "👩‍👩‍👧‍👦, 🏳️‍🌈, é composed, é decomposed",
    "tag:x OR (", "a,,b , ,c", "  leading and trailing  ", "first line\n\nsecond, line\r\nthird",
    "C:\\Windows\\..\\..\\evil, ../../etc/passwd",
    "x" * 65_000,
]  # fmt: skip


def test_captions_that_nobody_would_write_are_text(page: Page) -> None:
    """Saved byte for byte, shown as they are, found, edited and taken back."""
    [picture, *_] = page.pictures(page.find()["pictures"])
    path = next(page.folder.glob("dataset/*/0.txt"))
    version, before = picture["version"], path.read_bytes()
    for text in HOSTILE:
        saved = page.ask("PUT", "/caption", json={"picture": picture["id"], "text": text, "version": version})
        assert path.read_bytes() == text.encode() and saved["picture"]["text"] == text.rstrip("\r\n")
        [shown] = page.pictures([picture["id"]])
        version = shown["version"]
        for tag in dict.fromkeys(shown["tags"]):
            if len(tag) < 300:
                filter = page.ask("POST", "/filter", json={"filter": "", "tag": tag, "how": "include"})["filter"]
                assert picture["id"] in page.find(filter)["pictures"], tag
        if len(text) < 60_000:
            page.apply(ADD, pictures=[picture["id"]])
            page.ask("POST", "/undo", json={"number": page.ask("GET", "")["undo"]["number"]})
            assert path.read_bytes() == text.encode()
    for text, code in (("x" * 65_537, "collection.caption_long"), ("a\x00b", "collection.caption_characters")):
        body = {"picture": picture["id"], "text": text, "version": version}
        assert page.refused("PUT", "/caption", json=body) == (400, code)
    assert page.refused("PUT", "/caption", content=b'{"picture": "x", "version": "", "text": "\\ud800"}', headers={"content-type": "application/json"}) == (422, "api.json")  # fmt: skip
    page.ask("POST", "/rollback", json={"to": 0})
    assert path.read_bytes() == before


def test_files_that_are_no_captions_are_shown_as_broken_and_left(page: Page) -> None:
    folder = next(page.folder.glob("dataset/*"))
    (folder / "0.txt").write_bytes(b"x" * 10_000_000)
    (folder / "1.txt").unlink()
    (folder / "1.txt").symlink_to(page.server.root / "elsewhere.txt")
    (folder / "2.txt").write_bytes(b"zuna, a\x00b, caf\xe9\xff\xfe")
    found = page.find("is:broken")
    broken = {each["name"]: each["problem"] for each in page.pictures(page.find()["pictures"])}
    assert found["total"] >= 1 and broken["0.png"]["code"] == "caption.too_large"
    page.ask("POST", "/apply", json={"edit": ADD, "digest": page.ask("POST", "/preview", json={"edit": ADD})["digest"]})
    assert (folder / "0.txt").stat().st_size == 10_000_000 and not (page.server.root / "elsewhere.txt").exists()
    left = page.ask("GET", "")["left"]
    assert left is None or left["names"] == ["1.txt"]


def test_captions_go_out_and_come_back(page: Page) -> None:
    before = page.screen()

    def exported(kind: str, filter: str = "") -> bytes:
        answer = page.server.call("GET", f"/projects/{page.project}/tags/export", params={"as": kind, "filter": filter})
        assert answer.status_code == 200 and answer.headers["content-disposition"].startswith("attachment; ")
        return answer.content

    def read(name: str, data: bytes, **query: Any) -> Any:
        return page.ask("POST", "/import", params={"name": name, **query}, content=data, headers=PNG)

    metadata = json.loads(exported("kohya"))
    assert metadata["10_zuna/0"] == {"tags": "zuna, girl, red hair, smile 0"} and len(metadata) == 3
    assert exported("lines", "name:0*").decode().split("\n")[:4] == ["girl", "red hair", "smile 0", "zuna"]
    with zipfile.ZipFile(io.BytesIO(exported("folder"))) as archive:
        assert archive.read("10_zuna/2.txt") == b"zuna, girl, red hair, smile 2"
    kept = exported("folder")

    shown = read("meta.json", json.dumps({"1": {"tags": ["a", "b"]}, "x/2.png": {"caption": "A sentence."}, "9": {"tags": "z"}}).encode(), limit=1)  # fmt: skip
    assert (shown["changes"], shown["total"], shown["unmatched"], len(shown["pictures"])) == (2, 3, ["9"], 1)
    assert page.screen() == before
    page.ask("POST", "/import/apply", json={"token": shown["token"], "digest": shown["digest"]})
    assert page.screen() == before | {"1.png": "a, b", "2.png": "A sentence."}
    assert page.ask("GET", "")["undo"]["title"] == "Captions from meta.json"
    assert page.refused("POST", "/import/apply", json={"token": shown["token"], "digest": shown["digest"]}) == (400, "editor.import_gone")  # fmt: skip

    shown = read("all.zip", kept)
    page.apply({"kind": "add", "tags": ["late"]})
    assert page.refused("POST", "/import/apply", json={"token": shown["token"], "digest": shown["digest"]}) == (409, "editor.changed")  # fmt: skip
    shown = read("all.zip", kept)
    page.ask("POST", "/import/apply", json={"token": shown["token"], "digest": shown["digest"]})
    assert page.screen() == before
    for name, data in (("x.json", b"{"), ("x.zip", b"PK\x03\x04"), ("x.exe", b"MZ"), ("x.txt", b"")):
        answer = page.server.call("POST", f"/projects/{page.project}/tags/import", PNG, params={"name": name}, content=data)  # fmt: skip
        assert answer.status_code == 400 and set(answer.json()["error"]) == {"code", "where", "sentence", "remedy"}


def test_a_project_is_deleted_while_its_files_are_written(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes as a whole and comes back as a whole."""
    from lib_lora_train.editor import writing

    monkeypatch.setattr(writing, "AT_ONCE", 0)
    shown = page.ask("POST", "/preview", json={"edit": ADD})
    page.ask("POST", "/apply", json={"edit": ADD, "digest": shown["digest"]})
    trash = page.server.data("DELETE", f"/projects/{page.project}")
    assert not page.folder.exists()
    assert page.refused("GET", "") == (404, "project.unknown")
    page.server.data("POST", "/projects/restore", json=trash)
    assert all(text.endswith(", hat") for text in page.screen().values())
    page.ask("POST", "/undo", json={"number": 1})
    assert not any(text.endswith(", hat") for text in page.screen().values())


def test_no_answer_holds_a_path_of_the_server(page: Page) -> None:
    folder = next(page.folder.glob("dataset/*"))
    (page.folder.parent / "binding.toml").write_text("[category.x]\ncolour = 1\n", encoding="utf-8")
    (folder / "0.txt").write_bytes(b"\xff" * 2_000_000)
    (page.server.root / "models" / "tags").mkdir(parents=True)
    (page.server.root / "models" / "tags" / "mine.csv").write_text('"unclosed', encoding="utf-8")
    for method, path, body in (
        ("GET", "", None), ("GET", "/binding", None), ("POST", "/find", {}), ("GET", "/log", None),
        ("POST", "/pictures", {"pictures": page.find()["pictures"]}), ("POST", "/preview", {"edit": {"kind": "sort"}}),
        ("GET", "/trigger?word=x", None), ("GET", "/complete?text=x", None), ("POST", "/binding/apply", {}),
    ):  # fmt: skip
        options = {} if body is None else {"json": body}
        answer = page.server.call(method, f"/projects/{page.project}/tags{path}", **options)
        assert str(page.server.root) not in answer.text and answer.status_code < 500, path
    assert error_code(answer).startswith("traits.") and "binding.toml" in answer.text
