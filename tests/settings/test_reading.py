"""Settings from files: what is read, what is refused and how it is said."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.cli import make_parser, train_settings
from lib_lora_train.errors import UserError
from lib_lora_train.settings import Setting, TrainSettings, describe
from lib_lora_train.settings import kohya as kohya_table
from lib_lora_train.settings.document import settings_markdown
from lib_lora_train.settings.reading import (
    flat_names,
    from_document,
    from_flat,
    load_settings,
    migrate,
    parse_resolution,
    parse_settings,
    validate,
)
from lib_lora_train.settings.tables import SCHEMA_VERSION
from lib_lora_train.settings.values import check_value, parse_text
from lib_lora_train.settings.writing import to_dict, to_kohya_command, to_kohya_toml, write_settings

FROZEN = Path(__file__).parent / "frozen"
ALL = list(describe(TrainSettings))


def refused(document: object) -> UserError:
    with pytest.raises(UserError) as caught:
        from_document(document, "run.json")
    return caught.value


# ---------------------------------------------------------------------- the two forms


def test_our_form() -> None:
    settings = load_settings(FROZEN / "version-1.json").settings
    assert settings.model.checkpoint == "models/base.safetensors"
    assert (settings.model.clip_skip, settings.model.max_token_length) == (2, 150)
    assert (settings.dataset.resolution, settings.dataset.flip_aug) == ("512,768", True)
    assert (settings.network.network_dim, settings.network.network_alpha) == (32, 16.0)
    assert isinstance(settings.network.network_alpha, float)
    assert settings.optimizer.unet_lr == "1e-4:100, 1e-5"
    assert settings.run.checkpointed_blocks is None
    assert settings.run.seed == 42  # not in the file


def test_kohyas_form() -> None:
    loaded = load_settings(FROZEN / "kohya.toml")
    model, dataset, network = loaded.settings.model, loaded.settings.dataset, loaded.settings.network
    optimizer, run = loaded.settings.optimizer, loaded.settings.run
    assert (model.checkpoint, model.prediction, model.max_token_length) == (
        "models/base.safetensors",
        "v_prediction",
        225,
    )
    assert (dataset.resolution, dataset.shuffle_caption) == ("512", True)
    assert (network.network_dim, network.rank_dropout, network.module_dropout) == (32, 0.1, 0.05)
    assert optimizer.optimizer_type == "AdamW8bit"
    assert (float(optimizer.learning_rate), float(optimizer.text_encoder_lr)) == (1e-4, 5e-5)
    assert optimizer.optimizer_args == ["weight_decay=0.1", "betas=0.9,0.99"]
    assert (run.mixed_precision, run.checkpointed_blocks, run.save_last_n) == ("fp32", kohya_table.ALL_BLOCKS, 3)
    assert sorted(note.values["name"] for note in loaded.notes) == [
        "cache_latents",
        "max_data_loader_n_workers",
        "v2",
        "xformers",
    ]


def test_toml_of_our_form(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("version = 1\n[network]\nnetwork_dim = 8\n", encoding="utf-8")
    assert load_settings(path).settings.network.network_dim == 8


def test_written_settings_are_read_back(tmp_path: Path) -> None:
    settings = load_settings(FROZEN / "version-1.json").settings
    write_settings(tmp_path / "run.json", settings)
    assert load_settings(tmp_path / "run.json").settings == settings
    assert to_dict(settings)["version"] == SCHEMA_VERSION


def test_kohyas_toml_is_read_back(tmp_path: Path) -> None:
    settings = load_settings(FROZEN / "kohya.toml").settings
    settings.dataset.train_data_dir = 'C:\\pictures\\"alice"\\红发'
    path = tmp_path / "kohya.toml"
    path.write_text(to_kohya_toml(settings), encoding="utf-8")
    again = load_settings(path)
    assert again.notes == []
    for item in ALL:
        before, after = (getattr(getattr(each, item.group), item.name) for each in (settings, again.settings))
        if item.name.endswith("lr") or item.name == "learning_rate":
            before, after = float(before), float(after)
        assert before == after, item.name


def test_kohyas_toml_says_what_it_cannot_hold() -> None:
    settings = TrainSettings()
    settings.optimizer.unet_lr = "1e-3:100, 1e-4"
    text = to_kohya_toml(settings)
    assert '# unet_lr = "1e-3:100, 1e-4"' in text and "\nunet_lr" not in text
    assert "dataset_repeats" not in text and "max_token_length" not in text


def test_never_is_left_out_for_kohya() -> None:
    """Those scripts take the remainder by these numbers, and delete what exceeds 0 kept files."""
    names = (
        "save_every_n_epochs",
        "save_every_n_steps",
        "save_last_n_epochs",
        "sample_every_n_epochs",
        "max_train_epochs",
    )
    text = to_kohya_toml(TrainSettings())
    assert not any(name in text for name in names)
    settings = TrainSettings()
    settings.run.save_every_n_epochs = 2
    assert "save_every_n_epochs = 2\n" in to_kohya_toml(settings)


@pytest.mark.skipif(os.name == "nt", reason="the command is for a POSIX shell")
def test_kohyas_command_line_is_read_back_as_the_same_settings() -> None:
    """Split by a shell, and read by our own `train`, which takes kohya's flags."""
    settings = TrainSettings()
    settings.model.checkpoint = 'it\'s a "name" with $HOME; and `more`.safetensors'
    settings.dataset.flip_aug = True
    settings.optimizer.optimizer_args = ["weight_decay=0.1", "betas=0.9,0.99"]
    settings.network.rank_dropout = 0.25
    settings.run.mixed_precision = "fp32"
    settings.run.training_comment = "two\nlines"
    script = "accelerate() { printf '%s\\0' \"$@\"; }\n" + to_kohya_command(settings)
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    words = shell.stdout.split("\0")[:-1]
    assert words[:2] == ["launch", "train_network.py"]
    again = train_settings(make_parser().parse_args(["train", *words[2:]]))[0]
    for item in ALL:
        before, after = (getattr(getattr(each, item.group), item.name) for each in (settings, again))
        assert (float(before) == float(after)) if item.name == "learning_rate" else (before == after), item.name


