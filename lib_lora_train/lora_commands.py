"""The commands that make LoRA files from LoRA files: `resize`, `merge`, `convert`, `scrub`.

Exit codes: 0 done, 2 wrong use.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.errors import UserError
from lib_lora_train.messages import message
from lib_lora_train.terminal import DONE, terminal_language

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lib_lora_train.network.reshape import Factors, Opened

Add = Callable[..., argparse.ArgumentParser]
PRECISIONS = ("fp16", "bf16", "fp32")


def add_lora_commands(add: Add, language: str) -> None:
    """Adds them to the parser that `add` adds to."""
    resize = add("resize", resize_command)
    _file(resize)
    resize.add_argument("--rank", type=int, required=True, help=message("cli.reshape_rank", language))
    resize.add_argument("--keep", type=float, default=1.0, metavar="SHARE", help=message("cli.reshape_keep", language))
    merge = add("merge", merge_command)
    merge.add_argument("files", nargs="+", metavar="FILE:WEIGHT", help=message("cli.merge_files", language))
    merge.add_argument("--rank", type=int, default=None, help=message("cli.reshape_rank", language))
    convert = add("convert", convert_command)
    _file(convert)
    scrub = add("scrub", scrub_command)
    _file(scrub)
    for each in (resize, merge, convert, scrub):
        each.add_argument("--out", type=Path, required=True, metavar="FILE", help=message("cli.reshape_out", language))
        precision = message("cli.reshape_precision", language)
        each.add_argument("--precision", choices=PRECISIONS, default="", required=each is convert, help=precision)


def resize_command(options: argparse.Namespace) -> int:
    from lib_lora_train.network.reshape import open_factors, resize

    opened = open_factors(options.file)
    return _write(options, resize(opened, options.rank, options.keep), opened.metadata, opened)


def merge_command(options: argparse.Namespace) -> int:
    from lib_lora_train.network.reshape import merge, merged_metadata, open_factors

    named = [file_and_weight(text) for text in options.files]
    files, weights = [open_factors(path) for path, _ in named], [weight for _, weight in named]
    return _write(options, merge(files, weights, options.rank), merged_metadata(files, weights), files[0])


def convert_command(options: argparse.Namespace) -> int:
    from lib_lora_train.network.reshape import open_factors

    opened = open_factors(options.file)
    return _write(options, opened.factors, opened.metadata, opened)


def scrub_command(options: argparse.Namespace) -> int:
    from lib_lora_train.network.reshape import needed_metadata, open_factors

    opened = open_factors(options.file)
    return _write(options, opened.factors, needed_metadata(opened.metadata), opened)


def file_and_weight(text: str) -> tuple[Path, float]:
    """`FILE:WEIGHT`, or a file alone at weight 1; the colon of a drive letter is part of the file.

    Raises UserError("reshape.weight").
    """
    name, colon, weight = text.rpartition(":")
    if not colon or not name or "/" in weight or "\\" in weight or weight.lower().endswith(".safetensors"):
        return Path(text), 1.0
    try:
        return Path(name), float(weight)
    except ValueError as error:
        raise UserError("reshape.weight", text[:120]) from error


def _file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")


def _write(
    options: argparse.Namespace, factors: Mapping[str, Factors], metadata: Mapping[str, str], opened: Opened
) -> int:
    from lib_lora_train.network.reshape import DTYPES, write_factors

    dtype = DTYPES[options.precision] if options.precision else opened.dtype
    write_factors(options.out, factors, metadata, dtype)
    ranks = sorted({each.rank for each in factors.values()})
    rank = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]}-{ranks[-1]}"
    precision = next(name for name, known in DTYPES.items() if known is dtype)
    size = f"{options.out.stat().st_size / 1e6:.1f}"
    print(message("reshape.done", terminal_language(), file=options.out, rank=rank, precision=precision, size=size))
    return DONE
