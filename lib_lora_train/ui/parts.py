"""The components that handlers read and answer with, by name."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from lib_lora_train.ui.form import Component, Form

HIDDEN = ["lora_train_hidden"]


@dataclass(frozen=True)
class TrainPart:
    """Of the sub-tab Train. `form` holds all settings, those of `checkpoint`, `lora` and `prompts` too."""

    kind: gr.Radio
    medium: gr.Radio
    choice: gr.Radio
    name: gr.Textbox
    trigger: gr.Textbox
    checkpoint: gr.Dropdown
    refresh_checkpoints: gr.Button
    lora: gr.Dropdown
    refresh_loras: gr.Button
    form: Form
    plan_button: gr.Button
    train_button: gr.Button
    plan: gr.HTML
    estimate: gr.HTML
    transfer: TransferPart

    @property
    def wishes(self) -> list[Component]:
        return [self.kind, self.medium, self.choice]

    @property
    def shown(self) -> list[Component]:
        """What the opening of a project fills in."""
        texts = [self.name, self.trigger, self.plan, self.estimate, self.transfer.preset]
        return [*self.wishes, *texts, *self.form.components]


@dataclass(frozen=True)
class TransferPart:
    """Presets, files and kohya's command line."""

    preset: gr.Dropdown
    load_preset: gr.Button
    delete_preset: gr.Button
    preset_name: gr.Textbox
    save_preset: gr.Button
    load_file: gr.Button
    save_json: gr.Button
    save_toml: gr.Button
    show_command: gr.Button
    command: gr.Textbox


@dataclass(frozen=True)
class Bridge:
    """What the page's scripts press and fill.

    `opened` is the project whose values the form holds: it arrives together with them, so that what is typed never
    goes into the project that is opened next. The answers to `open`, `look` and `apply` put the name in `press` into
    `answered`: until then the page lets nobody type into the form.
    """

    session: gr.Button
    token: gr.Textbox
    project: gr.Textbox
    open: gr.Button
    look: gr.Button
    press: gr.Textbox
    answered: gr.Textbox
    opened: gr.Textbox
    document: gr.Textbox
    apply: gr.Button
    draft: gr.Button
    export: gr.Textbox


@dataclass(frozen=True)
class Parts:
    """All of the tab."""

    message: gr.HTML
    train: TrainPart
    bridge: Bridge

    @property
    def given(self) -> list[Component]:
        """What handlers need to know what is wanted: `actions.Given` is made from it."""
        train = self.train
        return [self.bridge.opened, *train.wishes, train.name, train.trigger, *train.form.components]


def tool_button(sign: str, elem_id: str) -> gr.Button:
    """A small button with one sign. The WebUI's style knows the class, and ours for the page alone."""
    return unsaved(gr.Button(sign, elem_id=elem_id, elem_classes=["tool", "lora_train_tool"], min_width=40, scale=0))


def hidden_text(name: str) -> gr.Textbox:
    return unsaved(gr.Textbox("", show_label=False, elem_id=f"lora_train_{name}", elem_classes=HIDDEN))


def hidden_button(name: str) -> gr.Button:
    return unsaved(gr.Button(name, elem_id=f"lora_train_{name}", elem_classes=HIDDEN))


def unsaved(component: Component) -> Component:
    """Keeps the component out of the WebUI's saved defaults (ui-config.json)."""
    component.do_not_save_to_config = True
    return component
