"""Captions are encoded once where they stay the same, and the text encoder may rest from then on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from lib_lora_train.host.base import Conditioning
from lib_lora_train.host.embedded_model import EmbeddedModel
from lib_lora_train.signals import Commands, Stopped
from lib_lora_train.train.prompts import PromptEncoder
from tests.helpers.runs import run, tiny_settings, write_pictures


class Encoding:
    """A text encoder that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.weight = torch.ones((), requires_grad=True)

    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        self.asked.append(list(prompts))
        context = torch.tensor([[[float(len(prompt))]] for prompt in prompts]) * self.weight
        return Conditioning(context, context[:, 0])


def test_remembered_captions_are_encoded_once_and_without_gradient() -> None:
    model = Encoding()
    encode = PromptEncoder(model, trained=False, remember=True)
    encode.learn(["cat", "a dog", "cat"], Commands())
    encode.learn(["cat"], Commands())
    assert sorted(model.asked) == [["a dog"], ["cat"]]
    cond = encode(["a dog", "cat", "a dog"])
    assert cond.context.flatten().tolist() == [5.0, 3.0, 5.0] and cond.pooled.shape == (3, 1)
    assert not cond.context.requires_grad and len(model.asked) == 2


@pytest.mark.parametrize(("trained", "remember"), [(True, True), (True, False), (False, False)])
def test_else_they_are_encoded_at_every_step(trained: bool, remember: bool) -> None:
    model = Encoding()
    encode = PromptEncoder(model, trained, remember)
    assert not encode.remembers
    for _ in range(2):
        assert encode(["cat", "cat"]).context.requires_grad == trained
    assert model.asked == [["cat", "cat"]] * 2


def test_a_stop_is_heard_between_two_captions() -> None:
    commands = Commands()
    commands.stop()
    with pytest.raises(Stopped):
        PromptEncoder(Encoding(), trained=False, remember=True).learn(["cat"], commands)


PLAIN = {"shuffle_caption": False, "caption_tag_dropout_rate": 0.0, "caption_dropout_rate": 0.0}


@pytest.mark.parametrize(
    ("settings", "rests"),
    [
        ({"network_train_unet_only": True, **PLAIN}, ["vae", "text_encoder"]),
        ({"network_train_unet_only": True}, ["vae"]),
        (PLAIN, ["vae"]),
    ],
)
def test_what_is_not_needed_rests(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict, rests: list[str]
) -> None:
    told: list[str] = []
    monkeypatch.setattr(EmbeddedModel, "rest", lambda self, part: told.append(part))
    pictures = write_pictures(tmp_path / "pictures")
    run(tiny_settings(tiny_checkpoint, pictures, tmp_path / "out", max_train_epochs=1, **settings))
    assert told == rests
