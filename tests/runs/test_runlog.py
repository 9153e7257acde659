"""A run's events as sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib_lora_train.errors import UserError
from lib_lora_train.job_files import EVENTS, EventLog
from lib_lora_train.messages import message
from lib_lora_train.project import Project, create_project, new_run
from lib_lora_train.runs.runlog import Line, read_log
from lib_lora_train.signals import Event, Log, Sampled, Saved, Stage, Step

STEP = Step(1, 10, 1, 1, 0.5, 0.5, {"unet": 1e-4}, 1.0, 2.0, 0, 1.0, 9.0)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = create_project(tmp_path, "x")
    new_run(project)
    return project


def say(project: Project, *events: Event) -> Path:
    log = EventLog(project.path("runs/r01"))
    for event in events:
        log.append(event)
    log.close()
    return project.path("runs/r01") / EVENTS


def texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


def test_every_kind_of_event(project: Project) -> None:
    error = UserError("settings.bounds", "rank", value=3, minimum=4, maximum=8)
    say(
        project,
        *(Stage("dataset.reading", done, 3) for done in range(4)),
        Stage("train.stage_training", 0, 10),
        STEP,
        Log("train.slower", {"factor": 3.5}, "warning"),
        Saved(Path("/secret/place/Alice-r01-000001.safetensors"), 4, 1),
        Sampled(Path("/secret/place/00000004-00.png"), 4, "zuna, <b>hat</b>", 11),
        Log("job.ended_by_error", {"error": error.text(), "details": error.as_record()}, "error"),
    )
    lines, offset = read_log(project, "r01", language="zh-CN")
    assert texts(lines) == [
        message("dataset.reading", "zh-CN"),
        message("train.stage_training", "zh-CN"),
        message("train.slower", "zh-CN", factor=3.5),
        message("run.log_saved", "zh-CN", name="Alice-r01-000001.safetensors", step=4),
        message("run.log_sampled", "zh-CN", step=4, prompt="zuna, <b>hat</b>"),
        f"{error.sentence('zh-CN')} {error.remedy('zh-CN')}",
    ]
    assert [line.level for line in lines] == ["info", "info", "warning", "info", "info", "error"]
    assert all(line.time > 1e9 for line in lines)
    assert "secret" not in str(lines)
    assert texts(read_log(project, "r01")[0])[-1] == f"{error.sentence()} {error.remedy()}"
    assert read_log(project, "r01", offset) == ([], offset)


def test_a_reader_goes_on_from_where_they_were(project: Project) -> None:
    """At every cut the pieces are the whole, and a stage is told once."""
    path = say(project, Stage("dataset.reading", 1, 3), Stage("dataset.reading", 2, 3))
    lines, offset = read_log(project, "r01")
    say(project, STEP, Stage("dataset.reading", 3, 3), Log("run.starts_over"), Stage("dataset.reading", 1, 3))
    more, offset = read_log(project, "r01", offset)
    assert texts(lines + more) == [message("dataset.reading"), message("run.starts_over")]
    say(project, Stage("train.stage_probe"))
    assert texts(read_log(project, "r01", offset)[0]) == [message("train.stage_probe")]
    whole = texts(read_log(project, "r01")[0])
    content = path.read_bytes()
    for cut in range(0, len(content), 7):
        path.write_bytes(content[:cut])
        first, offset = read_log(project, "r01")
        path.write_bytes(content)
        assert texts(first + read_log(project, "r01", offset)[0]) == whole


@pytest.mark.parametrize(
    "line",
    [
        b"{torn", b"\xff\xfe", b"7", b"null", b'{"event": "Later"}', b'{"event": "Saved"}', b'{"event": "Sampled"}',
        b'{"event": "Stage", "code": "no.such"}', b'{"event": "Log", "code": "train.slower", "values": 7}',
        b'{"event": "Log", "code": ["x"]}', b'{"event": "Log", "code": "job.ended_by_error", "values": {"details": {}}}',
    ],
)  # fmt: skip
def test_odd_lines_harm_nothing(project: Project, line: bytes) -> None:
    path = say(project, Log("run.starts_over"))
    path.write_bytes(path.read_bytes() + line + b"\n")
    say(project, Log("run.starts_over"))
    lines = texts(read_log(project, "r01")[0])
    assert lines[0] == lines[-1] == message("run.starts_over") and len(lines) <= 3


def test_a_code_of_another_version_is_shown_as_it_is(project: Project) -> None:
    say(project, Log("later.code", {"x": 1}))
    assert texts(read_log(project, "r01")[0]) == ["later.code"]


def test_offsets_from_nowhere(project: Project) -> None:
    say(project, Log("run.starts_over"))
    for offset in (-1, 10**12):
        assert len(read_log(project, "r01", offset)[0]) == 1
    assert read_log(project, "r01", 3)[0] == []  # in the middle of a line
    with pytest.raises(UserError):
        read_log(project, "../r01")


def test_steps_are_not_even_parsed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import lib_lora_train.runs.runlog as runlog

    say(project, *[STEP] * 500, Log("run.starts_over"))
    parsed = []
    monkeypatch.setattr(runlog.json, "loads", lambda raw, real=json.loads: parsed.append(raw) or real(raw))
    assert len(read_log(project, "r01")[0]) == 1 and len(parsed) == 1
