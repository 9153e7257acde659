"""The memory prediction against the published table, and against real U-Nets run on the meta device."""

import weakref
from collections import Counter

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lib_lora_train.host.recompute import diffusers_blocks, recomputed
from lib_lora_train.network.keys import find_text_encoder_sites, find_unet_sites
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.settings.tables import NetworkSettings
from lib_lora_train.train.memory import (
    FAMILIES,
    GB,
    UNetShape,
    activation_bytes,
    blocks_to_recompute,
    lora_parameters,
    memory_need,
    recomputable_blocks,
    recomputes_layers,
    text_activation_bytes,
    text_lora_parameters,
    unet_memory,
)

diffusers = pytest.importorskip("diffusers")

_SDXL = {
    "cross_attention_dim": 2048,
    "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
CONFIGS = {
    "sd1": {"cross_attention_dim": 768, "attention_head_dim": 8},
    "sd2": {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True},
    "sdxl": _SDXL,
}


def meta_unet(family):
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(**CONFIGS[family]).to(torch.bfloat16)
    return unet.eval().requires_grad_(False)


def meta_network(sites, rank, dtype=torch.float32):
    network = AdapterNetwork(sites, NetworkSettings(network_dim=1, network_alpha=1.0), seed=0)
    for adapter in network.adapters.values():
        adapter.rank = rank
        for name, dimension in (("lora_down", 0), ("lora_up", 1)):
            shape = list(getattr(adapter, name).shape)
            shape[dimension] = rank
            setattr(adapter, name, nn.Parameter(torch.empty(shape, device="meta", dtype=dtype)))
    return network


class FlashAttention(torch.autograd.Function):
    """Keeps what the flash kernel keeps: inputs, output, and the logarithm of the sums in fp32."""

    @staticmethod
    def forward(ctx, query, key, value):
        batch, heads, tokens, width = query.shape
        out = torch.empty(batch, tokens, heads, width, dtype=query.dtype, device=query.device).transpose(1, 2)
        sums = torch.empty(batch, heads, tokens, dtype=torch.float32, device=query.device)
        ctx.save_for_backward(query, key, value, out, sums)
        return out

    @staticmethod
    def backward(ctx, gradient):
        query, key, value, _, _ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


@pytest.fixture
def flash(monkeypatch):
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda query, key, value, **_: FlashAttention.apply(query, key, value)
    )