def test_a_text_is_read_as_its_name_says(tmp_path: Path) -> None:
    assert parse_settings('{"version": 1, "network": {"network_dim": 3}}', "a.JSON").settings.network.network_dim == 3
    assert parse_settings("[x]\nnetwork_dim = 3", "a.toml").settings.network.network_dim == 3
    for text, name, code in (("{", "a.json", "settings.syntax"), ("{}", "a.yaml", "settings.suffix")):
        with pytest.raises(UserError) as caught:
            parse_settings(text, name)
        assert caught.value.code == code


# ---------------------------------------------------------------------- refusals


def test_unknown_names_are_errors_with_the_nearest() -> None:
    error = refused({"version": 1, "network": {"network_dimm": 4}})
    assert (error.code, error.where, error.values["nearest"]) == (
        "settings.unknown",
        "network.network_dimm",
        "network_dim",
    )
    error = refused({"version": 1, "netwrk": {}})
    assert (error.where, error.values["nearest"]) == ("netwrk", "network")
    error = refused({"train_batchsize": 4})
    assert (error.where, error.values["nearest"]) == ("train_batchsize", "train_batch_size")


@pytest.mark.parametrize(
    ("group", "name", "value", "code"),
    [
        ("network", "network_dim", "4", "settings.whole_number"),
        ("network", "network_dim", 4.0, "settings.whole_number"),
        ("network", "network_dim", True, "settings.whole_number"),
        ("network", "network_dim", None, "settings.whole_number"),
        ("network", "network_dim", 0, "settings.bounds"),
        ("network", "network_dim", 1025, "settings.bounds"),
        ("network", "network_alpha", "8", "settings.number"),
        ("network", "network_alpha", float("nan"), "settings.number"),
        ("network", "network_alpha", float("inf"), "settings.number"),
        ("dataset", "flip_aug", 1, "settings.boolean"),
        ("dataset", "flip_aug", "true", "settings.boolean"),
        ("dataset", "train_data_dir", 3, "settings.text"),
        ("dataset", "train_data_dir", ["a"], "settings.text"),
        ("dataset", "resolution", True, "settings.text"),
        ("dataset", "resolution", [], "settings.text"),
        ("optimizer", "optimizer_args", "a=1", "settings.text_list"),
        ("optimizer", "optimizer_args", [1], "settings.text_list"),
        ("optimizer", "optimizer_type", "SGD", "settings.choice"),
        ("model", "max_token_length", 100, "settings.choice"),
        ("run", "checkpointed_blocks", -1, "settings.bounds"),
        ("run", "checkpointed_blocks", "all", "settings.whole_number"),
    ],
)
def test_wrong_values_are_named(group: str, name: str, value: object, code: str) -> None:
    error = refused({"version": 1, group: {name: value}})
    assert (error.code, error.where) == (code, f"{group}.{name}")
    assert name in error.text()


