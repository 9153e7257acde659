"""Give the words kept for later token vectors like those of the names that the base has learnt.

A word that no caption held keeps its first random vector, and the text encoder learns to look past it: a LoRA then finds
nothing to hang a character on. A vector drawn from the distribution of the names' vectors is read as a name not met yet.
"""

from __future__ import annotations

import torch
from transformers import CLIPTextModel, CLIPTokenizer

from demo.captions import NAMES, RESERVED
from demo.training import CHECKPOINT


def token(tokenizer: CLIPTokenizer, word: str) -> int:
    """The id of a word that is a single token."""
    (number,) = tokenizer(word, add_special_tokens=False).input_ids
    return int(number)


@torch.no_grad()
def name_reserved(tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, seed: int = 0) -> None:
    """Rewrite the reserved words' rows of the token table: mean of the names plus a random mix of their deviations."""
    table = text_encoder.get_input_embeddings().weight
    names = table[[token(tokenizer, name) for name in NAMES]]
    mean = names.mean(0)
    generator = torch.Generator().manual_seed(seed)
    for word in RESERVED:
        mix = torch.randn(len(NAMES), generator=generator) / len(NAMES) ** 0.5
        table[token(tokenizer, word)] = mean + mix @ (names - mean)


def main() -> None:
    tokenizer = CLIPTokenizer.from_pretrained(str(CHECKPOINT / "tokenizer"))
    text_encoder = CLIPTextModel.from_pretrained(str(CHECKPOINT / "text_encoder")).float()
    name_reserved(tokenizer, text_encoder)
    text_encoder.half().save_pretrained(str(CHECKPOINT / "text_encoder"))


if __name__ == "__main__":
    main()
