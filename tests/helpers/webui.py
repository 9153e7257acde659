"""The real WebUI as a person starts it: a process of its own, with a data folder of ours, spoken to over HTTP."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from tests.helpers.serving import ROOT, Rest, end_process, wait_for

CHECKOUT, PYTHON = "LORA_TRAIN_WEBUI", "LORA_TRAIN_WEBUI_PYTHON"
FAMILIES = ("sd1", "sd2v", "sdxl")
START_SECONDS = 180  # torch, gradio and the checkpoint, on a machine that may be busy
# Without a GPU and a network; loopback only.
FLAGS = shlex.split(
    "--skip-torch-cuda-test --skip-install --skip-prepare-environment --skip-version-check --no-download-sd-model "
    "--do-not-download-clip --no-half --use-cpu all --api --disable-console-progressbars"
)
OPTIONS = {
    "show_progress_type": "Approx cheap",  # the default one downloads a file for SDXL
    "sd_model_checkpoint": "nano_sd1.safetensors",
    "live_previews_enable": True,
}
_READY = "Startup time:"
_COMPLAINT = re.compile(r"Traceback \(most recent call last\)|\*\*\* Error|^Error ", re.MULTILINE)


@dataclass(frozen=True)
class Installation:
    """A checkout of the WebUI, its Python, and the folder with the narrow checkpoints."""

    checkout: Path
    python: Path
    checkpoints: Path

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "HF_HOME": str(self.checkpoints),  # holds hub/
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin make a second process on the same cores very slow
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",  # nothing is written into the checkout
            "COMMANDLINE_ARGS": "",
        }

    def make_checkpoints(self) -> None:
        """Writes those that are not there yet. Takes ten seconds."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        (self.checkpoints / "version.txt").touch()
        subprocess.run(
            [str(self.python), "-m", "tests.webui.checkpoints", str(self.checkout), str(self.checkpoints)],
            cwd=ROOT, env=self.environment(), check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """A picture of the WebUI's own: `pixels` are its RGB bytes, `infotext` what stands below it."""

    image: Image.Image
    infotext: str

    @property
    def pixels(self) -> bytes:
        return self.image.convert("RGB").tobytes()


class ModelHash(dict[str, Any]):
    """What `Webui.hash` gives: "tensors" and "flags" are digests, "checkpoint" a title, "details" a dict by name."""

    def __repr__(self) -> str:
        return f"<{self['checkpoint']}: {self['tensors'][:8]} {self['flags'][:8]}>"

    def against(self, other: ModelHash) -> dict[str, Any]:
        """Where this one differs: by name what is here, and what is there."""
        mine, others = self["details"], other["details"]
        return {
            name: (mine.get(name), others.get(name))
            for name in {**mine, **others}
            if mine.get(name) != others.get(name)
        }


class Webui:
    """One WebUI with a data folder of its own, in which this repository and the probe are extensions."""

    def __init__(self, installation: Installation, data: Path) -> None:
        self.installation = installation
        self.data = data
        self.output = data.with_name(f"{data.name}.log")
        self.address = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._heard: int | None = None  # so much of the output is of tests before this one
        extensions = data / "extensions"
        ours = extensions / "lora-train"
        ours.mkdir(parents=True)
        for entry in ROOT.iterdir():  # without .git, of which the WebUI would ask where it came from
            if not entry.name.startswith("."):
                (ours / entry.name).symlink_to(entry)
        (extensions / "lora-train-probe").symlink_to(ROOT / "tests" / "webui" / "probe")
        (data / "config.json").write_text(json.dumps(OPTIONS), encoding="utf-8")

    # ------------------------------------------------------------------ the process

    def start(self, *flags: str) -> Webui:
        """Starts it and waits until it answers; a checkpoint may still be loading."""
        port = free_port()
        places = ["--data-dir", str(self.data), "--ckpt-dir", str(self.installation.checkpoints), "--port", str(port)]
        if "--nowebui" in flags:  # which listens to the whole network unless it is told not to
            places += ["--server-name", "127.0.0.1"]
        environment = self.installation.environment() | {"GRADIO_TEMP_DIR": str(self.data / "gradio")}
        before = len(self.log())
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [str(self.installation.python), "launch.py", *FLAGS, *places, *flags],
                cwd=self.installation.checkout, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.address = f"http://127.0.0.1:{port}/"
        self._wait_until_ready(before)
        return self

    def stop(self) -> None:
        """As Ctrl+C does it."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As the system does it when memory is out."""
        self._end(signal.SIGKILL)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def reload_ui(self) -> None:
        """What the button in the settings does; waits until the new page is served."""
        before = len(self.log())
        self.probe("POST", "reload-ui")
        self._wait_until_ready(before)

    def log(self) -> str:
        """Everything it printed, over all starts."""
        return self.output.read_text(encoding="utf-8", errors="replace") if self.output.is_file() else ""

    def complaints(self) -> list[str]:
        """Errors in the output since this test began, each with the lines around it; in the first one, since the start."""
        log = self.log()[self._heard or 0 :]
        return [log[max(0, one.start() - 200) : one.end() + 2500] for one in _COMPLAINT.finditer(log)]

    # ------------------------------------------------------------------ its own routes

    @property
    def rest(self) -> Rest:
        """Our routes."""
        return Rest(self.address)

    def sdapi(self, path: str, body: object = None, method: str = "") -> Any:
        """The WebUI's own API: POST where there is a body."""
        return self.ask(method or ("GET" if body is None else "POST"), f"sdapi/v1/{path}", body)

    def txt2img(self, prompt: str = "a cat", **fields: Any) -> Drawn:
        """One picture of 64 px in 4 steps with seed 1; `fields` are those of the WebUI's route."""
        drawn = self.txt2img_all(prompt, **fields)
        assert len(drawn) == 1, f"{len(drawn)} pictures"
        return drawn[0]

    def txt2img_all(self, prompt: str = "a cat", **fields: Any) -> list[Drawn]:
        """As `txt2img`; an interrupted generation gives none."""
        usual = {"seed": 1, "steps": 4, "width": 64, "height": 64, "cfg_scale": 5, "sampler_name": "Euler"}
        answer = self.sdapi("txt2img", {"prompt": prompt, **usual, **fields})
        texts = json.loads(answer["info"])["infotexts"]
        images = [Image.open(BytesIO(base64.b64decode(one))) for one in answer["images"]]
        return [Drawn(image, text) for image, text in zip(images, texts, strict=False)]

    def set_options(self, **options: Any) -> None:
        """As the settings page sets them; a checkpoint is loaded before it returns."""
        self.sdapi("options", options)

    def choose(self, family: str) -> None:
        """Loads the checkpoint of a family, as the dropdown does."""
        self.set_options(sd_model_checkpoint=self.checkpoint(family))

    def checkpoint(self, family: str) -> str:
        return f"nano_{family}.safetensors"

    @property
    def loras(self) -> Path:
        return self.data / "models" / "Lora"

    # ------------------------------------------------------------------ the probe

    def probe(self, method: str, path: str, body: object = None) -> Any:
        return self.ask(method, f"probe/{path}", body)

    def state(self) -> Any:
        """What is loaded, chosen and put on now, without any lock: `_state` in the probe."""
        return self.probe("GET", "state")

    def hash(self) -> ModelHash:
        """Of every bit of the loaded model ("tensors") and of what hangs on it ("flags"), under the queue's lock.

        `assert webui.hash().against(before) == {}` says which parameter or module differs.
        """
        return ModelHash(self.probe("POST", "hash"))

    def fault(self, where: str, error: str = "RuntimeError", after: int = 1) -> None:
        """At the `after`-th entry into a moment from now on, `error` is raised there, once. Moments: `PLACES` in the
        probe; errors: RuntimeError, OSError, MemoryError, OutOfMemory."""
        self.probe("POST", "trap", {"where": where, "after": after, "error": error})

    def hold(self, where: str, after: int = 1) -> None:
        """At the `after`-th entry into a moment from now on, the thread that enters is held until `release`."""
        self.probe("POST", "trap", {"where": where, "after": after})

    def wait_held(self, seconds: float = 60) -> None:
        wait_for(lambda: self.state()["trap"], lambda traps: any(one["held"] for one in traps), seconds)

    def release(self) -> Any:
        """What is held goes on; all traps are taken away. Gives how each of them stood."""
        return self.probe("POST", "release")["traps"]

    def matched(self, lora: str) -> Any:
        """{"matched": keys, "unmatched": keys} of a LoRA by its name, as the WebUI's own loader takes it up."""
        return self.probe("POST", f"matched?name={urllib.parse.quote(lora)}")

    def inside(self, file: str, function: str, **arguments: Any) -> Any:
        """What a function in tests/webui/inside/<file>.py gives when it is called within the WebUI; JSON both ways."""
        return self.probe("POST", "inside", {"file": file, "function": function, "arguments": arguments})

    def wait_idle(self, seconds: float = 60) -> None:
        """Until nothing holds the queue's lock."""
        wait_for(lambda: self.state()["locked"], lambda locked: not locked, seconds)

    def put_in_order(self, family: str = "sd1") -> None:
        """As it was when it was started, for the next test: nothing runs, nothing is set, nothing is put on."""
        self._heard = 0 if self._heard is None else len(self.log())
        self.release()
        if self.rest.call("GET", "live").status == 200:  # else our extension is off
            self.rest.end_jobs()
        self.set_options(**USUAL)
        if self.state()["loaded"] is None:
            self.sdapi("reload-checkpoint", {})
        self.choose(family)
        self.txt2img("put in order", steps=1)

    # ------------------------------------------------------------------ inside

    def ask(self, method: str, path: str, body: object = None, seconds: float = 300) -> Any:
        """Any route, with JSON both ways. Fails where the answer is an error."""
        data = b"" if method == "POST" and body is None else None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=seconds) as response:
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{method} {path}: {error.code} {error.read()[:2000]!r}") from error

    def _wait_until_ready(self, before: int) -> None:
        assert self._process is not None
        until = time.monotonic() + START_SECONDS
        while _READY not in self.log()[before:]:
            assert self._process.poll() is None, f"it ended:\n{self.log()}"
            assert time.monotonic() < until, f"it is not ready:\n{self.log()}"
            time.sleep(0.1)
        wait_for(self._answers, bool, 30)

    def _answers(self) -> bool:
        try:
            self.state()
        except (OSError, AssertionError):
            return False
        return True

    def _end(self, number: int) -> None:
        end_process(self._process, number)


