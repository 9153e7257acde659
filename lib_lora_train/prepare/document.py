"""docs/preparation.md, made from the tables: `python -m lib_lora_train.prepare.document > docs/preparation.md`."""

from __future__ import annotations

import sys

from lib_lora_train.messages import message
from lib_lora_train.prepare.health.findings import CODES
from lib_lora_train.prepare.tables import PrepareSettings
from lib_lora_train.settings.document import allowed_values, shown_default
from lib_lora_train.settings.fields import Setting, describe_group
from lib_lora_train.vision.models import KNOWN

HEAD = """# Preparing a data set

Every setting of the preparation, every finding of the health check and every model, made from the tables in
`lib_lora_train/prepare/tables.py`, `prepare/health/findings.py` and `vision/models.py`. How well the health check finds
what it looks for stands in [health.md](health.md).
"""

MODELS = """## Models

Downloaded when a step needs one, from the repositories below (a mirror: `HF_ENDPOINT`; never: `HF_HUB_OFFLINE=1`), or put
by hand into a folder of the model's name in the models folder, each file under its own last name. Commit and SHA-256 are
recorded at the first use and shown in the page's table; a file that is another one later is refused. No entry's
licence forbids commercial use; entries whose licence was not read on the repository's own page say so.

| name | what for | repository | MB | licence | |
| --- | --- | --- | --- | --- | --- |
"""
_LOST = {"unfit": "left out", "repair": "mended", "set": "about the set"}


def preparation_markdown() -> str:
    """The whole page."""
    parts = [HEAD]
    for group, table in vars(PrepareSettings()).items():
        parts.append(f"## {group.capitalize()}\n\n{str(type(table).__doc__).strip()}\n")
        rows = "\n".join(_row(item) for item in describe_group(group, type(table)))
        parts.append(f"| name | what it is | default | values |\n| --- | --- | --- | --- |\n{rows}\n")
    parts.append("## Findings of the health check\n\n| finding | severity | pictures are best | buttons |\n| --- | --- | --- | --- |")
    for code in CODES.values():
        fixes = ", ".join(message(f"health.fix_{fix}") for fix in code.fixes) or "-"
        parts.append(f"| {message(f'health.title_{code.name}')} | {code.severity} | {_LOST[code.way]} | {fixes} |")
    parts.append("")
    lines = [
        f"| `{model.name}` | {model.purpose} | {model.repository} | {model.megabytes:g} | {model.licence} | {model.notes()} |"
        for model in KNOWN
    ]
    parts.append(MODELS + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _row(item: Setting) -> str:
    text = f"**{item.label}.** {item.help}".strip().replace("<", "&lt;").replace("|", "\\|")
    default = ", ".join(item.default) or "-" if item.is_list else shown_default(item)
    return f"| `{item.name}` | {text} | {default} | {allowed_values(item)} |"


if __name__ == "__main__":
    sys.stdout.write(preparation_markdown())
