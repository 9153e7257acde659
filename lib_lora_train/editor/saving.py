"""One caption, as somebody wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lib_lora_train.dataset.tag_text import with_tags
from lib_lora_train.editor.desk import Desk
from lib_lora_train.errors import UserError
from lib_lora_train.signals import Log
from lib_lora_train.tags.item import Item

_MOST_TAGS = 5_000
_BREAKS = frozenset("\n\r\x85\u2028\u2029")


class Wording(NamedTuple):
    """A caption as it shall be: all of its text, or the tags of its trained line."""

    text: str | None
    tags: Sequence[str] | None

    def put_into(self, item: Item) -> str:
        return self.text if self.text is not None else with_tags(item.text, _checked(self.tags or ()))


def save_caption(desk: Desk, picture_id: str, wording: Wording, version: str, after: Wording | None = None) -> None:
    """Writes a caption in place of the one that was of `version` when it was read ("" for none), or of what the same
    writer sent just before and has no answer to: `after`.

    Raises UserError: editor.one_of, editor.too_many, editor.tag_line, collection.unknown_picture,
    collection.caption_changed with what is there now, and as `Desk.write`.
    """
    for one in (wording, after):
        if one is not None and (one.text is None) == (one.tags is None):
            raise UserError("editor.one_of", "text, tags")
    title = "editor.did_caption"
    with desk.changing():
        item = desk.item(picture_id)
        if version != item.version:  # what is shown may be a second old
            item = _current(desk, picture_id, version, after)
        try:
            desk.write(desk.sheet(), {item.id: wording.put_into(item)}, Log(title, {"name": item.name}))
        except UserError as error:
            if error.code != "editor.changed":
                raise
            item = _current(desk, picture_id, version, after)
            desk.write(desk.sheet(), {item.id: wording.put_into(item)}, Log(title, {"name": item.name}))


def _current(desk: Desk, picture_id: str, version: str, after: Wording | None) -> Item:
    """As it is on the disk. Raises UserError: collection.caption_changed."""
    item = desk.item(picture_id, now=True)
    own = after is not None and after.put_into(item).rstrip() == item.text.rstrip()
    if version != item.version and not own:
        raise UserError("collection.caption_changed", item.name, theirs=item.text, version=item.version)
    return item


def _checked(tags: Sequence[str]) -> Sequence[str]:
    if len(tags) > _MOST_TAGS:
        raise UserError("editor.too_many", "tags", most=_MOST_TAGS)
    if any(_BREAKS & set(tag) for tag in tags):
        raise UserError("editor.tag_line", "tags")
    return [tag for tag in tags if tag.strip()]
