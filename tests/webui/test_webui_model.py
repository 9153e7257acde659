"""The WebUI's loaded model as a training sees it: text, latents, predictions and gradients, for the three families."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.webui import Webui

LONG = ", ".join(["red hair", "blue eyes", "zuna"] * 30)  # 240 tokens or so
PLAIN = ["zuna, girl", "", "(a) [b] (c:1.2)", "a AND b BREAK c", "Zuna  \n SMILE", "a !!! b!", "红发 été", LONG]
WORD = "zunaword"
WIDTHS = {"sd1": {"emb_params": 64}, "sd2v": {"emb_params": 512}, "sdxl": {"clip_l": 64, "clip_g": 512}}
WIDTH = {"sd1": 64, "sd2v": 512, "sdxl": 576}


def test_text_is_encoded_as_by_transformers(family_webui: Webui, family: str) -> None:
    cases = [(1, 75), (2, 75), (1, 150), (2, 225)]
    found = family_webui.inside("borrowed", "encodes", prompts=PLAIN, cases=cases)
    assert found["tokens"][:4] == [4, 0, 13, 5] and found["tokens"][-1] > 225
    for (_, max_tokens), case in zip(cases, found["cases"], strict=True):
        assert case["shape"] == [len(PLAIN), max_tokens + 2, WIDTH[family]]
        assert case["scale"] > 0.1
        assert case["difference"] < 1e-4 and case["pooled"] < 1e-4, case
        assert case["kept"]


def test_the_name_of_an_embedding_is_a_word(family_webui: Webui, family: str) -> None:
    folder = family_webui.data / "embeddings"
    folder.mkdir(exist_ok=True)
    path: Path = folder / f"{WORD}.safetensors"
    save_file({name: torch.randn(2, width) for name, width in WIDTHS[family].items()}, path)
    try:
        own = family_webui.inside("borrowed", "embedding", name=WORD)
        assert own["known"] and own["difference"] > 0.05  # the WebUI itself puts the embedding in
        found = family_webui.inside("borrowed", "encodes", prompts=[WORD, f"a {WORD} (b:1.3)"], cases=[(1, 75)])
        assert found["cases"][0]["difference"] < 1e-4 and found["cases"][0]["pooled"] < 1e-4
    finally:
        path.unlink()


def test_the_prediction_is_the_webuis(family_webui: Webui, family: str) -> None:
    found = family_webui.inside("borrowed", "denoises", prompt="zuna, girl", width=192, height=128)
    assert found["difference"] < 1e-5 * found["scale"] + 1e-6, found
    assert (found["sizes_matter"] > 1e-4) == (family == "sdxl")
    assert found["prediction"] == ("v_prediction" if family == "sd2v" else "epsilon")
    assert found["latent_scale"] == pytest.approx(0.13025 if family == "sdxl" else 0.18215)
    assert (found["dtype"], found["first_alpha"]) == ("torch.float32", pytest.approx(0.99915, abs=1e-5))


def test_latents_are_the_posteriors_mean_and_deviation(family_webui: Webui) -> None:
    found = family_webui.inside("borrowed", "posterior")
    assert found["scale"] > 0.1
    assert found["difference"] < 1e-5 and found["exact"] < 1e-5
    assert not found["gradient"]


SITES = {"sd1": 264, "sd2v": 258, "sdxl": 866}
UNREAD = {"sd1": 0, "sd2v": 0, "sdxl": 6}


def test_every_adapter_gets_a_gradient(family_webui: Webui, family: str) -> None:
    found = family_webui.inside("borrowed", "trains")
    assert found["missing"] == []
    assert (found["sites"], found["unread"]) == (SITES[family], UNREAD[family])
    assert found["differing"] == [0, 0], "recomputed blocks give other gradients"
    assert found["blocks"], "the blocks are not those of the memory prediction"
    assert found["base"] == 0 and found["forwards"] == 0


def test_clip_skip_leaves_the_layers_behind_it_unread(family_webui: Webui, family: str) -> None:
    found = family_webui.inside("borrowed", "trains", clip_skip=2)
    assert found["missing"] == [] and found["unread"] == 6


def test_half_precision_trains_alike(family_webui: Webui) -> None:
    whole = family_webui.inside("borrowed", "trains")
    half = family_webui.inside("borrowed", "trains", half=True)
    assert half["missing"] == [] and half["base"] == 0 and half["forwards"] == 0
    assert half["differing"] == [0, 0]
    assert half["loss"] == pytest.approx(whole["loss"], rel=0.02)
    a, b = torch.tensor(whole["gradient"]), torch.tensor(half["gradient"])
    assert torch.nn.functional.cosine_similarity(a, b, dim=0) > 0.95


@pytest.mark.parametrize("count", [0, 20])
def test_half_precision_keeps_what_is_predicted(family_webui: Webui, count: int) -> None:
    found = family_webui.inside("borrowed", "saves", count=count)
    assert found["dtype"] == "torch.bfloat16"
    assert 0.85 * found["expected"] < found["kept"] <= found["expected"]


def test_header_and_loaded_model_say_the_same(family_webui: Webui, family: str) -> None:
    found = family_webui.inside("borrowed", "facts_agree")
    assert found == {"equal": True, "pickled": True, "family": family.removesuffix("v")}
