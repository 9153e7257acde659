"""Processes that die, or come in each other's way, while thousands of captions are edited."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lib_lora_train.collection.history import History
from lib_lora_train.signals import Log

ROOT = Path(__file__).parents[2]

COMMON = """
import json, os, random, signal, sys, time, traceback
from pathlib import Path
os.fsync = lambda _: None  # a process that is killed loses nothing of what the system has taken; and 100 kills are quick
from lib_lora_train.collection.history import History, TextChange
from lib_lora_train.signals import Log
base, seed = Path(sys.argv[1]), int(sys.argv[2])
draws = random.Random(seed)
opened = lambda: History(base, base / ".lora_train/history")
"""

# A process that starts another for every point, kills it there, and looks at what is left.
KILLING = (
    COMMON
    + """
count, kills = int(sys.argv[3]), int(sys.argv[4])
for number in range(count):
    (base / f"{number}.png").write_bytes(b"picture")
text = lambda version, number: f"version {version} of {number}, tag".encode() * 3 if version else None
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.scandir", "os.listdir")
version_at = {0: 0}  # which texts are the truth, by the number of the head
fresh = 0

def disk():
    found = []
    for number in range(count):
        try:
            found.append((base / f"{number}.txt").read_bytes())
        except FileNotFoundError:
            found.append(None)
    return found

def work(history, what, version):
    if what == "apply":
        now = version_at[history.head]
        history.append([TextChange(f"{n}.txt", text(now, n), text(version, n)) for n in range(count)], Log("history.caption"))
    elif what == "undo":
        history.undo(history.head)
    elif what == "redo":
        history.redo(history.ends()[1].number)
    history.finish()

def run(what, version, event=0, seconds=None):
    # killed before so many uses of the file system, or after so much time
    child = os.fork()
    if child == 0:
        seen = 0
        def hook(name, _):
            nonlocal seen
            if name in EVENTS:
                seen += 1
                if event and seen >= event:
                    os.kill(os.getpid(), signal.SIGKILL)
        try:
            sys.addaudithook(hook)
            work(opened(), what, version)
            (base / ".seen").write_text(str(seen))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]

