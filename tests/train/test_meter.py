import json
import math

import pytest
import torch

from lib_lora_train.errors import UserError
from lib_lora_train.signals import Log, Step
from lib_lora_train.train.meter import Meter, drop_steps_after
from lib_lora_train.train.state import Progress

CPU = torch.device("cpu")
RATES = {"unet": 1e-4, "text_encoder": 5e-5}


def meter(tmp_path, events, progress=None):
    return Meter(tmp_path / "metrics.jsonl", "", events.append, progress or Progress(), (100, 4), CPU)


def add(subject, step, loss, norm=1.0, skipped=False):
    subject.add(step, 1, torch.tensor(loss), torch.tensor(norm), RATES, skipped)


def test_each_step_is_an_event_and_a_line(tmp_path):
    events, progress = [], Progress()
    subject = meter(tmp_path, events, progress)
    add(subject, 1, 0.5)
    add(subject, 2, 0.25)
    subject.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 0.5), (2, 0.25)]
    assert lines[0]["learning_rates"] == RATES and lines[0]["total_steps"] == 100
    steps = [event for event in events if isinstance(event, Step)]
    assert [event.loss for event in steps] == [0.5, 0.25]
    assert steps[1].remaining == pytest.approx(98 / steps[1].steps_per_second, rel=1e-6)
    assert progress.elapsed > 0


def test_smoothed_loss_by_hand_and_over_a_stop(tmp_path):
    progress = Progress(step=1, loss_smoothed=1.0)
    subject = meter(tmp_path, [], progress)
    add(subject, 2, 0.3)
    share = 2 / 7
    assert progress.loss_smoothed == pytest.approx(share + 0.3 * (1 - share))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_number_that_is_not_finite_stops_with_step_and_last_file(tmp_path, bad, what):
    subject = meter(tmp_path, [], Progress(checkpoints=["ada-000002.safetensors"]))
    add(subject, 7, 0.5)
    with pytest.raises(UserError) as error:
        add(subject, 8, bad if what == "loss" else 0.5, bad if what == "gradient" else 1.0)
    assert error.value.code == "train.non_finite"
    assert all(part in error.value.sentence() for part in (what, "step 8", "ada-000002.safetensors"))


def test_a_step_skipped_for_overflow_is_no_fault(tmp_path):
    subject = meter(tmp_path, [])
    add(subject, 1, 0.5, math.inf, skipped=True)
    with pytest.raises(UserError):
        add(subject, 2, math.inf, math.inf, skipped=True)


def test_slow_steps_are_noticed_once(tmp_path):
    events = []
    subject = meter(tmp_path, events)
    for pace in [0.1] * 20 + [0.5] * 40:
        subject._durations = [*subject._durations[-19:], pace]
        subject._watch_pace(pace, 1)
    logs = [event for event in events if isinstance(event, Log)]
    assert [log.code for log in logs] == ["train.slower"]
    assert logs[0].values["factor"] >= 3


def test_lines_after_the_resumed_step_and_cut_lines_go(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in range(1, 6)) + '{"step": 6, "lo')
    drop_steps_after(path, 3)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_tensorboard_is_said_to_be_missing_or_written(tmp_path):
    events = []
    subject = Meter(
        tmp_path / "run" / "metrics.jsonl", str(tmp_path / "logs"), events.append, Progress(), (100, 4), CPU
    )
    add(subject, 1, 0.5)
    subject.close()
    said = any(isinstance(event, Log) and event.code == "train.no_tensorboard" for event in events)
    written = list((tmp_path / "logs").glob("run/events*"))
    assert said != bool(written)
