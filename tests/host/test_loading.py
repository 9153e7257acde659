"""Checkpoints on disk: what loads gives the same model, what cannot be used is refused with a sentence."""

from __future__ import annotations

import gzip
import json
import shutil
import socket
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from lib_lora_train.errors import UserError
from lib_lora_train.host import tokens, weights
from lib_lora_train.host.architecture import from_ldm, standard
from lib_lora_train.host.export import export_single_file
from lib_lora_train.host.facts import read_facts
from lib_lora_train.host.ldm_yaml import to_yaml_options
from lib_lora_train.host.loading import alphas_cumprod, describe, load, with_hash
from lib_lora_train.serve import DEMO
from tests.helpers.full_size import write_made_up_vocabulary
from tests.helpers.tiny import byte_symbols, write_tiny_checkpoint

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def single_file(tiny_checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("single") / "tiny.safetensors"
    export_single_file(tiny_checkpoint, path)
    return path


@pytest.fixture
def copied(single_file, tmp_path):
    """The single file with what lies beside it, to be damaged."""
    shutil.copytree(single_file.parent, tmp_path / "copy")
    return tmp_path / "copy" / single_file.name


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    return shutil.copytree(tiny_checkpoint, tmp_path / "folder")


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a network call")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def _state(loaded):
    return {
        f"{part}.{name}": tensor
        for part, module in loaded.modules().items()
        for name, tensor in module.state_dict().items()
    }


def _refused(path):
    with pytest.raises(UserError) as caught:
        load(describe(path), torch.float32, CPU)
    return caught.value


def test_folder_is_what_diffusers_loads(tiny_checkpoint, no_network):
    from diffusers import StableDiffusionPipeline

    loaded = load(describe(tiny_checkpoint), torch.float32, CPU)
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_checkpoint, local_files_only=True)
    for part, module in loaded.modules().items():
        theirs = getattr(pipeline, part).state_dict()
        ours = module.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(loaded.alphas_cumprod, pipeline.scheduler.alphas_cumprod)
    assert loaded.latent_scale == 0.18215


def test_single_file_is_the_folder(tiny_checkpoint, single_file, no_network):
    folder = load(describe(tiny_checkpoint), torch.float32, CPU)
    file = load(describe(single_file), torch.float32, CPU)
    ours, theirs = _state(file), _state(folder)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    ids = file.tokenizer(["red hair, ünknown"], padding="max_length", return_tensors="pt").input_ids
    context = file.text_encoder(ids)[0]
    assert torch.equal(context, folder.text_encoder(ids)[0])
    noisy = torch.linspace(-1, 1, 256).reshape(1, 4, 8, 8)
    assert torch.equal(file.unet(noisy, 500, context).sample, folder.unet(noisy, 500, context).sample)
    pixels = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    assert torch.equal(file.vae.encode(pixels).latent_dist.mean, folder.vae.encode(pixels).latent_dist.mean)
    assert torch.equal(file.vae.decode(noisy).sample, folder.vae.decode(noisy).sample)


def test_modules_are_frozen_in_evaluation_mode_and_whole(single_file):
    state = torch.random.get_rng_state()
    loaded = load(describe(single_file), torch.float16, CPU)
    assert torch.equal(torch.random.get_rng_state(), state)
    for module in loaded.modules().values():
        assert not any(inner.training for inner in module.modules())
        for tensor in (*module.parameters(), *module.buffers()):
            assert not tensor.is_meta
            assert not tensor.requires_grad
            assert tensor.dtype in (torch.float16, torch.int64)


