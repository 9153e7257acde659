"""The loss on pictures that were held back: by the same noise for all files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import BorrowRequest, HostPaths
from lib_lora_train.host.embedded import EmbeddedHost
from lib_lora_train.network.files import save_lora
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.preview.grids import Base, Column, Drawing, Grid, GridPrompt
from lib_lora_train.preview.scores.validation import ENOUGH, validation_losses
from lib_lora_train.settings.tables import NetworkSettings
from lib_lora_train.signals import Commands, Stopped

STRENGTHS = (0.0, 1.5, 0.0)  # of three files


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedHost:
    folder = tmp_path_factory.mktemp("host")
    return EmbeddedHost(HostPaths(folder, folder, folder), device="cpu")


@pytest.fixture(scope="module")
def grid(host: EmbeddedHost, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Grid:
    folder, columns = tmp_path_factory.mktemp("loras"), []
    with host.session() as session, session.borrow(BorrowRequest(str(tiny_checkpoint))) as model:
        for number, strength in enumerate(STRENGTHS):
            network = AdapterNetwork(model.sites(), NetworkSettings(network_dim=2, network_alpha=2.0), number)
            draw = torch.Generator().manual_seed(number)
            for parameter in network.parameters():
                parameter.data.normal_(0, 1.0, generator=draw).mul_(strength)
            path = folder / f"zuna-{number:06d}.safetensors"
            save_lora(path, network.state_dict(), {}, torch.float32)
            columns.append(Column(path, path.stem, str(number)))
    return Grid(
        (Base(str(tiny_checkpoint), "tiny"),), tuple(columns), (0.0, 1.0), (GridPrompt("zuna"),), (1,),
        Drawing("", "DDIM", 2, 3.0, 68, 64, 1), "embedded",
    )  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("held back")
    for number in range(ENOUGH):
        pixels = np.random.default_rng(number).integers(0, 255, (9, 7, 3), np.uint8)
        Image.fromarray(pixels).resize((90, 70)).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def losses(host, grid, pictures, **others) -> dict[int, float]:
    with host.session() as session:
        return validation_losses(session, grid, pictures, ["zuna, girl"] * len(pictures), **others)


def test_each_file_is_judged_by_the_same_noise(host, grid, pictures):
    found = losses(host, grid, pictures)
    assert set(found) == {0, 1, 2}
    assert found[0] == found[2], "two files that change nothing"
    assert abs(found[1] - found[0]) > 1e-4, "one that changes much"
    assert losses(host, grid, pictures) == found


def test_a_file_is_off_again_afterwards(host, grid, pictures):
    again = Grid(grid.bases, grid.columns[::-1], grid.weights, grid.prompts, grid.seeds, grid.drawing, grid.host)
    assert losses(host, again, pictures)[0] == losses(host, grid, pictures)[2]


def test_too_few_pictures_tell_nothing(host, grid, pictures):
    assert losses(host, grid, pictures[1:]) == {}


def test_a_damaged_picture_is_named_and_a_stop_stops(host, grid, pictures, tmp_path):
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(UserError) as refused:
        losses(host, grid, [*pictures, tmp_path / "x.png"])
    assert (refused.value.code, refused.value.where) == ("scores.no_picture", "x.png")
    commands = Commands()
    commands.stop()
    with pytest.raises(Stopped):
        losses(host, grid, pictures, commands=commands)
