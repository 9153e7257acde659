"""`check`, `prepare` and `tag` as somebody uses them: what is printed where, in which language, and the exit codes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_lora_train.cli import main
from lib_lora_train.messages import catalogue
from tests.helpers.preparing import DEMO_TAGGER, ROOT, barred, drawings, photo


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "pictures"
    place.mkdir()
    for number, image in enumerate(drawings(2)):
        image.save(place / f"{number}.png")
    barred(photo(1)).save(place / "bars.png")
    (place / "bars.txt").write_text("a thing")
    (place / "bad.png").write_bytes(b"<html>")
    return place


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def run(*words: str) -> int:
    return main([*words, "--models", "models", "--provider", "cpu"])


def test_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(folder.parent.rglob("*"))
    assert run("check", str(folder)) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("Score: ") and lines[0].endswith("of 100 for 4 pictures")
    assert "[error] Unreadable pictures" in lines and "    bad.png" in lines
    assert err.count('"bad.png" is a web page') == 1 and "Traceback" not in err
    assert sorted(folder.parent.rglob("*")) == before  # nothing is left behind


def test_check_as_json_is_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", str(folder), "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["pictures"] == 4 and {"score", "reasons", "findings"} <= set(report)
    assert "bad.png" in {key for finding in report["findings"] for key in finding["keys"]}


def test_in_chinese(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert run("prepare", str(folder), "--out", "out") == 0
    out, err = capsys.readouterr()
    assert "得分：" in out and "[错误]" in out and "正在查看图片" in err
    assert "[error]" not in out and "pictures were" not in out


@pytest.mark.parametrize("crop", ["none", "focal", "aspect", "face", "head", "upper_body", "split", "auto"])
def test_prepare_with_every_crop(folder: Path, capsys: pytest.CaptureFixture[str], crop: str) -> None:
    before = hashes(folder)
    assert run("prepare", str(folder), "--out", "out", "--crop", crop, "--size", "128") == 0
    assert hashes(folder) == before
    made = {path.stem for path in Path("out").glob("*.png")}
    assert {"0", "1", "bars"} <= made and "bad" not in made
    if crop == "focal":
        assert all(Image.open(path).size == (128, 128) for path in Path("out").glob("*.png"))
    assert capsys.readouterr().out.splitlines()[-1].startswith("out: ")


@pytest.mark.parametrize("matte", ["transparent", "white", "grey", "blur", "noise", "#ff0000", "mask"])
def test_prepare_with_every_background(folder: Path, capsys: pytest.CaptureFixture[str], matte: str) -> None:
    assert run("prepare", str(folder), "--out", "out", "--matte", matte, "--matte_model", "grabcut") == 0
    with Image.open("out/bars.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (240, 320, 4 if matte == "transparent" else 3)
    colours = {"white": (255, 255, 255), "#ff0000": (255, 0, 0)}
    if matte in colours:
        assert np.abs(pixels[2, 2].astype(int) - colours[matte]).max() <= 8
    masks = Path("out_masks")
    assert masks.is_dir() == (matte == "mask")
    if matte == "mask":
        assert np.array_equal(pixels, np.asarray(photo(1)))
        assert {path.name for path in masks.iterdir()} == {"0.png", "1.png", "bars.png"}
        assert str(masks.resolve()) in capsys.readouterr().out


def test_prepare_twice(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("prepare", str(folder), "--out", "out", "--tagger", str(DEMO_TAGGER), "--trigger", "hero")
    assert run(*words) == 0
    assert "out: 3 pictures and 3 captions were written; 0 pictures were up to date." in capsys.readouterr().out
    assert Path("out/bars.txt").read_text() == "a thing"  # kept
    assert Path("out/0.txt").read_text().startswith("hero, ")
    assert run(*words) == 0
    assert "out: 0 pictures and 0 captions were written; 3 pictures were up to date." in capsys.readouterr().out


@pytest.mark.parametrize("existing", ["keep", "append", "prepend", "replace"])
def test_tag_and_back(folder: Path, capsys: pytest.CaptureFixture[str], existing: str) -> None:
    before = hashes(folder)
    assert run("tag", str(folder), "--tagger", str(DEMO_TAGGER), "--existing", existing, "--trigger", "hero", "--threshold", "0.02") == 0  # fmt: skip
    out, err = capsys.readouterr()
    assert out.endswith("`tag DIR --undo` takes it back.\n") and err.count("bad.png") == 1
    text = (folder / "bars.txt").read_text()
    assert (text == "a thing") == (existing == "keep") and ("a thing" in text) == (existing != "replace")
    assert run("tag", str(folder), "--undo") == 0
    assert hashes(folder) == before
    assert "captions are as they were before." in capsys.readouterr().out
    assert run("tag", str(folder), "--undo") == 2


def test_a_trigger_word_alone(folder: Path) -> None:
    assert run("tag", str(folder), "--tagger", "none", "--trigger", "hero") == 0
    assert (folder / "0.txt").read_text() == "hero" and not (folder / "bad.txt").exists()


WRONG = [
    (("check", "nowhere"), "dataset.folder_missing"),
    (("prepare", "pictures"), "cli.usage"),
    (("prepare", "pictures", "--out", "pictures/out"), "prepare.out_inside"),
    (("prepare", "pictures", "--out", "."), "prepare.out_inside"),
    (("prepare", "pictures", "--out", "o", "--matte", "pink"), "prepare.background"),
    (("prepare", "pictures", "--out", "o", "--matte", "colour"), "prepare.background"),
    (("prepare", "pictures", "--out", "o", "--matte", "#12"), "prepare.colour"),
    (("prepare", "pictures", "--out", "o", "--crop", "size"), "cli.usage"),
    (("prepare", "pictures", "--out", "o", "--size", "5"), ""),
    (("prepare", "pictures", "--out", "o", "--tagger", "nobody"), "models.no_tagger"),
    (("tag", "pictures", "--tagger", "nobody"), "models.no_tagger"),
    (("tag", "pictures"), "models.missing"),
    (("tag", "pictures", "--tagger", "none"), "prepare.no_words"),
    (("tag", "pictures", "--threshold", "2"), ""),
    (("tag", "pictures", "--undo"), "prepare.no_tags_undo"),
]


@pytest.mark.parametrize("words, code", WRONG, ids=range(len(WRONG)))
def test_wrong_use(folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: str) -> None:
    before = hashes(folder)
    assert exit_code(*words) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.strip().splitlines()) == 1 and "Traceback" not in err
    if code:
        remedy = catalogue("en")[code]["remedy"].split("{")[0]
        assert remedy in err
    else:
        assert words[-2] in err  # the flag by its own name
    assert hashes(folder) == before and not Path("o").exists()


def exit_code(*words: str) -> int:
    try:
        return run(*words)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize("command", ["check", "prepare", "tag"])
def test_nothing_usable(folder: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    more = {"prepare": ("--out", "out"), "tag": ("--tagger", str(DEMO_TAGGER))}.get(command, ("--json",))
    for path in folder.glob("*.png"):
        path.write_bytes(b"junk")
    assert run(command, str(folder), *more) == 1
    out, err = capsys.readouterr()
    assert out == "" and "None of the 4 pictures" in err
    (folder.parent / "empty").mkdir()
    assert run(command, "empty", *more) == 1
    assert "There is no picture in" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")
def test_ctrl_c(folder: Path) -> None:
    for number in range(30):
        photo(number, (2400, 1800)).save(folder / f"large{number}.jpg")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "lib_lora_train", "prepare", str(folder), "--out", "out", "--models", "models"]
    process = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while "pictures [" not in process.stderr.readline():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == ""
    assert "Traceback" not in err and err.rstrip().endswith("Stopped.")
    assert not list(Path("out").glob("*.*g"))


@pytest.mark.parametrize("words", [("check", "--help"), ("check", "pictures", "--offline"), ("tag", "pictures", "--tagger", str(DEMO_TAGGER))])  # fmt: skip
def test_nothing_heavy_is_imported(folder: Path, words: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom lib_lora_train.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print('heavy:', sorted({'torch', 'diffusers', 'transformers', 'gradio', 'fastapi'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--models", "models"], env=environment, capture_output=True, text=True, timeout=120, check=True
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_many_pixels_need_bounded_memory(tmp_path: Path) -> None:
    """Pictures at the limit one after the other, and bombs, which are refused by their headers."""
    pytest.importorskip("resource")
    from tests.helpers.pictures import blank_png

    folder = tmp_path / "large"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(blank_png(8000 - number, 7999))
    for number in range(4):
        (folder / f"bomb{number}.png").write_bytes(blank_png(10_000, 10_000 + number))
    code = (
        "import resource, sys\nfrom lib_lora_train.cli import main\n"
        "code = main(sys.argv[1:])\nprint(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", code, "check", str(folder), "--models", "models"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=True)
    exit_code, megabytes = map(int, done.stdout.splitlines()[-1].split())
    assert (
        exit_code == 0
        and done.stderr.count(" has more than 64 million pixels.") == 4
        and "Traceback" not in done.stderr
    )
    assert megabytes < 2000, megabytes
