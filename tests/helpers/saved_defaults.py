"""What the WebUI's ui-config.json does to the components of a tab, written anew after its description.

Every component with a label, and every button with a text, has the key `<tab>/<label>/<field>`. At each start a key
that the file lacks is written with the component's own value, and one that it has is put into the component, when it is
a value that the component could have. Choices are looked for among what is shown.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

WITH_VALUE = (gr.Radio, gr.Checkbox, gr.Textbox, gr.Number, gr.Dropdown)


def apply_defaults(tab: gr.Blocks, name: str, saved: dict[str, Any]) -> None:
    """One start of the WebUI: `saved` is the content of the file, and is added to."""
    _walk(tab, name, saved)


def _walk(block: Any, path: str, saved: dict[str, Any]) -> None:
    if hasattr(block, "children"):
        if isinstance(block, gr.Tabs) and block.elem_id is not None:
            _field(block, f"{path}/Tabs@{block.elem_id}/selected", "selected", saved)
        for child in block.children:
            _walk(child, path, saved)
    elif block.label is not None:
        _component(block, f"{path}/{block.label}", saved)
    elif isinstance(block, gr.Button) and block.value is not None:
        _component(block, f"{path}/{block.value}", saved)


def _component(block: Any, path: str, saved: dict[str, Any]) -> None:
    if type(block) in (*WITH_VALUE, gr.Button) and block.visible:
        _field(block, f"{path}/visible", "visible", saved)
    if type(block) in WITH_VALUE:
        _field(block, f"{path}/value", "value", saved)


def _field(block: Any, key: str, name: str, saved: dict[str, Any]) -> None:
    if getattr(block, "do_not_save_to_config", False):
        return
    value = saved.get(key)
    if value is None:
        saved[key] = getattr(block, name)
        return
    if name == "value" and isinstance(block, gr.Radio | gr.Dropdown):
        shown = [choice[0] if isinstance(choice, tuple) else choice for choice in block.choices]
        if value not in shown:
            return
    if name == "value" and isinstance(block, gr.Number):
        value = float(value)
    setattr(block, name, str(value) if name == "value" and isinstance(block, gr.Textbox) else value)
