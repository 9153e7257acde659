"""The one error and the catalogue behind it."""

from __future__ import annotations

import json

import pytest

from lib_lora_train.errors import UserError, in_language
from lib_lora_train.messages import catalogue, error_texts, message


def test_error_has_sentence_and_remedy_in_both_languages() -> None:
    error = UserError("settings.bounds", "network_dim", value=9999, minimum=1, maximum=1024)
    assert error.sentence() == '"network_dim" is 9999, which is out of bounds.'
    assert error.remedy() == "It must lie between 1 and 1024."
    assert "9999" in error.sentence("zh-CN") and "范围" in error.sentence("zh-CN")


def test_text_names_the_place_once() -> None:
    named = UserError("settings.bounds", "seed", value=-1, minimum=0, maximum=9)
    unnamed = UserError("settings.no_weights", "network_weights")
    assert named.text().count("seed") == 1
    assert unnamed.text().startswith("network_weights: ")
    assert str(named) == named.text()


def test_as_dict_has_the_four_fields() -> None:
    assert UserError("path.outside", "../x").as_dict() == {
        "code": "path.outside",
        "where": "../x",
        "sentence": 'The path "../x" leads outside the folder it must stay in.',
        "remedy": "Choose a file or folder inside it.",
    }


def test_values_with_braces_are_shown_as_they_are() -> None:
    assert "{evil}" in UserError("path.outside", "{evil}").text()


def test_unknown_language_falls_back_to_english() -> None:
    assert message("cli.stopped", "xx") == message("cli.stopped", "en")
    with pytest.raises(KeyError):
        catalogue("xx")


def test_an_error_entry_can_be_logged() -> None:
    assert message("path.outside", where="x") == UserError("path.outside", "x").text()
    with pytest.raises(TypeError):
        error_texts("cli.stopped", "en")


def test_unknown_code_is_a_bug_that_shows() -> None:
    with pytest.raises(KeyError):
        UserError("no.such_code", "x")


def test_a_recorded_error_is_read_in_any_language() -> None:
    error = UserError("settings.bounds", "rank", value=3, minimum=4, maximum=8)
    record = json.loads(json.dumps(error.as_record()))
    assert in_language(record, "zh-CN") == error.as_dict("zh-CN")
    assert in_language(record, "en") == error.as_dict("en")


@pytest.mark.parametrize(
    "changes", [{"code": "gone.since"}, {"values": {}}, {"values": None}, {"values": {"where": "x"}}, {"code": 7}]
)
def test_a_record_that_no_longer_fits_is_read_as_it_was_written(changes: dict) -> None:
    record = UserError("settings.bounds", "rank", value=3, minimum=4, maximum=8).as_record() | changes
    assert in_language(record, "zh-CN")["sentence"] == record["sentence"]
