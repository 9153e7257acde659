"""install.py as a WebUI runs it, in an environment of its own and with packages of the test's own making."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ["onnxruntime"] + (["tomli"] if sys.version_info < (3, 11) else [])


def write_wheel(folder: Path, name: str, version: str, requires: str = "") -> None:
    """A package of one empty module, called as the package is."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name.removesuffix('_gpu')}.py", "")
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


class Place:
    """An environment with pip, and a folder of packages in place of an index."""

    def __init__(self, folder: Path) -> None:
        self.packages = folder / "packages"
        self.packages.mkdir()
        venv.create(folder / "venv", with_pip=True)
        self.python = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.log = folder / "pip.log"
        own = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.packages), "PIP_LOG": str(self.log)}
        kept = {name: value for name, value in os.environ.items() if name != "COMMANDLINE_ARGS"}
        self.environment = {**{name: value for name, value in kept.items() if not name.startswith("PIP_")}, **own}

    def run(self, *words: str) -> str:
        command = [str(self.python), *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout

    def freeze(self) -> set[str]:
        return set(self.run("-m", "pip", "freeze", "--all").split("\n"))

    def install(self) -> bool:
        """Runs install.py; whether pip was called."""
        self.log.unlink(missing_ok=True)
        self.run(str(ROOT / "install.py"))
        return self.log.exists()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    for name in NEEDED:
        write_wheel(place.packages, name, "1.0", "hostlib")
        write_wheel(place.packages, name, "2.0", "hostlib>=2")  # the newest would drag the host's along
    write_wheel(place.packages, "hostlib", "1.0")
    write_wheel(place.packages, "hostlib", "2.0")
    place.run("-m", "pip", "install", "hostlib==1.0")
    return place


def test_only_additions_and_no_pip_at_the_second_start(place: Place) -> None:
    before = place.freeze()
    assert place.install()
    after = place.freeze()
    assert before < after
    assert {line.split("==")[0] for line in after - before} == set(NEEDED)
    assert "onnxruntime==1.0" in after and "hostlib==1.0" in after
    assert not place.install()
    assert place.freeze() == after


def test_what_does_not_fit_is_left_out(place: Place) -> None:
    for path in place.packages.glob("*-1.0-*"):
        path.unlink()
    before = place.freeze()
    assert place.install()
    assert place.freeze() == before


def test_any_build_of_onnxruntime_will_do(place: Place) -> None:
    write_wheel(place.packages, "onnxruntime_gpu", "1.0")
    others = [name for name in NEEDED if name != "onnxruntime"]
    place.run("-m", "pip", "install", "onnxruntime_gpu", *others)
    before = place.freeze()
    assert not place.install()
    assert place.freeze() == before
