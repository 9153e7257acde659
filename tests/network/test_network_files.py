"""LoRA files: the hashes are the peers', what is not finite never gets in or out, hostile files are refused."""

from __future__ import annotations

import errno
import json
import os
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save, save_file

from lib_lora_train.errors import UserError
from lib_lora_train.network import files
from lib_lora_train.network.files import describe_lora, load_lora, save_lora

METADATA = {"ss_output_name": '名前 "x"', "ss_v2": "False", "modelspec.title": "t"}


def tensors(width: int = 8) -> dict[str, torch.Tensor]:
    found = {}
    for number in range(3):
        key = f"lora_unet_down_blocks_{number}_attentions_0_proj_in"
        found[f"{key}.alpha"] = torch.tensor(2.0)
        found[f"{key}.lora_down.weight"] = (torch.arange(4 * width).reshape(4, width) % 251 - 125) / 64
        found[f"{key}.lora_up.weight"] = (torch.arange(16 * 4).reshape(16, 4) - 32) / 128
    return found


def header_of(path: Path) -> dict:
    data = path.read_bytes()
    return json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])


# What sd-scripts' precalculate_safetensors_hashes gives for these tensors and this metadata.
@pytest.mark.parametrize(
    ("width", "dtype", "model_hash", "legacy_hash"),
    [
        (8, torch.float16, "c914055623798a10f213a9904336cc528ab238199df18d66045d52af8a7faa70", "e3b0c442"),
        (8, torch.float32, "4085866ec6a45219964080ce9ea20617eddfc198ce0848d5e11af7bc62c6324c", "e3b0c442"),
        (40000, torch.float32, "1c0f401bc7371a2682c403ceb420d2ddfedca3a89e994b72e8528bded88ebf01", "31508b33"),
    ],
)
def test_hashes_are_those_of_kohyas_tools(tmp_path, width, dtype, model_hash, legacy_hash):
    path = tmp_path / "a.safetensors"
    save_lora(path, tensors(width), METADATA, dtype)
    with safe_open(str(path), "pt") as handle:
        written = handle.metadata()
    assert written == {
        **METADATA,
        "sshs_model_hash": model_hash,
        "sshs_legacy_hash": legacy_hash,
        "modelspec.hash_sha256": f"0x{model_hash}",
    }
    assert describe_lora(path).hash_matches is True


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rank=st.integers(1, 5),
    sides=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.booleans()), min_size=1, max_size=4),
    alpha=st.floats(0.25, 64, width=16),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    metadata=st.dictionaries(st.text(min_size=1, max_size=9), st.text(max_size=30), max_size=4),
    seed=st.integers(0, 99),
)
def test_a_file_gives_back_what_was_saved(tmp_path, rank, sides, alpha, dtype, metadata, seed):
    generator = torch.Generator().manual_seed(seed)
    saved = {}
    for number, (wide, tall, kernel) in enumerate(sides):
        extra = (1, 1) if kernel else ()
        saved[f"lora_te_{number}.alpha"] = torch.tensor(alpha)
        saved[f"lora_te_{number}.lora_down.weight"] = torch.randn(rank, wide, *extra, generator=generator)
        saved[f"lora_te_{number}.lora_up.weight"] = torch.randn(tall, rank, *extra, generator=generator)
    path = tmp_path / "trip.safetensors"
    metadata = {key: text for key, text in metadata.items() if key != "__metadata__"}
    save_lora(path, saved, metadata, dtype)
    read = load_lora(path)
    assert read.tensors.keys() == saved.keys()
    for name, tensor in saved.items():
        assert torch.equal(read.tensors[name], tensor.to(dtype).float())
    expected = torch.tensor(alpha).to(dtype).item()
    assert read.sizes == {f"lora_te_{number}": (rank, expected) for number in range(len(sides))}
    assert {key: read.metadata[key] for key in metadata} == metadata
    assert {entry["dtype"] for name, entry in header_of(path).items() if name != "__metadata__"} == {
        {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}[dtype]
    }


def test_non_contiguous_and_parameter_tensors_are_saved(tmp_path):
    path = tmp_path / "a.safetensors"
    found = tensors()
    name = "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight"
    found[name] = torch.nn.Parameter(torch.arange(64.0).reshape(4, 16)).t()
    save_lora(path, found, {}, torch.float32)
    assert torch.equal(load_lora(path).tensors[name], torch.arange(64.0).reshape(4, 16).t())


