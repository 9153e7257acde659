"""Held back pictures in projects: steps that are counted, curves and logs that are read, files that are compared."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from lib_lora_train.dataset.folders import scan
from lib_lora_train.jobs import Registry
from lib_lora_train.preview.scores import Scores
from lib_lora_train.previews.store import Source
from lib_lora_train.previews.working import held_back_losses
from lib_lora_train.project import Project
from lib_lora_train.runs.estimate import showings
from lib_lora_train.runs.history import read_run
from lib_lora_train.runs.launch import resume_run, start_run
from lib_lora_train.runs.metrics import read_metrics
from lib_lora_train.runs.planning import plan_for
from lib_lora_train.runs.runlog import read_log
from lib_lora_train.runs.sources import find_sources
from lib_lora_train.runs.validation import VALIDATION, Validated, comparable, of_files, read_validation
from lib_lora_train.runs.wishes import Wishes
from lib_lora_train.settings import TrainSettings
from tests.helpers.runs import run, tiny_settings
from tests.helpers.studios import CHECKPOINT, run_settings, write_concept


def said(step: int, loss: float, file: str = "", key: str = "k") -> str:
    return json.dumps({"step": step, "epoch": 1, "loss": loss, "pictures": 2, "file": file, "key": key}) + "\n"


# ---------------------------------------------------------------------- counting


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.4, 0.9, 1.0])
@pytest.mark.parametrize("seed", [None, 4])
def test_the_form_counts_what_the_training_shows(project: Project, share: float, seed: int | None) -> None:
    write_concept(project, "dataset/3_hat", 13)  # 2.png comes before 10.png on the page, and after it in training
    write_concept(project, "regularization/1_girl", 7)
    settings = TrainSettings()
    settings.dataset.resolution, settings.dataset.min_bucket_reso = "128", 64
    settings.dataset.train_data_dir = str(project.path("dataset"))
    settings.dataset.reg_data_dir = str(project.path("regularization"))
    settings.dataset.validation_split, settings.dataset.validation_seed = share, seed
    counted = showings(project, settings)
    if share == 1.0:
        assert not counted
        return
    shown: Counter[tuple[int, int]] = Counter()
    for picture in scan(settings.dataset, seed=settings.run.seed).pictures:
        shown[picture.crop.bucket] += picture.repeats
    assert counted == shown


def test_a_plan_holds_back_by_folders(host, project: Project) -> None:
    for number in range(8):
        write_concept(project, f"dataset/2_pose{number}", 5)
    few = plan_for(host, project, Wishes(checkpoint=CHECKPOINT))
    reasons = {reason.setting: reason.code for reason in few.plan.reasons}
    assert reasons["dataset.validation_split"] == "plan.hold_back_folders"
    assert few.settings.dataset.validation_split == 0
    write_concept(project, "dataset/2_dance", 40)
    many = plan_for(host, project, Wishes(checkpoint=CHECKPOINT))
    assert many.settings.dataset.validation_split == 0.1
    reason = next(reason for reason in many.plan.reasons if reason.setting == "dataset.validation_split")
    assert reason.code == "plan.hold_back" and reason.values["held"] == 4 and "4 of 85" in reason.text("en")
    settings = many.settings
    settings.dataset.train_data_dir = str(project.path("dataset"))
    assert len(scan(settings.dataset).held_back) == 4


# ---------------------------------------------------------------------- a run of a project


def test_a_run_of_a_project(host, registry: Registry, project: Project) -> None:
    settings = run_settings(validation_split=0.4, validation_seed=3)
    started = start_run(host, registry, project, settings)
    assert started.job.wait(120) and started.job.state == "done", started.job.record.error
    folder = project.path("runs/r01")
    found = read_validation(folder)
    assert [(each.step, each.file) for each in found] == [
        (0, ""), (2, "Zuna-r01-000001.safetensors"), (4, "Zuna-r01-000002.safetensors"),
        (6, "Zuna-r01-000003.safetensors"),
    ]  # fmt: skip
    assert started.watch.record.steps == 6
    files = read_run(host, project, "r01").files
    assert [(file.name, file.validation) for file in files] == [(each.file, each.loss) for each in found[1:]]
    metrics = read_metrics(project, "r01")
    assert metrics.validation == [(each.step, each.loss) for each in found] and metrics.last == 6
    assert read_metrics(project, "r01", after=4).validation == metrics.validation[2:], "step 4 was told before its loss"
    assert read_metrics(project, "r01", most=2).validation == [metrics.validation[0], metrics.validation[-1]]
    lines = [line.text for line in read_log(project, "r01")[0]]
    assert f"Loss on held back pictures at step 6: {found[-1].loss:.4f} (pictures: 2)." in lines
    assert any("2 of 5" in line for line in lines)

    # The grid of the run, and the command line, take the losses from there.
    sources = (*[Source("r01", each.file) for each in found[1:]], Source("", "other.safetensors"), Source("r07", "x"))
    assert held_back_losses(project, sources) == {place: each.loss for place, each in enumerate(found[1:])}
    chosen = find_sources(host, [str(folder)])
    from lib_lora_train.preview.files import columns_of

    class Grid:
        columns = columns_of(chosen.files)

    assert chosen.losses(Grid()) == {place: each.loss for place, each in enumerate(found[1:])}


def test_a_resumed_run_goes_on_with_its_curve(host, registry: Registry, project: Project) -> None:
    settings = run_settings(validation_split=0.4, validation_seed=3, max_train_epochs=2)
    whole = start_run(host, registry, project, settings)
    again = start_run(host, registry, project, settings)
    assert whole.job.wait(120)
    while again.job.state == "running" and not read_validation(project.path("runs/r02")):
        again.job.wait(0.01)
    registry.stop(again.job, save=True)
    assert again.job.wait(120)
    if again.job.state == "stopped":
        assert resume_run(host, registry, project, "r02").job.wait(120)
    first, second = (read_validation(project.path("runs", name)) for name in ("r01", "r02"))
    assert [(each.step, each.loss, each.key) for each in first] == [(each.step, each.loss, each.key) for each in second]
    assert first[0].key, "and two runs with the same pictures and settings can be compared"


def test_files_of_the_command_line_are_known_by_the_folder_beside_them(tiny_checkpoint, project, tmp_path) -> None:
    settings = tiny_settings(
        tiny_checkpoint, project.path("dataset"), tmp_path / "out", save_every_n_epochs=1, max_train_epochs=2,
        validation_split=0.4, validation_seed=3,
    )  # fmt: skip
    run(settings)
    names = ["zuna-000001.safetensors", "zuna.safetensors", "other.safetensors"]
    found = of_files([tmp_path / "out" / name for name in names])
    assert [each.step if each else None for each in found] == [2, 4, None]


# ---------------------------------------------------------------------- reading and comparing


def test_torn_foreign_and_doubled_lines(tmp_path: Path) -> None:
    assert read_validation(tmp_path) == []
    text = said(4, 0.2, "b") + said(0, 0.5) + said(2, 0.3, "a") + said(2, 0.25, "a") + "[]\n7\n" + said(3, 0.1)[:20]
    text += '{"step": 5, "loss": NaN, "file": "c", "key": "k"}\n{"step": "6", "loss": 1, "file": "", "key": ""}\n'
    (tmp_path / VALIDATION).write_bytes(text.encode() + b"\xff\xfe\n")
    assert [(each.step, each.loss, each.file) for each in read_validation(tmp_path)] == [
        (0, 0.5, ""), (2, 0.25, "a"), (4, 0.2, "b"),
    ]  # fmt: skip


def test_only_what_can_be_compared_is() -> None:
    def losses(*pairs: tuple[float, str] | None) -> dict[int, float]:
        return comparable({place: Validated(1, *pair[:1], "f", pair[1]) if pair else None for place, pair in enumerate(pairs)})  # fmt: skip

    assert losses() == losses(None) == losses((0.3, "k")) == {}
    assert losses((0.3, "k"), None, (0.2, "k")) == {0: 0.3, 2: 0.2}
    assert losses((0.3, "k"), (0.1, "other"), (0.2, "k")) == {0: 0.3, 2: 0.2}
    assert losses((0.3, "k"), (0.3005, "k")) == {}, "hardly a difference"


def test_losses_are_kept_with_the_scores() -> None:
    scores = Scores(losses={0: 0.3, 2: 0.2}, whole=True)
    assert Scores.from_dict(json.loads(json.dumps(scores.as_dict()))).losses == {0: 0.3, 2: 0.2}
    older = {key: value for key, value in scores.as_dict().items() if key != "losses"}
    assert Scores.from_dict(older).whole and Scores.from_dict(older).losses == {}
