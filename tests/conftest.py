"""Fixtures that several rooms use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before torch is imported, and for child processes too: on tiny models a second thread gains nothing, and on a busy
# machine the two wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder with a very small random model of SD1 layout; shared, so never write into it."""
    from tests.helpers.tiny import write_tiny_checkpoint

    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")
