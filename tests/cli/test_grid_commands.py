"""`grid` and `publish` as they are typed; on the tiny checkpoint."""

from __future__ import annotations

import csv
import json
import shutil
from itertools import count
from pathlib import Path

import pytest
from PIL import Image

from lib_lora_train import grid_commands
from lib_lora_train.cli import main, make_parser
from lib_lora_train.jobs import Registry
from lib_lora_train.network.files import load_lora
from lib_lora_train.network.rewriting import read_metadata, same_tensors
from lib_lora_train.preview.cells import CellStore, png_bytes
from lib_lora_train.preview.table import MARK
from lib_lora_train.runs.launch import start_run
from lib_lora_train.signals import Stopped
from lib_lora_train.terminal import DONE, STOPPED, USER_ERROR
from tests.helpers.studios import filled_project, run_settings, studio_host

SMALL = ("--steps", "2", "--width", "64", "--height", "64", "--seeds", "1,2", "--weights", "0.5,1")


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    """A data folder as `serve` has it, with a run of three files; not to be written into."""
    folder = tmp_path_factory.mktemp("data")
    shutil.copytree(tiny_checkpoint, folder / "checkpoints/tiny")
    host, registry = studio_host(folder, folder / "checkpoints/tiny"), Registry()
    started = start_run(host, registry, filled_project(folder / "projects", title="Zuna"), run_settings())
    assert started.job.wait(120) and registry.close(timeout=60)
    return folder


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text('zuna, red hair\n\n<b>"爱": 🐈, a girl\n', encoding="utf-8")
    return path


def run_of(data: Path) -> str:
    return f"{next((data / 'projects').glob('zuna-*')).name}/r01"


def files_of(data: Path) -> list[Path]:
    return sorted((data / "loras").glob("*/*.safetensors"))


def test_a_run(trained: Path, tmp_path: Path, prompts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "grid"
    words = ["grid", run_of(trained), "--data", str(trained), "--prompts", str(prompts), "--out", str(out), *SMALL]
    words += ["--models", str(tmp_path)]
    assert main(words) == DONE
    said = capsys.readouterr()
    assert "pictures of the grid: 28, new ones: 28" in said.err and "drawn 28, kept 0" in said.out
    assert "no tagger and no embedding model" in said.err
    rows = list(csv.DictReader((out / "scores.csv").read_text(encoding="utf-8").removeprefix(MARK).splitlines()))
    assert len(rows) == 28 and {row["weight"] for row in rows} == {"0", "0.5", "1"}
    assert [row["step"] for row in rows if row["weight"] == "1"][::4] == ["4", "8", "12"]
    assert {row["prompt"] for row in rows} == {"zuna, red hair", '<b>"爱": 🐈, a girl'}
    assert {row["cell"] for row in rows} == {path.stem for path in (out / "cells").iterdir()}
    found = json.loads((out / "recommendation.json").read_text(encoding="utf-8"))
    assert found["recommendation"] is None or found["picture"].startswith("cells/")
    assert str(tmp_path) not in json.dumps(found)
    with Image.open(out / "grid.png") as sheet:
        assert sheet.width > 3 * 2 * 64
    before = {path.name: path.read_bytes() for path in (out / "cells").iterdir()}
    lost = sorted(before)[5]
    (out / "cells" / lost).unlink()
    assert main(words) == DONE
    assert "drawn 1, kept 27" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in (out / "cells").iterdir()} == before


def test_files_folders_and_other_checkpoints(
    trained: Path, tmp_path: Path, prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a project: which checkpoint, the file's metadata says; one more is compared."""
    files = files_of(trained)
    other = tmp_path / "other"
    shutil.copytree(trained / "checkpoints/tiny", other)
    out, data = tmp_path / "grid", ["--data", str(trained), "--models", str(tmp_path)]
    words = ["--prompts", str(prompts), "--out", str(out), *SMALL, *data]
    assert main(["grid", str(files[0]), str(files[0].parent), *words]) == DONE
    assert "drawn 28" in capsys.readouterr().out  # the file that is named twice is one column
    assert main(["grid", str(files[0]), "--base", "tiny", "--base", str(other), *words]) == DONE
    assert "drawn 12, kept 12" in capsys.readouterr().out


def test_scores_and_a_recommendation_where_there_is_a_tagger(trained: Path, tmp_path: Path) -> None:
    tagger = Path(__file__).parents[2] / "demo/tagger"
    out = tmp_path / "grid"
    words = ["grid", run_of(trained), "--data", str(trained), "--out", str(out), *SMALL, "--captions", "1"]
    assert main([*words, "--no-templates", "--tagger", str(tagger), "--models", str(tmp_path)]) == DONE
    found = json.loads((out / "recommendation.json").read_text(encoding="utf-8"))
    chosen = found["recommendation"]
    assert chosen["file"] in [path.name for path in files_of(trained)] and chosen["weight"] in (0.5, 1.0)
    assert chosen["reason"] and (out / found["picture"]).is_file()
    kept = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    assert kept["whole"] and len(kept["training"]) == 5


def test_stopped_and_gone_on_with(
    trained: Path, tmp_path: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def words(out: str) -> list[str]:
        place = ["--data", str(trained), "--models", str(tmp_path), "--prompts", str(prompts)]
        return ["grid", run_of(trained), *place, "--out", str(tmp_path / out), *SMALL]

    assert main(words("whole")) == DONE
    real, numbers = CellStore.put, count(1)

    def put(self: CellStore, key: str, image: Image.Image, infotext: str) -> None:
        if next(numbers) == 10:
            raise Stopped
        real(self, key, image, infotext)

    monkeypatch.setattr(CellStore, "put", put)
    assert main(words("cut")) == STOPPED
    kept = len(list((tmp_path / "cut/cells").glob("*.png")))
    assert 9 <= kept <= 12  # of the third batch of four the others may be there
    monkeypatch.undo()
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert main(words("cut")) == DONE and f"drawn {28 - kept}, kept {kept}" in capsys.readouterr().out
    for path in (tmp_path / "whole/cells").iterdir():
        assert (tmp_path / "cut/cells" / path.name).read_bytes() == path.read_bytes()
    assert (tmp_path / "whole/grid.png").read_bytes() == (tmp_path / "cut/grid.png").read_bytes()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nobody.safetensors"], "nobody.safetensors"),
        (["{empty}"], "holds no LoRA file"),
        (["{file}", "--width", "60"], "--width"),
        (["{file}", "--width", "100"], "multiple of 8"),
        (["{file}", "--steps", "many"], "--steps"),
        (["{file}", "--weights", "heavy"], "weights"),
        (["{file}", "--seeds", "-1"], "seeds"),
        (["{file}", "--prompts", "nowhere.txt"], "nowhere.txt"),
        (["{file}", "--base", "nowhere"], "nowhere"),
        (["{file}", "--sampler", "Magic"], "Magic"),
        (["{file}", "--tagger", "wd-nothing"], "wd-nothing"),
    ],
)
def test_what_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    values = {"empty": tmp_path / "empty", "file": files_of(trained)[0]}
    words = [word.format(**values) for word in words]
    place = ["--data", str(trained), "--models", str(tmp_path), "--out", str(tmp_path / "grid")]
    assert main(["grid", *words, *place]) == USER_ERROR
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "grid/grid.png").exists()


