"""Which place is recommended and why, what stars do, and how the epochs go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.preview.grids import Base, Column, Drawing, Grid, GridPrompt
from lib_lora_train.preview.recommending import column_name, curve, recommend, say
from lib_lora_train.preview.scores import NAMES, Scores, score_names, total_of

PROMPTS = (
    GridPrompt("1girl, zuna, smile", "caption", "caption", ("smile",)),
    GridPrompt("1girl, zuna, kimono", "template", "clothes", ("kimono",)),
    GridPrompt("1girl, smile", "leak", "leak", ("smile",)),
)


def a_grid(epochs: int = 5, weights=(0.0, 0.5, 0.8, 1.0), names=None) -> Grid:
    names = names or [f"zuna-{2 * (number + 1):06d}" for number in range(epochs)]
    return Grid(
        bases=(Base("base", "b"),),
        columns=tuple(
            Column(Path("run") / f"{name}.safetensors", name, f"id {name}", 2 * (place + 1), 100 * (place + 1))
            for place, name in enumerate(names)
        ),
        weights=weights,
        prompts=PROMPTS,
        seeds=(1, 2),
        drawing=Drawing("", "DDIM", 20, 7.0, 512, 512, 1),
        host="embedded",
    )


def scores_of(grid: Grid, likeness, obedience, **others) -> Scores:
    """Functions of (column, weight)."""
    scores = Scores()
    for column in range(len(grid.columns)):
        for weight in grid.weights:
            if weight:
                place = (0, column, weight)
                values = dict.fromkeys(NAMES)
                values |= {"likeness": likeness(column, weight), "obedience": obedience(column, weight)}
                values |= {name: function(column, weight) for name, function in others.items()}
                scores.places[place] = values
                obeyed = values["obedience"]
                scores.obeyed[place] = {} if obeyed is None else {0: min(1.0, obeyed + 0.1), 1: max(0.0, obeyed - 0.1)}
    scores.places[0, -1, 0.0] = dict.fromkeys(NAMES, 0.0)
    return scores


def rising(column: int, weight: float) -> float:
    """Likeness that saturates."""
    return min(1.0, (column + 1) / 3 * weight)


def falling(column: int, weight: float) -> float:
    """Obedience lost from the fourth file on at high weights."""
    return 0.95 - max(0.0, 0.3 * (column - 2) * weight)


def test_the_middle_of_an_overfitted_run_is_taken_and_the_reason_says_why():
    grid = a_grid()
    found = recommend(grid, scores_of(grid, rising, falling))
    assert (found.base, found.column, found.weight) == (0, 2, 1.0)
    assert (
        say(found.reason, grid)
        == 'epoch 6 at 1: as alike as epoch 10 at 1 or nearly so, but still draws "kimono" when asked.'
    )
    chinese = say(found.reason, grid, "zh-CN")
    assert "第 6 轮" in chinese and "kimono" in chinese
    assert len(found.ranking) == 15 and found.ranking[0]["column"] == 2 and not found.starred
    assert json.loads(json.dumps(found.as_dict(grid)))["reason"].startswith("epoch 6 at 1: ")


def test_the_picture_that_shows_it_best_is_no_leak():
    grid = a_grid()
    scores = scores_of(grid, rising, falling)
    found = recommend(grid, scores)
    keys = {grid.cell(0, 2, 1.0, prompt, seed).key: prompt for prompt in range(3) for seed in grid.seeds}
    assert keys[found.cell] in (0, 1)
    leak = grid.cell(0, 2, 1.0, 2, 1).key
    scores.cells = {key: {"likeness": 0.2, "obedience": 0.2} for key in keys} | {leak: {"obedience": 1.0}}
    assert keys[recommend(grid, scores).cell] in (0, 1)
    wanted = grid.cell(0, 2, 1.0, 1, 2).key
    scores.cells = {key: {"likeness": 0.2, "obedience": 0.2} for key in keys} | {
        wanted: {"likeness": 0.9, "obedience": 0.9}
    }
    assert recommend(grid, scores).cell == wanted


def test_the_weight_of_zero_is_never_recommended():
    grid = a_grid(1, (0.0, 1.0))
    scores = scores_of(grid, lambda c, w: 0.0, lambda c, w: 0.0)
    scores.places[0, -1, 0.0] = dict.fromkeys(NAMES, 1.0)
    assert recommend(grid, scores).weight == 1.0


def test_one_lucky_place_among_worse_ones_does_not_win():
    """A few pictures per place say little: a place's neighbours count too."""
    grid = a_grid()
    scores = scores_of(grid, lambda c, w: 0.8 if c >= 3 else 0.72, lambda c, w: 0.8)
    scores.places[0, 0, 0.5]["likeness"] = 0.83
    assert recommend(grid, scores).column >= 3


