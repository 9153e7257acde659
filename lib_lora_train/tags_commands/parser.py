"""The actions of `tags` and their flags; those of the edits are made from the edits' settings."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lib_lora_train.errors import UserError
from lib_lora_train.flags import Parser
from lib_lora_train.messages import message
from lib_lora_train.project import SUBJECT_KINDS
from lib_lora_train.settings.document import allowed_values, shown_default
from lib_lora_train.settings.fields import Setting
from lib_lora_train.settings.values import parse_text
from lib_lora_train.tags.edits import FORMS, Edit, edit_of, settings_of
from lib_lora_train.tags.exchange import EXPORTS
from lib_lora_train.words import word

SHOWN = 20  # captions of a preview
# Settings that are given without a flag, in this order.
_WORDS = {
    "add": ("tags",), "remove": ("tags",), "move": ("tags",), "merge": ("tags",), "weights": ("tags",),
    "replace": ("find", "replace"),
}  # fmt: skip
_OPTIONAL = ("weights",)
_FLAGS = {"where": "at"}  # --where is the filter
_TAKES_ANYTHING = ("--where",)  # its value may begin with a dash


class ActionParser(Parser):
    """A filter may begin with a dash, `--where -tag:solo`, which would be taken for a flag."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        return super().parse_known_args(None if args is None else _joined(args), namespace)


def make_parser(language: str) -> ActionParser:
    """`action` of what it parses names the action, `options` of an edit holds its settings by name."""
    parser = ActionParser(prog="lora-train tags DIR", allow_abbrev=False)
    actions = parser.add_subparsers(metavar="ACTION", dest="action", required=True, parser_class=ActionParser)

    def add(name: str, text: str = "") -> ActionParser:
        text = text or message(f"tags_cli.do_{name}", language)
        child = actions.add_parser(name, help=text.replace("%", "%%"), description=text, allow_abbrev=False)
        child.set_defaults(parser=child)
        return child

    listing = add("list")
    _looking(listing, language)
    listing.add_argument("--limit", type=int, default=0, metavar="N", help=message("tags_cli.limit_tags", language))

    showing = add("show")
    _looking(showing, language)
    showing.add_argument("--limit", type=int, default=0, metavar="N", help=message("tags_cli.limit", language))

    for table in FORMS:
        child = add(table.kind, word(table.help, language))
        for item in settings_of(table.kind):
            _add_setting(child, table.kind, item, language)
        _changing(child, language)

    bind = add("bind")
    bind.add_argument("--kind", choices=SUBJECT_KINDS, default=None, help=message("tags_cli.kind", language))
    bind.add_argument("--outfit", action="store_true", help=message("tags_cli.outfit", language))
    bind.add_argument("--least_share", type=float, default=0.0, metavar="SHARE", help=message("tags_cli.least_share", language))  # fmt: skip
    bind.add_argument("--choose", action="append", default=[], metavar="TAG=DECISION", help=message("tags_cli.choose", language))  # fmt: skip
    bind.add_argument("--rules", type=Path, default=None, metavar="FILE", help=message("tags_cli.rules", language))
    bind.add_argument("--json", action="store_true", help=message("cli.json", language))
    _changing(bind, language)

    trigger = add("trigger")
    trigger.add_argument("word", metavar="WORD", help=message("tags_cli.word", language))
    _changing(trigger, language)

    undo = add("undo")
    undo.add_argument("--sitting", action="store_true", help=message("tags_cli.sitting", language))
    add("redo")
    add("rollback").add_argument("number", type=int, metavar="NUMBER", help=message("tags_cli.back_to", language))
    add("forward").add_argument("number", type=int, metavar="NUMBER", help=message("tags_cli.forward_to", language))
    log = add("log")
    log.add_argument("--limit", type=int, default=50, metavar="N", help=message("tags_cli.limit", language))
    log.add_argument("--json", action="store_true", help=message("cli.json", language))

    export = add("export")
    export.add_argument("file", type=Path, metavar="FILE", help=message("tags_cli.export_file", language))
    export.add_argument("--as", dest="form", choices=tuple(EXPORTS), default="kohya", help=message("tags_cli.export_as", language))  # fmt: skip
    _meaning(export, language)

    incoming = add("import")
    incoming.add_argument("file", type=Path, metavar="FILE", help=message("tags_cli.import_file", language))
    _changing(incoming, language)
    return parser