def run_unet(unet, family, width, height, batch):
    def empty(*shape):
        return torch.empty(*shape, dtype=torch.bfloat16, device="meta")

    added = {"text_embeds": empty(batch, 1280), "time_ids": empty(batch, 6)} if family == "sdxl" else None
    times = torch.zeros(batch, dtype=torch.int64, device="meta")
    context = empty(batch, 77, unet.config.cross_attention_dim)
    return unet(empty(batch, 4, height // 8, width // 8), times, context, added_cond_kwargs=added).sample


def frozen_storages(*modules):
    return {parameter.untyped_storage()._cdata for module in modules for parameter in module.parameters()}


class SavedBytes:
    """Bytes that autograd saves, by block, each storage once."""

    def __init__(self, skip):
        self.seen, self.kept, self.stack = set(skip), [], ["conv_out"]
        self.by_block = Counter()

    def watch(self, root):
        for name, module in root.named_modules():
            if name.split(".")[-2:-1] and name.split(".")[-2] in (
                "resnets",
                "attentions",
                "downsamplers",
                "upsamplers",
            ):
                module.register_forward_pre_hook(lambda *_, name=name: self.stack.append(name))
                module.register_forward_hook(lambda *_: self.stack.pop() and None)

    def __call__(self, tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in self.seen:
            self.seen.add(storage._cdata)
            self.kept.append(tensor)  # else another storage could get the same address
            self.by_block[self.stack[-1]] += storage.nbytes()
        return tensor


class LiveBytes(TorchDispatchMode):
    """The highest sum of all storages alive at once, parameters not counted."""

    def __init__(self, skip):
        super().__init__()
        self.skip, self.alive, self.now, self.peak = skip, {}, 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        self.peak = max(self.peak, self.now)
        return out

    def _add(self, storage):
        key, size = storage._cdata, storage.nbytes()
        if key in self.alive or key in self.skip:
            return

        def gone(_):
            del self.alive[key]
            self.now -= size

        self.now += size
        self.alive[key] = weakref.ref(storage, gone)


# ---------------------------------------------------------------------------------------------- the published table


TABLE = [
    # family, pixels, batch, GB not recomputed, GB all recomputed; rank 16, 16 bit
    ("sd1", 512, 1, 0.95, 0.18),
    ("sd1", 512, 2, 1.89, 0.36),
    ("sd1", 512, 4, 3.78, 0.72),
    ("sd1", 768, 1, 2.12, None),
    ("sdxl", 1024, 1, 6.76, 0.71),
    ("sdxl", 1024, 2, 13.5, 1.42),
    ("sdxl", 1024, 4, 27.0, 2.84),
]


@pytest.mark.parametrize(("family", "pixels", "batch", "plain", "checkpointed"), TABLE)
def test_activations_are_within_a_tenth_of_the_table(family, pixels, batch, plain, checkpointed):
    shape = FAMILIES[family].unet
    assert activation_bytes(shape, pixels, pixels, batch) / GB == pytest.approx(plain, rel=0.1)
    if checkpointed is not None:
        names = set(recomputable_blocks(shape, recomputes_layers(shape)))
        assert activation_bytes(shape, pixels, pixels, batch, recomputed=names) / GB == pytest.approx(
            checkpointed, rel=0.1
        )


def test_other_terms_are_those_of_the_table():
    sd1, sdxl = FAMILIES["sd1"], FAMILIES["sdxl"]
    assert lora_parameters(sd1.unet, 16) == 6_782_976
    assert lora_parameters(sdxl.unet, 16) == 42_557_440
    assert memory_need(sd1, 512, 512, 1, 2, 16, False).adapter / GB == pytest.approx(0.11, abs=0.005)
    assert memory_need(sdxl, 1024, 1024, 1, 2, 128, False).adapter / GB == pytest.approx(5.4, abs=0.1)
    assert [sd1.unet_parameters * 2 / GB, sdxl.unet_parameters * 2 / GB] == pytest.approx([1.72, 5.14], abs=0.01)
    assert [sd1.text_parameters * 2 / GB, sdxl.text_parameters * 2 / GB] == pytest.approx([0.25, 1.64], abs=0.01)
    # Totals: context, U-Net, adapters of rank 16, activations.
    assert memory_need(sd1, 512, 512, 1, 2, 16, False).total / GB == pytest.approx(3.3, rel=0.05)
    assert memory_need(sd1, 512, 512, 4, 2, 16, False).total / GB == pytest.approx(6.1, rel=0.05)
    assert memory_need(sdxl, 1024, 1024, 1, 2, 16, False).total / GB == pytest.approx(13.1, rel=0.05)
    names = recomputable_blocks(sdxl.unet, True)
    assert memory_need(sdxl, 1024, 1024, 1, 2, 16, False, names).total / GB == pytest.approx(7.0, rel=0.05)


def test_what_the_host_already_holds_is_not_counted():
    family = FAMILIES["sd1"]
    alone, inside = (memory_need(family, 512, 512, 1, 2, 16, True, resident=held) for held in (False, True))
    assert (inside.model, inside.context) == (0, 0)
    assert (inside.adapter, inside.activations) == (alone.adapter, alone.activations)
    assert alone.model == (859_520_964 + 123_060_480) * 2


# ------------------------------------------------------------------------------------------------- the real U-Nets


@pytest.mark.parametrize("family", CONFIGS)
def test_names_parameters_and_sites_are_those_of_the_real_unet(family):
    unet, known = meta_unet(family), FAMILIES[family]
    assert UNetShape.from_config(unet.config) == known.unet
    assert sum(parameter.numel() for parameter in unet.parameters()) == known.unet_parameters
    assert recomputable_blocks(known.unet, False) == diffusers_blocks(unet)
    fine = set(recomputable_blocks(known.unet, True))
    assert fine == {
        name
        for name, _ in unet.named_modules()
        if name.split(".")[-2:-1] and name.split(".")[-2] in ("resnets", "transformer_blocks")
    }
    sites = find_unet_sites(unet, family)
    assert 8 * sum(site.in_features + site.out_features for site in sites) == lora_parameters(known.unet, 8)


@pytest.mark.parametrize(
    ("family", "width", "height", "batch"), [("sd1", 512, 512, 2), ("sd2", 768, 576, 1), ("sdxl", 832, 1152, 1)]
)
def test_every_block_saves_what_is_predicted(family, width, height, batch, flash):
    unet = meta_unet(family)
    network = meta_network(find_unet_sites(unet, family), 16, torch.bfloat16)  # so that there are no 16-bit copies
    saved = SavedBytes(frozen_storages(unet) | {p.untyped_storage()._cdata for p in network.parameters()})
    saved.watch(unet)
    with network.attached(), saved_tensors_hooks(saved, lambda tensor: tensor):
        run_unet(unet, family, width, height, batch)
    predicted = {
        part.name: part.held + part.saved
        for part in unet_memory(FAMILIES[family].unet, width, height, batch, 2, 16, False)
    }
    assert set(saved.by_block) <= set(predicted)
    for name, size in predicted.items():
        # The text encoding and its halves of the adapters are small, and belong to the first block that reads them.
        assert saved.by_block[name] == pytest.approx(size, rel=0.01, abs=600_000 * batch), name
    assert saved.by_block.total() == pytest.approx(sum(predicted.values()), rel=0.005)


@pytest.mark.parametrize(
    ("family", "pixels", "fine", "count"),
    [("sd1", 512, False, 0), ("sd1", 512, False, 10), ("sd1", 512, False, 38), ("sdxl", 768, True, 87)],
)
def test_the_peak_of_a_step_is_as_predicted(family, pixels, fine, count, flash):
    unet, shape = meta_unet(family), FAMILIES[family].unet
    network = meta_network(find_unet_sites(unet, family), 16)
    names = recomputable_blocks(shape, fine)[:count]
    skip = frozen_storages(unet) | {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    with network.attached(), recomputed(unet, names), LiveBytes(skip) as live:
        run_unet(unet, family, pixels, pixels, 1).sum().backward()
    # Gradients of the adapters are held at the end of the backward pass; they are counted with the adapters.
    gradients = 4 * lora_parameters(shape, 16)
    copies = 2 * lora_parameters(shape, 16) if count else 0
    predicted = activation_bytes(shape, pixels, pixels, 1, recomputed=names)
    assert live.peak - gradients <= predicted * 1.04
    assert live.peak >= (predicted - copies) * 0.95


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_text_encoders_are_predicted(family):
    transformers = pytest.importorskip("transformers")
    total, count = 0, 0
    for layers, width, _ in FAMILIES[family].text:
        config = transformers.CLIPTextConfig(
            hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=width // 64,
            hidden_act="quick_gelu" if width == 768 else "gelu", attn_implementation="eager", projection_dim=width,
        )  # fmt: skip
        with torch.device("meta"):
            kind = transformers.CLIPTextModelWithProjection if width == 1280 else transformers.CLIPTextModel
            model = kind(config).to(torch.bfloat16)
        model.eval().requires_grad_(False)
        count += sum(parameter.numel() for parameter in model.parameters())
        network = meta_network(find_text_encoder_sites(model, "sd1", "lora_te"), 16, torch.bfloat16)
        saved = SavedBytes(frozen_storages(model) | {p.untyped_storage()._cdata for p in network.parameters()})
        tokens = torch.zeros(2, 77, dtype=torch.int64, device="meta")
        with network.attached(), saved_tensors_hooks(saved, lambda tensor: tensor):
            model(input_ids=tokens)
        total += saved.by_block.total()
    assert count == FAMILIES[family].text_parameters
    assert text_activation_bytes(FAMILIES[family], 2) == pytest.approx(total, rel=0.1)


def test_text_adapters_are_counted():
    assert text_lora_parameters(FAMILIES["sd1"], 1) == 12 * (4 * 2 * 768 + 2 * 5 * 768)


# ----------------------------------------------------------------------------------------------- as few as it needs


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(FAMILIES)), st.integers(1, 4), st.floats(0.02, 1.1))
def test_as_few_blocks_as_the_memory_needs(family, batch, share):
    shape = FAMILIES[family].unet
    free = int(activation_bytes(shape, 512, 768, batch) * share)
    names = blocks_to_recompute(free, shape, 512, 768, batch)
    order = recomputable_blocks(shape, recomputes_layers(shape))
    if names is None:
        assert activation_bytes(shape, 512, 768, batch, recomputed=order) > free
        return
    assert names == order[: len(names)]
    assert activation_bytes(shape, 512, 768, batch, recomputed=names) <= free
    if names:
        assert activation_bytes(shape, 512, 768, batch, recomputed=names[:-1]) > free


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(FAMILIES)),
    st.integers(4, 16),
    st.integers(4, 16),
    st.integers(1, 4),
    st.sampled_from([2, 4]),
)
def test_memory_grows_with_everything(family, width, height, batch, element):
    shape = FAMILIES[family].unet
    size = activation_bytes(shape, 64 * width, 64 * height, batch, element)
    assert activation_bytes(shape, 64 * width + 64, 64 * height, batch, element) > size
    assert activation_bytes(shape, 64 * width, 64 * height, batch + 1, element) > size
    assert activation_bytes(shape, 64 * width, 64 * height, batch, element, rank=64) > size
    assert (
        activation_bytes(shape, 64 * width, 64 * height, batch, element, recomputable_blocks(shape, False)[:3]) <= size
    )


def test_small_and_odd_models_are_read_from_their_config():
    config = {"block_out_channels": [32, 64], "layers_per_block": 1, "cross_attention_dim": 64, "attention_head_dim": 4}
    config |= {"down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"]}
    shape = UNetShape.from_config(config)
    assert shape == UNetShape((32, 64), 1, (1, 0), 1, (4, 4), 64)
    assert recomputable_blocks(shape, False) == [
        "down_blocks.0.resnets.0", "down_blocks.0.attentions.0", "down_blocks.1.resnets.0",
        "mid_block.resnets.0", "mid_block.attentions.0", "mid_block.resnets.1",
        "up_blocks.0.resnets.0", "up_blocks.0.resnets.1",
        "up_blocks.1.resnets.0", "up_blocks.1.attentions.0", "up_blocks.1.resnets.1", "up_blocks.1.attentions.1",
    ]  # fmt: skip
    assert activation_bytes(shape, 104, 104, 1, 4) > activation_bytes(shape, 96, 96, 1, 4)
