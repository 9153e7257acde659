"""What is known of originals, by content: what was seen in them, how they should be cut, their masks, what is rendered.

All of it lies in a folder that may be deleted at any time; `working.work` finds out what is missing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib_lora_train.errors import UserError
from lib_lora_train.prepare.frames import Crop
from lib_lora_train.prepare.health.alike import RELATIONS, Pair, alike
from lib_lora_train.prepare.health.measures import MEASURES_VERSION, Measures
from lib_lora_train.prepare.kept import Kept, keep_files
from lib_lora_train.prepare.rendering import Background, Recipe
from lib_lora_train.prepare.tables import PrepareSettings
from lib_lora_train.vision.geometry import Box, Face
from lib_lora_train.vision.store import ModelStore

LOOK_VERSION = 1
FACE_MODELS, MATTE_MODELS = ("yunet", "anime-face"), ("isnet-anime", "birefnet", "birefnet-lite")
_MATTE_FILE = re.compile(r"[0-9a-f]+-[\w.+-]+\.png")
_DAMAGED = (KeyError, TypeError, ValueError, AttributeError, IndexError)  # of JSON that is not ours


@dataclass(frozen=True)
class Look:
    """What was seen in an original of `width` x `height`; `finders` looked for faces; `error` says why nothing was."""

    width: int = 0
    height: int = 0
    faces: tuple[Face, ...] = ()
    measures: Measures | None = None
    finders: tuple[str, ...] = ()
    error: UserError | None = None


@dataclass(frozen=True)
class Task:
    """An original to be worked on. `crops` were made by hand (None: as proposed), `mask` is a file that was corrected
    by hand and `mask_digest` its content, `enlarged` stands in for the original and is `scale` times as large.
    `background` counts instead of the settings'."""

    path: Path
    name: str
    digest: str
    crops: tuple[Crop, ...] | None = None
    mask: Path | None = None
    mask_digest: str = ""
    enlarged: Path | None = None
    enlarged_digest: str = ""
    scale: float = 1.0
    background: str = ""


@dataclass(frozen=True)
class Steps:
    """The settings that count for each step; None: it was not asked for."""

    check: PrepareSettings | None = None
    crop: PrepareSettings | None = None
    matte: PrepareSettings | None = None

    @property
    def settings(self) -> PrepareSettings:
        """Those by which pictures are looked at."""
        return self.check or self.crop or self.matte or PrepareSettings()

    @property
    def medium(self) -> str:
        return self.settings.check.medium

    def matting(self, task: Task) -> PrepareSettings | None:
        """The settings by which the background of a task is treated; None where it is left alone."""
        if task.background:
            base = self.matte or self.settings
            return replace(base, matte=replace(base.matte, background=task.background))
        return self.matte if self.matte is not None and self.matte.matte.background != "none" else None


@dataclass(frozen=True)
class Matte:
    """A mask of an original: a grey file, what tells it from every other one, and who made it ("hand" for a person)."""

    file: Path
    key: str
    by: str


