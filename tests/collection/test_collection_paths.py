"""R7: 150 payloads against every name that comes from outside. A canary tree around the project stays as it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lib_lora_train.collection.adding import add_folder, add_stream
from lib_lora_train.collection.captions import write_caption
from lib_lora_train.collection.concepts import add_concept, delete_concept, edit_concept
from lib_lora_train.collection.entries import find_concept, find_picture, list_concepts, list_pictures
from lib_lora_train.collection.imports import import_from
from lib_lora_train.collection.moving import move_pictures
from lib_lora_train.collection.thumbnails import thumbnail
from lib_lora_train.collection.trash import delete_pictures, list_trash, restore
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project
from tests.collection.tools import LIMITS, fingerprint, leftovers, new_project, png, upload, zip_of
from tests.ground.test_paths import SECRET, corpus
from tests.helpers.pictures import write_picture

SECRET_WORDS = "canary words"
MORE = [
    "\ud800", "a\udcffb.png", "x.png:stream", "x.png\x00.txt", "..\x00", "/" * 500, "\\" * 500, "../" * 400 + SECRET,
    "10_a/../../../" + SECRET, "dataset/10_hero", "images/x.png", "../images/x.png", ".cache/index.json", "project.json",
    "../project.json", "runs/r01/run.json", "{where}", "{0.__class__}", "%s%n", "<script>x()</script>",
]  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """In a folder among canaries: beside it, above it, and with a name that begins like its own."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # thousands of files, and no power cut is meant
    root = tmp_path / "world" / "projects"
    project = new_project(root)
    upload(project, "x.png", png())
    upload(project, "x.txt", b"good")
    for place in (
        tmp_path, tmp_path / "world", root, tmp_path / "outside", tmp_path / "outside/10_hero",
        root / f"{project.id}_evil", root / f"{project.id}_evil/images", root / f"{project.id}_evil/dataset/10_hero",
    ):  # fmt: skip
        place.mkdir(parents=True, exist_ok=True)
        (place / SECRET).write_text(SECRET_WORDS, encoding="utf-8")
        write_picture(place / "x.png", SECRET_WORDS, (33, 35))
        write_picture(place / "secret.png", SECRET_WORDS, (33, 35))
    if os.name != "nt":
        for place in (project.folder / "dataset", project.folder / "images", project.folder / "dataset/10_hero"):
            (place / "out").symlink_to(tmp_path / "outside")
            (place / "file_link").symlink_to(tmp_path / "outside" / SECRET)
            (place / "secret.png").symlink_to(tmp_path / "outside/secret.png")
            (place / "secret.txt").symlink_to(tmp_path / "outside" / SECRET)
        (project.folder / "dataset/10_out").symlink_to(tmp_path / "outside/10_hero")
        (project.folder / "masks/10_hero").symlink_to(tmp_path / "outside")
        (project.folder / ".trash").mkdir()
        (project.folder / ".trash/out").symlink_to(tmp_path / "outside")
    before = canaries(project)
    yield project
    assert canaries(project) == before
    assert leftovers(project) == []


def canaries(project: Project) -> str:
    """All but the project itself."""
    world = project.root.parent.parent
    hidden = world.parent / "hidden"
    project.folder.rename(hidden)
    try:
        return fingerprint(world)
    finally:
        hidden.rename(project.folder)


def payloads(project: Project) -> list[str]:
    found = list(dict.fromkeys(corpus(project.folder) + MORE))
    assert len(found) >= 150
    return found


def secrets_in(project: Project) -> list[str]:
    """Files of the project that hold what stands outside."""
    found = []
    for path in project.folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            if SECRET_WORDS.encode() in data:
                found.append(path.name)
    shown = [
        picture.name for picture in list_pictures(project) if SECRET_WORDS in picture.caption or picture.width == 33
    ]
    return found + shown


def says(call: Callable[[], object]) -> object:
    """The result, or None when it was refused by a sentence; anything else is a fault."""
    try:
        return call()
    except UserError as error:
        assert error.sentence("zh-CN") and error.remedy()
        assert "/projects/test-" not in error.text()
        return None


def test_ids(project: Project) -> None:
    """No id that was not given out finds anything."""
    good = next(picture for picture in list_pictures(project) if picture.name == "x.png")
    before = fingerprint(project.folder)
    for text in payloads(project):
        for call in (
            lambda text=text: find_concept(project, text),
            lambda text=text: find_picture(project, text),
            lambda text=text: thumbnail(project, text, 256),
            lambda text=text: write_caption(project, text, "x", ""),
            lambda text=text: edit_concept(project, text, "x"),
            lambda text=text: delete_concept(project, text),
            lambda text=text: delete_pictures(project, [text]),
            lambda text=text: move_pictures(project, [good.id], text),
            lambda text=text: move_pictures(project, [text], good.concept),
            lambda text=text: restore(project, text),
        ):
            assert says(call) is None
        if text:  # "" stands for the default concept, and for all pictures
            assert says(lambda text=text: add_stream(project, text, "n.png", [png(9)], LIMITS)) is None
            assert says(lambda text=text: list_pictures(project, text)) is None
    (project.folder / ".collection.lock").unlink()
    after = fingerprint(project.folder)
    assert list_trash(project) == [] and secrets_in(project) == []
    assert before != after  # the lock was there before
    assert [concept.name for concept in list_concepts(project)] == ["hero"]