def test_no_checkpoint_is_guessed(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = shutil.copy(files_of(trained)[0], tmp_path / "a.safetensors")
    assert main(["grid", str(file), "--data", str(tmp_path), "--out", str(tmp_path / "grid")]) == USER_ERROR
    assert "Name it with --base" in capsys.readouterr().err


def test_help_names_every_setting() -> None:
    grid = next(action for action in make_parser()._actions if action.choices).choices["grid"]
    text = grid.format_help()
    for item in grid_commands._settings():
        assert f"--{item.name}" in text


# ---------------------------------------------------------------------- publish


def cell_of(folder: Path, text: str) -> Path:
    path = folder / "cell.png"
    path.write_bytes(png_bytes(Image.new("RGB", (64, 64), (9, 90, 200)), text))
    return path


def test_publish(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = files_of(trained)[1]
    text = f"zuna, hat <lora:{source.stem}:0.65>\nNegative prompt: blurry,\nbad\nSteps: 2, Seed: 5"
    loras = tmp_path / "loras"
    words = [
        "publish",
        str(source),
        "--name",
        "爱 Zuna",
        "--lora_dir",
        str(loras),
        "--cell",
        str(cell_of(tmp_path, text)),
    ]
    assert main([*words, "--notes", "mine"]) == DONE
    target = loras / "爱 Zuna.safetensors"
    said = capsys.readouterr().out.splitlines()
    assert Path(said[-1]) == target and not any("parts fit" in line for line in said)  # its checkpoint is not here
    assert same_tensors(target, source) and read_metadata(target)["ss_output_name"] == "爱 Zuna"
    assert sorted(path.name for path in loras.iterdir()) == ["爱 Zuna.json", "爱 Zuna.png", "爱 Zuna.safetensors"]
    card = json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["preferred weight"] == 0.65 and card["negative text"] == "blurry,\nbad"
    assert card["activation text"] == "zuna" and card["notes"].startswith("mine\n") and card["sd version"] == "SD1"
    with Image.open(target.with_suffix(".png")) as picture:
        assert picture.info["parameters"] == text.replace(source.stem, "爱 Zuna")
    before = {path.name: path.read_bytes() for path in loras.iterdir()}
    assert main(words) == USER_ERROR
    assert "爱 Zuna 2" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in loras.iterdir()} == before


def test_publish_is_checked_on_a_checkpoint(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = files_of(trained)[0]
    words = ["publish", str(source), "--name", "x", "--lora_dir", str(tmp_path), "--data", str(trained)]
    assert main([*words, "--weight", "0.8", "--trigger", "a, b", "--scrub"]) == DONE
    count = len(load_lora(source).sizes)
    assert f"Loaded again on tiny: {count} of {count} parts fit." in capsys.readouterr().out
    card = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert card["preferred weight"] == 0.8 and card["activation text"] == "a, b" and card["notes"] == ""
    assert "ss_tag_frequency" not in read_metadata(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--name", "a/b"], "a_b"),
        (["--name", "x", "--weight", "99"], "weight"),
        (["--name", "x", "--cell", "{file}"], "cannot be read"),
        (["--name", "x", "--cell", "nowhere.png"], "nowhere.png"),
        (["--name", "x", "--base", "nowhere"], "nowhere"),
    ],
)
def test_publish_refuses(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    file = files_of(trained)[0]
    words = [word.format(file=file) for word in words]
    assert (
        main(["publish", str(file), "--lora_dir", str(tmp_path / "loras"), "--data", str(trained), *words])
        == USER_ERROR
    )
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.glob("loras/*"))


def test_a_table_is_no_formula_for_spreadsheets(trained: Path, tmp_path: Path, prompts: Path) -> None:
    prompts.write_text("=1+2, zuna\n-zuna\n", encoding="utf-8")
    words = ["grid", str(files_of(trained)[0]), "--prompts", str(prompts), "--out", str(tmp_path / "grid"), *SMALL]
    assert main([*words, "--data", str(trained), "--models", str(tmp_path)]) == DONE
    rows = list(csv.DictReader((tmp_path / "grid/scores.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert {row["prompt"] for row in rows} == {"'=1+2, zuna", "'-zuna"}
