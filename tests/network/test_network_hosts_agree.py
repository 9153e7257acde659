"""The same weights in diffusers' U-Net and in LDM's, with the same adapters: the same keys, outputs and gradients."""

from __future__ import annotations

import pytest
import torch

from lib_lora_train.network.keys import find_unet_sites
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.settings.tables import NetworkSettings
from tests.network.models import small_unet_pair


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_one_lora_means_the_same_on_both(family):
    diffusers, ldm = small_unet_pair(family)
    settings = NetworkSettings(network_dim=4, network_alpha=4.0)
    ours = AdapterNetwork(find_unet_sites(diffusers, family), settings, seed=1)
    theirs = AdapterNetwork(find_unet_sites(ldm, family), settings, seed=1)
    assert list(ours.adapters) == list(theirs.adapters)
    assert len(ours.adapters) == 192
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    generator = torch.Generator().manual_seed(1)
    for parameter in ours.parameters():
        parameter.data.normal_(0, 0.1, generator=generator)
    theirs.load(ours.state_dict())

    noisy = torch.randn(2, 4, 16, 16, generator=generator)
    context = torch.randn(2, 7, 32, generator=generator)
    timesteps = torch.tensor([10, 800])
    plain = diffusers(noisy, timesteps, context).sample
    torch.testing.assert_close(ldm(noisy, timesteps, context), plain, rtol=1e-5, atol=1e-5)
    with ours.attached(), theirs.attached():
        first = diffusers(noisy, timesteps, context).sample
        second = ldm(noisy, timesteps, context)
        first.square().mean().backward()
        second.square().mean().backward()
    assert (first - plain).abs().max() > 0.1
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)
    assert ours.missing_gradients() == theirs.missing_gradients() == []
    for name, parameter in ours.named_parameters().items():
        torch.testing.assert_close(parameter.grad, theirs.named_parameters()[name].grad, rtol=1e-3, atol=1e-5)
    assert torch.equal(diffusers(noisy, timesteps, context).sample, plain)
