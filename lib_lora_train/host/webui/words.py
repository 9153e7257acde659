"""The tokenizer of the WebUI's checkpoint, for counting: the model stays where it is, and is not loaded for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modules import sd_models

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import CheckpointInfo, TokenCounter
from lib_lora_train.host.token_counter import VocabularyCounter, counter_of
from lib_lora_train.host.tokens import CLIP_VOCABULARY, load_tokenizer
from lib_lora_train.host.webui.family import family_of
from lib_lora_train.host.webui.text import tokenizer_of

if TYPE_CHECKING:
    from torch import nn
    from transformers import CLIPTokenizer


def find_counter(chosen: CheckpointInfo | None, known: TokenCounter | None) -> TokenCounter | None:
    """A counter for the loaded model, or for the `chosen` checkpoint; `known` again when it is that still.

    None where neither is there.
    """
    loaded = sd_models.model_data.sd_model
    name = getattr(getattr(loaded, "sd_checkpoint_info", None), "name_for_extra", "") or (chosen.name if chosen else "")
    if loaded is None and chosen is None:
        return None
    own = None if loaded is None else _own(loaded, name)
    if isinstance(known, VocabularyCounter) and known.name == name and own in (None, known.tokenizer):
        return known
    return counter_of(name, lambda: own or load_tokenizer([], CLIP_VOCABULARY, name, download=False))


def _own(loaded: nn.Module, name: str) -> CLIPTokenizer | None:
    """None for a kind of model that is not trained on, and for SD2's, whose own cannot be asked for single words."""
    try:
        family = family_of(loaded, name)
    except UserError:
        return None
    return None if family == "sd2" else tokenizer_of(loaded, family)