def test_upload_names(project: Project) -> None:
    for number, text in enumerate(payloads(project)):
        for name in (text, f"{text}.png", f"{text}/x.png", f"{text}.txt"):
            data = f"cap {number}".encode() if name.endswith(".txt") else png(number)
            says(lambda name=name, data=data: upload(project, name, data))
    for picture in list_pictures(project):
        assert picture.path.parent == project.folder / "dataset/10_hero"
        assert picture.problem is None or picture.path.is_symlink()
    stored = {path.name for path in (project.folder / "images").iterdir()}
    assert not any(set(name) & set('<>:"/\\|?*\x00') for name in stored)
    assert len(stored) > 150 and secrets_in(project) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_members(project: Project) -> None:
    """Each payload as a picture, as a folder of one, as a numbered folder, and as a caption."""
    for number, text in enumerate(payloads(project)):
        name = text.encode("utf-8", "replace").decode()
        files = {
            f"{name}.png": png(number), f"{name}/in.png": png(1000 + number), f"3_{name}/c.png": png(2000 + number),
            f"{name}.txt": b"words", f"masks/{name}/m.png": png(1),
        }  # fmt: skip
        files = {key: data for key, data in files.items() if 4 < len(key.encode()) < 60_000 and key[0] != "\x00"}
        says(lambda files=files: upload(project, "set.zip", zip_of(files)))
        for concept in list_concepts(project):
            assert concept.folder.parent == project.folder / "dataset"
            if concept.name != "hero":
                delete_concept(project, concept.id)
    assert len(list_pictures(project)) > 150 and secrets_in(project) == []


def test_concept_names(project: Project) -> None:
    hero = list_concepts(project)[0]
    for text in payloads(project):
        made = says(lambda text=text: add_concept(project, text))
        if made is not None:
            assert made.folder.parent == project.folder / "dataset" and made.folder.is_dir()
            moved = says(lambda made=made: edit_concept(project, hero.id, repeats=len(made.name)))
            assert moved is None or moved.folder.parent == project.folder / "dataset"
            delete_concept(project, made.id)
        renamed = says(lambda text=text: edit_concept(project, list_concepts(project)[0].id, text))
        assert renamed is None or renamed.folder.parent == project.folder / "dataset"
    assert len(list_concepts(project)) == 1 and secrets_in(project) == []


def test_data_set_files(project: Project, tmp_path: Path) -> None:
    """image_dir, conditioning_data_dir, class_tokens and caption_extension of a file that somebody sent."""
    source = tmp_path / "world/sent"
    write_picture(source / "pictures/a.png", "mine")
    before = fingerprint(source)
    for text in payloads(project):
        quoted = "".join(f"\\U{ord(letter):08x}" for letter in text.encode("utf-8", "replace").decode())
        for lines in (
            f'image_dir = "{quoted}"',
            f'image_dir = "pictures"\nconditioning_data_dir = "{quoted}"',
            f'image_dir = "pictures"\nclass_tokens = "{quoted}"',
            f'image_dir = "pictures"\ncaption_extension = "{quoted}"',
        ):
            path = source / "set.toml"
            path.write_text(f"[[datasets]]\n[[datasets.subsets]]\n{lines}\n", encoding="utf-8")
            says(lambda path=path: import_from(project, path, LIMITS))
            path.unlink()
        for concept in list_concepts(project):
            if concept.name not in ("hero", "pictures"):
                assert concept.folder.parent == project.folder / "dataset"
                delete_concept(project, concept.id)
    assert fingerprint(source) == before
    assert secrets_in(project) == []
    (source / "pictures/a.png").unlink()
    (source / "pictures/a.txt").unlink()
    (source / "pictures").rmdir()
    source.rmdir()


def test_folders_by_name(project: Project, tmp_path: Path) -> None:
    """A folder may be named by whoever sits at the machine; below it nothing leads out, and it is only read."""
    source = tmp_path / "world/sent"
    write_picture(source / "a.png", "mine")
    before = fingerprint(source)
    for text in payloads(project):
        if not text.startswith(("/", "~", "..")) and "/.." not in text:
            says(lambda text=text: add_folder(project, "", source / text, LIMITS))
            says(lambda text=text: import_from(project, source / text, LIMITS))
    assert fingerprint(source) == before and secrets_in(project) == []
    (source / "a.png").unlink()
    (source / "a.txt").unlink()
    source.rmdir()
