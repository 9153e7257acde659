"""R5: a write that fails leaves the old file whole, no temporary, and says why."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.files import atomic_path, sweep_temporaries, write_bytes, write_json, write_text
from lib_lora_train.job_files import JobRecord, write_record
from lib_lora_train.project import Project, edit_project
from lib_lora_train.settings import TrainSettings
from lib_lora_train.settings.writing import write_settings

OLD = b"old and whole"
FAULTS = {
    "ENOSPC": errno.ENOSPC,
    "EIO": errno.EIO,
    "EACCES": errno.EACCES,
    "EROFS": errno.EROFS,
    "EMFILE": errno.EMFILE,
}


def write_picture(path: Path) -> None:
    with atomic_path(path) as temporary:
        Image.new("RGB", (8, 8)).save(temporary, format="PNG")


def write_project(path: Path) -> None:
    project = Project(path.parent.parent, path.parent.name, "old", "style", "", 0.0)
    edit_project(project, title="new")


WRITERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "weights": ("lora.safetensors", lambda path: write_bytes(path, b"x" * 100_000)),
    "caption": ("1.txt", lambda path: write_text(path, "red hair")),
    "report": ("report.json", lambda path: write_json(path, {"a": 1})),
    "settings": ("run.json", lambda path: write_settings(path, TrainSettings())),
    "grid": ("grid.png", write_picture),
    "job": ("job.json", lambda path: write_record(path.parent, JobRecord("1", "x"))),
    "project": ("project.json", write_project),
}


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("moment", ["flush", "rename"])
def test_a_failed_write_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, fault: str, moment: str
) -> None:
    name, write = WRITERS[writer]
    path = tmp_path / "folder" / name
    path.parent.mkdir()
    path.write_bytes(OLD)

    def fail(*_: object, **__: object) -> None:
        raise OSError(FAULTS[fault], os.strerror(FAULTS[fault]))

    if moment == "flush":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(UserError) as caught:
        write(path)
    monkeypatch.undo()
    assert caught.value.code == "file.write"
    assert caught.value.where == name and os.strerror(FAULTS[fault]) in caught.value.text()
    assert files_below(tmp_path) == {name: OLD}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_write_without_faults_replaces_the_old_file(tmp_path: Path, writer: str) -> None:
    name, write = WRITERS[writer]
    path = tmp_path / "folder" / name
    path.parent.mkdir()
    path.write_bytes(OLD)
    write(path)
    assert files_below(tmp_path).keys() == {name} and path.read_bytes() != OLD


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_really_full_disk(tmp_path: Path) -> None:
    """The system itself refuses the bytes: a file size limit in a process of its own."""
    path = tmp_path / "lora.safetensors"
    path.write_bytes(OLD)
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from lib_lora_train.errors import UserError; from lib_lora_train.files import write_bytes\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n    write_bytes(Path(sys.argv[1]), b'x' * 100000)\n"
        "except UserError as error:\n    print(error.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "file.write"
    assert files_below(tmp_path) == {path.name: OLD}


def test_an_error_of_the_writer_itself_passes_through(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(OLD)
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"loss": float("nan")})
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert files_below(tmp_path) == {"a.json": OLD}


def test_temporary_names_are_never_models(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "lora.safetensors") as temporary:
        temporary.write_bytes(b"x")
        assert temporary.parent == tmp_path and temporary.name.startswith(".") and temporary.suffix == ".tmp"


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".lora.safetensors.1234abcd.tmp").write_bytes(b"half")
    (tmp_path / "keep.tmp").write_bytes(b"")
    (tmp_path / ".keep").write_bytes(b"")
    assert sweep_temporaries(tmp_path) == 1
    assert files_below(tmp_path).keys() == {"keep.tmp", ".keep"}


def test_text_keeps_its_line_ends_and_letters(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "红发\r\nb\n")
    assert (tmp_path / "a.txt").read_bytes() == "红发\r\nb\n".encode()
    write_json(tmp_path / "a.json", {"红": 1})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"红": 1}


def test_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "x")
    assert (tmp_path / "a" / "b" / "c.txt").read_text(encoding="utf-8") == "x"


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(OLD)
    with pytest.raises(UserError) as caught:
        write_text(tmp_path / "a" / "b.txt", "x")
    assert caught.value.code == "file.write"
