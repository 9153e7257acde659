"""What `tags DIR ACTION` does."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib_lora_train.editor.binding import Choices, read_choices
from lib_lora_train.editor.trigger_note import trigger_note
from lib_lora_train.editor.triggers import checked_word
from lib_lora_train.errors import UserError
from lib_lora_train.files import write_bytes
from lib_lora_train.messages import message
from lib_lora_train.progress import Progress
from lib_lora_train.signals import Log
from lib_lora_train.tags.edits import Edit, edit_of
from lib_lora_train.tags.exchange import EXPORTS, Incoming, export, matched, read_folder, read_import, write_folder
from lib_lora_train.tags.proposing import Proposal, propose, propose_texts
from lib_lora_train.tags.traits.advice import BindOptions, advise, concerns
from lib_lora_train.tags.traits.applying import binding_edits, binding_title
from lib_lora_train.tags.trigger import check_trigger, trigger_edit
from lib_lora_train.tags_commands import stepping
from lib_lora_train.tags_commands.bench import Bench
from lib_lora_train.tags_commands.parser import called_by_flags, make_parser, read_edit
from lib_lora_train.tags_commands.printing import (
    advice_facts,
    caption_facts,
    caption_line,
    plain,
    print_advice,
    print_json,
    print_notes,
    print_proposal,
    print_tags,
    said,
)
from lib_lora_train.terminal import DONE, NOTHING, watched

MAX_IMPORT = 100_000_000  # bytes
_UNMATCHED = 10  # names that are shown
_LOOKING = ("list", "show", "log", "export")
_NOTHING_CODES = ("tags_cli.no_pictures", "tags_cli.none_meant")


def run(folder: Path, words: Sequence[str], language: str) -> int:
    """One action; returns the exit code."""
    _take_any_character()
    options = make_parser(language).parse_args(list(words))
    action = _ACTIONS.get(options.action, _edit)
    bench = Bench(folder, options, language)
    with watched("tags_cli.stopping") as (progress, _):
        try:
            if options.action in _LOOKING or getattr(options, "dry_run", False):
                bench.settle(progress)
                action(bench, progress)
            else:
                with bench.changing(progress):
                    action(bench, progress)
            sys.stdout.flush()
        except BrokenPipeError:  # whoever read it, as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except UserError as error:
            if error.code not in _NOTHING_CODES:
                raise
            print(error.text(language), file=sys.stderr)
            return NOTHING
    return DONE


def _take_any_character() -> None:
    """A terminal that cannot write a tag's letters gets escapes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


# ---------------------------------------------------------------------- looking


def _list(bench: Bench, progress: Progress) -> None:
    index_of = bench.sheet.index_of
    counts = bench.sheet.tags_of(index_of[item.id] for item in bench.meant)
    limit = bench.options.limit if bench.options.limit > 0 else len(counts)
    frequent = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]
    tags = [(tag, count, bench.translations.of(tag)) for tag, count in frequent]
    if bench.options.json:
        print_json([{"tag": tag, "count": count, "translation": text} for tag, count, text in tags])
    else:
        print_tags(tags)


def _show(bench: Bench, progress: Progress) -> None:
    items = bench.meant[: bench.options.limit] if bench.options.limit > 0 else bench.meant
    if bench.options.json:
        print_json([caption_facts(item) for item in items])
        return
    for item in items:
        print(caption_line(item, bench.language))


# ---------------------------------------------------------------------- changing


def _edit(bench: Bench, progress: Progress) -> None:
    edit = read_edit(bench.options)
    with called_by_flags(edit.kind):
        proposal = propose(bench.meant, edit, bench.context)
    _change(bench, progress, proposal, edit.title())


def _bind(bench: Bench, progress: Progress) -> None:
    options = bench.options
    kind = options.kind or bench.place.kind or "character"
    made = read_choices(bench.place.project) if bench.place.project is not None else Choices()  # on the page
    choices = {**made.decisions, **_choices(options.choose)}
    binding = BindOptions(options.outfit or made.outfit, options.least_share)
    advice = advise(bench.meant, kind, bench.rules, bench.place.trigger, choices, binding, bench.vocabulary.spelling)
    if options.json:
        print_json(advice_facts(advice, bench.language))
    else:
        print_advice(advice, bench.language, bench.translations.of)
    edits: list[Edit] = [edit_of(values) for values in binding_edits(advice)]
    concerned = [item for item in bench.meant if concerns(item)]
    proposal = propose(concerned, edits, bench.context) if edits else Proposal()
    _change(bench, progress, proposal, binding_title(advice), quiet=options.json)


