"""The tab: header, five sub-tabs, and the hidden parts through which the page's scripts and the server talk."""

from __future__ import annotations

import gradio as gr

from lib_lora_train.studio import Studio
from lib_lora_train.ui.actions import Actions
from lib_lora_train.ui.compat import listen, listen_in_browser
from lib_lora_train.ui.handlers import Desk
from lib_lora_train.ui.markup import panel
from lib_lora_train.ui.parts import Bridge, Parts, hidden_button, hidden_text
from lib_lora_train.ui.train import build_train
from lib_lora_train.ui.transfer import Transfer


def build_tab(studio: Studio) -> gr.Blocks:
    """The whole tab. It can be rendered inside another page; its events are its own."""
    with gr.Blocks(analytics_enabled=False) as tab, gr.Column(elem_id="lora_train_root"):
        gr.HTML(panel("header"), elem_id="lora_train_header_place")
        message = gr.HTML("", elem_id="lora_train_message")
        with gr.Tabs(elem_id="lora_train_tabs"):
            with gr.Tab("Dataset", id="dataset", elem_id="lora_train_tab_dataset"):
                gr.HTML(panel("dataset"))
            with gr.Tab("Tags", id="tags", elem_id="lora_train_tab_tags"):
                gr.HTML(panel("tags"))
            with gr.Tab("Train", id="train", elem_id="lora_train_tab_train"):
                gr.HTML(panel("live"))
                train = build_train(studio)
            with gr.Tab("Previews", id="previews", elem_id="lora_train_tab_previews"):
                gr.HTML(panel("previews"))
            with gr.Tab("Runs", id="runs", elem_id="lora_train_tab_runs"):
                gr.HTML(panel("runs"))
        bridge = _build_bridge()
        _bind(studio, Parts(message, train, bridge))
    return tab


def _build_bridge() -> Bridge:
    """What the scripts press and fill; in the page, but not seen."""
    with gr.Row(elem_classes=["lora_train_hidden"]):
        return Bridge(
            session=hidden_button("session_button"),
            token=hidden_text("token"),
            project=hidden_text("project_id"),
            open=hidden_button("project_button"),
            look=hidden_button("look_button"),
            press=hidden_text("press"),
            answered=hidden_text("answered"),
            opened=hidden_text("opened"),
            document=hidden_text("document"),
            apply=hidden_button("apply_button"),
            draft=hidden_button("draft_button"),
            export=hidden_text("export"),
        )


def _bind(studio: Studio, parts: Parts) -> None:
    train, bridge, transfer = parts.train, parts.bridge, parts.train.transfer
    desk = Desk(studio, parts.message)
    actions = Actions(studio, parts)
    message, given, filled = parts.message, parts.given, [parts.message, *train.shown]

    listen(bridge.session.click, desk.handled(actions.open_session), [], [message, bridge.token])
    opened = [bridge.answered, bridge.opened, *filled]
    fill = desk.named(desk.handled(actions.open_project), bridge.answered)
    listen(bridge.open.click, fill, [bridge.press, bridge.project, bridge.opened], opened)
    fill = desk.named(desk.quiet(actions.look, train.estimate), bridge.answered)
    listen(bridge.look.click, fill, [bridge.press, *given], opened)
    listen(bridge.draft.click, desk.quiet(actions.keep, train.estimate), given, [train.plan, train.estimate])

    for event in (train.plan_button.click, train.checkpoint.input):
        listen(event, desk.handled(actions.plan), given, filled)
    for component in train.wishes:
        listen(component.input, desk.handled(actions.choose), given, filled)
    listen(
        train.refresh_checkpoints.click,
        desk.handled(actions.refresh_checkpoints),
        [train.checkpoint],
        [message, train.checkpoint],
    )
    listen(train.refresh_loras.click, desk.handled(actions.refresh_loras), [train.lora], [message, train.lora])
    started = listen(train.train_button.click, desk.handled(actions.start), given, [message])
    listen_in_browser(started.then, "() => { if (window.loraTrain) loraTrain.started(); }")

    moves = Transfer(actions)
    fill = desk.named(desk.handled(moves.apply_document), bridge.answered)
    listen(bridge.apply.click, fill, [bridge.press, bridge.document, *given], [bridge.answered, *filled])
    listen(transfer.load_preset.click, desk.handled(moves.load_preset), [transfer.preset, *given], filled)
    listen(
        transfer.save_preset.click,
        desk.handled(moves.save_preset),
        [transfer.preset_name, *given],
        [message, transfer.preset, transfer.preset_name],
    )
    listen(
        transfer.delete_preset.click, desk.handled(moves.delete_preset), [transfer.preset], [message, transfer.preset]
    )
    listen(transfer.show_command.click, desk.handled(moves.show_command), given, [message, transfer.command])
    listen_in_browser(transfer.load_file.click, "() => { if (window.loraTrain) loraTrain.loadFile(); }")
    for button, handler in ((transfer.save_json, moves.save_json), (transfer.save_toml, moves.save_toml)):
        written = listen(button.click, desk.handled(handler), given, [message, bridge.export])
        listen_in_browser(written.then, "() => { if (window.loraTrain) loraTrain.saveFile(); }")
