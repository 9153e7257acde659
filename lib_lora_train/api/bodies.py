"""The bodies of requests: flat, strict, and valid for both major versions of pydantic.

Only the shape is checked here. What a value may be is checked where it is used, and said there in words.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, StrictBool, StrictInt, StrictStr


class Nothing(BaseModel, extra="forbid"):
    """An empty object."""


class NewProject(BaseModel, extra="forbid"):
    title: StrictStr
    kind: StrictStr = "character"
    trigger_word: StrictStr = ""


class EditedProject(BaseModel, extra="forbid"):
    title: StrictStr | None = None
    kind: StrictStr | None = None
    trigger_word: StrictStr | None = None


class Trashed(BaseModel, extra="forbid"):
    trash_id: StrictStr


class NewConcept(BaseModel, extra="forbid"):
    name: StrictStr
    repeats: StrictInt = 10
    regularization: StrictBool = False


class EditedConcept(BaseModel, extra="forbid"):
    name: StrictStr | None = None
    repeats: StrictInt | None = None


class Folder(BaseModel, extra="forbid"):
    path: StrictStr
    concept: StrictStr = ""


class Caption(BaseModel, extra="forbid"):
    text: StrictStr
    version: StrictStr


class Prompt(BaseModel, extra="forbid"):
    prompt: StrictStr
    trigger_word: StrictStr = ""


class Pictures(BaseModel, extra="forbid"):
    pictures: list[StrictStr]


class MovedPictures(BaseModel, extra="forbid"):
    pictures: list[StrictStr]
    concept: StrictStr


class WishesBody(BaseModel, extra="forbid"):
    kind: StrictStr = ""  # the project's
    medium: StrictStr = "auto"
    choice: StrictStr = "balanced"
    checkpoint: StrictStr = ""


class NewRun(BaseModel, extra="forbid"):
    settings: Any = None  # checked by the settings' own reader
    wishes: WishesBody | None = None


class Continued(BaseModel, extra="forbid"):
    file: StrictStr = ""


class Stopping(BaseModel, extra="forbid"):
    save: StrictBool = False


class Place(BaseModel, extra="forbid"):
    place: StrictInt


class Preset(BaseModel, extra="forbid"):
    settings: Any


class PrepareValues(BaseModel, extra="forbid"):
    settings: Any  # checked by the settings' own reader


class Preparing(BaseModel, extra="forbid"):
    steps: list[StrictStr]
    apply: StrictBool = False
    train: WishesBody | None = None


class Undone(BaseModel, extra="forbid"):
    id: StrictStr


class Fixed(BaseModel, extra="forbid"):
    finding: StrictStr
    fix: StrictStr
    sources: list[StrictStr] = []


class Frames(BaseModel, extra="forbid"):
    crops: list[Any]  # checked by the crops' own reader


class Like(BaseModel, extra="forbid"):
    source: StrictStr


class TagPreview(BaseModel, extra="forbid"):
    settings: Any = None
    offset: StrictInt = 0
    limit: StrictInt = 50
