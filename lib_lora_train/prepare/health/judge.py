"""Judging a set by its measures: which pictures help a training, which harm it, and what the set lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lib_lora_train.dataset.buckets import plan_crop
from lib_lora_train.errors import UserError
from lib_lora_train.prepare.health.alike import Pair, alike, groups
from lib_lora_train.prepare.health.findings import CODES, Finding, Report, finding, score
from lib_lora_train.prepare.health.measures import Measures
from lib_lora_train.prepare.health.sets import about_set
from lib_lora_train.settings.tables import DatasetSettings

_SOFT = 1.1  # width of the sharp edges at the training size, in pixels
_SMEARED, _TIMES = 1.05, 1.3  # the same in the direction in which they are widest, and how many times as wide that is
_ENLARGED = 0.82  # highest frequency that holds something, of the highest there could be
_REACH = 0.9  # the same in a picture that is sharp to its last pixel
_COMPRESSED = ((2.0, 50.0), (4.0, 25.0))  # up to so many training sizes, a quality at most so good is a fault
_DARK = 125.0  # brightness that 99 % of the pixels stay below
_BURNT, _WHITE, _RUN_OVER = 0.12, 0.1, 0.22
_DRAWN = 0.12  # share of even pixels, of a drawing
_RANGE = 66.0  # of brightness, from 1 % to 99 %
_EMPTY = 8.0
_LETTERS = 0.08  # length of a line, of the picture's width
_FACE = 40.0  # height of a face at the training size, in pixels; the latents have 8 pixels a cell
_SECOND = 0.4  # height of a second face, of the first, that makes it a second subject
_LOST = 0.15  # of the picture's area, by its bucket
_PEOPLE = ("person", "character")

Comparing = Callable[[Sequence[Measures]], Sequence[Pair]]


@dataclass(frozen=True)
class Item:
    """A picture of the set. Crops of one original share its `key`, and are no duplicates of each other. `size`: (width, height) in pixels. `measures` is None when it could not be read, which `error`
    explains. `caption` is empty when it has none."""

    key: str
    name: str
    size: tuple[int, int]
    measures: Measures | None
    error: UserError | None = None
    caption: str = ""


@dataclass(frozen=True)
class HealthWishes:
    """What the pictures are for. `size`: side of the square that they are trained at. `kind`: person, character, style,
    object or concept. `trigger`: the word that every caption should have. `buckets`: how pictures are fitted; None takes
    the usual buckets of `size`."""

    size: int = 512
    kind: str = "character"
    trigger: str = ""
    buckets: DatasetSettings | None = None


def judge(items: Sequence[Item], wishes: HealthWishes | None = None, alike: Comparing = alike) -> Report:
    """The report of a set. The same items give the same report; their order decides only the order of pictures in it.
    `alike` compares the pictures with each other; it may remember."""
    wishes = wishes or HealthWishes()
    faults: dict[str, list[Item]] = {code: [] for code in CODES}
    for item in items:
        for code in _faults(item, wishes):
            faults[code].append(item)
    findings = [
        finding(code, [item.key for item in faulty], _values(code, faulty, wishes))
        for code, faulty in faults.items()
        if faulty
    ]
    findings += _duplicates(items, faults, alike)
    unfit = {key for each in findings if CODES[each.code].way == "unfit" for key in each.faulty}
    fit = [item for item in items if item.key not in unfit]
    findings += about_set(fit, len(items), wishes.kind in _PEOPLE, wishes.trigger)
    points, reasons = score(findings, len(items))
    order = {"error": 0, "warning": 1, "hint": 2}
    findings.sort(key=lambda each: (order[each.severity], -len(each.faulty), each.id))
    return Report(points, reasons, findings)


def _faults(item: Item, wishes: HealthWishes) -> Iterator[str]:
    measures = item.measures
    if measures is None:
        yield "broken"
        return
    light = measures.light
    if light.bright - light.dark <= _EMPTY:
        yield "empty"
        return
    yield from _resolution(measures, wishes.size)
    if light.bright < _DARK:
        yield "dark"
    elif light.burnt > _BURNT or (light.white > _WHITE and light.soft > _RUN_OVER and light.even < _DRAWN):
        yield "bright"
    elif light.bright - light.dark < _RANGE:
        yield "flat"
    if measures.letters > _LETTERS:
        yield "lettering"
    if measures.content != (0.0, 0.0, 1.0, 1.0):
        yield "borders"
    if not measures.opaque:
        yield "transparent"
    if _share_lost(item, wishes) > _LOST:
        yield "aspect"
    if wishes.kind in _PEOPLE:
        yield from _faces(measures, wishes)


def _resolution(measures: Measures, size: int) -> Iterator[str]:
    side = measures.side
    width, across = edges_at(measures, size)
    effective = detailed_side(measures)
    if width > _SOFT or across > max(_SMEARED, _TIMES * width):
        yield "blurred"
    elif measures.detail < _ENLARGED and effective < 2 * size <= 2 * side:
        yield "upscaled" if effective < 0.95 * size else "little_detail"
    if side < 0.98 * size:
        yield "small"
    elif side < 2 * size:
        yield "below_twice"
    if any(side < many * size and measures.quality <= quality for many, quality in _COMPRESSED):
        yield "compressed"


def edges_at(measures: Measures, size: int) -> tuple[float, float]:
    """(width, across) of the edges, in pixels of the training size."""
    large_enough = [level for level in measures.edges if level[0] >= 0.98 * size]
    side, width, across = large_enough[-1] if large_enough else measures.edges[0]
    factor = min(size / side, 1.0)
    return width * factor, across * factor


def detailed_side(measures: Measures) -> float:
    """Side of the square that would hold the picture's detail, in pixels."""
    return measures.side * min(measures.detail / _REACH, 1.0)


