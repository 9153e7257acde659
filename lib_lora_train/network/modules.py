"""What an adapter computes, and how it is put on a layer and taken off again without a trace.

LoRA (Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models"): a layer's output gets
`lora_up(lora_down(x)) * alpha / rank` added. The layer itself stays where and what it is: only `forward` in the
instance's own dict is replaced, weights are never merged, and nothing is registered as a child of the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from lib_lora_train.draws import derive_seed, torch_generator
from lib_lora_train.errors import UserError
from lib_lora_train.network.sites import Site


@dataclass
class NetworkState:
    """What all adapters of one network share and read at every forward.

    The three dropouts are probabilities in 0..1 and act only while `training`; their masks follow from `step_seed`
    alone, so that a block that is recomputed in the backward pass drops what it dropped in the forward pass.
    """

    neuron_dropout: float = 0.0
    rank_dropout: float = 0.0
    module_dropout: float = 0.0
    multiplier: float = 1.0
    training: bool = False
    step_seed: int | None = None

    @property
    def drops(self) -> bool:
        return self.training and bool(self.neuron_dropout or self.rank_dropout or self.module_dropout)


class Adapter:
    """The two trained matrices of one site, in fp32.

    `lora_down` is (rank, in) or (rank, in, 1, 1), `lora_up` is (out, rank) or (out, rank, 1, 1). Starts as kohya's:
    `lora_down` uniform in +-1/sqrt(in), which is kaiming_uniform with a = sqrt(5), and `lora_up` zero. Without a seed
    `lora_down` is left for a file to fill.
    """

    def __init__(self, site: Site, rank: int, alpha: float, state: NetworkState, seed: int | None) -> None:
        self.site = site
        self.rank = rank
        self.set_alpha(alpha)
        self.state = state
        self.hook: AdaptedForward | None = None
        kernel = (1, 1) if site.kind == "conv" else ()
        bound = site.in_features**-0.5
        down = torch.empty((rank, site.in_features, *kernel), dtype=torch.float32, device="cpu")
        if seed is not None:
            down.uniform_(-bound, bound, generator=torch_generator(seed, "adapter", site.key))
        up = torch.zeros((site.out_features, rank, *kernel), dtype=torch.float32, device="cpu")
        self.lora_down = nn.Parameter(down)
        self.lora_up = nn.Parameter(up)

    def set_alpha(self, alpha: float) -> None:
        """Rounded to fp32, the precision it has in files, so that reading it back changes nothing."""
        self.alpha = torch.tensor(alpha, dtype=torch.float32, device="cpu").item()

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def delta(self, x: Tensor) -> Tensor | None:
        """What is added to the layer's output for the input `x`, in the dtype of `x`; None when there is nothing.

        `x` has the batch first and its features last, or in dimension 1 for a convolution. The weights are cast to
        the dtype of `x`: half-precision models then compute in half precision, with or without autocast, while the
        gradient reaches the fp32 weights.
        """
        state, site = self.state, self.site
        if state.multiplier == 0:
            return None
        generator = None
        if state.drops:
            if state.step_seed is None:
                raise RuntimeError("dropout needs set_step before the forward pass")
            generator = torch_generator(state.step_seed, "dropout", site.key)
            if torch.rand(1, generator=generator).item() < state.module_dropout:
                return None
        down, up = self.lora_down.to(x.dtype), self.lora_up.to(x.dtype)
        if site.kind == "conv":
            low = F.conv2d(x, down, stride=site.module.stride, padding=site.module.padding)
        else:
            low = F.linear(x, down)
        factor = state.multiplier * self.scale
        if generator is not None:
            if state.neuron_dropout:
                low = low * self._neurons_kept(low)
            if state.rank_dropout:
                low = low * self._ranks_kept(low, generator)
                factor /= 1 - state.rank_dropout
        low = low * factor  # on the small side: the output can be hundreds of times as large
        return F.conv2d(low, up) if site.kind == "conv" else F.linear(low, up)

    def _neurons_kept(self, low: Tensor) -> Tensor:
        """Mask of the shape of `low`, scaled so that the expected value stays. Drawn where `low` lies: it is large."""
        probability = self.state.neuron_dropout
        generator = torch.Generator(low.device).manual_seed(derive_seed(self.state.step_seed, "neurons", self.site.key))
        kept = torch.rand(low.shape, generator=generator, device=low.device) >= probability
        return kept.to(low.dtype) / (1 - probability)

    def _ranks_kept(self, low: Tensor, generator: torch.Generator) -> Tensor:
        """Mask (batch, rank), spread over positions. The scaling by 1 / (1 - p) is the caller's."""
        kept = torch.rand((low.shape[0], self.rank), generator=generator) > self.state.rank_dropout
        positions = [1] * (low.dim() - 2)
        shape = (*kept.shape, *positions) if self.site.kind == "conv" else (kept.shape[0], *positions, kept.shape[1])
        return kept.view(shape).to(low.device, low.dtype)

    def attach(self) -> None:
        """Puts the adapter on its layer. Raises RuntimeError when it is on already."""
        if self.hook is not None:
            raise RuntimeError(f"{self.site.key} is attached already")
        module = self.site.module
        hook = module.__dict__.get("forward")
        if not isinstance(hook, AdaptedForward):
            hook = AttentionForward(module) if self.site.kind == "attention_slice" else LayerForward(module)
            module.__dict__["forward"] = hook
        hook.adapters.append(self)
        self.hook = hook

    def detach(self) -> None:
        """Takes the adapter off; the last one to go puts back what the instance's dict held. Does nothing when off."""
        if self.hook is not None:
            self.hook.remove(self)
            self.hook = None


