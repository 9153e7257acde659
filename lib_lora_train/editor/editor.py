"""The tag editor of a server: one desk per project that was asked for lately. Who may ask is the studio's to say."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from lib_lora_train.editor.desk import Desk
from lib_lora_train.editor.lexicon import Lexicon
from lib_lora_train.editor.tokens import Tokens
from lib_lora_train.project import Project

if TYPE_CHECKING:
    from pathlib import Path

    from lib_lora_train.host.base import Host

_KEPT = 8  # desks


@dataclass(frozen=True)
class Tools:
    """What all desks share."""

    lexicon: Lexicon
    tokens: Tokens


class Editor:
    """All methods may be called from any thread. `root` is the projects' folder."""

    def __init__(self, host: Host, root: Path) -> None:
        others = chain.from_iterable(host.model_files().values())
        self.tools = Tools(Lexicon(host.paths.models, root, others), Tokens(host))
        self._guard = threading.Lock()
        self._desks: OrderedDict[str, Desk] = OrderedDict()

    def desk(self, project: Project) -> Desk:
        """Raises UserError("path.outside") when a folder of the project has become a link that leads out of it."""
        with self._guard:
            desk = self._desks.get(project.id)
            if desk is None or desk.place.base != project.folder:
                desk = self._desks[project.id] = Desk(project, self.tools)
            self._desks.move_to_end(project.id)
            for known in list(self._desks)[: max(0, len(self._desks) - _KEPT)]:
                if self._desks[known].writer.progress is None:  # one that is writing stays
                    del self._desks[known]
        desk.take(project)
        return desk

    def leave(self, project: Project) -> None:
        """Before a project is moved away: waits for what is being written, and forgets its desk."""
        with self._guard:
            desk = self._desks.pop(project.id, None)
        if desk is not None:
            desk.writer.close()

    def close(self, timeout: float | None = None) -> bool:
        """Waits for what is being written; True when all is."""
        with self._guard:
            desks = list(self._desks.values())
        written = [desk.writer.close(timeout) for desk in desks]
        return all(written)