def _faces(measures: Measures, wishes: HealthWishes) -> Iterator[str]:
    if not measures.faces:
        yield "face_none" if wishes.kind == "person" else "face_hidden"
        return
    largest = measures.faces[0]
    if len(measures.faces) > 1 and measures.faces[1].height >= _SECOND * largest.height:
        yield "faces_several"
    if largest.pixels * min(wishes.size / measures.side, 1.0) < _FACE:
        yield "face_small"
    if largest.cut:
        yield "face_cut"
    if largest.covered:
        yield "face_covered"


def _share_lost(item: Item, wishes: HealthWishes) -> float:
    settings = wishes.buckets or DatasetSettings(
        resolution=str(wishes.size), min_bucket_reso=max(wishes.size // 2, 64), max_bucket_reso=2 * wishes.size
    )
    try:
        return 1.0 - plan_crop(item.size, settings, item.name).share_kept
    except UserError:  # too long or too small for any bucket: nothing of it would be trained on
        return 1.0


def _values(code: str, faulty: Sequence[Item], wishes: HealthWishes) -> Mapping[str, object]:
    """For the sentence: the training size, the name of the worst or the first, and how bad it is."""
    measured = [(item, item.measures) for item in faulty if item.measures is not None]
    values: dict[str, object] = {"size": wishes.size, "twice": 2 * wishes.size, "first": faulty[0].name}
    if code in ("upscaled", "little_detail"):
        values["side"] = round(min(detailed_side(measures) for _, measures in measured))
    elif code == "compressed":
        values["quality"] = round(min(measures.quality for _, measures in measured))
    elif code == "aspect":
        values["share"] = f"{max(_share_lost(item, wishes) for item in faulty):.0%}"
    elif code == "broken":
        errors = [item.error for item in faulty if item.error is not None]
        values["first"] = errors[0].where or faulty[0].name if errors else faulty[0].name
    return values


def _duplicates(items: Sequence[Item], faults: Mapping[str, Sequence[Item]], alike: Comparing) -> Iterator[Finding]:
    """One finding for each group of equal pictures. Empty pictures all look alike and are not compared."""
    empty = {item.key for item in faults["empty"]}
    compared = [item for item in items if item.measures is not None and item.key not in empty]
    unfit = {item.key for code, faulty in faults.items() if CODES[code].way == "unfit" for item in faulty}
    measures = [item.measures for item in compared if item.measures is not None]
    pairs = [pair for pair in alike(measures) if compared[pair.first].key != compared[pair.second].key]
    for members, relation in groups(len(measures), pairs):
        group = [compared[index] for index in members]

        def merit(item: Item) -> tuple[bool, float, float]:
            own = item.measures
            if own is None:
                return False, 0.0, 0.0
            # Bars around a picture are no part of it, so that trimming them changes nothing here.
            left, top, right, bottom = own.content
            area = detailed_side(own) ** 2 * (right - left) * (bottom - top)
            return item.key not in unfit, round(area), own.quality

        best = max(group, key=merit)
        values = {"best": best.name, "others": len({item.key for item in group}) - 1}
        yield finding(f"duplicate_{relation}", [item.key for item in group], values, best.key, mark=group[0].key)
