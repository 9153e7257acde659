"""The table of known models: complete, unambiguous, and with nothing in it that nobody has seen."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from lib_lora_train.errors import UserError
from lib_lora_train.signals import Commands, ignore_events
from lib_lora_train.vision.hub import Hub
from lib_lora_train.vision.models import KNOWN, NAMES_OF_A_TAGGER, PURPOSES, KnownModel, known_model
from lib_lora_train.vision.store import ModelStore

NAMES = [
    "wd-vit-tagger-v3",
    "wd-vit-large-tagger-v3",
    "wd-swinv2-tagger-v3",
    "wd-convnext-tagger-v3",
    "wd-eva02-large-tagger-v3",
    "isnet-anime",
    "birefnet",
    "birefnet-lite",
    "yunet",
    "anime-face",
    "ccip",
    "dinov2-small",
]


def test_every_entry_is_whole():
    assert [model.name for model in KNOWN] == NAMES
    for model in KNOWN:
        assert model.purpose in PURPOSES and model.label and model.licence and model.megabytes > 0
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", model.repository)
        assert re.fullmatch(r"[a-z0-9-]+", model.name), "it is the name of a folder"
        assert len(set(model.file_names)) == len(model.files), "files lie side by side under their base names"
        assert any(name.endswith(".onnx") for name in model.file_names)
        assert model.purpose != "tagger" or model.file_names == NAMES_OF_A_TAGGER
    assert len({model.label for model in KNOWN}) == len(KNOWN)


def test_no_commit_and_no_hash_is_claimed():
    for model in KNOWN:
        assert not re.search(r"[0-9a-f]{20}", json.dumps(dataclasses.asdict(model)))


def test_licences_are_said():
    plain = KnownModel(
        "a", "matte", "A", "a/b", ("a.onnx",), 1, "CC-BY-NC-4.0", False, "models.note_isnet", verified=False
    )
    assert plain.notes("en") == (
        "Cuts out drawn characters. Its licence forbids commercial use. "
        "Nobody has verified its licence on the page it comes from."
    )
    for model in KNOWN:
        for language in ("en", "zh-CN"):
            said = model.notes(language)
            assert ("verified" in said or "核实" in said) != model.verified
            assert ("commercial" in said or "商业" in said) != model.commercial


def test_statuses_are_json_in_both_languages(tmp_path):
    for language in ("en", "zh-CN"):
        statuses = [status.as_dict(language) for status in ModelStore(tmp_path).known()]
        assert [status["name"] for status in json.loads(json.dumps(statuses))] == NAMES
        assert {status["state"] for status in statuses} == {"missing"}
        assert all(status["folder"] == str(tmp_path / status["name"]) for status in statuses)
    wanted = {
        "name",
        "purpose",
        "label",
        "repository",
        "files",
        "megabytes",
        "licence",
        "commercial",
        "state",
        "commit",
        "sha256",
        "note",
    }
    assert wanted <= statuses[0].keys()
    assert not any(tmp_path.iterdir()), "looking leaves nothing behind"
    for purpose in PURPOSES:
        assert {status.model.purpose for status in ModelStore(tmp_path).known(purpose)} == {purpose}


def test_an_unknown_name(tmp_path):
    with pytest.raises(UserError) as caught:
        known_model("wd14")
    assert caught.value.code == "models.unknown" and "wd-vit-tagger-v3" in caught.value.remedy()


def test_the_page_that_is_named_is_the_one_with_the_files(tmp_path):
    """Several repositories have a model.onnx in each of many folders."""
    store = ModelStore(tmp_path, offline=True, hub=Hub("https://mirror.example"))
    for name, page in {
        "anime-face": "https://mirror.example/deepghs/anime_face_detection/tree/main/face_detect_v1.4_n",
        "yunet": "https://mirror.example/opencv/face_detection_yunet/tree/main",
    }.items():
        with pytest.raises(UserError) as caught:
            store.fetch(name, ignore_events, Commands())
        assert f" {page} " in caught.value.remedy()
