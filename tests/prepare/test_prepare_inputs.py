"""The 73 kinds of input through check, prepare and tag, of a folder and of a project: used, left out with its reason, or
refused in a sentence, never a trace; the good picture is prepared, and the originals stay as they are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from lib_lora_train.collection.concepts import add_concept
from lib_lora_train.collection.entries import list_concepts
from lib_lora_train.collection.made import read_made
from lib_lora_train.dataset import listing
from lib_lora_train.errors import UserError
from lib_lora_train.messages import LANGUAGES, message
from lib_lora_train.prepare.bench import Steps
from lib_lora_train.prepare.folder_pass import FolderPass, prepare_folder
from lib_lora_train.prepare.folders import find_pictures
from lib_lora_train.prepare.one_pass import Passing
from lib_lora_train.prepare.tag_folder import tag_folder, undo_tags
from lib_lora_train.prepare.tools import Tools
from lib_lora_train.signals import Event, Log
from tests.collection.tools import new_project
from tests.dataset.test_dataset_inputs import tree_hash, without_root
from tests.helpers.inputs import ALL_KINDS, STALE, Kind
from tests.helpers.pictures import write_picture
from tests.helpers.preparing import settings, tools

KINDS = pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.name)
BOMBS = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
# What a picture is said to need that is used all the same; a preparation says less than a training does.
SAID = {"10 MB": "caption.too_large"}
REFUSED = {"empty folder": "prepare.empty", "all bad": "prepare.nothing_usable", "stale network path": "dataset.folder"}
# Of two pictures with one caption, `tag` leaves the second alone.
UNTAGGED = {"10 MB", "same stem twice"}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for path in (folder, *folder.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    """One that other users may read, too."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield tools(Path(name) / "models")


def build(kind: Kind, data: Path) -> Path:
    if kind.posix and os.name == "nt":
        pytest.skip("Windows has no such files")
    folder = data / "10_a hero"
    folder.mkdir(parents=True)
    if kind.good:
        write_picture(folder / "good.png", "a good one", shift=1)
    kind.build(folder)
    return folder


def someone(kind: Kind):
    return without_root() if kind.name == "not readable" else nullcontext()


def check(kind: Kind, used: set[str], events: list[Event], problems: list[UserError], root: Path) -> None:
    where = f"10_a hero/{kind.where}"
    assert ("10_a hero/good.png" in used) == kind.good
    assert (where in used) == (kind.outcome == "used")
    if kind.outcome == "skipped" and not kind.code.startswith("image.foreign"):
        about = [problem for problem in problems if problem.where == where]
        assert [problem.code in kind.code.split("|") for problem in about] == [True]
    if kind.name in SAID:
        assert SAID[kind.name] in {problem.code for problem in problems}
    for log in (event for event in events if isinstance(event, Log)):
        for language in LANGUAGES:
            assert str(root) not in message(log.code, language, **log.values)
    for problem in problems:
        for language in LANGUAGES:
            assert problem.sentence(language) and problem.remedy(language)
    said = [(event.code, str(event.values)) for event in events if isinstance(event, Log)]
    assert len(said) == len(set(said))  # each once


