"""R7: nothing leaves its folder. 150 payloads against every function that takes a path part or an id."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.errors import UserError
from lib_lora_train.files import MAX_NAME_BYTES, resolve_inside, safe_name
from lib_lora_train.project import (
    create_project,
    delete_project,
    open_project,
    restore_project,
    run_folder,
)

SECRET = "secret.txt"
RESERVED = [
    "CON",
    "con",
    "PRN",
    "AUX",
    "NUL",
    "COM1",
    "com9",
    "LPT1",
    "lpt9",
    "con.txt",
    "NUL.safetensors",
    "aux.tar.gz",
]


def dot_dot_forms() -> list[str]:
    forms = []
    for depth in (1, 2, 3, 8):
        up = "../" * depth
        forms += [up + SECRET, up, up + "outside/" + SECRET, "a/" + up + "../" + SECRET, "./" + up + SECRET]
        forms += [up.replace("/", "\\") + SECRET, up.replace("/", "//") + SECRET]
    return forms


def encoded_forms() -> list[str]:
    plain = ["../" + SECRET, "../../" + SECRET, "..\\" + SECRET]
    once = [quote(text, safe="") for text in plain]
    twice = [quote(text, safe="") for text in once]
    odd = [
        "%2e%2e/",
        "%2e%2e%2f",
        "..%2f",
        "..%5c",
        "%252e%252e%252f",
        "..%c0%af",
        "..%ef%bc%8f",
        "%uff0e%uff0e/",
        "..;/",
    ]
    return once + twice + [form + SECRET for form in odd]


def absolute_forms(outside: Path) -> list[str]:
    return [
        "/" + SECRET, str(outside / SECRET), "//" + SECRET, "/etc/hostname", "file:///" + SECRET, "~/" + SECRET, "~",
        "C:\\" + SECRET, "C:/" + SECRET, "c:" + SECRET, "Z:\\x", "\\\\server\\share\\" + SECRET, "//server/share/" + SECRET,
        "\\\\?\\C:\\" + SECRET, "\\\\.\\PhysicalDrive0", "\\" + SECRET, "/dev/null", "/proc/self/environ", "C:", "d:..\\x",
    ]  # fmt: skip


def odd_forms() -> list[str]:
    return [
        "", ".", "..", "...", "....//" + SECRET, "..../", ". .", ".. /" + SECRET, " ../" + SECRET, "..\t/" + SECRET, "-", "--",
        "a\x00b", "\x00", "../" + SECRET + "\x00.png", "a\nb", "a\rb", "a\x1bb", "\x7f", "a\u202eb", "a\u200bb", "\ufeff..",
        unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é"), "\uff0e\uff0e/" + SECRET, "\u2024\u2024/" + SECRET,
        "..\u2215" + SECRET, "..\u29f5" + SECRET, "你好", "🦊", "x" * 255, "x" * 256, "x" * 5000, "a/" * 2000 + "b", "é" * 200,
        "name.", "name ", "name. .", "na:me", "na*me", "na?me", "na<me", "na|me", 'na"me', "$HOME", "${HOME}", "$(id)", "`id`",
        "%USERPROFILE%", "%00", ".git", ".trash", ".trash/x", ".ssh/id_rsa", "project", "PROJECT", "Project",
    ]  # fmt: skip


def link_forms() -> list[str]:
    return [
        "out", f"out/{SECRET}", "out/..", "file_link", "loop", "loop/x", "chain", f"chain/{SECRET}", "up", f"up/{SECRET}",
        "dangling", "dangling/x", "sub/out", f"sub/out/{SECRET}", "prefix", f"prefix/{SECRET}",
    ]  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A root beside secrets, with links that lead out of it, and a sibling whose name begins like the root's."""
    root, outside, evil = tmp_path / "proj", tmp_path / "outside", tmp_path / "proj_evil"
    for folder in (root / "sub", outside, evil):
        folder.mkdir(parents=True)
    for place in (tmp_path, outside, evil):
        (place / SECRET).write_text("secret", encoding="utf-8")
    (root / "out").symlink_to(outside)
    (root / "sub" / "out").symlink_to(outside)
    (root / "file_link").symlink_to(outside / SECRET)
    (root / "loop").symlink_to(root / "loop")
    (root / "chain").symlink_to(root / "out")
    (root / "up").symlink_to("..")
    (root / "dangling").symlink_to(outside / "not there")
    (root / "prefix").symlink_to(evil)
    return root


