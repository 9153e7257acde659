"""The core under the library versions of a WebUI.

`LORA_TRAIN_WEBUI_PYTHON` names the Python of one; without it this is skipped. pytest and hypothesis, which it hardly
has, go to a folder of their own: nothing is installed beside the WebUI's packages.
"""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYTHON = os.environ.get("LORA_TRAIN_WEBUI_PYTHON", "")
# What needs neither diffusers nor gradio: the rooms that run inside the WebUI.
CORE = (
    "tests/ground", "tests/access", "tests/settings", "tests/dataset", "tests/collection", "tests/jobs", "tests/vision", "tests/prepare", "tests/tags", "tests/editor", "tests/test_draws.py", "tests/host/test_guard.py",
    "tests/network/test_network_files.py", "tests/network/test_network_metadata.py",
    "tests/network/test_network_network.py", "tests/train/test_loss.py",
    "tests/train/test_noise.py", "tests/train/test_scaler.py", "tests/train/test_state.py",
    "tests/train/test_meter.py", "tests/train/test_output.py", "tests/train/test_schedules.py", "tests/train/test_plan.py",
)  # fmt: skip


TOOLS = ("pytest", "hypothesis", "-c", str(ROOT / "constraints" / "a1111.txt"))


@pytest.mark.skipif(not PYTHON, reason="LORA_TRAIN_WEBUI_PYTHON names no WebUI's Python")
def test_the_core_passes_under_the_webuis_libraries(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(tools), *TOOLS]
    subprocess.run(pip, check=True)
    # Ours last: what the WebUI has comes first.
    run = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
    code = f"import sys; sys.path.append({str(tools)!r}); {run}"
    command = [PYTHON, "-c", code, "-q", "-p", "no:cacheprovider", *CORE]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
