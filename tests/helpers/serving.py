"""`serve` as a person starts it: a process of its own on a free port, spoken to over HTTP."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL.Image import Image

ROOT = Path(__file__).parents[2]
START_SECONDS = 120  # torch and gradio are imported, on a machine that may be busy
ROUTES = "lora-train/v1/"
OFFLINE = {"HF_HUB_OFFLINE": "1"}  # a test downloads nothing
_ADDRESS = re.compile(r"http://[\d.]+:(\d+)/")
_BAD = re.compile(r"Traceback|Exception|\bERROR\b|\bCRITICAL\b")

# So small that a run takes seconds: what it teaches is looked at elsewhere. No grid follows it.
SHORT = {
    "model": {"checkpoint": "demo"},
    "dataset": {"resolution": "64", "min_bucket_reso": 64, "max_bucket_reso": 64},
    "network": {"network_dim": 4, "network_alpha": 4.0},
    "run": {
        "mixed_precision": "fp32",
        "max_train_epochs": 2,
        "train_batch_size": 4,
        "sample_steps": 4,
        "grid_after_training": False,
    },
}


def short_settings(**run: Any) -> dict[str, Any]:
    """Settings of a run of seconds, with other values in the group `run`."""
    return {**SHORT, "run": {**SHORT["run"], **run}}


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any  # JSON where it is JSON, else bytes
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        """Of the error."""
        return self.body["error"]["code"]


class Rest:
    """The routes, as a program calls them; with a login where one is given."""

    def __init__(self, address: str, login: str = "") -> None:
        self.address = address
        self._headers = {"Accept-Language": "en"}
        if login:
            self._headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"

    def call(self, method: str, path: str, body: object = None, data: bytes | None = None) -> Answer:
        headers = dict(self._headers)
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        elif data is not None:
            headers["Content-Type"] = "application/octet-stream"
        request = urllib.request.Request(self.address + ROUTES + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return _answer(response.status, response.read(), response.headers)
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.read(), error.headers)

    def get(self, path: str) -> Any:
        return self._good(self.call("GET", path))

    def post(self, path: str, body: object) -> Any:
        return self._good(self.call("POST", path, body))

    def put(self, path: str, body: object) -> Any:
        return self._good(self.call("PUT", path, body))

    def delete(self, path: str) -> Any:
        return self._good(self.call("DELETE", path))

    def new_project(self, title: str, trigger: str = "quillon", kind: str = "character") -> str:
        return self.post("projects", {"title": title, "kind": kind, "trigger_word": trigger})["id"]

    def add(self, project: str, name: str, data: bytes, concept: str = "") -> Any:
        query = urllib.parse.urlencode({"concept": concept, "name": name})
        return self._good(self.call("POST", f"projects/{project}/files?{query}", data=data))

    def add_pictures(self, project: str, pictures: Sequence[tuple[Image, str]], concept: str = "") -> None:
        for number, (image, caption) in enumerate(pictures, start=1):
            self.add(project, f"{number:03d}.png", png(image), concept)
            if caption:
                self.add(project, f"{number:03d}.txt", caption.encode(), concept)

    def start(self, project: str, settings: Mapping[str, Any]) -> str:
        """The id of the new run."""
        return self.post(f"projects/{project}/runs", {"settings": settings})["run"]

    def run(self, project: str, run: str) -> Any:
        return self.get(f"projects/{project}/runs/{run}")

    def wait_for_run(self, project: str, run: str, wanted: Callable[[Any], bool], seconds: float = 180) -> Any:
        """The run, once it is as wanted. Fails when it has ended in another way."""
        return wait_for(lambda: self.run(project, run), wanted, seconds)

    def wait_for_end(self, project: str, run: str, state: str = "done", seconds: float = 180) -> Any:
        over = self.wait_for_run(project, run, lambda one: one["state"] not in ("queued", "running"), seconds)
        assert over["state"] == state, over
        return over

    def end_jobs(self) -> None:
        """Takes everything out of the line and stops what runs."""
        live = self.get("live")
        for waiting in live["queue"]:
            self.call("POST", f"jobs/{waiting['job']}/cancel", {})
        if live["running"]:
            self.call("POST", f"jobs/{live['running']['job']}/stop", {"save": False})
        wait_for(lambda: self.get("live"), lambda now: now["running"] is None and not now["queue"])

    def _good(self, answer: Answer) -> Any:
        assert answer.status < 300, f"{answer.status}: {answer.body}"
        return answer.body


class Server:
    """One `serve`. Its output is kept in a file beside the data folder, whole, over all starts."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self.options = options
        self.output = data.with_name(f"{data.name}.log")
        self.address = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        program = "tests.helpers.late_server" if os.environ.get("LORA_TRAIN_LATE_SERVER") else "lib_lora_train"
        command = [sys.executable, "-m", program, "serve", "--data", str(self.data), "--port", "0"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "LC_ALL": "C.UTF-8", **OFFLINE}
        with self.output.open("ab") as output:
            before = output.tell()
            self._process = subprocess.Popen(
                [*command, *self.options], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        until = time.monotonic() + START_SECONDS
        while (found := _ADDRESS.search(self.log()[before:])) is None:
            assert self._process.poll() is None, f"it ended:\n{self.log()}"
            assert time.monotonic() < until, f"it is not ready:\n{self.log()}"
            time.sleep(0.05)
        self.address = found.group()
        return self

    def rest(self, login: str = "") -> Rest:
        return Rest(self.address, login)

    def kill(self) -> None:
        """As the system does it when memory is out: nothing is told, nothing is saved."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As Ctrl+C does it."""
        self._end(signal.SIGTERM)

    def log(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def complaints(self) -> list[str]:
        """Lines of the output that only an error of ours can have written."""
        return [line for line in self.log().splitlines() if _BAD.search(line)]

    def _end(self, number: int) -> None:
        end_process(self._process, number)


def wait_for(look: Callable[[], Any], wanted: Callable[[Any], bool], seconds: float = 60) -> Any:
    """What `look` gives, once it is as wanted."""
    until = time.monotonic() + seconds
    while not wanted(seen := look()):
        assert time.monotonic() < until, f"after {seconds} s it is still {seen}"
        time.sleep(0.02)
    return seen


def png(image: Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write_drawings(folder: Path, pictures: Sequence[tuple[Image, str]]) -> Path:
    """A folder of pictures with captions, as a person has it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (image, caption) in enumerate(pictures, start=1):
        (folder / f"{number:03d}.png").write_bytes(png(image))
        (folder / f"{number:03d}.txt").write_text(caption, encoding="utf-8")
    return folder


def _answer(status: int, content: bytes, headers: Any) -> Answer:
    is_json = headers.get("content-type", "").startswith("application/json")
    return Answer(status, json.loads(content) if is_json else content, headers)


def end_process(process: subprocess.Popen[bytes] | None, number: int) -> None:
    """By a signal; one that does not heed it within a minute is killed, and the test fails."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(number)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
