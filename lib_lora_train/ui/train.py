"""The sub-tab Train: three choices and what is planned for them in sight, every setting folded below."""

from __future__ import annotations

import gradio as gr

from lib_lora_train.runs.managed import LOCAL_ONLY, MANAGED
from lib_lora_train.studio import Studio
from lib_lora_train.ui.form import SETTINGS, Form, information
from lib_lora_train.ui.parts import TrainPart, TransferPart, tool_button, unsaved

# What the page shows and what it stands for. Shown and sent are the same text, because the WebUI saves what is sent
# and looks for it among what is shown.
KINDS = {"Person": "person", "Character": "character", "Style": "style", "Object": "object", "Concept": "concept"}
MEDIA = {"Automatic": "auto", "Drawn": "drawn", "Photos": "photo"}
CHOICES = {"Quick": "quick", "Balanced": "balanced", "Thorough": "thorough"}
REFRESH = "\U0001f504"


def build_train(studio: Studio) -> TrainPart:
    """The components; what they do is bound by the tab."""
    form = Form()
    with gr.Row(elem_id="lora_train_setup"):
        with gr.Column(scale=5, min_width=400):
            kind = _radio(KINDS, "Character", "Kind of subject", "kind")
            choice = _radio(CHOICES, "Balanced", "Quality against time", "choice")
            with gr.Row():
                name = _text("Name", "name", placeholder="What the LoRA will be called")
                trigger = _text("Trigger word", "trigger", placeholder="A word without a meaning, such as hana1")
            with gr.Row(elem_classes=["lora_train_with_tool"]):
                checkpoints = studio.checkpoint_names()
                checkpoint = _listed(form, "model.checkpoint", checkpoints, "checkpoint", info=None)
                refresh_checkpoints = tool_button(REFRESH, "lora_train_refresh_checkpoints")
            medium = _radio(MEDIA, "Automatic", "Pictures are", "medium")
            prompts = gr.Textbox(
                label="Sample prompts",
                info="Drawn while training, to see what is learned; one a line.",
                lines=2,
                max_lines=8,
                elem_id="lora_train_prompts",
            )
            form.add("run.sample_prompts", unsaved(prompts))
        with gr.Column(scale=4, min_width=320):
            with gr.Row():
                plan_button = gr.Button("Plan", elem_id="lora_train_plan_button")
                train_button = gr.Button("Train", variant="primary", elem_id="lora_train_train_button")
            estimate = gr.HTML("", elem_id="lora_train_estimate")
            plan = gr.HTML("", elem_id="lora_train_plan")

    def start_file() -> tuple[gr.Dropdown, gr.Button]:
        with gr.Row(elem_classes=["lora_train_with_tool"]):
            item = SETTINGS["network.network_weights"]
            chosen = _listed(form, "network.network_weights", [""], "lora", information(item))
            return chosen, tool_button(REFRESH, "lora_train_refresh_loras")

    hidden = MANAGED if studio.exposure.names_folders else MANAGED | LOCAL_ONLY
    made = form.build_groups(hidden, {"network": start_file})
    lora, refresh_loras = made["network"]
    return TrainPart(
        kind=kind, medium=medium, choice=choice, name=name, trigger=trigger, checkpoint=checkpoint,
        refresh_checkpoints=refresh_checkpoints, lora=lora, refresh_loras=refresh_loras, form=form,
        plan_button=plan_button, train_button=train_button, plan=plan, estimate=estimate,
        transfer=_build_transfer(studio),
    )  # fmt: skip


def _build_transfer(studio: Studio) -> TransferPart:
    with gr.Accordion("Presets and files", open=False, elem_id="lora_train_group_transfer"):
        with gr.Row(elem_classes=["lora_train_line"]):
            preset = gr.Dropdown(choices=[], label="Preset", elem_id="lora_train_preset", interactive=True, scale=3)
            load_preset = gr.Button("Load preset", size="sm", elem_id="lora_train_load_preset")
            delete_preset = gr.Button("Delete preset", size="sm", elem_id="lora_train_delete_preset")
        with gr.Row(elem_classes=["lora_train_line"]):
            preset_name = gr.Textbox(
                label="Name of a new preset", max_lines=1, elem_id="lora_train_preset_name", scale=3
            )
            save_preset = gr.Button("Save as preset", size="sm", elem_id="lora_train_save_preset")
        with gr.Row():
            load_file = gr.Button("Load file", size="sm", elem_id="lora_train_load_file")
            save_json = gr.Button("Save as JSON", size="sm", elem_id="lora_train_save_json")
            save_toml = gr.Button("Save as kohya TOML", size="sm", elem_id="lora_train_save_toml")
            show_command = gr.Button("kohya command", size="sm", elem_id="lora_train_show_command")
        command = gr.Textbox(
            label="Command line for kohya's scripts",
            lines=3,
            max_lines=12,
            show_copy_button=True,
            interactive=False,
            elem_id="lora_train_command",
        )
    for component in (preset, preset_name, command):
        unsaved(component)
    return TransferPart(
        preset, load_preset, delete_preset, preset_name, save_preset, load_file, save_json, save_toml, show_command,
        command,
    )  # fmt: skip


def _radio(choices: dict[str, str], value: str, label: str, name: str) -> gr.Radio:
    return gr.Radio(list(choices), value=value, label=label, elem_id=f"lora_train_{name}")


def _text(label: str, name: str, placeholder: str) -> gr.Textbox:
    box = gr.Textbox("", label=label, max_lines=1, elem_id=f"lora_train_{name}", placeholder=placeholder)
    return unsaved(box)


def _listed(form: Form, key: str, names: list[str], elem_name: str, info: str | None) -> gr.Dropdown:
    """A setting that is chosen from what the host has; that changes, so it is no default to be saved."""
    chosen = gr.Dropdown(
        choices=names,
        value=names[0] if names else None,
        label=SETTINGS[key].label,
        info=info,
        elem_id=f"lora_train_{elem_name}",
        interactive=True,
    )
    form.add(key, unsaved(chosen))
    return chosen
