"""The demo's tokenizer: CLIP's format, one token per word of the demo, and nothing that it cannot read."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from demo import tokenizer as bpe
from demo.captions import NAMES, RESERVED
from demo.training import CHECKPOINT


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    return bpe.build(tmp_path_factory.mktemp("tokenizer"))


def test_every_word_is_one_token(tokenizer: CLIPTokenizer) -> None:
    for word in bpe.vocabulary_words():
        assert tokenizer.tokenize(word) == [word + "</w>"]
    assert {*NAMES, *RESERVED} <= set(bpe.vocabulary_words())


@pytest.mark.parametrize("text", ["hello world", "naïve 漢字 ♥", "1boy, (blue_sky:1.2)"])
def test_any_text_survives(tokenizer: CLIPTokenizer, text: str) -> None:
    ids = tokenizer(text).input_ids
    assert tokenizer.eos_token_id not in ids[1:-1]
    assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == text.replace(" ", "")


def test_clip_conventions(tokenizer: CLIPTokenizer) -> None:
    ids = tokenizer("1girl", padding="max_length", max_length=77).input_ids
    assert ids[0] == tokenizer.bos_token_id == len(tokenizer) - 2
    assert set(ids[3:]) == {tokenizer.eos_token_id} == {len(tokenizer) - 1}
    assert tokenizer.tokenize("1girl, close-up") == ["1</w>", "girl</w>", ",</w>", "close</w>", "-</w>", "up</w>"]


def test_checkpoint_has_this_tokenizer(tokenizer: CLIPTokenizer) -> None:
    shipped = CLIPTokenizer.from_pretrained(str(Path(CHECKPOINT) / "tokenizer"))
    assert shipped.get_vocab() == tokenizer.get_vocab()
