"""The form: every setting there once, read back as it was shown, and nothing believed that a browser sends."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import gradio as gr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.access import Exposure
from lib_lora_train.errors import UserError
from lib_lora_train.runs.managed import LOCAL_ONLY, MANAGED
from lib_lora_train.settings import TrainSettings, describe
from lib_lora_train.settings.fields import Setting
from lib_lora_train.studio import Studio
from lib_lora_train.ui.form import MAX_TEXT, SETTINGS, Form, from_browser, information, value_of
from lib_lora_train.ui.tab import build_tab
from lib_lora_train.ui.train import CHOICES, KINDS, MEDIA
from tests.helpers.saved_defaults import WITH_VALUE, apply_defaults
from tests.ui.conftest import MakeStudio

SHOWN = [key for key in SETTINGS if key not in MANAGED]
SIGNS = {"\U0001f504"}


def blocks(block: Any) -> Iterator[Any]:
    yield block
    for child in getattr(block, "children", []):
        yield from blocks(child)


def by_id(tab: gr.Blocks) -> dict[str, Any]:
    return {block.elem_id: block for block in blocks(tab) if getattr(block, "elem_id", None)}


@pytest.fixture
def tab(studio: Studio) -> gr.Blocks:
    return build_tab(studio)


@pytest.fixture(scope="module")
def form() -> Form:
    """Without a page around it."""
    form = Form()
    with gr.Blocks(analytics_enabled=False):
        form.build_groups(MANAGED)
        for key in SHOWN:
            if key not in {field.key for field in form}:
                form.add(key, gr.Textbox(""))
    return form


# ---------------------------------------------------------------------- what there is


def test_every_setting_that_is_not_the_projects_is_there_once(tab: gr.Blocks) -> None:
    labels = Counter(block.label for block in blocks(tab) if isinstance(block, WITH_VALUE))
    for item in describe(TrainSettings):
        expected = 0 if f"{item.group}.{item.name}" in MANAGED else 1
        if item.label not in ("Name", "Trigger word"):  # the project's own, shown by other means
            assert labels[item.label] == expected, item.label


def test_labels_are_unique(tab: gr.Blocks) -> None:
    """The WebUI saves defaults under labels: two of the same would share one."""
    words = [block.label for block in blocks(tab) if getattr(block, "label", None) and not hasattr(block, "children")]
    words += [block.value for block in blocks(tab) if isinstance(block, gr.Button) and block.value not in SIGNS]
    assert [word for word, count in Counter(words).items() if count > 1] == []


def test_every_id_is_ours_and_there_once(tab: gr.Blocks) -> None:
    ids = [block.elem_id for block in blocks(tab) if getattr(block, "elem_id", None)]
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    assert all(name.startswith("lora_train_") for name in ids)


def test_help_says_kohyas_name_or_our_own() -> None:
    assert information(SETTINGS["network.network_dim"]).endswith(" kohya: network_dim")
    assert information(SETTINGS["dataset.bucket_reso_steps"]).endswith("[px] kohya: bucket_reso_steps")
    assert information(SETTINGS["run.sample_steps"]) == "name: sample_steps"  # those scripts have no such thing
    assert information(SETTINGS["run.save_last_n"]).endswith("kohya: save_last_n_epochs")


def test_folders_of_the_server_are_for_those_who_sit_at_it(make_studio: MakeStudio) -> None:
    for key in LOCAL_ONLY:
        label = SETTINGS[key].label
        for exposure, expected in ((Exposure(), True), (Exposure(local=False, login=True), False)):
            tab = build_tab(make_studio(exposure))
            assert (label in {getattr(block, "label", None) for block in blocks(tab)}) is expected


def test_choices_are_sent_as_they_are_shown(tab: gr.Blocks) -> None:
    """Else the WebUI could not find a saved one among them."""
    found = [block for block in blocks(tab) if isinstance(block, gr.Radio | gr.Dropdown)]
    assert len(found) > 10
    for block in found:
        assert all(choice[0] == choice[1] for choice in block.choices if isinstance(choice, tuple)), block.label


# ---------------------------------------------------------------------- there and back


def values(item: Setting) -> st.SearchStrategy[Any]:
    if item.is_list:
        return st.lists(st.text("abc=0.9,", min_size=1, max_size=8), max_size=3)
    if item.choices:
        return st.sampled_from(item.choices).map(item.type)
    if item.type is bool:
        return st.booleans()
    if item.type is int:
        whole = st.integers(math.ceil(item.minimum), math.floor(item.maximum))
        return st.none() | whole if item.optional else whole
    if item.type is float:
        return st.floats(item.minimum, item.maximum)
    return st.text(max_size=40)


@st.composite
def all_settings(draw: st.DrawFn) -> TrainSettings:
    settings = TrainSettings()
    for key in draw(st.sets(st.sampled_from(SHOWN), max_size=12)):
        group, name = key.split(".")
        setattr(getattr(settings, group), name, draw(values(SETTINGS[key])))
    return settings


@given(settings=all_settings())
def test_what_is_shown_is_read_back(form: Form, settings: TrainSettings) -> None:
    shown = form.show(settings)
    sent = json.loads(json.dumps([shown[component] for component in form.components]))  # as it goes over the wire
    assert form.read(sent) == settings


def test_a_browser_knows_one_kind_of_number() -> None:
    assert from_browser(SETTINGS["network.network_dim"], 16.0, "Rank") == 16
    assert from_browser(SETTINGS["network.network_alpha"], 8, "Alpha") == 8.0
    assert from_browser(SETTINGS["run.checkpointed_blocks"], None, "x") is None


JUNK = [
    None,
    True,
    3,
    -1,
    1e308,
    0.5,
    "",
    "x",
    "\x00",
    "x" * (MAX_TEXT + 1),
    [],
    ["x", 3],
    [["x"]],
    {},
    {"path": "/etc/passwd"},
]


@pytest.mark.parametrize("key", SHOWN)
def test_anything_else_is_refused_by_the_fields_name(key: str) -> None:
    """Either it is a value that the setting can have, or a sentence that names the field; never anything else."""
    item = SETTINGS[key]
    accepted = 0
    for junk in JUNK:
        try:
            value = from_browser(item, junk, item.label)
        except UserError as error:
            assert error.where == item.label, junk
            continue
        accepted += 1
        assert value is None or isinstance(value, list if item.is_list else item.type)
    assert accepted < len(JUNK)


def test_too_few_values_are_no_settings(form: Form) -> None:
    with pytest.raises(UserError) as caught:
        form.read([1, 2, 3])
    assert caught.value.code == "ui.unreadable"


# ---------------------------------------------------------------------- the WebUI's saved defaults


def other_value(block: Any) -> Any:
    """Another value that the component can have."""
    if isinstance(block, gr.Checkbox):
        return not block.value
    if isinstance(block, gr.Number):
        return (block.value or 0) + 1
    if isinstance(block, gr.Textbox):
        return "0.5" if block.label in ("Learning rate", "U-Net rate", "Text encoder rate") else f"{block.value}64"
    shown = [choice[0] if isinstance(choice, tuple) else choice for choice in block.choices]
    return next(choice for choice in shown if choice != block.value)


def test_saved_defaults_come_back(studio: Studio) -> None:
    """The file is written at the first start, changed in Settings > Defaults, and read at the next one."""
    file: dict[str, Any] = {}
    first = build_tab(studio)
    apply_defaults(first, "lora_train", file)
    assert "lora_train/Rank/value" in file and "lora_train/Kind of subject/value" in file
    saved = [
        block for block in blocks(first) if isinstance(block, WITH_VALUE) and f"lora_train/{block.label}/value" in file
    ]
    wanted = {block.elem_id: other_value(block) for block in saved}
    assert len(wanted) > 60
    file |= {f"lora_train/{block.label}/value": wanted[block.elem_id] for block in saved}
    again = json.loads(json.dumps(file))

    second = build_tab(studio)
    apply_defaults(second, "lora_train", again)
    assert {name: by_id(second)[name].value for name in wanted} == wanted
    assert again == file  # nothing was added or lost


def test_a_start_without_changes_changes_nothing(studio: Studio) -> None:
    file: dict[str, Any] = {}
    apply_defaults(build_tab(studio), "lora_train", file)
    tab = build_tab(studio)
    before = {name: block.value for name, block in by_id(tab).items() if isinstance(block, WITH_VALUE)}
    apply_defaults(tab, "lora_train", json.loads(json.dumps(file)))
    assert {name: by_id(tab)[name].value for name in before} == before


def test_what_belongs_to_a_project_or_a_page_is_no_default(studio: Studio) -> None:
    file: dict[str, Any] = {}
    apply_defaults(build_tab(studio), "lora_train", file)
    for label in ("Name", "Trigger word", "Checkpoint", "Continue from LoRA", "Sample prompts", "Preset"):
        assert f"lora_train/{label}/value" not in file
    assert not any("token" in key or "session" in key or "project" in key for key in file)


def test_a_damaged_saved_default_stays_as_shipped(form: Form) -> None:
    component = form["network.network_dim"]
    before = component.value
    component.value = -5.0
    try:
        assert form.defaults().network.network_dim == TrainSettings().network.network_dim
    finally:
        component.value = before
    assert form.defaults() == TrainSettings()


def test_the_three_choices_are_all_there_are() -> None:
    from lib_lora_train.project import SUBJECT_KINDS
    from lib_lora_train.runs.wishes import MEDIA as KNOWN_MEDIA
    from lib_lora_train.train.plan import CHOICES as KNOWN_CHOICES

    assert set(KINDS.values()) == set(SUBJECT_KINDS)
    assert set(MEDIA.values()) == set(KNOWN_MEDIA)
    assert set(CHOICES.values()) == set(KNOWN_CHOICES)
    assert value_of(TrainSettings(), "network.network_dim") == TrainSettings().network.network_dim
