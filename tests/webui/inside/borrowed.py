"""Called within the WebUI by tests/webui/test_webui_model.py: the loaded model as a training sees it.

All work is done on a copy of the model, so that nothing has to be put back.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from modules import call_queue, devices, prompt_parser, sd_hijack, shared
from torch import Tensor, nn

from lib_lora_train.host.base import BorrowRequest, CheckpointInfo
from lib_lora_train.host.webui.attention import training_attention
from lib_lora_train.host.webui.facts import read_facts
from lib_lora_train.host.webui.model import WebuiModel
from lib_lora_train.network.keys import unread_keys
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.settings.tables import NetworkSettings
from lib_lora_train.train.memory import UNetShape, activation_bytes, recomputable_blocks, recomputes_layers
from tests.webui.inside.clip_reference import Reference

SIDE = 16  # of the latents
BF16 = torch.bfloat16  # the half precision that a processor can compute in


class Stays:
    """All parts lie where they are."""

    def use(self, part: str) -> None: ...

    def rest(self, part: str) -> None: ...


@contextmanager
def borrowed(half: bool = False, **request: Any) -> Iterator[WebuiModel]:
    """A frozen copy of the loaded model; `half` in bf16, as a GPU would hold it in fp16."""
    with call_queue.queue_lock:
        hijack = sd_hijack.model_hijack
        sd_model = copy.deepcopy(shared.sd_model, {id(hijack): hijack}).requires_grad_(False).eval()
        usual = devices.dtype_unet
        if half:
            schedule = sd_model.alphas_cumprod_original
            sd_model.to(BF16)
            sd_model.alphas_cumprod_original, devices.dtype_unet = schedule, BF16
        try:
            model = WebuiModel(sd_model, _info(), BorrowRequest("", **request), Stays())
            with training_attention(), model, torch.enable_grad():
                yield model
        finally:
            devices.dtype_unet = usual


def encodes(prompts: list[str], cases: list[tuple[int, int]]) -> dict[str, Any]:
    """How far our encoding lies from that of transformers' CLIP with the same weights, for (clip skip, tokens)."""
    found = []
    with borrowed() as model, torch.no_grad():
        reference = Reference(model.sd_model, model.family)
        tokens = [model.count_tokens(prompt) for prompt in prompts]
        for clip_skip, max_tokens in cases:
            request = BorrowRequest("", clip_skip=clip_skip, max_token_length=max_tokens)
            before = sd_hijack.model_hijack.fixes = [[SimpleNamespace(offset=1)]]  # as an earlier prompt may leave it
            ours = WebuiModel(model.sd_model, _info(), request, Stays()).encode_prompts(prompts)
            kept = sd_hijack.model_hijack.fixes is before
            sd_hijack.model_hijack.fixes = None
            context, pooled = reference.encode(prompts, clip_skip, max_tokens)
            found.append(
                {
                    "shape": list(ours.context.shape),
                    "difference": _distance(ours.context, context),
                    "pooled": 0.0 if pooled is None else _distance(ours.pooled, pooled),
                    "scale": float(context.std()),
                    "kept": kept,
                }
            )
    return {"tokens": tokens, "cases": found}


def embedding(name: str) -> dict[str, Any]:
    """Whether the WebUI takes `name` for an embedding, and how far its own encoding then lies from the plain one."""
    with borrowed() as model, torch.no_grad():
        database = sd_hijack.model_hijack.embedding_db
        database.load_textual_inversion_embeddings(force_reload=True)
        own = _of_webui(model.sd_model, [name], 64, 64)
        own = own["crossattn"] if isinstance(own, dict) else own
        context, _ = Reference(model.sd_model, model.family).encode([name], 1, 75)
        return {"known": name in database.word_embeddings, "difference": _distance(own, context)}


def denoises(prompt: str, width: int, height: int) -> dict[str, Any]:
    """Our prediction for a plain prompt against the WebUI's own, from its own encoding and its own sizes."""
    with borrowed() as model, torch.no_grad():
        noisy, times = _noise(), torch.tensor([10, 900])
        sizes = torch.tensor([[height, width, 0, 0, height, width]] * 2)
        ours = model.denoise(noisy, times, model.encode_prompts([prompt] * 2), sizes)
        cond = _of_webui(model.sd_model, [prompt] * 2, width, height)
        theirs = model.sd_model.apply_model(noisy, times, cond)
        other = model.denoise(noisy, times, model.encode_prompts([prompt] * 2), sizes + 8)
        return {
            "difference": _distance(ours, theirs),
            "scale": float(theirs.std()),
            "sizes_matter": _distance(ours, other),
            "prediction": model.prediction,
            "latent_scale": model.latent_scale,
            "first_alpha": float(model.alphas_cumprod[0]),
            "dtype": str(model.alphas_cumprod.dtype),
        }


def posterior() -> dict[str, Any]:
    """Mean and deviation of the autoencoder against a draw of its own."""
    with borrowed() as model, torch.random.fork_rng():
        pixels = torch.rand(2, 3, 64, 64) * 2 - 1
        mean, deviation = model.encode_images(pixels)
        exact, _ = model.encode_images(pixels, full_precision=True)
        torch.manual_seed(5)
        with torch.no_grad():
            drawn = model.sd_model.first_stage_model.encode(pixels)
        drawn = drawn.sample() if hasattr(drawn, "sample") else drawn
        torch.manual_seed(5)
        return {
            "difference": _distance(drawn, mean + deviation * torch.randn(mean.shape)),
            "exact": _distance(exact, mean),
            "scale": float(mean.std()),
            "gradient": mean.requires_grad,
        }


