"""The edits in docs/tags.md, made from their tables: `python -m lib_lora_train.tags.document` writes them anew there."""

from __future__ import annotations

from pathlib import Path

from lib_lora_train.files import write_text
from lib_lora_train.settings.document import allowed_values, shown_default
from lib_lora_train.settings.fields import Setting
from lib_lora_train.tags.edits import FORMS, settings_of

PAGE = Path(__file__).parents[2] / "docs" / "tags.md"
BEGIN, END = "<!-- made from the edits' tables -->\n", "<!-- end -->\n"


def edits_markdown() -> str:
    """A table for each kind of edit."""
    parts = []
    for table in FORMS:
        rows = "".join(map(_row, settings_of(table.kind)))
        head = "| name | what it is | default | values |\n| --- | --- | --- | --- |\n" if rows else ""
        parts.append(f"### `{table.kind}`: {table.label}\n\n{_escaped(table.help)}\n\n{head}{rows}")
    return "\n".join(parts)


def renewed(page: str) -> str:
    """The page with its tables as they are now."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{edits_markdown()}\n{END}{rest.partition(END)[2]}"


def _row(item: Setting) -> str:
    text = _escaped(f"**{item.label}.** {item.help}".strip())
    default = ", ".join(item.default) or "-" if item.is_list else shown_default(item)
    return f"| `{item.name}` | {text} | {default} | {allowed_values(item)} |\n"


def _escaped(text: str) -> str:
    return (
        text.replace("\\", "\\\\").replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*").replace("\\*\\*", "**")
    )


if __name__ == "__main__":
    write_text(PAGE, renewed(PAGE.read_text(encoding="utf-8")))
