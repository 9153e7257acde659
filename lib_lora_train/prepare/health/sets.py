"""What is to be said about a set as a whole: how many pictures, how varied, and how they are described."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from lib_lora_train.prepare.health.findings import Finding, finding
from lib_lora_train.prepare.health.measures import Measures
from lib_lora_train.prepare.health.prints import THUMBNAIL, thumbnail_of

FEWEST, MOST = 15, 50
_ENOUGH = 8  # pictures, for a share of them to mean something
_RARE, _OFTEN = 0.1, 0.9
_RIM = 5  # width of the rim that stands for the background, in pixels of the thumbnail
_SAME_RIM = 14.0  # root of the mean square difference, in levels
_SAME_SHARE = 0.4
_EVERYWHERE = 0.9


class _Member(Protocol):
    @property
    def key(self) -> str: ...
    @property
    def measures(self) -> Measures | None: ...
    @property
    def caption(self) -> str: ...


def about_set(fit: Sequence[_Member], given: int, people: bool, trigger: str) -> Iterator[Finding]:
    """`fit`: the pictures that no finding says to leave out, of `given`. `people`: whether faces matter."""
    if len(fit) < FEWEST:
        values = {"fit": len(fit), "given": given, "fewest": FEWEST, "most": MOST}
        yield finding("few", (), values, weight=(FEWEST - len(fit)) / FEWEST)
    elif len(fit) > MOST:
        yield finding("many", (), {"fit": len(fit), "fewest": FEWEST, "most": MOST})
    if people:
        yield from _framing(fit)
        yield from _angles(fit)
    yield from _backgrounds(fit)
    yield from _captions(fit, trigger)


def _framing(fit: Sequence[_Member]) -> Iterator[Finding]:
    framed = [(item, item.measures.faces[0].framing) for item in fit if item.measures and item.measures.faces]
    if len(framed) < _ENOUGH:
        return
    close = [item.key for item, framing in framed if framing == "close_up"]
    share = len(close) / len(framed)
    if share < _RARE:
        far = [item.key for item, framing in framed if framing != "close_up"]
        yield finding("no_close_ups", far, {"close": len(close), "faces": len(framed)})
    elif share > _OFTEN:
        yield finding("only_close_ups", close, {"close": len(close), "faces": len(framed)})


def _angles(fit: Sequence[_Member]) -> Iterator[Finding]:
    turned = [(item.key, item.measures.faces[0].angle) for item in fit if item.measures and item.measures.faces]
    turned = [(key, angle) for key, angle in turned if angle]
    if len(turned) < _ENOUGH:
        return
    angle, count = Counter(angle for _, angle in turned).most_common(1)[0]
    if count > _OFTEN * len(turned):
        keys = [key for key, own in turned if own == angle]
        yield finding("one_angle", keys, {"same": count, "faces": len(turned)})


def _backgrounds(fit: Sequence[_Member]) -> Iterator[Finding]:
    """The largest number of pictures whose rims (left, right and top: below stands the subject) look like one's."""
    measured = [item for item in fit if item.measures is not None]
    if len(measured) < _ENOUGH:
        return
    rim = np.zeros((THUMBNAIL, THUMBNAIL), bool)
    rim[:_RIM], rim[:, :_RIM], rim[:, -_RIM:] = True, True, True
    rims = np.stack([_rim(item.measures, rim) for item in measured])
    squares = (rims * rims).sum(1)
    most: np.ndarray = np.zeros(0, np.int64)
    for start in range(0, len(rims), 512):
        part = rims[start : start + 512]
        apart = squares[start : start + 512, None] + squares[None, :] - 2 * part @ rims.T
        same = apart <= _SAME_RIM**2 * rims.shape[1]
        counts = same.sum(1)
        if counts.max() > len(most):
            most = np.flatnonzero(same[int(counts.argmax())])
    if len(most) >= max(_SAME_SHARE * len(measured), 5):
        keys = [measured[index].key for index in most]
        yield finding("same_background", keys, {"same": len(keys), "given": len(measured)})


def _rim(measures: Measures | None, rim: np.ndarray) -> np.ndarray:
    if measures is None:
        return np.zeros(int(rim.sum()) * 3, np.float32)
    return thumbnail_of(measures.thumbnail)[rim].astype(np.float32).ravel()


def _captions(fit: Sequence[_Member], trigger: str) -> Iterator[Finding]:
    """Nothing is said of a set without any captions: that is one way to train."""
    described = [item for item in fit if item.caption.strip()]
    if not described:
        return
    missing = [item.key for item in fit if not item.caption.strip()]
    if missing:
        yield finding("caption_none", missing, {"given": len(fit)}, weight=len(missing) / len(fit))
    if len(described) < _ENOUGH:
        return
    count = len(described)
    texts = Counter(_plain(item.caption) for item in described)
    text, most = texts.most_common(1)[0]
    if most > 0.5 * count:
        keys = [item.key for item in described if _plain(item.caption) == text]
        yield finding("caption_same", keys, {"same": most, "given": count})
    word = _plain(trigger)
    if word:
        lacking = [item.key for item in described if word not in _plain(item.caption)]
        if lacking:
            values = {"trigger": trigger, "given": count}
            yield finding("caption_trigger", lacking, values, weight=len(lacking) / count)
    if most <= 0.5 * count:
        tags = Counter(tag for item in described for tag in set(_tags(item.caption)) if tag != word)
        everywhere = sorted(tag for tag, times in tags.items() if times > _EVERYWHERE * count)
        if everywhere:
            yield finding("caption_everywhere", (), {"tags": ", ".join(everywhere[:8]), "count": len(everywhere)})


def _tags(caption: str) -> list[str]:
    return [tag for tag in (_plain(part) for part in caption.split(",")) if tag]


def _plain(text: str) -> str:
    """Without differences that a model does not see."""
    return " ".join(text.casefold().replace("_", " ").split())
