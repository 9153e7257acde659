import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.preview.score import mean, share


def test_wilsons_interval_is_the_textbooks():
    """Newcombe 1998, table I: 15 of 148 gives 0.0624 to 0.1605 (without continuity correction)."""
    found = share([True] * 15 + [False] * 133)
    assert found.value == pytest.approx(15 / 148)
    assert (found.low, found.high) == (pytest.approx(0.0624, abs=5e-5), pytest.approx(0.1605, abs=5e-5))


def test_mean_by_hand():
    """Standard deviation 0.1, over the root of 3, times 1.96."""
    found = mean([0.4, 0.5, 0.6])
    assert found.value == pytest.approx(0.5)
    assert found.high == pytest.approx(0.5 + 1.959964 * 0.1 / 3**0.5)
    assert mean([0.0, 1.0]).high == 1.0


@given(st.lists(st.booleans(), min_size=1, max_size=100))
def test_the_value_lies_in_its_interval(hits):
    found = share(hits)
    assert 0 <= found.low <= found.value + 1e-12 and found.value - 1e-12 <= found.high <= 1
