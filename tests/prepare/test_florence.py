"""Florence-2 through transformers' own classes: a tiny random one, saved as the published folders are."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path

import pytest
import torch
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.prepare import florence as module
from lib_lora_train.prepare.florence import FOLDER, Florence, is_florence
from lib_lora_train.signals import Commands, Stopped

CPU = torch.device("cpu")
PICTURE = Image.new("RGBA", (50, 30), (200, 30, 30, 128))
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a Florence-2 of 100 thousand random weights in it."""
    native = pytest.importorskip("transformers.models.florence2", reason="needs a transformers that knows Florence-2")
    from transformers import BartConfig, BartTokenizerFast, CLIPImageProcessor

    models = tmp_path_factory.mktemp("models")
    folder = models / FOLDER
    folder.mkdir()
    letters = [*"abcdefghijklmnopqrstuvwxyz.?,ĠABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    (folder / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate([*SPECIAL, *letters])}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = BartTokenizerFast(
        str(folder / "vocab.json"), str(folder / "merges.txt"), extra_special_tokens={"image_token": "<image>"}
    )
    side = 32
    vision = native.Florence2VisionConfig(
        depths=(1, 1), patch_size=(7, 3), patch_stride=(4, 2), patch_padding=(3, 1), patch_prenorm=(False, True),
        embed_dim=(8, 16), num_heads=(2, 2), num_groups=(2, 2), window_size=4, projection_dim=16,
        max_position_embeddings=10,
    )  # fmt: skip
    text = BartConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=512,
        bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(3)
    config = native.Florence2Config(
        text_config=text.to_dict(), vision_config=vision.to_dict(), image_token_id=tokenizer.image_token_id
    )
    model = native.Florence2ForConditionalGeneration(config)
    model.generation_config.max_length = 40
    model.save_pretrained(folder)
    images = CLIPImageProcessor(
        size={"height": side, "width": side}, do_center_crop=False, crop_size={"height": side, "width": side}
    )
    images.image_seq_length = 17  # 4 x 4 places and their mean
    native.Florence2Processor(images, tokenizer).save_pretrained(folder)
    return models


def test_a_picture_becomes_words(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NEW_TOKENS", 6)
    florence = Florence(models, CPU)
    assert florence.trouble() is None
    with florence.loaded() as caption:
        words = caption(PICTURE)
        assert words == caption(PICTURE)
    assert isinstance(words, str)
    assert words == " ".join(words.split())
    assert "<" not in words


def test_it_is_unloaded_afterwards(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Watched(module._Model):
        def __init__(self, folder: Path, device: torch.device) -> None:
            super().__init__(folder, device)
            made.append(weakref.ref(self._model))

    monkeypatch.setattr(module, "_Model", Watched)
    with Florence(models, CPU).loaded() as caption:
        assert made[0]() is not None
    gc.collect()
    assert made[0]() is None
    del caption


def test_a_stop_ends_it(models: Path) -> None:
    commands = Commands()
    commands.stop()
    with Florence(models, CPU).loaded(commands) as caption, pytest.raises(Stopped):
        caption(PICTURE)


def test_damaged_files_are_one_sentence(models: Path, tmp_path: Path) -> None:
    copy = tmp_path / FOLDER
    copy.mkdir()
    for path in (models / FOLDER).iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError) as caught, Florence(tmp_path, CPU).loaded():
        pytest.fail("it cannot be read")
    assert caught.value.code == "tagging.florence_failed"
    assert str(tmp_path) not in caught.value.text()


# ---------------------------------------------------------------------- without a model


def _folder(folder: Path, config: object, *names: str) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


GOOD = {"model_type": "florence2", "vision_config": {"model_type": "florence_vision"}}
FIRST = {"model_type": "florence2", "vision_config": {"model_type": "davit"}, "auto_map": {"AutoConfig": "x.Y"}}
FILES = ("model.safetensors", "preprocessor_config.json")


@pytest.mark.parametrize(
    ("config", "files", "right"),
    [
        (GOOD, FILES, True), (GOOD, FILES[:1], False), (GOOD, ("pytorch_model.bin", FILES[1]), False),
        (FIRST, FILES, False), ({"model_type": "blip"}, FILES, False), ("[]", FILES, False), ("{", FILES, False),
    ],
)  # fmt: skip
def test_which_folders_are_it(tmp_path: Path, config: object, files: tuple[str, ...], right: bool) -> None:
    """Not the first publication's layout, which needs code from the repository; not weights that run code."""
    assert is_florence(_folder(tmp_path / "x", config, *files)) is right


def test_it_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_cached", lambda repository: None)
    trouble = Florence(tmp_path, CPU).trouble()
    assert trouble is not None
    assert trouble.code == "tagging.florence_missing"
    assert module.REPOSITORIES[0] in trouble.remedy()
    with pytest.raises(UserError), Florence(tmp_path, CPU).loaded():
        pytest.fail("there is nothing to load")


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        ("transformers", "tagging.florence_missing_package"),
        ("transformers.models.florence2", "tagging.florence_too_old"),
    ],
)
def test_what_the_installed_transformers_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, code: str
) -> None:
    _folder(tmp_path / FOLDER, GOOD, *FILES)
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == missing else object())
    monkeypatch.setattr(module, "_version", lambda: "4.30.2")
    trouble = Florence(tmp_path, CPU).trouble()
    assert trouble is not None
    assert trouble.code == code


def test_the_hubs_cache_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    folder = _folder(tmp_path / "snapshot", GOOD, *FILES)
    monkeypatch.setattr(
        hub,
        "try_to_load_from_cache",
        lambda repository, file: str(folder / file) if repository.endswith("base") else None,
    )
    assert Florence(tmp_path, CPU)._folder() == folder