def _trigger(bench: Bench, progress: Progress) -> None:
    word, old = checked_word(bench.options.word), bench.place.trigger
    for note in check_trigger(
        word, bench.vocabulary, bench.sheet.counts, bench.context.count_tokens, bench.sheet.total, old
    ):
        print(said(note, bench.language))
    edits: list[Edit] = [edit_of(values) for values in trigger_edit(old, word)]
    concerned = [item for item in bench.meant if not item.regularization]
    proposal = propose(concerned, edits, bench.context) if edits else Proposal()
    title = Log("editor.did_trigger", {"word": word}) if word else Log("editor.did_no_trigger", {"word": old})
    _change(bench, progress, proposal, title, note=trigger_note(old, word) if word != old else None)
    if not bench.options.dry_run:
        stepping.give_project_word(bench, word)


def _import(bench: Bench, progress: Progress) -> None:
    found = matched(bench.meant, _incoming(bench.options.file))
    if found.unmatched:
        names = ", ".join(plain(name) for name in found.unmatched[:_UNMATCHED])
        print(message("tags_cli.unmatched", bench.language, count=len(found.unmatched), names=names))
    name = bench.options.file.name
    _change(bench, progress, propose_texts(bench.meant, found.texts), Log("tags_cli.did_import", {"name": name}))


def _change(
    bench: Bench,
    progress: Progress,
    proposal: Proposal,
    title: Log,
    quiet: bool = False,
    note: Mapping[str, Any] | None = None,
) -> None:
    """Shows it, or does it. `quiet`: standard output is for a program. `note`: goes into the journal even when no
    caption changes."""
    values = {"count": len(proposal.changes), "total": len(bench.meant)}
    if bench.options.dry_run:
        if not quiet:
            print_proposal(proposal, bench.options.shown, bench.language)
            print(message("tags_cli.would_change", bench.language, **values))
        return
    entry = bench.write(proposal, title, progress, note) if proposal.changes or note else None
    progress.close()
    if quiet:
        return
    print_notes(proposal, bench.language)
    if entry is None:
        print(message("tags_cli.nothing_to_change", bench.language))
        return
    print(message("tags_cli.changed", bench.language, number=entry.number, **values))
    stepping.print_left(bench, [entry])


# ---------------------------------------------------------------------- files


def _export(bench: Bench, progress: Progress) -> None:
    """A folder is written as such, unless its name says that it is to be a zip."""
    form, file, items = bench.options.form, bench.options.file.expanduser(), bench.meant
    if form == "folder" and file.suffix.lower() != EXPORTS[form]:
        count = write_folder(items, file)
    else:
        count = sum(1 for item in items if item.text.strip())
        write_bytes(file, export(items, form))
    print(message("tags_cli.exported", bench.language, count=count, file=file))


def _incoming(path: Path) -> Incoming:
    """Raises UserError: tags_cli.import_missing, tags_cli.import_large, edits.import_*."""
    path = path.expanduser()
    try:
        if path.is_dir():
            return Incoming(read_folder(path), whole=True)
        if path.stat().st_size > MAX_IMPORT:
            raise UserError("tags_cli.import_large", path.name, limit=MAX_IMPORT // 1_000_000)
        return read_import(path.read_bytes(), path.name)
    except OSError as error:
        raise UserError("tags_cli.import_missing", path.name, reason=error.strerror or "?") from error


def _choices(words: Sequence[str]) -> dict[str, str]:
    """Raises UserError("tags_cli.choice")."""
    choices = {}
    for text in words:
        tag, sign, decision = text.rpartition("=")
        if not sign or not tag.strip():
            raise UserError("tags_cli.choice", "--choose", value=text[:80])
        choices[tag.strip()] = decision.strip()
    return choices


_ACTIONS: dict[str, Callable[[Bench, Progress], None]] = {
    "list": _list, "show": _show, "bind": _bind, "trigger": _trigger, "export": _export, "import": _import,
    "undo": stepping.undo, "redo": stepping.redo, "rollback": stepping.rollback, "forward": stepping.forward,
    "log": stepping.log,
}  # fmt: skip
