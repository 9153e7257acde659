"""A network put on the layers for drawing: it adds what the trained one adds, and leaves no trace."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lib_lora_train.network import fixed
from lib_lora_train.network.fixed import FixedNetwork, LastFixed
from lib_lora_train.network.modules import LayerForward
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.network.sites import Site
from lib_lora_train.settings.tables import NetworkSettings
from tests.network.test_network_modules import assert_same_trace, conv_site, linear_site, randomised, tower, trace

# On a layer of 200 x 100 a rank of 4 adds 6% of its multiplications, a rank of 8 adds 12%.
WIDE, TALL, SMALL, LARGE = 200, 100, 4, 8


def site_of(kind: str, key: str = "lora_unet_a", bias: bool = True) -> Site:
    torch.manual_seed(3)
    layer = nn.Linear(WIDE, TALL, bias) if kind == "linear" else nn.Conv2d(WIDE, TALL, 1, bias=bias)
    return Site(key, layer.requires_grad_(False), kind, WIDE, TALL, "unet")


def network_of(site: Site, rank: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> AdapterNetwork:
    network = randomised([site], NetworkSettings(network_dim=rank, network_alpha=rank / 2), seed)
    site.module.to(dtype)
    return network


def as_trained(network: AdapterNetwork, site: Site, x: torch.Tensor, multiplier: float) -> torch.Tensor:
    with network.attached(), network.weighted(multiplier):
        return site.module(x)


@torch.no_grad()
@pytest.mark.parametrize("rank", [SMALL, LARGE])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kind", "shape"), [("linear", (2, 7, WIDE)), ("linear", (3, WIDE)), ("conv", (2, WIDE, 5, 3))]
)
def test_it_adds_what_the_trained_one_adds(kind, shape, bias, rank):
    site = site_of(kind, bias=bias)
    network = network_of(site, rank)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    given, plain, weight = x.clone(), site.module(x), site.module.weight.clone()
    for multiplier in (1.0, 0.35, -1.0):
        with FixedNetwork(network, multiplier).attached():
            drawn, again = site.module(x), site.module(input=x)
        assert torch.equal(drawn, again)
        torch.testing.assert_close(drawn, as_trained(network, site, x, multiplier), rtol=1e-4, atol=2e-5)
        assert (drawn - plain).abs().max() > 0.05
    assert torch.equal(x, given)
    assert torch.equal(site.module.weight, weight)
    assert torch.equal(site.module(x), plain)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_inputs_that_do_not_lie_in_order(kind):
    site = site_of(kind)
    network = network_of(site, SMALL)
    if kind == "linear":
        x = torch.randn(WIDE, 7, 2).permute(2, 1, 0)
    else:
        x = torch.randn(2, WIDE, 6, 4).to(memory_format=torch.channels_last)
    with FixedNetwork(network, 0.8).attached():
        drawn = site.module(x)
    torch.testing.assert_close(drawn, as_trained(network, site, x, 0.8), rtol=1e-4, atol=2e-5)


@torch.no_grad()
@pytest.mark.parametrize("rank", [SMALL, LARGE])
@pytest.mark.parametrize(("kind", "shape"), [("linear", (2, 7, WIDE)), ("conv", (2, WIDE, 5, 3))])
def test_in_half_precision_a_small_change_is_not_rounded_away(kind, shape, rank):
    """Beside a weight of 1 the steps of bfloat16 are 2^-7: a copy of the sum would be the layer without the network."""
    site = site_of(kind)
    network = network_of(site, rank, torch.bfloat16)
    site.module.weight.fill_(1.0)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    x -= x.mean(1 if kind == "conv" else -1, keepdim=True)
    x = x.bfloat16()
    for adapter in network.adapters.values():
        adapter.lora_up.mul_(2e-3)
    plain = site.module(x)
    with FixedNetwork(network, 1.0).attached():
        drawn = site.module(x)
    expected = as_trained(network, site, x, 1.0)
    assert drawn.dtype == torch.bfloat16
    assert (expected - plain).abs().max() > 0
    assert (drawn - expected).abs().float().mean() < 0.2 * (expected - plain).abs().float().mean()


def test_only_layers_that_it_would_slow_are_copied_and_no_more_than_there_is_room_for(monkeypatch):
    def copied(rank: int, count: int = 1, dtype: torch.dtype = torch.float32) -> int:
        sites = [site_of("linear", f"lora_unet_{number}") for number in range(count)]
        network = randomised(sites, NetworkSettings(network_dim=rank, network_alpha=1.0))
        for site in sites:
            site.module.to(dtype)
        with FixedNetwork(network, 1.0).attached():
            return sum("copy" in site.module.forward.__qualname__ for site in sites)

    assert (copied(SMALL), copied(LARGE), copied(LARGE, dtype=torch.float16)) == (0, 1, 0)
    monkeypatch.setattr(fixed, "_MOST_COPIED", 2 * WIDE * TALL + 1)
    assert copied(LARGE, 5) == 2


@torch.no_grad()
def test_layers_of_another_kind_get_the_adapters_of_training():
    model, sites = tower()
    before, x = trace(model), torch.randn(7, 3, 16)
    network = randomised(sites)
    with network.attached(), network.weighted(0.6):
        expected = model(x, None)
    with FixedNetwork(network, 0.6).attached(), network.weighted(0.6):
        drawn = model(x, None)
    torch.testing.assert_close(drawn, expected, rtol=1e-5, atol=1e-5)
    assert_same_trace(trace(model), before)


class Doubling(nn.Linear):
    def forward(self, input):
        return super().forward(input) * 2


@torch.no_grad()
@pytest.mark.parametrize("way", ["class", "instance", "patched", "groups"])
def test_what_a_layer_does_by_itself_it_goes_on_doing(way, monkeypatch):
    site = linear_site()
    if way == "class":
        site.module.__class__ = Doubling
    elif way == "instance":
        original = site.module.forward
        site.module.forward = lambda input: original(input) * 2
    elif way == "patched":
        ordinary = nn.Linear.forward
        monkeypatch.setattr(nn.Linear, "forward", lambda self, input: ordinary(self, input) * 2)
    else:
        site = conv_site()
        site.module.padding_mode = "circular"
    own = vars(site.module).get("forward")
    network = randomised([site])
    x = torch.randn(3, 6, 2, 2) if way == "groups" else torch.randn(3, 6)
    with FixedNetwork(network, 1.0).attached():
        assert isinstance(vars(site.module)["forward"], LayerForward)
        drawn = site.module(x)
    assert torch.equal(drawn, as_trained(network, site, x, 1.0))
    assert vars(site.module).get("forward") is own


def test_every_layer_is_as_it_was_after_an_error_and_with_a_wrapper_put_on_later():
    first, second = linear_site(key="lora_unet_a"), linear_site(key="lora_unet_b")
    network = FixedNetwork(randomised([first, second]), 1.0)
    with pytest.raises(ZeroDivisionError), network.attached():
        assert "forward" in vars(first.module)
        raise ZeroDivisionError
    assert "forward" not in vars(first.module) and "forward" not in vars(second.module)
    with network.attached():
        later = vars(first.module)["forward"] = lambda input: input
    assert vars(first.module)["forward"] is later
    assert "forward" not in vars(second.module)


def test_the_last_is_kept_and_no_other():
    site = site_of("linear")
    one, other = network_of(site, SMALL), network_of(site, SMALL, seed=2)
    last = LastFixed()
    first = last.of(one, 0.5)
    assert last.of(one, 0.5) is first
    assert last.of(one, 0.6) is not first
    assert last.of(other, 0.6).network is other


@settings(max_examples=30, deadline=None)
@given(
    wide=st.integers(1, 40),
    tall=st.integers(1, 40),
    rank=st.integers(1, 12),
    multiplier=st.floats(-2, 2),
    seed=st.integers(0, 99),
)
def test_whatever_the_sizes(wide, tall, rank, multiplier, seed):
    torch.manual_seed(seed)
    site = linear_site(wide, tall)
    network = network_of(site, rank, seed=seed)
    x = torch.randn(2, 3, wide)
    with torch.no_grad():
        with FixedNetwork(network, multiplier).attached():
            drawn = site.module(x)
        torch.testing.assert_close(drawn, as_trained(network, site, x, multiplier), rtol=1e-4, atol=1e-4)
