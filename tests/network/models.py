"""Models to hang adapters on: full-size ones on the meta device (no memory), small ones with weights."""

from __future__ import annotations

from collections import OrderedDict

import torch
from diffusers import UNet2DConditionModel
from ldm.modules.attention import BasicTransformerBlock
from ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

_SIZES = {
    "sd1": {"cross_attention_dim": 768, "attention_head_dim": 8},
    "sd2": {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True},
    "sdxl": {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20),
        "transformer_layers_per_block": (1, 2, 10),
        "use_linear_projection": True,
    },
}
_LDM = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "num_res_blocks": 2,
    "use_spatial_transformer": True,
    "legacy": False,
}


def diffusers_unet(family: str) -> nn.Module:
    with torch.device("meta"):
        return UNet2DConditionModel(**{"block_out_channels": (320, 640, 1280, 1280), **_SIZES[family]})


def ldm_unet(family: str) -> nn.Module:
    """The real LDM class for SD1 and SD2. SDXL's SGM class has the same names and other depths: put in by hand."""
    attention = {"num_heads": 8} if family == "sd1" else {"num_head_channels": 64, "use_linear_in_transformer": True}
    width = {"sd1": 768, "sd2": 1024, "sdxl": 2048}[family]
    levels = {"channel_mult": [1, 2, 4, 4], "attention_resolutions": [4, 2, 1]}
    if family == "sdxl":
        levels = {"channel_mult": [1, 2, 4], "attention_resolutions": [4, 2]}
    with torch.device("meta"):
        unet = UNetModel(**_LDM, model_channels=320, context_dim=width, **levels, **attention)
        if family == "sdxl":
            for module in unet.modules():
                if hasattr(module, "transformer_blocks"):
                    channels = module.proj_in.out_features
                    depth = {640: 2, 1280: 10}[channels]
                    blocks = [
                        BasicTransformerBlock(channels, channels // 64, 64, context_dim=width) for _ in range(depth)
                    ]
                    module.transformer_blocks = nn.ModuleList(blocks)
    return unet


def clip_text(layers: int, width: int, projection: bool = False) -> nn.Module:
    config = CLIPTextConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=width // 64
    )
    with torch.device("meta"):
        return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


class ResidualAttentionBlock(nn.Module):
    """A layer of an OpenCLIP tower: names, order and arithmetic of open_clip's."""

    def __init__(self, width: int, heads: int, batch_first: bool = False) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=batch_first)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(width, 4 * width), gelu=nn.GELU(), c_proj=nn.Linear(4 * width, width))
        )

    def forward(self, x, mask):
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Tower(nn.Module):
    def __init__(self, layers: int, width: int, heads: int, batch_first: bool = False) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(ResidualAttentionBlock(width, heads, batch_first) for _ in range(layers))

    def forward(self, x, mask):
        for block in self.resblocks:
            x = block(x, mask)
        return x


def openclip_text(layers: int, width: int) -> nn.Module:
    """An OpenCLIP model in an embedder's `model`, with a picture tower that must not be touched."""
    with torch.device("meta"):
        clip = nn.Module()
        clip.visual = nn.Module()
        clip.visual.transformer = Tower(2, width, 4)
        clip.transformer = Tower(layers, width, width // 64)
        embedder = nn.Module()
        embedder.model = clip
    return embedder


def small_unet_pair(family: str) -> tuple[nn.Module, nn.Module]:
    """The same random weights in diffusers' and in LDM's U-Net, for inputs (batch, 4, 16, 16) and contexts of 32."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    torch.manual_seed(3)
    attention = {"num_heads": 4} if family == "sd1" else {"num_head_channels": 8, "use_linear_in_transformer": True}
    levels = {"model_channels": 32, "channel_mult": [1, 2, 2, 2], "attention_resolutions": [4, 2, 1]}
    ldm = UNetModel(**_LDM, **levels, context_dim=32, **attention)
    for parameter in ldm.parameters():  # LDM starts its last layers at zero, which would hide faults
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    diffusers = UNet2DConditionModel(
        block_out_channels=(32, 64, 64, 64),
        cross_attention_dim=32,
        attention_head_dim=4 if family == "sd1" else (4, 8, 8, 8),
        use_linear_projection=family == "sd2",
    )
    state = {f"model.diffusion_model.{name}": value for name, value in ldm.state_dict().items()}
    diffusers.load_state_dict(convert_ldm_unet_checkpoint(state, dict(diffusers.config)))
    return diffusers.requires_grad_(False), ldm.requires_grad_(False)
