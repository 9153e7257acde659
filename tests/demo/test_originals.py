"""The pictures that the demo's preparation begins with: what has to be found out about them, and that it can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from demo.attributes import tags
from demo.originals import BARS, frame, originals, portraits
from lib_lora_train.vision.tagger import Tagger

TAGGER = Path(__file__).parents[2] / "demo" / "tagger"


def test_they_are_drawings_within_black_bars() -> None:
    pictures = originals()
    assert len({picture.size for picture in pictures}) == len(BARS)
    for index, picture in enumerate(pictures):
        left, top, right, bottom = frame(index)
        assert (right - left, bottom - top) == (256, 256)
        drawn = np.array(picture)
        inside = drawn[top:bottom, left:right].copy()
        drawn[top:bottom, left:right] = 0
        assert drawn.max() == 0
        for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
            assert edge.max(axis=-1).min() > 0  # a bar ends where the drawing begins


def test_they_are_the_same_every_time_and_differ_from_each_other() -> None:
    first, second = originals(), originals()
    assert first == second
    assert len({picture.tobytes() for picture in first}) == len(first)
    assert [one.tobytes() for one in originals(1)] != [one.tobytes() for one in first]


def test_the_tagger_reads_each_attribute_off_the_drawing() -> None:
    pictures = [picture.crop(frame(index)) for index, picture in enumerate(originals())]
    with Tagger(TAGGER) as tagger:
        seen = tagger.probabilities([picture.resize((128, 128), Image.Resampling.LANCZOS) for picture in pictures])
        names = tagger.tags
    for row, portrait in zip(seen, portraits(), strict=True):
        found = {name for name, probability in zip(names, row, strict=True) if probability >= 0.35}
        assert found - {"general"} == {"1girl", *tags(portrait)}
