"""kohya's data set files (--dataset_config): which folders they name, and what for.

    [general]                  defaults for all that follows
    [[datasets]]               defaults for its subsets
    [[datasets.subsets]]       image_dir, num_repeats, class_tokens, is_reg, caption_extension, conditioning_data_dir

A file may come from another machine or from somebody else. So only folders at or below its own are read: where it
says more, or something else, the folder of the same name beside it is taken.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from lib_lora_train.collection.kohya import Wish, wish_of
from lib_lora_train.collection.limits import MAX_CONCEPT_NAME, MAX_REPEATS
from lib_lora_train.collection.names import base_name, shown
from lib_lora_train.collection.sources import Source
from lib_lora_train.errors import UserError
from lib_lora_train.files import resolve_inside
from lib_lora_train.signals import Log

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_BYTES = 1_000_000
_DEFAULT_EXTENSION = ".caption"
_ENDINGS = 12  # characters


def read_dataset_file(path: Path) -> tuple[list[Source], list[UserError], list[Log]]:
    """The folders a .toml or .json file names, what is wrong with some of them, and what to know.

    Raises UserError: collection.dataset_file when it cannot be read, collection.no_subsets.
    """
    root, sources, problems, notes = path.parent.resolve(), [], [], []
    for subset in _subsets(_document(path), shown(path.name)):
        try:
            source = _source(root, subset)
        except UserError as error:
            problems.append(error)
            continue
        sources.append(source)
        if len(str(subset.get("class_tokens", ""))) > MAX_CONCEPT_NAME:
            notes.append(Log("collection.tokens_cut", {"where": source.wish.name}, "warning"))
        if "metadata_file" in subset:
            notes.append(Log("collection.metadata_file", {"where": shown(source.folder.name)}, "warning"))
    return sources, problems, notes


def _document(path: Path) -> object:
    where = shown(path.name)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError("collection.too_heavy", where, limit=MAX_BYTES // 1_000_000)
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise UserError("collection.dataset_file", where, reason=error.strerror or "?") from error
    except (ValueError, RecursionError) as error:
        reason = "UTF-8" if isinstance(error, UnicodeDecodeError) else shown(str(error))
        raise UserError("collection.dataset_file", where, reason=reason) from error


def _subsets(document: object, where: str) -> Iterator[dict[str, object]]:
    """Each subset with the defaults that hold for it."""
    count = 0
    general = _table(document).get("general")
    for dataset in _tables(_table(document).get("datasets")):
        for subset in _tables(dataset.get("subsets")):
            count += 1
            yield {**_table(general), **dataset, **subset}
    if not count:
        raise UserError("collection.no_subsets", where)


def _table(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _tables(value: object) -> list[dict[str, object]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _source(root: Path, subset: dict[str, object]) -> Source:
    """Raises UserError: collection.subset_folder, collection.subset_value."""
    folder = _folder(root, subset.get("image_dir"), "image_dir")
    repeats = subset.get("num_repeats", 1)
    if isinstance(repeats, bool) or not isinstance(repeats, int) or not 1 <= repeats <= MAX_REPEATS:
        raise UserError("collection.subset_value", "num_repeats", value=shown(str(repeats)))
    tokens, named = subset.get("class_tokens"), wish_of(folder.name)
    name = tokens if isinstance(tokens, str) and tokens.strip() else named.name if named else folder.name
    extension = subset.get("caption_extension", _DEFAULT_EXTENSION)
    if not isinstance(extension, str) or len(extension) > _ENDINGS:
        raise UserError("collection.subset_value", "caption_extension", value=shown(str(extension)))
    masks = ()
    if subset.get("conditioning_data_dir"):
        masks = (_folder(root, subset["conditioning_data_dir"], "conditioning_data_dir"),)
    wish = Wish(name.strip()[:MAX_CONCEPT_NAME], repeats, subset.get("is_reg") is True)
    return Source(root, folder, wish, extension if extension.startswith(".") else f".{extension}", masks)


def _folder(root: Path, value: object, setting: str) -> Path:
    """Below `root`: as it is written, else by its last name, else `root` itself when that has the name."""
    if isinstance(value, str) and value.strip():
        text = value.strip()
        inside = _inside_text(root, text)
        name = base_name(text.rstrip("/\\"))
        for candidate in (inside, name):
            try:
                folder = resolve_inside(root, candidate)
                if candidate and folder.is_dir():
                    return folder
            except (UserError, OSError):  # leads out, or is no name: the next
                continue
        if name == root.name:
            return root
    raise UserError("collection.subset_folder", setting, value=shown(str(value)))


def _inside_text(root: Path, text: str) -> str:
    """A whole path that begins with `root` without that; everything else as it is."""
    try:
        return Path(text).relative_to(root).as_posix()
    except ValueError:
        return text
