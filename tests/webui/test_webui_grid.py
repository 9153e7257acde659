"""Grids drawn by the WebUI: its own pictures, at the cost of one merge for each file and weight, and texts it can read."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers.webui import Webui
from tests.webui.test_webui_drawing import NAME, Drawing

HARD = """it's "Ada", 7 % (of) [them] 小猫 🐈 \\ {x}; <b>"""
HARD_PROMPT = 'a "cat", Steps: 3, Sampler: none, 小猫 🐈, a<b, <i>, C:\\x # said only here'


@pytest.fixture
def drawing(webui: Webui, tmp_path: Path) -> Iterator[Drawing]:
    found = Drawing(webui, tmp_path)
    yield found
    found.file.unlink()


def cells(webui: Webui, *calls: list[dict[str, Any]]) -> dict[str, Any]:
    told = webui.inside("gridding", "cells", calls=list(calls))
    return told | {"pixels": [base64.b64decode(one) for one in told["pixels"]]}


def test_each_file_and_weight_is_merged_once_and_each_prompt_encoded_once(drawing: Drawing, tmp_path: Path) -> None:
    webui, unet, text = drawing.webui, tmp_path / "unet.safetensors", tmp_path / "text.safetensors"
    counts = webui.inside("gridding", "split", path=str(drawing.file), unet=str(unet), text=str(text))
    prompts = [("a cat", 1), ("a cat", 2), ("two (dogs:1.2)", 1), ("two (dogs:1.2)", 2)]

    def calls(**fields: Any) -> list[list[dict[str, Any]]]:
        return [[{"prompt": prompt, "seed": seed, "negative_prompt": "bad", **fields}] for prompt, seed in prompts]

    plain = cells(webui, *calls(weight=0.0))
    assert (plain["merged"], plain["switches"], plain["encoded"]) == (0, 0, 3)
    of_unet = [call for weight in (0.5, 1.0) for call in calls(lora=str(unet), weight=weight)]
    told = cells(webui, *calls(weight=0.0), *of_unet, *calls(lora=str(text)), *calls(lora=str(drawing.elsewhere)))
    assert told["switches"] == 4
    assert told["merged"] == 2 * counts["unet"] + counts["text"] + (counts["unet"] + counts["text"])
    assert told["encoded"] == 3 + 3 + 3  # once for all that leave the text encoder as it is
    assert told["pixels"][:4] == plain["pixels"] and len(set(told["pixels"])) == 20
    shutil.copy(unet, webui.loras / "unet-only.safetensors")
    webui.sdapi("refresh-loras", {})
    places = {0: "", 5: " <lora:unet-only:0.5>", 11: " <lora:unet-only:1>", 18: f" <lora:{NAME}:1>"}
    for place, tag in places.items():
        prompt, seed = prompts[place % 4]
        own = webui.txt2img(f"{prompt}{tag}", seed=seed, negative_prompt="bad")
        assert told["pixels"][place] == own.pixels, place
        assert "Emphasis" not in told["infotexts"][place] or "(" in prompt
        title = {0: "", 5: "unet", 11: "unet", 18: drawing.elsewhere.stem}[place]
        assert told["infotexts"][place] == own.infotext.replace("unet-only", title).replace(NAME, title)
    (webui.loras / "unet-only.safetensors").unlink()
    webui.txt2img()
    drawing.check_nothing_is_left()


def test_batches_over_the_seeds(drawing: Drawing) -> None:
    webui = drawing.webui
    calls = [
        {"prompt": prompt, "seed": seed, "lora": str(drawing.elsewhere), "weight": 0.5, "sampler": sampler}
        for prompt, sampler in (("a cat", "Euler a"), ("two (dogs:1.2)", "DDIM"))
        for seed in (3, 9, 4)
    ]
    alone = cells(webui, calls)
    assert alone["sampled"] == 6 and len(set(alone["pixels"])) == 6
    try:
        assert webui.inside("gridding", "at_once", count=2) == 2
        together = cells(webui, calls)
        assert (webui.inside("gridding", "at_once", count=99), webui.inside("gridding", "at_once", count=0)) == (16, 1)
    finally:
        webui.inside("gridding", "at_once", count=1)
    assert together["sampled"] == 4 and together["switches"] == alone["switches"]
    assert together["infotexts"] == alone["infotexts"]
    for one, other in zip(alone["pixels"], together["pixels"], strict=True):
        assert max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 2
    drawing.check_nothing_is_left()


