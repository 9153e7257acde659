"""What is asked for every second costs nothing while nothing changes; what was tried and dropped is forgotten."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_lora_train.collection.captions import write_caption
from lib_lora_train.collection.entries import list_pictures
from lib_lora_train.prepare import bench, guesses, kept, wanted
from lib_lora_train.prepare.frames import Crop
from lib_lora_train.prepare.one_pass import Passing
from lib_lora_train.prepare.sources import cache_folder
from lib_lora_train.prepare.state import changed_state, read_state
from lib_lora_train.prepare.tools import Tools
from lib_lora_train.prepare.undoing import list_undo, undo
from lib_lora_train.project import Project
from lib_lora_train.vision.geometry import Box
from lib_lora_train.workshop import context
from lib_lora_train.workshop.checks import shown_report
from lib_lora_train.workshop.context import Contexts
from lib_lora_train.workshop.sources import list_sources
from lib_lora_train.workshop.tags import preview_tags
from tests.helpers.preparing import photo_project, settings, tools

TAGGED = settings(tag={"taggers": ["demo-tagger"]})


@pytest.fixture
def kit(tmp_path: Path) -> Tools:
    return tools(tmp_path / "models")


def prepared(root: Path, kit: Tools, count: int = 4) -> Project:
    project = photo_project(root, count)
    Passing(project, kit, TAGGED).run(("check", "crop", "tag"))
    return project


class Costs:
    """How often what is dear was done since the last look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._counts: Counter[str] = Counter()
        for module, name in (
            (context, "find_wanted"),
            (context, "read_state"),
            (context, "project_report"),
            (bench, "alike"),
            (kept, "_read"),
            (kept, "file_hash"),
            (guesses, "_read"),
            (wanted, "read_caption"),
        ):
            self._watch(monkeypatch, module, name)
        self._watch(monkeypatch, os, "stat")

    def _watch(self, monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> None:
        real = getattr(module, name)
        label = f"{getattr(module, '__name__', '').rpartition('.')[2]}.{name}"

        def counted(*given: object, **named: object) -> object:
            self._counts[label] += 1
            return real(*given, **named)

        monkeypatch.setattr(module, name, counted)

    def taken(self) -> Counter[str]:
        found, self._counts = self._counts, Counter()
        return +found


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Costs]:
    return Costs(monkeypatch)


def look(contexts: Contexts, project: Project, busy: bool = False) -> object:
    """What an overview is made of."""
    known = contexts.of(project, busy)
    return known.steps, known.counts, known.state


def test_a_second_look_reads_nothing(tmp_path: Path, kit: Tools, costs: Costs) -> None:
    stats = []
    for count in (3, 9):
        project, contexts = prepared(tmp_path / str(count), kit, count), Contexts(kit)
        look(contexts, project)
        assert costs.taken()["context.find_wanted"] == 1
        look(contexts, project)
        again = costs.taken()
        stats.append(again.pop("os.stat", 0))
        assert not again
    assert stats[0] == stats[1] < 60  # the same, however many pictures there are


def test_of_one_change_only_what_depends_on_it_is_read(tmp_path: Path, kit: Tools, costs: Costs) -> None:
    project, contexts = prepared(tmp_path, kit), Contexts(kit)
    first = contexts.of(project)
    look(contexts, project)
    shown_report(first, kit)
    costs.taken()
    picture = list_pictures(project)[2]
    write_caption(project, picture.id, "a word", picture.version)
    report = shown_report(contexts.of(project), kit)
    changed = costs.taken()
    assert changed["context.find_wanted"] == changed["context.project_report"] == 1 and report["checked"] == 4
    assert changed["kept._read"] == 1  # the digests, and nothing of what was seen
    assert not {"kept.file_hash", "guesses._read", "bench.alike"} & set(changed)
    with changed_state(project) as state:
        state.set_hand(picture.name, crops=(Crop(Box(0, 40, 160, 160), 160, 120),))
    assert contexts.of(project) is not first
    look(contexts, project)
    changed = costs.taken()
    assert changed["context.find_wanted"] == changed["kept._read"] == 1
    assert not {"kept.file_hash", "guesses._read"} & set(changed)


def test_a_pass_under_way_is_not_read_again_and_again(tmp_path: Path, kit: Tools, costs: Costs) -> None:
    project, contexts = prepared(tmp_path, kit), Contexts(kit)
    before = contexts.of(project, busy=True)
    look(contexts, project, busy=True)
    costs.taken()
    found = kit.bench(cache_folder(project))
    found.put_look("0" * 64, "auto", bench.Look(8, 8))
    found.save()
    costs.taken()
    look(contexts, project, busy=True)
    assert contexts.of(project, busy=True) is before
    assert not {"context.find_wanted", "kept._read"} & set(costs.taken())
    with changed_state(project) as state:  # somebody's own change is seen at once
        state.planned = False
    assert contexts.of(project, busy=True) is not before
    during = contexts.of(project, busy=True)
    found.put_look("1" * 64, "auto", bench.Look(8, 8))
    found.save()
    assert contexts.of(project, busy=True) is during
    assert contexts.of(project) is not during  # it is over


