"""Which of the tags that taggers saw are written: thresholds, several taggers, and what the user wants in or out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from lib_lora_train.dataset.tag_text import tag_key
from lib_lora_train.errors import UserError
from lib_lora_train.prepare.guesses import FLOOR, Guesses
from lib_lora_train.prepare.tables import TagSettings
from lib_lora_train.vision.tags_file import ARTIST, CHARACTER, COPYRIGHT, KAOMOJI, RATING

_NAMES = (ARTIST, COPYRIGHT, CHARACTER)  # of somebody or something: the character threshold is theirs
_GENERAL, _NAME, _RATING = 0, 1, 2
_KIND = np.zeros(256, np.uint8)
_KIND[list(_NAMES)] = _NAME
_KIND[RATING] = _RATING
MCUT_NAME_FLOOR = 0.15  # a picture without a known character has a largest gap too; the WD taggers' demo has this floor


def mcut(probabilities: Sequence[float] | np.ndarray) -> float:
    """The middle of the largest gap between neighbours of a list that falls (MCut: Largeron, Moulin, Géry 2012)."""
    values = np.append(np.asarray(probabilities, dtype=np.float64), FLOOR)
    if len(values) < 2:
        return 1.0
    place = int(np.argmax(values[:-1] - values[1:]))
    return float((values[place] + values[place + 1]) / 2)


class TagChooser:
    """The tag settings, read once, for any number of pictures.

    Order: first tags, then general tags, then names of characters, each by falling probability, then the rating.
    kohya's WD14 script has names behind general tags too, unless told otherwise, but each in the order of the file.
    Of the ratings, as there, the likeliest is taken, whatever its probability.
    """

    def __init__(self, settings: TagSettings) -> None:
        """Raises UserError("tagging.replace") or ("tagging.comma") with the name of the setting."""
        self.settings = settings
        self._exclude = {tag_key(tag) for tag in _single("exclude", settings.exclude)}
        self._first = {
            tag_key(tag): place for place, tag in reversed(list(enumerate(_single("first", settings.first))))
        }
        names = settings.character_threshold if settings.character_threshold < 1 else 2.0
        self._limits = np.array([settings.threshold, names, 2.0], np.float32)
        self._replace = dict(_replacement(entry) for entry in settings.replace if entry.strip())

    def choose(self, guesses: Sequence[Guesses]) -> list[str]:
        """The tags of a picture as they are written, from what each tagger saw. No tag is there twice."""
        if len(guesses) == 1:
            return self._arranged((key, words) for _, key, words in self._kept(guesses[0]))
        votes: Counter[str] = Counter()
        tags: dict[str, tuple[int, str]] = {}
        for seen in guesses:
            for kind, key, words in self._kept(seen):
                votes[key] += 1
                tags.setdefault(key, (kind, words))
        needed = {"union": 1, "vote": len(guesses) // 2 + 1, "intersection": len(guesses)}[self.settings.combine]
        chosen = [
            (kind, -_mean(key, guesses), key, words) for key, (kind, words) in tags.items() if votes[key] >= needed
        ]
        return self._arranged((key, words) for _, _, key, words in sorted(chosen))

    def adjusted(self, tags: Iterable[str]) -> list[str]:
        """Tags with replacements made, left-out ones gone, first ones in front, and each once."""
        return self._arranged((tag_key(tag), tag) for tag in tags)

    def _arranged(self, tags: Iterable[tuple[str, str]]) -> list[str]:
        """As `adjusted`, of keys and words."""
        result: dict[str, str] = {}
        for key, words in tags:
            if key in self._replace:
                words = self._replace[key]
                key = tag_key(words)
            if key and key not in self._exclude:
                result.setdefault(key, words)
        if self._first:
            last = len(self._first)
            return [result[key] for key in sorted(result, key=lambda key: self._first.get(key, last))]
        return list(result.values())

    def _kept(self, seen: Guesses) -> list[tuple[int, str, str]]:
        """Kind, key and words of what passes the thresholds; general tags, names, rating, each likeliest first."""
        indices, probabilities, words = seen.indices, seen.probabilities, seen.vocabulary
        kinds = _KIND[words.categories[indices]]
        limits = self._limits
        if self.settings.mcut:
            limits = limits.copy()
            limits[_GENERAL] = mcut(probabilities[kinds == _GENERAL])
            if self.settings.character_threshold < 1:
                limits[_NAME] = max(mcut(probabilities[kinds == _NAME]), MCUT_NAME_FLOOR)
        passing = probabilities >= limits[kinds]
        if self.settings.ratings:
            passing[np.flatnonzero(kinds == _RATING)[:1]] = True
        places = np.flatnonzero(passing)
        places = places[np.argsort(kinds[places], kind="stable")]
        keys, written = words.keys, words.spaced if self.settings.spaces else words.plain
        found = zip(kinds[places].tolist(), indices[places].tolist(), strict=True)
        return [(kind, keys[index], written[index]) for kind, index in found]


def choose_tags(guesses: Sequence[Guesses], settings: TagSettings) -> list[str]:
    """As `TagChooser(settings).choose(guesses)`, for one picture."""
    return TagChooser(settings).choose(guesses)


def _mean(key: str, guesses: Sequence[Guesses]) -> float:
    """Over the taggers that know the tag at all."""
    values = [seen.by_key.get(key, 0.0) for seen in guesses if key in seen.vocabulary.known]
    return sum(values) / len(values)


def _single(field: str, entries: Iterable[str]) -> list[str]:
    """Entries that are not blank; each one tag."""
    found = [entry.strip() for entry in entries if entry.strip()]
    for entry in found:
        if "," in entry:
            raise UserError("tagging.comma", field, entry=entry)
    return found


def _replacement(entry: str) -> tuple[str, str]:
    """Key of the old tag, and the new one, of "old=new"; faces with = in them may stand before or behind."""
    text = entry.strip()
    face = next((face for face in KAOMOJI if "=" in face and text.startswith(f"{face}=")), None)
    old, sign, new = (face, "=", text[len(face) + 1 :]) if face else text.partition("=")
    if not sign or not tag_key(old) or not tag_key(new):
        raise UserError("tagging.replace", "replace", entry=entry)
    _single("replace", [new])
    return tag_key(old), " ".join(new.split())
