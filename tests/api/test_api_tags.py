"""The tag editor over REST, as a page uses it: sixty drawings tagged, filtered, edited, bound, undone and redone, with
the disk beside the screen after every step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_lora_train.access import Exposure
from tests.helpers.pictures import encoded
from tests.helpers.preparing import drawings, tools
from tests.helpers.rest import Server, error_code
from tests.helpers.tag_page import Page

COUNT = 60
OVERVIEW = {
    "revision", "form", "total", "captioned", "concepts", "trigger", "undo", "redo", "sitting", "writing", "left",
    "trouble", "tokens", "vocabulary", "translation",
}  # fmt: skip
STEP = {"number", "title", "time", "count"}


@pytest.fixture
def server(tmp_path: Path, tiny_checkpoint: Path) -> Iterator[Server]:
    tools(tmp_path / "models")
    made = Server(tmp_path, Exposure(), tiny_checkpoint.parent)
    made.studio.workshop.store.offline = True
    yield made
    assert made.studio.close(60)


def tagged(server: Server) -> Page:
    """Sixty drawings with the tags that the demo's tagger sees in them."""
    project = server.project()
    for number, image in enumerate(drawings(COUNT, 128), 1):
        server.upload(project, f"{number:02}.png", encoded(image, "PNG"))
    home = f"/projects/{project}/prepare"
    values = {"check": {"size": 128}, "crop": {"width": 128, "height": 128}, "tag": {"taggers": ["demo-tagger"]}}
    server.data("PUT", f"{home}/settings", json={"settings": values})
    server.data("POST", f"{home}/start", json={"steps": ["tag"], "apply": True})
    until = time.monotonic() + 120
    while server.data("GET", home)["job"] is not None:
        assert time.monotonic() < until
        time.sleep(0.1)
    return Page(server, project)


