"""A studio with a tiny checkpoint and one project with pictures, and the page to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lib_lora_train.access import Exposure
from lib_lora_train.jobs import Registry
from lib_lora_train.project import Project
from lib_lora_train.studio import Studio
from tests.helpers.gradio_page import GradioPage
from tests.helpers.studios import filled_project, studio_host

MakeStudio = Callable[..., Studio]


@pytest.fixture
def make_studio(tmp_path: Path, tiny_checkpoint: Path) -> Iterator[MakeStudio]:
    """Makes studios on the test's folder; what runs is ended with the test."""
    made: list[Studio] = []

    def make(exposure: Exposure | None = None, **options: Any) -> Studio:
        host = studio_host(tmp_path, tiny_checkpoint)
        host.paths.projects.mkdir(exist_ok=True)
        made.append(Studio(host, Registry(), host.paths.projects, exposure or Exposure(), **options))
        return made[-1]

    yield make
    for studio in made:
        studio.registry.close(60)


@pytest.fixture
def studio(make_studio: MakeStudio) -> Studio:
    return make_studio()


@pytest.fixture
def project(studio: Studio) -> Project:
    return filled_project(studio.root)


@pytest.fixture
def page(studio: Studio) -> GradioPage:
    from lib_lora_train.ui.page import build_page

    return GradioPage(build_page(studio))


@pytest.fixture
def opened(page: GradioPage, project: Project) -> GradioPage:
    """The page with the project chosen."""
    page.set(project_id=project.id)
    page.press("project_button")
    return page
