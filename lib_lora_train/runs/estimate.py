"""Memory and steps of a run as it stands in the form, before it is started; nothing is loaded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lib_lora_train.collection.entries import ConceptInfo, PictureInfo, list_concepts, list_pictures
from lib_lora_train.dataset.buckets import Size, plan_crop
from lib_lora_train.dataset.held_back import held_back_places, validation_seed
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project
from lib_lora_train.settings import TrainSettings
from lib_lora_train.settings.reading import parse_resolution
from lib_lora_train.train.memory import (
    FAMILIES,
    Family,
    MemoryNeed,
    blocks_to_recompute,
    memory_need,
    recomputable_blocks,
    recomputes_layers,
    text_activation_bytes,
)
from lib_lora_train.train.plan import SHARE_OF_FREE_MEMORY
from lib_lora_train.train.plan_model import own_sizes

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host, Memory

_ELEMENT = {"fp32": 4, "fp16": 2, "bf16": 2}


@dataclass(frozen=True)
class Estimate:
    """`need`, `free` and `total` in bytes; `steps` of the optimizer, 0 as long as there are no pictures."""

    need: int
    free: int
    total: int
    fits: bool
    steps: int


def estimate(host: Host, project: Project, settings: TrainSettings) -> Estimate:
    """What a run with these settings takes, against what is there.

    Raises UserError for a checkpoint or a resolution that cannot be used.
    """
    facts = host.describe(settings.model.checkpoint)
    sizes = own_sizes(facts.family, facts.unet_config, facts.text_config, facts.parameters) or FAMILIES[facts.family]
    memory = host.memory()
    buckets = showings(project, settings)
    largest = max(buckets, key=lambda size: size[0] * size[1], default=parse_resolution(settings.dataset.resolution))
    budget = int(memory.free * SHARE_OF_FREE_MEMORY)
    need = _need(sizes, settings, memory, largest, budget)
    return Estimate(need.total, memory.free, memory.total, need.total <= budget, count_steps(buckets, settings))


def showings(project: Project, settings: TrainSettings) -> Counter[Size]:
    """How many pictures of each bucket an epoch shows, regularization included, as the training counts them."""
    concepts = {concept.id: concept for concept in list_concepts(project)}
    buckets: dict[str, Size] = {}
    pictures = []
    for picture in list_pictures(project):
        if not picture.width or picture.concept not in concepts:
            continue
        try:
            crop = plan_crop((picture.width, picture.height), settings.dataset, picture.name)
        except UserError as error:
            if error.code != "bucket.too_small":  # that one picture is left out; anything else is the settings' fault
                raise
        else:
            buckets[picture.id] = crop.bucket
            pictures.append(picture)
    if settings.dataset.validation_split:
        pictures = _without_held_back(pictures, concepts, settings)
    found: Counter[Size] = Counter()
    for picture, repeats in _repeats(pictures, concepts):
        found[buckets[picture.id]] += repeats
    return found


def _without_held_back(
    pictures: list[PictureInfo], concepts: dict[str, ConceptInfo], settings: TrainSettings
) -> list[PictureInfo]:
    """Those that are trained on: the training chooses from a folder's pictures sorted by name."""
    share, seed = settings.dataset.validation_split, validation_seed(settings.dataset, settings.run.seed)
    held: set[str] = set()
    for concept in concepts.values():
        ids = [each.id for each in sorted(pictures, key=lambda each: each.name) if each.concept == concept.id]
        if not concept.regularization:
            held |= {ids[place] for place in held_back_places(len(ids), share, seed)}
    return [each for each in pictures if each.id not in held]


def _repeats(pictures: list[PictureInfo], concepts: dict[str, ConceptInfo]) -> list[tuple[PictureInfo, int]]:
    """Each picture with its repeats; regularization pictures are shown as often as all others together."""
    trained = [(each, concepts[each.concept].repeats) for each in pictures if not concepts[each.concept].regularization]
    others = [each for each in pictures if concepts[each.concept].regularization]
    wanted, shown = sum(repeats for _, repeats in trained), 0
    used: list[tuple[PictureInfo, int]] = []
    for each in others:
        if shown >= wanted:
            break
        used.append((each, concepts[each.concept].repeats))
        shown += used[-1][1]
    rounds, extra = divmod(max(wanted - shown, 0), len(used) or 1)
    return trained + [(each, repeats + rounds + (index < extra)) for index, (each, repeats) in enumerate(used)]


def count_steps(buckets: Counter[Size], settings: TrainSettings) -> int:
    """Optimizer steps of a run; 0 without pictures."""
    run = settings.run
    batches = sum(-(-count // run.train_batch_size) for count in buckets.values())
    if not batches or not run.max_train_epochs:
        return run.max_train_steps if batches else 0
    return run.max_train_epochs * -(-batches // run.gradient_accumulation_steps)


def _need(sizes: Family, settings: TrainSettings, memory: Memory, largest: Size, budget: int) -> MemoryNeed:
    run, network = settings.run, settings.network
    precision = "fp32" if memory.device == "cpu" and run.mixed_precision == "fp16" else run.mixed_precision
    element = _ELEMENT[memory.loaded or precision]
    batch, rank, with_text = run.train_batch_size, network.network_dim, not network.network_train_unet_only

    def need(blocks: list[str]) -> MemoryNeed:
        return memory_need(sizes, *largest, batch, element, rank, with_text, blocks, bool(memory.loaded))

    order = recomputable_blocks(sizes.unet, recomputes_layers(sizes.unet))
    if run.checkpointed_blocks is not None:
        return need(order[: run.checkpointed_blocks])
    plain = need([])
    if memory.device != "cuda" or plain.total <= budget:
        return plain
    # As the training does it: the fewest blocks with which the rest of the memory suffices.
    text = text_activation_bytes(sizes, batch, element) if with_text else 0
    free = budget - (plain.total - plain.activations) - text
    blocks = blocks_to_recompute(free, sizes.unet, *largest, batch, element, order, rank)
    return need(order if blocks is None else blocks)
