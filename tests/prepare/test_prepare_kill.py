"""A process that dies while a project is prepared: the data set is the old one or the new one, whole."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from lib_lora_train.collection.entries import list_pictures
from lib_lora_train.collection.locking import settle
from lib_lora_train.errors import UserError
from lib_lora_train.prepare.one_pass import Passing
from lib_lora_train.prepare.undoing import list_undo, undo
from lib_lora_train.project import Project, open_project
from tests.collection.tools import tree
from tests.helpers.preparing import ROOT, photo_project, settings, tools

STEPS = ("check", "crop", "tag")
VALUES = {"taggers": ["demo-tagger"], "existing": "append", "threshold": 0.5}
CHILD = """
import sys
from pathlib import Path
from tests.helpers.preparing import settings, tools
from lib_lora_train.prepare.one_pass import Passing
from lib_lora_train.project import open_project
project, kit = open_project(Path(sys.argv[1]), sys.argv[2]), tools(Path(sys.argv[3]))
print("ready", flush=True)
Passing(project, kit, settings(tag={"taggers": ["demo-tagger"], "existing": "append", "threshold": 0.5})).run(
    ("check", "crop", "tag"), apply_it=True)
"""


def child(project: Project, models: Path) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", CHILD, str(project.root), project.id, str(models)]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def copy(project: Project, to: Path) -> Project:
    shutil.copytree(project.folder, to / project.id)
    return open_project(to, project.id)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("prepared", [True, False], ids=["while applying", "anywhere"])
def test_killed(tmp_path: Path, prepared: bool) -> None:
    """`prepared`: everything is known already, so that most of the time goes into the moves."""
    kit = tools(tmp_path / "models")
    base = photo_project(tmp_path / "base", 6)
    chosen = settings(tag=VALUES)
    if prepared:
        Passing(base, kit, chosen).run(STEPS)
    before = tree(base, "dataset", "masks")
    whole = copy(base, tmp_path / "whole")
    began = time.monotonic()
    process = child(whole, kit.store.folder)
    assert process.wait(60) == 0
    seconds = time.monotonic() - began
    after = tree(whole, "dataset", "masks")
    assert after != before
    kills, draws = int(os.environ.get("LORA_TRAIN_KILLS", "3")), random.Random(3)
    for point in range(kills):
        project = copy(base, tmp_path / f"killed{point}")
        process = child(project, kit.store.folder)
        time.sleep(draws.uniform(0, 1.0) * seconds * (0.6 if prepared else 1.0))
        process.kill()
        process.wait()
        settle(project)
        now = tree(project, "dataset", "masks")
        assert now in (before, after), point
        for picture in list_pictures(project):
            assert picture.problem is None
        for path in (project.folder / "dataset").rglob("*"):
            assert path.is_dir() or path.stat().st_size > 0
            if path.suffix == ".png":
                with Image.open(path) as image:
                    image.load()
        entries = list_undo(project)
        if now == after and draws.random() < 0.5:
            undo(project, entries[0].id)
            assert tree(project, "dataset", "masks") == before
        Passing(project, kit, chosen).run(STEPS, apply_it=True)
        assert tree(project, "dataset", "masks") == after
        assert list_undo(project)
        undo(project, list_undo(project)[0].id)
        assert tree(project, "dataset", "masks") == before
        assert {path.name for path in (project.folder / "images").iterdir()} == {f"{number}.png" for number in range(6)}
        shutil.rmtree(project.root)


LIMITED = """
import resource, signal, sys
from pathlib import Path
from lib_lora_train.errors import UserError
from tests.helpers.preparing import settings, tools
from lib_lora_train.prepare.one_pass import Passing
from lib_lora_train.project import open_project
project, kit = open_project(Path(sys.argv[1]), sys.argv[2]), tools(Path(sys.argv[3]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))
try:
    outcome = Passing(project, kit, settings(crop={"crop": "size"})).run(("check", "crop"), apply_it=True)
    print(*(problem.code for problem in outcome.problems))
except UserError as error:
    print(error.code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits as POSIX has them")
@pytest.mark.parametrize("limit", [0, 300, 3_000])
def test_a_full_disk(tmp_path: Path, limit: int) -> None:
    """Every write fails above so many bytes; what can then not be made is said, and no picture is lost or torn."""
    kit = tools(tmp_path / "models")
    project = photo_project(tmp_path / "base", 3)
    before = tree(project, "dataset", "masks", "images")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", LIMITED, str(project.root), project.id, str(kit.store.folder), str(limit)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert "file.write" in done.stdout
    assert tree(project, "dataset", "masks", "images") == before
    Passing(project, kit, settings(crop={"crop": "size"})).run(("check", "crop"), apply_it=True)
    assert tree(project, "dataset") != before


def test_a_project_that_is_gone_is_one_error(tmp_path: Path) -> None:
    project = photo_project(tmp_path / "base", 1)
    shutil.rmtree(project.folder)
    with pytest.raises(UserError):
        Passing(project, tools(tmp_path / "models"), settings()).run(STEPS, apply_it=True)
