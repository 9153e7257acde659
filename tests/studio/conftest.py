"""Studios as a server makes them, at every exposure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lib_lora_train.access import Exposure
from lib_lora_train.jobs import Registry
from lib_lora_train.studio import Studio
from tests.helpers.studios import studio_host

MakeStudio = Callable[..., Studio]


@pytest.fixture
def make_studio(tmp_path: Path, tiny_checkpoint: Path) -> Iterator[MakeStudio]:
    """Makes studios over the same folders; all are closed afterwards."""
    made: list[Studio] = []

    def make(exposure: Exposure | None = None, **options: object) -> Studio:
        host = studio_host(tmp_path, tiny_checkpoint)
        host.paths.projects.mkdir(exist_ok=True)
        studio = Studio(host, Registry(), host.paths.projects, exposure or Exposure(), **options)
        made.append(studio)
        return studio

    yield make
    for studio in made:
        assert studio.close(timeout=60)
