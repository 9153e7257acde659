"""Reading a table of rules, the shipped one or a user's, with every mistake named by line or field."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lib_lora_train.errors import UserError
from lib_lora_train.project import SUBJECT_KINDS
from lib_lora_train.tags.traits.patterns import expression

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_BYTES = 1_000_000
MAX_PATTERN, MAX_STARS = 120, 3  # characters; stars in one pattern
_GROUPS = ("subject", "action", "feature", "view", "light", "other")
THEMES = (
    "subject", "hair", "eyes", "face", "body", "mark", "worn", "clothing", "action", "expression", "view", "background",
    "light", "object", "style", "name", "noise", "other",
)  # fmt: skip


@dataclass(frozen=True)
class CategoryEntry:
    """One category as the table has it; what the fields mean stands at the top of rules.toml."""

    group: str = "other"
    theme: str = "other"
    tags: tuple[str, ...] = ()
    bind: tuple[str, ...] = ()
    outfit: tuple[str, ...] = ()
    share: float = 0.5
    one: bool = False
    counted: bool = False
    fix: bool = False
    unclear: bool = False


@dataclass(frozen=True)
class RuleTable:
    """`lists` by name, as patterns use them; `categories` by name; `least` share by kind of subject, 0 to 1."""

    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    categories: Mapping[str, CategoryEntry] = field(default_factory=dict)
    least: Mapping[str, float] = field(default_factory=dict)

    @staticmethod
    def merged(tables: Sequence[RuleTable]) -> RuleTable:
        """One table: of a category in several the last one, of a list all entries."""
        lists: dict[str, tuple[str, ...]] = {}
        categories: dict[str, CategoryEntry] = {}
        least: dict[str, float] = {}
        for table in tables:
            lists |= {name: (*lists.get(name, ()), *entries) for name, entries in table.lists.items()}
            categories |= table.categories
            least |= table.least
        return RuleTable(lists, categories, least)


def read_table(path: Path, base: RuleTable | None = None) -> RuleTable:
    """The table in a file; a category that `base` has too keeps what the file does not say.

    Raises UserError: traits.unreadable, traits.heavy, traits.unknown, traits.value, traits.no_group, traits.pattern,
    traits.list.
    """
    document = _document(path)
    where = path.name
    _check_keys(document, ("version", "lists", "least", "category"), where, "")
    lists = {
        name: _texts(entries, where, f"lists.{name}")
        for name, entries in _tables(document.get("lists", {}), where, "lists").items()
    }
    least = {
        kind: _share(share, where, f"least.{kind}")
        for kind, share in _tables(document.get("least", {}), where, "least").items()
    }
    _check_keys(least, SUBJECT_KINDS, where, "least")
    known = {**(base.lists if base else {}), **lists}
    categories = {}
    for name, values in _tables(document.get("category", {}), where, "category").items():
        before = base.categories.get(name) if base else None
        at = f"category.{name}"
        entry = _entry(_tables(values, where, at), before, where, at)
        for pattern in entry.tags:
            _check_pattern(pattern, known, where, f"{at}.tags")
        categories[name] = entry
    return RuleTable(lists, categories, least)


def _document(path: Path) -> dict[str, Any]:
    where = path.name
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError("traits.heavy", where, limit=MAX_BYTES // 1_000_000)
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError("traits.unreadable", where, reason=error.strerror or "?") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError names line and column
        reason = "UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise UserError("traits.unreadable", where, reason=reason) from error


def _entry(values: Mapping[str, Any], before: CategoryEntry | None, where: str, at: str) -> CategoryEntry:
    """`before` with what the file says; its patterns alone, those of `before` are in the table before."""
    _check_keys(values, [item.name for item in fields(CategoryEntry)], where, at)
    if before is None and "group" not in values:  # perhaps a known one with its name misspelt
        raise UserError("traits.no_group", where, field=at, known=", ".join(_GROUPS))
    given: dict[str, Any] = {"tags": ()}
    for name, value in values.items():
        at_field = f"{at}.{name}"
        if name in ("one", "counted", "fix", "unclear"):
            given[name] = _checked(value, isinstance(value, bool), "true, false", where, at_field)
        elif name == "share":
            given[name] = _share(value, where, at_field)
        elif name in ("group", "theme"):
            choices = _GROUPS if name == "group" else THEMES
            given[name] = _checked(value, value in choices, ", ".join(choices), where, at_field)
        else:
            given[name] = _texts(value, where, at_field)
            if name != "tags":
                for kind in given[name]:
                    _checked(kind, kind in SUBJECT_KINDS, ", ".join(SUBJECT_KINDS), where, at_field)
    return replace(before or CategoryEntry(), **given)


def _share(value: Any, where: str, at: str) -> float:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    return float(_checked(value, fits, "0 … 1", where, at))


def _checked(value: Any, fits: bool, wanted: str, where: str, at: str) -> Any:
    if not fits:
        raise UserError("traits.value", where, field=at, value=str(value)[:60], wanted=wanted)
    return value


def _check_keys(values: Mapping[str, Any], known: Sequence[str], where: str, at: str) -> None:
    for name in values:
        if name not in known:
            raise UserError("traits.unknown", where, field=f"{at}.{name}".lstrip("."), known=", ".join(known))


def _check_pattern(pattern: str, lists: Mapping[str, Sequence[str]], where: str, at: str) -> None:
    if not pattern.strip() or len(pattern) > MAX_PATTERN or pattern.count("*") > MAX_STARS:
        raise UserError("traits.pattern", where, field=at, value=pattern[:60], letters=MAX_PATTERN, stars=MAX_STARS)
    try:
        expression(pattern, lists)
    except KeyError as error:
        raise UserError("traits.list", where, field=at, value=pattern, name=str(error.args[0])) from error


def _tables(value: Any, where: str, at: str) -> Mapping[str, Any]:
    return _checked(value, isinstance(value, dict), "[…]", where, at)


def _texts(value: Any, where: str, at: str) -> tuple[str, ...]:
    fits = isinstance(value, list) and all(isinstance(entry, str) for entry in value)
    return tuple(_checked(value, fits, '["…", "…"]', where, at))
