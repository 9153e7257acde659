"""A saved LoRA in diffusers' own loader: every key finds its place, and it changes the outputs as ours does."""

from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from lib_lora_train.network.files import save_lora
from lib_lora_train.network.keys import find_text_encoder_sites, find_unet_sites
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.settings.tables import NetworkSettings

pytest.importorskip("peft")


def random_network(sites) -> AdapterNetwork:
    network = AdapterNetwork(sites, NetworkSettings(network_dim=4, network_alpha=2.0), seed=1)
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.2, generator=generator)
    return network


def small_unet(family: str) -> UNet2DConditionModel:
    torch.manual_seed(2)
    if family != "sdxl":
        return UNet2DConditionModel(
            block_out_channels=(32, 32, 32, 32),
            cross_attention_dim=32,
            attention_head_dim=4,
            use_linear_projection=family == "sd2",
        )
    return UNet2DConditionModel(
        block_out_channels=(32, 32, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        transformer_layers_per_block=(1, 2, 3),
        use_linear_projection=True,
    )


def peft_layers(model: torch.nn.Module) -> int:
    return sum(hasattr(module, "lora_A") for module in model.modules())


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_unet(tmp_path, family):
    unet = small_unet(family).requires_grad_(False)
    network = random_network(find_unet_sites(unet, family))
    path = tmp_path / "a.safetensors"
    save_lora(path, network.state_dict(), {}, torch.float32)
    inputs = (torch.randn(2, 4, 16, 16), torch.tensor([5, 600]), torch.randn(2, 6, 32))
    plain = unet(*inputs).sample
    with network.attached():
        ours = unet(*inputs).sample

    pipeline = StableDiffusionXLPipeline if family == "sdxl" else StableDiffusionPipeline
    state, alphas = pipeline.lora_state_dict(str(path), unet_config=unet.config)[:2]
    pipeline.load_lora_into_unet(state, network_alphas=alphas, unet=unet)
    assert peft_layers(unet) == len(network.adapters)
    torch.testing.assert_close(unet(*inputs).sample, ours, rtol=1e-4, atol=1e-4)
    assert (ours - plain).abs().max() > 0.05


def test_text_encoder(tmp_path):
    torch.manual_seed(2)
    config = CLIPTextConfig(
        vocab_size=99, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4
    )
    encoder = CLIPTextModel(config).requires_grad_(False).eval()
    network = random_network(find_text_encoder_sites(encoder, "sd1", "lora_te"))
    path = tmp_path / "a.safetensors"
    save_lora(path, network.state_dict(), {}, torch.float32)
    tokens = torch.arange(20).view(2, 10)
    plain = encoder(tokens).last_hidden_state
    with network.attached():
        ours = encoder(tokens).last_hidden_state

    state, alphas = StableDiffusionPipeline.lora_state_dict(str(path))[:2]
    StableDiffusionPipeline.load_lora_into_text_encoder(
        state, network_alphas=alphas, text_encoder=encoder, prefix="text_encoder"
    )
    assert peft_layers(encoder) == len(network.adapters) == 18
    torch.testing.assert_close(encoder(tokens).last_hidden_state, ours, rtol=1e-4, atol=1e-4)
    assert (ours - plain).abs().max() > 0.05
