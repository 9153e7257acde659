"""What of a LoRA file fits a checkpoint, and how many pictures are drawn at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import BorrowRequest, LoraCheck
from lib_lora_train.network.files import save_lora
from tests.host.test_embedded import _network, make_host


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory):
    return make_host(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def lora(host, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("loras") / "zuna.safetensors"
    with host.session() as session, session.borrow(BorrowRequest(str(tiny_checkpoint))) as model:
        save_lora(path, _network(model).state_dict(), {}, torch.float16)
    return path


def test_all_of_it_fits_whether_or_not_the_checkpoint_is_loaded(host, lora, tiny_checkpoint, tmp_path):
    total = len({name.partition(".")[0] for name in load_file(lora)})
    expected = LoraCheck(total, total)
    assert host.check_lora(lora) == expected  # by the one that is loaded
    unloaded = make_host(tmp_path)
    assert unloaded.check_lora(lora, str(tiny_checkpoint)) == expected
    assert unloaded.current() is None
    with pytest.raises(UserError) as caught:
        unloaded.check_lora(lora)
    assert caught.value.code == "host.no_checkpoint"


def test_what_has_no_place_or_another_size_is_named(host, lora, tiny_checkpoint, tmp_path):
    tensors = load_file(lora)
    keys = sorted({name.partition(".")[0] for name in tensors})
    for part in ("alpha", "lora_down.weight", "lora_up.weight"):
        tensors[f"lora_unet_nowhere.{part}"] = tensors.pop(f"{keys[0]}.{part}")
    down = tensors[f"{keys[1]}.lora_down.weight"]
    tensors[f"{keys[1]}.lora_down.weight"] = torch.zeros(down.shape[0], down.shape[1] + 1, *down.shape[2:])
    save_file(tensors, tmp_path / "other.safetensors")
    check = host.check_lora(tmp_path / "other.safetensors", str(tiny_checkpoint))
    assert (check.matched, check.total) == (len(keys) - 2, len(keys))
    assert sorted(check.unmatched) == sorted(["lora_unet_nowhere", keys[1]])


def test_of_another_kind_of_model_nothing_fits(host, lora, tmp_path):
    tensors = {f"lora_unet_other_{name}": tensor for name, tensor in load_file(lora).items()}
    save_file(tensors, tmp_path / "other.safetensors")
    check = host.check_lora(tmp_path / "other.safetensors")
    assert check.matched == 0 < check.total == len(check.unmatched)


def test_a_damaged_file_is_an_error(host, lora, tmp_path):
    damaged = tmp_path / "damaged.safetensors"
    tensors = load_file(lora)
    name = next(name for name in tensors if name.endswith("lora_up.weight"))
    save_file({**tensors, name: tensors[name] / 0}, damaged)
    with pytest.raises(UserError) as caught:
        host.check_lora(damaged)
    assert caught.value.code == "network.file_not_finite"


def test_pictures_at_once(host):
    assert [host.pictures_at_once(side, side) for side in (64, 512, 2048)] == [128, 2, 1]
