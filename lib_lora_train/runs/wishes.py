"""The few things a person is asked before a run: everything else is planned."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora_train.errors import UserError
from lib_lora_train.project import SUBJECT_KINDS
from lib_lora_train.train.plan import CHOICES

MEDIA = ("auto", "drawn", "photo")
_DRAWN = ("character", "style")  # what is mostly drawn; the other kinds are mostly photographed


@dataclass
class Wishes:
    """`checkpoint` is a name out of the list, empty for the one that is loaded."""

    kind: str = "character"
    medium: str = "auto"
    choice: str = "balanced"
    checkpoint: str = ""

    @property
    def drawn(self) -> bool:
        return self.kind in _DRAWN if self.medium == "auto" else self.medium == "drawn"

    def check(self) -> None:
        """Raises UserError("run.wish") naming the first that is none of its choices."""
        for name, known in (("kind", SUBJECT_KINDS), ("medium", MEDIA), ("choice", CHOICES)):
            value = getattr(self, name)
            if value not in known:
                raise UserError("run.wish", name, value=str(value)[:60], choices=", ".join(known))