def test_what_is_clearly_the_best_wins_whatever_lies_beside_it():
    """A LoRA that falls apart above its weight, and does nothing below it."""
    grid = a_grid(1, (-1.0, 0.0, 0.5, 1.0, 1.5))
    likeness = {-1.0: 0.0, 0.5: 0.1, 1.0: 0.9, 1.5: 0.78}
    found = recommend(grid, scores_of(grid, lambda c, w: likeness[w], lambda c, w: 0.9))
    assert found.weight == 1.0
    two = recommend(
        a_grid(1, (-1.0, 0.0, 1.0)), scores_of(a_grid(1, (-1.0, 0.0, 1.0)), lambda c, w: likeness[w], lambda c, w: 0.9)
    )
    assert two.ranking[0]["total"] == pytest.approx(0.9), "a negative weight is no neighbour"


@pytest.mark.parametrize("stars", [3, 4, 5])
def test_stars_win(stars):
    grid = a_grid()
    scores = scores_of(grid, rising, falling)
    key = grid.cell(0, 0, 0.5, 0, 1).key
    found = recommend(grid, scores, {key: stars})
    assert (found.column, found.weight, found.starred, found.cell) == (0, 0.5, True, key)
    assert say(found.reason, grid) == f"epoch 2 at 0.5: you gave it {stars} of 5 stars."


def test_few_stars_put_a_place_behind_all_others():
    grid = a_grid()
    scores = scores_of(grid, rising, falling)
    best = recommend(grid, scores)
    found = recommend(grid, scores, {grid.cell(0, best.column, best.weight, 0, 1).key: 1})
    assert (found.column, found.weight) != (best.column, best.weight) and not found.starred
    assert found.ranking[-1]["column"] == best.column


def test_stars_are_enough_where_nothing_could_be_scored():
    grid = a_grid()
    assert recommend(grid, Scores()) is None
    found = recommend(grid, Scores(), {grid.cell(0, 1, 0.8, 0, 2).key: 4, grid.cell(0, 3, 0.8, 0, 2).key: 5})
    assert (found.column, found.weight) == (3, 0.8)
    assert recommend(grid, Scores(), {"0" * 32: 5, grid.cell(0, 0, 0.0, 0, 1).key: 5}) is None, (
        "of no place with a LoRA"
    )


def test_what_is_switched_off_does_not_count():
    grid = a_grid()
    scores = scores_of(grid, rising, falling)
    scores.on = frozenset({"obedience"})
    found = recommend(grid, scores)
    assert found.column < 2
    assert "alike" not in say(found.reason, grid)
    scores.on = frozenset()
    assert recommend(grid, scores) is None


def test_collapse_is_not_taken_and_is_spoken_of():
    grid = a_grid()
    flat = lambda c, w: 0.9  # noqa: E731
    scores = scores_of(grid, lambda c, w: 0.9 + 0.01 * c, flat, collapse=lambda c, w: 0.8 if c >= 2 else 0.0)
    found = recommend(grid, scores)
    assert found.column < 2 and "without its signs of collapse" in say(found.reason, grid)
    scores = scores_of(grid, flat, flat, collapse=lambda c, w: 0.8)
    scores.signs = dict.fromkeys(scores.places, "jagged")
    said = recommend(grid, scores)
    assert say(said.reason, grid).endswith("Mind: pictures look jagged.")
    assert say(said.reason, grid, "zh-CN").endswith("注意：图片看起来有锯齿。")


@pytest.mark.parametrize(
    ("likeness", "obedience", "said"),
    [
        ((0.9, 0.9), (0.9, 0.9), "both alike and obedient; epoch 4 at 1 is hardly different."),
        ((0.9, 0.6), (0.9, 0.9), "more alike than epoch 4 at 1, and follows the prompts as well."),
        ((0.9, 0.6), (0.8, 0.9), "more alike than epoch 4 at 1, though it follows the prompts less."),
        ((0.9, 0.6), (0.9, 0.5), 'more alike than epoch 4 at 1, and still draws "smile" when asked.'),
        ((0.8, 0.9), (0.9, 0.6), 'less alike than epoch 4 at 1, but still draws "smile" when asked.'),
        ((0.9, 0.9), (0.9, 0.6), 'as alike as epoch 4 at 1 or nearly so, but still draws "smile" when asked.'),
    ],
)
def test_the_reason_is_true(likeness, obedience, said):
    """The first of two files is taken, and held against the last at the full weight."""
    grid = a_grid(2, (0.0, 1.0))
    scores = scores_of(grid, lambda c, w: likeness[c], lambda c, w: obedience[c])
    found = recommend(grid, scores)
    assert found.column == 0 and say(found.reason, grid) == f"epoch 2 at 1: {said}"