@pytest.mark.parametrize(
    ("value", "dtype", "code"),
    [
        (float("nan"), torch.float32, "network.not_finite"),
        (float("-inf"), torch.float16, "network.not_finite"),
        (70000.0, torch.float16, "network.overflow"),
    ],
)
def test_values_that_are_no_numbers_never_reach_a_file(tmp_path, value, dtype, code):
    path = tmp_path / "a.safetensors"
    save_lora(path, tensors(), METADATA, dtype)
    before = path.read_bytes()
    found = tensors()
    name = "lora_unet_down_blocks_2_attentions_0_proj_in.lora_down.weight"
    found[name][1, 2] = value
    with pytest.raises(UserError) as error:
        save_lora(path, found, METADATA, dtype)
    assert (error.value.code, error.value.values["name"]) == (code, name)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_large_value_fits_other_formats(tmp_path):
    found = tensors()
    found["lora_unet_down_blocks_2_attentions_0_proj_in.lora_down.weight"][1, 2] = 70000.0
    for dtype in (torch.float32, torch.bfloat16):
        save_lora(tmp_path / "a.safetensors", found, METADATA, dtype)


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_lora(path, tensors(), METADATA, torch.float16)
    before = path.read_bytes()
    calls = []

    def disk_full(found, name, metadata):
        Path(name).write_bytes(b"half")
        calls.append(name)
        if len(calls) == 2:
            raise files.SafetensorError("No space left on device")
        save_file(found, name, metadata)

    monkeypatch.setattr(files, "save_file", disk_full)
    with pytest.raises(UserError) as error:
        save_lora(path, tensors(9), METADATA, torch.float16)
    assert error.value.code == "file.write"
    assert "No space left" in error.value.text()
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.safetensors"]
    assert all(name.endswith(".tmp") for name in calls)


@pytest.mark.skipif(os.name == "nt", reason="no limit on file sizes there")
def test_a_real_write_error_is_named_in_the_systems_words(tmp_path):
    import resource

    path = tmp_path / "a.safetensors"
    save_lora(path, tensors(), METADATA, torch.float16)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(UserError) as error:
            save_lora(path, tensors(9000), METADATA, torch.float32)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (error.value.code, error.value.values["reason"]) == ("file.write", os.strerror(errno.EFBIG))
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.safetensors"]


# ---------------------------------------------------------------- files of strangers