def test_the_whole_story(server: Server) -> None:
    page = tagged(server)
    states = [page.screen()]
    files = [page.bytes()]
    overview = page.ask("GET", "")
    assert set(overview) == OVERVIEW and overview["total"] == overview["captioned"] == COUNT
    assert (overview["undo"], overview["redo"], overview["sitting"], overview["left"]) == (None, None, None, None)

    def done() -> None:
        states.append(page.screen())
        files.append(page.bytes())
        assert page.ask("GET", "")["sitting"] == {"count": len(states) - 1, "to": 0}

    # Found by a filter: the pictures, and how often each tag stands in them.
    everything = page.find()
    counts = {each["tag"]: each["count"] for each in everything["tags"]}
    assert counts["1girl"] == COUNT and all(each["all"] == each["count"] for each in everything["tags"])
    some, other = [tag for tag, count in counts.items() if 5 < count < COUNT - 5][:2]
    filter = page.ask("POST", "/filter", json={"filter": "", "tag": some, "how": "include"})["filter"]
    filter = page.ask("POST", "/filter", json={"filter": filter, "tag": other, "how": "exclude"})["filter"]
    narrowed = page.find(filter)
    wanted = [name for name, text in states[0].items() if some in text.split(", ") and other not in text.split(", ")]
    assert [each["name"] for each in page.pictures(narrowed["pictures"])] == wanted and wanted
    assert {each["tag"]: each["count"] for each in narrowed["tags"]}[some] == len(wanted) == narrowed["total"]
    assert page.ask("POST", "/filter", json={"filter": filter, "tag": some, "how": "without"})["filter"] != filter

    # Replaced in those, then a tag for some that were chosen.
    page.apply({"kind": "replace", "find": some, "replace": "a new tag"}, filter=filter)
    done()
    page.apply({"kind": "add", "tags": ["chosen"], "where": "front"}, pictures=everything["pictures"][:7])
    done()
    assert page.find("tag:chosen")["pictures"] == everything["pictures"][:7]

    # One caption by hand, and one that another program wrote meanwhile.
    [first, second] = page.pictures(everything["pictures"][:2])
    saved = page.ask("PUT", "/caption", json={"picture": first["id"], "tags": [*first["tags"], "by hand"], "version": first["version"]})  # fmt: skip
    assert saved["picture"]["tags"][-1] == "by hand" and set(saved["overview"]["undo"]) == STEP
    done()
    path = next(page.folder.glob(f"dataset/*/{Path(second['name']).stem}.txt"))
    path.write_text("somebody else's words", encoding="utf-8")
    body = {"picture": second["id"], "text": "mine", "version": second["version"]}
    answer = server.call("PUT", f"/projects/{page.project}/tags/caption", json=body)
    assert (answer.status_code, error_code(answer)) == (409, "collection.caption_changed")
    theirs = answer.json()["theirs"]
    assert theirs["text"] == "somebody else's words" and page.screen()[second["name"]] == theirs["text"]
    page.ask("PUT", "/caption", json={**body, "version": theirs["version"]})
    done()
    # What was there before is nobody's step: undo goes back to what the other program wrote.
    states[0:4] = [state | {second["name"]: theirs["text"]} for state in states[0:4]]
    files[0:4] = [each | {path.name: theirs["text"].encode()} for each in files[0:4]]

    # What to bind, overruled once, done as one step.
    advice = page.ask("GET", "/binding")
    bound = [row["tag"] for row in advice["rows"] if row["decision"] == "bind"]
    assert len(bound) > 1
    kept = next(row["tag"] for row in advice["rows"] if row["decision"] == "keep" and row["tag"] != "1girl")
    advice = page.ask("PUT", "/binding", json={"choices": {bound[0]: "keep", kept: "bind"}, "outfit": False})
    decided = {row["tag"]: (row["decision"], row["suggested"]) for row in advice["rows"]}
    assert decided[bound[0]] == ("keep", "bind") and decided[kept] == ("bind", "keep")
    page.ask("POST", "/binding/apply", json={"digest": advice["digest"]})
    done()
    left = {each["tag"] for each in page.find()["tags"]}
    assert bound[0] in left and not left & {kept, *bound[1:]}
    assert page.ask("GET", "/binding")["rows"][0]["tag"] in left

    # The trigger word, everywhere at once.
    page.ask("POST", "/trigger", json={"word": "zork"})
    assert all(text.startswith("zork") for text in page.screen().values())
    assert server.data("GET", f"/projects/{page.project}")["trigger_word"] == "zork"
    done()

    # Undo all of it step by step, redo all of it, roll the sitting back, go forward, close the page in the middle.
    for state, held in zip(states[-2::-1], files[-2::-1], strict=True):
        step = page.ask("GET", "")["undo"]
        undone = page.ask("POST", "/undo", json={"number": step["number"]})
        assert undone["redo"]["number"] == step["number"] and undone["left"] in (
            None,
            {"count": 1, "names": [path.name]},
        )
        if undone["left"] is None:
            assert page.screen() == state and page.bytes() == held
    assert server.data("GET", f"/projects/{page.project}")["trigger_word"] == "zuna"
    assert page.ask("GET", "")["undo"] is None
    for state in states[1:]:
        page.ask("POST", "/redo", json={"number": page.ask("GET", "")["redo"]["number"]})
        assert page.screen() == state
    page.ask("POST", "/rollback", json={"to": page.ask("GET", "")["sitting"]["to"]})
    assert page.screen() == states[0]
    page.ask("POST", "/forward", json={"to": 3})
    assert page.screen() == states[3]
    again = Page(Server(server.root, Exposure()), page.project)  # as another process, after a day
    assert again.screen() == states[3] and again.ask("GET", "")["redo"]["number"] == 4
    entries = again.ask("GET", "/log?limit=500")
    assert entries["total"] == len(states) - 1
    assert [entry["number"] for entry in entries["entries"]] == list(range(len(states) - 1, 0, -1))
    assert [entry["in_force"] for entry in entries["entries"]] == [False] * 3 + [True] * 3
    assert again.server.studio.close(60)
