"""One job runs, the others wait; watched, told things, read from disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lib_lora_train.errors import UserError
from lib_lora_train.job_files import EVENTS, LOCK, RECORD, FolderLock, read_events, read_job
from lib_lora_train.jobs import MAX_WAITING, Job, Registry, Work
from lib_lora_train.signals import Commands, EventSink, Log, Stage, Stopped

ROOT = Path(__file__).parents[2]


@pytest.fixture
def registry() -> Iterator[Registry]:
    registry = Registry()
    yield registry
    assert registry.close(timeout=10)


def until_stopped(events: EventSink, commands: Commands) -> str:
    while not commands.stopping:
        time.sleep(0.002)
    return "stopped"


def at_once(events: EventSink, commands: Commands) -> str:
    return "done"


def eventually(condition: Callable[[], object]) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.002)
    return False


def test_a_job_runs_to_its_end(registry: Registry, tmp_path: Path) -> None:
    def work(events: EventSink, commands: Commands) -> str:
        events(Stage("cli.stopped", 1, 2))
        return "done"

    job = registry.start("alice", tmp_path / "r01", work, owner="me")
    assert job.wait(10) and job.state == "done"
    record = read_job(tmp_path / "r01")
    assert record == job.record
    assert (record.state, record.title, record.owner, record.attempt, record.pid) == (
        "done",
        "alice",
        "me",
        1,
        os.getpid(),
    )
    assert record.created <= record.started <= record.ended
    (event,) = read_events(tmp_path / "r01")[0]
    assert event["code"] == "cli.stopped" and record.started <= event["time"] + 0.01 <= record.ended + 0.02
    assert registry.running() is None and registry.find(job.id) is job


def test_jobs_wait_in_line_and_move_up(registry: Registry, tmp_path: Path) -> None:
    jobs = [registry.start(f"job {n}", tmp_path / f"r{n}", until_stopped) for n in range(4)]
    assert [job.state for job in jobs] == ["running", "queued", "queued", "queued"]
    assert [read_job(job.folder).place for job in jobs] == [0, 1, 2, 3]
    registry.stop(jobs[1])
    assert jobs[1].state == "stopped" and jobs[1].finished.is_set()
    assert [job.record.place for job in registry.waiting()] == [1, 2]
    registry.stop(jobs[0])
    assert eventually(lambda: jobs[2].state == "running")
    assert eventually(lambda: read_job(jobs[3].folder).place == 1)


def test_the_line_can_be_put_in_another_order(registry: Registry, tmp_path: Path) -> None:
    running, *waiting = [registry.start(f"{n}", tmp_path / f"r{n}", until_stopped) for n in range(5)]

    def titles() -> list[str]:
        assert [job.record.place for job in registry.waiting()] == [1, 2, 3, 4]
        assert [read_job(job.folder).place for job in registry.waiting()] == [1, 2, 3, 4]
        return [job.title for job in registry.waiting()]

    registry.move(waiting[3], 1)
    assert titles() == ["4", "1", "2", "3"]
    registry.move(waiting[0], 3)
    assert titles() == ["4", "2", "1", "3"]
    registry.move(waiting[1], 99)
    assert titles() == ["4", "1", "3", "2"]
    registry.move(waiting[1], -5)
    assert titles() == ["2", "4", "1", "3"]
    with pytest.raises(UserError) as caught:
        registry.move(running, 1)
    assert caught.value.code == "job.not_waiting"


def test_the_newest_event_of_each_kind_is_at_hand(registry: Registry, tmp_path: Path) -> None:
    def work(events: EventSink, commands: Commands) -> str:
        for number in range(3):
            events(Stage("x", number))
        events(Log("a"))
        events(Stage("y"))
        return "done"

    job = registry.start("a", tmp_path, work)
    assert job.wait(10) and registry.ended() == [job]
    assert list(job.latest.items()) == [("Log", Log("a")), ("Stage", Stage("y"))]


def test_the_line_has_an_end(registry: Registry, tmp_path: Path) -> None:
    for number in range(1 + MAX_WAITING):
        registry.start("x", tmp_path / f"r{number}", until_stopped)
    with pytest.raises(UserError) as caught:
        registry.start("too many", tmp_path / "more", until_stopped)
    assert caught.value.code == "job.queue_full"
    assert not (tmp_path / "more").exists()


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where the system offers it: thousands of flushed writes, and the test is not about the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder)


def test_ten_starts_at_once_200_times(quick_folder: Path) -> None:
    """R10: never two run, none is lost, none runs twice, and whoever is not taken is told so."""
    inside, most, ran = [0], [0], []
    guard = threading.Lock()

    def work_of(name: str) -> Work:
        def work(events: EventSink, commands: Commands) -> str:
            with guard:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                ran.append(name)
            started.wait(10)
            with guard:
                inside[0] -= 1
            return "done"

        return work

    def press(number: int) -> Job | str:
        barrier.wait()
        try:
            return registry.start("x", quick_folder / f"r{number}", work_of(f"{number}"))
        except UserError as error:
            return error.code

    with ThreadPoolExecutor(10) as pool:
        for _ in range(200):
            registry, barrier, started = Registry(), threading.Barrier(10), threading.Event()
            ran.clear()
            results = list(pool.map(press, range(10)))
            jobs = [result for result in results if isinstance(result, Job)]
            assert [result for result in results if isinstance(result, str)] == ["job.queue_full"]
            assert sum(job.state == "running" for job in jobs) == 1
            assert [job.record.place for job in registry.waiting()] == list(range(1, MAX_WAITING + 1))
            started.set()
            assert all(job.wait(10) for job in jobs)
            assert sorted(ran) == sorted(str(n) for n, result in enumerate(results) if isinstance(result, Job))
    assert most == [1]


def test_a_folder_has_one_job_at_a_time(registry: Registry, tmp_path: Path) -> None:
    job = registry.start("a", tmp_path, until_stopped)
    with pytest.raises(UserError) as caught:
        registry.start("b", tmp_path, at_once)
    assert caught.value.code == "job.busy"
    registry.stop(job)
    job.wait(10)
    again = registry.start("a", tmp_path, at_once)
    assert again.wait(10) and again.record.attempt == 2


def test_work_that_was_cut_short_is_stopped(registry: Registry, tmp_path: Path) -> None:
    def work(events: EventSink, commands: Commands) -> str:
        raise Stopped

    job = registry.start("a", tmp_path, work)
    assert job.wait(10) and read_job(tmp_path).state == "stopped" and job.record.error is None


def test_errors_become_states(registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def user_error(events: EventSink, commands: Commands) -> str:
        raise UserError("train.no_checkpoint", "checkpoint")

    def bug(events: EventSink, commands: Commands) -> str:
        raise ZeroDivisionError("secret detail")

    def wrong_answer(events: EventSink, commands: Commands) -> str:
        return "fine"

    jobs = [registry.start("job", tmp_path / f"r{n}", work) for n, work in enumerate((user_error, bug, wrong_answer))]
    assert all(job.wait(10) for job in jobs)
    records = [read_job(job.folder) for job in jobs]
    assert [record.state for record in records] == ["failed"] * 3
    assert [record.error["code"] for record in records] == ["train.no_checkpoint", "job.failed", "job.failed"]
    assert set(records[0].error) == {"code", "where", "sentence", "remedy", "values"}
    on_disk = "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.json*"))
    assert "secret detail" not in on_disk and "Traceback" not in on_disk
    assert "secret detail" in caplog.text and "ZeroDivisionError" in records[1].error["sentence"]
    assert all(record.can_resume for record in records)


def test_after_a_failure_the_next_one_runs(registry: Registry, tmp_path: Path) -> None:
    def bug(events: EventSink, commands: Commands) -> str:
        raise MemoryError

    registry.start("a", tmp_path / "a", bug)
    job = registry.start("b", tmp_path / "b", at_once)
    assert job.wait(10) and job.state == "done"


def test_commands_reach_the_work(registry: Registry, tmp_path: Path) -> None:
    seen = []

    def work(events: EventSink, commands: Commands) -> str:
        while not commands.stopping:
            if commands.paused:
                seen.append("paused")
                commands.wait_while_paused()
                seen.append("on")
            seen.extend(["save"] * commands.take_save() + ["sample"] * commands.take_sample())
            time.sleep(0.001)
        return "stopped" if commands.saves_on_stop else "done"

    job = registry.start("a", tmp_path, work)
    for command, name in (
        (job.commands.save_now, "save"),
        (job.commands.sample_now, "sample"),
        (job.commands.pause, "paused"),
        (job.commands.resume, "on"),
    ):
        command()
        assert eventually(lambda name=name: name in seen)
    registry.stop(job, save=True)
    assert job.wait(10) and job.state == "stopped"
    assert seen == ["save", "sample", "paused", "on"]


def test_any_number_of_readers(registry: Registry, tmp_path: Path) -> None:
    ready, go = threading.Event(), threading.Event()

    def work(events: EventSink, commands: Commands) -> str:
        ready.set()
        go.wait(10)
        for number in range(100):
            events(Stage("x", number, 100))
        return "done"

    job = registry.start("a", tmp_path, work)
    ready.wait(10)
    readers = [job.subscribe() for _ in range(5)]
    left = job.subscribe()
    job.unsubscribe(left)
    go.set()
    for reader in readers:
        assert [reader.get(10).done for _ in range(100)] == list(range(100))
        assert reader.get(10) is None and reader.ended
    assert left.ended
    late = job.subscribe()
    assert late.get(10) is None and late.ended
    assert [event["done"] for event in read_events(tmp_path)[0]] == list(range(100))


def test_a_slow_reader_loses_the_oldest_and_holds_up_nobody(registry: Registry, tmp_path: Path) -> None:
    go = threading.Event()

    def work(events: EventSink, commands: Commands) -> str:
        go.wait(10)
        for number in range(10_100):
            events(Stage("x", number))
        return "done"

    job = registry.start("a", tmp_path, work)
    reader = job.subscribe()
    go.set()
    assert job.wait(30)
    assert reader.get(0).done == 100


def test_events_are_read_on_from_where_one_was(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / EVENTS).write_bytes(b'{"event": "Log", "code": "a"}\n{"event": "torn')
    events, offset = read_events(tmp_path)
    assert [event["code"] for event in events] == ["a"] and offset == 30

    def work(events: EventSink, commands: Commands) -> str:
        events(Log("b"))
        return "done"

    registry.start("x", tmp_path, work).wait(10)
    more, end = read_events(tmp_path, offset)
    assert [event["code"] for event in more] == ["b"]
    assert read_events(tmp_path, end) == ([], end)
    assert read_events(tmp_path / "none") == ([], 0)


def test_a_full_disk_ends_the_record_and_not_the_work(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()

    def work(events: EventSink, commands: Commands) -> str:
        go.wait(10)
        for number in range(3):
            events(Stage("x", number))
        return "done"

    job = registry.start("a", tmp_path, work)
    reader = job.subscribe()
    (tmp_path / EVENTS).mkdir()  # cannot be opened for appending
    go.set()
    assert job.wait(10) and job.state == "done"
    kinds = [type(reader.get(10)).__name__ for _ in range(4)]
    assert kinds == ["Stage", "Log", "Stage", "Stage"]


def test_closing_stops_everything(tmp_path: Path) -> None:
    registry = Registry()
    jobs = [registry.start("x", tmp_path / f"r{n}", until_stopped) for n in range(3)]
    assert registry.close(timeout=10)
    assert [job.state for job in jobs] == ["stopped"] * 3
    with pytest.raises(UserError):
        registry.start("x", tmp_path / "late", at_once)


def test_closing_can_save_first(tmp_path: Path) -> None:
    def work(events: EventSink, commands: Commands) -> str:
        until_stopped(events, commands)
        return "done" if commands.saves_on_stop else "stopped"

    registry = Registry()
    running, waiting = [registry.start("x", tmp_path / f"r{n}", work) for n in range(2)]
    assert registry.close(timeout=10, save=True)
    assert running.state == "done" and waiting.state == "stopped"


def test_unknown_jobs_are_said(registry: Registry) -> None:
    with pytest.raises(UserError) as caught:
        registry.find("none")
    assert caught.value.code == "job.unknown"


# ---------------------------------------------------------------------- other processes, and death

CHILD = """
import sys, time
from pathlib import Path
from lib_lora_train.jobs import Registry
from lib_lora_train.signals import Stage

