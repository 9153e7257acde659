"""A LoRA trained here, in diffusers' own pipeline: loaded whole, and the same picture as our host draws."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image

from lib_lora_train.host.base import GenerateRequest
from lib_lora_train.host.sampling import draw_noise
from lib_lora_train.network.files import load_lora
from tests.helpers.runs import run, tiny_host, tiny_settings, write_pictures

pytest.importorskip("peft")

PROMPT, NEGATIVE, SEED = "zuna, a girl, red hair", "hat", 3


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_checkpoint):
    folder = tmp_path_factory.mktemp("trained")
    pictures = write_pictures(folder / "pictures")
    settings = tiny_settings(
        tiny_checkpoint, pictures, folder / "out", learning_rate="5e-2", text_encoder_lr="5e-2", max_train_epochs=4
    )
    return run(settings).lora


def _ours(checkpoint, folder, lora) -> np.ndarray:
    request = GenerateRequest(
        PROMPT, NEGATIVE, 64, 64, steps=4, cfg_scale=3.0, seed=SEED, lora=lora, checkpoint=str(checkpoint)
    )
    with tiny_host(folder).session() as session:
        return np.asarray(session.generate([request])[0].image).astype(int)


def _theirs(pipeline) -> np.ndarray:
    noise = draw_noise([SEED], 64, 64)
    drawn = pipeline(
        PROMPT, 64, 64, num_inference_steps=4, guidance_scale=3.0, negative_prompt=NEGATIVE, latents=noise
    ).images[0]
    assert isinstance(drawn, Image.Image)
    return np.asarray(drawn).astype(int)


def test_same_picture_in_diffusers(trained, tiny_checkpoint, tmp_path):
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_checkpoint, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    # Our host's DDIM: steps counted from the last one, the last of them to the clean picture.
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="trailing", set_alpha_to_one=True, steps_offset=0
    )
    plain = _theirs(pipeline)
    assert np.abs(plain - _ours(tiny_checkpoint, tmp_path, None)).max() <= 1

    complaints: list[str] = []
    listener = logging.Handler(logging.WARNING)
    listener.emit = lambda record: complaints.append(record.getMessage())
    logging.getLogger("diffusers").addHandler(listener)
    try:
        pipeline.load_lora_weights(str(trained))
    finally:
        logging.getLogger("diffusers").removeHandler(listener)
    assert complaints == []

    keys = load_lora(trained).sizes
    for model, prefix in ((pipeline.unet, "lora_unet_"), (pipeline.text_encoder, "lora_te_")):
        adapted = sum(hasattr(module, "lora_A") for module in model.modules())
        assert adapted == sum(key.startswith(prefix) for key in keys) > 0

    with torch.no_grad():
        changed = _theirs(pipeline)
    assert np.abs(changed - plain).mean() > 3  # the LoRA does something to see
    assert np.abs(changed - _ours(tiny_checkpoint, tmp_path, trained)).max() <= 1
