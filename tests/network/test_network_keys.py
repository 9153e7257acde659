"""Key names against kohya's own: the hashes were taken of the lists that sd-scripts' networks.lora makes."""

from __future__ import annotations

import hashlib

import pytest
import torch
from torch import nn

from lib_lora_train.errors import UserError
from lib_lora_train.network.keys import TEXT_ENCODER_PREFIXES, find_text_encoder_sites, find_unet_sites, unread_keys
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.settings.tables import NetworkSettings
from tests.network.models import clip_text, diffusers_unet, ldm_unet, openclip_text

# SHA-256 of kohya's key names, one a line: sorted; in kohya's order; and sorted lines "name [shape]" at rank 4.
# SD2's shapes are those kohya writes when it trains on a diffusers folder: from a single file it makes convolutions of
# the linear projections, and such LoRAs do not load in diffusers (we read both).
KOHYA = {
    "sd1": (
        "3b0b58f74c4028ff0a5fc6dced3aca89994271e636ccb8378589702b85067cc4",
        "84cca46496a9f1a0da4adf227140ecdc3f91eac8a912581186fd5dddc8bb4753",
        "48d789e0489e4fa41aa151ef1f8cbdafae74441c95bb442ff6e5b6141635c44c",
    ),
    "sd2": (
        "1d7e05c4353d4a57668635cc65c95d13ec2e32bf5a67499791ae3228d536476f",
        "f12a297e108ef67edba1c5089f7a8c3f808be0e0ac5ea189f5c5b97a793ec8e5",
        "9aaef2c5f679f57e013bcc121575f0df7c23573849e654095c0734107662e907",
    ),
    "sdxl": (
        "1063b91c0a4164d0d184003241903ddb45ea2789384d465a17bbc942e6c871ff",
        "a825bc5de750e5bcae8cf37859f4026286045358edc680b4782e8ece10c7accd",
        "56cb17cc87dc6613b2346f93319542448798ed41e70aaa1689907dfbf883f60d",
    ),
}
COUNTS = {"sd1": (72, 192), "sd2": (138, 192), "sdxl": (264, 722)}
# As the WebUI holds them: CLIP-L is Hugging Face's, in wrappers; SD2's and SDXL's second encoder are OpenCLIP's.
TEXT_ENCODERS = {
    ("sd1", "diffusers"): lambda: [clip_text(12, 768)],
    ("sd2", "diffusers"): lambda: [clip_text(23, 1024)],
    ("sdxl", "diffusers"): lambda: [clip_text(12, 768), clip_text(32, 1280, projection=True)],
    ("sd1", "ldm"): lambda: [wrapped(clip_text(12, 768))],
    ("sd2", "ldm"): lambda: [wrapped(openclip_text(24, 1024))],
    ("sdxl", "ldm"): lambda: [wrapped(clip_text(12, 768)), wrapped(openclip_text(32, 1280))],
}


def wrapped(model: nn.Module) -> nn.Module:
    outer, inner = nn.Module(), nn.Module()
    inner.transformer = model
    outer.wrapped = inner
    return outer


def digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def all_sites(family: str, naming: str):
    encoders = TEXT_ENCODERS[family, naming]()
    prefixes = TEXT_ENCODER_PREFIXES[family]
    sites = [
        site
        for pair in zip(encoders, prefixes, strict=True)
        for site in find_text_encoder_sites(pair[0], family, pair[1])
    ]
    return sites + find_unet_sites(diffusers_unet(family) if naming == "diffusers" else ldm_unet(family), family)


@pytest.mark.parametrize(("family", "naming"), list(TEXT_ENCODERS))
def test_keys_order_and_shapes_are_kohyas(family, naming):
    sites = all_sites(family, naming)
    keys = [site.key for site in sites]
    components = [site.component for site in sites]
    assert (components.count("text_encoder"), components.count("unet")) == COUNTS[family]
    assert digest(sorted(keys)) == KOHYA[family][0]
    assert digest(keys) == KOHYA[family][1]
    network = AdapterNetwork(sites, NetworkSettings(network_dim=4, network_alpha=1.0), seed=0)
    lines = [f"{name} {list(tensor.shape)}" for name, tensor in network.state_dict().items()]
    assert digest(sorted(lines)) == KOHYA[family][2]


def test_sites_name_the_part_of_the_hosts_model():
    blocks = {site.key: site.block for site in find_unet_sites(ldm_unet("sd1"), "sd1")}
    assert blocks["lora_unet_down_blocks_0_attentions_0_proj_in"] == "input_blocks.1.1"
    assert blocks["lora_unet_down_blocks_2_attentions_1_proj_in"] == "input_blocks.8.1"
    assert blocks["lora_unet_mid_block_attentions_0_proj_out"] == "middle_block.1"
    assert blocks["lora_unet_up_blocks_1_attentions_0_proj_in"] == "output_blocks.3.1"
    assert blocks["lora_unet_up_blocks_3_attentions_2_proj_in"] == "output_blocks.11.1"
    blocks = {site.key: site.block for site in find_unet_sites(diffusers_unet("sdxl"), "sdxl")}
    assert blocks["lora_unet_input_blocks_4_1_proj_in"] == "down_blocks.1.attentions.0"
    assert blocks["lora_unet_input_blocks_8_1_proj_in"] == "down_blocks.2.attentions.1"
    assert blocks["lora_unet_output_blocks_0_1_proj_in"] == "up_blocks.0.attentions.0"
    assert blocks["lora_unet_output_blocks_5_1_proj_in"] == "up_blocks.1.attentions.2"


