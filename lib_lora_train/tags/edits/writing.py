"""A caption as somebody has typed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lib_lora_train.collection.caption_files import check_caption
from lib_lora_train.settings.fields import setting
from lib_lora_train.signals import Log
from lib_lora_train.tags.edits.base import Change, Draft, Edit, EditContext


@dataclass(frozen=True)
class WriteEdit(Edit):
    """The whole text of a caption, all lines."""

    kind: ClassVar[str] = "write"
    label: ClassVar[str] = "Write"
    help: ClassVar[str] = "Writes the caption anew; nothing removes it."

    text: str = setting("", "Caption", "The whole text.")

    def __post_init__(self) -> None:
        """Raises UserError: collection.caption_long, collection.caption_characters."""
        check_caption(self.text, "text")

    def title(self) -> Log:
        return Log("edits.title_write" if self.text.strip() else "edits.title_write_nothing")

    def change(self, drafts: Sequence[Draft], context: EditContext) -> Change:
        return Change(text=lambda there: self.text)
