"""The command line of `train`, made from the settings: kohya's flag names, and kohya's options that are no settings."""

from __future__ import annotations

import argparse
import textwrap
from typing import NoReturn

from lib_lora_train.errors import UserError
from lib_lora_train.messages import DEFAULT_LANGUAGE, message
from lib_lora_train.settings import TrainSettings, kohya
from lib_lora_train.settings.document import allowed_values, shown_default
from lib_lora_train.settings.fields import Setting, describe_group
from lib_lora_train.settings.reading import flat_names


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are UserErrors like all others."""

    def error(self, message: str) -> NoReturn:
        raise UserError("cli.usage", self.prog, problem=message)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for each setting, by group. What is not given does not appear in the namespace."""
    for group, table in vars(TrainSettings()).items():
        section = parser.add_argument_group(group, type(table).__doc__)
        for item in describe_group(group, type(table)):
            _add_setting(section, item)
    for names in (kohya.TRANSLATED, kohya.NEUTRAL, kohya.IGNORED):
        for name, declared in names.items():
            kind = declared if isinstance(declared, str) else declared[0]
            _add(parser, [f"--{name}"], name, kind, argparse.SUPPRESS)


def refuse_unknown(words: list[str], parser: argparse.ArgumentParser) -> None:
    """Raises UserError for the first word that no option took; for a flag of `train`, with the nearest one."""
    for word in words:
        if word.startswith("--") and parser.prog.endswith(" train"):
            flag = word.split("=")[0]
            known = [*flat_names(), *kohya.TRANSLATED, *kohya.NEUTRAL, *kohya.IGNORED]
            raise UserError("settings.unknown", flag, nearest=f"--{kohya.nearest(flag.strip('-'), known)}")
        raise UserError("cli.usage", parser.prog, problem=word)


def kohya_summary(language: str = DEFAULT_LANGUAGE) -> str:
    """Which of kohya's other options are understood, for the end of the help."""
    translated = ", ".join(f"--{name}" for name in kohya.TRANSLATED)
    ignored = ", ".join(f"--{name}" for name in kohya.IGNORED)
    text = message("cli.train_epilog", language, translated=translated, ignored=ignored)
    return "\n".join(textwrap.fill(line, 78, break_on_hyphens=False) for line in text.splitlines())


def _add_setting(section: argparse._ArgumentGroup, item: Setting) -> None:
    kind = "list" if item.is_list else "flag" if item.type is bool else "value"
    facts = f"({allowed_values(item)}; {shown_default(item)})"
    text = f"{item.label}. {item.help} {facts}".replace("  ", " ").replace("%", "%%")
    names = [f"--{item.kohya}"] + ([f"--{item.name}"] if item.name != item.kohya else [])
    _add(section, names, item.kohya, kind, text)


def _add(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, flags: list[str], name: str, kind: str, text: str
) -> None:
    common = {"dest": name, "default": argparse.SUPPRESS, "help": text}
    if kind == "flag":
        parser.add_argument(*flags, action=argparse.BooleanOptionalAction, **common)
    elif kind == "list":
        parser.add_argument(*flags, nargs="*", metavar="NAME=VALUE", **common)
    else:
        parser.add_argument(*flags, metavar="VALUE", **common)
