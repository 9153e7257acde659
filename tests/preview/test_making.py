"""Grids drawn by the embedded host: what is there is kept, and going on gives the very same pixels."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import BorrowRequest, HostPaths
from lib_lora_train.host.embedded import EmbeddedHost
from lib_lora_train.network.files import save_lora
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.preview import making
from lib_lora_train.preview.cells import CellStore
from lib_lora_train.preview.grids import Base, Column, Drawing, Grid, GridPrompt, batches, file_identity
from lib_lora_train.preview.making import Made, make_grid
from lib_lora_train.preview.tables import seeds_of, weights_of
from lib_lora_train.settings.tables import NetworkSettings
from lib_lora_train.signals import Commands, Stopped, ignore_events

WEIGHTS = (0.0, 0.5, 1.0)


def embedded(folder: Path) -> EmbeddedHost:
    return EmbeddedHost(HostPaths(folder, folder, folder), device="cpu")


@pytest.fixture(scope="module")
def loras(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("loras")
    host, paths = embedded(folder), []
    with host.session() as session, session.borrow(BorrowRequest(str(tiny_checkpoint))) as model:
        for seed in (1, 2):
            network = AdapterNetwork(model.sites(), NetworkSettings(network_dim=2, network_alpha=2.0), seed)
            draw = torch.Generator().manual_seed(seed)
            for parameter in network.parameters():
                parameter.data.normal_(0, 0.3, generator=draw)
            paths.append(folder / f"zuna-{seed:06d}.safetensors")
            save_lora(paths[-1], network.state_dict(), {}, torch.float32)
    return paths


@pytest.fixture
def grid(tiny_checkpoint: Path, loras: list[Path]) -> Grid:
    return Grid(
        bases=(Base(str(tiny_checkpoint), "tiny"),),
        columns=tuple(Column(path, path.stem, file_identity(path)) for path in loras),
        weights=WEIGHTS,
        prompts=(GridPrompt("zuna, girl"), GridPrompt("a red hat")),
        seeds=(1, 2, 3),
        drawing=Drawing("", "DDIM", 2, 3.0, 64, 64, 1),
        host="embedded",
    )


def make(grid: Grid, folder: Path, commands: Commands | None = None, finished=lambda cell: None, again=()) -> Made:
    with embedded(folder).session() as session:
        return make_grid(session, grid, CellStore(folder), ignore_events, commands or Commands(), 4, finished, again)


def pixels(folder: Path) -> dict[str, bytes]:
    store = CellStore(folder)
    return {key: store.read(key).tobytes() for key in store.present()}


@pytest.fixture
def whole(grid: Grid, tmp_path: Path) -> dict[str, bytes]:
    """A grid made in one go."""
    made = make(grid, tmp_path / "whole")
    assert (made.drawn, made.kept, made.cancelled, made.switches) == (grid.size, 0, 0, 4)
    found = pixels(tmp_path / "whole")
    assert found.keys() == {cell.key for cell in grid.cells()}
    return found


def test_every_cell_is_drawn_once_and_shows_what_it_says(grid, whole, tmp_path):
    assert grid.size == len(whole) == (1 + 2 * 2) * 2 * 3
    assert len(set(whole.values())) == len(whole)
    assert grid.cell(0, 0, 0.0, 1, 2) == grid.cell(0, 1, 0.0, 1, 2)  # without a LoRA all files show the same
    cell = grid.cell(0, 1, 0.5, 0, 2)
    with embedded(tmp_path).session() as session:
        alone = session.generate([grid.request(cell)])[0]
    assert CellStore(tmp_path / "whole").infotext(cell.key) == alone.infotext
    assert "<lora:zuna-000002:0.5>" in alone.infotext and "Seed: 2" in alone.infotext
    difference = torch.tensor(list(alone.image.tobytes())).int() - torch.tensor(list(whole[cell.key])).int()
    assert difference.abs().max() <= 1


def test_made_again_nothing_is_drawn(grid, whole, tmp_path):
    assert make(grid, tmp_path / "whole").drawn == 0


@pytest.mark.parametrize("stop_after", [1, 5, 17])
def test_stopped_and_gone_on_with(grid, whole, tmp_path, stop_after):
    commands, seen = Commands(), []

    def finished(cell):
        seen.append(cell)
        if len(seen) == stop_after:
            commands.stop()

    with pytest.raises(Stopped):
        make(grid, tmp_path / "part", commands, finished)
    assert 0 < len(pixels(tmp_path / "part")) < grid.size
    make(grid, tmp_path / "part")
    assert pixels(tmp_path / "part") == whole


def test_cells_that_were_deleted_or_cut_are_drawn_again(grid, whole, tmp_path):
    store = CellStore(tmp_path / "whole")
    keys = [cell.key for cell in grid.cells()]
    store.drop([keys[3], keys[-1]])
    cut = store.path(keys[8])
    cut.write_bytes(cut.read_bytes()[:-20])
    made = make(grid, tmp_path / "whole")
    assert (made.drawn, made.kept) == (3, grid.size - 3)
    assert pixels(tmp_path / "whole") == whole


def test_cells_that_are_asked_for_again_stay_until_they_are_drawn(grid, whole, tmp_path):
    store, keys = CellStore(tmp_path / "whole"), [cell.key for cell in grid.cells()]
    store.put(keys[3], Image.new("RGB", (64, 64)), "")
    store.put(keys[-1], Image.new("RGB", (64, 64)), "")
    seen = []

    def finished(cell):
        seen.append(cell.key)
        assert store.present() == whole.keys()

    made = make(grid, tmp_path / "whole", finished=finished, again={keys[3], keys[-1]})
    assert (made.drawn, made.kept, set(seen)) == (2, grid.size - 2, {keys[3], keys[-1]})
    assert pixels(tmp_path / "whole") == whole


def test_what_was_written_of_a_batch_stays_when_one_picture_cannot_be(grid, tmp_path, monkeypatch):
    bad = grid.cells()[1].key
    put = CellStore.put

    def failing(self, key, image, infotext):
        if key == bad:
            raise UserError("file.write", key, reason="full")
        time.sleep(0.05)  # the others are still at it, or have not begun
        put(self, key, image, infotext)

    monkeypatch.setattr(making, "_WRITERS", 2)
    monkeypatch.setattr(CellStore, "put", failing)
    told = []
    with pytest.raises(UserError) as caught:
        make(grid, tmp_path / "part", finished=told.append)
    assert caught.value.code == "file.write"
    expected = {cell.key for cell in grid.cells()[:4]} - {bad}
    assert CellStore(tmp_path / "part").present() == {cell.key for cell in told} == expected


def test_changing_an_axis_draws_only_what_is_new(grid, whole, tmp_path, loras):
    folder = tmp_path / "whole"
    assert make(replace(grid, weights=(*WEIGHTS, 0.8)), folder).drawn == 2 * 2 * 3
    assert make(replace(grid, seeds=(3, 1)), folder).drawn == 0
    assert make(replace(grid, prompts=(*grid.prompts, GridPrompt("boy"))), folder).drawn == 5 * 3
    assert make(replace(grid, columns=grid.columns[:1]), folder).drawn == 0
    assert make(replace(grid, drawing=replace(grid.drawing, cfg_scale=4.0)), folder).drawn == grid.size
    changed = Column(loras[0], loras[0].stem, "another content")
    assert make(replace(grid, columns=(changed, grid.columns[1])), folder).drawn == 2 * 2 * 3


CHILD = """
    import sys
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    from lib_lora_train.preview.grids import *
    from tests.preview.test_making import WEIGHTS, make
    checkpoint, folder, *loras = sys.argv[1:]
    grid = Grid(
        bases=(Base(checkpoint, "tiny"),),
        columns=tuple(Column(Path(path), Path(path).stem, file_identity(Path(path))) for path in loras),
        weights=WEIGHTS, prompts=(GridPrompt("zuna, girl"), GridPrompt("a red hat")), seeds=(1, 2, 3),
        drawing=Drawing("", "DDIM", 2, 3.0, 64, 64, 1), host="embedded",
    )
    make(grid, Path(folder), finished=lambda cell: print("drawn", flush=True))
