"""How long the tab takes to import and to build, and what that loads: in fresh processes, for each version of gradio.

What gradio itself takes is measured apart: in a WebUI it is there already. A stand-in gives the tab fifty checkpoints,
so that no host is loaded.

    python -m benchmarks.startup --out FILE [--python PYTHON ...] [--rounds N]

`--python` names the Pythons to measure, `.venv` and `.venv-gradio3` as standalone.py makes them by default.
Exit code 1 when importing and building takes more than 0.3 s (median), or loads anything heavy.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
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
names = [SimpleNamespace(name=f"checkpoint {number}") for number in range(50)]
tab = build_tab(SimpleNamespace(checkpoints=lambda: names, exposure=Exposure(), language=""))
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


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--python", type=Path, nargs="*", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=7)
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
    write_json(options.out, results)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
