"""CLIP's vocabulary wherever it can be had, and captions as rows of token numbers."""

from __future__ import annotations

import gzip
import importlib.util
import tempfile
import unicodedata
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lib_lora_train.errors import UserError
from lib_lora_train.files import write_json, write_text

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

CHUNK = 75  # tokens that CLIP reads at once, start and end marks not counted
CLIP_REPOSITORY = "openai/clip-vit-large-patch14"
CLIP_VOCABULARY = 49408
VOCABULARY_FILES = ("vocab.json", "merges.txt")
START, END = "<|startoftext|>", "<|endoftext|>"


def load_tokenizer(folders: Sequence[Path], vocabulary: int, where: str, download: bool = True) -> CLIPTokenizer:
    """From the first of `folders` that holds one, else from an installed open_clip, else from the hub's cache.

    `download` allows for the network when it is not in that cache. `vocabulary` is the number of rows of the text
    encoder's table. Only CLIP's own vocabulary can be found outside the checkpoint. Raises UserError("host.tokenizer_missing", "host.tokenizer_size").
    """
    for folder in folders:
        if all((folder / name).is_file() for name in VOCABULARY_FILES):
            return _checked(_from_folder(folder), vocabulary, where)
    if vocabulary != CLIP_VOCABULARY:
        raise UserError("host.tokenizer_own", where, count=vocabulary)
    bpe = _open_clip_file()
    if bpe is not None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            unpack_open_clip(bpe, folder)
            return _checked(_from_folder(folder), vocabulary, where)
    return _checked(_from_folder(_hub_folder(where, download)), vocabulary, where)


def _from_folder(folder: Path) -> CLIPTokenizer:
    from transformers import CLIPTokenizer

    # Built from the two files alone: the marks and the length are the same for every SD1.x model.
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        unk_token=END,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        model_max_length=CHUNK + 2,
    )
    if tokenizer.fix_text is None:
        # Without ftfy, transformers puts spaces around every Chinese or Japanese character: other tokens than the
        # WebUI and sd-scripts, which have ftfy, make of the same caption.
        tokenizer.fix_text = partial(unicodedata.normalize, "NFC")
    return tokenizer


def _checked(tokenizer: CLIPTokenizer, vocabulary: int, where: str) -> CLIPTokenizer:
    # CLIP's table is never larger than its vocabulary; a small one beside it belongs to another checkpoint.
    if len(tokenizer) > vocabulary or (vocabulary == CLIP_VOCABULARY and len(tokenizer) < vocabulary):
        raise UserError("host.tokenizer_size", where, tokens=len(tokenizer), rows=vocabulary)
    return tokenizer


def _open_clip_file() -> Path | None:
    """The vocabulary inside an installed open_clip_torch; the package itself is not imported."""
    spec = importlib.util.find_spec("open_clip")
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    for place in places:
        path = Path(place) / "bpe_simple_vocab_16e6.txt.gz"
        if path.is_file():
            return path
    return None


def unpack_open_clip(bpe: Path, folder: Path) -> None:
    """Writes vocab.json and merges.txt from CLIP's original vocabulary file.

    The file lists more merges than CLIP uses; the first 48,894 with the 512 byte symbols and the two marks make
    its 49,408 entries.
    """
    lines = gzip.decompress(bpe.read_bytes()).decode("utf-8").split("\n")
    merges = [line for line in lines[1 : CLIP_VOCABULARY - 512 - 2 + 1] if line]
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols = [chr(byte) for byte in kept]
    symbols += [chr(256 + n) for n in range(256 - len(kept))]
    words = [*symbols, *(symbol + "</w>" for symbol in symbols), *(m.replace(" ", "") for m in merges), START, END]
    write_json(folder / "vocab.json", {word: index for index, word in enumerate(words)})
    write_text(folder / "merges.txt", "\n".join(["#version: 0.2", *merges]) + "\n")


def _hub_folder(where: str, download: bool) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        # The cache first, so that a machine that has the files never asks the network.
        return _fetched(hf_hub_download, local_files_only=True)
    except LocalEntryNotFoundError as error:
        if not download:
            raise UserError("host.tokenizer_missing", where) from error
    try:
        return _fetched(hf_hub_download, local_files_only=False)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError("host.tokenizer_missing", where) from error


def _fetched(download: Callable[..., str], local_files_only: bool) -> Path:
    paths = [Path(download(CLIP_REPOSITORY, name, local_files_only=local_files_only)) for name in VOCABULARY_FILES]
    return paths[0].parent


def tokenize(tokenizer: CLIPTokenizer, prompts: Sequence[str], max_tokens: int, pad: int | None = None) -> Tensor:
    """Token numbers in chunks as kohya's trainer makes them: (prompts, chunks, 77) int64.

    `max_tokens` is a multiple of 75. A longer caption is cut; it is not split at commas. Every chunk stands between
    the start mark and an end mark, and unused places hold the end mark. OpenCLIP's towers have another `pad`, which
    fills all places behind the first end mark; of several chunks each then has its first end mark of its own.
    """
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    fill = end if pad is None else pad
    found = tokenizer(list(prompts), add_special_tokens=False, truncation=True, max_length=max_tokens).input_ids
    rows = []
    for ids in found:
        row = [*ids, end, *[fill] * max_tokens][: max_tokens + 1]
        parts = [[start, *row[place : place + CHUNK], row[-1]] for place in range(0, max_tokens, CHUNK)]
        if fill != end and len(parts) > 1:
            for part in parts:
                if part[-2] not in (end, fill):
                    part[-1] = end
                if part[1] == fill:
                    part[1] = end
        rows.append(parts)
    return torch.tensor(rows, dtype=torch.int64)


def join_chunks(states: Tensor) -> Tensor:
    """(prompts, chunks, 77, width) to (prompts, chunks * 75 + 2, width): one start and one end mark remain."""
    first, last = states[:, :1, 0], states[:, -1:, -1]
    return torch.cat([first, states[:, :, 1:-1].flatten(1, 2), last], dim=1)


def count_tokens(tokenizer: CLIPTokenizer, prompt: str) -> int:
    """Tokens of a prompt, start and end marks not counted."""
    return len(tokenizer.tokenize(prompt))
