"""How long the tab takes to import and to build, and what that loads: in fresh processes, for each version of gradio.

What gradio itself takes is measured apart: in a WebUI it is there already. A stand-in gives the tab fifty checkpoints,
so that no host is loaded.

    python -m benchmarks.startup --out FILE [--python PYTHON ...] [--rounds N]
        [--webui DIR --webui-python PYTHON --checkpoint FILE]

`--python` names the Pythons to measure, `.venv` and `.venv-gradio3` as standalone.py makes them by default.
`--webui` names a checkout of the WebUI, which is then started with this extension and without it in turn (no model is
loaded), with its own Python and twenty checkpoints that are all the file `--checkpoint`.
Exit code 1 when importing and building takes more than 0.3 s (median) or loads anything heavy, or when the WebUI's
start takes more than 0.3 s longer with the extension.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib_lora_train.files import write_json

ROOT = Path(__file__).parent.parent
MOST_SECONDS = 0.3
HEAVY = ("torch", "diffusers", "transformers", "onnxruntime", "cv2", "safetensors", "scipy", "peft")
PYTHONS = (".venv/bin/python", ".venv-gradio3/bin/python")
MEASURE = """
import json, sys, time
from types import SimpleNamespace
marks = [time.perf_counter()]
import gradio
before = set(sys.modules)
marks.append(time.perf_counter())
from lib_lora_train.access import Exposure
from lib_lora_train.ui.tab import build_tab
marks.append(time.perf_counter())
names = [f"checkpoint {number}" for number in range(50)]
tab = build_tab(SimpleNamespace(checkpoint_names=lambda: names, exposure=Exposure(), language=""))
marks.append(time.perf_counter())
gradio_seconds, import_seconds, build_seconds = (later - earlier for earlier, later in zip(marks, marks[1:]))
loaded = {name.split(".")[0] for name in set(sys.modules) - before}
print(json.dumps({
    "gradio": gradio.__version__, "gradio_seconds": gradio_seconds, "import_seconds": import_seconds,
    "build_seconds": build_seconds, "loaded": sorted(loaded & set(HEAVY)), "components": len(tab.blocks),
}))
""".replace("set(HEAVY)", f"set({HEAVY!r})")


def measure(python: Path, rounds: int) -> dict[str, Any]:
    """The middle of `rounds` processes, after one that fills the caches."""
    found = [once(python) for _ in range(rounds + 1)][1:]
    times = {name: round(statistics.median(one[name] for one in found), 4) for name in found[0] if "seconds" in name}
    return {
        **{name: found[0][name] for name in ("gradio", "components")},
        **times,
        "import_and_build_seconds": round(
            statistics.median(one["import_seconds"] + one["build_seconds"] for one in found), 4
        ),
        "heavy": sorted({name for one in found for name in one["loaded"]}),
    }


def once(python: Path) -> dict[str, Any]:
    """What one fresh process says."""
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"}
    command = [str(python), "-W", "ignore", "-c", MEASURE]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


# What the WebUI's own webui.py does until it is ready; its models apart, which load in a thread of their own.
START = """
import json, os, sys, time
wall, cpu = time.perf_counter(), time.process_time()
import webui
from modules import initialize, script_callbacks, ui
initialize.initialize()
script_callbacks.before_ui_callback()
page = ui.create_ui().queue(64)
app, _, _ = page.launch(prevent_thread_lock=True, quiet=True)
script_callbacks.app_started_callback(page, app)
found = {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
found["routes"] = sum(getattr(route, "path", "").startswith("/lora-train/") for route in app.routes)
print(json.dumps(found), flush=True)
os._exit(0)
"""
FLAGS = ("--skip-load-model-at-start", "--no-half", "--use-cpu", "all", "--no-download-sd-model")
WITHOUT = "--disable-extra-extensions"
CHECKPOINTS = 20


def measure_webui(checkout: Path, python: Path, checkpoint: Path, rounds: int) -> dict[str, Any]:
    """Starts with the extension and without it in turn, after one of each that fills the caches.

    The shortest of each kind are compared: whatever else the machine does only makes a start longer.
    """
    times: dict[str, list[dict[str, Any]]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch)
        (data / "extensions").mkdir()
        (data / "extensions" / "lora-train").symlink_to(ROOT)
        (data / "checkpoints").mkdir()
        for number in range(CHECKPOINTS):
            (data / "checkpoints" / f"{number:02d}{checkpoint.suffix}").symlink_to(checkpoint.resolve())
        for _ in range(rounds + 1):
            for kind, flags in (("with", ()), ("without", (WITHOUT,))):
                times[kind].append(start_webui(checkout, python, data, *flags))
    if not all(one["routes"] for one in times["with"]) or any(one["routes"] for one in times["without"]):
        raise RuntimeError("the extension was not where it should have been, or the other way round")
    shortest = {
        f"{kind}_{name}": round(min(one[name] for one in found[1:]), 3)
        for kind, found in times.items()
        for name in ("wall_seconds", "cpu_seconds")
    }
    added = {
        f"added_{name}": round(shortest[f"with_{name}"] - shortest[f"without_{name}"], 3)
        for name in ("wall_seconds", "cpu_seconds")
    }
    return {"rounds": rounds, "checkpoints": CHECKPOINTS, **shortest, **added}


def start_webui(checkout: Path, python: Path, data: Path, *flags: str) -> dict[str, Any]:
    """What one start says of itself."""
    own = {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPYCACHEPREFIX": str(data / "bytecode"),  # kept from the first start on, and not in the checkout
        "PYTHONDONTWRITEBYTECODE": "",
    }
    places = ["--data-dir", str(data), "--ckpt-dir", str(data / "checkpoints")]
    command = [str(python.absolute()), "-W", "ignore", "-c", START, *FLAGS, *places, *flags]
    done = subprocess.run(command, cwd=checkout, env={**os.environ, **own}, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--python", type=Path, nargs="*", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--webui", type=Path, metavar="DIR")
    parser.add_argument("--webui-python", type=Path, metavar="PYTHON")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE")
    options = parser.parse_args(words)
    pythons = options.python or [path for path in map(ROOT.joinpath, PYTHONS) if path.exists()]
    results: dict[str, Any] = {
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "load_before": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "settings": {"rounds": options.rounds, "bound_seconds": MOST_SECONDS},
        "tab": [],
    }
    holds = bool(pythons)
    for python in pythons:
        found = measure(python, options.rounds)
        results["tab"].append(found)
        holds &= found["import_and_build_seconds"] <= MOST_SECONDS and not found["heavy"]
        print(", ".join(f"{name} {value}" for name, value in found.items()), flush=True)
    if options.webui is not None:
        found = measure_webui(options.webui, options.webui_python, options.checkpoint, options.rounds)
        results["webui"] = found
        holds &= found["added_wall_seconds"] <= MOST_SECONDS
        print(", ".join(f"{name} {value}" for name, value in found.items()), flush=True)
    write_json(options.out, results)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
