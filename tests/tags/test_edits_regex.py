"""A user's regular expressions: hostile ones end in a sentence, and none of them in this process."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lib_lora_train.errors import UserError
from lib_lora_train.tags.edits import EditContext, edit_of, regex_worker
from lib_lora_train.tags.edits.regexes import found_spans, substituted
from lib_lora_train.tags.proposing import propose
from tests.helpers.sheets import item

HANGS = [("(a+)+$", "a" * 40 + "!"), (r"(.*a){20}b", "a" * 60), (r"(\w+\s?)+:", "word " * 12)]


@pytest.mark.parametrize(("pattern", "text"), HANGS, ids=[pattern for pattern, _ in HANGS])
def test_a_pattern_that_never_ends_is_ended(pattern: str, text: str) -> None:
    ticks = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(0.02):
            ticks.append(time.monotonic())

    clock = threading.Thread(target=tick)
    clock.start()
    try:
        with pytest.raises(UserError) as caught:
            substituted("find", pattern, "x", [text], False, seconds=0.4)
    finally:
        stop.set()
        clock.join()
    assert (caught.value.code, caught.value.where) == ("edits.pattern_slow", "find")
    assert len(ticks) > 1  # other threads went on meanwhile: it held no lock of this interpreter


def test_the_worker_ends_itself_when_nobody_waits() -> None:
    command = [sys.executable, "-I", "-S", "-B", regex_worker.__file__]
    task = (
        b'{"how": "spans", "patterns": ["(a+)+$"], "texts": ["' + b"a" * 40 + b'!"], "ignore_case": false,'
        b' "most": 9, "seconds": 0.3, "memory": 1500000000}'
    )
    done = subprocess.run(command, input=task, capture_output=True, timeout=60, check=False)
    assert done.returncode != 0 and done.stdout == b""


@pytest.mark.parametrize("pattern", ["(", "[", "*", "(?P<a", "a{2,1}", r"\9", "(?<=a*)b", "(?P<1>a)"])
def test_a_pattern_with_a_mistake_is_named(pattern: str) -> None:
    for edit in (
        {"kind": "replace", "find": pattern, "how": "regex"},
        {"kind": "remove", "tags": [pattern], "how": "regex"},
    ):
        with pytest.raises(UserError) as caught:
            propose([item("hat")], edit_of(edit), EditContext())
        assert caught.value.code == "edits.pattern"
        assert pattern in caught.value.sentence() and pattern in caught.value.sentence("zh-CN")


@pytest.mark.parametrize("replacement", [r"\1", r"\g<name>", r"\g<", "\\"])
def test_groups_that_do_not_exist_are_named(replacement: str) -> None:
    with pytest.raises(UserError) as caught:
        substituted("find", "hat", replacement, ["hat"], False)
    assert caught.value.code == "edits.pattern"


@pytest.mark.parametrize(
    ("pattern", "replacement", "text"),
    [("", "x" * 1000, "a" * 60_000), ("a", r"\g<0>" * 150, "a" * 2000), ("(.*)", r"\1" * 200, "ab" * 30_000)],
)
def test_what_grows_too_large_is_refused(pattern: str, replacement: str, text: str) -> None:
    with pytest.raises(UserError) as caught:
        substituted("find", pattern, replacement, [text], False)
    assert caught.value.code == "edits.pattern_large"


def test_deep_and_large_patterns_are_refused() -> None:
    for pattern in ("(" * 240 + ")" * 240, "a{99999999999999999999}"):
        try:
            found_spans("tags", [pattern], ["a"], False)
        except UserError as error:
            assert error.code in ("edits.pattern", "edits.pattern_large"), pattern


def test_spans_and_texts() -> None:
    assert found_spans("tags", ["a", "B"], ["xab", "b", "c"], False) == {"xab": [(1, 2)]}
    assert found_spans("tags", ["a", "B"], ["xab", "b", "c"], True) == {"xab": [(1, 2), (2, 3)], "b": [(0, 1)]}
    assert found_spans("tags", ["x*"], ["ab"], False) == {"ab": []}  # found, but nothing of it
    assert found_spans("tags", ["["], [], False) == {}
    assert substituted("find", r"(\w)(\d)", r"\2\1", ["a1", "雨2", "b"], False) == {"a1": "1a", "雨2": "2雨"}
    assert substituted("find", "a", r"\n\0", ["a"], False) == {"a": " "}  # stays one line, without control characters


def test_a_worker_that_cannot_start_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for program in (str(tmp_path / "gone"), "", sys.executable):
        monkeypatch.setattr(sys, "executable", program)
        if program == sys.executable:
            monkeypatch.setattr("lib_lora_train.tags.edits.regexes._WORKER", tmp_path / "gone.py")
        with pytest.raises(UserError) as caught:
            found_spans("tags", ["a"], ["a"], False)
        assert caught.value.code == "edits.no_worker"