def with_header(header: dict | bytes, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def changed(**changes: torch.Tensor | None) -> bytes:
    found = tensors()
    for part, tensor in changes.items():
        name = f"lora_unet_down_blocks_1_attentions_0_proj_in.{part.replace('__', '.')}"
        if tensor is None:
            del found[name]
        else:
            found[name] = tensor
    return save(found)


def entry(start: int = 0) -> dict:
    return {"dtype": "F32", "shape": [1], "data_offsets": [start, start + 4]}


GOOD = save(tensors())
TWICE = (
    b'{"lora_te_a.alpha":{"dtype":"F32","shape":[],"data_offsets":[0,4]},'
    b'"lora_te_a.alpha":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}'
)
HOSTILE = {
    "empty": (b"", "file_cut"),
    "short": (b"abc", "file_cut"),
    "header longer than file": (struct.pack("<Q", 1 << 40) + b"{}", "file_cut"),
    "cut body": (GOOD[:-1], "file_broken"),
    "extra body": (GOOD + b"0", "file_broken"),
    "no json": (with_header(b"{]"), "file_broken"),
    "deep json": (with_header(b"[" * 100_000), "file_broken"),
    "pickle": (b"\x80\x02}q\x00X\x04\x00\x00\x00bombq\x01K\x01s.", "file_cut"),
    "html": (b"<!DOCTYPE html><html></html>" * 9, "file_cut"),
    "name twice": (with_header(TWICE, bytes(4)), "file_twice"),
    "overlap": (with_header({"lora_te_a.alpha": entry(), "lora_te_b.alpha": entry()}, bytes(4)), "file_broken"),
    "hole": (with_header({"lora_te_a.alpha": entry(4)}, bytes(8)), "file_broken"),
    "many": (
        with_header(
            {f"lora_te_{n}.alpha": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(10_001)}
        ),
        "file_too_many",
    ),
    "long header": (with_header(b" " * (files.MAX_HEADER_BYTES + 1)), "header_too_large"),
    "path as name": (save({"../../x": torch.zeros(1)}), "file_not_lora"),
    "checkpoint": (save({"model.diffusion_model.out.2.weight": torch.zeros(1)}), "file_not_lora"),
    "whole numbers": (changed(alpha=torch.tensor(2)), "file_not_lora"),
    "locon": (changed(lora_mid__weight=torch.zeros(2, 2)), "file_not_lora"),
    "3x3": (changed(lora_down__weight=torch.zeros(4, 8, 3, 3)), "file_not_lora"),
    "dora": (changed(dora_scale=torch.ones(1)), "file_not_lora"),
    "one matrix": (changed(lora_up__weight=None), "file_inconsistent"),
    "two ranks": (changed(lora_up__weight=torch.zeros(16, 5)), "file_inconsistent"),
    "rank 0": (changed(lora_up__weight=torch.zeros(16, 0), lora_down__weight=torch.zeros(0, 8)), "file_inconsistent"),
    "alpha list": (changed(alpha=torch.ones(3)), "file_inconsistent"),
    "nan": (changed(lora_up__weight=torch.full((16, 4), float("nan"))), "file_not_finite"),
    "infinite alpha": (changed(alpha=torch.tensor(float("inf"))), "file_not_finite"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_with_a_reason(tmp_path, kind):
    data, code = HOSTILE[kind]
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(UserError) as error:
        load_lora(path)
    assert error.value.code == f"network.{code}"
    assert "x.safetensors" in error.value.text()
    assert str(tmp_path) not in error.value.text()
    assert error.value.sentence("zh-CN") != error.value.sentence()


def test_every_cut_is_noticed(tmp_path):
    path = tmp_path / "x.safetensors"
    for length in range(0, len(GOOD), max(1, len(GOOD) // 40)):
        path.write_bytes(GOOD[:length])
        with pytest.raises(UserError) as error:
            load_lora(path)
        assert error.value.code in ("network.file_cut", "network.file_broken")


@pytest.mark.parametrize("name", ["a.pt", "a.ckpt", "a.bin", "a"])
def test_pickles_are_not_even_opened(tmp_path, name):
    with pytest.raises(UserError) as error:
        load_lora(tmp_path / name)
    assert error.value.code == "network.file_suffix"
    assert "merge_lora.py" in error.value.remedy()


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    (tmp_path / "b.safetensors").mkdir()
    for name in ("a.safetensors", "b.safetensors"):
        with pytest.raises(UserError) as error:
            load_lora(tmp_path / name)
        assert (error.value.code, error.value.where) == ("network.file_missing", name)


def test_a_file_may_not_be_larger_than_any_lora(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    path.write_bytes(GOOD)
    monkeypatch.setattr(files, "MAX_FILE_BYTES", len(GOOD) - 1)
    with pytest.raises(UserError) as error:
        load_lora(path)
    assert error.value.code == "network.file_too_large"


# ---------------------------------------------------------------- info


def test_description_counts_parts_ranks_and_formats(tmp_path):
    path = tmp_path / "a.safetensors"
    found = tensors()
    found["lora_te_x.lora_down.weight"] = torch.zeros(2, 8)
    found["lora_te_x.lora_up.weight"] = torch.zeros(8, 2)
    save_lora(path, found, METADATA, torch.bfloat16)
    description = describe_lora(path)
    assert description.kind == "LoRA"
    assert description.modules == {"lora_te": 1, "lora_unet": 3}
    assert description.ranks == {2: 1, 4: 3}
    assert description.alphas == {2.0: 3}
    assert description.dtypes == {"bf16": 11}
    assert description.metadata["ss_v2"] == "False"
    assert description.bytes == path.stat().st_size


def test_description_tells_a_changed_body_and_other_kinds(tmp_path):
    path = tmp_path / "a.safetensors"
    save_lora(path, tensors(), METADATA, torch.float16)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert describe_lora(path).hash_matches is False
    path.write_bytes(GOOD)
    assert describe_lora(path).hash_matches is None
    path.write_bytes(changed(hada_w1_a=torch.zeros(2, 2)))
    assert describe_lora(path).kind == "LoHa"
    path.write_bytes(save({"weight": torch.zeros(1)}))
    with pytest.raises(UserError) as error:
        describe_lora(path)
    assert error.value.code == "network.file_not_lora"