def test_another_checkpoint_stays_up_from_call_to_call(drawing: Drawing) -> None:
    webui = drawing.webui
    told = cells(webui, *[[{"seed": seed, "checkpoint": "nano_sd2v"}] for seed in (1, 2, 3)])
    assert told["loaded"] <= 2  # it, and afterwards the user's own
    webui.choose("sd2v")
    assert told["pixels"][0] == webui.txt2img().pixels
    webui.choose("sd1")
    both = cells(webui, [{}, {"checkpoint": "nano_sd2v"}], [drawing.with_file()])
    assert both["pixels"] == [drawing.plain, told["pixels"][0], drawing.with_lora]
    state = webui.state()  # of a model that was loaded anew
    assert (state["networks"], state["merged"], state["in_memory"]) == ([], [], [])
    assert webui.hash()["tensors"] == drawing.before["tensors"]
    assert (webui.txt2img().pixels, webui.txt2img(f"a cat <lora:{NAME}:1>").pixels) == (
        drawing.plain,
        drawing.with_lora,
    )


def test_a_file_that_changes_between_two_calls_is_read_again(drawing: Drawing, tmp_path: Path) -> None:
    webui, file = drawing.webui, tmp_path / "changing.safetensors"
    webui.inside("gridding", "split", path=str(drawing.file), unet=str(file), text=str(tmp_path / "t.safetensors"))
    first = cells(webui, [{"lora": str(file)}])
    shutil.copy(drawing.file, file)
    assert cells(webui, [{"lora": str(file)}])["pixels"] == [drawing.with_lora] != first["pixels"]


def test_what_fits_is_counted_by_the_webuis_own_loader(drawing: Drawing, tmp_path: Path) -> None:
    webui = drawing.webui

    def check(path: Path, **how: Any) -> dict[str, Any]:
        return webui.inside("gridding", "checked", path=str(path), **how)

    whole = {"matched": drawing.keys, "total": drawing.keys, "unmatched": [], "loaded": "nano_sd1"}
    assert check(drawing.elsewhere) == check(drawing.elsewhere, without_loader=True) == whole
    tensors = load_file(drawing.file)
    key = next(name for name in tensors if name.startswith("lora_unet") and "lora_down" in name).partition(".")[0]
    other = {name.replace(key, "lora_unet_nowhere"): tensor for name, tensor in tensors.items()}
    wide = next(name for name in other if "attn2_to_k.lora_down" in name)
    other[wide] = torch.zeros(other[wide].shape[0], 2 * other[wide].shape[1])  # as of SD2, under the same name
    save_file(other, tmp_path / "other.safetensors")
    for told in (check(tmp_path / "other.safetensors"), check(tmp_path / "other.safetensors", without_loader=True)):
        assert (told["matched"], told["total"]) == (drawing.keys - 2, drawing.keys)
        assert sorted(told["unmatched"]) == sorted(["lora_unet_nowhere", wide.partition(".")[0]])
    of_sd2 = check(drawing.elsewhere, checkpoint="nano_sd2v")
    assert 0 < of_sd2["matched"] < of_sd2["total"] and of_sd2["loaded"] == "nano_sd1"
    assert check(tmp_path / "none.safetensors") == {"error": "network.file_missing"}
    (tmp_path / "torn.safetensors").write_bytes(drawing.file.read_bytes()[:-9])
    assert check(tmp_path / "torn.safetensors")["error"].startswith("network.file_")
    drawing.check_nothing_is_left()


def test_texts_of_hard_names_and_prompts_are_read_back_and_draw_the_same(drawing: Drawing, tmp_path: Path) -> None:
    webui = drawing.webui
    hard = tmp_path / f"{HARD.replace('>', '')}.safetensors"
    shutil.copy(drawing.file, hard)
    request = {"prompt": HARD_PROMPT, "negative_prompt": 'Negative, 坏: "x"', "lora": str(hard), "weight": 0.7}
    told = cells(webui, [request])
    read = webui.inside("gridding", "pasted", text=told["infotexts"][0])
    prompt = HARD_PROMPT.partition(" #")[0]  # as the WebUI takes away what stands behind #
    assert read["Prompt"] == f"{prompt} <lora:{hard.stem}:0.7>"
    assert read["Negative prompt"] == request["negative_prompt"]
    known = {"Seed": "1", "Steps": "4", "Sampler": "Euler", "CFG scale": "5.0", "Size-1": "64", "Size-2": "64"}
    assert {name: read[name] for name in known} == known
    shutil.copy(hard, webui.loras / hard.name)
    webui.sdapi("refresh-loras", {})
    try:
        own = webui.txt2img(read["Prompt"], negative_prompt=read["Negative prompt"])
    finally:
        (webui.loras / hard.name).unlink()
    assert own.pixels == told["pixels"][0]
    # A name that no tag can hold stands beside the prompt, and harms nothing.
    colon = tmp_path / "a: b>c.safetensors"
    shutil.copy(drawing.file, colon)
    told = cells(webui, [{"lora": str(colon)}])
    read = webui.inside("gridding", "pasted", text=told["infotexts"][0])
    assert (read["Prompt"], read["LoRA"], read["Seed"]) == ("a cat", "a: b>c 1", "1")
    assert told["pixels"][0] == drawing.with_lora
    webui.txt2img()
    drawing.check_nothing_is_left()
