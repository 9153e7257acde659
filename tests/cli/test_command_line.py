"""The commands: what is understood, what is refused, what is printed, and the exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from lib_lora_train import cli
from lib_lora_train.cli import as_lines, main, make_parser, split_lora_tag, train_settings
from lib_lora_train.errors import UserError
from lib_lora_train.settings import TrainSettings, describe
from lib_lora_train.settings.kohya import ALL_BLOCKS
from lib_lora_train.terminal import terminal_language
from tests.helpers.runs import write_pictures

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def settings_of(*words: str) -> TrainSettings:
    return train_settings(make_parser().parse_args(["train", *words]))[0]


# ---------------------------------------------------------------------- train's flags


def test_kohyas_flags() -> None:
    settings = settings_of(
        *[
            "--pretrained_model_name_or_path",
            "base.safetensors",
            "--train_data_dir",
            "data",
            "--output_dir",
            "out",
            "--output_name",
            "alice",
        ],
        *[
            "--resolution",
            "512,768",
            "--train_batch_size",
            "2",
            "--max_train_epochs",
            "10",
            "--max_train_steps",
            "500",
            "--network_dim",
            "32",
        ],
        *[
            "--network_alpha",
            "16",
            "--unet_lr",
            "1e-4",
            "--text_encoder_lr",
            "1e-5",
            "--lr_scheduler",
            "cosine",
            "--optimizer_type",
            "adamw8bit",
        ],
        *[
            "--mixed_precision",
            "no",
            "--seed",
            "7",
            "--save_every_n_epochs",
            "2",
            "--sample_every_n_epochs",
            "1",
            "--sample_prompts",
            "p.txt",
        ],
        *[
            "--resume",
            "state",
            "--network_weights",
            "old.safetensors",
            "--min_snr_gamma",
            "5",
            "--save_precision",
            "float",
        ],
        *[
            "--network_module",
            "networks.lora",
            "--cache_latents",
            "--xformers",
            "--gradient_checkpointing",
            "--v_parameterization",
        ],
        *["--shuffle_caption", "--keep_tokens=1", "--optimizer_args", "weight_decay=0.1", "betas=0.9,0.99"],
        *["--network_args", "rank_dropout=0.1", "--max_data_loader_n_workers", "0", "--caption_extension", ".txt"],
    )
    assert settings.model.checkpoint == "base.safetensors" and settings.model.prediction == "v_prediction"
    assert (settings.dataset.resolution, settings.dataset.shuffle_caption, settings.dataset.keep_tokens) == (
        "512,768",
        True,
        1,
    )
    assert (settings.network.network_dim, settings.network.network_alpha, settings.network.rank_dropout) == (
        32,
        16.0,
        0.1,
    )
    assert settings.optimizer.optimizer_type == "AdamW8bit"
    assert settings.optimizer.optimizer_args == ["weight_decay=0.1", "betas=0.9,0.99"]
    assert (settings.run.mixed_precision, settings.run.save_precision) == ("fp32", "fp32")
    assert (settings.run.max_train_epochs, settings.run.seed, settings.run.checkpointed_blocks) == (10, 7, ALL_BLOCKS)
    assert settings.loss.min_snr_gamma == 5.0


def test_flags_can_be_switched_off() -> None:
    assert settings_of("--no-enable_bucket", "--no-save_state").dataset.enable_bucket is False
    assert settings_of().dataset.enable_bucket is True


def test_nothing_given_is_the_default() -> None:
    assert settings_of() == TrainSettings()


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text('{"version": 1, "network": {"network_dim": 8, "network_alpha": 4}}', encoding="utf-8")
    settings = settings_of("--config_file", str(file), "--network_dim", "64")
    assert (settings.network.network_dim, settings.network.network_alpha) == (64, 4.0)


def test_every_setting_has_its_flag_and_stands_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for item in describe(TrainSettings):
        assert f"--{item.kohya}" in text, item.name
        assert item.label in text, item.name
    assert "(1 to 1024; 16)" in text and "--xformers" in text


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["train", "--network_dimm", "4"], ["--network_dimm", "--network_dim"]),
        (["train", "--network_dim", "4.5"], ["network_dim", "4.5", "whole number"]),
        (["train", "--network_dim", "9999"], ["network_dim", "9999", "1024"]),
        (["train", "--lr_scheduler", "cosin"], ["lr_scheduler", "cosin", "cosine_with_restarts"]),
        (["train", "--network_module", "lycoris.kohya"], ["network_module", "lycoris.kohya", "networks.lora"]),
        (["train", "--config_file", "none.json"], ["none.json"]),
        (["train", "stray"], ["stray"]),
        (["train", "--resolution", "big"], ["resolution", "big"]),
        (["train", "--network_dim"], ["network_dim"]),
        (["trian"], ["trian"]),
        (["info"], ["FILE"]),
        (["info", "none.safetensors"], ["none.safetensors"]),
    ],
)
def test_mistakes_are_one_line_and_code_2(
    words: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and len(shown.err.splitlines()) == 1
    for part in parts:
        assert part in shown.err
    assert "Traceback" not in shown.err


def test_chinese_where_the_terminal_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert terminal_language() == "zh-CN"
    assert main(["train", "--network_dim", "9999"]) == 2
    assert "超出范围" in capsys.readouterr().err
    monkeypatch.setenv("LC_ALL", "")
    monkeypatch.delenv("LC_MESSAGES", raising=False)
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    assert terminal_language() == "en"


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("demo", "train", "generate", "info"))


# ---------------------------------------------------------------------- errors that are ours to mend


def test_an_error_of_the_program_is_one_line_and_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(words: list[str]) -> int:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(cli, "run", broken)
    monkeypatch.setattr(cli.tempfile, "gettempdir", lambda: str(tmp_path))
    assert main([]) == 1
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1 and "ZeroDivisionError: two" in shown
    (file,) = tmp_path.iterdir()
    assert str(file) in shown and "Traceback" in file.read_text(encoding="utf-8")


def test_the_trace_is_shown_when_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--network_dim", "x", "--traceback"]) == 2
    assert "Traceback" in capsys.readouterr().err


# ---------------------------------------------------------------------- generate, info


def test_the_lora_in_the_prompt(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "alice v2.safetensors"
    file.touch()
    assert split_lora_tag("1girl, smile", tmp_path) == ("1girl, smile", None, 1.0)
    assert split_lora_tag("1girl, <lora:alice v2:0.75>", tmp_path) == ("1girl", file, 0.75)
    assert split_lora_tag("<lora:alice v2> 1girl", tmp_path) == ("1girl", file, 1.0)
    for prompt, code in (
        ("<lora:none:1>", "cli.no_lora"),
        ("<lora:alice v2:1> <lora:b:1>", "cli.two_loras"),
        ("<lora:alice v2:1e>", "cli.lora_weight"),
    ):
        with pytest.raises(UserError) as caught:
            split_lora_tag(prompt, tmp_path)
        assert caught.value.code == code


def test_facts_as_lines() -> None:
    assert as_lines({"a": 1, "b": {"c": [2], "d": {}}}) == "a: 1\nb:\n  c: [2]\n  d:"


# ---------------------------------------------------------------------- the real thing, small


def flags(checkpoint: Path, tmp_path: Path, *more: str) -> list[str]:
    pictures = tmp_path / "pictures"
    if not pictures.exists():
        write_pictures(pictures)
    return [
        *("--pretrained_model_name_or_path", str(checkpoint), "--train_data_dir", str(pictures)),
        *("--output_dir", str(tmp_path / "out"), "--output_name", "zuna", "--resolution", "128"),
        *("--min_bucket_reso", "64", "--max_bucket_reso", "256", "--mixed_precision", "no", "--network_dim", "4"),
        *more,
    ]


def test_train_info_and_generate(tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The three commands after each other, as a user would."""
    assert main(["train", *flags(tiny_checkpoint, tmp_path, "--max_train_steps", "3", "--cache_latents")]) == 0
    shown = capsys.readouterr()
    lora = tmp_path / "out" / "zuna.safetensors"
    assert lora.is_file() and str(lora) in shown.out
    assert re.search(r"3/3 \[#+\] .*loss \d", shown.err)
    assert "cache_latents" in shown.err and re.search(r"torch \S+ on ", shown.err)

    assert main(["info", str(lora), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["ranks"] and described["metadata"]["ss_network_dim"] == "4" and described["hash_matches"] is True
    assert main(["info", str(lora)]) == 0
    assert "ss_network_dim: 4" in capsys.readouterr().out

    pictures = []
    for prompt in ("zuna, smile", "zuna, smile <lora:zuna:1>"):
        out = tmp_path / "picture.png"
        words = ["--checkpoint", str(tiny_checkpoint), "--out", str(out), "--lora_dir", str(tmp_path / "out")]
        assert main(["generate", prompt, *words, "--resolution", "64", "--steps", "2"]) == 0
        pictures.append(Image.open(out).convert("RGB").tobytes())
        assert len(pictures[-1]) == 64 * 64 * 3
    assert pictures[0] != pictures[1]

    assert main(["train", *flags(tiny_checkpoint, tmp_path, "--max_train_steps", "3")]) == 2  # the name is taken
    assert "zuna" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_ctrl_c_stops_and_saves(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """The step is finished; LoRA and state are there afterwards."""
    words = flags(tiny_checkpoint, tmp_path, "--max_train_steps", "100000")
    command = [sys.executable, "-m", "lib_lora_train", "train", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    metrics = tmp_path / "out" / "zuna-run" / "metrics.jsonl"
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    shown, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors and "Stopping after this step" in errors
    (lora,) = (tmp_path / "out").glob("zuna*.safetensors")
    assert str(lora) in shown and f"saved {lora.name}" in errors
    assert any((tmp_path / "out" / "zuna-run" / "state").iterdir())


def test_ctrl_c_twice_stops_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    reached = []

    def work(words: list[str]) -> int:
        with cli.watched() as (_, commands):
            signal.raise_signal(signal.SIGINT)
            reached.append((commands.stopping, commands.saves_on_stop))
            signal.raise_signal(signal.SIGINT)
            reached.append("never")
        return 0

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(cli, "run", work)
    assert main([]) == 130
    assert reached == [(True, True)]
    assert capsys.readouterr().err.splitlines()[-1] == "Stopped."
    assert signal.getsignal(signal.SIGINT) == before
