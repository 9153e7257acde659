"""The bodies of the tag editor's requests. As in `bodies`: only the shape is checked here."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, StrictBool, StrictInt, StrictStr


class TagSearch(BaseModel, extra="forbid"):
    filter: StrictStr = ""
    order: StrictStr = "name"
    reverse: StrictBool = False


class TagClick(BaseModel, extra="forbid"):
    filter: StrictStr = ""
    tag: StrictStr
    how: StrictStr


class TaggedPictures(BaseModel, extra="forbid"):
    pictures: list[StrictStr]


class TaggedWords(BaseModel, extra="forbid"):
    text: StrictStr | None = None
    tags: list[StrictStr] | None = None


class TaggedCaption(TaggedWords, extra="forbid"):
    picture: StrictStr
    version: StrictStr
    after: TaggedWords | None = None  # what the same writer sent just before, unanswered


class TagEditPreview(BaseModel, extra="forbid"):
    edit: Any  # checked by the edits' own reader
    filter: StrictStr = ""
    pictures: list[StrictStr] | None = None
    offset: StrictInt = 0
    limit: StrictInt = 50


class TagEdit(BaseModel, extra="forbid"):
    edit: Any  # checked by the edits' own reader
    filter: StrictStr = ""
    pictures: list[StrictStr] | None = None
    digest: StrictStr


class TagEntry(BaseModel, extra="forbid"):
    number: StrictInt


class TagRollback(BaseModel, extra="forbid"):
    to: StrictInt


class TagChoices(BaseModel, extra="forbid"):
    choices: Any = None  # decisions by tag; checked where they are kept
    outfit: StrictBool | None = None  # as it was


class TagBinding(BaseModel, extra="forbid"):
    digest: StrictStr = ""
    outfit: StrictBool | None = None


class TagTrigger(BaseModel, extra="forbid"):
    word: StrictStr


class TagForm(BaseModel, extra="forbid"):
    form: StrictStr


class TagImport(BaseModel, extra="forbid"):
    token: StrictStr
    digest: StrictStr
