"""Scores of a grid: what is seen in pictures, what it means, and that no picture is looked at twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from lib_lora_train.preview.cells import CellStore
from lib_lora_train.preview.grids import Base, Column, Drawing, Grid, GridPrompt
from lib_lora_train.preview.scores import ALL, Scores, ScoreTools, Seen, TrainingSet, score_cells, tools_wanted
from lib_lora_train.preview.scores.pixels import distance, look_at, signs_of
from lib_lora_train.signals import Commands, Stage
from lib_lora_train.vision.tagger import GENERAL, RATING

SIDE = 64
TAGS = ["general", "red hair", "night sky", "smile"]


class ColourTagger:
    """Sees "red hair" by the red of the picture's left half, "night sky" by the blue of its right half, and "smile" by
    the green of the whole. Counts what it looks at."""

    tags = TAGS
    categories = [RATING, GENERAL, GENERAL, GENERAL]  # noqa: RUF012 - as the real one's

    def __init__(self) -> None:
        self.count = 0

    def probabilities(self, images):
        self.count += len(images)
        rows = []
        for image in images:
            pixels = np.asarray(image.convert("RGB"), np.float32) / 255
            half = pixels.shape[1] // 2
            rows.append([0.9, pixels[:, :half, 0].mean(), pixels[:, half:, 2].mean(), pixels[..., 1].mean()])
        return np.array(rows, np.float32)


class MeanEmbedder:
    """The mean colour; alike is 1 minus the distance."""

    layout, name, key = True, "mean", "mean 1"

    def embed(self, images):
        return np.stack([np.asarray(image.convert("RGB"), np.float32).mean((0, 1)) / 255 for image in images])

    def likeness(self, these, those):
        return np.clip(1 - np.linalg.norm(these[:, None] - those[None], axis=2), 0, 1).astype(np.float32)


def picture(red: float, blue: float, seed: int = 0, green: float = 0.1) -> Image.Image:
    """Left half red, right half blue, both 0..1; texture by the seed."""
    pixels = np.zeros((SIDE, SIDE, 3))
    pixels[:, : SIDE // 2, 0], pixels[:, SIDE // 2 :, 2], pixels[..., 1] = red, blue, green
    noise = np.random.default_rng(seed).normal(0, 0.12, (8, 8, 3)).repeat(8, 0).repeat(8, 1)
    return Image.fromarray((np.clip(pixels + noise, 0, 1) * 255).astype(np.uint8))


PROMPTS = (
    GridPrompt("zuna, night sky", "own", "", ("night sky",)),
    GridPrompt("zuna", "own", "", ("nobody knows this",)),
    GridPrompt("night sky", "leak", "leak", ("night sky",)),
)


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    return Grid(
        bases=(Base("base", "b"),),
        columns=tuple(
            Column(tmp_path / f"{name}.safetensors", name, name, place + 1) for place, name in enumerate("abc")
        ),
        weights=(0.0, 1.0),
        prompts=PROMPTS,
        seeds=(1, 2),
        drawing=Drawing("", "DDIM", 2, 7.0, SIDE, SIDE, 1),
        host="embedded",
    )


@pytest.fixture
def store(tmp_path: Path, grid: Grid) -> CellStore:
    """File a: not learnt. File b: the subject, obedient. File c: the subject everywhere, disobedient, one picture."""
    store = CellStore(tmp_path / "cells")
    for cell in grid.cells():
        leak = PROMPTS[cell.prompt].kind == "leak"
        night = 0.9 if "night sky" in PROMPTS[cell.prompt].text else 0.1
        seed = cell.seed * 10 + cell.prompt
        drawn = {
            -1: picture(0.1, night, seed),
            0: picture(0.2, night, seed),
            1: picture(0.1 if leak else 0.9, night, seed),
            2: picture(0.9, 0.1, 77),
        }[cell.column]
        store.put(cell.key, drawn, "text")
    return store


@pytest.fixture
def training(tmp_path: Path) -> TrainingSet:
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(6):
        picture(0.9, (number % 2) * 0.8, 100 + number).save(folder / f"{number}.png")
    return TrainingSet(
        tuple(sorted(folder.iterdir())),
        tuple(("zuna", "night sky") if number % 2 else ("zuna",) for number in range(6)),
        ("red hair",),
        "zuna",
    )


def by_column(scores: Scores, name: str) -> list[float]:
    return [scores.places[place][name] for place in sorted(scores.places)]


def test_each_score_sees_what_it_is_for(grid, store, training):
    scores = score_cells(grid, store, training, ScoreTools(ColourTagger()))
    assert scores.whole and len(scores.cells) == grid.size
    assert sorted(scores.places) == [(0, -1, 0.0), (0, 0, 1.0), (0, 1, 1.0), (0, 2, 1.0)]
    likeness, obedience = by_column(scores, "likeness"), by_column(scores, "obedience")
    assert likeness[0] < likeness[1] < 0.3 and min(likeness[2:]) > 0.9
    assert min(obedience[:3]) > 0.9 and obedience[3] < 0.4
    assert by_column(scores, "leak")[:3] == pytest.approx([0, 0.1, 0], abs=0.08) and by_column(scores, "leak")[3] > 0.9
    assert by_column(scores, "diversity")[0] == 1.0 and by_column(scores, "diversity")[3] == 0.0
    assert max(by_column(scores, "copying")[:2]) < 0.1
    assert all(value < 0.2 for value in by_column(scores, "collapse")[:3])
    assert by_column(scores, "loss") == [None] * 4
    assert scores.signs[0, 1, 1.0] == ""
    assert scores.obeyed[0, 2, 1.0].keys() == {0}, "what the tagger does not know, and the leak, tell nothing"


def test_the_scores_of_cells(grid, store, training):
    scores = score_cells(grid, store, training, ScoreTools(ColourTagger()))
    bare = scores.cells[grid.cell(0, 0, 0.0, 0, 1).key]
    assert bare["likeness"] < 0.3 and bare["obedience"] > 0.9 and bare["leak"] is None
    leak = scores.cells[grid.cell(0, 2, 1.0, 2, 1).key]
    assert leak["leak"] > 0.9 and leak["likeness"] is None
    assert scores.cells[grid.cell(0, 1, 1.0, 1, 1).key]["obedience"] is None
    assert set(scores.shown_cell(grid.cell(0, 1, 1.0, 0, 1).key)) == {
        "likeness",
        "obedience",
        "leak",
        "copying",
        "collapse",
    }


def test_what_is_drawn_without_the_trigger_word_is_no_obedience(grid, store, training):
    for seed in grid.seeds:
        store.put(grid.cell(0, 1, 1.0, 2, seed).key, picture(0.1, 0.1, seed), "")
    scores = score_cells(grid, store, training, ScoreTools(ColourTagger()))
    assert scores.cells[grid.cell(0, 1, 1.0, 2, 1).key]["obedience"] < 0.4
    assert scores.places[0, 1, 1.0]["obedience"] > 0.9


def test_a_picture_of_the_training_set_is_a_copy_also_mirrored(grid, store, training):
    keys = [grid.cell(0, 1, 1.0, 0, seed).key for seed in grid.seeds]
    with Image.open(training.pictures[1]) as original:
        store.put(keys[0], original, "")
        store.put(keys[1], original.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "")
    for embedder in (None, MeanEmbedder()):
        scores = score_cells(grid, store, training, ScoreTools(ColourTagger(), embedder))
        assert [scores.cells[key]["copying"] for key in keys] == pytest.approx([1, 1], abs=0.02)


def test_by_embedding_zero_is_without_the_lora_and_one_the_training_pictures(grid, store, training):
    scores = score_cells(grid, store, training, ScoreTools(None, MeanEmbedder()))
    likeness = by_column(scores, "likeness")
    assert likeness[0] < 0.15 < 0.6 < likeness[2] and likeness[1] < 0.4
    assert by_column(scores, "obedience") == [None] * 4, "nobody is there who could tell"
    assert by_column(scores, "leak")[2] < 0.2 < 0.6 < by_column(scores, "leak")[3]


def test_without_tools_the_pixels_still_tell_something(grid, store):
    scores = score_cells(grid, store, TrainingSet(), ScoreTools())
    assert by_column(scores, "likeness") == [None] * 4 and by_column(scores, "copying") == [None] * 4
    assert None not in by_column(scores, "diversity") and None not in by_column(scores, "collapse")


def test_traits_that_nobody_named_are_found_by_the_captions(grid, store, training):
    """Red hair is in all pictures and in no caption; night sky is named where it is seen."""
    nameless = TrainingSet(training.pictures, training.captions, (), "zuna")
    given = score_cells(grid, store, training, ScoreTools(ColourTagger()))
    found = score_cells(grid, store, nameless, ScoreTools(ColourTagger()))
    assert by_column(found, "likeness") == by_column(given, "likeness")


def test_only_new_pictures_are_looked_at(grid, store, training):
    tagger = ColourTagger()
    first = score_cells(grid, store, training, ScoreTools(tagger))
    assert tagger.count == grid.size + len(training.pictures)
    known = Scores.from_dict(json.loads(json.dumps(first.as_dict(), allow_nan=False)))
    again = score_cells(grid, store, training, ScoreTools(tagger), known=known)
    assert tagger.count == grid.size + len(training.pictures)
    for place, values in first.places.items():
        assert again.places[place] == pytest.approx(values, abs=2e-3)
        assert known.places[place] == pytest.approx(values, abs=1e-4)
    key = grid.cell(0, 1, 1.0, 0, 1).key
    store.drop([key])
    missing = score_cells(grid, store, training, ScoreTools(tagger), known=again)
    assert key not in missing.cells and not missing.whole
    store.put(key, picture(0.9, 0.9), "")
    score_cells(grid, store, training, ScoreTools(tagger), known=missing)
    assert tagger.count == grid.size + len(training.pictures) + 1


def test_what_another_choice_of_axes_has_shown_is_kept(grid, store, training):
    tagger = ColourTagger()
    known = score_cells(grid, store, training, ScoreTools(tagger))
    one = Grid(grid.bases, grid.columns[:1], grid.weights, grid.prompts, grid.seeds, grid.drawing, grid.host)
    fewer = score_cells(one, store, training, ScoreTools(tagger), known=known)
    assert len(fewer.places) == 2
    score_cells(grid, store, training, ScoreTools(tagger), known=fewer)
    assert tagger.count == grid.size + len(training.pictures)


def test_another_tool_looks_again(grid, store, training):
    known = score_cells(grid, store, training, ScoreTools())
    tagger = ColourTagger()
    assert score_cells(grid, store, training, ScoreTools(tagger), known=known).places[0, 1, 1.0]["likeness"] > 0.9
    before = tagger.count
    score_cells(grid, store, training, ScoreTools(tagger, tagger_key="another"), known=known)
    assert tagger.count == 2 * before


def test_a_stop_leaves_what_was_looked_at(grid, store, training):
    commands, tagger = Commands(), ColourTagger()
    stages: list[Stage] = []
    commands.stop()
    part = score_cells(grid, store, training, ScoreTools(tagger), events=stages.append, commands=commands)
    assert not part.whole and tagger.count == 16 and stages[-1].done == 16
    whole = score_cells(grid, store, training, ScoreTools(tagger), known=part)
    assert whole.whole and tagger.count == grid.size + len(training.pictures)


def test_switched_off_scores_are_neither_counted_nor_shown(grid, store, training):
    scores = score_cells(grid, store, training, ScoreTools(ColourTagger()), wanted={"obedience", "nonsense"})
    assert scores.on == {"obedience"}
    assert scores.total((0, 2, 1.0)) == scores.places[0, 2, 1.0]["obedience"]
    assert set(scores.shown_places()[0]) == {"base", "column", "weight", "obedience", "total", "sign"}
    assert tools_wanted({"obedience"}) == (True, False) and tools_wanted({"collapse"}) == (False, False)
    assert tools_wanted(ALL) == (True, True)


def test_losses_count_the_lower_the_better(grid, store, training):
    scores = score_cells(grid, store, training, ScoreTools(), losses={0: 0.3, 1: 0.1, 2: 0.2})
    assert by_column(scores, "loss") == [None, 0.0, 1.0, pytest.approx(0.5)]
    assert scores.losses == {0: 0.3, 1: 0.1, 2: 0.2}
    assert by_column(score_cells(grid, store, training, ScoreTools(), losses={0: 0.3}), "loss") == [None] * 4


@pytest.mark.parametrize(
    "said",
    [None, [], {}, {"version": 99}, {"version": 1}, {"version": 1, "on": 3, "seen": [], "cells": {"a": 3}, "places": 1},
     {"version": 1, "seen": {"k": {"measures": "x"}}, "training": {"k": None}, "cells": {}, "places": [{"place": [1]}]}],
)  # fmt: skip
def test_a_damaged_record_is_no_trouble(said):
    found = Scores.from_dict(said)
    assert not found.places and not found.seen and not found.whole


def test_damaged_and_missing_training_pictures_are_left_out(grid, store, training, tmp_path):
    (tmp_path / "set" / "0.png").write_bytes(b"no picture")
    (tmp_path / "set" / "1.png").unlink()
    scores = score_cells(grid, store, training, ScoreTools(ColourTagger()))
    assert len(scores.training) == 4 and scores.places[0, 1, 1.0]["likeness"] > 0.9


# ---------------------------------------------------------------------- pixels


def drawing() -> Image.Image:
    image = Image.new("RGB", (96, 96), (230, 220, 200))
    pen = ImageDraw.Draw(image)
    pen.ellipse((20, 15, 75, 80), fill=(240, 200, 170), outline=(60, 40, 40), width=2)
    pen.rectangle((10, 60, 90, 95), fill=(70, 110, 170))
    for x in range(12, 90, 9):
        pen.line((x, 20, x + 5, 58), fill=(40, 30, 60), width=2)
    return image


def usual(image: Image.Image) -> list[tuple[float, float]]:
    return [(value, value) for value in look_at(image).measures]


@pytest.mark.parametrize("sign", ["grey", "smeared", "jagged", "gaudy"])
def test_each_sign_of_collapse_is_told_from_the_others(sign):
    image = drawing()
    pixels = np.asarray(image, np.float32)
    noise = np.random.default_rng(0).normal(0, 60, (96, 96, 1))
    spoilt = {
        "grey": Image.fromarray((pixels * 0.12 + 110).astype(np.uint8)),
        "smeared": image.filter(ImageFilter.GaussianBlur(5)),
        "jagged": Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)),
        "gaudy": Image.fromarray(
            np.clip(pixels.mean(2, keepdims=True) + (pixels - pixels.mean(2, keepdims=True)) * 6, 0, 255).astype(
                np.uint8
            )
        ),
    }[sign]
    found = signs_of(look_at(spoilt), usual(image))
    assert found[sign] > 0.4, found
    if sign != "grey":  # a grey picture has no edges either
        assert max(found, key=found.__getitem__) == sign


def test_a_mess_of_blots_is_jagged_though_contrast_and_colours_are_usual():
    """As a LoRA far above its weight draws: no even area is left."""
    blots = np.random.default_rng(0).normal(0, 40, (32, 32, 3)).repeat(3, 0).repeat(3, 1)
    spoilt = Image.fromarray(np.clip(np.asarray(drawing(), np.float32) + blots, 0, 255).astype(np.uint8))
    found = signs_of(look_at(spoilt), usual(drawing()))
    assert found["jagged"] == max(found.values()) > 0.7


def test_a_picture_has_no_signs_against_itself_and_slight_changes_are_none():
    image = drawing()
    assert set(signs_of(look_at(image), usual(image)).values()) == {0.0}
    other = Image.eval(image, lambda value: int(value * 0.9))
    assert max(signs_of(look_at(other), usual(image)).values()) == 0.0


def test_a_style_that_the_training_pictures_have_is_no_collapse():
    image, grey = drawing(), Image.fromarray((np.asarray(drawing(), np.float32) * 0.12 + 110).astype(np.uint8))
    both = [(min(pair), max(pair)) for pair in zip(look_at(image).measures, look_at(grey).measures, strict=True)]
    assert max(signs_of(look_at(grey), both).values()) == 0.0


def test_pictures_of_other_sizes_are_compared_at_one_size():
    look = look_at(drawing().resize((300, 300)), (96, 96))
    assert look.measures == pytest.approx(look_at(drawing()).measures, rel=0.35, abs=0.5)
    assert look.small.shape == (16, 16, 3)
    assert look_at(Image.new("L", (1, 1))).measures == (0.0,) * 5


def test_distance_is_that_of_the_pictures_or_their_mirror():
    one, other = look_at(drawing()).small, look_at(picture(0.9, 0.1)).small
    apart = distance(np.stack([one, other]), np.stack([one, one[:, ::-1]]))
    np.testing.assert_allclose(apart[0], 0, atol=1e-3)
    assert apart[1, 0] == pytest.approx(apart[1, 1]) and apart[1, 0] > 20


def test_a_record_is_read_back():
    seen = Seen(look_at(drawing()), {"银发": 0.5}, np.array([0.5, 0.25], np.float32), "t", "e")
    back = Seen.from_dict(json.loads(json.dumps(seen.as_dict())))
    assert back.tags == {"银发": 0.5} and back.vector.tolist() == [0.5, 0.25] and back.enough(("t", "e"))
    assert not back.enough(("t", "")) and back.look.measures == pytest.approx(seen.look.measures, abs=1e-4)
    np.testing.assert_array_equal(back.look.small, seen.look.small)
