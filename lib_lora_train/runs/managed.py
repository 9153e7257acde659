"""Settings that a project decides by itself, and the settings of a run with them filled in."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.collection.entries import list_concepts
from lib_lora_train.project import Project
from lib_lora_train.runs.naming import find_lora, loras_folder
from lib_lora_train.runs.records import read_record
from lib_lora_train.settings import TrainSettings
from lib_lora_train.settings.fields import describe
from lib_lora_train.train.output import Output

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

MANAGED = frozenset(
    {
        "dataset.train_data_dir",
        "dataset.reg_data_dir",
        "dataset.conditioning_data_dir",
        "dataset.repeats",
        "dataset.class_tokens",
        "dataset.caption_extension",
        "run.output_dir",
        "run.output_name",
        "run.resume",
        "run.trigger_word",
    }
)
# Folders of this computer, which only somebody who sits at it may name.
LOCAL_ONLY = frozenset({"run.logging_dir"})


def without(settings: TrainSettings, names: frozenset[str]) -> TrainSettings:
    """A copy with the named settings (`group.name`) at their defaults."""
    result = copy.deepcopy(settings)
    for item in describe(TrainSettings):
        if f"{item.group}.{item.name}" in names:
            setattr(getattr(result, item.group), item.name, copy.copy(item.default))
    return result


def prepare(host: Host, project: Project, run_folder: Path, resume: bool = False) -> tuple[TrainSettings, Output]:
    """What is trained: the settings of run.json with the project's folders, and where the run writes.

    With `resume` it goes on from the newest state in the run's folder. Raises UserError: run.damaged, run.no_lora.
    """
    record = read_record(run_folder)
    settings = without(record.settings, MANAGED)
    dataset, network, run = settings.dataset, settings.network, settings.run
    output = Output(loras=loras_folder(host, project), run=run_folder, name=record.name, numbered_final=True)
    dataset.train_data_dir = str(project.path("dataset"))
    if any(concept.regularization and concept.pictures for concept in list_concepts(project)):
        dataset.reg_data_dir = str(project.path("regularization"))
    if dataset.masked_loss:
        dataset.conditioning_data_dir = str(project.path("masks"))
    if resume:
        run.resume = str(run_folder)
        if not network.dim_from_weights:  # the state brings the weights; ranks are still taken from the file
            network.network_weights = ""
    if network.network_weights:
        network.network_weights = str(find_lora(host, network.network_weights))
    run.output_dir, run.output_name, run.trigger_word = str(output.loras), record.name, record.trigger_word
    run.sample_prompts = as_prompts(run.sample_prompts)
    return settings, output


def as_prompts(text: str) -> str:
    """Sample prompts that are the prompts themselves: a single line that ends in .txt would be taken for a file."""
    return text if "\n" in text else f"{text}\n"