def test_bounds_are_said() -> None:
    text = refused({"version": 1, "network": {"network_dim": 4096}}).text()
    assert "4096" in text and "between 1 and 1024" in text


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("run.yaml", b"", "settings.suffix"),
        ("run.json", b"{", "settings.syntax"),
        ("run.json", b"", "settings.syntax"),
        ("run.json", b"[" * 100_000, "settings.syntax"),
        ("run.toml", b"a = ", "settings.syntax"),
        ("run.toml", b"a = 1\na = 2", "settings.syntax"),
        ("run.json", b"[]", "settings.not_a_table"),
        ("run.json", b'{"version": 1, "network": 4}', "settings.not_a_table"),
        ("run.json", b'{"version": 2}', "settings.newer"),
        ("run.json", b'{"version": 0}', "settings.version"),
        ("run.json", b'{"version": "1"}', "settings.version"),
        ("run.json", b'{"version": true}', "settings.version"),
        ("run.json", '{"version": 1}'.encode("utf-16"), "settings.encoding"),
        ("run.toml", b"seed = 1\n[a]\nseed = 2", "settings.twice"),
        ("run.toml", b"[a.b]\nseed = 2", "settings.unknown"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, name: str, content: bytes, code: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_settings(path)
    assert caught.value.code == code
    assert str(tmp_path) not in caught.value.text()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_settings(tmp_path / "none.json")
    assert (caught.value.code, caught.value.where) == ("settings.missing", "none.json")


def test_a_byte_order_mark_is_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b'\xef\xbb\xbf{"version": 1, "run": {"seed": 7}}')
    assert load_settings(path).settings.run.seed == 7


# ---------------------------------------------------------------------- kohya's options


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"network_module": "lycoris.kohya"}, "settings.unsupported"),
        ({"save_model_as": "ckpt"}, "settings.unsupported"),
        ({"color_aug": True}, "settings.unsupported"),
        ({"ip_noise_gamma": 0.1}, "settings.unsupported"),
        ({"no_metadata": True}, "settings.unsupported"),
        ({"network_args": ["conv_dim=4"]}, "settings.network_args"),
        ({"network_args": ["rank_dropout=much"]}, "settings.number"),
        ({"network_args": ["rank_dropout=2"]}, "settings.bounds"),
        ({"prodigy_plus": 1}, "settings.unknown"),
    ],
)
def test_options_that_would_change_the_result_are_refused(given: dict[str, object], code: str) -> None:
    assert refused(given).code == code


@pytest.mark.parametrize("name", kohya_table.NEUTRAL)
def test_neutral_values_are_accepted_silently(name: str) -> None:
    for value in (None, *kohya_table.NEUTRAL[name][1]):
        loaded = from_flat({name: value})
        assert loaded.settings == TrainSettings() and loaded.notes == []


@pytest.mark.parametrize("name", kohya_table.IGNORED)
def test_ignored_options_are_said(name: str) -> None:
    loaded = from_flat({name: True})
    assert loaded.settings == TrainSettings()
    assert [note.values for note in loaded.notes] == [{"name": name}]


def test_kohyas_tables_do_not_overlap() -> None:
    tables = [set(flat_names()), set(kohya_table.TRANSLATED), set(kohya_table.NEUTRAL), set(kohya_table.IGNORED)]
    assert sum(map(len, tables)) == len(set().union(*tables))
    assert set(flat_names()) >= kohya_table.OWN


def test_null_is_not_given() -> None:
    assert from_flat({"clip_skip": None, "keep_tokens_separator": None}).settings == TrainSettings()


@pytest.mark.parametrize(("on", "blocks"), [(True, kohya_table.ALL_BLOCKS), (False, 0)])
def test_gradient_checkpointing(on: bool, blocks: int) -> None:
    assert from_flat({"gradient_checkpointing": on}).settings.run.checkpointed_blocks == blocks


# ---------------------------------------------------------------------- versions


def test_migrations_run_in_order() -> None:
    def first(document: dict[str, object]) -> dict[str, object]:
        return {**document, "network": {"network_dim": document["rank"]}} | {"rank": None}

    def second(document: dict[str, object]) -> dict[str, object]:
        return {name: value for name, value in document.items() if name != "rank"}

    migrated = migrate({"version": 1, "rank": 8}, "x", migrations={1: first, 2: second}, current=3)
    assert migrated == {"version": 3, "network": {"network_dim": 8}}


