"""The line of preparations: one at a time, beside the training, so that nobody waits hours to look at pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lib_lora_train.access import Visitor
from lib_lora_train.jobs import Job
from lib_lora_train.prepare.state import FOLDER
from lib_lora_train.project import Project
from lib_lora_train.runs import line

JOB = "job"  # its folder, in the project's


class Line(line.Line):
    """One of each project at a time, and downloads, which belong to none."""

    def start(self, project: Project, visitor: Visitor, work: line.Work, then: Callable[[], None] | None = None) -> Job:
        """Puts `work` in line; `then` is called when it is done, and its UserError becomes the job's.

        Raises UserError: job.busy while one of the project is waiting or running, job.queue_full, file.write.
        """
        return self.put(project.title, self.folder(project), visitor, work, then)

    def of(self, project: Project) -> Job | None:
        """The one that runs or waits for a project."""
        return self.in_folder(self.folder(project))

    def stop(self, project: Project, visitor: Visitor) -> None:
        """Ends it after the picture in progress. Raises UserError: access.not_owner."""
        self.end(self.of(project), visitor)

    def folder(self, project: Project) -> Path:
        return project.path(FOLDER, JOB)