def test_a_long_pass_is_seen_after_a_while(tmp_path: Path, kit: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    project, contexts = prepared(tmp_path, kit), Contexts(kit)
    before = contexts.of(project, busy=True)
    found = kit.bench(cache_folder(project))
    found.put_look("0" * 64, "auto", bench.Look(8, 8))
    found.save()
    monkeypatch.setattr(context, "BEHIND", 0.0)
    assert contexts.of(project, busy=True) is not before


def test_other_thresholds_read_no_file(tmp_path: Path, kit: Tools, costs: Costs) -> None:
    project, contexts = prepared(tmp_path, kit), Contexts(kit)
    known = contexts.of(project)
    preview_tags(known, TAGGED, None, 0, 50)
    costs.taken()
    low = preview_tags(known, TAGGED, {"threshold": 0.02, "existing": "replace"}, 0, 50)
    high = preview_tags(known, TAGGED, {"threshold": 0.9, "existing": "replace"}, 0, 50)
    taken = costs.taken()
    assert taken.pop("os.stat", 0) < 20 and not taken
    assert low["total"] == high["total"] == 4 and low["looked"] == 4
    assert len(low["counts"]) > len(high["counts"])
    captions = {each["name"]: each["before"] for each in low["captions"]}
    assert captions["1.png"] == "a thing, red" and captions["0.png"] == ""


def test_a_page_of_sources_looks_at_its_own(tmp_path: Path, kit: Tools, costs: Costs) -> None:
    stats = []
    for count in (5, 12):
        known = Contexts(kit).of(prepared(tmp_path / str(count), kit, count))
        list_sources(known, "", 0, 4)
        costs.taken()
        list_sources(known, "", 1, 4)
        stats.append(costs.taken())
    assert stats[0] == stats[1]


def test_duplicates_are_not_looked_for_twice(tmp_path: Path, kit: Tools, costs: Costs) -> None:
    project = prepared(tmp_path, kit)
    assert costs.taken()["bench.alike"] == 1
    first = Contexts(kit).of(project).report
    assert not costs.taken()["bench.alike"]
    (cache_folder(project) / "alike.json").write_text('{"version": "1", "values": {"x": 3}}', encoding="utf-8")
    assert Contexts(kit).of(project).report == first
    assert costs.taken()["bench.alike"] == 1


def files(project: Project, name: str) -> set[str]:
    folder = cache_folder(project) / name
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def test_what_was_tried_is_forgotten(tmp_path: Path, kit: Tools) -> None:
    project = photo_project(tmp_path)
    cut = {"crop": "size"}
    for side in range(64, 64 + 8 * 16, 16):
        chosen = settings(crop={**cut, "width": side, "height": 64}, matte={"background": "white"})
        Passing(project, kit, chosen).run(("check", "crop", "matte"))
        assert len(files(project, "pictures")) == len(files(project, "mattes")) == 4
    found = kit.bench(cache_folder(project))
    assert len(found._crops._values) == 4 * kept.VARIANTS
    assert len(found._looks._values) == 4 + 4  # of the originals, and of what is wanted
    assert len(files(project, "mattes")) == 4


def test_what_is_still_needed_stays(tmp_path: Path, kit: Tools) -> None:
    project = photo_project(tmp_path)
    masked = settings(crop={"crop": "size", "width": 96, "height": 64}, matte={"background": "mask"})
    Passing(project, kit, masked).run(("check", "crop", "matte"), apply_it=True)
    pictures, masks = files(project, "pictures"), files(project, "masks")
    assert len(pictures) == len(masks) == 4
    other = settings(crop={"crop": "size", "width": 64, "height": 64})
    Passing(project, kit, other).run(("check", "crop", "matte"))
    assert pictures < files(project, "pictures")  # the data set is made of these
    assert files(project, "masks") == set()
    Passing(project, kit, other).run((), apply_it=True)
    assert len(files(project, "pictures")) == 4 and not pictures & files(project, "pictures")
    for entry in list_undo(project):
        undo(project, entry.id)
    assert {(each.width, each.height) for each in list_pictures(project)} == {(320, 320)}
    assert read_state(project).ran


def test_the_settings_in_use_are_kept_however_old(tmp_path: Path) -> None:
    store = kept.Kept(tmp_path / "x.json")
    for number in range(9):
        store.put(f"a:{number}", number)
    store.put("gone:1", 1)
    assert store.keep_only({"a"}, {"a:0"}) == [8, 7, 6, 5, 0]
    store.save()
    again = kept.Kept(tmp_path / "x.json")
    assert [again.get(f"a:{number}") for number in (0, 4, 5, 8)] == [0, None, 5, 8] and again.get("gone:1") is None
    again.put("a:9", 9)
    assert again.keep_only({"a"}, ()) == [9, 8, 7, 6]


def test_leftovers_of_a_killed_process_go(tmp_path: Path, kit: Tools) -> None:
    project = prepared(tmp_path, kit)
    left = cache_folder(project) / "new" / "left"
    left.mkdir(parents=True)
    (left / "000001.png").write_bytes(b"x")
    Passing(project, kit, TAGGED).run((), apply_it=True)
    assert not left.exists()
