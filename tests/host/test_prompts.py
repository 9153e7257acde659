"""Prompts as kohya's trainer encodes them, against CLIP computed by hand."""

from __future__ import annotations

import math
import sys

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from lib_lora_train.host.base import BorrowRequest
from lib_lora_train.host.tokens import join_chunks, load_tokenizer, tokenize
from tests.helpers.tiny import write_tiny_tokenizer
from tests.host.test_embedded import make_host

LONG = ", ".join(["red hair", "blue eyes", "zuna"] * 30)  # 5 tokens and a comma each: 239 in all


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return make_host(tmp_path_factory.mktemp("host"))


def _clip(weights, ids, clip_skip, heads=4):
    """CLIP's text transformer up to the wanted layer, then the final normalisation: (chunks, 77, width)."""
    count = 1 + max(int(name.split(".")[3]) for name in weights if ".layers." in name)
    x = weights["text_model.embeddings.token_embedding.weight"][ids]
    x = x + weights["text_model.embeddings.position_embedding.weight"]

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])

    future = torch.full((77, 77), -math.inf).triu(1)
    for layer in range(count + 1 - clip_skip):
        name = f"text_model.encoder.layers.{layer}"
        y = norm(x, f"{name}.layer_norm1")
        q, k, v = (
            linear(y, f"{name}.self_attn.{part}_proj").unflatten(-1, (heads, -1)).transpose(1, 2) for part in "qkv"
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + future
        x = x + linear((scores.softmax(-1) @ v).transpose(1, 2).flatten(2), f"{name}.self_attn.out_proj")
        y = linear(norm(x, f"{name}.layer_norm2"), f"{name}.mlp.fc1")
        x = x + linear(y * torch.sigmoid(1.702 * y), f"{name}.mlp.fc2")
    return norm(x, "text_model.final_layer_norm")


def _by_hand(model, prompt, clip_skip, limit):
    """One caption's context, the long way: cut, fill with end marks, 75 at a time between marks, joined."""
    vocabulary = model.loaded.tokenizer.get_vocab()
    start, end = vocabulary["<|startoftext|>"], vocabulary["<|endoftext|>"]
    ids = [vocabulary[token] for token in model.loaded.tokenizer.tokenize(prompt)][:limit]
    ids += [end] * (limit - len(ids))
    chunks = torch.tensor([[start, *ids[place : place + 75], end] for place in range(0, limit, 75)])
    states = _clip(model.loaded.text_encoder.state_dict(), chunks, clip_skip)
    middle = [state[1:-1] for state in states]
    return torch.cat([states[0, :1], *middle, states[-1, -1:]])


@pytest.mark.parametrize("limit", [75, 150, 225])
@pytest.mark.parametrize("clip_skip", [1, 2, 3])
def test_encoding_by_hand(host, tiny_checkpoint, clip_skip, limit):
    prompts = ["red hair, solo", "", LONG, "(emphasis:1.2) BREAK [x]"]
    request = BorrowRequest(str(tiny_checkpoint), clip_skip=clip_skip, max_token_length=limit)
    with host.session() as session, session.borrow(request) as model:
        context = model.encode_prompts(prompts).context
        expected = torch.stack([_by_hand(model, prompt, clip_skip, limit) for prompt in prompts])
    assert context.shape == (4, limit + 2, 32)
    torch.testing.assert_close(context, expected, rtol=1e-4, atol=1e-4)


def test_what_is_cut_and_what_is_filled(host, tiny_checkpoint):
    with host.session() as session, session.borrow(BorrowRequest(str(tiny_checkpoint))) as model:
        assert model.count_tokens("red hair, solo") == 4
        assert model.count_tokens("") == 0
        ids = tokenize(model.loaded.tokenizer, [LONG, "red"], 150)
        start, end = model.loaded.tokenizer.bos_token_id, model.loaded.tokenizer.eos_token_id
    assert ids.shape == (2, 2, 77)
    assert ids[:, :, 0].eq(start).all()
    assert ids[:, :, -1].eq(end).all()
    assert not ids[0, :, 1:-1].eq(end).any()
    assert ids[1, 0, 2:].eq(end).all()
    assert ids[1, 1, 1:].eq(end).all()


def test_chunks_are_joined_with_one_pair_of_marks():
    states = torch.arange(3 * 77, dtype=torch.float32).reshape(1, 3, 77, 1)
    joined = join_chunks(states)[0, :, 0].tolist()
    assert joined == [0, *range(1, 76), *range(78, 153), *range(155, 230), 230]


def test_gradient_reaches_the_text_encoder_when_it_is_trained(host, tiny_checkpoint):
    from tests.host.test_embedded import _network

    with host.session() as session, session.borrow(BorrowRequest(str(tiny_checkpoint), clip_skip=2)) as model:
        network = _network(model)
        with network.attached():
            model.encode_prompts(["red hair"]).context.square().sum().backward()
        trained = [a for key, a in network.adapters.items() if key.startswith("lora_te_") and "_layers_2_" not in key]
        unread = [a for key, a in network.adapters.items() if "_layers_2_" in key]
        assert all(adapter.lora_up.grad.abs().sum() > 0 for adapter in trained)
        assert all(adapter.lora_up.grad is None for adapter in unread)


@pytest.mark.parametrize("with_ftfy", [True, False])
def test_chinese_words_stay_whole(tmp_path, monkeypatch, with_ftfy):
    """As the WebUI and kohya's trainer read them; transformers alone would take them apart by characters."""
    if not with_ftfy:
        monkeypatch.setitem(sys.modules, "ftfy", None)
    else:
        pytest.importorskip("ftfy")
    write_tiny_tokenizer(tmp_path)
    tokenizer = load_tokenizer((tmp_path,), 10_000, "")
    pieces = tokenizer.tokenize("日本, RED hat")
    assert len(pieces) == 6 + 1 + 2  # three bytes a character, the comma, two known words
    assert [piece for piece in pieces if piece.endswith("</w>")][1:] == [",</w>", "red</w>", "hat</w>"]
