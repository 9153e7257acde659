"""The 73 kinds of input, taken in from a folder and from a zip: used or left out with its reason, never a trace; the
good pictures go in, the source stays as it is."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from lib_lora_train.collection.archive import add_zip
from lib_lora_train.collection.entries import list_pictures
from lib_lora_train.collection.imports import import_from
from lib_lora_train.collection.intake import Added
from lib_lora_train.collection.limits import Limits
from lib_lora_train.collection.thumbnails import thumbnail
from lib_lora_train.dataset import listing
from lib_lora_train.errors import UserError
from tests.collection.tools import codes, leftovers, new_project
from tests.dataset.test_dataset_inputs import tree_hash, without_root
from tests.helpers.inputs import ALL_KINDS, STALE, Kind
from tests.helpers.pictures import write_picture

# What is other here than when a folder is trained on. A picture that is there counts as added, whatever its caption.
OTHER_CODE = {
    "same stem twice": None,
    "10 MB": "collection.caption_long",
    "JPEG as .png": None,
    "PNG as .jpg": None,
    "link loop": "dataset.link|image.unreadable",
}
SKIPPED_CAPTIONS = {"10 MB"}
# A zip has names and bytes only.
NOT_IN_A_ZIP = {
    "not readable", "vanishes during scan", "link outside", "link loop", "pipe or folder named x.png",
    "read-only folder", "stale network path", "empty folder", "path > 260",
}  # fmt: skip


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.name)
def test_from_a_folder(kind: Kind, open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind.posix and os.name == "nt":
        pytest.skip("Windows has no such files")
    data = open_folder / "data"
    folder = _build(kind, data)
    before = tree_hash(data)
    projects = open_folder / "projects"
    project = new_project(projects)
    for place in (projects, *projects.rglob("*")):
        place.chmod(0o777)
    if kind.name == "stale network path":
        monkeypatch.setattr(listing.os, "scandir", lambda path: (_ for _ in ()).throw(STALE))
    if kind.name in ("empty folder", "stale network path"):
        with pytest.raises(UserError) as caught:
            import_from(project, data, Limits())
        assert caught.value.code in ("dataset.empty", "dataset.folder")
        return
    with without_root() if kind.name == "not readable" else nullcontext():
        added = import_from(project, data, Limits())
    _check(kind, project, added)
    folder.chmod(0o755)
    for path in folder.iterdir():
        if path.is_file() and not path.is_symlink():
            path.chmod(0o644)
    assert tree_hash(data) == before
    assert leftovers(project) == []


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "kind", [kind for kind in ALL_KINDS if kind.name not in NOT_IN_A_ZIP], ids=lambda kind: kind.name
)
def test_from_a_zip(kind: Kind, tmp_path: Path) -> None:
    folder = _build(kind, tmp_path / "data")
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as handle:
        for path in sorted(folder.rglob("*")):
            handle.write(path, path.relative_to(tmp_path / "data"))
    project = new_project(tmp_path / "projects")
    _check(kind, project, add_zip(project, "", archive, Limits()), zipped=True)
    assert leftovers(project) == []


def _build(kind: Kind, data: Path) -> Path:
    folder = data / "10_a hero"
    folder.mkdir(parents=True)
    if kind.good:
        write_picture(folder / "good.png", "a good one", shift=1)
    kind.build(folder)
    return folder


def _check(kind: Kind, project: object, added: Added, zipped: bool = False) -> None:
    pictures = list_pictures(project)
    names = {picture.name for picture in pictures}
    assert ("good.png" in names) == kind.good
    assert len(pictures) == len(added.pictures)
    said = codes(added)
    used = kind.outcome == "used"
    if kind.name == "nested folders" and zipped:
        used = True  # a zip is taken with all its folders
    assert len(names - {"good.png"}) == (2 if kind.name == "same stem twice" else int(used)), (names, said)
    code = OTHER_CODE.get(kind.name, kind.code)
    if kind.outcome in ("skipped", "refused") and code:
        expected = {"zip in zip": "collection.zip_nested", "mixed zip name encodings": "collection.zip_nested"}
        wanted = expected.get(kind.name, code) if zipped else code
        if kind.name == "all bad":
            wanted = "image.unknown"
        assert set(said) & set(wanted.split("|")), said
    elif kind.name in SKIPPED_CAPTIONS:
        assert said == [code]
    else:
        assert set(said) <= {"collection.alone", "collection.caption_blank"}, said
    for problem in added.problems:
        assert str(project.root.parent) not in problem.text()
    for picture in pictures:
        assert picture.problem is None
        assert min(picture.width, picture.height) >= 16
        assert thumbnail(project, picture.id, 256).stat().st_size > 100