"""


def test_killed_and_gone_on_with(grid, whole, tiny_checkpoint, loras, tmp_path):
    folder = tmp_path / "killed"
    arguments = [str(tiny_checkpoint), str(folder), *map(str, loras)]
    for lines in (2, 9):
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CHILD), *arguments],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            text=True,
        )
        for _ in range(lines):
            assert child.stdout is not None and child.stdout.readline()
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert 0 < len(pixels(folder)) < grid.size
    make(grid, folder)
    assert pixels(folder) == whole


def test_each_file_and_weight_is_put_on_once(grid):
    adapted = [(cell.column, cell.weight) for cell in grid.cells()]
    changes = [after for before, after in zip([None, *adapted], adapted, strict=False) if before != after]
    assert len(changes) == len(set(changes)) == 5
    parts = list(batches(grid.cells(), 4))
    assert [len(part) for part in parts] == [4, 2] * 5


def test_too_much_and_nothing(grid):
    for wrong, code in ((replace(grid, seeds=()), "nothing"), (replace(grid, seeds=tuple(range(9000))), "too_many")):
        with pytest.raises(UserError) as caught:
            wrong.check()
        assert caught.value.code == f"preview.{code}"


@pytest.mark.parametrize("key", ["", "../x", "A" * 32, "0" * 31, "0" * 32 + "/"])
def test_what_is_no_key_leads_nowhere(tmp_path, key):
    with pytest.raises(UserError):
        CellStore(tmp_path).path(key)


def test_axes_as_they_are_written():
    assert weights_of("1, 0.4，0.60, -0.5") == (-0.5, 0.0, 0.4, 0.6, 1.0)
    assert seeds_of(" 7,1 , 7") == (7, 1)
    for text in ("", "much", "nan", "11", "inf", ",".join(map(str, range(40)))):
        with pytest.raises(UserError):
            weights_of(text)
    for text in ("", "-1", "1.5", "4294967296", "x"):
        with pytest.raises(UserError):
            seeds_of(text)
