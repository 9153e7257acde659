"""How much of a processor a run takes."""

from __future__ import annotations

import pytest
import torch

from lib_lora_train.runs.threads import limited_threads, training_threads, usable_cores

SMALL, LARGE = 3_727_700, 859_520_964


@pytest.mark.parametrize(
    ("cores", "small", "large"), [(1, 1, 1), (2, 1, 1), (4, 2, 3), (8, 4, 7), (16, 4, 15), (64, 4, 63)]
)
def test_one_core_is_left_over(cores: int, small: int, large: int) -> None:
    assert (training_threads(cores, SMALL), training_threads(cores, LARGE)) == (small, large)


def test_threads_come_back_whatever_happens() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(ZeroDivisionError), limited_threads("cpu", SMALL):
            assert torch.get_num_threads() == min(3, training_threads(usable_cores(), SMALL))
            raise ZeroDivisionError
        assert torch.get_num_threads() == 3
        with limited_threads("cuda", SMALL):
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