def test_half_precision_file_is_widened_exactly(tmp_path):
    half = write_tiny_checkpoint(tmp_path / "half", dtype=torch.float16)
    export_single_file(half, tmp_path / "half.safetensors")
    stored = load_file(tmp_path / "half.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    loaded = load(describe(tmp_path / "half.safetensors"), torch.float32, CPU)
    name = "model.diffusion_model.out.2.weight"
    assert torch.equal(loaded.unet.conv_out.weight, stored[name].float())


def test_loaded_weights_do_not_hang_on_the_file(copied):
    loaded = load(describe(copied), torch.float32, CPU)
    before = loaded.unet.conv_out.weight.clone()
    copied.write_bytes(b"\0" * copied.stat().st_size)
    assert torch.equal(loaded.unet.conv_out.weight, before)


def test_reading_in_groups_gives_the_same(single_file, monkeypatch):
    whole = _state(load(describe(single_file), torch.float32, CPU))
    monkeypatch.setattr(weights, "GROUP_BYTES", 10_000)
    parts = _state(load(describe(single_file), torch.float32, CPU))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("layers", [1, 2])
def test_yaml_says_what_shapes_cannot(tmp_path, layers):
    folder = write_tiny_checkpoint(tmp_path / "f", layers_per_block=layers, prediction_type="v_prediction")
    export_single_file(folder, tmp_path / "x.safetensors")
    model = describe(tmp_path / "x.safetensors").architecture
    wanted = describe(folder).architecture
    for config, name in (
        ("unet", "attention_head_dim"),
        ("unet", "norm_num_groups"),
        ("unet", "sample_size"),
        ("unet", "layers_per_block"),
        ("unet", "block_out_channels"),
        ("vae", "norm_num_groups"),
        ("vae", "block_out_channels"),
        ("text_encoder", "num_attention_heads"),
        ("text_encoder", "num_hidden_layers"),
        ("scheduler", "prediction_type"),
        ("scheduler", "beta_end"),
    ):
        assert getattr(model, config)[name] == getattr(wanted, config)[name], name
    assert load(describe(tmp_path / "x.safetensors"), torch.float32, CPU).prediction == "v_prediction"


def test_yaml_of_yaml_is_the_same(single_file):
    options = yaml.safe_load(single_file.with_suffix(".yaml").read_text(encoding="utf-8"))
    shapes = weights.read_shapes(single_file)
    assert to_yaml_options(from_ldm(shapes, options, "x"), single_file.with_suffix(".tokenizer")) == options


def test_classes_of_the_original_wherever_they_can_be_built(single_file):
    """The WebUI makes its model from the classes that are named."""
    narrow = yaml.safe_load(single_file.with_suffix(".yaml").read_text(encoding="utf-8"))["model"]["params"]
    assert narrow["unet_config"]["target"].startswith("lib_lora_train.")
    usual = to_yaml_options(standard())["model"]["params"]
    targets = [usual[f"{part}_config"]["target"] for part in ("unet", "first_stage", "cond_stage")]
    assert all(target.startswith("ldm.") for target in targets) and "params" not in usual["cond_stage_config"]


def test_what_lies_beside_a_single_file(tmp_path):
    written = export_single_file(DEMO, tmp_path / "demo.safetensors")
    assert {path.name for path in written} == {
        "demo.safetensors", "demo.yaml", "vocab.json", "merges.txt", "tokenizer_config.json", "config.json",
        "demo.training_hints.json",
    }  # fmt: skip
    facts = read_facts(tmp_path / "demo.safetensors")
    assert facts.native == read_facts(DEMO).native == 128
    assert facts.hints == read_facts(DEMO).hints and facts.parameters == read_facts(DEMO).parameters
    for name, code in (("demo.safetensors", "export.exists"), ("demo.ckpt", "export.suffix")):
        with pytest.raises(UserError) as caught:
            export_single_file(DEMO, tmp_path / name)
        assert caught.value.code == code


def test_unusual_sizes_need_the_yaml(copied):
    copied.with_suffix(".yaml").unlink()
    assert _refused(copied).code == "host.needs_yaml"


@pytest.mark.parametrize("text", ["a: [", "- 1", "model: !!python/object/apply:os.system ['true']"])
def test_bad_yaml(copied, text):
    copied.with_suffix(".yaml").write_text(text, encoding="utf-8")
    assert _refused(copied).code == "host.yaml"


def test_yaml_with_a_number_that_is_none(copied):
    path = copied.with_suffix(".yaml")
    path.write_text(path.read_text(encoding="utf-8").replace("num_heads: 4", "num_heads: many"), encoding="utf-8")
    assert _refused(copied).code == "host.yaml"


def _rewrite(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


PRETENDERS = {
    "host.family": lambda t: t.update({"conditioner.embedders.0.x": torch.zeros(1)}),
    "host.is_lora": lambda t: t.update({"lora_unet_x.lora_down.weight": torch.zeros(1)}),
    "host.inpainting": lambda t: t.update({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(16, 9, 3, 3)}),
    "host.weights_missing": lambda t: t.pop("model.diffusion_model.out.2.bias"),
    "host.weights_shape": lambda t: t.update({"model.diffusion_model.out.2.bias": torch.zeros(5)}),
    "host.not_checkpoint": lambda t: [t.pop(k) for k in list(t) if k.startswith("model.diffusion_model.")],
}


@pytest.mark.parametrize("code", PRETENDERS)
def test_files_that_cannot_be_trained_on(copied, code):
    _rewrite(copied, PRETENDERS[code])
    error = _refused(copied)
    assert error.code == code
    assert error.where == copied.name


@pytest.mark.parametrize(("prefix", "part"), [("first_stage_model.", "VAE"), ("cond_stage_model.", "text encoder")])
def test_file_without_a_part(copied, prefix, part):
    _rewrite(copied, lambda t: [t.pop(k) for k in list(t) if k.startswith(prefix)])
    error = _refused(copied)
    assert (error.code, error.values) == ("host.part_missing", {"part": part})


def test_text_encoder_without_its_inner_name(copied, single_file):
    def shorten(tensors):
        for name in [name for name in tensors if ".text_model." in name]:
            tensors[name.replace(".text_model.", ".")] = tensors.pop(name)
        tensors["cond_stage_model.transformer.embeddings.position_ids"] = torch.arange(77)[None]

    _rewrite(copied, shorten)
    ours, theirs = (_state(load(describe(path), torch.float32, CPU)) for path in (copied, single_file))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_pickles_cut_files_and_nothing_at_all(tmp_path, copied):
    (tmp_path / "a.ckpt").write_bytes(b"\x80\x02")
    assert _refused(tmp_path / "a.ckpt").code == "host.pickle"
    assert _refused(tmp_path / "b.safetensors").code == "host.checkpoint_missing"
    copied.write_bytes(copied.read_bytes()[:-1000])
    assert _refused(copied).code == "host.damaged"
    assert _refused(tmp_path).code == "host.not_checkpoint"


def test_folder_with_pickled_weights(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert _refused(folder).code == "host.part_missing"
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x02")
    assert _refused(folder).code == "host.pickle"


def test_folder_in_shards_and_with_old_names(folder, tiny_checkpoint):
    source = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(source)
    names = sorted(tensors)
    halves = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for file, held in halves.items():
        save_file({name: tensors[name] for name in held}, source.with_name(file))
    source.unlink()
    index = {"weight_map": {name: file for file, held in halves.items() for name in held}}
    source.with_name(source.name + ".index.json").write_text(json.dumps(index), encoding="utf-8")
    vae = folder / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(tensors):
        for name in [name for name in tensors if ".attentions." in name]:
            tensor = tensors.pop(name)
            for new, former in old.items():
                name = name.replace(f".{new}.", f".{former}.")
            tensors[name] = tensor

    _rewrite(vae, rename)
    ours, theirs = (_state(load(describe(path), torch.float32, CPU)) for path in (folder, tiny_checkpoint))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_shard_index_cannot_leave_the_folder(folder):
    source = folder / "unet" / "diffusion_pytorch_model.safetensors"
    index = {"weight_map": {"x": "../vae/diffusion_pytorch_model.safetensors"}}
    source.with_name(source.name + ".index.json").write_text(json.dumps(index), encoding="utf-8")
    assert _refused(folder).code == "path.outside"


@pytest.mark.parametrize(
    ("config", "change", "code"),
    [
        ("unet", {"use_linear_projection": True}, "host.family"),
        ("unet", {"in_channels": 9}, "host.inpainting"),
        ("scheduler", {"prediction_type": "sample"}, "host.prediction"),
        ("scheduler", {"beta_schedule": "squaredcos_cap_v2"}, "host.schedule"),
    ],
)
def test_folders_that_cannot_be_trained_on(folder, config, change, code):
    path = folder / config / ("scheduler_config.json" if config == "scheduler" else "config.json")
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    assert _refused(folder).code == code


def test_broken_config(folder):
    (folder / "unet" / "config.json").write_text("{", encoding="utf-8")
    assert _refused(folder).code == "host.config"


def test_hash_is_that_of_the_file(copied):
    copied.write_bytes(copied.read_bytes())
    import hashlib

    assert with_hash(describe(copied)).sha256 == hashlib.sha256(copied.read_bytes()).hexdigest()


def test_alphas_of_stable_diffusion():
    config = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    alphas = alphas_cumprod(config, "x")
    assert alphas.dtype == torch.float32
    assert [round(float(alphas[t]), 6) for t in (0, 499, 999)] == [0.99915, 0.277669, 0.00466]
    zero = alphas_cumprod(config | {"rescale_betas_zero_snr": True}, "x")
    assert float(zero[-1]) == 0.0
    assert float(zero[0]) == pytest.approx(float(alphas[0]), abs=1e-6)


def test_vocabulary_of_its_own_must_be_there(copied):
    shutil.rmtree(copied.with_suffix(".tokenizer"))
    error = _refused(copied)
    assert (error.code, error.where) == ("host.tokenizer_own", copied.name)


def test_vocabulary_larger_than_the_text_encoder(folder):
    path = folder / "tokenizer" / "vocab.json"
    vocabulary = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(vocabulary | {"more": len(vocabulary)}), encoding="utf-8")
    assert _refused(folder).code == "host.tokenizer_size"


def test_made_up_vocabulary_has_clips_size(tmp_path):
    write_made_up_vocabulary(tmp_path)
    tokenizer = tokens.load_tokenizer([tmp_path], tokens.CLIP_VOCABULARY, "x")
    assert len(tokenizer) == tokens.CLIP_VOCABULARY
    ids = tokenizer("red hair, 1girl").input_ids
    assert (ids[0], ids[-1]) == (49406, 49407)
    assert tokenizer.unk_token_id not in ids[1:-1]


def test_vocabulary_of_another_checkpoint_is_not_taken_for_clips(tiny_checkpoint):
    with pytest.raises(UserError) as caught:
        tokens.load_tokenizer([tiny_checkpoint / "tokenizer"], tokens.CLIP_VOCABULARY, "x")
    assert caught.value.code == "host.tokenizer_size"


def test_no_path_of_the_machine_in_a_refusal(folder):
    (folder / "unet" / "config.json").unlink()
    error = _refused(folder)
    assert error.code == "host.config"
    assert str(folder.parent) not in error.text() + error.text("zh-CN")


def test_vocabulary_from_open_clip(tmp_path, monkeypatch, no_network):
    """The package's file in its own form: a first line, then merges; here with made-up ones up to CLIP's number."""
    first = ["c a", "ca t</w>"]
    symbols = byte_symbols()
    more = [f"{a} {b}" for a in symbols for b in symbols if (a, b) != ("c", "a")]
    package = tmp_path / "open_clip"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')", encoding="utf-8")
    text = "\n".join(["#version", *first, *more, ""])
    (package / "bpe_simple_vocab_16e6.txt.gz").write_bytes(gzip.compress(text.encode("utf-8")))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "open_clip", raising=False)
    tokenizer = tokens.load_tokenizer([], tokens.CLIP_VOCABULARY, "x")
    assert len(tokenizer) == 49408
    assert tokenizer("cat").input_ids == [49406, 513, 49407]  # the second merge follows 512 byte symbols


def test_offline_without_vocabulary(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(tokens, "_open_clip_file", lambda: None)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as caught:
        tokens.load_tokenizer([], tokens.CLIP_VOCABULARY, "x.safetensors")
    assert caught.value.code == "host.tokenizer_missing"
