"""A small byte-level BPE in CLIP's format: every word of the demo is one token, and any other word still tokenises."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

from demo.attributes import ATTRIBUTES, NONE
from demo.captions import NAMES, RESERVED

END = "</w>"


def byte_alphabet() -> list[str]:
    """CLIP's printable stand-ins for the 256 bytes, in its order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]


def vocabulary_words() -> list[str]:
    """Every letter word of the tags (CLIP splits at digits and hyphens anyway), the names and the reserved words."""
    values = [value for values in ATTRIBUTES.values() for value in values if value != NONE]
    return sorted({word for text in ("girl", *values, *NAMES, *RESERVED) for word in re.findall("[a-z]+", text)})


def learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Merge the most frequent neighbours until every word is a single symbol."""
    spelled = [[*word[:-1], word[-1] + END] for word in words]
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for symbols in spelled for pair in pairwise(symbols)):
        first, second = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append((first, second))
        for symbols in spelled:
            i = 0
            while i < len(symbols) - 1:
                if (symbols[i], symbols[i + 1]) == (first, second):
                    symbols[i : i + 2] = [first + second]
                i += 1
    return merges


def build(folder: Path) -> CLIPTokenizer:
    """Write vocabulary and merges into ``folder`` and return the tokenizer."""
    merges = learn_merges(vocabulary_words())
    alphabet = byte_alphabet()
    symbols = [*alphabet, *(symbol + END for symbol in alphabet), *(a + b for a, b in merges)]
    symbols = [*dict.fromkeys(symbols), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({symbol: i for i, symbol in enumerate(symbols)}), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizer = CLIPTokenizer(
        str(vocabulary),
        str(folder / "merges.txt"),
        unk_token="<|endoftext|>",
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        model_max_length=77,
    )
    tokenizer.save_pretrained(str(folder))
    return tokenizer
