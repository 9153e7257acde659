"""What SDXL is told of a picture's size, and tokens for OpenCLIP's towers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lib_lora_train.host.tokens import tokenize
from lib_lora_train.host.webui.half import HalfNorm, half_norms, is_half, own_dtype
from lib_lora_train.host.webui.size_embedding import embed_sizes
from tests.helpers.tiny import write_tiny_tokenizer


def test_each_number_becomes_cosines_and_sines() -> None:
    found = embed_sizes(torch.tensor([[1024, 768, 0, 16, 512, 640], [1, 2, 3, 4, 5, 6]]))
    assert found.shape == (2, 1536) and found.dtype == torch.float32
    for place, value in enumerate((1024, 768, 0, 16, 512, 640)):
        part = found[0, 256 * place : 256 * (place + 1)]
        for index in (0, 1, 64, 127):
            angle = value * math.exp(-math.log(10_000) * index / 128)
            assert part[index].item() == pytest.approx(math.cos(angle), abs=2e-4)
            assert part[128 + index].item() == pytest.approx(math.sin(angle), abs=2e-4)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    return write_tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def words(tokenizer, count: int) -> str:
    """A text of that many tokens."""
    text = " ".join(["red"] * count)
    assert len(tokenizer.tokenize(text)) == count
    return text


@pytest.mark.parametrize("count", [0, 1, 74, 75, 76, 149, 150, 151, 400])
@pytest.mark.parametrize("limit", [75, 150])
def test_another_pad_stands_behind_each_chunks_first_end_mark(tokenizer, count: int, limit: int) -> None:
    start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, 0
    word = tokenizer.convert_tokens_to_ids(tokenizer.tokenize("red")[0])
    assert len({start, end, pad, word}) == 4
    rows = tokenize(tokenizer, [words(tokenizer, count)], limit, pad)[0].tolist()
    left = min(count, limit)
    for row in rows:
        here = min(left, 75)
        assert row == [start, *[word] * here, end, *[pad] * 75][:77]
        left -= here
    # With the end mark as its pad, what is read up to the first end mark is the same.
    plain = tokenize(tokenizer, [words(tokenizer, count)], limit)[0].tolist()
    assert [row[: row.index(end) + 1] for row in plain] == [row[: row.index(end) + 1] for row in rows]


class SingleNorm(nn.GroupNorm):
    """As the original's: fp32 inside."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.float()).type(x.dtype)


def make_unet() -> nn.Sequential:
    return nn.Sequential(SingleNorm(4, 8), nn.GroupNorm(2, 8), nn.Conv2d(8, 8, 1)).to(torch.bfloat16)


def test_half_norms_are_on_inside_the_block_only() -> None:
    unet, x = make_unet(), torch.randn(2, 8, 4, 4, dtype=torch.bfloat16)
    with pytest.raises(RuntimeError, match="dtype"):
        unet(x)
    with half_norms(unet):
        assert isinstance(unet[0].forward, HalfNorm)
        assert "forward" not in vars(unet[1])
        found = unet[0](x)
    assert not any("forward" in vars(module) for module in unet)
    expected = SingleNorm(4, 8)(x.float())
    torch.testing.assert_close(found.float(), expected, rtol=0.01, atol=0.01)


def test_a_norm_that_somebody_else_has_replaced_is_theirs() -> None:
    unet = make_unet()
    theirs = unet[0].__dict__["forward"] = lambda x: x
    with half_norms(unet):
        assert unet[0].forward is theirs
    assert unet[0].__dict__.pop("forward") is theirs
    with half_norms(unet):
        unet[0].__dict__["forward"] = theirs
    assert unet[0].forward is theirs


def test_under_autocast_a_norm_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    unet = make_unet().float()
    with half_norms(unet):
        monkeypatch.setattr(unet[0].forward, "original", lambda x: x + 1)
        monkeypatch.setattr(torch, "is_autocast_enabled", lambda: True)
        assert unet[0](torch.zeros(1, 8, 2, 2)).mean() == 1


def test_what_half_is() -> None:
    unet = make_unet()
    assert is_half(unet) and not is_half(make_unet().float())
    unet[0].float()
    assert not is_half(unet)
    unet.dtype = torch.float32
    with pytest.raises(KeyError), own_dtype(unet, torch.bfloat16):
        assert unet.dtype == torch.bfloat16
        raise KeyError
    assert unet.dtype == torch.float32