class AdaptedForward:
    """A layer's `forward` with adapters. One serves all networks on a layer, so they may go in any order."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.own = module.__dict__.get("forward")  # another extension may have put one there
        self.adapters: list[Adapter] = []

    def original(self, *args: object, **kwargs: object) -> Any:
        """The layer without adapters. Its class is asked at every call: hosts replace the class's `forward`, and put
        it back while a run goes on; one that is kept here would then be called after its time."""
        if self.own is not None:
            return self.own(*args, **kwargs)
        return type(self.module).forward(self.module, *args, **kwargs)

    def remove(self, adapter: Adapter) -> None:
        self.adapters.remove(adapter)
        # Someone who wrapped `forward` after us keeps their wrapper: without adapters we only pass the call on.
        if self.adapters or self.module.__dict__.get("forward") is not self:
            return
        if self.own is None:
            del self.module.__dict__["forward"]
        else:
            self.module.__dict__["forward"] = self.own


def attached_states(modules: Iterable[nn.Module]) -> list[NetworkState]:
    """The states of all networks that have an adapter on one of `modules` now."""
    found: dict[int, NetworkState] = {}
    for module in modules:
        forward = vars(module).get("forward")
        if isinstance(forward, AdaptedForward):
            found |= {id(adapter.state): adapter.state for adapter in forward.adapters}
    return list(found.values())


class LayerForward(AdaptedForward):
    """For a Linear or a 1x1 convolution."""

    def __call__(self, input: Tensor, *args: object, **kwargs: object) -> Tensor:
        output = self.original(input, *args, **kwargs)
        return _add(output, self.adapters, input)


class AttentionForward(AdaptedForward):
    """For `nn.MultiheadAttention`, whose layers are never called: its forward hands their weights to a function.

    Query, key, value and output get their adapters here, on the activations, as if they were four layers.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        if module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn:
            raise UserError("network.attention_unknown", type(module).__name__)

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As `nn.MultiheadAttention.forward`, with batches. `is_causal` is a hint that the mask makes needless."""
        module = self.module
        if all(adapter.state.multiplier == 0 for adapter in self.adapters):
            return self.original(
                query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal
            )
        same = query is key and key is value
        if not module.batch_first:
            query, key, value = (tensor.transpose(0, 1) for tensor in (query, key, value))
        q, k, v = self._projected(query, key, value, same)
        heads = [tensor.unflatten(-1, (module.num_heads, module.head_dim)).transpose(1, 2) for tensor in (q, k, v)]
        mask = _merged_mask(attn_mask, key_padding_mask, heads[0], heads[1])
        dropout = module.dropout if module.training else 0.0
        weights = None
        if need_weights:
            scores = heads[0] @ heads[1].transpose(-2, -1) * module.head_dim**-0.5
            weights = F.dropout((scores if mask is None else scores + mask).softmax(-1), dropout)
            joined = weights @ heads[2]
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            joined = F.scaled_dot_product_attention(*heads, attn_mask=mask, dropout_p=dropout)
        joined = joined.transpose(1, 2).flatten(2)
        output = F.linear(joined, module.out_proj.weight, module.out_proj.bias)
        output = _add(output, self._of(None), joined)
        return (output if module.batch_first else output.transpose(0, 1)), weights

    def _of(self, start: int | None) -> list[Adapter]:
        """Adapters of the slice that begins at row `start`, or of the output."""
        rows = [(adapter, adapter.site.rows) for adapter in self.adapters]
        return [adapter for adapter, span in rows if (None if span is None else span[0]) == start]

    def _projected(self, query: Tensor, key: Tensor, value: Tensor, same: bool) -> list[Tensor]:
        weight, bias, width = self.module.in_proj_weight, self.module.in_proj_bias, self.module.embed_dim
        if same:
            projected = list(F.linear(query, weight, bias).chunk(3, dim=-1))
        else:
            biases = (None, None, None) if bias is None else bias.chunk(3)
            projected = [
                F.linear(x, part, part_bias)
                for x, part, part_bias in zip((query, key, value), weight.chunk(3), biases, strict=True)
            ]
        inputs = (query, key, value)
        return [_add(projected[n], self._of(n * width), inputs[n]) for n in range(3)]


def _add(output: Tensor, adapters: list[Adapter], x: Tensor) -> Tensor:
    for adapter in adapters:
        delta = adapter.delta(x)
        if delta is not None:
            output = output + delta.to(output.dtype)
    return output


def _merged_mask(attn_mask: Tensor | None, padding: Tensor | None, query: Tensor, key: Tensor) -> Tensor | None:
    """Both masks as one that is added to the scores (batch, heads, queries, keys). True means: not to be seen."""
    batch, heads, length, _ = query.shape
    masks = []
    if attn_mask is not None:
        masks.append(attn_mask if attn_mask.dim() == 2 else attn_mask.view(batch, heads, length, key.shape[2]))
    if padding is not None:
        masks.append(padding.view(batch, 1, 1, key.shape[2]))
    total = None
    for mask in masks:
        if mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask, float("-inf"))
        total = mask.to(query.dtype) if total is None else total + mask.to(query.dtype)
    return total
