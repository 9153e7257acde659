"""The pieces of HTML that handlers answer with. Whatever comes from outside is escaped here, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from lib_lora_train.errors import UserError
from lib_lora_train.messages import message
from lib_lora_train.runs.estimate import Estimate
from lib_lora_train.runs.managed import MANAGED
from lib_lora_train.settings.fields import Setting
from lib_lora_train.train.memory import GB
from lib_lora_train.train.plan import Plan, Reason
from lib_lora_train.ui.form import SETTINGS, to_browser
from lib_lora_train.words import word

# What people look at first; the other decisions are folded under them.
FIRST = (
    "dataset.resolution", "network.network_dim", "run.train_batch_size", "dataset.repeats",
    "run.max_train_epochs", "optimizer.unet_lr",
)  # fmt: skip
_BY_NAME = {item.name: (key, item) for key, item in SETTINGS.items()}


def notice(text: str, kind: str = "info") -> str:
    """A message; `kind` is info, warning or error."""
    role = "alert" if kind == "error" else "status"
    return f'<p class="lora_train_notice lora_train_{kind}" role="{role}">{escape(text)}</p>'


def problem(error: UserError, language: str, kind: str = "error") -> str:
    """An error as a message. A setting is named as the form names it, too; one that is not in it goes unnamed."""
    key, item = _BY_NAME.get(error.where, ("", None))
    if item is not None:
        where = "" if key in MANAGED else f"{word(item.label, language)} ({item.name})"
        error = UserError(error.code, where, **error.values)
    return notice(error.text(language), kind)


def panel(name: str) -> str:
    """An empty place that the page's own scripts fill."""
    return f'<div id="lora_train_{name}"></div>'


def memory_line(estimate: Estimate, steps: int, language: str) -> str:
    """What a run of so many steps takes against what there is."""
    numbers = {"need": f"{estimate.need / GB:.1f}", "free": f"{estimate.free / GB:.1f}", "steps": f"{steps:,}"}
    text = message("ui.fits" if estimate.fits else "ui.does_not_fit", language, **numbers)
    return notice(text, "info" if estimate.fits else "warning")


def plan_list(plan: Plan, there: Mapping[str, object], language: str) -> str:
    """Every planned value with its reason. Where something else is `there` (values by `group.name`), that is said."""
    head = message("ui.plan_head", language, showings=f"{plan.showings:,}", steps=f"{plan.steps:,}")
    warnings = [notice(message(warning.code, language, **warning.values), "warning") for warning in plan.warnings]

    def rows(reasons: Iterable[Reason]) -> str:
        return "".join(_row(reason, there, language) for reason in reasons)

    first = [reason for key in FIRST for reason in plan.reasons if reason.setting == key]
    others = [reason for reason in plan.reasons if reason.setting not in FIRST]
    more = escape(message("ui.plan_more", language, count=len(others)))
    return (
        f'<div class="lora_train_plan"><p class="lora_train_plan_head">{escape(head)}</p>{"".join(warnings)}'
        f"<dl>{rows(first)}</dl><details><summary>{more}</summary><dl>{rows(others)}</dl></details></div>"
    )


def _row(reason: Reason, there: Mapping[str, object], language: str) -> str:
    item = SETTINGS[reason.setting]
    value, changed = there.get(reason.setting, reason.value), ""
    if to_browser(item, value) != to_browser(item, reason.value):
        changed = message("ui.plan_changed", language, value=_as_text(item, value, language))
        changed = f' <em class="lora_train_changed">{escape(changed)}</em>'
    return f"<dt>{escape(word(item.label, language))}</dt><dd>{escape(reason.text(language))}{changed}</dd>"


def _as_text(item: Setting, value: object, language: str) -> str:
    if isinstance(value, bool):
        return message("ui.yes" if value else "ui.no", language)
    return "-" if value in (None, "", []) else str(to_browser(item, value))
