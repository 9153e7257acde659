"""What a project remembers of its preparation: `prepare.json`, and files that were made by hand beside it.

    prepare/masks/<digest>.png      masks that were corrected by hand
    prepare/enlarged/<digest>.png   originals that were enlarged by the host's upscaler

`Hand` is what somebody decided about one original; it outlives every new run of a step. `ran` holds for each step the
settings with which it was done last: what the data set should look like follows from these, not from what stands in
the form. `applied` is the same as it was when the data set was last changed, to go back to.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lib_lora_train.collection.locking import locked
from lib_lora_train.errors import UserError
from lib_lora_train.files import write_json
from lib_lora_train.prepare.bench import Steps, Task
from lib_lora_train.prepare.frames import Crop
from lib_lora_train.prepare.reading import kept_settings, to_dict
from lib_lora_train.prepare.tables import BACKGROUNDS, PrepareSettings
from lib_lora_train.project import Project

LOGGER = logging.getLogger("lib_lora_train.prepare")
STATE, STATE_VERSION = "prepare.json", 1
STEPS = ("check", "crop", "matte", "tag")
FOLDER, MASKS, ENLARGED = "prepare", "masks", "enlarged"


@dataclass(frozen=True)
class Hand:
    """What was decided about one original. `crops` None: as proposed. `mask` and `enlarged` are digests of files;
    `scale` is how many times as large as the original the enlarged one is, `by` the upscaler that made it."""

    crops: tuple[Crop, ...] | None = None
    background: str = ""
    mask: str = ""
    enlarged: str = ""
    scale: float = 1.0
    by: str = ""

    def as_dict(self) -> dict[str, Any]:
        crops = None if self.crops is None else [crop.as_dict() for crop in self.crops]
        return {**vars(self), "crops": crops}


@dataclass
class State:
    """`settings` are those in the form. `times` are in seconds since 1970, by step; `score` and `findings` those of the
    last check."""

    settings: PrepareSettings = field(default_factory=PrepareSettings)
    planned: bool = True  # nobody has changed the settings yet
    ran: dict[str, PrepareSettings] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)
    hands: dict[str, Hand] = field(default_factory=dict)
    applied: dict[str, Any] | None = None
    score: int | None = None
    findings: int = 0

    @property
    def steps(self) -> Steps:
        return Steps(self.ran.get("check"), self.ran.get("crop"), self.ran.get("matte"))

    def hand(self, original: str) -> Hand:
        return self.hands.get(original, Hand())

    def set_hand(self, original: str, **values: Any) -> None:
        """Changes what was decided about an original; nothing is kept of one that is as it would be by itself."""
        hand = replace(self.hand(original), **values)
        self.hands.pop(original, None)
        if hand != Hand():
            self.hands[original] = hand

    def decided(self) -> dict[str, Any]:
        """What the data set follows from."""
        ran = {step: to_dict(settings) for step, settings in self.ran.items()}
        return {"ran": ran, "hands": {name: hand.as_dict() for name, hand in self.hands.items()}}

    def note_applied(self) -> None:
        self.applied = self.decided()

    def discard(self) -> None:
        """Goes back to what the data set was last made of; to nothing where it was never changed."""
        before = self.applied or {"ran": {}, "hands": {}}
        check = self.ran.get("check")
        self.ran, self.hands = _ran(before["ran"]), _hands(before["hands"])
        if check is not None:  # what was seen stays seen
            self.ran["check"] = check


def read_state(project: Project) -> State:
    """A state without any step for a project that was never prepared, or whose file cannot be read."""
    try:
        content = json.loads((project.folder / STATE).read_text(encoding="utf-8"))
        if content["version"] != STATE_VERSION:
            return State()
        return State(
            settings=kept_settings(content["settings"]),
            planned=bool(content["planned"]),
            ran=_ran(content["ran"]),
            times={step: float(content["times"][step]) for step in STEPS if step in content["times"]},
            hands=_hands(content["hands"]),
            applied=content["applied"] if isinstance(content["applied"], dict) else None,
            score=content["score"] if isinstance(content["score"], int) else None,
            findings=int(content["findings"]),
        )
    except FileNotFoundError:
        return State()
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, UserError) as error:
        LOGGER.warning("project %s: %s cannot be read: %s", project.id, STATE, error)
        return State()


@contextmanager
def changed_state(project: Project) -> Iterator[State]:
    """The state, to be changed; written when the block ends without an error. Raises UserError("file.write")."""
    with locked(project):
        state = read_state(project)
        yield state
        write_state(project, state)


def write_state(project: Project, state: State) -> None:
    """The lock must be held. Raises UserError("file.write")."""
    write_json(project.folder / STATE, state_values(state))


def state_values(state: State) -> dict[str, Any]:
    """What stands in the file."""
    return {
        "version": STATE_VERSION,
        "settings": to_dict(state.settings),
        "planned": state.planned,
        "times": state.times,
        "applied": state.applied,
        "score": state.score,
        "findings": state.findings,
        **state.decided(),
    }


def mask_file(project: Project, digest: str) -> Path:
    return project.path(FOLDER, MASKS, f"{digest}.png")


def enlarged_file(project: Project, digest: str) -> Path:
    return project.path(FOLDER, ENLARGED, f"{digest}.png")


def task_of(project: Project, path: Path, name: str, digest: str, hand: Hand) -> Task:
    """An original with what was decided about it. Files that were deleted by hand count as never made."""
    mask = mask_file(project, hand.mask) if hand.mask else None
    enlarged = enlarged_file(project, hand.enlarged) if hand.enlarged else None
    mask = mask if mask is not None and mask.is_file() else None
    enlarged = enlarged if enlarged is not None and enlarged.is_file() else None
    return Task(
        path,
        name,
        digest,
        crops=hand.crops,
        mask=mask,
        mask_digest=hand.mask if mask else "",
        enlarged=enlarged,
        enlarged_digest=hand.enlarged if enlarged else "",
        scale=hand.scale if enlarged else 1.0,
        background=hand.background,
    )


def _ran(values: Mapping[str, Any]) -> dict[str, PrepareSettings]:
    return {step: kept_settings(values[step]) for step in STEPS if step in values}


def _hands(values: Mapping[str, Any]) -> dict[str, Hand]:
    return {str(name): _hand(value) for name, value in values.items()}


def _hand(values: Mapping[str, Any]) -> Hand:
    crops, background = values["crops"], str(values["background"])
    return Hand(
        crops=None if crops is None else tuple(Crop.of(crop) for crop in crops),
        background=background if background in BACKGROUNDS else "",
        mask=_digest(values["mask"]),
        enlarged=_digest(values["enlarged"]),
        scale=float(values["scale"]),
        by=str(values["by"]),
    )


def _digest(text: Any) -> str:
    """Names a file, so nothing but hexadecimal digits. Raises ValueError."""
    if text and not (isinstance(text, str) and len(text) <= 64 and set(text) <= set("0123456789abcdef")):
        raise ValueError(text)
    return text or ""
