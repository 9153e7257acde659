"""What the WebUI itself runs: install.py, preload.py, scripts/lora_train.py."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import install
import preload

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\s;<>=!\[]", item)[0] for item in requirements}


def test_install_adds_what_pyproject_says() -> None:
    wanted = names(PROJECT["optional-dependencies"]["webui"])
    assert wanted == {"onnxruntime", "tomli"}
    assert set(install.NEEDED.values()) | {"tomli"} == wanted
    assert ("tomli" in install.NEEDED) == (sys.version_info < (3, 11))


@pytest.mark.parametrize(
    ("constraints", "extras"), [("standalone.txt", ("standalone", "dev")), ("a1111.txt", ("gradio3",))]
)
def test_every_package_of_the_extras_is_pinned(constraints: str, extras: tuple[str, ...]) -> None:
    lines = (ROOT / "constraints" / constraints).read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0] for line in lines}
    for extra in extras:
        assert names(PROJECT["optional-dependencies"][extra]) <= pinned
    assert names(PROJECT["dependencies"]) - {"tomli"} <= pinned


def test_the_webuis_own_versions_are_its() -> None:
    """What WebUI 1.10.1 pins, as its requirements_versions.txt has it."""
    lines = (ROOT / "constraints" / "a1111.txt").read_text(encoding="utf-8").splitlines()
    webui = {"numpy==1.26.2", "pillow==9.5.0", "protobuf==3.20.0", "gradio==3.41.2", "fastapi==0.94.0",
             "httpx==0.24.1", "httpcore==0.15.0"}  # fmt: skip
    assert webui <= set(lines)


def test_nothing_is_installed_when_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "install", lambda requirements: pytest.fail("pip was called"))
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda name: object())
    install.main()


def test_everything_that_is_there_becomes_a_constraint(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    seen: dict[str, list[str]] = {}

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess:
        file = Path(command[command.index("-c") + 1])
        seen["constraints"] = file.read_text(encoding="utf-8").splitlines()
        seen["command"] = command
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(install.subprocess, "run", run)
    monkeypatch.setenv("INDEX_URL", "https://mirror.example.org/simple")
    assert install.install(["onnxruntime"]) is False
    assert f"torch=={torch.__version__}" in seen["constraints"]
    assert "--upgrade" not in seen["command"] and seen["command"][-2:] == [
        "--index-url",
        "https://mirror.example.org/simple",
    ]


def test_constraints_can_be_read_by_pip(tmp_path: Path) -> None:
    """A dry run against this very environment: pip accepts the file and finds nothing to change."""
    file = tmp_path / "installed.txt"
    file.write_text("\n".join(install.installed_versions()), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "-c", str(file), "pillow"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "already satisfied" in done.stdout, done.stderr


def test_skip_install_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMANDLINE_ARGS", "--api --skip-install")
    monkeypatch.setattr(install, "missing", lambda: pytest.fail("it looked"))
    install.main()


def test_a_start_without_network_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(install, "missing", lambda: ["onnxruntime"])
    monkeypatch.setattr(install, "install", lambda requirements: False)
    install.main()
    assert "onnxruntime" in capsys.readouterr().out


def test_preload_needs_nothing_but_argparse() -> None:
    parser = argparse.ArgumentParser()
    preload.preload(parser)
    options = vars(parser.parse_args([]))
    assert options == {"lora_train_dir": None, "lora_train_open_rest": False}


# Whatever is imported of a WebUI is there, and does nothing; `load` tells what the extension asks to be called for.
STAND_IN = """
import importlib.abc, importlib.machinery, importlib.util, sys, types
from unittest.mock import MagicMock
class Anything(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        setattr(self, name, MagicMock(name=f"{self.__name__}.{name}"))
        return vars(self)[name]
class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "modules":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        return Anything(spec.name)
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, Finder())
folder = sys.argv[1]
def load():
    from modules import script_callbacks
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location("lora_train", folder + "/scripts/lora_train.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    sys.path.remove(folder)
    return {given["category"] for _, _, given in script_callbacks.add_callback.mock_calls}
"""


def test_the_script_loads_as_the_webui_loads_it(tmp_path: Path) -> None:
    """With the extension's folder on sys.path only now, and another working directory; it imports nothing heavy."""
    code = f"{STAND_IN}\nprint(*sorted(load()), 'torch' in sys.modules, 'gradio' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    words = done.stdout.split()
    assert {"app_started", "script_unloaded", "ui_settings", "ui_tabs", "after_component", "infotext_pasted"} == set(
        words[:-2]
    )
    assert words[-2:] == ["False", "False"]


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_the_checks_are_a_script_that_stops_at_the_first_failure() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text(encoding="utf-8")
    assert "set -euo pipefail" in text and "standalone.py test" in text and "ruff check" in text
