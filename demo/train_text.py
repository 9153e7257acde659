"""Teach the text encoder to name the tags from its own output, before the U-Net sees it.

The linear heads are thrown away. Without this stage eye colours stay alike in the encoder for half of the U-Net's
training. Also draws the base's pictures and caches their latents.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from demo import tokenizer as bpe
from demo.attributes import ATTRIBUTES, sample
from demo.captions import NAMES, join, named_characters, targets, training_words
from demo.data import NAMED_SHARE, cache_latents
from demo.models import build_text_encoder, token_ids
from demo.training import CHECKPOINT, Clock, save_state, setup


def train_text(work: Path, minutes: float) -> None:
    """Every position from the end token on must know all that the caption says."""
    tokenizer = bpe.build(CHECKPOINT / "tokenizer")
    text_encoder = build_text_encoder(tokenizer)
    heads = nn.ModuleList(nn.Linear(text_encoder.config.hidden_size, len(v) + 1) for v in ATTRIBUTES.values())
    optimizer = torch.optim.AdamW([*text_encoder.parameters(), *heads.parameters()], 2e-3, weight_decay=0.0)
    rng, names, clock, step = random.Random(21), named_characters(), Clock(minutes), 0
    while clock.share() < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * clock.rate()
        captions, truth = [], []
        for _ in range(64):
            name = rng.choice(NAMES) if rng.random() < NAMED_SHARE else None
            words = training_words({**sample(rng), **names.get(name or "", {})}, name, rng)
            captions.append("" if words is None else join(words, rng))
            truth.append(targets(words, names))
        ids = token_ids(tokenizer, captions)
        hidden = text_encoder(ids).last_hidden_state
        end = (ids == tokenizer.eos_token_id).int().argmax(1)
        place = torch.stack([end, (end + torch.randint(0, 50, end.shape)).clamp(max=76)], 1)
        seen = hidden[torch.arange(len(ids))[:, None], place]  # (n, 2, width)
        answers = torch.tensor(truth)[:, None].expand(-1, 2, -1)
        scores = [head(seen) for head in heads]
        loss = sum(functional.cross_entropy(s.flatten(0, 1), answers[..., i].flatten()) for i, s in enumerate(scores))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 200 == 0:
            right = [(s.argmax(-1) == answers[..., i]).float().mean().item() for i, s in enumerate(scores)]
            print(f"text {step} loss {loss.item():.3f} right {[round(v, 2) for v in right]}", flush=True)
    print(f"cosines {cosines(tokenizer, text_encoder)}", flush=True)
    save_state(work / "text.safetensors", text_encoder.state_dict(), {"step": step})


@torch.no_grad()
def cosines(tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel) -> dict[str, float]:
    """How alike two phrases are at the end token (1: not told apart); predicts what the U-Net can learn to obey."""
    result = {}
    for first, second in (("red eyes", "blue eyes"), ("red hair", "blue hair"), ("smile", "frown"), ("alice", "vera")):
        ids = token_ids(tokenizer, [f"1girl, {first}", f"1girl, {second}"])
        end = (ids == tokenizer.eos_token_id).int().argmax(1)
        states = text_encoder(ids).last_hidden_state[torch.arange(2), end]
        result[f"{first} / {second}"] = round(functional.cosine_similarity(states[0], states[1], dim=0).item(), 3)
    return result


def main() -> None:
    arguments = setup(__doc__)
    torch.manual_seed(20)
    if arguments.stage != "text":
        cache_latents(arguments.work)
    train_text(arguments.work, arguments.minutes)


if __name__ == "__main__":
    main()
