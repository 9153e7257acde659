"""A projects' folder and a host that lists the tiny checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_lora_train.jobs import Registry
from lib_lora_train.project import Project
from tests.helpers.studios import filled_project, studio_host


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "projects"


@pytest.fixture
def host(tmp_path: Path, tiny_checkpoint: Path):
    return studio_host(tmp_path, tiny_checkpoint)


@pytest.fixture
def project(root: Path) -> Project:
    return filled_project(root)


@pytest.fixture
def registry() -> Iterator[Registry]:
    registry = Registry()
    yield registry
    assert registry.close(timeout=60)
