"""docs/settings.md, made from the tables: `python -m lib_lora_train.settings.document > docs/settings.md`."""

from __future__ import annotations

import sys

from lib_lora_train.settings.fields import Setting, describe_group
from lib_lora_train.settings.tables import TrainSettings

HEAD = """# Settings

Every setting of a training run, made from the tables in `lib_lora_train/settings/tables.py`.
The name is the flag of `train` (with `--` before it) and the name in a config file; it is kohya's where kohya has one.
What is not given has the default below. That is not always kohya's: those scripts start from rank 4, buckets off and `.caption` files.
"""


def settings_markdown() -> str:
    """The whole page."""
    parts = [HEAD]
    for group, table in vars(TrainSettings()).items():
        parts.append(f"## {group.capitalize()}\n\n{type(table).__doc__.strip()}\n")
        rows = "\n".join(_row(item) for item in describe_group(group, type(table)))
        parts.append(f"| name | what it is | default | values |\n| --- | --- | --- | --- |\n{rows}\n")
    return "\n".join(parts)


def allowed_values(item: Setting) -> str:
    """Choices or bounds of a setting in a few words, with its unit."""
    unit = f" {item.unit}" if item.unit else ""
    if item.choices:
        return ", ".join(item.choices) + unit
    if item.minimum is not None and item.maximum is not None:
        return f"{item.minimum:.10g} to {item.maximum:.10g}{unit}"
    return "list of texts" if item.is_list else {bool: "true or false", str: "text"}[item.type] + unit


def shown_default(item: Setting) -> str:
    """The default as it would be typed; a dash for an empty one."""
    if item.default is None or item.default in ("", []):
        return "-"
    return str(item.default).lower() if isinstance(item.default, bool) else str(item.default)


def _row(item: Setting) -> str:
    text = f"**{item.label}.** {item.help}".strip().replace("<", "&lt;").replace("|", "\\|")
    return f"| `{item.kohya}` | {text} | {shown_default(item)} | {allowed_values(item)} |"


if __name__ == "__main__":
    sys.stdout.write(settings_markdown())