def test_only_transformer_layers_are_sites():
    unet = diffusers_unet("sd1")
    names = {module: name for name, module in unet.named_modules()}
    assert all(".attentions." in names[site.module] for site in find_unet_sites(unet, "sd1"))
    kinds = [site.kind for site in find_unet_sites(unet, "sd1")]
    assert (kinds.count("conv"), kinds.count("linear")) == (32, 160)


def test_fused_attention_is_sliced_into_query_key_value_and_output():
    sites = {site.key: site for site in find_text_encoder_sites(openclip_text(2, 64), "sdxl", "lora_te2")}
    layer = "lora_te2_text_model_encoder_layers_1"
    rows = {name: sites[f"{layer}_self_attn_{name}_proj"].rows for name in ("q", "k", "v", "out")}
    assert rows == {"q": (0, 64), "k": (64, 128), "v": (128, 192), "out": None}
    attention = {sites[f"{layer}_self_attn_{name}_proj"] for name in rows}
    assert {(site.kind, type(site.module)) for site in attention} == {("attention_slice", nn.MultiheadAttention)}
    assert sites[f"{layer}_mlp_fc1"].out_features == 256
    assert sites[f"{layer}_mlp_fc2"].in_features == 256
    assert len(sites) == 12


class HostLinear(nn.Module):
    """Like Forge's Linear, no subclass of torch's."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.empty(out_features, in_features))


def test_a_hosts_own_linear_class_is_found():
    unet = diffusers_unet("sd2")
    with torch.device("meta"):
        unet.mid_block.attentions[0].proj_in = HostLinear(1280, 1280)
    keys = [site.key for site in find_unet_sites(unet, "sd2")]
    assert digest(sorted(keys)) == digest(sorted(site.key for site in find_unet_sites(diffusers_unet("sd2"), "sd2")))


def test_levels_are_counted_by_structure_not_by_a_table():
    """A smaller U-Net with one layer less per level still gets the names that diffusers gives it."""
    from diffusers import UNet2DConditionModel
    from ldm.modules.diffusionmodules.openaimodel import UNetModel

    with torch.device("meta"):
        diffusers = UNet2DConditionModel(
            block_out_channels=(32, 64, 64, 64), layers_per_block=1, cross_attention_dim=32
        )
        ldm = UNetModel(
            image_size=8, in_channels=4, out_channels=4, model_channels=32, num_res_blocks=1, channel_mult=[1, 2, 2, 2],
            attention_resolutions=[4, 2, 1], num_heads=8, use_spatial_transformer=True, context_dim=32, legacy=False,
        )  # fmt: skip
    ours = [site.key for site in find_unet_sites(diffusers, "sd1")]
    assert [site.key for site in find_unet_sites(ldm, "sd1")] == ours
    assert len(ours) == 10 * 12
    assert "lora_unet_up_blocks_3_attentions_1_proj_in" in ours


@pytest.mark.parametrize(
    ("family", "clip_skip", "layers"),
    [("sd1", 1, set()), ("sd1", 2, {11}), ("sd1", 3, {10, 11}), ("sd2", 1, set()), ("sd2", 2, {22})],
)
def test_layers_above_the_one_that_is_read_get_no_gradient(family, clip_skip, layers):
    encoder = clip_text(12, 768) if family == "sd1" else openclip_text(24, 1024)
    keys = [site.key for site in find_text_encoder_sites(encoder, family, "lora_te")]
    unread = unread_keys(keys, family, clip_skip)
    assert unread == {key for key in keys if int(key.split("_layers_")[1].split("_")[0]) in layers}
    assert len(unread) == 6 * len(layers)


def test_sdxl_reads_the_last_but_one_layer_of_its_first_encoder_only():
    keys = [site.key for site in all_sites("sdxl", "diffusers")]
    unread = unread_keys(keys, "sdxl", clip_skip=2)
    assert unread == {key for key in keys if key.startswith("lora_te1_text_model_encoder_layers_11_")}
    assert len(unread) == 6


def test_unknown_models_are_refused_by_name():
    with pytest.raises(UserError) as error:
        find_unet_sites(nn.Sequential(nn.Linear(2, 2)), "sd1")
    assert (error.value.code, error.value.where) == ("network.unet_unknown", "Sequential")
    with pytest.raises(UserError) as error:
        find_text_encoder_sites(nn.Linear(2, 2), "sd1", "lora_te")
    assert (error.value.code, error.value.where) == ("network.text_encoder_unknown", "Linear")
