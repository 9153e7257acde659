"""Names of the original layout: against diffusers' own conversion, against the original U-Net, and there and back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lib_lora_train.host import ldm_keys
from lib_lora_train.host.architecture import from_ldm, standard
from tests.helpers.full_size import full_size_shapes


@pytest.fixture(scope="module")
def shapes():
    return full_size_shapes()


def _part(shapes, prefix):
    return {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)}


def test_counts_of_stable_diffusion_15(shapes):
    prefixes = (ldm_keys.UNET_PREFIX, ldm_keys.VAE_PREFIX, ldm_keys.TEXT_PREFIX)
    assert [len(_part(shapes, prefix)) for prefix in prefixes] == [686, 248, 196]
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 1_066_235_307


@pytest.mark.parametrize(
    ("ldm", "diffusers"),
    [
        ("input_blocks.0.0.weight", "conv_in.weight"),
        ("input_blocks.3.0.op.bias", "down_blocks.0.downsamplers.0.conv.bias"),
        ("input_blocks.4.0.skip_connection.weight", "down_blocks.1.resnets.0.conv_shortcut.weight"),
        ("input_blocks.8.1.proj_in.weight", "down_blocks.2.attentions.1.proj_in.weight"),
        ("middle_block.2.emb_layers.1.bias", "mid_block.resnets.1.time_emb_proj.bias"),
        ("output_blocks.2.1.conv.weight", "up_blocks.0.upsamplers.0.conv.weight"),
        ("output_blocks.5.2.conv.weight", "up_blocks.1.upsamplers.0.conv.weight"),
        (
            "output_blocks.11.1.transformer_blocks.0.attn2.to_out.0.bias",
            "up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_out.0.bias",
        ),
    ],
)
def test_unet_names_of_stable_diffusion_15(ldm, diffusers):
    table = ldm_keys.unet_modules(2, (True, True, True, False))
    assert ldm_keys.rename([ldm], table) == {ldm: diffusers}


def test_unet_names_agree_with_diffusers(shapes):
    utils = pytest.importorskip("diffusers.loaders.single_file_utils")
    ours = ldm_keys.rename(_part(shapes, ldm_keys.UNET_PREFIX), ldm_keys.unet_modules(2, (True, True, True, False)))
    marked = {ldm_keys.UNET_PREFIX + name: name for name in ours}  # a name in place of each tensor
    theirs = utils.convert_ldm_unet_checkpoint(marked, standard().unet)
    assert {ldm: name for name, ldm in theirs.items()} == ours


def test_vae_names_agree_with_diffusers(shapes):
    utils = pytest.importorskip("diffusers.loaders.single_file_utils")
    names = _part(shapes, ldm_keys.VAE_PREFIX)
    ours = ldm_keys.rename(names, ldm_keys.vae_modules(2, 4))
    numbers = {name: float(index) for index, name in enumerate(names)}
    marked = {ldm_keys.VAE_PREFIX + name: torch.full((1,) * len(shape), numbers[name]) for name, shape in names.items()}
    theirs = utils.convert_ldm_vae_checkpoint(marked, standard().vae)
    assert {name: float(tensor.flatten()[0]) for name, tensor in theirs.items()} == {
        inside: numbers[name] for name, inside in ours.items()
    }


@given(
    layers=st.integers(1, 3),
    attention=st.lists(st.booleans(), min_size=1, max_size=5),
    levels=st.integers(1, 5),
)
def test_tables_are_one_to_one(layers, attention, levels):
    for table in (ldm_keys.unet_modules(layers, tuple(attention)), ldm_keys.vae_modules(layers, levels)):
        assert len(set(table.values())) == len(table)
        names = [f"{module}.weight" for module in table]
        there = ldm_keys.rename(names, table)
        back = ldm_keys.rename(there.values(), ldm_keys.reverse(table))
        assert [back[there[name]] for name in names] == names


def test_unknown_names_are_left_out():
    assert ldm_keys.rename(["ema.decay", "out.2.weight"], ldm_keys.unet_modules(2, (True,))) == {
        "out.2.weight": "conv_out.weight"
    }


def test_sizes_are_read_from_shapes(shapes):
    assert from_ldm(shapes, {}, "x") == standard()


def test_original_unet_and_ours_compute_the_same():
    """The same weights in the original U-Net and, by our names, in diffusers'."""
    openaimodel = pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
    from diffusers import UNet2DConditionModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        original = openaimodel.UNetModel(
            image_size=8,
            in_channels=4,
            out_channels=4,
            model_channels=32,
            attention_resolutions=[2, 1],
            num_res_blocks=2,
            channel_mult=[1, 2, 2],
            num_heads=4,
            use_spatial_transformer=True,
            transformer_depth=1,
            context_dim=24,
            use_checkpoint=False,
            legacy=False,
        ).eval()
        # The original starts with its last convolutions at zero, which would hide any mistake.
        for parameter in original.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.05)
        noisy, context = torch.randn(2, 4, 16, 8), torch.randn(2, 7, 24)
    weights = original.state_dict()
    prefixed = {ldm_keys.UNET_PREFIX + name: tuple(tensor.shape) for name, tensor in weights.items()}
    model = from_ldm(prefixed | _other_parts(), {"model": {"params": _heads(4)}}, "x")
    assert model.unet["block_out_channels"] == [32, 64, 64]
    assert model.unet["down_block_types"] == ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"]
    ours = UNet2DConditionModel.from_config(model.unet).eval()
    table = ldm_keys.unet_modules(model.shape.unet_layers, model.shape.unet_attention)
    ours.load_state_dict({inside: weights[name] for name, inside in ldm_keys.rename(weights, table).items()})
    timesteps = torch.tensor([17, 801])
    with torch.no_grad():
        expected = original(noisy, timesteps, context)
        got = ours(noisy, timesteps, context).sample
    assert expected.std() > 0.05
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def _heads(count):
    return {"unet_config": {"params": {"num_heads": count}}}


