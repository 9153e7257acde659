"""The settings as a form: a component for each, made from the settings table, read back with the table's own checks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import gradio as gr

from lib_lora_train.errors import UserError
from lib_lora_train.settings import TrainSettings, describe
from lib_lora_train.settings.fields import Setting, describe_group
from lib_lora_train.settings.kohya import OWN
from lib_lora_train.settings.values import check_value, parse_text

GROUPS = {
    "model": "Model",
    "dataset": "Captions and pictures",
    "network": "LoRA",
    "optimizer": "Optimizer and rates",
    "loss": "Loss and noise",
    "run": "Length, saving and samples",
}
SETTINGS = {f"{item.group}.{item.name}": item for item in describe(TrainSettings)}
SPECIAL = ("model.checkpoint", "network.network_weights", "run.sample_prompts")  # shown by components of their own
MAX_TEXT = 20_000  # characters of one field
_PER_ROW = 3

Component = gr.components.Component
Made = TypeVar("Made")
Words = Callable[[str], str]  # a word of the page in the visitor's language


@dataclass(frozen=True)
class Field:
    """A setting and the component that shows it."""

    item: Setting
    component: Component

    @property
    def key(self) -> str:
        return f"{self.item.group}.{self.item.name}"


class Form:
    """All settings that the page shows, in the order in which events pass them."""

    def __init__(self) -> None:
        self._fields: dict[str, Field] = {}

    @property
    def components(self) -> list[Component]:
        return [field.component for field in self._fields.values()]

    def __iter__(self) -> Iterator[Field]:
        return iter(self._fields.values())

    def __getitem__(self, key: str) -> Component:
        return self._fields[key].component

    def add(self, key: str, component: Component) -> Component:
        """Shows the setting `group.name` by a component made elsewhere."""
        field = Field(SETTINGS[key], component)
        self._fields[field.key] = field
        return component

    def build_groups(
        self, left_out: Collection[str], extras: Mapping[str, Callable[[], Made]] | None = None
    ) -> dict[str, Made]:
        """A closed accordion for each group, without the settings in `left_out` and those added before.

        `extras` builds more at the end of a group; what it returns is returned by group.
        """
        made = {}
        for group, table in vars(TrainSettings()).items():
            with gr.Accordion(GROUPS[group], open=False, elem_id=f"lora_train_group_{group}"):
                special = (extras or {}).get(group)
                placed = [*left_out, *self._fields, *SPECIAL]
                items = [item for item in describe_group(group, type(table)) if f"{group}.{item.name}" not in placed]
                self._build_rows([item for item in items if item.type is not bool])
                self._build_rows([item for item in items if item.type is bool])
                if special is not None:
                    made[group] = special()
        return made

    def _build_rows(self, items: Sequence[Setting]) -> None:
        for start in range(0, len(items), _PER_ROW):
            with gr.Row():
                for item in items[start : start + _PER_ROW]:
                    self.add(f"{item.group}.{item.name}", _component(item))

    def read(self, values: Sequence[object], words: Words = str) -> TrainSettings:
        """The settings that the browser sent. What is not shown keeps its default.

        Raises UserError of `settings.values.check_value`, or ui.too_long, with the field's label as its place;
        ui.unreadable for another number of values.
        """
        if len(values) != len(self._fields):
            raise UserError("ui.unreadable")
        settings = TrainSettings()
        for field, value in zip(self, values, strict=True):
            _put(settings, field.item, from_browser(field.item, value, words(field.item.label)))
        return settings

    def defaults(self) -> TrainSettings:
        """What the form shows when the page opens. A saved default of the host's that is none stays as shipped."""
        settings = TrainSettings()
        for field in self:
            try:
                value = from_browser(field.item, getattr(field.component, "value", None), field.item.label)
            except UserError:
                continue
            _put(settings, field.item, value)
        return settings

    def show(self, settings: TrainSettings) -> dict[Component, Any]:
        """The values of all components for `settings`."""
        return {field.component: to_browser(field.item, value_of(settings, field.key)) for field in self}


def value_of(settings: TrainSettings, key: str) -> Any:
    """The value of `group.name`."""
    group, name = key.split(".")
    return getattr(getattr(settings, group), name)


def from_browser(item: Setting, value: object, where: str) -> object:
    """A component's value as the setting's own. Raises UserError naming `where`."""
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise UserError("ui.too_long", where, longest=MAX_TEXT)
    if value is None and item.type is str:  # a list in which nothing is chosen
        value = ""
    if item.is_list and isinstance(value, str):
        value = value.split()
    elif item.type is int and isinstance(value, float) and value.is_integer():  # JSON of a browser has one kind
        value = int(value)
    elif item.type is int and item.choices:
        return parse_text(item, value, where)
    return check_value(item, value, where)


def to_browser(item: Setting, value: Any) -> Any:
    """The setting's value as its component shows it."""
    if item.is_list:
        return " ".join(value)
    return str(value) if item.choices else value


def information(item: Setting) -> str:
    """What stands under the label: what it is, its unit, and kohya's name or, where kohya has none, our own."""
    unit = f"[{item.unit}]" if item.unit else ""
    name = f"name: {item.name}" if item.kohya in OWN else f"kohya: {item.kohya}"
    return " ".join(part for part in (item.help, unit, name) if part)


def _put(settings: TrainSettings, item: Setting, value: object) -> None:
    setattr(getattr(settings, item.group), item.name, value)


def _component(item: Setting) -> Component:
    common: dict[str, Any] = {
        "label": item.label,
        "info": information(item),
        "value": to_browser(item, item.default),
        "elem_id": f"lora_train_setting_{item.name}",
        "interactive": True,
    }
    if item.choices:
        return gr.Dropdown(choices=list(item.choices), **common)
    if item.type is bool:
        return gr.Checkbox(**common)
    if item.type in (int, float) and not item.is_list:
        whole = item.type is int
        bounds = {"minimum": item.minimum, "maximum": item.maximum, "step": 1 if whole else 0.01}
        return gr.Number(precision=0 if whole else None, **bounds, **common)
    return gr.Textbox(lines=1, max_lines=1, **common)