def corpus(root: Path) -> list[str]:
    sibling = [
        "../proj_evil",
        f"../proj_evil/{SECRET}",
        "../proj",
        "../PROJ_EVIL",
        f"../proj/../{SECRET}",
        "../proj_evil/../outside",
    ]
    return (
        dot_dot_forms()
        + encoded_forms()
        + absolute_forms(root.parent / "outside")
        + odd_forms()
        + link_forms()
        + RESERVED
        + sibling
    )


def fingerprint(folder: Path, without: Path) -> str:
    """Everything outside the root: names and contents."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if without not in (path, *path.parents):
            digest.update(str(path).encode() + (path.read_bytes() if path.is_file() else b""))
    return digest.hexdigest()


def test_corpus_has_150_different_payloads(world: Path) -> None:
    assert len(set(corpus(world))) >= 150


def test_resolve_inside_never_leaves(world: Path) -> None:
    real = world.resolve()
    for payload in corpus(world):
        for parts in ((payload,), ("sub", payload), (payload, "x")):
            try:
                path = resolve_inside(world, *parts)
            except UserError as error:
                assert error.code == "path.outside", payload
                continue
            final = Path(os.path.realpath(path))
            assert final == real or real in final.parents, payload


@pytest.mark.parametrize(
    "payload",
    [
        "..",
        "../proj_evil",
        "out/secret.txt",
        "file_link",
        "dangling",
        "prefix/secret.txt",
        "up",
        "a\\b",
        "C:x",
        "/etc",
        "a\x00",
        "loop/x",
    ],
)
def test_resolve_inside_refuses(world: Path, payload: str) -> None:
    with pytest.raises(UserError, match="outside"):
        resolve_inside(world, payload)


@pytest.mark.parametrize("payload", ["a", "a/b.txt", "你好/🦊.png", "a b", ".hidden", "sub/../a", "not/there/yet"])
def test_resolve_inside_accepts(world: Path, payload: str) -> None:
    assert resolve_inside(world, payload) == world.resolve() / os.path.normpath(payload)


def test_ids_from_outside_reach_nothing(world: Path) -> None:
    """Opening, deleting, restoring and run ids with the whole corpus: refused, and nothing changes anywhere."""
    project = create_project(world, "mine")
    before = fingerprint(world.parent, without=world)
    inside = sorted(path.relative_to(world) for path in world.rglob("*"))
    for payload in corpus(world):
        for call in (
            lambda text=payload: open_project(world, text),
            lambda text=payload: delete_project(world, text),
            lambda text=payload: restore_project(world, text),
            lambda text=payload: run_folder(project, text),
        ):
            with pytest.raises(UserError):
                call()
    assert fingerprint(world.parent, without=world) == before
    assert sorted(path.relative_to(world) for path in world.rglob("*")) == inside


def test_titles_from_outside_make_folders_inside_only(world: Path) -> None:
    before = fingerprint(world.parent, without=world)
    for payload in corpus(world):
        try:
            project = create_project(world, payload, trigger_word=payload)
        except UserError as error:
            assert error.code == "project.title", payload
            continue
        assert project.folder.parent == world
        assert project.dataset_folder(10).parent == (project.folder / "dataset").resolve()
    assert fingerprint(world.parent, without=world) == before


@given(st.text(max_size=300))
def test_safe_name_is_one_legal_name(text: str) -> None:
    name = safe_name(text)
    assert name and name not in (".", "..") and not set(name) & set('<>:"/\\|?*\x00')
    assert len(name.encode()) <= MAX_NAME_BYTES + 1
    assert name == name.strip(" .") and name.split(".")[0].lower() not in {"con", "prn", "aux", "nul", "com1", "lpt9"}
    assert safe_name(name) == name


@pytest.mark.parametrize("text", RESERVED)
def test_safe_name_avoids_reserved_names(text: str) -> None:
    assert safe_name(text) == f"_{text}"


def test_safe_name_keeps_letters_of_any_script() -> None:
    assert safe_name("红发 少女 – v2") == "红发 少女 – v2"
    assert safe_name("...") == "untitled"
    assert safe_name("a/b\\c:d") == "a_b_c_d"
