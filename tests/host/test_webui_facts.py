"""What the WebUI host knows of a checkpoint before it is loaded, from headers of the published sizes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import CheckpointInfo
from lib_lora_train.host.hints import TrainingHints
from lib_lora_train.host.webui.facts import read_facts
from lib_lora_train.host.webui.family import family_of
from lib_lora_train.train.memory import FAMILIES, UNetShape
from lib_lora_train.train.plan_model import own_sizes
from tests.helpers.ldm_header import sd1, sd2, sdxl, write_header

PUBLISHED = {"sd1": sd1, "sd2": sd2, "sdxl": sdxl}
UNET = "model.diffusion_model."
V = "model:\n  params:\n    parameterization: v\n"
VSCALING = """
model:
  params:
    denoiser_config:
      params:
        scaling_config:
          target: sgm.modules.diffusionmodules.denoiser_scaling.VScaling
"""


def facts(path: Path, shapes, yaml: str = "", **others):
    write_header(path, shapes)
    if yaml:
        path.with_suffix(".yaml").write_text(yaml, encoding="utf-8")
    return read_facts(CheckpointInfo("mine", path, **others))


@pytest.mark.parametrize("family", PUBLISHED)
def test_published_models_are_known(tmp_path: Path, family: str) -> None:
    found = facts(tmp_path / "a.safetensors", PUBLISHED[family](), sha256="abc")
    known = FAMILIES[family]
    assert found.family == found.info.family == family
    assert (found.info.name, found.info.sha256) == ("mine", "abc")
    assert UNetShape.from_config(found.unet_config) == known.unet
    assert found.parameters["unet"] == known.unet_parameters
    assert found.parameters["vae"] == 72
    assert own_sizes(family, found.unet_config, found.text_config, found.parameters) is None
    assert found.native == {"sd1": 512, "sd2": 768, "sdxl": 1024}[family]
    assert found.prediction == ("v_prediction" if family == "sd2" else "epsilon")
    assert found.unet_config["use_linear_projection"] == (family != "sd1")
    encoders = [found.text_config, *([found.text_config["text_encoder_2"]] if family == "sdxl" else [])]
    for encoder, (layers, width, kept) in zip(encoders, known.text, strict=True):
        assert (encoder["num_hidden_layers"], encoder["hidden_size"]) == (layers, width)
        assert (encoder["hidden_act"] == "quick_gelu") == (kept == 20)


def test_sd1s_text_encoder_is_counted_without_its_position_numbers(tmp_path: Path) -> None:
    assert facts(tmp_path / "a.safetensors", sd1()).parameters["text_encoder"] == 123_060_480


@pytest.mark.parametrize(
    ("make", "yaml", "prediction", "native"),
    [
        (sd1, V, "v_prediction", 512),
        (sd2, V, "v_prediction", 768),
        (sd2, V.replace("parameterization: v", "timesteps: 1000"), "epsilon", 512),
        (sdxl, VSCALING, "v_prediction", 1024),
        (sdxl, VSCALING.replace("VScaling", "EpsScaling"), "epsilon", 1024),
        (sd1, "lora_train:\n  native: 128\n", "epsilon", 128),
        (sd1, "lora_train:\n  native: 7\n", "epsilon", 512),
    ],
)
def test_the_yaml_says_what_shapes_cannot(tmp_path: Path, make, yaml: str, prediction: str, native: int) -> None:
    found = facts(tmp_path / "a.safetensors", make(), yaml)
    assert (found.prediction, found.native) == (prediction, native)


def test_a_narrow_model_has_sizes_and_heads_of_its_own(tmp_path: Path) -> None:
    shapes = sdxl(channels=(32, 64, 128), depths=(0, 1, 3), context=96)
    yaml = "model:\n  params:\n    network_config:\n      params:\n        num_head_channels: 16\n"
    found = facts(tmp_path / "a.safetensors", shapes, yaml)
    assert found.unet_config["attention_head_dim"] == [2, 4, 8]
    sizes = own_sizes("sdxl", found.unet_config, found.text_config, found.parameters)
    assert sizes.unet == UNetShape((32, 64, 128), 2, (0, 1, 3), 3, (2, 4, 8), 96)
    assert sizes.text == FAMILIES["sdxl"].text
    assert (sizes.unet_parameters, sizes.vae_parameters) == (found.parameters["unet"], 72)


def test_hints_beside_the_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.training_hints.json").write_text('{"rate_factor": 2}', encoding="utf-8")
    assert facts(tmp_path / "a.safetensors", sd1()).hints == TrainingHints(rate_factor=2.0)


def only(shapes, *left_out: str):
    return {name: shape for name, shape in shapes.items() if not name.startswith(left_out)}


REFUSED = {
    "a LoRA": ({"lora_unet_mid.lora_down.weight": (4, 4)}, "host.is_lora"),
    "SD3": ({f"{UNET}x_embedder.proj.weight": (4, 4)}, "checkpoint.kind"),
    "Flux": ({f"{UNET}double_blocks.0.img_attn.proj.weight": (4, 4)}, "checkpoint.kind"),
    "a text encoder": ({"text_model.encoder.layers.0.mlp.fc1.weight": (4, 4)}, "checkpoint.unknown"),
    "inpainting": (sd1(entry=9), "host.inpainting"),
    "SDXL inpainting": (sdxl(entry=9), "host.inpainting"),
    "depth": ({**sd2(entry=5), "depth_model.a": (1,)}, "checkpoint.kind"),
    "unCLIP": ({**sd2(), "embedder.model.ln_final.weight": (1024,)}, "checkpoint.kind"),
    "a refiner": (
        {**only(sdxl(), "conditioner."), "conditioner.embedders.0.model.ln_final.weight": (1280,)},
        "checkpoint.kind",
    ),
    "SSD-1B": (only(sdxl(), f"{UNET}middle_block.1."), "checkpoint.kind"),
    "Alt-Diffusion": (
        {**only(sd1(), "cond_stage_model."), "cond_stage_model.roberta.a": (1,)},
        "checkpoint.kind",
    ),
    "a U-Net alone": (only(sd1(), "cond_stage_model."), "host.part_missing"),
    "half an encoder": (only(sdxl(), "conditioner.embedders.0"), "host.part_missing"),
    "uneven depths": (sdxl(middle=4), "checkpoint.unknown"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_everything_else_is_refused_by_its_sentence(tmp_path: Path, what: str) -> None:
    shapes, code = REFUSED[what]
    with pytest.raises(UserError) as caught:
        facts(tmp_path / "picked.safetensors", shapes)
    assert caught.value.code == code
    assert "picked.safetensors" in caught.value.sentence()


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("old.ckpt", b"", "checkpoint.pickle"),
        ("a.gguf", b"", "checkpoint.unknown"),
        ("torn.safetensors", b"torn", "host.damaged"),
        ("gone.safetensors", None, "host.checkpoint_missing"),
    ],
)
def test_files_that_cannot_be_looked_into(tmp_path: Path, name: str, content: bytes | None, code: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_facts(CheckpointInfo("mine", tmp_path / name))
    assert caught.value.code == code


def test_another_model_than_the_loaded_one_is_read_from_its_file(tmp_path: Path) -> None:
    path = write_header(tmp_path / "a.safetensors", sd1())
    loaded = SimpleNamespace(sd_checkpoint_info=SimpleNamespace(filename=str(tmp_path / "b.safetensors")))
    assert read_facts(CheckpointInfo("a", path), loaded).family == "sd1"


def loaded_model(channels: int = 4, key: str = "crossattn", **flags: object) -> SimpleNamespace:
    unet = SimpleNamespace(input_blocks=[[SimpleNamespace(in_channels=channels)]])
    encoder = SimpleNamespace(wrapped=SimpleNamespace())
    model = SimpleNamespace(diffusion_model=unet, conditioning_key=key)
    return SimpleNamespace(model=model, cond_stage_model=encoder, **flags)


def refiner() -> SimpleNamespace:
    only_encoder = SimpleNamespace(wrapped=SimpleNamespace(model=object()))
    return loaded_model(is_sdxl=True, conditioner=SimpleNamespace(embedders=[only_encoder]))


@pytest.mark.parametrize(
    ("sd_model", "code"),
    [
        (loaded_model(is_sd3=True), "checkpoint.kind"),
        (loaded_model(is_ssd=True, is_sdxl=True), "checkpoint.kind"),
        (loaded_model(channels=9), "host.inpainting"),
        (loaded_model(key="crossattn-adm"), "checkpoint.kind"),
        (loaded_model(), "checkpoint.kind"),
        (refiner(), "checkpoint.kind"),
        (SimpleNamespace(), "checkpoint.unknown"),
    ],
)
def test_a_loaded_model_of_another_kind_is_refused(sd_model: SimpleNamespace, code: str) -> None:
    with pytest.raises(UserError) as caught:
        family_of(sd_model, "picked")
    assert caught.value.code == code
