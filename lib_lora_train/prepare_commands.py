"""The commands `check`, `prepare`, `tag` and `models`.

Exit codes: 0 done, 1 no picture could be used, 2 wrong use, 130 stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora_train.errors import UserError
from lib_lora_train.messages import message
from lib_lora_train.terminal import DONE, NOTHING, terminal_language, watched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lib_lora_train.prepare.folder_pass import Prepared
    from lib_lora_train.prepare.health.findings import Report
    from lib_lora_train.prepare.tables import PrepareSettings
    from lib_lora_train.prepare.tools import Tools

Add = Callable[..., argparse.ArgumentParser]
KINDS = ("person", "character", "style", "object", "concept")
CROPS = ("none", "focal", "aspect", "face", "head", "upper_body", "split", "auto")
MATTES = ("none", "transparent", "white", "grey", "blur", "noise", "mask")
EXISTING = ("keep", "append", "prepend", "replace")
_NOTHING_CODES = ("prepare.nothing_usable", "prepare.empty")
_SEVERITIES = {"error": "cli.severity_error", "warning": "cli.severity_warning", "hint": "cli.severity_hint"}
_SHOWN = 20  # pictures of a finding that are named
_FLAGS = {"matte.background": "--matte", "matte.colour": "--matte", "matte.matte": "--matte_model", "crop.width": "--size", "tag.taggers": "--tagger"}  # fmt: skip


def add_prepare_commands(add: Add, language: str) -> None:
    """Adds them to the parser that `add` adds to."""
    check = add("check", check_command)
    _folder(check, language)
    check.add_argument("--size", type=int, default=512, metavar="PX", help=message("cli.size", language))
    check.add_argument("--kind", choices=KINDS, default="character", help=message("cli.kind", language))
    check.add_argument("--json", action="store_true", help=message("cli.json", language))
    _common(check, language)

    prepare = add("prepare", prepare_command)
    _folder(prepare, language)
    prepare.add_argument("--out", type=Path, required=True, metavar="OUT", help=message("cli.prepare_out", language))
    prepare.add_argument("--size", type=int, default=512, metavar="PX", help=message("cli.size", language))
    prepare.add_argument("--kind", choices=KINDS, default="character", help=message("cli.kind", language))
    prepare.add_argument("--crop", choices=CROPS, default="aspect", help=message("cli.crop", language))
    prepare.add_argument("--face_share", type=float, default=None, metavar="SHARE", help=message("cli.face_share", language))  # fmt: skip
    prepare.add_argument("--matte", default="none", metavar="KIND", help=message("cli.matte", language))
    prepare.add_argument("--matte_model", default="auto", metavar="NAME", help=message("cli.matte_model", language))
    prepare.add_argument("--tagger", action="append", metavar="NAME|FOLDER", help=message("cli.tagger", language))
    _tagging(prepare, language)
    _common(prepare, language)

    tag = add("tag", tag_command)
    _folder(tag, language)
    tag.add_argument("--tagger", action="append", metavar="NAME|FOLDER", help=message("cli.tagger", language))
    tag.add_argument("--undo", action="store_true", help=message("cli.undo_tags", language))
    _tagging(tag, language)
    _common(tag, language)


def check_command(options: argparse.Namespace) -> int:
    from lib_lora_train.prepare.bench import Steps
    from lib_lora_train.prepare.folder_pass import FolderPass
    from lib_lora_train.prepare.folders import find_pictures

    settings = _settings({"check": {"size": options.size, "medium": options.medium}})
    language = terminal_language()
    found = find_pictures(options.folder, "DIR")
    with _usable() as outcome, watched("cli.stopping_prepare") as (progress, commands), _scratch() as cache:
        found.check_some()
        passing = FolderPass(found, cache, _tools(options), settings, options.kind, "", progress, commands)
        passing.fetch(["check"])
        steps = Steps(check=settings)
        passing.look(steps, rendering=False)
        report = passing.report(steps)
        progress.close()
        _print_report(report, len(found.pictures), language, options.json)
    return outcome.code


def prepare_command(options: argparse.Namespace) -> int:
    from lib_lora_train.prepare.folder_pass import prepare_folder

    crop = "size" if options.crop == "focal" else options.crop
    cropping: dict[str, Any] = {"crop": crop, "width": options.size, "height": options.size}
    if options.face_share is not None:
        cropping["face_share"] = options.face_share
    settings = _settings(
        {
            "check": {"size": options.size, "medium": options.medium},
            "crop": cropping,
            "matte": {**_background(options.matte), "matte": options.matte_model},
            "tag": _tag_values(options, []),
        },
    )
    language = terminal_language()
    with _usable() as outcome, watched("cli.stopping_prepare") as (progress, commands):
        prepared = prepare_folder(
            options.folder, options.out, _tools(options), settings, kind=options.kind, trigger=options.trigger,
            events=progress, commands=commands,
        )  # fmt: skip
        progress.close()
        if prepared.report is not None:
            _print_report(prepared.report, prepared.looked_at, language, as_json=False)
            print()
        _print_files(prepared, options.out, language)
    return outcome.code


def tag_command(options: argparse.Namespace) -> int:
    from lib_lora_train.prepare.tag_folder import tag_folder, undo_tags

    language = terminal_language()
    if options.undo:
        back, left = undo_tags(options.folder)
        print(message("cli.tags_undone_but" if left else "cli.tags_undone", language, back=back, left=left))
        return DONE
    settings = _settings({"tag": _tag_values(options, ["wd-vit-tagger-v3"])})
    with _usable() as outcome, watched("cli.stopping_prepare") as (progress, commands):
        tagged = tag_folder(options.folder, _tools(options), settings, options.trigger, progress, commands)
        progress.close()
        code = "cli.tagged" if tagged.changed else "cli.tagged_nothing"
        print(message(code, language, changed=tagged.changed, kept=tagged.kept))
    return outcome.code


class _Outcome:
    code = DONE


@contextmanager
def _usable() -> Iterator[_Outcome]:
    """Where no picture could be used that is said, and is no wrong use. Standard output may be read by a program."""
    outcome = _Outcome()
    try:
        yield outcome
    except UserError as error:
        if error.code not in _NOTHING_CODES:
            raise
        print(error.text(terminal_language()), file=sys.stderr)
        outcome.code = NOTHING


@contextmanager
def _scratch() -> Iterator[Path]:
    """A check leaves nothing behind."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="lora-train-") as folder:
        yield Path(folder)


