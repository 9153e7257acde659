"""Masks: where they are found, how they follow their picture, and what is wrong with some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib_lora_train.dataset.buckets import CropPlan, plan_crop
from lib_lora_train.dataset.folders import scan
from lib_lora_train.dataset.latents import cache_latents
from lib_lora_train.dataset.masks import MaskFile, load_mask
from lib_lora_train.errors import UserError
from lib_lora_train.settings.tables import DatasetSettings
from tests.helpers.pictures import encode_stub, write_picture


def chosen(root: Path, **values: object) -> DatasetSettings:
    return DatasetSettings(train_data_dir=str(root), resolution="64", min_bucket_reso=64, masked_loss=True, **values)


def save_mask(path: Path, size: tuple[int, int] = (96, 64), white: tuple[int, int, int, int] = (0, 0, 48, 64)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.new("L", size, 0)
    mask.paste(255, white)
    mask.save(path)
    return path


@pytest.mark.parametrize("place", ["named", "inside", "beside"])
@pytest.mark.parametrize("plain", [True, False])
def test_where_masks_are_found(tmp_path, place, plain):
    train = tmp_path / "train"
    write_picture((train if plain else train / "2_x") / "a.png", "x", shift=1)
    write_picture((train if plain else train / "2_x") / "b.png", "x", shift=2)
    masks = {"named": tmp_path / "m", "inside": train / "masks", "beside": tmp_path / "masks"}[place]
    mask = save_mask((masks if plain else masks / "2_x") / "a.png")
    found = scan(chosen(train, conditioning_data_dir=str(masks) if place == "named" else ""))
    assert [picture.mask_path for picture in found.pictures] == [mask, None]
    assert [note.values for note in found.notes if note.code == "mask.missing"] == [{"count": 1, "total": 2}]
    assert not [note for note in found.notes if note.code == "dataset.folder_ignored"]


def test_masks_of_a_numbered_folder_picked_itself(tmp_path):
    write_picture(tmp_path / "2_x" / "a.png", "x")
    mask = save_mask(tmp_path / "masks" / "2_x" / "a.png")
    assert scan(chosen(tmp_path / "2_x")).pictures[0].mask_path == mask


def test_masks_are_not_looked_at_without_masked_loss(tmp_path):
    write_picture(tmp_path / "a.png", "x")
    save_mask(tmp_path / "masks" / "a.png")
    found = scan(DatasetSettings(train_data_dir=str(tmp_path), conditioning_data_dir=str(tmp_path / "masks")))
    assert found.pictures[0].mask is None


def test_masked_loss_without_masks_is_refused(tmp_path):
    write_picture(tmp_path / "data" / "a.png", "x")
    with pytest.raises(UserError) as caught:
        scan(chosen(tmp_path / "data"))
    assert (caught.value.code, caught.value.where) == ("mask.none", "conditioning_data_dir")


def test_a_mask_of_another_shape_leaves_its_picture_out(tmp_path):
    write_picture(tmp_path / "a.png", "x", shift=1)
    write_picture(tmp_path / "b.png", "x", shift=2)
    save_mask(tmp_path / "masks" / "a.png", (64, 64))
    save_mask(tmp_path / "masks" / "b.png", (48, 32), (0, 0, 24, 32))
    found = scan(chosen(tmp_path))
    assert [picture.where for picture in found.pictures] == ["b.png"]
    assert [(problem.code, problem.where) for problem in found.problems] == [("mask.size", "masks/a.png")]


def test_a_mask_that_leads_outside_is_refused(tmp_path):
    write_picture(tmp_path / "data" / "a.png", "x", shift=1)
    write_picture(tmp_path / "data" / "b.png", "x", shift=2)
    (tmp_path / "data" / "masks").mkdir()
    (tmp_path / "data" / "masks" / "a.png").symlink_to(save_mask(tmp_path / "elsewhere.png"))
    found = scan(chosen(tmp_path / "data"))
    assert [(problem.code, problem.where) for problem in found.problems] == [("dataset.link", "masks/a.png")]


def test_black_and_broken_masks_leave_their_pictures_out(tmp_path):
    for index, name in enumerate("abc"):
        write_picture(tmp_path / f"{name}.png", "x", shift=index)
    save_mask(tmp_path / "masks" / "a.png", white=(0, 0, 0, 0))
    data = save_mask(tmp_path / "masks" / "b.png").read_bytes()
    (tmp_path / "masks" / "b.png").write_bytes(data[:-20])
    settings = chosen(tmp_path)
    cache = cache_latents(scan(settings), settings, encode_stub, 1.0, 1, "vae")
    assert [entry.picture.where for entry in cache.entries] == ["c.png"]
    assert {problem.where: problem.code for problem in cache.problems} == {
        "masks/a.png": "mask.black",
        "masks/b.png": "image.truncated",
    }


def test_area_resize_to_the_latents(tmp_path):
    values = np.zeros((64, 64), dtype=np.uint8)
    values[:, :12] = 255  # one and a half latents wide
    values[0:4, 32:40] = 255
    path = tmp_path / "m.png"
    Image.fromarray(values).save(path)
    mask = load_mask(MaskFile(path, "m.png", ""), CropPlan((64, 64), (64, 64), (0, 0, 64, 64)))
    assert mask.shape == (1, 8, 8)
    assert mask.dtype == torch.float32
    assert mask[0, 3].tolist() == [1.0, 0.5, 0, 0, 0, 0, 0, 0]
    assert mask[0, 0].tolist() == [1.0, 0.5, 0, 0, 0.5, 0, 0, 0]


def test_a_mask_is_cropped_as_its_picture(tmp_path):
    path = save_mask(tmp_path / "m.png", (192, 128), (32, 0, 64, 128))  # twice the size; x 16..32 of 96 wide
    settings = chosen(tmp_path)
    mask = load_mask(MaskFile(path, "m.png", ""), plan_crop((96, 64), settings))  # crop takes x 16..80
    assert mask[0, 0].tolist() == [1.0, 1.0, 0, 0, 0, 0, 0, 0]
