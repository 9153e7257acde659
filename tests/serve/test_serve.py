"""`serve`: what it refuses before it starts, and the started one as a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_lora_train.access import Exposure
from lib_lora_train.cli import DONE, USER_ERROR, main, make_parser
from lib_lora_train.errors import UserError
from lib_lora_train.job_files import read_job
from lib_lora_train.serve import (
    FOLDERS,
    add_options,
    ended_by_signal,
    exposure_of,
    free_port,
    is_loopback,
    make_folders,
    parse_logins,
    serve,
)
from tests.helpers.serving import ROOT, Server, short_settings

# ---------------------------------------------------------------------- before it starts


def refused(code: str, call: object, *arguments: object) -> UserError:
    with pytest.raises(UserError) as caught:
        call(*arguments)  # type: ignore[operator]
    assert caught.value.code == code
    return caught.value


def test_names_and_passwords() -> None:
    assert parse_logins("") == {}
    assert parse_logins("ann:a b, bob:x:y") == {"ann": "a b", "bob": "x:y"}
    for wrong in ("ann", "ann:", ":x", "ann:1,ann:2", "ann:1,", ",", " :x"):
        refused("serve.auth_form", parse_logins, wrong)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True), ("127.8.9.1", True), ("localhost", True), ("::1", True), ("[::1]", True),
        ("0.0.0.0", False), ("::", False), ("192.168.1.5", False), ("example.org", False), ("", False),
        ("127.0.0.1.example.org", False),
    ],
)  # fmt: skip
def test_what_only_this_machine_reaches(address: str, local: bool) -> None:
    assert is_loopback(address) is local
    if not local:
        assert address in refused("serve.auth_needed", exposure_of, address, {}).sentence()
    else:
        assert exposure_of(address, {}) == Exposure()
    with_login = exposure_of(address, {"ann": "x"})
    assert (with_login.local, with_login.login, with_login.rest_login) == (local, True, True)


def test_ports() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert str(port) in refused("serve.port_taken", free_port, "127.0.0.1", port).sentence()
        assert free_port("127.0.0.1", 0) not in (0, port)
    assert free_port("127.0.0.1", port) == port
    for wrong in (-1, 65536):
        refused("serve.port", free_port, "127.0.0.1", wrong)
    refused("serve.address", free_port, "192.0.2.1", 0)  # an address of no machine
    refused("serve.address", free_port, "no such host", 0)


def test_folders_are_made(tmp_path: Path) -> None:
    made = make_folders(tmp_path / "new" / "data")
    assert set(made) == set(FOLDERS) and all(folder.is_dir() for folder in made.values())
    (tmp_path / "file").write_text("", encoding="utf-8")
    refused("file.write", make_folders, tmp_path / "file")


def test_refusals_are_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And come before anything heavy is loaded or made."""
    data = tmp_path / "data"
    for words, expected in (
        (["--listen", "0.0.0.0"], "--auth"),
        (["--auth", "ann"], "USER:PASSWORD"),
        (["--port", "99999"], "cannot be used"),
        (["--checkpoints", str(tmp_path / "none")], "There is no folder"),
        (["--language", "fr"], "cannot be understood"),
        (["extra"], "cannot be understood"),
    ):
        assert main(["serve", "--data", str(data), *words]) == USER_ERROR
        said = capsys.readouterr().err.strip()
        assert expected in said and len(said.splitlines()) == 1, said
    assert not data.exists()


def test_options_have_defaults() -> None:
    options = make_parser().parse_args(["serve"])
    assert (options.listen, options.port, options.data) == ("127.0.0.1", 7861, ROOT / "data")
    parser = argparse.ArgumentParser()
    add_options(parser, "zh-CN")
    assert "端口" in parser.format_help()
    assert callable(serve) and DONE == 0


# ---------------------------------------------------------------------- a process of its own


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("gradio", reason="needs gradio")
    pytest.importorskip("diffusers", reason="needs diffusers, which a WebUI does not have")
    server = Server(tmp_path_factory.mktemp("served") / "data", "--language", "zh-CN").start()
    yield server
    server.stop()


def get(server: Server, path: str, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(server.address + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_it_serves_the_page_and_the_routes(server: Server) -> None:
    status, page = get(server, "")
    assert status == 200 and b"LoRA Train" in page and b"https://cdn" not in page and b"https://fonts" not in page
    assert get(server, "lora-train/v1/assets/lora_train_0_base.js")[0] == 200
    rest = server.rest()
    assert [info["name"] for info in rest.get("checkpoints")["checkpoints"]] == ["demo"]
    assert rest.call("GET", "session").body["language"] == "zh-CN"


def test_it_serves_no_file_of_the_data_folder_or_the_machine(server: Server) -> None:
    secret = server.data / "projects" / "secret.txt"
    secret.write_text("hidden words", encoding="utf-8")
    for path in (secret, server.data / "projects", ROOT / "pyproject.toml", Path("/etc/passwd")):
        for form in (
            f"file={path}",
            f"file/{path}",
            f"file={os.path.relpath(path, ROOT)}",
            f"lora-train/v1/assets/{path.name}",
        ):
            status, body = get(server, form)
            assert status in (400, 403, 404) and b"hidden words" not in body and b"root:" not in body, form


def test_it_answers_to_names_of_this_machine_only(server: Server) -> None:
    for path in ("", "config", "lora-train/v1/session"):
        assert get(server, path, Host="evil.example")[0] in (400, 403)
    assert get(server, "", Host="localhost")[0] == 200


def test_a_second_one_says_that_the_port_is_taken(server: Server, tmp_path: Path) -> None:
    port = server.address.rstrip("/").rsplit(":", 1)[1]
    command = [sys.executable, "-m", "lib_lora_train", "serve", "--port", port, "--data", str(tmp_path / "data")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == USER_ERROR and len(done.stderr.splitlines()) == 1
    assert port in done.stderr and not (tmp_path / "data").exists()


def test_it_says_its_address_in_one_line(server: Server) -> None:
    assert len(server.log().strip().splitlines()) == 1
    assert server.address in server.log() and "已启动" in server.log()


@pytest.mark.skipif(os.name == "nt", reason="signals of another kind")
def test_the_first_ctrl_c_saves_the_run(tmp_path: Path) -> None:
    """And a start after that shows it as one to go on with."""
    from demo.character import training_set

    pytest.importorskip("diffusers", reason="needs diffusers, which a WebUI does not have")
    server = Server(tmp_path / "data").start()
    rest = server.rest()
    project = rest.new_project("Ended")
    rest.add_pictures(project, training_set()[:2])
    run = rest.start(project, short_settings(max_train_epochs=500))
    rest.wait_for_run(project, run, lambda one: one["step"] >= 2)
    process = server._process
    assert process is not None
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == DONE
    folder = server.data / "projects" / project / "runs" / run
    record = read_job(folder)
    assert record is not None and record.state == "stopped" and record.can_resume
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert list((server.data / "loras" / project).glob("*.safetensors")), f"nothing saved after {steps[-1]} steps"
    assert "Stopping after this step" in server.log() and server.complaints() == []


def test_the_second_ctrl_c_does_not_wait() -> None:
    before = signal.getsignal(signal.SIGINT)
    with ended_by_signal() as ended:
        assert not ended.is_set()
        signal.raise_signal(signal.SIGINT)
        assert ended.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
