"""The command `tags`: captions of a folder or a project listed, filtered, changed, and changed back.

The work is that of the page: the same filters, edits, rules and journal. Exit codes: 0 done (also when nothing had to
change), 1 no picture is meant, 2 wrong use, 130 stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from lib_lora_train.messages import message
from lib_lora_train.terminal import terminal_language

ACTIONS = (
    "list", "show", "add", "remove", "replace", "merge", "dedupe", "sort", "move", "truncate", "spelling", "case",
    "weights", "affix", "bind", "trigger", "undo", "redo", "rollback", "forward", "log", "export", "import",
)  # fmt: skip


def add_tags_command(add: Callable[..., argparse.ArgumentParser], language: str) -> None:
    """Adds it to the parser that `add` adds to. Its actions are known only when it runs: they need the editor, which
    other commands need not wait for."""
    epilog = message("tags_cli.epilog", language, actions=", ".join(ACTIONS))
    tags = add("tags", tags_command, usage="lora-train tags DIR ACTION ...", epilog=epilog)
    tags.add_argument("folder", metavar="DIR", type=Path, help=message("tags_cli.folder", language))
    tags.add_argument(
        "words", metavar="ACTION ...", nargs=argparse.REMAINDER, help=message("tags_cli.action", language)
    )


def tags_command(options: argparse.Namespace) -> int:
    from lib_lora_train.tags_commands.actions import run

    return run(options.folder, options.words, terminal_language())