def trains(clip_skip: int = 1, half: bool = False) -> dict[str, Any]:
    """One step with adapters everywhere: which got no gradient, and what recomputing blocks changes."""
    with borrowed(half, clip_skip=clip_skip) as model:
        network = AdapterNetwork(model.sites(), NetworkSettings(network_dim=4, network_alpha=4.0), seed=1)
        _step(model, network)
        unread = unread_keys(list(network.adapters), model.family, clip_skip)
        missing = network.missing_gradients(unread)
        with torch.no_grad():
            for adapter in network.adapters.values():  # else a gradient of lora_down would always be zero
                adapter.lora_up.normal_(std=0.02, generator=torch.Generator().manual_seed(3))
        loss, gradients = _step(model, network)
        differing: list[int] = []
        for count in (5, len(model.blocks())):
            model.recompute(count)
            again, recomputed = _step(model, network)
            differing.append(sum(not torch.equal(a, b) for a, b in zip(gradients, recomputed, strict=True)))
            differing[-1] += again != loss
        shape = UNetShape.from_config(model.unet_config)
        facts = {
            "sites": len(network.adapters),
            "unread": len(unread),
            "missing": missing,
            "differing": differing,
            "loss": loss,
            "gradient": torch.cat([gradient.flatten() for gradient in gradients])[::997].tolist(),
            "blocks": model.blocks() == recomputable_blocks(shape, recomputes_layers(shape)),
            "base": sum(parameter.grad is not None for parameter in model.sd_model.parameters()),
        }
    return {**facts, "forwards": sum("forward" in vars(module) for module in model.sd_model.modules())}


def saves(count: int) -> dict[str, Any]:
    """Bytes that a step in half precision keeps for its backward pass, against the prediction."""
    with borrowed(half=True) as model:
        rank, pixels = 16, 256
        network = AdapterNetwork(model.sites(), NetworkSettings(network_dim=rank, network_alpha=1.0), seed=1)
        model.recompute(count)
        with torch.no_grad():
            cond = model.encode_prompts(["zuna"] * 2)
        weights = [*model.sd_model.parameters(), *network.parameters()]
        seen = {weight.untyped_storage().data_ptr() for weight in weights}
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            place = tensor.untyped_storage().data_ptr()
            if place not in seen:
                kept[place] = tensor
            return tensor

        noisy = torch.randn(2, 4, pixels // 8, pixels // 8)
        with network.attached(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            predicted = model.denoise(noisy, torch.tensor([10, 900]), cond, torch.full((2, 6), pixels))
        shape = UNetShape.from_config(model.unet_config)
        return {
            "kept": sum(tensor.untyped_storage().nbytes() for tensor in kept.values()),
            "expected": activation_bytes(shape, pixels, pixels, 2, 2, set(model.blocks()[:count]), rank),
            "dtype": str(predicted.dtype),
        }


def facts_agree() -> dict[str, Any]:
    """What the header says of the loaded checkpoint, against what the loaded model says."""
    with call_queue.queue_lock:
        info, sd_model = _info(), shared.sd_model
        header, live = read_facts(info), read_facts(info, sd_model)
        pickled = CheckpointInfo("old", Path(info.path).with_suffix(".ckpt"))
        known = sd_model.sd_checkpoint_info
        try:
            sd_model.sd_checkpoint_info = SimpleNamespace(filename=str(pickled.path))
            old = read_facts(pickled, sd_model)
        finally:
            sd_model.sd_checkpoint_info = known
        return {"equal": header == live, "pickled": old.parameters == live.parameters, "family": live.family}


def _info() -> CheckpointInfo:
    loaded = shared.sd_model.sd_checkpoint_info
    return CheckpointInfo(loaded.name_for_extra, Path(loaded.filename))


def _of_webui(sd_model: nn.Module, prompts: list[str], width: int, height: int) -> Any:
    sd_hijack.model_hijack.fixes = None
    return sd_model.get_learned_conditioning(prompt_parser.SdConditioning(prompts, width=width, height=height))


def _noise() -> Tensor:
    return torch.randn(2, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(2))


def _step(model: WebuiModel, network: AdapterNetwork) -> tuple[float, list[Tensor]]:
    for parameter in network.parameters():
        parameter.grad = None
    with network.attached():
        cond = model.encode_prompts(["zuna (smile:1.2)", "a BREAK b"])
        predicted = model.denoise(_noise(), torch.tensor([10, 900]), cond, torch.full((2, 6), 128))
        loss = (predicted.float() - 0.5).square().mean()
        loss.backward()
    gradients = (torch.zeros(1) if weight.grad is None else weight.grad for weight in network.parameters())
    return float(loss), [gradient.clone() for gradient in gradients]


def _distance(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape:
        raise ValueError(f"{tuple(ours.shape)} and {tuple(theirs.shape)}")
    return float((ours.float() - theirs.float()).abs().max())