# Options that tests change, and their usual values.
USUAL: Mapping[str, Any] = {
    "CLIP_stop_at_last_layers": 1,
    "cross_attention_optimization": "Automatic",
    "sd_unet": "Automatic",
    "sd_vae": "Automatic",
    "sd_lora": "None",
    "sd_hypernetwork": "None",
    "token_merging_ratio": 0.0,
    "sd_checkpoints_limit": 1,
    "localization": "None",
}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def settings_for(webui: Webui, family: str = "sd1", **groups: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run of six steps on the family's narrow checkpoint, with other values by group; no grid follows."""
    usual: dict[str, dict[str, Any]] = {
        "model": {"checkpoint": webui.checkpoint(family).removesuffix(".safetensors")},
        "dataset": {"resolution": "64", "min_bucket_reso": 64, "max_bucket_reso": 64},
        "network": {"network_dim": 2, "network_alpha": 2.0},
        "run": {
            "mixed_precision": "fp32",
            "max_train_epochs": 0,
            "max_train_steps": 6,
            "train_batch_size": 1,
            "sample_prompts": "",
            "grid_after_training": False,
        },
    }
    return {name: {**usual.get(name, {}), **groups.get(name, {})} for name in {**usual, **groups}}


def losses(webui: Webui, project: str, run: str) -> list[float]:
    """Of every step, as they stand in the run's metrics.jsonl."""
    path = next(iter(webui.data.rglob(f"{project}/runs/{run}/metrics.jsonl")))
    return [json.loads(line)["loss"] for line in path.read_text(encoding="utf-8").splitlines()]


def in_thread(work: Callable[[], Any]) -> Any:
    """Starts something that waits, such as a generation while a run has the model; gives its future."""
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future