def _other_parts():
    return {name: shape for name, shape in full_size_shapes().items() if not name.startswith(ldm_keys.UNET_PREFIX)}


def test_full_size_names_and_shapes_are_the_originals(shapes):
    openaimodel = pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
    with torch.device("meta"):
        original = openaimodel.UNetModel(
            image_size=32,
            in_channels=4,
            out_channels=4,
            model_channels=320,
            attention_resolutions=[4, 2, 1],
            num_res_blocks=2,
            channel_mult=[1, 2, 4, 4],
            num_heads=8,
            use_spatial_transformer=True,
            transformer_depth=1,
            context_dim=768,
            use_checkpoint=False,
            legacy=False,
        )
    expected = {name: tuple(tensor.shape) for name, tensor in original.state_dict().items()}
    assert _part(shapes, ldm_keys.UNET_PREFIX) == expected


def test_original_autoencoder_and_ours_compute_the_same():
    """Encoder and decoder of the original; its attention holds 1x1 convolutions, its levels count the other way."""
    original = pytest.importorskip("ldm.modules.diffusionmodules.model")
    from diffusers import AutoencoderKL

    sizes = {
        "ch": 32,
        "out_ch": 3,
        "ch_mult": (1, 2, 2),
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "in_channels": 3,
        "resolution": 32,
        "z_channels": 4,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = nn.ModuleDict(
            {
                "encoder": original.Encoder(double_z=True, **sizes),
                "decoder": original.Decoder(**sizes),
                "quant_conv": nn.Conv2d(8, 8, 1),
                "post_quant_conv": nn.Conv2d(4, 4, 1),
            }
        ).eval()
        pixels, latents = torch.rand(1, 3, 32, 48) * 2 - 1, torch.randn(1, 4, 8, 12)
    weights = parts.state_dict()
    config = standard().vae | {
        "block_out_channels": [32, 64, 64],
        "layers_per_block": 1,
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
    }
    ours = AutoencoderKL.from_config(config).eval()
    renamed = {inside: weights[name] for name, inside in ldm_keys.rename(weights, ldm_keys.vae_modules(1, 3)).items()}
    for name in renamed:
        if ldm_keys.is_vae_attention_weight(name):
            renamed[name] = renamed[name][:, :, 0, 0]
    ours.load_state_dict(renamed)
    with torch.no_grad():
        moments = parts["quant_conv"](parts["encoder"](pixels))
        torch.testing.assert_close(ours.encode(pixels).latent_dist.parameters, moments, rtol=1e-4, atol=1e-5)
        picture = parts["decoder"](parts["post_quant_conv"](latents))
        torch.testing.assert_close(ours.decode(latents).sample, picture, rtol=1e-4, atol=1e-5)