began = time.monotonic()
status = run("apply", 1)
seconds, events = time.monotonic() - began, int((base / ".seen").read_text())
assert status == 0 and disk() == [text(1, n) for n in range(count)]
version_at[opened().head] = fresh = 1
counts = {"died": 0, "old": 0, "new": 0, "torn": 0}
possible = {1}  # versions that may be on the disk
for point in range(kills):
    history = opened()
    ends = history.ends()
    what = draws.choice(["apply", "undo", "redo"])
    if ends[0] is None and what == "undo" or ends[1] is None and what == "redo":
        what = "apply"
    fresh += what == "apply"
    head = history.head
    if point % 4:
        status = run(what, fresh, event=draws.randint(1, draws.choice([40, events * 9 // 10])))
    else:
        status = run(what, fresh, seconds=draws.random() * seconds)
    assert status in (0, signal.SIGKILL), point  # the former when less was left to do than at first
    counts["died"] += status == signal.SIGKILL
    history = opened()
    if history.head not in version_at:
        version_at[history.head] = fresh
    possible |= {version_at[history.head]}
    found = disk()
    legal = [{text(version, n) for version in possible} for n in range(count)]
    assert all(data in each for data, each in zip(found, legal)), point
    assert b"" not in found
    counts["new" if history.head != head else "old"] += 1
    total, entries = history.log(0, 10)
    assert history.trouble is None and len(entries) == min(total, 10)
    assert all(entry.in_force == (entry.number <= history.head) and entry.number in version_at for entry in entries)
    counts["torn"] += len({data == text(version_at[history.head], n) for n, data in enumerate(found)}) == 2
    truth = {change.key: change.after for change in history.pending}
    shown = [truth.get(f"{n}.txt", data) for n, data in enumerate(found)]
    assert shown == [text(version_at[history.head], n) for n in range(count)], point
    if draws.random() < 0.7:  # else the next one finds it as it is
        assert history.finish().left == ()
        assert disk() == shown and not list(base.glob(".caption-*"))
        possible = {version_at[history.head]}
history = opened()
assert history.finish().left == ()
history.rollback(0)
assert history.finish().left == () and disk() == [None] * count
print(json.dumps(counts))
"""
)

WRITING = (
    COMMON
    + """
from lib_lora_train.errors import UserError
print("ready", flush=True)
sys.stdin.readline()
history, refused = opened(), 0
for turn in range(10):
    while True:
        head = history.head
        texts = {f"{n}.png": f"{seed} {turn} {n}" for n in draws.sample(range(40), 25)}
        try:
            entry = history.append(history.changes_for(texts), Log("history.caption"), {"by": seed}, expected_head=head)
            break
        except UserError as error:
            assert error.code == "history.changed", error
            refused += 1
    if draws.random() < 0.5:
        assert history.finish().left == ()
    if draws.random() < 0.4:
        try:
            history.undo(entry.number)
        except UserError as error:
            assert error.code == "history.not_newest", error
print(refused)
"""
)


def start(code: str, *words: object) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_killed_anywhere(tmp_path: Path) -> None:
    """Of a batch of 1,000 files at 100 random points: each file is old or new, the journal tells which, and whoever
    comes next completes it."""
    kills = int(os.environ.get("LORA_TRAIN_KILLS", "100"))
    memory = Path("/dev/shm")  # where 100,000 files are quick
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        process = start(KILLING, folder, 5, 1_000, kills)
        output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    counts = json.loads(output)
    assert counts["died"] >= 0.6 * kills and counts["torn"] >= 0.05 * kills and counts["old"] and counts["new"], counts


def test_three_processes_at_once(tmp_path: Path) -> None:
    """Each upon what the others did; undone, everything is as it was, redone, as they left it."""
    for number in range(40):
        (tmp_path / f"{number}.png").write_bytes(b"picture")
        (tmp_path / f"{number}.txt").write_bytes(b"first")
    processes = [start(WRITING, tmp_path, seed) for seed in (1, 2, 3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    outputs = [process.communicate("go\n", timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    history = History(tmp_path, tmp_path / ".lora_train/history")
    assert history.finish().left == () and history.trouble is None
    last, head = texts(tmp_path), history.head
    total, entries = history.log(0, 100)
    assert len(entries) == total >= 10 and {entry.note["by"] for entry in entries} <= {1, 2, 3}
    history.rollback(0)
    assert history.finish().left == () and set(texts(tmp_path).values()) == {b"first"}
    history.forward(head)
    assert history.finish().left == () and texts(tmp_path) == last
    assert not list(tmp_path.rglob("*.tmp"))


def test_threads_that_share_a_history(tmp_path: Path) -> None:
    """While one writes the files, others edit, undo and read."""
    for number in range(150):
        (tmp_path / f"{number}.png").write_bytes(b"picture")
    history = History(tmp_path, tmp_path / ".lora_train/history")

    def write(by: int) -> None:
        for turn in range(3):
            mine = {f"{n}.png": f"{by} {turn}" for n in range(by * 50, by * 50 + 50)}
            with guard:  # only so that the entry is still the newest when it is undone
                entry = history.append(history.changes_for(mine), Log("history.caption"))
                history.undo(entry.number)
                history.redo(entry.number)
            assert history.finish().left == ()
            assert {change.after for change in history.pending} <= legal

    guard = threading.Lock()
    legal = {None, *(b"%d %d" % (by, turn) for by in range(3) for turn in range(3))}
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    assert history.finish().left == ()
    assert texts(tmp_path) == {f"{n}.txt": b"%d 2" % (n // 50) for n in range(150)}


FULL = """
import resource, signal, sys
from pathlib import Path
from lib_lora_train.collection.history import History
from lib_lora_train.errors import UserError
from lib_lora_train.signals import Log
base = Path(sys.argv[1])
history = History(base, base / ".lora_train/history")
changes = history.changes_for({"0.png": "new", "1.png": "long " * 1_000, "2.png": "new"})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    history.append(changes, Log("history.caption"))
    history.finish()
except UserError as error:
    print(error.code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits as POSIX has them")
@pytest.mark.parametrize(("limit", "head"), [(0, 0), (100, 0), (2_000, 1)])
def test_a_full_disk(tmp_path: Path, limit: int, head: int) -> None:
    """Every write fails above so many bytes: one error; what is in the journal is written when there is room again."""
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"picture")
        (tmp_path / f"{number}.txt").write_bytes(b"old")
    output, errors = start(FULL, tmp_path, limit).communicate(timeout=60)
    assert (output, errors) == ("file.write\n", "")
    history = History(tmp_path, tmp_path / ".lora_train/history")
    assert history.head == head and history.settled == (head == 0)
    assert set(texts(tmp_path).values()) == ({b"old", b"new"} if head else {b"old"})
    assert history.finish().left == () and history.settled
    assert texts(tmp_path)["1.txt"] == (b"long " * 1_000 if head else b"old")
    assert not list(tmp_path.rglob("*.tmp"))


def texts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.txt")}