def read_edit(options: argparse.Namespace) -> Edit:
    """The edit that the flags describe. Raises UserError as `edit_of`."""
    given = vars(options)
    values: dict[str, object] = {"kind": options.action}
    with called_by_flags(options.action):
        for item in settings_of(options.action):
            if _dest(item.name) in given:
                value = given[_dest(item.name)]
                values[item.name] = value if item.is_list else parse_text(item, value, item.name)
        return edit_of(values)


@contextmanager
def called_by_flags(kind: str) -> Iterator[None]:
    """What an error of an edit is about is called as on the command line."""
    try:
        yield
    except UserError as error:
        raise UserError(error.code, flag_of(kind, error.where), **error.values) from error


def flag_of(kind: str, name: str) -> str:
    """How a setting of an edit is given; `name` itself when it is none."""
    if name in _WORDS.get(kind, ()):
        return _metavar(name)
    known = {item.name for item in settings_of(kind)}
    return f"--{_FLAGS.get(name, name)}" if name in known else name


def _add_setting(parser: argparse.ArgumentParser, kind: str, item: Setting, language: str) -> None:
    text = f"{word(item.label, language)}. {word(item.help, language)} ({allowed_values(item)}; {shown_default(item)})"
    text = text.replace("%", "%%")
    if item.name in _WORDS.get(kind, ()):
        several = ("*" if kind in _OPTIONAL else "+") if item.is_list else None
        parser.add_argument(_dest(item.name), nargs=several, metavar=_metavar(item.name), help=text)
        return
    common = {"dest": _dest(item.name), "default": argparse.SUPPRESS, "help": text}
    flag = f"--{_FLAGS.get(item.name, item.name)}"
    if item.type is bool:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
    elif item.is_list:
        parser.add_argument(flag, nargs="+", action="extend", metavar="TAG", **common)
    else:
        parser.add_argument(flag, metavar="VALUE", **common)


def _meaning(parser: argparse.ArgumentParser, language: str) -> None:
    """Which pictures are meant, and what filters need to know of them."""
    parser.add_argument("--where", default="", metavar="EXPRESSION", help=message("tags_cli.where", language))
    parser.add_argument("--trigger", default=None, metavar="WORD", help=message("tags_cli.trigger", language))
    parser.add_argument("--models", type=Path, default=None, metavar="DIR", help=message("cli.models", language))
    parser.add_argument("--checkpoint", default="", metavar="FILE", help=message("tags_cli.checkpoint", language))


def _looking(parser: argparse.ArgumentParser, language: str) -> None:
    _meaning(parser, language)
    parser.add_argument("--json", action="store_true", help=message("cli.json", language))


def _changing(parser: argparse.ArgumentParser, language: str) -> None:
    _meaning(parser, language)
    names = ("--dry-run", "--dry_run")
    parser.add_argument(*names, dest="dry_run", action="store_true", help=message("tags_cli.dry_run", language))
    parser.add_argument("--show", dest="shown", type=int, default=SHOWN, metavar="N", help=message("tags_cli.shown", language))  # fmt: skip


def _dest(name: str) -> str:
    """So that no setting is taken for a flag that all actions have."""
    return f"set_{name}"


def _metavar(name: str) -> str:
    return "TAG" if name == "tags" else name.upper()


def _joined(words: Sequence[str]) -> list[str]:
    joined: list[str] = []
    for text in words:
        if joined and joined[-1] in _TAKES_ANYTHING and text.startswith("-"):
            joined[-1] = f"{joined[-1]}={text}"
        else:
            joined.append(text)
    return joined
