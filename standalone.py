"""Runs the trainer on a machine without a WebUI: `python standalone.py serve`, `python standalone.py demo`.

Makes .venv beside this file, installs what pyproject.toml and constraints/standalone.txt name, and hands over to
lib_lora_train. A second start installs nothing. `test --gradio 3` does the same in .venv-gradio3 with the versions that
the WebUI has. Standard library only; this file must load on Python 3.8, so that whoever starts it with the wrong Python
is told so.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent
WHEELS = "https://download.pytorch.org/whl"
# Of the rooms that meet gradio, fastapi and the libraries' older versions.
GRADIO_3_TESTS = (
    "access",
    "api",
    "browser",
    "collection",
    "editor",
    "origin",
    "prepare",
    "previews",
    "runs",
    "serve",
    "studio",
    "ui",
    "vision",
)
USAGE = """usage: python standalone.py [--torch-index URL] COMMAND ...

  demo [--out DIR] teach a new character to the small model in this repository and show the result
  check DIR        what in a folder of pictures helps a training, and what harms it
  prepare DIR --out OUT ...   a training set from a folder of pictures: crop, background, tags
  tag DIR ...      captions beside pictures
  tags ...         edit the captions of a folder: filters, edits with undo, what to bind
  train ...        train a LoRA (kohya's flags, or --config_file FILE)
  generate ...     draw a picture, with <lora:name:weight> in the prompt
  info FILE        what a LoRA file holds
  grid RUN|FILES   the same pictures of every checkpoint and weight, and which to take
  publish FILE     one of them with name, card and thumbnail in the LoRA folder
  resize, merge, convert, scrub ...   a LoRA from LoRAs
  serve            the page in a browser
  test [...]       run the tests; arguments go to pytest
  test --gradio 3 [...]   run those of the page and the routes with the WebUI's version of gradio
                   Those in tests/webui need a WebUI: its folder in LORA_TRAIN_WEBUI, its python in LORA_TRAIN_WEBUI_PYTHON

  --torch-index URL   where torch is installed from, such as https://download.pytorch.org/whl/rocm6.4
  COMMAND --help      all options of a command
"""


class Environment:
    """A virtual environment beside this file, and the versions that belong into it."""

    def __init__(self, folder: str, constraints: str) -> None:
        self.name = folder
        self.folder = ROOT / folder
        self.constraints = ROOT / "constraints" / constraints
        self.stamp = self.folder / "installed.json"  # written last: without it the next start installs again
        self.running = self.folder / "installing"  # there while pip runs: left by a killed one, which cannot be mended
        self.python = self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def usual() -> Environment:
    return Environment(".venv", "standalone.txt")


def like_the_webui() -> Environment:
    return Environment(".venv-gradio3", "a1111.txt")


class InstallError(Exception):
    """One step of the installation failed; the text says which, and what to do."""


def main(arguments: list[str]) -> int:
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        print(
            f"This needs Python 3.10, 3.11 or 3.12; {sys.executable or 'this'} is {platform.python_version()}. "
            "Start it with one of those, as in: python3.11 standalone.py demo",
            file=sys.stderr,
        )
        return 2
    index, words = take_torch_index(arguments)
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    try:
        if words[0] == "test":
            return test(words[1:], index)
        environment = usual()
        install(environment, {"standalone"}, index)
    except InstallError as error:
        print(error, file=sys.stderr)
        return 1
    return hand_over([str(environment.python), "-m", "lib_lora_train", *words])


def test(words: list[str], index: str) -> int:
    """Runs pytest, with `--gradio 3` in the environment that is like the WebUI's. Raises InstallError."""
    version, words = take_gradio(words)
    os.chdir(ROOT)
    if version != "3":
        environment = usual()
        install(environment, {"standalone", "dev"}, index)
        return hand_over([str(environment.python), "-m", "pytest", *words, *side_by_side(words)])
    if sys.version_info >= (3, 12):
        raise InstallError("The WebUI's versions need Python 3.10 or 3.11: start this with one of those.")
    environment = like_the_webui()
    install(environment, {"gradio3"}, index)
    more = side_by_side(words)
    if not names_tests(words):
        words = [*words, *(f"tests/{name}" for name in GRADIO_3_TESTS if (ROOT / "tests" / name).is_dir())]
    return hand_over([str(environment.python), "-m", "pytest", *words, *more])


def names_tests(words: list[str]) -> bool:
    return any((ROOT / word.split("::")[0]).exists() for word in words)


def side_by_side(words: list[str]) -> list[str]:
    """The whole suite takes as many processes as there are cores, four at most; a file's tests stay in one."""
    if names_tests(words) or any(word.startswith("-n") for word in words):
        return []
    return ["-n", str(min(4, os.cpu_count() or 1)), "--dist", "loadfile"]


def take_gradio(words: list[str]) -> tuple[str, list[str]]:
    """The value of a leading --gradio (4 when not given), and the other words. Raises InstallError for another."""
    value, rest = "4", words
    if words and words[0].startswith("--gradio="):
        value, rest = words[0].split("=", 1)[1], words[1:]
    elif words and words[0] == "--gradio":
        value, rest = (words[1], words[2:]) if len(words) > 1 else ("", [])
    if value not in ("3", "4"):
        raise InstallError("--gradio is followed by 3 or 4.")
    return value, rest


def take_torch_index(arguments: list[str]) -> tuple[str, list[str]]:
    """The value of a leading --torch-index (empty when not given), and the other words."""
    if arguments and arguments[0].startswith("--torch-index="):
        return arguments[0].split("=", 1)[1], arguments[1:]
    if len(arguments) >= 2 and arguments[0] == "--torch-index":
        return arguments[1], arguments[2:]
    return "", arguments


def install(environment: Environment, extras: set[str], index: str) -> None:
    """Brings it to what `extras` ask for; does nothing when the stamp says it is there. Raises InstallError."""
    wanted = fingerprint(environment)
    stamp = read_stamp(environment)
    same_index = stamp is not None and index in ("", stamp["torch_index"])
    there = environment.python.exists()
    if stamp and same_index and there and stamp["fingerprint"] == wanted and extras <= set(stamp["extras"]):
        return
    extras = extras | (set(stamp["extras"]) if stamp else set())
    index = index or (stamp["torch_index"] if stamp else "")
    environment.stamp.unlink(missing_ok=True)
    print(f"Installing into {environment.name} ({', '.join(sorted(extras))}); this is done once.", flush=True)
    make_venv(environment)
    version = pinned(environment, "torch")
    options = ["--index-url", index] if index else torch_options(version)
    print(f"torch {version} from {options[1] if options else 'the package index that pip is set to'}", flush=True)
    if stamp and not same_index:
        options.append("--force-reinstall")  # the same version from elsewhere counts as installed for pip
    pip(environment, "torch", [*options, f"torch=={version}"])
    print("the other packages", flush=True)
    wanted_packages = ["-c", str(environment.constraints), "-e", f"{ROOT}[{','.join(sorted(extras))}]"]
    pip(environment, "the packages", wanted_packages)
    if "dev" in extras:  # its own list asks for an old diffusers; only its U-Net is wanted
        unet = f"stable-diffusion-sdkit=={pinned(environment, 'stable-diffusion-sdkit')}"
        pip(environment, "the reference U-Net", ["--no-deps", unet])
    print(torch_and_device(environment), flush=True)
    stamp = {"fingerprint": wanted, "extras": sorted(extras), "torch_index": index}
    temporary = environment.stamp.with_suffix(".tmp")
    temporary.write_text(json.dumps(stamp), encoding="utf-8")
    temporary.replace(environment.stamp)


def fingerprint(environment: Environment) -> str:
    """Changes whenever what has to be installed may have changed."""
    content = (ROOT / "pyproject.toml").read_bytes() + environment.constraints.read_bytes()
    return hashlib.sha256(content).hexdigest()


def read_stamp(environment: Environment) -> dict | None:
    """What was installed, or None when nothing was, or not to the end."""
    try:
        stamp = json.loads(environment.stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) and {"fingerprint", "extras", "torch_index"} <= set(stamp) else None


def make_venv(environment: Environment) -> None:
    """A virtual environment with a working pip; one that is there but broken is made anew."""
    check = [str(environment.python), "-c", "import pip, sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))"]
    usable = environment.python.exists() and not environment.running.exists()
    if usable and subprocess.run(check, capture_output=True, check=False).returncode == 0:
        return
    command = [sys.executable, "-m", "venv", "--clear", str(environment.folder)]
    if subprocess.run(command, check=False).returncode != 0:
        raise InstallError(
            f"The virtual environment {environment.folder} could not be made; the reason stands above. "
            "On Debian and Ubuntu the package python3-venv is needed. Then start again."
        )


def pip(environment: Environment, what: str, arguments: list[str]) -> None:
    """One pip call. Raises InstallError naming `what` when it fails."""
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    command = [str(environment.python), "-m", "pip", "install", *quiet, "--disable-pip-version-check", *arguments]
    environment.running.touch()
    failed = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode != 0
    environment.running.unlink()
    if failed:
        raise InstallError(
            f"Installing {what} failed; pip's reason stands above. Check the connection and the free space, then "
            "start again: it goes on from here. --torch-index URL names another source for torch."
        )


def pinned(environment: Environment, package: str) -> str:
    """The version that the environment's constraints give for `package`."""
    text = environment.constraints.read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(package)}==([^\s;]+)", text, re.MULTILINE)
    if found is None:
        raise InstallError(f"{environment.constraints} names no version of {package}.")
    return found.group(1)


