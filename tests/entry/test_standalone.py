"""The start on a bare machine. The installation itself is what runs these tests in the first place."""

from __future__ import annotations

import functools
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import standalone

ROOT = Path(__file__).parents[2]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """A project of its own, and the list of the commands that were run on it; all of them succeed."""
    (tmp_path / "constraints").mkdir()
    (tmp_path / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    for name in ("standalone.txt", "a1111.txt"):
        (tmp_path / "constraints" / name).write_text("torch==9.9.9\nstable-diffusion-sdkit==1.2\n", encoding="utf-8")
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess:
        commands.append(command)
        if "venv" in command:
            folder = Path(command[-1])
            (folder / "bin").mkdir(parents=True, exist_ok=True)
            (folder / "bin" / "python").touch()
            (folder / "installing").unlink(missing_ok=True)  # --clear
        return subprocess.CompletedProcess(command, 0, "torch 9.9.9 on CPU\n", "")

    monkeypatch.setattr(standalone, "ROOT", tmp_path)
    monkeypatch.setattr(standalone.subprocess, "run", run)
    monkeypatch.setattr(standalone, "torch_options", lambda version: [])
    yield commands


def install(*extras: str, index: str = "") -> None:
    standalone.install(standalone.usual(), set(extras), index)


def pip_calls(commands: list[list[str]]) -> list[str]:
    return [" ".join(command[command.index("install") + 1 :]) for command in commands if "install" in command]


def test_first_start_installs_torch_first(machine: list[list[str]]) -> None:
    install("standalone")
    calls = pip_calls(machine)
    assert len(calls) == 2
    assert calls[0].endswith("torch==9.9.9")
    assert "constraints/standalone.txt" in calls[1] and calls[1].endswith("[standalone]")


def test_second_start_runs_nothing(machine: list[list[str]]) -> None:
    install("standalone")
    machine.clear()
    install("standalone")
    assert machine == []


def test_tests_add_to_what_is_there_and_nothing_is_taken_away(machine: list[list[str]]) -> None:
    install("standalone")
    machine.clear()
    install("standalone", "dev")
    calls = pip_calls(machine)
    assert calls[1].endswith("[dev,standalone]") and "--no-deps stable-diffusion-sdkit==1.2" in calls[2]
    machine.clear()
    install("standalone")
    assert machine == []


@pytest.mark.parametrize("file", ["pyproject.toml", "constraints/standalone.txt"])
def test_a_change_installs_again(machine: list[list[str]], file: str) -> None:
    install("standalone")
    machine.clear()
    with (standalone.ROOT / file).open("a", encoding="utf-8") as handle:
        handle.write("# changed\n")
    install("standalone")
    assert len(pip_calls(machine)) == 2


def test_another_index_replaces_torch(machine: list[list[str]]) -> None:
    install("standalone")
    machine.clear()
    install("standalone", index="https://example.org/rocm")
    assert "--index-url https://example.org/rocm --force-reinstall torch==9.9.9" in pip_calls(machine)[0]
    machine.clear()
    install("standalone")  # and it is remembered
    assert machine == []


@pytest.mark.parametrize(("step", "words"), [(0, "Installing torch failed"), (1, "Installing the packages failed")])
def test_a_failed_step_is_named_and_the_next_start_goes_on(
    machine: list[list[str]], monkeypatch: pytest.MonkeyPatch, step: int, words: str
) -> None:
    works = standalone.subprocess.run

    def fails(command: list[str], **options: object) -> subprocess.CompletedProcess:
        done = works(command, **options)
        if len(pip_calls(machine)) == step + 1 and "install" in command:
            return subprocess.CompletedProcess(command, 1, "", "")
        return done

    monkeypatch.setattr(standalone.subprocess, "run", fails)
    with pytest.raises(standalone.InstallError, match=words):
        install("standalone")
    assert not standalone.usual().stamp.exists() and not standalone.usual().running.exists()
    monkeypatch.setattr(standalone.subprocess, "run", works)
    machine.clear()
    install("standalone")
    assert len(pip_calls(machine)) == 2 and not any("venv" in command for command in machine)
    assert json.loads(standalone.usual().stamp.read_text(encoding="utf-8"))["extras"] == ["standalone"]


def test_a_killed_installation_is_made_anew(machine: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    works = standalone.subprocess.run

    def dies(command: list[str], **options: object) -> subprocess.CompletedProcess:
        if "install" in command:
            raise KeyboardInterrupt
        return works(command, **options)

    monkeypatch.setattr(standalone.subprocess, "run", dies)
    with pytest.raises(KeyboardInterrupt):
        install("standalone")
    assert standalone.usual().running.exists()
    monkeypatch.setattr(standalone.subprocess, "run", works)
    machine.clear()
    install("standalone")
    assert "--clear" in machine[0] and standalone.usual().stamp.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"fingerprint": "x"}'])
def test_a_damaged_stamp_counts_as_none(machine: list[list[str]], content: str) -> None:
    install("standalone")
    standalone.usual().stamp.write_text(content, encoding="utf-8")
    assert standalone.read_stamp(standalone.usual()) is None


def test_an_environment_without_its_python_is_made_anew(machine: list[list[str]]) -> None:
    install("standalone")
    standalone.usual().python.unlink()
    machine.clear()
    install("standalone")
    assert "--clear" in machine[0]


@pytest.mark.parametrize("version", [(3, 8, 10), (3, 9, 0), (3, 13, 1), (2, 7, 18)])
def test_the_wrong_python_is_told_in_one_sentence(version: tuple[int, int, int]) -> None:
    code = f"import sys, standalone; sys.version_info = {version}; sys.exit(standalone.main(['demo', '--out', 'x']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "3.10, 3.11 or 3.12" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "index", "words"),
    [
        (["demo"], "", ["demo"]),
        (["--torch-index", "U", "demo"], "U", ["demo"]),
        (["--torch-index=U", "train", "--seed", "1"], "U", ["train", "--seed", "1"]),
        (["train", "--torch-index", "U"], "", ["train", "--torch-index", "U"]),
        (["--torch-index"], "", ["--torch-index"]),
        ([], "", []),
    ],
)
def test_torch_index(arguments: list[str], index: str, words: list[str]) -> None:
    assert standalone.take_torch_index(arguments) == (index, words)


