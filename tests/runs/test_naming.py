"""No two files under the LoRA folder share a stem, whatever projects are called."""

from __future__ import annotations

import json
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import HostPaths
from lib_lora_train.project import create_project, edit_project
from lib_lora_train.runs.naming import base_name, find_lora, fold, lora_files, loras_folder, take_name


def host_at(folder: Path):
    """Only its folders matter here."""
    return SimpleNamespace(paths=HostPaths(folder / "projects", folder / "loras", folder / "models"))


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


@pytest.mark.parametrize(
    ("title", "base"),
    [
        ("Alice", "Alice"),
        ("爱丽丝 与 猫", "爱丽丝 与 猫"),
        ('a/b\\c:d*e?f"g<h>i|j', "a_b_c_d_e_f_g_h_i_j"),
        ("Alice-r02", "Alice_r02"),
        ("Alice-R02-000010", "Alice_R02-000010"),
        ("x-r1-r2-r3", "x_r1_r2_r3"),
        ("Spider-red", "Spider-red"),
        ("..", "lora"),
        ("con", "_con"),
        ("v1.5 model", "v1.5 model"),
        ("长" * 200, "长" * 40),
    ],
)
def test_titles_become_names(title: str, base: str) -> None:
    assert base_name(title) == base


def test_a_project_keeps_its_name_and_another_one_gets_another(tmp_path: Path) -> None:
    host, root = host_at(tmp_path), tmp_path / "projects"
    first, second, third = (create_project(root, title) for title in ("Alice", "Alice", "ALICE"))
    names = [take_name(host, project, "r01") for project in (first, second, third)]
    assert [name.base for name in names] == ["Alice", "Alice 2", "ALICE 3"]
    assert [name.name for name in names] == ["Alice-r01", "Alice 2-r01", "ALICE 3-r01"]
    assert take_name(host, second, "r07").name == "Alice 2-r07"
    renamed = edit_project(first, title="Bob")
    assert take_name(host, renamed, "r02").base == "Bob"
    assert take_name(host, create_project(root, "Alice"), "r01").base == "Alice 4"


def test_names_of_files_that_are_there_are_not_given(tmp_path: Path) -> None:
    host, root = host_at(tmp_path), tmp_path / "projects"
    project = create_project(root, "Alice")
    touch(tmp_path / "loras/downloads/alice-r01-000003.safetensors")
    assert take_name(host, project, "r01").base == "Alice 2"
    assert take_name(host, project, "r02").base == "Alice"
    touch(tmp_path / "loras/Alice-r02.pt")
    assert take_name(host, project, "r02").base == "Alice 2"
    touch(tmp_path / "loras/Alice-r033.safetensors")  # another number
    assert take_name(host, project, "r03").base == "Alice"
    touch(loras_folder(host, project) / "Alice-r04-000001.safetensors")  # its own, from before it was resumed
    assert take_name(host, project, "r04").base == "Alice"


def test_two_that_come_at_once_get_two_names(tmp_path: Path) -> None:
    host, root = host_at(tmp_path), tmp_path / "projects"
    projects = [create_project(root, "Alice") for _ in range(8)]
    barrier = threading.Barrier(8)

    def take(project) -> str:
        barrier.wait()
        return take_name(host, project, "r01").name

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(take, projects))
    assert sorted(names) == sorted(["Alice-r01", *(f"Alice {number}-r01" for number in range(2, 9))])


def test_a_reservation_that_was_cut_costs_a_name_and_no_more(tmp_path: Path) -> None:
    host, root = host_at(tmp_path), tmp_path / "projects"
    take_name(host, create_project(root, "Alice"), "r01")
    (reserved,) = (root / ".names").iterdir()
    assert json.loads(reserved.read_text(encoding="utf-8"))["name"] == "Alice"
    reserved.write_bytes(b"")
    assert take_name(host, create_project(root, "Alice"), "r01").base == "Alice 2"


TITLES = st.lists(
    st.text("aA-r01 2.é漢", min_size=1, max_size=8).filter(lambda text: text.strip()), min_size=2, max_size=6
)


@settings(max_examples=25)
@given(TITLES, st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_stems_never_meet(titles: list[str], runs: list[int]) -> None:
    """Runs of projects in any order, all their files written, the last one of each published."""
    with tempfile.TemporaryDirectory() as folder:
        host, root = host_at(Path(folder)), Path(folder) / "projects"
        projects = [create_project(root, title) for title in titles]
        made: dict[str, int] = {}
        for chosen in runs:
            project = projects[chosen % len(projects)]
            made[project.id] = number = made.get(project.id, 0) + 1
            name = take_name(host, project, f"r{number:02d}")
            for file in (f"{name.name}-000001", f"{name.name}-step00000002"):
                assert fold(file) not in {fold(path.stem) for path in lora_files(host.paths.loras)}
                touch(loras_folder(host, project) / f"{file}.safetensors")
            if fold(name.base) not in {fold(path.stem) for path in lora_files(host.paths.loras)}:
                touch(host.paths.loras / f"{name.base}.safetensors")
        stems = [fold(path.stem) for path in lora_files(host.paths.loras)]
        assert len(stems) == len(set(stems))


def test_loras_are_found_by_name_only(tmp_path: Path) -> None:
    host = host_at(tmp_path)
    path = touch(tmp_path / "loras/p/Alice-r01-000001.safetensors")
    touch(tmp_path / "loras/.hidden/secret.safetensors")
    touch(tmp_path / "outside.safetensors")
    assert find_lora(host, "Alice-r01-000001") == find_lora(host, path.name) == path
    for name in ("secret", "../outside", "../outside.safetensors", str(path), "p/Alice-r01-000001", "", "none"):
        with pytest.raises(UserError) as caught:
            find_lora(host, name)
        assert caught.value.code == "run.no_lora"