def work(events, commands):
    for number in range(100000):
        events(Stage("x", number))
        time.sleep(0.001)
    return "done"

registry = Registry()
registry.start("running", Path(sys.argv[1]) / "r1", work)
registry.start("queued", Path(sys.argv[1]) / "r2", work)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def child(tmp_path: Path) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_another_process_reads_along_and_sees_the_death(
    child: subprocess.Popen, tmp_path: Path, registry: Registry
) -> None:
    assert [read_job(tmp_path / name).state for name in ("r1", "r2")] == ["running", "queued"]
    assert eventually(lambda: len(read_events(tmp_path / "r1")[0]) > 5)
    with pytest.raises(UserError) as caught:
        registry.start("second", tmp_path / "r1", at_once)
    assert caught.value.code == "job.busy"

    os.kill(child.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    child.wait()
    dead = [read_job(tmp_path / name) for name in ("r1", "r2")]
    assert [record.state for record in dead] == ["interrupted", "interrupted"]
    assert dead[0].can_resume and dead[0].pid == child.pid and dead[1].place == 0

    again = registry.start("resumed", tmp_path / "r1", at_once)
    assert again.wait(10) and read_job(tmp_path / "r1").state == "done"
    assert again.record.attempt == 2


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"version": 1}', '{"version": 9, "id": "a", "title": "b"}'])
def test_a_damaged_record_is_said(registry: Registry, tmp_path: Path, content: str) -> None:
    (tmp_path / RECORD).write_text(content, encoding="utf-8")
    for look in (lambda: read_job(tmp_path), lambda: registry.start("x", tmp_path, at_once)):
        with pytest.raises(UserError) as caught:
            look()
        assert caught.value.code == "job.damaged"
    assert FolderLock.take(tmp_path) is not None  # and nothing holds the folder


