"""Events as lines on a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from lib_lora_train import progress as module
from lib_lora_train.progress import Progress, bar, clock, columns, speed, step_line
from lib_lora_train.signals import Log, Sampled, Saved, Stage, Step


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def step(number: int, total: int = 100) -> Step:
    return Step(number, total, 1, 10, 0.123456, 0.1, {"unet": 1e-4}, 0.5, 2.0, 0, 1.0, 3723.4)


def test_pieces() -> None:
    assert bar(0, 10) == "[" + "." * 12 + "]"
    assert bar(5, 10) == "[" + "#" * 6 + "." * 6 + "]"
    assert bar(11, 10) == "[" + "#" * 12 + "]"
    assert bar(0, 0) == "[" + "." * 12 + "]"
    assert [clock(seconds) for seconds in (0, 59.6, 61, 3723, -5)] == ["0:00", "1:00", "1:01", "1:02:03", "0:00"]
    assert [speed(rate) for rate in (3.14159, 0.25, 0.0)] == ["3.14 it/s", "4.00 s/it", "0.00 it/s"]


def test_a_line_fits_into_80_columns() -> None:
    long = Step(1600, 1600, 100, 100, 0.1, 0.1234, {}, 1.0, 12.34, 0, 1.0, 36000.0)
    assert columns(step_line(long)) < 80 and columns(step_line(long, "zh-CN")) < 80
    assert columns("第 1 轮") == 7


def test_a_step_shows_place_loss_speed_and_time_left() -> None:
    assert step_line(step(25)) == "25/100 [###.........] epoch 1/10  loss 0.1000  2.00 it/s  1:02:03 left"
    assert step_line(step(25), "zh-CN").endswith("第 1/10 轮  损失 0.1000  2.00 it/s  剩余 1:02:03")


def test_the_bar_stays_on_one_line_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REDRAW_SECONDS", 0.0)
    stream = Terminal()
    progress = Progress(stream)
    for number in (1, 2, 100):
        progress(step(number))
    text = stream.getvalue()
    assert text.count("\n") == 1 and text.endswith("\n") and text.count("\r") == 4
    assert text.index("1/100") < text.index("2/100") < text.index("100/100")


def test_a_terminal_is_not_flooded() -> None:
    stream = Terminal()
    progress = Progress(stream)
    for number in range(1, 1000):
        progress(step(number, 100_000))
    assert stream.getvalue().count("epoch") <= 2


def test_a_file_gets_few_whole_lines_and_the_last_step() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    for number in range(1, 101):
        progress(step(number))
    lines = stream.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["1/100", "100/100"]


def test_lines_of_words_leave_no_rest_of_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REDRAW_SECONDS", 0.0)
    stream = Terminal()
    progress = Progress(stream)
    progress(step(1))
    progress(Saved(Path("out/alice-000001.safetensors"), 10, 1))
    shown = stream.getvalue().split("\n")[0].split("\r")[-1]
    assert shown == "saved alice-000001.safetensors (step 10)"


def test_every_event_has_its_words_in_both_languages() -> None:
    for language, saved in (("en", "saved a.safetensors (step 1)"), ("zh-CN", "已保存 a.safetensors（第 1 步）")):
        stream = io.StringIO()
        progress = Progress(stream, language)
        progress(Log("settings.ignored", {"name": "xformers"}))
        progress(Stage("cli.stopped"))
        progress(Stage("cli.stopped", 1, 2))
        progress(Sampled(Path("s.png"), 1, "a prompt", 3))
        progress(Saved(Path("a.safetensors"), 1, 1))
        lines = stream.getvalue().splitlines()
        assert len(lines) == 5 and lines[-1] == saved and "xformers" in lines[0]


def test_a_value_that_is_no_format_is_shown_as_it_is() -> None:
    stream = io.StringIO()
    Progress(stream)(Log("settings.ignored", {"name": "{x} %s"}))
    assert "{x} %s" in stream.getvalue()