@BOMBS
@KINDS
def test_check_and_prepare(kind: Kind, open_folder: Path, kit: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = open_folder / "data", open_folder / "out"
    folder = build(kind, data)
    before = tree_hash(data)
    open_folder.chmod(0o777)
    events: list[Event] = []
    chosen = settings(tag={"taggers": ["demo-tagger"]}, matte={"background": "white", "matte": "grabcut"})
    if kind.name == "stale network path":
        monkeypatch.setattr(listing.os, "scandir", lambda path: (_ for _ in ()).throw(STALE))

    def run():
        with someone(kind):
            found = find_pictures(str(data), "DIR")
            found.check_some()
            passing = FolderPass(found, open_folder / "cache", kit, chosen)
            passing.look(Steps(check=chosen), rendering=False)
            report = passing.report(Steps(check=chosen))
            return report, prepare_folder(str(data), out, kit, chosen, events=events.append)

    if kind.name in REFUSED:
        with pytest.raises(UserError) as caught:
            run()
        assert caught.value.code == REFUSED[kind.name]
    else:
        report, prepared = run()
        originals = {path.name for path in folder.iterdir()}
        made = {path.relative_to(out).as_posix() for path in prepared.pictures}
        used = {f"10_a hero/{name}" for name in originals if f"10_a hero/{Path(name).stem}.png" in made}
        if kind.name == "same stem twice":
            assert "10_a hero/x-2.png" in made
        check(kind, used, events, prepared.problems, open_folder)
        assert all(path.stat().st_size for path in out.rglob("*.txt"))
        assert report.score <= 100
    monkeypatch.undo()
    restore(folder)
    assert tree_hash(data) == before


@BOMBS
@KINDS
def test_tag(kind: Kind, open_folder: Path, kit: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_folder / "data"
    folder = build(kind, data)
    for path in (data, folder):
        path.chmod(0o777 if kind.name != "read-only folder" else 0o555)
    captions = {path: path.read_bytes() for path in folder.glob("*.txt")}
    events: list[Event] = []
    if kind.name == "stale network path":
        monkeypatch.setattr(listing.os, "scandir", lambda path: (_ for _ in ()).throw(STALE))
    chosen = settings(tag={"taggers": ["demo-tagger"], "existing": "append", "threshold": 0.01})

    def run():
        with someone(kind):
            return tag_folder(str(data), kit, chosen, "trigger", events.append)

    if kind.name in REFUSED:
        with pytest.raises(UserError) as caught:
            run()
        assert caught.value.code == REFUSED[kind.name]
    elif kind.name == "read-only folder" and os.geteuid() != 0:
        with pytest.raises(UserError, match="could not be written"):
            run()
    else:
        tagged = run()
        written = {path.stem for path in folder.glob("*.txt") if captions.get(path) != path.read_bytes()}
        used = {f"10_a hero/{path.name}" for path in folder.iterdir() if path.stem in written and path.suffix != ".txt"}
        if kind.name in UNTAGGED:
            used.add(f"10_a hero/{kind.where}")
        check(kind, used, events, tagged.problems, open_folder)
        assert tagged.changed == len(written)
        undo_tags(str(data))
        assert {path: path.read_bytes() for path in folder.glob("*.txt")}.keys() <= captions.keys()
    monkeypatch.undo()
    restore(folder)


@BOMBS
@KINDS
def test_a_project(kind: Kind, open_folder: Path, kit: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    """Laid into the project's folder by hand, as somebody does who knows where it is."""
    project = new_project(open_folder / "projects")
    add_concept(project, "a hero", 10) if not list_concepts(project) else None
    folder = list_concepts(project)[0].folder
    if kind.posix and os.name == "nt":
        pytest.skip("Windows has no such files")
    if kind.good:
        write_picture(folder / "good.png", "a good one", shift=1)
    kind.build(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and not path.is_symlink()}
    folder.chmod(0o755)
    for path in (project.folder, *project.folder.rglob("*")):
        if not path.is_symlink() and path.name not in ("x.png", "y.png"):
            path.chmod(0o777)
    if kind.name == "stale network path":
        return  # a project's folder is there, or the project is not
    events: list[Event] = []
    chosen = settings(tag={"taggers": ["demo-tagger"], "existing": "append"})
    with someone(kind):
        passing = Passing(project, kit, chosen, events.append)
        if (
            not any(name for name in before if not name.startswith(".") and listing.is_picture_name(name))
            and not kind.good
        ):
            with pytest.raises(UserError) as caught:
                passing.run(("check", "crop", "tag"), apply_it=True)
            assert caught.value.code == "prepare.no_pictures"
            return
        outcome = passing.run(("check", "crop", "tag"), apply_it=True)
    made = read_made(project)
    assert ("good.png" in made) == kind.good
    for problem in outcome.problems:
        for language in LANGUAGES:
            assert problem.sentence(language) and problem.remedy(language)
            assert str(open_folder) not in problem.text(language)
    if kind.outcome == "skipped" and kind.code != "image.foreign":
        code = "dataset.link" if kind.name == "vanishes during scan" else kind.code
        assert {problem.code for problem in outcome.problems} & set(code.split("|")), outcome.problems
    kept = {path.read_bytes() for path in project.folder.rglob("*") if path.is_file() and not path.is_symlink()}
    for name, data in before.items():
        if not (kind.name == "not readable" and name == "x.png"):
            assert data in kept, name


def restore(folder: Path) -> None:
    folder.chmod(0o755)
    for path in folder.iterdir():
        if path.is_file() and not path.is_symlink():
            path.chmod(0o644)