def torch_options(version: str) -> list[str]:
    """pip options that give the build of torch which fits this machine.

    PyPI's torch is the right one on macOS and on Linux with an NVIDIA driver. On Windows it has no CUDA, on Linux
    it brings gigabytes of it: there PyTorch's own index is used, when it answers and holds this version. It is an
    extra index, so that a mirror set in pip's own configuration stays in use.
    """
    if sys.platform == "win32":
        names = cuda_indexes() if nvidia() else []
    elif sys.platform == "linux":
        names = [] if nvidia() else ["cpu"]
    else:
        names = []
    for name in names:
        if index_has(f"{WHEELS}/{name}", version):
            return ["--extra-index-url", f"{WHEELS}/{name}"]
    return []


def nvidia() -> bool:
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def cuda_indexes() -> list[str]:
    """PyTorch's CUDA indexes, best first. CUDA 13 needs a driver from 580 on and a card from Turing (7.5) on."""
    query = ["nvidia-smi", "--query-gpu=driver_version,compute_cap", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout
        driver, capability = answer.splitlines()[0].split(",")
        modern = int(driver.split(".")[0]) >= 580 and float(capability) >= 7.5
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        modern = False
    return ["cu130", "cu128", "cu126"] if modern else ["cu126", "cu128"]


def index_has(index: str, version: str) -> bool:
    """Whether the package index answers within seconds and lists this version of torch."""
    try:
        with urllib.request.urlopen(f"{index}/torch/", timeout=8) as page:
            return f"torch-{version}" in page.read().decode("utf-8", "replace")
    except (OSError, ValueError, urllib.error.URLError):
        return False


def torch_and_device(environment: Environment) -> str:
    """One line: which torch there is and what it will run on. Raises InstallError when it does not load."""
    code = (
        "import torch; m = getattr(torch.backends, 'mps', None); "
        "d = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "
        "'Apple GPU' if m and m.is_available() else 'CPU'; print(f'torch {torch.__version__} on {d}')"
    )
    shown = subprocess.run([str(environment.python), "-c", code], capture_output=True, text=True, check=False)
    if shown.returncode != 0:
        reason = (shown.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise InstallError(f"torch was installed but does not load: {reason}. --torch-index URL names another build.")
    return shown.stdout.strip()


def hand_over(command: list[str]) -> int:
    """Runs `command` in place of this process; on Windows, which cannot, as its child. Ctrl+C is the child's."""
    if os.name != "nt":
        sys.stdout.flush()
        os.execv(command[0], command)
    child = subprocess.Popen(command)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
