"""How far each step of a project's preparation is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lib_lora_train.prepare.bench import Look, Matte
from lib_lora_train.prepare.reading import to_dict
from lib_lora_train.prepare.state import State
from lib_lora_train.prepare.wanted import Entry

if TYPE_CHECKING:
    from lib_lora_train.workshop.context import Context


def step_states(context: Context) -> dict[str, dict[str, Any]]:
    """By step; `state` is never, stale (pictures or settings have changed since) or done."""
    state, entries = context.state, context.wanted.entries
    recipes = [entry.recipes for entry in entries if entry.task is not None and not _broken(context, entry)]
    crops = [recipe for found in recipes for recipe in found or ()]
    mattes = [entry for entry in entries if matte_of(context, entry) is not None]
    return {
        "check": {
            **_state(state, "check", all(_looked(context, entry) for entry in entries)),
            "score": state.score,
            "findings": state.findings,
        },
        "crop": {
            **_state(state, "crop", all(found is not None for found in recipes)),
            "cropped": sum(any(not recipe.whole for recipe in found) for found in recipes if found),
            "crops": len(crops),
        },
        "matte": {
            **_state(state, "matte", all(found is not None for found in recipes)),
            "mattes": len(mattes),
            "used": ", ".join(sorted({found.by for entry in mattes if (found := matte_of(context, entry))})),
        },
        "tag": _tag_state(context),
    }


def matte_of(context: Context, entry: Entry) -> Matte | None:
    """The mask of an original."""
    settings = context.state.ran.get("matte") or context.state.settings
    return context.bench.matte(entry.task, settings) if entry.task is not None else None


def look_of(context: Context, entry: Entry) -> Look | None:
    """What was seen in an original at the last check; None when nobody has looked."""
    if entry.task is None:
        return None
    ran = context.state.ran
    settings = ran.get("check") or ran.get("crop") or context.state.settings
    return context.bench.look(entry.task.digest, settings.check.medium)


def _tag_state(context: Context) -> dict[str, Any]:
    ran = context.state.ran.get("tag")
    if ran is None:
        return {**_state(context.state, "tag", True), "tagged": 0, "used": []}
    # Of a crop that came since, there may be no picture yet: nobody can have looked at it.
    contents = {content for entry in context.wanted.entries for content in entry.contents.values()}
    tagged = sum(map(context.seen.by(ran.tag).is_complete, contents))
    used = [*ran.tag.taggers, *([ran.tag.captioner] if ran.tag.captioner != "none" else [])]
    return {**_state(context.state, "tag", tagged == len(contents)), "tagged": tagged, "used": used}


def _state(state: State, step: str, complete: bool) -> dict[str, Any]:
    ran = state.ran.get(step)
    if ran is None:
        return {"state": "never", "time": None}
    same = state.planned or to_dict(ran)[step] == to_dict(state.settings)[step]
    return {"state": "done" if complete and same else "stale", "time": state.times.get(step)}


def _looked(context: Context, entry: Entry) -> bool:
    return entry.task is None or look_of(context, entry) is not None


def _broken(context: Context, entry: Entry) -> bool:
    look = look_of(context, entry)
    return look is not None and look.error is not None
