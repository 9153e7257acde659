"""The tests notice the faults they are there for."""

import pytest

from tests.mutations import MUTATIONS, survives


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation.fault for mutation in MUTATIONS])
def test_the_fault_is_noticed(mutation):
    assert not survives(mutation)
