"""Prompts encoded by transformers' own CLIP from the weights of the loaded model, as kohya's trainer does it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

_VOCABULARY = "openai/clip-vit-large-patch14"
_CHUNK = 75


class Reference:
    """The text encoders of a loaded model, made once."""

    def __init__(self, sd_model: nn.Module, family: str) -> None:
        self.family = family
        if family == "sdxl":
            first, second = (sd_model.conditioner.embedders[number].wrapped for number in (0, 1))
            self.models = [_of_clip(first), _of_openclip(second)]
        else:
            embedder = sd_model.cond_stage_model.wrapped
            self.models = [_of_clip(embedder) if family == "sd1" else _of_openclip(embedder, spared=1)]

    def encode(self, prompts: list[str], clip_skip: int, limit: int) -> tuple[Tensor, Tensor | None]:
        """Context and, for SDXL, pooled."""
        if self.family != "sdxl":
            ids = token_ids(prompts, limit, pad=None if self.family == "sd1" else 0)
            return _context(self.models[0], ids, -clip_skip, normed=True), None
        first, second = self.models
        ids = token_ids(prompts, limit, pad=0)
        parts = [_context(first, token_ids(prompts, limit), 11, False), _context(second, ids, -2, False)]
        return torch.cat(parts, dim=2), second(ids[:, 0]).text_embeds


def token_ids(prompts: list[str], limit: int, pad: int | None = None) -> Tensor:
    """(prompts, chunks, 77). `pad` is the end mark when None."""
    tokenizer = CLIPTokenizer.from_pretrained(_VOCABULARY)
    if pad is not None:
        tokenizer.pad_token_id = pad  # afterwards: as its pad, "!" would no longer be read as a word
    ids = tokenizer(prompts, padding="max_length", truncation=True, max_length=limit + 2, return_tensors="pt").input_ids
    if limit == _CHUNK:
        return ids[:, None]
    end, empty = tokenizer.eos_token_id, tokenizer.pad_token_id
    rows = []
    for row in ids:
        chunks = []
        for place in range(1, limit, _CHUNK):
            chunk = torch.cat([row[:1], row[place : place + _CHUNK], row[-1:]])
            if end != empty:
                if chunk[-2] != end and chunk[-2] != empty:
                    chunk[-1] = end
                if chunk[1] == empty:
                    chunk[1] = end
            chunks.append(chunk)
        rows.append(torch.stack(chunks))
    return torch.stack(rows)


def _context(model: nn.Module, ids: Tensor, layer: int, normed: bool) -> Tensor:
    hidden = model(ids.flatten(0, 1), output_hidden_states=True).hidden_states[layer]
    hidden = model.text_model.final_layer_norm(hidden) if normed else hidden
    hidden = hidden.unflatten(0, ids.shape[:2])
    return torch.cat([hidden[:, 0, :1], *hidden[:, :, 1:-1].unbind(1), hidden[:, -1, -1:]], dim=1)


def _of_clip(embedder: nn.Module) -> nn.Module:
    weights = {name.replace(".wrapped", ""): weight for name, weight in embedder.transformer.state_dict().items()}
    model = CLIPTextModel(embedder.transformer.config)
    model.load_state_dict(weights)
    return model.eval()


def _of_openclip(embedder: nn.Module, spared: int = 0) -> nn.Module:
    """The tower under transformers' names, without its `spared` last layers."""
    tower = embedder.model
    layers = tower.transformer.resblocks[: len(tower.transformer.resblocks) - spared]
    width = layers[0].attn.embed_dim
    config = CLIPTextConfig(
        hidden_size=width, intermediate_size=layers[0].mlp.c_fc.out_features, num_hidden_layers=len(layers),
        num_attention_heads=layers[0].attn.num_heads, hidden_act="gelu", projection_dim=tower.text_projection.shape[1],
    )  # fmt: skip
    weights = {
        "embeddings.token_embedding.weight": tower.token_embedding.wrapped.weight,
        "embeddings.position_embedding.weight": tower.positional_embedding,
        "embeddings.position_ids": torch.arange(77)[None],
        "final_layer_norm.weight": tower.ln_final.weight,
        "final_layer_norm.bias": tower.ln_final.bias,
    }
    for number, layer in enumerate(layers):
        parts = {"layer_norm1": layer.ln_1, "layer_norm2": layer.ln_2, "self_attn.out_proj": layer.attn.out_proj}
        parts |= {"mlp.fc1": layer.mlp.c_fc, "mlp.fc2": layer.mlp.c_proj}
        for kind in ("weight", "bias"):
            named = {name: getattr(part, kind) for name, part in parts.items()}
            joined = getattr(layer.attn, f"in_proj_{kind}").chunk(3)
            named |= {f"self_attn.{name}_proj": part for name, part in zip("qkv", joined, strict=True)}
            weights |= {f"encoder.layers.{number}.{name}.{kind}": part for name, part in named.items()}
    model = CLIPTextModelWithProjection(config)
    weights = {f"text_model.{name}": weight for name, weight in weights.items()}
    model.load_state_dict({**weights, "text_projection.weight": tower.text_projection.T})
    return model.eval()
