"""Fixtures that several rooms use."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

IN_THE_BROWSER = frozenset({"browser", "javascript"})  # folders

# Before torch is imported, and for child processes too: on tiny models a second thread gains nothing, and on a busy
# machine the two wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says something about the machine's other work, and nothing about the code. The same examples
# each time, so that a change is green or not by itself; `--hypothesis-profile explore` looks for new ones.
_QUIET = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("house", derandomize=True, **_QUIET)
hypothesis.settings.register_profile("explore", print_blob=True, **_QUIET)
hypothesis.settings.load_profile("house")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder with a very small random model of SD1 layout; shared, so never write into it."""
    pytest.importorskip("diffusers", reason="needs diffusers, which a WebUI does not have")
    from tests.helpers.tiny import write_tiny_checkpoint

    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test in the browser is tried a second time: on a busy machine a press can come a moment too early or too late.

    Whatever needed it is shown below with its error: such a moment may be a fault, and users have slow machines too.
    """
    for item in items:
        if item.path.parent.name in IN_THE_BROWSER:
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Every skip by name with its reason, and every first attempt that failed: it is to be seen, not counted."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("skipped")
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        terminalreporter.line(f"{report.nodeid}: {reason.removeprefix('Skipped: ')}")
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"failed at the first attempt: {report.nodeid}")
        terminalreporter.line(report.longreprtext)
