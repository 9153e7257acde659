"""LoRA files from LoRA files: ranks by decomposition, sums, precisions, metadata without what tells of pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.cli import main
from lib_lora_train.errors import UserError
from lib_lora_train.lora_commands import file_and_weight
from lib_lora_train.network.files import describe_lora, load_lora, save_lora
from lib_lora_train.network.reshape import Factors, merge, needed_metadata, open_factors, resize, write_factors

LINEAR, CONV = "lora_unet_mid_block_attentions_0_proj_in", "lora_unet_mid_block_resnets_0_conv1"
METADATA = {
    "ss_base_model_version": "sd_v1",
    "ss_network_dim": "8",
    "ss_network_alpha": "4.0",
    "ss_tag_frequency": '{"10_me": {"beach": 3}}',
    "ss_dataset_dirs": '{"10_me": {}}',
    "ss_training_started_at": "1",
    "modelspec.title": "old",
    "modelspec.trigger_phrase": "quillon",
}


def random_tensors(seed: int, rank: int = 8, alpha: float = 4.0, size: int = 24) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw) * 0.1

    return {
        f"{LINEAR}.lora_down.weight": normal(rank, size),
        f"{LINEAR}.lora_up.weight": normal(size + 6, rank),
        f"{LINEAR}.alpha": torch.tensor(alpha),
        f"{CONV}.lora_down.weight": normal(rank, size, 3, 3),
        f"{CONV}.lora_up.weight": normal(size, rank, 1, 1),
        f"{CONV}.alpha": torch.tensor(alpha),
    }


def lora(path: Path, seed: int = 1, metadata: dict[str, str] | None = None, **sizes: float) -> Path:
    save_lora(path, random_tensors(seed, **sizes), METADATA if metadata is None else metadata, torch.float32)
    return path


def changes(path: Path) -> dict[str, torch.Tensor]:
    return {key: factors.change() for key, factors in open_factors(path).factors.items()}


def test_the_change_is_the_weights_product():
    """Pinned against torch's own convolution and matrix product, so that `change` cannot be wrong alike twice."""
    tensors = random_tensors(1)
    down, up = tensors[f"{CONV}.lora_down.weight"], tensors[f"{CONV}.lora_up.weight"]
    pixels = torch.randn(1, 24, 7, 7)
    by_layers = torch.conv2d(torch.conv2d(pixels, down), up) * 0.5
    kernel = Factors(down, up, 4.0).change().reshape(24, 24, 3, 3)
    assert torch.allclose(torch.conv2d(pixels, kernel), by_layers, atol=1e-5)


def test_to_its_own_rank_is_the_identity(tmp_path):
    source = lora(tmp_path / "a.safetensors")
    opened = open_factors(source)
    write_factors(tmp_path / "b.safetensors", resize(opened, 8), opened.metadata, torch.float32)
    before, after = changes(source), changes(tmp_path / "b.safetensors")
    assert before.keys() == after.keys()
    for key in before:
        assert (before[key] - after[key]).abs().max() < 1e-4 * before[key].abs().max()
        assert open_factors(tmp_path / "b.safetensors").factors[key].scale == 0.5


@settings(deadline=None, max_examples=20)
@given(rank=st.integers(1, 8), seed=st.integers(0, 99))
def test_a_lower_rank_is_the_nearest_matrix(rank, seed):
    """The distance is what Eckart and Young say: the singular values that were left out."""
    factors = Factors(*(random_tensors(seed)[f"{LINEAR}.{part}"] for part in ("lora_down.weight", "lora_up.weight")), 4)
    opened = open_factors_of({LINEAR: factors})
    smaller = resize(opened, rank)[LINEAR]
    assert smaller.rank == rank
    values = torch.linalg.svdvals(factors.change().double())
    distance = torch.linalg.norm((factors.change() - smaller.change()).double())
    assert float(distance) == pytest.approx(float(values[rank:].square().sum().sqrt()), abs=1e-5)


def open_factors_of(factors: dict[str, Factors]):
    from lib_lora_train.network.reshape import Opened

    return Opened(Path("a.safetensors"), factors, {}, torch.float32)


def test_ranks_follow_the_share_that_is_kept():
    down = torch.eye(4, 16)
    up = torch.diag(torch.tensor([10.0, 1.0, 0.1, 0.01])).T
    kept = resize(open_factors_of({LINEAR: Factors(down, up, 4.0)}), 4, energy=0.995)[LINEAR]
    assert kept.rank == 2  # 100 of 101.01 are 99.0 %, 101 of it 99.99 %
    assert resize(open_factors_of({LINEAR: Factors(down, up, 4.0)}), 4, energy=0.98)[LINEAR].rank == 1
    nothing = Factors(down, torch.zeros(4, 4), 4.0)
    assert torch.equal(resize(open_factors_of({LINEAR: nothing}), 2, 0.9)[LINEAR].change(), torch.zeros(4, 16))


def test_a_merge_is_the_sum(tmp_path):
    first = lora(tmp_path / "a.safetensors", 1)
    second = lora(tmp_path / "b.safetensors", 2, rank=5, alpha=10.0)
    third = tmp_path / "c.safetensors"
    only = {name: tensor for name, tensor in random_tensors(3).items() if name.startswith(LINEAR)}
    save_lora(third, only, METADATA, torch.float32)
    out = tmp_path / "sum.safetensors"
    assert main(["merge", f"{first}:0.7", f"{second}:-0.25", str(third), "--out", str(out)]) == 0
    one, two, three, total = changes(first), changes(second), changes(third), changes(out)
    for key, expected in ((LINEAR, 0.7 * one[LINEAR] - 0.25 * two[LINEAR] + three[LINEAR]), (CONV, 0.7 * one[CONV] - 0.25 * two[CONV])):  # fmt: skip
        assert torch.allclose(total[key], expected, atol=1e-6)
    described = describe_lora(out)
    assert described.ranks == {13: 1, 21: 1}
    assert described.metadata["ss_network_dim"] == "Dynamic"
    assert json.loads(described.metadata["ss_merged_from"]) == {"a": 0.7, "b": -0.25, "c": 1.0}
    assert described.metadata["modelspec.trigger_phrase"] == "quillon"
    assert described.hash_matches
    assert "ss_tag_frequency" not in described.metadata


