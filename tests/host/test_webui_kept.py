"""What the WebUI's host puts back, without a WebUI: values, attributes, random states."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib_lora_train.host.webui.kept import attributes_kept, overridden, random_states_kept


def test_values_are_others_inside_and_as_before_afterwards():
    values = {"skip": 1, "lora": "None", "size": 3}
    with overridden(values, {"skip": 2, "lora": "None", "new": 5}):
        assert values == {"skip": 2, "lora": "None", "size": 3, "new": 5}
    assert values == {"skip": 1, "lora": "None", "size": 3}


def test_what_somebody_else_sets_meanwhile_stays():
    values = {"skip": 1, "gone": 1}
    with overridden(values, {"skip": 2, "new": 5, "gone": 2}):
        values |= {"skip": 4, "new": 6}
        del values["gone"]
    assert values == {"skip": 4, "new": 6}


def test_they_come_back_after_an_error():
    values, owner = {"skip": 1}, SimpleNamespace(job="before", other=1)
    with pytest.raises(ZeroDivisionError), overridden(values, {"skip": 2}), attributes_kept(owner, ["job"]):
        owner.job, owner.other = "mine", 2
        raise ZeroDivisionError
    assert values == {"skip": 1}
    assert owner == SimpleNamespace(job="before", other=2)


def test_random_states_go_on_as_if_nothing_had_been_drawn():
    def drawn() -> list[float]:
        return [torch.rand(1).item(), float(np.random.rand()), random.random()]

    def seed() -> None:
        torch.manual_seed(5), np.random.seed(5), random.seed(5)

    seed()
    first, second = drawn(), drawn()
    seed()
    assert drawn() == first
    with pytest.raises(ZeroDivisionError), random_states_kept(torch.device("cpu")):
        torch.manual_seed(7), np.random.seed(7), random.seed(7)
        assert drawn() != second
        raise ZeroDivisionError
    assert drawn() == second
