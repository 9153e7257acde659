"""Properties of the undo journal: whatever is done in whatever order, and wherever a process dies, the files come to
hold the bytes of the entries in force."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib_lora_train.collection.history import Entry, History, TextChange, writing
from lib_lora_train.collection.history.records import read_changes, read_entry, write_entry
from lib_lora_train.signals import Log

TITLE = Log("history.caption")
KEYS = ("a.txt", "a.caption", "b.txt", "sub/c.txt")
BYTES = st.none() | st.binary(max_size=6) | st.sampled_from([b"", b"\x00", b"\xff\xfe\r\n", b"x" * 5_000])
TEXTS = st.dictionaries(st.sampled_from(KEYS), BYTES, max_size=4)
STEPS = st.one_of(
    st.tuples(st.just("edit"), TEXTS),
    st.tuples(st.just("undo"), st.none()),
    st.tuples(st.just("redo"), st.none()),
    st.tuples(st.just("rollback"), st.integers(0, 5)),
    st.tuples(st.just("forward"), st.integers(0, 5)),
    st.tuples(st.just("finish"), st.none()),
    st.tuples(st.just("die"), st.integers(0, 3)),
    st.tuples(st.just("again"), st.none()),
)
QUICK = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
State = dict[str, "bytes | None"]


class Dead(BaseException):
    """In the place of a signal that ends the process."""


@pytest.fixture(autouse=True)
def _unflushed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What survives a power cut cannot be seen here; without it hundreds of examples are quick."""
    monkeypatch.setattr("os.fsync", lambda _: None)
    yield


def new_folder(folder: str) -> Path:
    base = Path(folder)
    (base / "sub").mkdir()
    for name in ("a.png", "b.png", "sub/c.png"):
        (base / name).write_bytes(b"picture")
    return base


def opened(base: Path) -> History:
    return History(base, base / ".lora_train" / "history")


def on_disk(base: Path) -> State:
    return {key: (base / key).read_bytes() if (base / key).exists() else None for key in KEYS}


def write(base: Path, state: State) -> None:
    for key, text in state.items():
        (base / key).unlink(missing_ok=True)
        if text is not None:
            (base / key).write_bytes(text)


class Model:
    """The states one after the other, and where among them one is."""

    def __init__(self, first: State) -> None:
        self.states, self.numbers, self.at = [first], [0], 0

    @property
    def now(self) -> State:
        return self.states[self.at]

    def edit(self, history: History, texts: State) -> None:
        changes = [TextChange(key, self.now[key], text) for key, text in texts.items()]
        entry = history.append(changes, TITLE, expected_head=self.numbers[self.at])
        del self.states[self.at + 1 :], self.numbers[self.at + 1 :]
        self.states.append(self.now | texts)
        self.numbers.append(entry.number)
        self.at += 1

    def go(self, history: History, how: str, index: int | None) -> None:
        if how == "undo" and self.at:
            assert history.undo(self.numbers[self.at]).number == self.numbers[self.at]
            self.at -= 1
        elif how == "redo" and self.at + 1 < len(self.states):
            assert history.redo(self.numbers[self.at + 1]).in_force
            self.at += 1
        elif how == "rollback" and index is not None and index <= self.at:
            assert len(history.rollback(self.numbers[index])) == self.at - index
            self.at = index
        elif how == "forward" and index is not None and self.at < index < len(self.states):
            assert len(history.forward(self.numbers[index])) == index - self.at
            self.at = index


def die(history: History, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends in the middle of writing, after so many files."""
    real, done = writing.Writer._replace, [0]

    def replace(self: writing.Writer, *arguments: object) -> None:
        if done[0] == after:
            raise Dead
        done[0] += 1
        real(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(writing.Writer, "_replace", replace)
        try:
            history.finish()
        except Dead:
            return


@QUICK
@given(first=st.fixed_dictionaries(dict.fromkeys(KEYS, BYTES)), steps=st.lists(STEPS, max_size=14))
def test_any_order(first: State, steps: list[tuple[str, object]], monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = new_folder(folder)
        write(base, first)
        history, model = opened(base), Model(first)
        for what, value in steps:
            if what == "edit":
                model.edit(history, dict(value))  # type: ignore[call-overload]
            elif what == "finish":
                history.finish()
                assert on_disk(base) == model.now
            elif what == "die":
                die(history, int(value), monkeypatch)  # type: ignore[call-overload]
                history = opened(base)
            elif what == "again":
                history = opened(base)
            else:
                model.go(history, what, value)  # type: ignore[arg-type]
            assert history.head == model.numbers[model.at]
            truth = on_disk(base) | {change.key: change.after for change in history.pending}
            assert truth == model.now
            entries = history.log()[1]
            assert [entry.number for entry in entries] == model.numbers[:0:-1]
            assert [entry.in_force for entry in entries] == [number <= history.head for number in model.numbers[:0:-1]]
        assert opened(base).finish().left == ()
        assert on_disk(base) == model.now
        opened(base).rollback(0)
        assert opened(base).finish().left == ()
        assert on_disk(base) == first
        assert not list(base.rglob("*.tmp"))


@QUICK
@given(
    first=st.fixed_dictionaries(dict.fromkeys(KEYS, BYTES)),
    edits=st.lists(TEXTS, min_size=1, max_size=4),
    theirs=st.dictionaries(st.sampled_from(KEYS), st.just(b"theirs"), min_size=1),
    when=st.integers(0, 4),
)
def test_what_another_program_wrote_stays(first: State, edits: list[State], theirs: State, when: int) -> None:
    """At any moment, also before the files followed: after undoing everything it is still there, all else is back."""
    with tempfile.TemporaryDirectory() as folder:
        base = new_folder(folder)
        write(base, first)
        history, model = opened(base), Model(first)
        for number, texts in enumerate(edits):
            if number == when:
                history.finish()
            model.edit(history, texts)
        write(base, theirs)
        history.finish()
        history.rollback(0)
        left = set(history.finish().left)
        touched = {
            key for number, texts in enumerate(edits) for key in texts if model.states[number][key] != texts[key]
        }
        assert on_disk(base) == first | theirs
        assert left == touched & set(theirs)


@QUICK
@given(
    changes=st.dictionaries(st.text(max_size=9), st.tuples(BYTES, BYTES), max_size=5),
    note=st.dictionaries(st.text(), st.text()),
)
def test_entries_are_read_as_they_were_written(changes: dict[str, tuple[bytes, bytes]], note: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "00000012-0123abcd.entry"
        wanted = tuple(TextChange(key, *texts) for key, texts in changes.items())
        entry = Entry(12, 5.25, "s", TITLE, 3, note)
        write_entry(path, entry, wanted)
        assert read_entry(path) == entry and read_changes(path) == wanted
