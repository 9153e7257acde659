"""The main job, end to end: the demo checkpoint is taught its character, and the second tagger sees it."""

import json
from shutil import copytree

import pytest
from PIL import Image

from demo.attributes import CHARACTER, FREE, TRAITS, tags
from demo.originals import portraits
from lib_lora_train.demo_run import run_demo
from lib_lora_train.errors import UserError
from lib_lora_train.network.files import describe_lora
from lib_lora_train.network.rewriting import same_tensors
from lib_lora_train.signals import Log, Step
from lib_lora_train.tags.place import Place


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder, the report and the events of one demo; about a minute and a half on two cores."""
    out, events = tmp_path_factory.mktemp("demo") / "out", []
    path = run_demo(out, events.append)
    return out, json.loads(path.read_text(encoding="utf-8")), events


def test_the_character_was_learned(demo):
    _, report, _ = demo
    assert report["bound_with"]["value"] > 0.85
    assert report["bound_without"]["value"] < 0.15
    assert min(trait["value"] for trait in report["bound_each"].values()) > 0.6
    assert report["bound_all"]["value"] > 0.45


def test_what_is_free_stays_free_and_the_trigger_word_matters(demo):
    _, report, _ = demo
    assert report["free_base"]["value"] > 0.85
    assert abs(report["free_with"]["value"] - report["free_base"]["value"]) < 0.15
    assert report["leak"]["value"] < 0.7 * report["bound_with"]["value"]


def test_every_value_lies_in_its_interval(demo):
    _, report, _ = demo
    for name in ("bound_with", "bound_without", "bound_all", "leak", "free_base", "free_with"):
        assert 0 <= report[name]["low"] <= report[name]["value"] <= report[name]["high"] <= 1
    assert report["pictures_per_column"] == 64


def test_the_folder_holds_what_was_promised(demo):
    out, report, events = demo
    checkpoints = sorted(path.name for path in (out / "loras").glob("*.safetensors"))
    assert (out / report["lora"]).name in checkpoints and len(checkpoints) == 5
    with Image.open(out / report["grid"]) as sheet:
        assert sheet.width > 5 * 2 * 128 and sheet.height > 2 * 5 * 128
    assert len(list((out / "cells").glob("*.png"))) == (4 * 5 + 1) * 2 * 2  # weight 0 is the same for all files
    assert len(list((out / "dataset").glob("*/*.png"))) == len(list((out / "dataset").glob("*/*.txt"))) == 16
    assert [event.step for event in events if isinstance(event, Step)] == list(range(1, report["steps"] + 1))
    assert (out / "run" / "metrics.jsonl").exists() and list((out / "run" / "samples").glob("*.png"))


def test_the_recommended_file_is_ready_to_be_used(demo):
    """It shows the character: neither the first files nor low weights do."""
    out, report, events = demo
    picked = report["picked"]
    assert picked["file"] not in ("demo-000002.safetensors", "demo-000004.safetensors") and picked["weight"] >= 0.6
    assert picked["reason"].startswith("epoch ") and picked["matched"] == picked["total"] > 100
    target = out / picked["name"]
    assert same_tensors(target, out / "loras" / picked["file"]) and describe_lora(target).hash_matches
    assert describe_lora(target).metadata["ss_output_name"] == "Quillon"
    card = json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["activation text"] == "quillon" and card["preferred weight"] == picked["weight"]
    with Image.open(target.with_suffix(".png")) as picture:
        assert picture.size == (128, 128)
        assert f"<lora:Quillon:{picked['weight']:g}>" in picture.info["parameters"]
    (said,) = (event for event in events if isinstance(event, Log) and event.code == "demo.picked")
    assert said.values["reason"] == picked["reason"]


def test_the_pictures_went_through_check_crop_and_tag(demo):
    out, report, _ = demo
    assert report["health"]["score"] > 0 and report["health"]["findings"]
    assert "borders" not in {each["code"] for each in report["health"]["findings"]}  # cut off, as is the next
    with Image.open(next((out / "originals").glob("*/*.png"))) as original:
        assert min(original.size) > 128 and original.convert("RGB").getpixel((0, 0)) == (0, 0, 0)
    captions = {}
    for path in sorted((out / "dataset").glob("*/*.png")):
        with Image.open(path) as picture:
            assert picture.size == (128, 128)
        captions[path.stem] = path.with_suffix(".txt").read_text(encoding="utf-8").split(", ")
    assert len(captions) == 16 and not list((out / "originals").rglob("*.txt"))
    for words, portrait in zip(captions.values(), portraits(), strict=True):
        assert words[0] == "quillon"
        assert set(words[1:]) == {"1girl", *tags(portrait, FREE)}  # what the drawing program would have written
    ordinary = [path.read_text(encoding="utf-8") for path in (out / "regularization").glob("*/*.txt")]
    assert len(ordinary) == 64 and not any("quillon" in caption for caption in ordinary)


def test_the_traits_were_bound_by_an_edit_that_can_be_undone(demo, tmp_path):
    out, report, events = demo
    assert set(report["binding"]["bound"]) == set(tags(CHARACTER, TRAITS))
    assert report["binding"]["summary"].startswith("With these tags the LoRA will always draw green hair, ")
    (said,) = (event for event in events if isinstance(event, Log) and event.code == "demo.bound")
    assert set(said.values["traits"].split(", ")) == set(report["binding"]["bound"])
    copytree(out / "dataset", tmp_path / "dataset")
    history = Place.of_folder(tmp_path / "dataset").history
    total, (entry,) = history.log()
    assert total == 1 and entry.count == 16 and entry.title.values == {"bound": 5, "fixed": 0}
    history.undo(entry.number)
    history.finish()
    for path, portrait in zip(sorted((tmp_path / "dataset").glob("*/*.txt")), portraits(), strict=True):
        assert set(path.read_text(encoding="utf-8").split(", ")) == {"quillon", "1girl", *tags(portrait)}


def test_the_file_says_what_it_is(demo):
    out, report, _ = demo
    described = describe_lora(out / report["lora"])
    assert described.metadata["ss_output_name"] == "demo"
    assert str(out) not in json.dumps(described.metadata)


def test_a_second_demo_in_the_same_place_is_refused(demo):
    out, _, _ = demo
    with pytest.raises(UserError) as error:
        run_demo(out)
    assert error.value.code == "demo.exists"
