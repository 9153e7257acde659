"""Schedules against diffusers and tables worked out by hand, and the WebUI's step strings."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.errors import UserError
from lib_lora_train.messages import message
from lib_lora_train.settings.tables import SCHEDULES, OptimizerSettings
from lib_lora_train.train.schedules import RatePlan, RateSchedule, parse_rate, rate_at, rate_factor

# (schedule, warm-up, cycles, power) -> factors of steps 0..8 in a run of 8
PINNED = {
    ("constant", 2, 1, 1.0): [1, 1, 1, 1, 1, 1, 1, 1, 1],
    ("constant_with_warmup", 4, 1, 1.0): [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1],
    ("linear", 2, 1, 1.0): [0, 0.5, 1, 5 / 6, 4 / 6, 0.5, 2 / 6, 1 / 6, 0],
    ("cosine", 0, 1, 1.0): [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(9)],
    ("cosine_with_restarts", 0, 2, 1.0): [1, 0.8535533906, 0.5, 0.1464466094, 1, 0.8535533906, 0.5, 0.1464466094, 0],
    ("polynomial", 2, 1, 2.0): [0, 0.5, 1, 25 / 36, 16 / 36, 9 / 36, 4 / 36, 1 / 36, 0],
}


@pytest.mark.parametrize("case", PINNED, ids=lambda case: case[0])
def test_factors_are_the_pinned_ones(case):
    schedule, warmup, cycles, power = case
    factors = [rate_factor(schedule, step, 8, warmup, cycles, power) for step in range(9)]
    assert factors == pytest.approx(PINNED[case], abs=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 7])
def test_rates_are_those_of_diffusers(schedule, warmup):
    optimization = pytest.importorskip("diffusers.optimization")
    total, rate = 40, 3e-4
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    theirs = optimization.get_scheduler(schedule, optimizer, None, warmup, total, num_cycles=3, power=1.7)
    settings = OptimizerSettings(
        learning_rate=str(rate),
        lr_scheduler=schedule,
        lr_warmup_steps=warmup,
        lr_scheduler_num_cycles=3,
        lr_scheduler_power=1.7,
    )
    ours = RateSchedule(settings, total)
    for step in range(total + 2):
        assert ours.at(step)["unet"] == pytest.approx(theirs.get_last_lr()[0], rel=1e-12, abs=1e-18), step
        optimizer.step()
        theirs.step()


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="sawtooth"):
        rate_factor("sawtooth", 0, 10)


def test_polynomial_ends_at_kohyas_end_rate():
    settings = OptimizerSettings(learning_rate="1e-4", unet_lr="2e-4", lr_scheduler="polynomial")
    assert RateSchedule(settings, 10).at(10) == pytest.approx({"unet": 2e-7, "text_encoder": 1e-7})


def test_a_step_string_holds_each_rate_up_to_and_including_its_step():
    plan = parse_rate("0.005:100, 1e-3:1000, 1e-5")
    assert plan.pieces == ((0.005, 100), (1e-3, 1000), (1e-5, -1))
    # Optimizer steps count from 0, so the 100th is step 99.
    assert [rate_at(plan, step) for step in (0, 99, 100, 999, 1000, 10**9)] == [0.005, 0.005, 1e-3, 1e-3, 1e-5, 1e-5]
    assert rate_at(parse_rate("1e-3:10, 1e-4:20"), 25) == 1e-4
    assert str(plan) == "0.005:100, 0.001:1000, 1e-05"
    assert parse_rate("1e-4:-1").pieces == ((1e-4, -1),)
    assert parse_rate("１e-4：１０，２e-4").pieces == ((1e-4, 10), (2e-4, -1))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "rate.empty"),
        ("  ", "rate.empty"),
        ("fast", "rate.number"),
        ("1e-4,", "rate.number"),
        ("-1e-4", "rate.number"),
        ("nan", "rate.number"),
        ("inf", "rate.number"),
        ("1e999", "rate.number"),
        ("1_0", "rate.number"),
        ("1e-4:", "rate.step"),
        ("1e-4:1.5", "rate.step"),
        ("1e-4:ten", "rate.step"),
        ("1e-4:0", "rate.order"),
        ("1e-4:10, 1e-5:10", "rate.order"),
        ("1e-4, 1e-5", "rate.unreached"),
        ("1e-4:-1, 1e-5:5", "rate.unreached"),
    ],
)
def test_errors_name_the_field(text, code):
    with pytest.raises(UserError) as caught:
        parse_rate(text, "unet_lr")
    assert caught.value.code == code
    assert "unet_lr" in caught.value.text("en") and "unet_lr" in caught.value.text("zh-CN")


def test_a_wrong_rate_in_settings_names_its_own_field():
    with pytest.raises(UserError) as caught:
        RateSchedule(OptimizerSettings(text_encoder_lr="slow"), 10)
    assert caught.value.where == "text_encoder_lr"


rates = st.floats(min_value=0, max_value=1e6)
plans = st.builds(
    lambda ends, values, last: RatePlan(
        (*zip(values, sorted(ends), strict=False), *([(last, -1)] if last is not None else []))
    ),
    st.sets(st.integers(1, 10**6), min_size=1, max_size=6),
    st.lists(rates, min_size=6, max_size=6),
    st.none() | rates,
)


@given(plans)
def test_printing_and_parsing_round_trip(plan):
    assert parse_rate(str(plan)) == plan


@given(plans, st.integers(0, 10**6))
def test_a_rate_changes_only_at_an_end(plan, step):
    if rate_at(plan, step) != rate_at(plan, step + 1):
        assert step + 1 in [end for _, end in plan.pieces]
    assert rate_at(plan, step) in [rate for rate, _ in plan.pieces]


@given(
    st.sampled_from(SCHEDULES),
    st.integers(0, 50),
    st.integers(0, 60),
    st.integers(1, 50),
    st.integers(1, 5),
    st.floats(0.1, 5),
)
def test_factors_stay_between_zero_and_one(schedule, step, warmup, total, cycles, power):
    assert 0.0 <= rate_factor(schedule, step, total, warmup, cycles, power) <= 1.0


def test_step_strings_and_schedules_multiply():
    settings = OptimizerSettings(
        learning_rate="1e-4", unet_lr="1e-3:2, 1e-4", text_encoder_lr="0", lr_scheduler="linear"
    )
    schedule = RateSchedule(settings, 4)
    assert [schedule.at(step)["unet"] for step in range(4)] == pytest.approx([1e-3, 7.5e-4, 5e-5, 2.5e-5])
    assert {schedule.at(step)["text_encoder"] for step in range(4)} == {0.0}


def test_schedule_free_optimizers_keep_their_rate():
    settings = OptimizerSettings(optimizer_type="AdamWScheduleFree", lr_scheduler="cosine", lr_warmup_steps=5)
    schedule = RateSchedule(settings, 10)
    assert [schedule.at(step)["unet"] for step in (0, 9)] == [1e-4, 1e-4]
    assert [note.code for note in schedule.notes()] == ["rate.no_schedule"]


@pytest.mark.parametrize(
    ("settings", "codes"),
    [
        (OptimizerSettings(), []),
        (OptimizerSettings(lr_warmup_steps=10), ["rate.no_warmup"]),
        (OptimizerSettings(lr_scheduler="cosine", lr_warmup_steps=100), ["rate.all_warmup"]),
        (OptimizerSettings(learning_rate="1e-3:10, 1e-4:50"), ["rate.ends_early"]),
        (OptimizerSettings(unet_lr="1e-3:10", text_encoder_lr="1e-4:100"), ["rate.ends_early"]),
    ],
)
def test_what_has_no_effect_is_said(settings, codes):
    notes = RateSchedule(settings, 100).notes()
    assert [note.code for note in notes] == codes
    for note in notes:
        for language in ("en", "zh-CN"):
            assert message(note.code, language, **note.values)
