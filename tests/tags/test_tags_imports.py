"""The tag editor needs no torch, not even to be imported, and neither does its command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_tag_editor_needs_no_torch() -> None:
    folders = [ROOT / "lib_lora_train" / name for name in ("tags", "tags_commands", "editor", "collection/history")]
    files = sorted(path for folder in folders for path in folder.rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files]
    code = (
        "import sys, importlib\n"
        "for name in ('torch', 'gradio', 'fastapi', 'pydantic', 'transformers', 'diffusers'): sys.modules[name] = None\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *names], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    text = "".join(path.read_text(encoding="utf-8") for path in files if "tags_commands" not in path.parts)
    assert "import torch" not in text and "from torch" not in text
