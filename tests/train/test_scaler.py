import pytest
import torch

from lib_lora_train.errors import UserError
from lib_lora_train.train.scaler import LossScaler

INFINITE, FINE = torch.tensor(float("inf")), torch.tensor(1.0)


def test_disabled_it_changes_nothing():
    scaler = LossScaler(enabled=False)
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.tensor([3.0, float("nan")])
    scaler.unscale([parameter])
    assert parameter.grad[0] == 3 and scaler.scale == 1
    assert scaler.allows_step(INFINITE, 1)


def test_unscales_halves_and_doubles():
    scaler = LossScaler(enabled=True)
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.full((2,), 65536.0)
    scaler.unscale([parameter, torch.nn.Parameter(torch.ones(1))])
    assert parameter.grad.tolist() == [1, 1]
    assert not scaler.allows_step(INFINITE, 1)
    assert scaler.scale == 32768
    for step in range(2000):
        assert scaler.allows_step(FINE, step)
    assert scaler.scale == 65536


def test_state_comes_back():
    scaler = LossScaler(enabled=True)
    scaler.allows_step(INFINITE, 1)
    for step in range(1999):
        scaler.allows_step(FINE, step)
    other = LossScaler(enabled=True)
    other.load(scaler.state())
    other.allows_step(FINE, 2)
    assert other.scale == 65536


def test_collapse_is_said_with_the_step():
    scaler = LossScaler(enabled=True)
    with pytest.raises(UserError) as error:
        for step in range(100):
            scaler.allows_step(INFINITE, step)
    assert error.value.code == "train.scale_collapsed"
    assert "26" in error.value.sentence()
