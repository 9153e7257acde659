"""The generators of a run: stable values, one stream per purpose, nothing taken from global state."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.draws import derive_seed, python_random, torch_generator

PART = st.one_of(st.text(max_size=8), st.integers(-(2**40), 2**40))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((42,), 5957220968500082653),
        ((42, "noise", 0), 8077063057040157965),
        ((42, "noise", 1), 6915640173437388191),
        ((0, "角色", 3), 5685736843198362527),
    ],
)
def test_seeds_are_pinned(parts, expected):
    assert derive_seed(*parts) == expected


def test_draws_are_pinned():
    drawn = torch.randint(0, 1000, (4,), generator=torch_generator(42, "noise", 0))
    assert drawn.tolist() == [56, 521, 590, 297]
    draws = python_random(42, "order", 0)
    assert [draws.randrange(1000) for _ in range(3)] == [547, 174, 453]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(PART, max_size=4), st.lists(PART, max_size=4))
def test_different_purposes_give_different_seeds(seed, one, other):
    same = derive_seed(seed, *one) == derive_seed(seed, *other)
    assert same == (one == other)
    assert 0 <= derive_seed(seed, *one) < 2**63


def test_parts_do_not_run_together():
    assert len({derive_seed(1, "a", "bc"), derive_seed(1, "ab", "c"), derive_seed(1, "abc"), derive_seed(1, 1)}) == 4
    assert derive_seed(1, 1) != derive_seed(1, "1")


def test_global_state_is_neither_read_nor_moved():
    random.seed(1)
    torch.manual_seed(1)
    before = torch.get_rng_state().clone(), random.getstate()
    first = torch.rand(3, generator=torch_generator(7, "x"))
    python_random(7, "x").random()
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    torch.manual_seed(99)
    assert torch.equal(first, torch.rand(3, generator=torch_generator(7, "x")))


@pytest.mark.parametrize("part", [1.5, True, None, b"x"])
def test_other_kinds_of_parts_are_refused(part):
    with pytest.raises(TypeError):
        derive_seed(1, part)