def test_a_single_place_is_recommended_with_that_reason():
    grid = a_grid(1, (0.0, 1.0))
    found = recommend(grid, scores_of(grid, lambda c, w: 0.7, lambda c, w: 0.7))
    assert say(found.reason, grid) == "epoch 2 at 1: there is nothing else to compare it with."


def test_a_file_of_another_run_is_called_by_its_name():
    grid = a_grid(2)
    assert column_name(grid, 1) == "epoch 4" and column_name(grid, 1, "zh-CN") == "第 4 轮"
    other = Column(Path("other") / 'a: "<b>" 银.safetensors', 'a: "<b>" 银', "x", 4, 1)
    mixed = Grid(grid.bases, (*grid.columns, other), grid.weights, grid.prompts, grid.seeds, grid.drawing, grid.host)
    assert column_name(mixed, 1) == "zuna-000004" and column_name(mixed, 2) == 'a: "<b>" 银'
    assert 'a: "<b>" 银 at 0.8:' in say(
        recommend(mixed, scores_of(mixed, lambda c, w: 0.9 if (c, w) == (2, 0.8) else 0.1, lambda c, w: 0.5)).reason,
        mixed,
    )


def test_files_of_two_runs_in_one_folder_are_no_neighbours():
    grid = a_grid(4, names=["fire-000002", "fire", "ice-000002", "ice"])
    assert column_name(grid, 0) == "fire-000002"
    scores = scores_of(grid, lambda c, w: 0.9 if c == 1 else 0.8 if c == 0 else 0.0, lambda c, w: 0.9)
    found = recommend(grid, scores)
    totals = {(row["column"], row["weight"]): row["total"] for row in found.ranking}
    assert found.column == 1 and totals[1, 1.0] > totals[0, 1.0] > 0.85
    assert totals[2, 1.0] == totals[3, 1.0], "the other run takes nothing from it"
    assert say(found.reason, grid).startswith("fire at ") and "fire-000002 at 1" in say(found.reason, grid)


def test_the_checkpoint_is_named_where_there_are_several():
    grid = a_grid(2)
    bases = (*grid.bases, Base("other.safetensors", "o"))
    grid = Grid(bases, grid.columns, grid.weights, grid.prompts, grid.seeds, grid.drawing, grid.host)
    scores = scores_of(grid, rising, falling)
    scores.places |= {(1, *place[1:]): values | {"obedience": 1.0} for place, values in scores.places.items()}
    found = recommend(grid, scores)
    assert found.base == 1 and say(found.reason, grid).startswith("epoch 4 at 1 with other.safetensors: ")


def test_braces_in_names_and_prompts_are_only_text():
    grid = a_grid(3, names=["{weight}", "{0}", "{column}"])
    prompts = (PROMPTS[0], GridPrompt("zuna, {x}", "own", "", ("{x}",)), PROMPTS[2])
    grid = Grid(grid.bases, grid.columns, grid.weights, prompts, grid.seeds, grid.drawing, grid.host)
    scores = scores_of(grid, rising, lambda c, w: 0.9 if c < 2 else 0.2)
    assert say(recommend(grid, scores).reason, grid)


number = st.one_of(st.none(), st.floats(0, 1))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sets(st.sampled_from(NAMES)))
def test_whatever_is_known_the_best_is_said_in_words(data, on):
    grid = a_grid(3)
    draws = {name: {} for name in NAMES}

    def value(name):
        return lambda c, w: draws[name].setdefault((c, w), data.draw(number))

    scores = scores_of(grid, *(value(name) for name in NAMES[:2]), **{name: value(name) for name in NAMES[2:]})
    scores.on = frozenset(on)
    found = recommend(grid, scores)
    known = any(scores.total(place) is not None for place in scores.places if place[1] >= 0)
    assert (found is not None) == known
    for language in ("en", "zh-CN"):
        if found is not None:
            assert say(found.reason, grid, language).strip() and "{" not in say(found.reason, grid, language)
        json.dumps(curve(grid, scores).as_dict(grid, language), allow_nan=False)
    if found is not None:
        totals = [row["total"] for row in found.ranking]
        assert totals == sorted(totals, reverse=True)
    assert recommend(grid, scores) == found


# ---------------------------------------------------------------------- over the epochs


