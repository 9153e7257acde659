"""The WebUI runs this at every start, with its own Python: adds what is missing, upgrades nothing.

Every version that is installed is handed to pip as a constraint, so that it either finds a release that fits what
is there or gives up. A start without a network goes on without the addition. The WebUI runs no such file when it is
started with --skip-install; where that stands in COMMANDLINE_ARGS, another program that runs it is heeded too.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

# module that tells whether it is there: requirement. A test keeps this equal to pyproject.toml's webui extra.
# Any build of onnxruntime will do, so the module is looked for and not the package.
NEEDED = {"onnxruntime": "onnxruntime"}
if sys.version_info < (3, 11):
    NEEDED["tomli"] = "tomli"


def missing() -> list[str]:
    return [requirement for module, requirement in NEEDED.items() if importlib.util.find_spec(module) is None]


def installed_versions() -> list[str]:
    """`name==version` for everything installed whose version pip can read."""
    pairs = {(item.metadata["Name"], item.version) for item in metadata.distributions()}
    return sorted(
        f"{name}=={version}" for name, version in pairs if name and re.fullmatch(r"\d[\w.+!-]*", version or "")
    )


def install(requirements: list[str]) -> bool:
    """True when pip succeeded. The index is the one the WebUI itself was told to use."""
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "installed.txt"
        constraints.write_text("\n".join(installed_versions()) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--prefer-binary", "--disable-pip-version-check"]
        command += ["--retries", "1", "-c", str(constraints), *requirements]  # without a network, five take long
        if os.environ.get("INDEX_URL"):
            command += ["--index-url", os.environ["INDEX_URL"]]
        return subprocess.run(command, check=False).returncode == 0


def main() -> None:
    if "--skip-install" in os.environ.get("COMMANDLINE_ARGS", "").split():
        return
    wanted = missing()
    if wanted and not install(wanted):
        print(f"LoRA Train: {', '.join(wanted)} could not be installed; what needs it will say so.")


if __name__ == "__main__":
    main()
