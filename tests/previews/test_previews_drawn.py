"""How a page that asks every second learns which pictures have come: by stretches of the cells in their order."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.previews.showing import shown_drawn


@pytest.mark.parametrize(
    ("present", "stretches"),
    [("", []), ("abcdef", [(0, 6)]), ("a", [(0, 1)]), ("f", [(5, 6)]), ("abdf", [(0, 2), (3, 4), (5, 6)])],
)
def test_stretches(present: str, stretches: list[tuple[int, int]]) -> None:
    assert shown_drawn(SimpleNamespace(cells=dict.fromkeys("abcdef")), set(present)) == stretches


@given(st.lists(st.booleans(), max_size=60))
def test_they_are_the_pictures_there_are(made: list[bool]) -> None:
    keys = [str(number) for number in range(len(made))]
    present = {key for key, there in zip(keys, made, strict=True) if there} | {"of another grid"}
    found = shown_drawn(SimpleNamespace(cells=dict.fromkeys(keys)), present)
    assert {keys[place] for start, end in found for place in range(start, end)} == present - {"of another grid"}
    assert all(one[1] < two[0] for one, two in pairwise(found))  # no two that touch