class Bench:
    """One folder of knowledge. `provider` is where the models of `store` run."""

    def __init__(self, folder: Path, store: ModelStore, provider: str = "auto") -> None:
        self.folder = folder
        self.store = store
        self.provider = provider
        self._looks = Kept(folder / "looks.json", (LOOK_VERSION, MEASURES_VERSION))
        self._crops = Kept(folder / "crops.json", LOOK_VERSION)
        self._mattes = Kept(folder / "mattes.json", LOOK_VERSION)
        self._alike = Kept(folder / "alike.json", MEASURES_VERSION)
        self._faces, self._matting = _present(store, FACE_MODELS), _present(store, MATTE_MODELS)

    # ------------------------------------------------------------------ reading

    def look(self, digest: str, medium: str) -> Look | None:
        """None for what nobody has looked at yet, or what cannot be understood."""
        values = self._looks.get(self._look_key(digest, medium))
        try:
            return None if values is None else _look(values)
        except _DAMAGED:
            return None

    def any_look(self, digest: str, medium: str) -> Look | None:
        """The same; where there is none, one by another setting of how faces are looked for."""
        found = (self.look(digest, each) for each in (medium, "auto", "drawn", "photo"))
        return next((look for look in found if look is not None), None)

    def proposal(self, digest: str, settings: PrepareSettings) -> list[Crop] | None:
        """The proposed crops; None while they are not known."""
        values = self._crops.get(self._crop_key(digest, settings))
        try:
            return [Crop.of(value) for value in values] or None if values is not None else None
        except (UserError, *_DAMAGED):
            return None

    def matte(self, task: Task, settings: PrepareSettings) -> Matte | None:
        """The mask of an original; None while there is none."""
        if task.mask is not None:
            return Matte(task.mask, task.mask_digest, "hand")
        values = self._mattes.get(self._matte_key(task.digest, settings))
        if not isinstance(values, dict) or not _MATTE_FILE.fullmatch(str(values.get("file"))):
            return None
        path = self.folder / "mattes" / str(values["file"])
        return Matte(path, path.name, str(values.get("by"))) if path.is_file() else None

    def recipes(self, task: Task, steps: Steps) -> list[Recipe] | None:
        """How the pictures of an original are made; None while that is not known, or the original cannot be read."""
        look = self.any_look(task.digest, steps.medium)
        if look is None or look.error is not None:
            return None
        crops = task.crops
        if crops is None and steps.crop is not None:
            proposal = self.proposal(task.digest, steps.crop)
            if proposal is None:
                return None
            crops = tuple(proposal)
        behind, settings = None, steps.matting(task)
        if settings is not None:
            matte = self.matte(task, settings)
            if matte is None:
                return None
            behind = Background(settings.matte, matte.key)
        whole = Crop(Box(0, 0, look.width, look.height), look.width, look.height)
        return [
            Recipe(task.digest, crop, _is_whole(crop, look), behind, task.enlarged_digest) for crop in crops or (whole,)
        ]

    def picture(self, recipe: Recipe) -> Path:
        """Where a picture lies once it is rendered."""
        return self.folder / "pictures" / f"{recipe.key}.png"

    def mask(self, key: str) -> Path:
        """The same of a mask, by `Recipe.mask_key`."""
        return self.folder / "masks" / f"{key}.png"

    def is_rendered(self, recipe: Recipe) -> bool:
        picture = not recipe.key or self.picture(recipe).is_file()
        return picture and (not recipe.mask_key or self.mask(recipe.mask_key).is_file())

    def alike(self, measures: Sequence[Measures]) -> list[Pair]:
        """As `health.alike.alike`, which compares everything with everything: kept for the set it was asked for last."""
        key = _hash({"digests": [each.digest for each in measures]})
        pairs = _pairs(self._alike.get(key), len(measures))
        if pairs is not None:
            return pairs
        pairs = alike(measures)
        self._alike.keep_only((), ())
        self._alike.put(key, [[pair.first, pair.second, pair.relation] for pair in pairs])
        self._alike.save()
        return pairs

    # ------------------------------------------------------------------ writing

    def put_look(self, digest: str, medium: str, look: Look) -> None:
        self._looks.put(self._look_key(digest, medium), _look_values(look))

    def put_proposal(self, digest: str, settings: PrepareSettings, crops: Iterable[Crop]) -> None:
        self._crops.put(self._crop_key(digest, settings), [crop.as_dict() for crop in crops])

    def put_matte(self, digest: str, settings: PrepareSettings, name: str, by: str) -> None:
        """`name` is that of the file in mattes/."""
        self._mattes.put(self._matte_key(digest, settings), {"file": name, "by": by})

    def save(self) -> None:
        for kept in (self._looks, self._crops, self._mattes):
            kept.save()

    def forget(self, digests: Collection[str], recipes: Iterable[Recipe], made: Collection[str], steps: Steps) -> None:
        """Keeps what is known of originals, of pictures that are wanted and of those, by key, that are in the data set;
        the rest goes, files too."""
        wanted = list(recipes)
        contents = {*digests, *made, *(recipe.key for recipe in wanted)}
        medium, crop, matte = steps.medium, steps.crop or steps.settings, steps.matte or steps.settings
        self._looks.keep_only(contents, {self._look_key(content, medium) for content in contents})
        self._crops.keep_only(digests, {self._crop_key(digest, crop) for digest in digests})
        mattes = self._mattes.keep_only(digests, {self._matte_key(digest, matte) for digest in digests})
        keep_files(self.folder / "pictures", {f"{content}.png" for content in contents})
        keep_files(self.folder / "masks", {f"{recipe.mask_key}.png" for recipe in wanted})
        keep_files(self.folder / "mattes", {str(each.get("file")) for each in mattes if isinstance(each, dict)})
        self.save()

    def _look_key(self, digest: str, medium: str) -> str:
        return f"{digest}:{medium}:{self._faces}"

    def _crop_key(self, digest: str, settings: PrepareSettings) -> str:
        return f"{self._look_key(digest, settings.check.medium)}:{_hash(vars(settings.crop))}"

    def _matte_key(self, digest: str, settings: PrepareSettings) -> str:
        return f"{digest}:{settings.matte.matte}:{settings.check.medium}:{self._matting}"


def _present(store: ModelStore, names: Iterable[str]) -> str:
    """The models that are there: with another one, what is known is found out anew. One that was changed is none."""
    found = []
    for name in names:
        try:
            found += [name] if store.find(name) is not None else []
        except UserError:  # said where it is used
            continue
    return "+".join(found)


def _is_whole(crop: Crop, look: Look) -> bool:
    box = crop.box
    covers = box.left <= 0 and box.top <= 0 and box.right >= look.width and box.bottom >= look.height
    return covers and (crop.width, crop.height) == (look.width, look.height)


def _hash(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode("utf-8")).hexdigest()[:16]


def _pairs(values: Any, count: int) -> list[Pair] | None:
    """None for what is not kept, or cannot be understood."""
    try:
        pairs = [Pair(int(one), int(other), str(relation)) for one, other, relation in values]
    except (TypeError, ValueError):
        return None
    fits = all(0 <= pair.first < count and 0 <= pair.second < count and pair.relation in RELATIONS for pair in pairs)
    return pairs if fits else None


def _look_values(look: Look) -> dict[str, Any]:
    if look.error is not None:
        return {"error": look.error.as_record()}
    faces = [
        {"box": face.box.as_list(), "score": round(face.score, 4), "kind": face.kind, "points": face.landmarks}
        for face in look.faces
    ]
    measures = look.measures.as_dict() if look.measures is not None else None
    return {"size": [look.width, look.height], "faces": faces, "measures": measures, "finders": list(look.finders)}


def _look(values: dict[str, Any]) -> Look:
    error = values.get("error")
    if error is not None:
        return Look(error=UserError(str(error["code"]), str(error["where"]), **error["values"]))
    faces = tuple(
        Face(Box.of(face["box"]), float(face["score"]), str(face["kind"]), tuple((x, y) for x, y in face["points"]))
        for face in values["faces"]
    )
    measures = Measures.of(values["measures"]) if values["measures"] is not None else None
    width, height = map(int, values["size"])
    return Look(width, height, faces=faces, measures=measures, finders=tuple(values["finders"]))