def test_a_merge_brought_down_to_a_rank(tmp_path):
    first, out = lora(tmp_path / "a.safetensors", 1), tmp_path / "sum.safetensors"
    assert main(["merge", f"{first}:0.5", f"{first}:0.5", "--rank", "8", "--out", str(out)]) == 0
    before, after = changes(first), changes(out)
    assert describe_lora(out).ranks == {8: 2}  # the sum of a file's halves is the file again
    assert all((before[key] - after[key]).abs().max() < 1e-5 for key in before)


def test_resize_convert_scrub_on_the_command_line(tmp_path, capsys):
    source, small, half, bare = (
        lora(tmp_path / "a.safetensors"), tmp_path / "s.safetensors", tmp_path / "h.safetensors", tmp_path / "n.safetensors"
    )  # fmt: skip
    assert main(["resize", str(source), "--rank", "3", "--out", str(small)]) == 0
    assert "rank 3, fp32" in capsys.readouterr().out
    assert describe_lora(small).metadata["ss_network_dim"] == "3"
    assert describe_lora(small).metadata["ss_network_alpha"] == "1.5"
    assert describe_lora(small).metadata["modelspec.title"] == "s"
    assert main(["convert", str(source), "--precision", "fp16", "--out", str(half)]) == 0
    assert set(describe_lora(half).dtypes) == {"fp16"}
    assert describe_lora(half).metadata["ss_tag_frequency"] == METADATA["ss_tag_frequency"]
    assert main(["scrub", str(half), "--out", str(bare)]) == 0
    told = describe_lora(bare).metadata
    assert "beach" not in json.dumps(told) and "10_me" not in json.dumps(told)
    assert told["ss_base_model_version"] == "sd_v1"
    assert set(describe_lora(bare).dtypes) == {"fp16"}
    before = source.read_bytes()
    assert main(["convert", str(half), "--precision", "fp32", "--out", str(source)]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert source.read_bytes() == before


def test_ours_is_read_again_to_continue_from(tmp_path):
    tensors = {name: tensor for name, tensor in random_tensors(1).items() if name.startswith(LINEAR)}
    save_lora(tmp_path / "a.safetensors", tensors, METADATA, torch.float32)
    opened = open_factors(tmp_path / "a.safetensors")
    write_factors(tmp_path / "b.safetensors", resize(opened, 2), opened.metadata, torch.float32)
    assert load_lora(tmp_path / "b.safetensors").sizes == {LINEAR: (2, 1.0)}


def test_what_is_kept_of_the_metadata():
    assert needed_metadata(METADATA).keys() == {
        "ss_base_model_version", "ss_network_dim", "ss_network_alpha", "modelspec.title", "modelspec.trigger_phrase",
    }  # fmt: skip


def refused(call, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    return caught.value.code


def test_refusals(tmp_path):
    first, second = open_factors(lora(tmp_path / "a.safetensors")), open_factors(lora(tmp_path / "b.safetensors", 2))
    assert refused(resize, first, 0) == "reshape.rank"
    assert refused(resize, first, 4, 0.0) == "reshape.energy"
    assert refused(merge, [first], [1.0]) == "reshape.few"
    assert refused(merge, [first, second], [1.0, float("nan")]) == "reshape.weight"
    xl = open_factors(lora(tmp_path / "x.safetensors", 3, {"ss_base_model_version": "sdxl_base_v1-0"}))
    assert refused(merge, [first, xl], [1.0, 1.0]) == "reshape.families"
    other = open_factors(lora(tmp_path / "o.safetensors", 3, size=16))
    assert refused(merge, [first, other], [1.0, 1.0]) == "reshape.shapes"
    odd = {**random_tensors(1), f"{LINEAR}.dora_scale": torch.ones(1)}
    save_lora(tmp_path / "d.safetensors", odd, {}, torch.float32)
    assert refused(open_factors, tmp_path / "d.safetensors") == "reshape.kind"
    cut = {name: tensor for name, tensor in random_tensors(1).items() if not name.endswith(f"{CONV}.lora_up.weight")}
    save_lora(tmp_path / "e.safetensors", cut, {}, torch.float32)
    assert refused(open_factors, tmp_path / "e.safetensors") == "network.file_inconsistent"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.safetensors", ("a.safetensors", 1.0)),
        ("a.safetensors:0.7", ("a.safetensors", 0.7)),
        ("a:b.safetensors:1", ("a:b.safetensors", 1.0)),
        ("C:/x/a.safetensors", ("C:/x/a.safetensors", 1.0)),
        (r"C:\x\a.safetensors:0.5", (r"C:\x\a.safetensors", 0.5)),
        ("./v1.5:-1", ("./v1.5", -1.0)),
    ],
)
def test_file_and_weight(text, expected):
    path, weight = file_and_weight(text)
    assert (path, weight) == (Path(expected[0]), expected[1])


def test_a_weight_that_is_none():
    assert refused(file_and_weight, "a.safetensors:much") == "reshape.weight"