def test_help_installs_nothing(machine: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert standalone.main([]) == 0
    assert standalone.main(["--help"]) == 0
    assert machine == []
    assert "serve " in capsys.readouterr().out


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command that this process gave way to."""
    given: list[str] = []
    monkeypatch.setattr(standalone, "hand_over", lambda command: given.extend(command) or 0)
    monkeypatch.setattr(standalone.os, "chdir", lambda folder: None)
    monkeypatch.setattr(standalone.sys, "version_info", (3, 11, 4))
    return given


def test_serve_is_handed_over(machine: list[list[str]], handed: list[str]) -> None:
    assert standalone.main(["serve", "--port", "0"]) == 0
    assert handed[0].endswith(".venv/bin/python")
    assert handed[1:] == ["-m", "lib_lora_train", "serve", "--port", "0"]


def test_the_webuis_gradio_has_an_environment_of_its_own(
    machine: list[list[str]], handed: list[str], tmp_path: Path
) -> None:
    (tmp_path / "tests" / "ui").mkdir(parents=True)
    assert standalone.main(["test", "--gradio", "3", "-x"]) == 0
    calls = pip_calls(machine)
    assert calls[1].endswith("[gradio3]") and "constraints/a1111.txt" in calls[1] and len(calls) == 2
    assert not (tmp_path / ".venv").exists()
    assert handed[0].endswith(".venv-gradio3/bin/python")
    assert handed[1:5] == ["-m", "pytest", "-x", "tests/ui"] and handed[5] == "-n"


def test_named_tests_are_run_alone(machine: list[list[str]], handed: list[str], tmp_path: Path) -> None:
    (tmp_path / "tests" / "ui").mkdir(parents=True)
    (tmp_path / "tests" / "ui" / "test_form.py").touch()
    assert standalone.main(["test", "--gradio=3", "tests/ui/test_form.py::test_labels"]) == 0
    assert handed[3:] == ["tests/ui/test_form.py::test_labels"]


@pytest.mark.parametrize("words", [[], ["--gradio", "4"], ["--gradio=4"]])
def test_the_usual_gradio_is_in_the_usual_environment(
    machine: list[list[str]], handed: list[str], words: list[str]
) -> None:
    assert standalone.main(["test", *words, "-k", "form"]) == 0
    assert handed[0].endswith(".venv/bin/python") and handed[1:5] == ["-m", "pytest", "-k", "form"]


@pytest.mark.parametrize(("cores", "processes"), [(None, "1"), (2, "2"), (64, "4")])
def test_the_whole_suite_takes_the_cores_there_are(
    machine: list[list[str]],
    handed: list[str],
    monkeypatch: pytest.MonkeyPatch,
    cores: int | None,
    processes: str,
) -> None:
    monkeypatch.setattr(standalone.os, "cpu_count", lambda: cores)
    assert standalone.main(["test"]) == 0
    assert handed[1:] == ["-m", "pytest", "-n", processes, "--dist", "loadfile"]


def test_how_many_processes_can_be_said(machine: list[list[str]], handed: list[str]) -> None:
    assert standalone.main(["test", "-n", "0"]) == 0
    assert handed[1:] == ["-m", "pytest", "-n", "0"]


@pytest.mark.parametrize("words", [["--gradio"], ["--gradio", "5"], ["--gradio="]])
def test_another_gradio_is_refused(
    machine: list[list[str]], handed: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert standalone.main(["test", *words]) == 1
    assert machine == [] and handed == []
    assert "3 or 4" in capsys.readouterr().err


def test_the_webuis_versions_need_its_python(
    machine: list[list[str]],
    handed: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(standalone.sys, "version_info", (3, 12, 1))
    assert standalone.main(["test", "--gradio", "3"]) == 1
    assert machine == [] and "3.10 or 3.11" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("platform", "nvidia", "reachable", "expected"),
    [
        ("linux", False, {"cpu"}, "cpu"),
        ("linux", False, set(), ""),
        ("linux", True, {"cpu"}, ""),
        ("win32", True, {"cu130", "cu126", "cpu"}, "cu130"),
        ("win32", True, {"cu126"}, "cu126"),
        ("win32", True, set(), ""),
        ("win32", False, {"cpu", "cu130"}, ""),
        ("darwin", False, {"cpu"}, ""),
    ],
)
def test_which_index_torch_comes_from(
    monkeypatch: pytest.MonkeyPatch, platform: str, nvidia: bool, reachable: set[str], expected: str
) -> None:
    monkeypatch.setattr(standalone.sys, "platform", platform)
    monkeypatch.setattr(standalone, "nvidia", lambda: nvidia)
    monkeypatch.setattr(standalone, "cuda_indexes", lambda: ["cu130", "cu128", "cu126"])
    monkeypatch.setattr(standalone, "index_has", lambda index, version: index.rsplit("/", 1)[-1] in reachable)
    wanted = ["--extra-index-url", f"https://download.pytorch.org/whl/{expected}"] if expected else []
    assert standalone.torch_options("9.9.9") == wanted


@pytest.mark.parametrize(
    ("answer", "best"),
    [
        ("581.29, 8.9", "cu130"),
        ("581.29, 6.1", "cu126"),
        ("551.61, 8.9", "cu126"),
        ("", "cu126"),
        ("[N/A], [N/A]", "cu126"),
    ],
)
def test_which_cuda_fits_the_card(monkeypatch: pytest.MonkeyPatch, answer: str, best: str) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess:
        return subprocess.CompletedProcess(command, 0, answer, "")

    monkeypatch.setattr(standalone.subprocess, "run", run)
    assert standalone.cuda_indexes()[0] == best


def test_an_index_is_used_only_when_it_lists_the_version(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "index.html").write_text('<a href="torch-9.9.9%2Bcpu-cp311.whl">', encoding="utf-8")
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        assert standalone.index_has(address, "9.9.9")
        assert not standalone.index_has(address, "9.9.8")
        assert not standalone.index_has(address + "/nothing", "9.9.9")
    finally:
        server.shutdown()
        server.server_close()
    assert not standalone.index_has(address, "9.9.9")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


def test_torch_and_device_are_said() -> None:
    import torch

    environment = standalone.usual()
    environment.python = Path(sys.executable)
    assert standalone.torch_and_device(environment).startswith(f"torch {torch.__version__} on ")


def test_versions_are_pinned() -> None:
    assert standalone.pinned(standalone.usual(), "torch")[0].isdigit()
    assert standalone.pinned(standalone.usual(), "stable-diffusion-sdkit") == "2.1.5"
    assert standalone.pinned(standalone.like_the_webui(), "gradio") == "3.41.2"
    with pytest.raises(standalone.InstallError):
        standalone.pinned(standalone.usual(), "no-such-package")
