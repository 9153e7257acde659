"""Graphs and lists of tags as taggers of the WD14 family have them, made here."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.signals import Commands, Stopped
from lib_lora_train.vision.ahead import worked_ahead
from lib_lora_train.vision.tagger import MOST_AT_ONCE, Tagger, tagger_digest
from tests.helpers.taggers import write_echo, write_fixed, write_rows
from tests.vision.test_tagger_pixels import described, painted


@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize("batch", ["n", 1, 4])
@pytest.mark.parametrize("side", [8, 12])
def test_pixels_arrive_as_described(tmp_path: Path, channels_first: bool, batch: str | int, side: int) -> None:
    images = [painted(60 + number, 40, "RGBA") for number in range(6)]
    with Tagger(write_echo(tmp_path, side, batch, channels_first)) as tagger:
        assert tagger.side == side
        found = tagger.probabilities(images) * 255
    for row, image in zip(found, images, strict=True):
        bgr = described(image, side)[:, :, ::-1]
        wanted = bgr.transpose(2, 0, 1) if channels_first else bgr
        assert np.abs(row - wanted.reshape(-1)).max() <= 1


def test_a_graph_that_leaves_the_side_open_gets_448(tmp_path: Path) -> None:
    with Tagger(write_echo(tmp_path, 448, open_side=True)) as tagger:
        assert tagger.side == 448
        found = tagger.probabilities([painted(500, 300)])[0]
    assert np.abs(found * 255 - described(painted(500, 300), 448)[:, :, ::-1].reshape(-1)).max() <= 1


@pytest.mark.parametrize(
    "columns",
    [
        ("tag_id", "name", "category", "count"),
        ("tag_id", "name", "category"),
        ("category", "name"),
        ("name", "post_count", "category", "ips"),
    ],
)
def test_columns_are_found_by_their_names(tmp_path: Path, columns: tuple[str, ...]) -> None:
    rows = [("general", 9), ("long_hair", 0), (">_<", 0), ("quillon_(story)", 4)]
    write_fixed(tmp_path, [0.9, 0.5, 0.4, 0.95], rows)
    write_rows(tmp_path, rows, columns)
    with Tagger(tmp_path) as tagger:
        assert tagger.names == ["general", "long_hair", ">_<", "quillon_(story)"]
        assert tagger.tags == ["general", "long hair", ">_<", "quillon (story)"]
        assert tagger.categories == [9, 0, 0, 4]
        white = Image.new("RGB", (9, 9), "white")
        np.testing.assert_allclose(tagger.probabilities([white])[0], [0.9, 0.5, 0.4, 0.95], atol=1e-6)


def test_a_list_with_a_byte_order_mark(tmp_path: Path) -> None:
    write_fixed(tmp_path, [0.5], [("x", 0)])
    (tmp_path / "selected_tags.csv").write_bytes(b"\xef\xbb\xbfname,category\r\nlong_hair,0\r\n")
    with Tagger(tmp_path) as tagger:
        assert tagger.tags == ["long hair"]


@pytest.mark.parametrize(
    ("answers", "code"),
    [([4.0, -3.0], "tagger.no_probabilities"), ([float("nan"), 0.5], "tagger.no_probabilities")],
)
def test_what_is_no_probability_is_refused(tmp_path: Path, answers: list[float], code: str) -> None:
    with Tagger(write_fixed(tmp_path, answers, [("a", 0), ("b", 0)])) as tagger, pytest.raises(UserError) as caught:
        tagger.probabilities([Image.new("RGB", (9, 9), "white")])
    assert caught.value.code == code


def test_other_models_are_refused(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Identity", ["input"], ["output"])],
        "no tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 2])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "model.onnx"
    )
    write_rows(tmp_path, [("a", 0), ("b", 0)])
    with pytest.raises(UserError) as caught:
        Tagger(tmp_path)
    assert caught.value.code == "tagger.not_a_tagger"


def test_its_digest_is_that_of_both_files(tmp_path: Path) -> None:
    write_fixed(tmp_path, [0.5], [("x", 0)])
    before = tagger_digest(tmp_path)
    assert tagger_digest(tmp_path) == before
    write_rows(tmp_path, [("y", 0)])
    assert tagger_digest(tmp_path) != before


# ---------------------------------------------------------------------- streams


@pytest.mark.parametrize("batch", ["n", 1])
def test_a_stream_gives_what_single_pictures_give_in_order(tmp_path: Path, batch: str | int) -> None:
    images = [painted(30 + number, 40) for number in range(75)]

    def opened(number: int) -> Image.Image:
        time.sleep(random.Random(number).random() * 0.003)  # later ones are ready earlier
        if number % 10 == 3:
            raise UserError("image.truncated", f"{number}.png")
        return images[number]

    with Tagger(write_echo(tmp_path, batch=batch)) as tagger:
        wanted = tagger.probabilities(images)
        found = list(tagger.stream((number, lambda number=number: opened(number)) for number in range(75)))
    assert [key for key, _ in found] == list(range(75))
    for number, seen in found:
        if number % 10 == 3:
            assert isinstance(seen, UserError)
            assert seen.where == f"{number}.png"
        else:
            np.testing.assert_allclose(seen, wanted[number], atol=1e-6)


def test_a_stream_reads_no_further_than_it_needs(tmp_path: Path) -> None:
    """Memory does not grow with the number of pictures: what is begun and not yet taken is bounded."""
    begun, taken, most = 0, 0, 0
    picture = painted(30, 40)

    def items():
        nonlocal begun, most
        for number in range(400):
            begun += 1
            most = max(most, begun - taken)
            yield number, lambda: picture

    with Tagger(write_echo(tmp_path)) as tagger:
        for _ in tagger.stream(items(), workers=2):
            taken += 1
    assert taken == 400
    assert most <= 4 * MOST_AT_ONCE


def test_a_stop_ends_a_stream_and_its_threads(tmp_path: Path) -> None:
    commands, picture = Commands(), painted(30, 40)
    opened = 0

    def open_one() -> Image.Image:
        nonlocal opened
        opened += 1
        return picture

    with Tagger(write_echo(tmp_path)) as tagger, pytest.raises(Stopped):
        for number, (_, _) in enumerate(tagger.stream(((n, open_one) for n in range(1000)), commands)):
            if number == 20:
                commands.stop()
    assert opened < 200
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lora-train-pictures")]


def test_leaving_early_begins_nothing_more() -> None:
    done: list[int] = []
    for key, _ in worked_ahead(((number, number) for number in range(100)), done.append, 8, 2):
        if key == 5:
            break
    assert len(done) <= 16


def test_a_fault_of_ours_is_no_picture_error() -> None:
    with pytest.raises(ZeroDivisionError):
        list(worked_ahead([("a", 0)], lambda value: 1 / value, 4, 1))