def _folder(parser: argparse.ArgumentParser, language: str) -> None:
    parser.add_argument("folder", metavar="DIR", help=message("cli.folder", language))


def _common(parser: argparse.ArgumentParser, language: str) -> None:
    parser.add_argument("--medium", choices=("auto", "drawn", "photo"), default="auto", help=message("cli.medium", language))  # fmt: skip
    parser.add_argument("--models", type=Path, default=None, metavar="DIR", help=message("cli.models", language))
    parser.add_argument("--provider", choices=("auto", "cpu", "cuda", "directml", "coreml"), default="auto", help=message("cli.provider", language))  # fmt: skip
    parser.add_argument("--offline", action="store_true", help=message("cli.offline", language))


def _tagging(parser: argparse.ArgumentParser, language: str) -> None:
    parser.add_argument("--threshold", type=float, default=0.35, help=message("cli.threshold", language))
    parser.add_argument("--character_threshold", type=float, default=0.85, help=message("cli.character_threshold", language))  # fmt: skip
    parser.add_argument("--existing", choices=EXISTING, default="keep", help=message("cli.existing", language))
    parser.add_argument("--trigger", default="", metavar="WORD", help=message("cli.trigger", language))
    parser.add_argument("--exclude", action="append", default=[], metavar="TAG", help=message("cli.exclude", language))
    parser.add_argument("--captioner", choices=("none", "florence2", "endpoint"), default="none", help=message("cli.captioner", language))  # fmt: skip


def _tag_values(options: argparse.Namespace, usual: list[str]) -> dict[str, Any]:
    """Taggers named by a folder are used where they are: the models folder is then the one that holds it."""
    named = usual if options.tagger is None else [name for name in options.tagger if name != "none"]
    return {
        "taggers": [Path(name).name if _is_folder(name) else name for name in named],
        "threshold": options.threshold,
        "character_threshold": options.character_threshold,
        "existing": options.existing,
        "exclude": options.exclude,
        "captioner": options.captioner,
    }


def _is_folder(name: str) -> bool:
    return Path(name).expanduser().is_dir()


def _background(text: str) -> dict[str, str]:
    """`--matte`: one of the kinds, or a colour. Raises UserError("prepare.background")."""
    if text not in MATTES and not text.startswith("#"):
        raise UserError("prepare.background", "--matte", value=text[:60], choices=", ".join(MATTES))
    return {"background": "colour", "colour": text} if text.startswith("#") else {"background": text}


def _settings(values: dict[str, Any]) -> PrepareSettings:
    """Raises UserError; what it is about is called as on the command line."""
    from lib_lora_train.prepare.reading import from_dict

    try:
        return from_dict(values)
    except UserError as error:
        flag = _FLAGS.get(error.where, f"--{error.where.split('.')[-1]}")
        raise UserError(error.code, flag, **error.values) from error


def _tools(options: argparse.Namespace) -> Tools:
    from lib_lora_train.prepare.tools import Tools
    from lib_lora_train.serve import models_folder
    from lib_lora_train.vision.store import ModelStore

    folders = [Path(name).expanduser().resolve() for name in getattr(options, "tagger", None) or () if _is_folder(name)]
    folder = options.models or models_folder()
    store = ModelStore(folder.expanduser(), offline=True if options.offline else None, taggers=folders)
    return Tools(store, provider=options.provider)


def _print_report(report: Report, count: int, language: str, as_json: bool) -> None:
    from lib_lora_train.collection.names import shown

    values = report.as_dict(language)
    if as_json:
        print(json.dumps({"pictures": count, **values}, ensure_ascii=False, indent=2))
        return
    print(message("cli.score", language, score=report.score, count=count))
    for line in values["reasons"]:
        print(f"  {line}")
    for finding in values["findings"]:
        severity = message(_SEVERITIES[finding["severity"]], language)
        print(f"\n[{severity}] {finding['title']}\n  {finding['sentence']}")
        for key in finding["keys"][:_SHOWN]:
            print(f"    {shown(key)}")
        if len(finding["keys"]) > _SHOWN:
            print(message("cli.more", language, count=len(finding["keys"]) - _SHOWN))


def _print_files(prepared: Prepared, out: Path, language: str) -> None:
    from lib_lora_train.prepare.folder_output import HIDDEN, REMOVED

    files = prepared.files
    print(message("cli.prepared", language, written=files.changed, unchanged=files.unchanged, captions=files.captions, out=out))  # fmt: skip
    if prepared.masks is not None:
        print(message("cli.prepared_masks", language, masks=prepared.masks))
    if files.removed:
        print(message("cli.prepared_removed", language, count=files.removed, folder=out / HIDDEN / REMOVED))
    if files.stays:
        print(message("cli.prepared_stays", language, count=files.stays))