def test_the_curve_shows_where_the_subject_is_learnt_and_where_it_is_overfitted():
    grid = a_grid()
    found = curve(grid, scores_of(grid, rising, falling))
    assert [point.epoch for point in found.points] == [2, 4, 6, 8, 10]
    assert (found.learnt, found.over) == (2, 3)
    said = found.as_dict(grid)["notes"]
    assert said[0] == "Underfitted before epoch 6; from there on the subject is met."
    assert said[1].startswith("Overfitted from epoch 8 on")
    assert [point["likeness"] for point in found.as_dict(grid)["points"]] == [0.3333, 0.6667, 1.0, 1.0, 1.0]
    half = curve(grid, scores_of(grid, rising, falling), 0.5)
    assert half.points[0].values["likeness"] == pytest.approx(1 / 6)


def test_a_run_that_is_still_learning_says_so():
    grid = a_grid()
    found = curve(grid, scores_of(grid, lambda c, w: 0.15 * (c + 1), lambda c, w: 0.9))
    assert (found.learnt, found.over) == (4, None)
    assert "more steps may help" in found.as_dict(grid)["notes"][0]


def test_one_bad_file_in_the_middle_is_no_overfitting():
    grid = a_grid()
    assert curve(grid, scores_of(grid, rising, lambda c, w: 0.5 if c == 2 else 0.9)).over is None
    copied = curve(grid, scores_of(grid, rising, lambda c, w: 0.9, copying=lambda c, w: 0.5 * (c >= 3)))
    assert copied.over == 3


def test_files_come_in_the_order_of_training():
    grid = a_grid(3)
    grid = Grid(grid.bases, grid.columns[::-1], grid.weights, grid.prompts, grid.seeds, grid.drawing, grid.host)
    assert [point.column for point in curve(grid, scores_of(grid, rising, falling)).points] == [2, 1, 0]


def with_losses(scores: Scores, losses: dict[int, float]) -> Scores:
    low, high = min(losses.values()), max(losses.values())
    for place, values in scores.places.items():
        if place[1] in losses:
            values["loss"] = (high - losses[place[1]]) / (high - low)
    scores.losses = losses
    return scores


def test_a_loss_that_turns_is_overfitting():
    grid = a_grid()
    even = scores_of(grid, rising, lambda c, w: 0.9)
    found = curve(grid, with_losses(even, {0: 0.14, 1: 0.12, 2: 0.10, 3: 0.11, 4: 0.13}))
    assert (found.learnt, found.over) == (2, 4), "a quarter of what it moved is no rise yet"
    said = found.as_dict(grid)
    assert said["notes"][-1] == "On held back pictures the loss is lowest at epoch 6 and rises afterwards."
    assert [point["validation"] for point in said["points"]] == [0.14, 0.12, 0.10, 0.11, 0.13]
    falls = curve(grid, with_losses(even, {0: 0.14, 1: 0.13, 2: 0.12, 3: 0.125, 4: 0.11}))
    assert falls.over is None
    assert falls.as_dict(grid)["notes"][-1] == "On held back pictures the loss still falls at the last file."
    off = scores_of(grid, rising, lambda c, w: 0.9)
    off.on = frozenset({"likeness", "obedience"})
    found = curve(grid, with_losses(off, {0: 0.14, 1: 0.12, 2: 0.10, 3: 0.11, 4: 0.13}))
    assert found.over is None and found.points[0].validation is None and len(found.notes) == 1


def test_nothing_learnt_is_said():
    grid = a_grid()
    found = curve(grid, scores_of(grid, lambda c, w: 0.02, lambda c, w: 0.9))
    assert found.learnt is None and found.as_dict(grid)["notes"]
    assert curve(a_grid(2, (0.0,)), Scores()).points == ()


# ---------------------------------------------------------------------- the names


def test_each_score_has_a_label_and_a_sentence_in_both_languages():
    for language in ("en", "zh-CN"):
        rows = score_names({"likeness"}, language)
        assert [row["name"] for row in rows] == list(NAMES)
        assert all(row["label"] and row["help"] and row["better"] in ("high", "low") for row in rows)
        assert [row["name"] for row in rows if row["on"]] == ["likeness"]


def test_bad_scores_count_the_other_way_round():
    assert total_of({"likeness": 1.0, "collapse": 0.0}, {"likeness", "collapse"}) == 1.0
    assert total_of({"likeness": 1.0, "collapse": 1.0}, {"likeness", "collapse"}) == pytest.approx(4 / 6)
    assert total_of({"likeness": 1.0, "collapse": 1.0}, {"likeness"}) == 1.0
    assert total_of({"likeness": None}, {"likeness"}) is None
