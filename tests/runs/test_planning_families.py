"""Plans and estimates for the checkpoints of a WebUI, which holds its model in memory: SD1, SD2 and SDXL."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from lib_lora_train.host.base import CheckpointInfo, Memory
from lib_lora_train.host.webui.facts import read_facts
from lib_lora_train.project import Project, create_project, edit_project
from lib_lora_train.runs.estimate import estimate
from lib_lora_train.runs.planning import apply_repeats, plan_for
from lib_lora_train.runs.wishes import Wishes
from lib_lora_train.settings.reading import validate
from tests.helpers.ldm_header import sd1, sd2, sdxl, write_header
from tests.helpers.pictures import write_picture

GB = 1_000_000_000
PUBLISHED = {"sd1": sd1, "sd2": sd2, "sdxl": sdxl}
RESOLUTION = {"sd1": 512, "sd2": 768, "sdxl": 1024}
LOADED = {"sd1": 2 * GB, "sd2": 2.5 * GB, "sdxl": 6.8 * GB}  # what the model takes of the card in fp16


def host_of(path: Path, memory: Memory) -> SimpleNamespace:
    info = CheckpointInfo(path.stem, path)
    return SimpleNamespace(
        memory=lambda: memory, describe=lambda name: read_facts(info), checkpoints=lambda: [info], current=lambda: info
    )


def card(family: str, size: int) -> Memory:
    """An idle card of `size` GB on which the WebUI holds the model."""
    return Memory(int(size * GB - LOADED[family] - GB), size * GB, "cuda", bfloat16=False, loaded="fp16")


@pytest.fixture
def project(root: Path) -> Project:
    project = create_project(root, "Quillon")
    for number in range(8):
        write_picture(project.path("dataset/10_quillon") / f"{number}.png", "quillon", (1100, 1100), number)
    return edit_project(project, trigger_word="quillon")


@pytest.mark.parametrize("family", PUBLISHED)
def test_each_family_is_planned_at_its_own_size(tmp_path: Path, project: Project, family: str) -> None:
    host = host_of(write_header(tmp_path / "a.safetensors", PUBLISHED[family]()), card(family, 24))
    planned = plan_for(host, project, Wishes(choice="balanced"))
    assert planned.plan.fits and validate(planned.settings) == []
    assert planned.settings.dataset.resolution == str(RESOLUTION[family])
    assert planned.settings.run.mixed_precision == "fp16"
    apply_repeats(project, planned.repeats)
    found = estimate(host, project, planned.settings)
    assert found.fits and found.steps == planned.plan.steps
    assert found.need == pytest.approx(planned.plan.need.total, rel=0.05)
    assert found.need < 16 * GB  # the model itself is there already


def test_a_narrow_sdxl_needs_little(tmp_path: Path, project: Project) -> None:
    shapes = sdxl(channels=(32, 64, 128), depths=(0, 2, 10), context=576)
    memory = Memory(8 * GB, 16 * GB, "cpu", loaded="fp32")
    narrow = host_of(write_header(tmp_path / "narrow.safetensors", shapes), memory)
    wide = host_of(write_header(tmp_path / "wide.safetensors", sdxl()), memory)
    settings = plan_for(narrow, project, Wishes(choice="quick")).settings
    assert estimate(narrow, project, settings).need < estimate(wide, project, settings).need / 4
