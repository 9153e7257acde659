"""Which pictures of a set are the same: exactly, nearly, mirrored, or one a part of the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lib_lora_train.prepare.health.marks import marks_of
from lib_lora_train.prepare.health.measures import Measures
from lib_lora_train.prepare.health.prints import THUMBNAIL, bits_of, thumbnail_of

RELATIONS = ("exact", "near", "mirrored", "crop")  # from the safest to the boldest
_BITS_APART = 30  # of 192, for whole pictures
_ALIKE = 0.93  # correlation of thumbnails of whole pictures
_ROWS = 512  # of the table of all pairs that are held at once
_WORDS = 8  # 16-bit pieces of a mark's 128 bits
_CROWD = 24  # pictures that share a piece more often than this share nothing special
_VOTES = 7  # shared pieces that make two pictures worth a closer look
_LOOKS = 3  # closer looks, for each picture on average
_MARK_BITS = 34  # of 128, between marks that may be the same place
_SAME_PLACES = 8
_TOLERANCE = 0.03  # of the longer side, for a place
_PART_ALIKE = 0.8  # correlation of the shared part
_EVEN = 0.3  # share of even ground from which on a picture counts as drawn
_DRAWN_OFF = 0.85  # of the shared part of drawings, at the place where they differ most
_PART = 0.6  # of the smaller picture, that both show


@dataclass(frozen=True)
class Pair:
    first: int
    second: int
    relation: str


def alike(measures: Sequence[Measures]) -> list[Pair]:
    """Pairs of places in `measures`; of a group of equal pictures not all pairs, but enough to connect it."""
    pairs = list(_exact(measures))
    if len(measures) < 2:
        return pairs
    thumbnails = np.stack([_normalized(each.thumbnail) for each in measures])
    found = {(pair.first, pair.second) for pair in pairs}
    for pair in _near(measures, thumbnails):
        if (pair.first, pair.second) not in found:
            found.add((pair.first, pair.second))
            pairs.append(pair)
    group = _roots(len(measures), pairs)
    pairs += list(_crops(measures, group))
    return pairs


def groups(count: int, pairs: Sequence[Pair]) -> list[tuple[list[int], str]]:
    """Connected pictures, each group with its boldest relation, in the order of their first picture."""
    root = _roots(count, pairs)
    members: dict[int, list[int]] = {}
    for item in range(count):
        members.setdefault(root[item], []).append(item)
    boldest: dict[int, int] = {}
    for pair in pairs:
        at = root[pair.first]
        boldest[at] = max(boldest.get(at, 0), RELATIONS.index(pair.relation))
    return [(each, RELATIONS[boldest[at]]) for at, each in members.items() if len(each) > 1]


def _roots(count: int, pairs: Sequence[Pair]) -> list[int]:
    parent = list(range(count))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for pair in pairs:
        one, other = root(pair.first), root(pair.second)
        parent[max(one, other)] = min(one, other)
    return [root(item) for item in range(count)]


def _exact(measures: Sequence[Measures]) -> Iterator[Pair]:
    first: dict[str, int] = {}
    for index, each in enumerate(measures):
        if each.digest in first:
            yield Pair(first[each.digest], index, "exact")
        else:
            first[each.digest] = index


def _normalized(thumbnail: str) -> np.ndarray:
    """RGB without mean, of length 1 (or 0 when it is one colour), float32."""
    values = thumbnail_of(thumbnail).astype(np.float32).ravel()
    values -= values.mean()
    length = float(np.linalg.norm(values))
    return values / length if length > 4.0 * np.sqrt(len(values)) else np.zeros_like(values)


def _near(measures: Sequence[Measures], thumbnails: np.ndarray) -> Iterator[Pair]:
    """By Hamming distance of the hashes, as products of matrices of -1 and 1, and by correlation of the thumbnails."""
    own = bits_of([each.prints for each in measures])
    mirrored = bits_of([each.mirrored for each in measures])
    turned = thumbnails.reshape(-1, THUMBNAIL, THUMBNAIL, 3)[:, :, ::-1].reshape(thumbnails.shape)
    least = own.shape[1] - 2 * _BITS_APART
    for relation, others, pictures in (("near", own, thumbnails), ("mirrored", mirrored, turned)):
        for start in range(0, len(own), _ROWS):
            close = np.argwhere(own[start : start + _ROWS] @ others.T >= least)
            close[:, 0] += start
            close = close[close[:, 0] < close[:, 1]]
            for begin in range(0, len(close), 4096):
                first, second = close[begin : begin + 4096].T
                same = (thumbnails[first] * pictures[second]).sum(1) >= _ALIKE
                for one, other in zip(first[same].tolist(), second[same].tolist(), strict=True):
                    yield Pair(one, other, relation)


# ------------------------------------------------------------------------------ parts of each other


def _crops(measures: Sequence[Measures], group: Sequence[int]) -> Iterator[Pair]:
    own = [marks_of(each.marks) for each in measures]
    mirrored = [marks_of(each.mirrored_marks) for each in measures]
    for first, second, flipped in _candidates(own, mirrored, group):
        places, bits = (mirrored if flipped else own)[second]
        if _same_part(measures[first], own[first], measures[second], (places, bits), flipped):
            yield Pair(first, second, "crop")


def _candidates(
    own: Sequence[tuple[np.ndarray, np.ndarray]],
    mirrored: Sequence[tuple[np.ndarray, np.ndarray]],
    group: Sequence[int],
) -> list[tuple[int, int, bool]]:
    """(first, second, second is mirrored) of pictures that share unusual pieces of marks, most first.

    Multi-index hashing (Norouzi and others, 2012): marks that are a few bits apart agree in some whole 16-bit piece. Equal
    pieces are found by sorting, so that the cost grows with the number of pictures and not with its square.
    """
    count, root = len(own), np.array(group)
    present = [(bits, index * 2 + flipped) for flipped, every in enumerate((own, mirrored)) for index, (_, bits) in enumerate(every) if len(bits)]  # fmt: skip
    if not present:
        return []
    words = np.concatenate([np.ascontiguousarray(bits).view(np.uint16) for bits, _ in present])
    owners = np.concatenate([np.full(len(bits), owner, np.int64) for bits, owner in present])
    votes = []
    for word in range(_WORDS):
        # A picture that has the same piece twice votes once.
        combined = np.unique(words[:, word].astype(np.int64) * (2 * count) + owners)
        piece, owner = combined // (2 * count), combined % (2 * count)
        begins = np.flatnonzero(np.diff(piece, prepend=-1))
        sizes = np.diff(np.append(begins, len(piece)))
        kept = np.repeat(sizes <= _CROWD, sizes)
        piece, owner = piece[kept], owner[kept]
        for apart in range(1, _CROWD):
            same = np.flatnonzero(piece[apart:] == piece[:-apart])
            one, other = owner[same], owner[same + apart]
            # Both mirrored tells what both as they are tells; a picture and its own mirror image tells nothing.
            useful = ((one & 1) + (other & 1) <= 1) & (root[one >> 1] != root[other >> 1])
            one, other = one[useful], other[useful]
            flipped = (one | other) & 1
            low, high = np.minimum(one >> 1, other >> 1), np.maximum(one >> 1, other >> 1)
            votes.append((low * count + high) * 2 + flipped)
    pairs, counts = np.unique(np.concatenate(votes), return_counts=True)
    best = np.argsort(-counts, kind="stable")[: _LOOKS * count]
    best = best[counts[best] >= _VOTES]
    return [(int(pair) // 2 // count, int(pair) // 2 % count, bool(pair & 1)) for pair in pairs[best]]


_Marks = tuple[np.ndarray, np.ndarray]


def _same_part(one: Measures, own: _Marks, other: Measures, others: _Marks, flipped: bool) -> bool:
    """Whether one scale and one shift bring enough marks, and the pictures themselves, onto each other."""
    import cv2

    if not len(own[1]) or not len(others[1]):
        return False
    (apart, nearest), (_, back) = (
        (each.ravel() for each in cv2.batchDistance(*marks, cv2.CV_32S, normType=cv2.NORM_HAMMING, K=1))
        for marks in ((own[1], others[1]), (others[1], own[1]))
    )
    kept = np.flatnonzero((apart <= _MARK_BITS) & (back[nearest] == np.arange(len(nearest))))
    if len(kept) < _SAME_PLACES:
        return False
    kept = kept[np.argsort(apart[kept], kind="stable")][:48]
    here = own[0][kept] * (max(one.width, one.height) / 255.0)
    there = others[0][nearest[kept]] * (max(other.width, other.height) / 255.0)
    found = _similarity(here, there, max(one.width, one.height), max(other.width, other.height))
    return found is not None and _overlaps(one, other, flipped, *found)


def _similarity(here: np.ndarray, there: np.ndarray, size: float, size_there: float) -> tuple[float, np.ndarray] | None:
    """(scale, shift) with there = scale * here + shift for at least eight marks; every two marks propose one."""
    first, second = np.triu_indices(len(here), 1)
    along, along_there = here[second] - here[first], there[second] - there[first]
    length, length_there = np.linalg.norm(along, axis=1), np.linalg.norm(along_there, axis=1)
    upright = (along * along_there).sum(1) >= 0.97 * length * length_there
    usable = upright & (length >= 0.08 * size) & (length_there >= 0.08 * size_there)
    if not usable.any():
        return None
    scale = length_there[usable] / length[usable]
    shift = there[first[usable]] - scale[:, None] * here[first[usable]]
    off = np.linalg.norm(scale[:, None, None] * here + shift[:, None, :] - there, axis=2)
    inside = off <= _TOLERANCE * size_there
    best = int(inside.sum(1).argmax())
    if inside[best].sum() < _SAME_PLACES:
        return None
    kept = inside[best]
    # Least squares over the marks that agree.
    middle, middle_there = here[kept].mean(0), there[kept].mean(0)
    spread, spread_there = here[kept] - middle, there[kept] - middle_there
    exact = float((spread * spread_there).sum() / max((spread * spread).sum(), 1e-6))
    if np.ptp(here[kept], axis=0).max() < 0.12 * size or exact <= 0.05:
        return None
    return exact, middle_there - exact * middle


def _overlaps(one: Measures, other: Measures, flipped: bool, scale: float, shift: np.ndarray) -> bool:
    import cv2

    picture = thumbnail_of(one.thumbnail).astype(np.float32)
    target = thumbnail_of(other.thumbnail).astype(np.float32)
    if flipped:
        target = np.ascontiguousarray(target[:, ::-1])
    # From a pixel of the other thumbnail (its middle) to one of the first.
    across = other.width / THUMBNAIL / scale / (one.width / THUMBNAIL)
    down = other.height / THUMBNAIL / scale / (one.height / THUMBNAIL)
    right = -float(shift[0]) / scale / (one.width / THUMBNAIL) + 0.5 * across - 0.5
    below = -float(shift[1]) / scale / (one.height / THUMBNAIL) + 0.5 * down - 0.5
    matrix = np.array([[across, 0, right], [0, down, below]], np.float32)
    options = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    # Where one thumbnail is much finer than the other, the finer one is softened to the other's detail.
    picture = _softened(picture, 1 / min(across, down))
    target = _softened(target, max(across, down))
    moved = cv2.warpAffine(picture, matrix, (THUMBNAIL, THUMBNAIL), flags=options, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.ones_like(picture[:, :, 0]), matrix, (THUMBNAIL, THUMBNAIL), flags=options) > 0.99
    shared = int(inside.sum())
    if shared < 30:
        return False
    share = shared / THUMBNAIL**2
    of_first = share * (other.width * other.height) / (scale * scale) / (one.width * one.height)
    if max(share, of_first) < _PART:
        return False
    first, second = moved[inside] - moved[inside].mean(), target[inside] - target[inside].mean()
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    if not lengths > 0 or float((first * second).sum()) / lengths < _PART_ALIKE:
        return False
    drawn = min(one.light.even, other.light.even) >= _EVEN
    return not drawn or _farthest_off(moved, target, inside) <= _DRAWN_OFF


def _farthest_off(one: np.ndarray, other: np.ndarray, inside: np.ndarray) -> float:
    """How far two thumbnails are apart where they are farthest, over 5 x 5 pixels, in standard deviations.

    Drawings by one hand in one pose agree in outlines and colours of the figure, and so in most of a picture; what tells
    them apart is one place: another mouth, another background.
    """
    import cv2

    normed = [(each - each[inside].mean(0)) / max(float(each[inside].std()), 1.0) for each in (one, other)]
    off = np.where(inside, np.abs(normed[0] - normed[1]).max(2), 0.0).astype(np.float32)
    around = cv2.blur(off, (5, 5)) / np.maximum(cv2.blur(inside.astype(np.float32), (5, 5)), 1e-3)
    return float(around[inside].max())


def _softened(picture: np.ndarray, factor: float) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(picture, (0, 0), 0.5 / factor) if factor < 0.8 else picture