def test_no_job_is_no_error(tmp_path: Path) -> None:
    assert read_job(tmp_path) is None
    assert not FolderLock.held(tmp_path)


def test_a_number_that_belongs_to_somebody_else_does_not_keep_a_job_alive(tmp_path: Path) -> None:
    """A record of this very process, without its lock: a process number alone proves nothing."""
    record = {"version": 1, "id": "a", "title": "b", "state": "running", "pid": os.getpid()}
    (tmp_path / RECORD).write_text(json.dumps(record), encoding="utf-8")
    (tmp_path / LOCK).touch()
    assert read_job(tmp_path).state == "interrupted"


def test_a_job_that_has_written_its_end_lets_go_a_moment_later(tmp_path: Path) -> None:
    held = FolderLock.take(tmp_path)
    (tmp_path / RECORD).write_text('{"state": "running"}', encoding="utf-8")
    assert FolderLock.take(tmp_path) is None
    (tmp_path / RECORD).write_text('{"state": "done"}', encoding="utf-8")
    timer = threading.Timer(0.3, held.release)
    timer.start()
    taken = FolderLock.take(tmp_path)
    assert taken is not None
    taken.release()
    timer.join()


def test_around_a_job(registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is to be done before and after is, in the job's thread, before the next one, and decides nothing about it."""
    heard: list[str] = []

    def before(job: Job) -> None:
        heard.append(f"before {job.title}")
        if job.title == "refused":
            raise Stopped

    def after(job: Job, outcome: str) -> None:
        heard.append(f"after {job.title} {outcome} while {job.state}")
        job.send(Log("said.after"))
        if job.title == "clumsy":
            raise ZeroDivisionError

    def fails(events: EventSink, commands: Commands) -> str:
        raise UserError("job.unknown", "x")

    registry.around(before, after)
    works = {"clumsy": at_once, "failing": fails, "refused": at_once, "running": until_stopped, "waiting": at_once}
    jobs = {title: registry.start(title, tmp_path / title, work) for title, work in works.items()}
    assert eventually(lambda: "before running" in heard)
    registry.stop(jobs["waiting"])
    assert registry.close(10)
    assert heard == [
        "before clumsy", "after clumsy done while running", "before failing", "after failing failed while running",
        "before refused", "after refused stopped while running", "before running", "after waiting stopped while stopped",
        "after running stopped while running",
    ]  # fmt: skip
    assert [jobs[title].state for title in works] == ["done", "failed", "stopped", "stopped", "stopped"]
    assert "after job" in caplog.text and "ZeroDivisionError" in caplog.text
    assert [each["code"] for each in read_events(tmp_path / "failing")[0]] == ["job.ended_by_error", "said.after"]


def test_what_never_ran_is_followed_by_nothing_when_all_is_closed(tmp_path: Path) -> None:
    registry, heard = Registry(), []
    registry.around(lambda job: None, lambda job, outcome: heard.append(job.title))
    first = registry.start("first", tmp_path / "first", until_stopped)
    registry.start("second", tmp_path / "second", at_once)
    assert registry.close(10) and first.state == "stopped" and heard == ["first"]