def test_a_gap_in_the_migrations_is_said() -> None:
    with pytest.raises(UserError) as caught:
        migrate({"version": 1}, "old.json", migrations={2: dict}, current=3)
    assert (caught.value.code, caught.value.where) == ("settings.version", "old.json")


def test_every_old_version_has_a_frozen_file() -> None:
    for version in range(1, SCHEMA_VERSION + 1):
        path = FROZEN / f"version-{version}.json"
        assert json.loads(path.read_text(encoding="utf-8"))["version"] == version
        load_settings(path)


# ---------------------------------------------------------------------- against each other


@pytest.mark.parametrize(
    ("text", "size"),
    [("512", (512, 512)), ("512,768", (512, 768)), (" 64 , 8192 ", (64, 8192)), ("640x448", (640, 448))],
)
def test_resolution(text: str, size: tuple[int, int]) -> None:
    assert parse_resolution(text) == size


@pytest.mark.parametrize(
    "text", ["", "0", "-512", "512.5", "1e3", "512,", "1,2,3", "99999", "９００", "512 768", "512,512,512"]
)
def test_resolution_refused(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_resolution(text)
    assert caught.value.code == "settings.resolution"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"resolution": "500", "enable_bucket": False}, "settings.side"),
        ({"min_bucket_reso": 512, "max_bucket_reso": 256}, "settings.buckets"),
        ({"dim_from_weights": True}, "settings.no_weights"),
        ({"resolution": "big"}, "settings.resolution"),
    ],
)
def test_contradictions(given: dict[str, object], code: str) -> None:
    with pytest.raises(UserError) as caught:
        validate(from_flat(given).settings)
    assert caught.value.code == code


def test_what_is_allowed_but_worth_saying() -> None:
    assert validate(TrainSettings()) == []
    notes = validate(from_flat({"network_dim": 4, "network_alpha": 8, "sample_every_n_epochs": 1}).settings)
    assert [note.code for note in notes] == ["settings.alpha", "settings.no_prompts"]


# ---------------------------------------------------------------------- the table itself


def test_every_setting_is_described() -> None:
    names = [item.name for item in ALL]
    assert len(names) == len(set(names)) and len({item.label for item in ALL}) == len(names)
    for item in ALL:
        assert item.label and item.label[0].isupper(), item.name
        assert (item.minimum is None) == (item.maximum is None), item.name
        assert item.type in (bool, str) or item.is_list or item.choices or item.minimum is not None, item.name
        assert item.is_list or check_value(item, item.default, item.name) == item.default


def test_the_documentation_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "settings.md"
    hint = "run: python -m lib_lora_train.settings.document > docs/settings.md"
    assert page.read_text(encoding="utf-8") == settings_markdown(), hint


def values_of(item: Setting) -> st.SearchStrategy[object]:
    if item.is_list:
        return st.lists(st.text(max_size=20), max_size=3)
    if item.choices:
        return st.sampled_from([item.type(choice) for choice in item.choices])
    if item.type is bool:
        return st.booleans()
    if item.type is int:
        number = st.integers(int(item.minimum), int(item.maximum))
        return st.none() | number if item.optional else number
    if item.type is float:
        return st.floats(item.minimum, item.maximum)
    return st.text(st.characters(exclude_categories=("Cs",)), max_size=30)


@given(st.data())
def test_any_settings_survive_a_file(data: st.DataObject) -> None:
    settings = TrainSettings()
    for item in data.draw(st.lists(st.sampled_from(ALL), max_size=12)):
        setattr(getattr(settings, item.group), item.name, data.draw(values_of(item)))
    text = json.dumps(to_dict(settings), ensure_ascii=False)
    assert from_document(json.loads(text), "x").settings == settings


@given(st.data())
def test_any_value_survives_the_command_line(data: st.DataObject) -> None:
    item = data.draw(st.sampled_from([item for item in ALL if item.type is not str and not item.is_list]))
    value = data.draw(values_of(item))
    assert parse_text(item, str(value), item.name) == value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from([*flat_names(), *kohya_table.NEUTRAL, *kohya_table.TRANSLATED, "version"]),
        json_values,
        max_size=4,
    )
)
def test_no_document_breaks_the_reader(document: dict[str, object]) -> None:
    try:
        from_document(document, "x")
    except UserError as error:
        assert error.text()
