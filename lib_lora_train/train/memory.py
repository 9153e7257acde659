"""How much memory a training step takes, predicted from the sizes of the U-Net alone.

What is counted is what autograd keeps for the backward pass, layer by layer, with adapters on the linear layers and
1x1 convolutions of every spatial transformer, flash attention, and no autocast. Nothing is loaded or run, so the
prediction works inside the WebUI, where diffusers is not installed. The tests compare it, block by block, with a
real U-Net traced on the meta device.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GB = 1_000_000_000
CONTEXT_BYTES = GB // 2  # CUDA context and the workspaces of cuBLAS and cuDNN
BYTES_PER_TRAINED_PARAMETER = 16  # fp32 weight and gradient, two moments of Adam
_TOKENS = 77
_STATISTIC = 4  # bytes of a mean, a standard deviation or a log-sum-exp: always fp32


@dataclass(frozen=True)
class UNetShape:
    """The sizes that memory depends on. `depths` are the transformer layers per level, 0 where there are none."""

    channels: tuple[int, ...]
    layers: int  # residual blocks per level on the way down
    depths: tuple[int, ...]
    middle_depth: int
    heads: tuple[int, ...]
    context: int  # width of the text encoding

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> UNetShape:
        """From the `config.json` of a diffusers U-Net, or the `unet` part of host/configs."""
        channels = tuple(config["block_out_channels"])
        levels = range(len(channels))
        depth = config.get("transformer_layers_per_block", 1)
        depths = tuple(depth) if isinstance(depth, (list, tuple)) else (depth,) * len(channels)
        heads = config.get("num_attention_heads") or config.get("attention_head_dim", 8)
        attends = [kind.startswith("CrossAttn") for kind in config["down_block_types"]]
        return UNetShape(
            channels=channels,
            layers=config["layers_per_block"],
            depths=tuple(depths[level] if attends[level] else 0 for level in levels),
            middle_depth=depths[-1],
            heads=tuple(heads) if isinstance(heads, (list, tuple)) else (heads,) * len(channels),
            context=config["cross_attention_dim"],
        )


@dataclass(frozen=True)
class Family:
    """A published model: its U-Net and the parameters of its parts.

    `text` is (layers, width, kept) per text encoder; a layer keeps `kept` times its width per token: 20 with
    quick_gelu (CLIP), 16 with gelu (OpenCLIP).
    """

    unet: UNetShape
    unet_parameters: int
    text_parameters: int
    vae_parameters: int
    text: tuple[tuple[int, int, int], ...]


FAMILIES: dict[str, Family] = {
    "sd1": Family(
        UNetShape((320, 640, 1280, 1280), 2, (1, 1, 1, 0), 1, (8, 8, 8, 8), 768),
        859_520_964, 123_060_480, 83_653_863, ((12, 768, 20),),
    ),
    "sd2": Family(
        UNetShape((320, 640, 1280, 1280), 2, (1, 1, 1, 0), 1, (5, 10, 20, 20), 1024),
        865_910_724, 340_387_840, 83_653_863, ((23, 1024, 16),),
    ),
    "sdxl": Family(
        UNetShape((320, 640, 1280), 2, (0, 2, 10), 10, (5, 10, 20), 2048),
        2_567_463_684, 817_720_320, 83_653_863, ((12, 768, 20), (32, 1280, 16)),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class BlockMemory:
    """A part of the U-Net in forward order, in bytes.

    `held` is kept in any case (the part's input), `saved` only when the part is not recomputed, and `working` lives
    while it runs. `recomputable` parts carry the name that `BorrowedModel.blocks()` gives them.
    """

    name: str
    held: int
    saved: int
    working: int
    recomputable: bool


def unet_memory(
    shape: UNetShape, width: int, height: int, batch: int, element: int, rank: int, fine: bool
) -> list[BlockMemory]:
    """What each part keeps. `width` and `height` in pixels; `element` is 2 (fp16, bf16) or 4 (fp32) bytes.

    `fine` takes each layer of a transformer as a block of its own (`...attentions.0.transformer_blocks.3`); else the
    whole transformer is one (`...attentions.0`).
    """
    return _Walk(shape, width // 8, height // 8, batch, element, rank, fine).parts


class _Walk:
    """The forward pass of a U-Net, in bytes. Multiples of a channel count are what autograd was seen to keep."""

    def __init__(
        self, shape: UNetShape, width: int, height: int, batch: int, element: int, rank: int, fine: bool
    ) -> None:
        self.shape, self.batch, self.element, self.rank, self.fine = shape, batch, element, rank, fine
        self.parts: list[BlockMemory] = []
        # Before the first adapter nothing needs a gradient, and autograd keeps nothing.
        self.gradient = False
        sizes = [(width, height)]
        for _ in shape.channels[1:]:
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
        self.pixels = [batch * w * h for w, h in sizes]
        self._down_and_middle()
        self._up()
        self._part("conv_out", 0, 3 * self._bytes(0, shape.channels[0]), 0, False)

    def _down_and_middle(self) -> None:
        shape, last = self.shape, len(self.shape.channels) - 1
        channels, self.skips = shape.channels[0], [shape.channels[0]]
        for level, out in enumerate(shape.channels):
            for index in range(shape.layers):
                self._residual(f"down_blocks.{level}.resnets.{index}", level, channels, out)
                self._transformer(f"down_blocks.{level}.attentions.{index}", level, out, shape.depths[level])
                channels = out
                self.skips.append(out)
            if level < last:
                self._part(f"down_blocks.{level}.downsamplers.0", self._bytes(level, out), 0, 0, False)
                self.skips.append(out)
        self._residual("mid_block.resnets.0", last, channels, channels)
        self._transformer("mid_block.attentions.0", last, channels, shape.middle_depth)
        self._residual("mid_block.resnets.1", last, channels, channels)

    def _up(self) -> None:
        shape, last = self.shape, len(self.shape.channels) - 1
        channels = shape.channels[-1]
        for number, level in enumerate(range(last, -1, -1)):
            out = shape.channels[level]
            for index in range(shape.layers + 1):
                self._residual(f"up_blocks.{number}.resnets.{index}", level, channels + self.skips.pop(), out)
                self._transformer(f"up_blocks.{number}.attentions.{index}", level, out, shape.depths[level])
                channels = out
            if level:
                self._part(f"up_blocks.{number}.upsamplers.0", self._bytes(level - 1, out), 0, 0, False)

    def _bytes(self, level: int, channels: int) -> int:
        return self.pixels[level] * channels * self.element

    def _part(self, name: str, held: int, saved: int, working: int, recomputable: bool) -> None:
        if not self.gradient:
            held = saved = 0
        self.parts.append(BlockMemory(name, held, saved, working, recomputable))

    def _residual(self, name: str, level: int, channels: int, out: int) -> None:
        # Input, normalised, activated; the same for the second half. A frozen convolution keeps its input too.
        saved = 2 * self._bytes(level, channels) + 3 * self._bytes(level, out)
        working = 2 * self._bytes(level, channels) + self._bytes(level, out)
        self._part(name, self._bytes(level, channels), saved, working, True)

    def _transformer(self, name: str, level: int, channels: int, depth: int) -> None:
        if not depth:
            return
        pixels, one = self.pixels[level], self._bytes(level, channels)
        ranks = self._bytes(level, self.rank)
        keys = 2 * self.batch * _TOKENS * (channels + self.rank) * self.element
        statistics = pixels * (6 + 2 * self.shape.heads[level]) * _STATISTIC
        # Self-attention 6, cross-attention 4, feed-forward 18 times the channels; the first is the layer's input.
        layer = 27 * one + 8 * ranks + keys + statistics
        working = 9 * one
        started = int(self.gradient)  # without a gradient the first normalisation keeps no input
        self.gradient = True
        if not self.fine:
            inner = 2 * one + 2 * ranks + depth * (one + layer)
            self._part(name, started * one, inner, working, True)
            return
        self._part(f"{name}.proj_in", started * one, one + ranks, 0, False)
        for number in range(depth):
            self._part(f"{name}.transformer_blocks.{number}", one, layer, working, True)
        self._part(f"{name}.proj_out", one, ranks, 0, False)


def recomputable_blocks(shape: UNetShape, fine: bool) -> list[str]:
    """Names of the blocks that can be recomputed, in forward order: residual blocks and transformers."""
    return [part.name for part in unet_memory(shape, 64, 64, 1, 2, 1, fine) if part.recomputable]


def recomputes_layers(shape: UNetShape) -> bool:
    """Whether single transformer layers are the better unit: where transformers are deep, as in SDXL.

    A whole one of ten layers, recomputed, takes 0.75 GB at once; in a shallow one the unit saves nothing.
    """
    return max(*shape.depths, shape.middle_depth) > 1


def activation_bytes(
    shape: UNetShape,
    width: int,
    height: int,
    batch: int,
    element: int = 2,
    recomputed: Collection[str] = (),
    rank: int = 16,
) -> int:
    """Highest memory for activations in a training step: what is kept for the backward pass, and what is in flight.

    `width` and `height` in pixels, `recomputed` as named by `recomputable_blocks` (either unit). Adapters are fp32 and
    read through a copy in the compute format. All copies count here, though those in recomputed blocks live shortly:
    at rank 16 that overstates SDXL by at most 0.09 GB.
    """
    fine = any(".transformer_blocks." in name for name in recomputed)
    parts = unet_memory(shape, width, height, batch, element, rank, fine)
    context = batch * _TOKENS * shape.context * element
    kept = context + (lora_parameters(shape, rank) * element if element < 4 else 0)
    peak = 0
    # While a part runs, all before it is kept as it chose; a recomputed part is whole again, in the backward pass.
    for part in parts:
        whole = part.held + part.saved
        peak = max(peak, kept + whole + part.working)
        kept += part.held if part.name in recomputed else whole
    return max(peak, kept)


def blocks_to_recompute(
    free: int,
    shape: UNetShape,
    width: int,
    height: int,
    batch: int,
    element: int = 2,
    names: Sequence[str] | None = None,
    rank: int = 16,
) -> list[str] | None:
    """The shortest run of blocks, from the first in forward order, with which activations stay within `free` bytes.

    From the first, because those of the last are freed again before these are recomputed. `names` are the host's
    `blocks()`, or the standard ones. None when even all of them are not enough.
    """
    order = list(names) if names is not None else recomputable_blocks(shape, recomputes_layers(shape))
    low, high = 0, len(order)
    if activation_bytes(shape, width, height, batch, element, (), rank) <= free:
        return []
    if activation_bytes(shape, width, height, batch, element, set(order), rank) > free:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        fits = activation_bytes(shape, width, height, batch, element, set(order[:middle]), rank) <= free
        low, high = (low, middle) if fits else (middle, high)
    return order[:high]


def lora_parameters(shape: UNetShape, rank: int) -> int:
    """Parameters of the adapters on a U-Net: rank times inputs plus outputs, over all sites."""
    count = 0
    for level, channels in enumerate(shape.channels):
        depth = shape.depths[level]
        sites = 4 * channels + depth * (28 * channels + 2 * shape.context) if depth else 0
        count += (2 * shape.layers + 1) * sites
    middle = 4 * shape.channels[-1] + shape.middle_depth * (28 * shape.channels[-1] + 2 * shape.context)
    return rank * (count + middle)


def text_lora_parameters(family: Family, rank: int) -> int:
    """Parameters of the adapters on the text encoders: six layers each, of 18 widths together."""
    return rank * sum(layers * 18 * width for layers, width, _ in family.text)


def text_activation_bytes(family: Family, batch: int, element: int = 2, chunks: int = 1) -> int:
    """What trained text encoders keep for the backward pass, per chunk of 77 tokens with plain attention."""
    # Attention keeps its weights in fp32 and in the compute format: three times their number in 16 bit.
    kept = sum(
        layers * (times * width * _TOKENS + 3 * (width // 64) * _TOKENS**2) for layers, width, times in family.text
    )
    return batch * chunks * kept * element


@dataclass(frozen=True)
class MemoryNeed:
    """The terms of a run's memory, in bytes."""

    model: int  # frozen parts that stay on the device
    adapter: int  # weights, gradients and moments
    activations: int
    context: int

    @property
    def total(self) -> int:
        return self.model + self.adapter + self.activations + self.context


def memory_need(
    family: Family,
    width: int,
    height: int,
    batch: int,
    element: int,
    rank: int,
    train_text_encoder: bool,
    recomputed: Collection[str] = (),
    resident: bool = False,
) -> MemoryNeed:
    """What a run takes on top of what is there. `resident`: the model is on the device already, as in the WebUI.

    An untrained text encoder and the VAE count nothing: their outputs are cached before the first step.
    """
    parameters = lora_parameters(family.unet, rank)
    activations = activation_bytes(family.unet, width, height, batch, element, recomputed, rank)
    model = family.unet_parameters
    if train_text_encoder:
        parameters += text_lora_parameters(family, rank)
        activations += text_activation_bytes(family, batch, element)
        model += family.text_parameters
    return MemoryNeed(
        model=0 if resident else model * element,
        adapter=parameters * BYTES_PER_TRAINED_PARAMETER,
        activations=activations,
        context=0 if resident else CONTEXT_BYTES,
    )
