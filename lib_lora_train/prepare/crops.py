"""What of a picture is cut out for training: proposals, which a person may then correct."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib_lora_train.prepare.borders import content_box
from lib_lora_train.prepare.frames import (
    Crop,
    carried_over,
    enlargement,
    fit_crop,
    moved_inside,
    output_size,
    shaped,
    tidy,
)
from lib_lora_train.prepare.tables import CropSettings
from lib_lora_train.vision.geometry import Box, Face
from lib_lora_train.vision.interest import Interest, interest

__all__ = ["Crop", "carried_over", "content_box", "enlargement", "fit_crop", "propose_crops", "with_frame"]

# Portraits, by the face's share of the crop's height (forehead to chin) against `face_share`, and where its middle
# lies between top and bottom. With a share of 0.5: a face; head and shoulders at 0.3; down to the waist at 0.18.
PORTRAITS = {"face": (1.0, 0.5), "head": (0.6, 0.42), "upper_body": (0.36, 0.3), "close_up": (1.0, 0.5)}
LEAST_FACE = 0.3  # of the largest face's height: smaller ones are people in the background
LEAST_FRAME = 64  # pixels of the original: a portrait frame grows to this
LEAST_CLOSE_UP = 128  # pixels; a close-up that would be smaller is not added
MOST_PARTS = 64  # of a split picture
_SAME_FRAME = 0.8  # intersection over union from which two frames show the same
_AUTO_STEP = 64  # of the sizes that auto chooses among, as in A1111


def propose_crops(image: np.ndarray, faces: Sequence[Face], settings: CropSettings) -> list[Crop]:
    """Crops of `image` (height, width, 3) uint8 RGB by the settings; `faces` largest first. Never empty.

    Frames lie in the picture, and inside its borders with `trim`; they have the shape of what is cut out of them, and
    are resized by more than `max_upscale` only where less than 16 px would be left. What could not be as asked is in
    the notes of each crop.
    """
    height, width = image.shape[:2]
    whole = Box(0.0, 0.0, float(width), float(height))
    if settings.crop == "none":
        return _mirrored([_unchanged(whole, "whole")], settings)
    content = content_box(image) if settings.trim else whole
    job = _Job(image, [face for face in faces if _inside(face, content)], settings, whole, content)
    crops = list(
        {"size": job.focal, "aspect": job.aspect, "split": job.split, "auto": job.auto}.get(
            settings.crop, job.portraits
        )()
    )
    if settings.close_ups and settings.crop != "face":
        crops += job.close_ups(crops[0])
    return _mirrored(crops, settings)


def with_frame(crop: Crop, box: Box, settings: CropSettings, size: tuple[int, int]) -> Crop:
    """`crop` after a person has drawn another frame on a picture of `size`: what is cut out of it is as large as the
    settings allow; without a size of theirs (none, aspect) as large as the frame. Raises UserError as `fit_crop`.
    """
    if settings.crop in ("none", "aspect"):
        framed = fit_crop(replace(crop, box=box, width=max(16, round(box.width)) if math.isfinite(box.width) else 16, height=max(16, round(box.height)) if math.isfinite(box.height) else 16, by="user", notes=()), size)  # fmt: skip
        rounded = Box(*(float(round(side)) for side in framed.box.as_list()))
        return replace(framed, box=rounded, width=round(rounded.width), height=round(rounded.height))
    wished = (crop.width, crop.height) if settings.crop == "auto" else (settings.width, settings.height)
    framed = fit_crop(replace(crop, box=box, width=wished[0], height=wished[1], by="user", notes=()), size)
    return _finished(framed.box, wished, settings, "user", crop.mirror, [])


def head_of(face: Face) -> Box:
    """The whole head with hair: 1.4 faces high, of which most is above, and 1.4 wide."""
    box = face.box
    return Box(box.left - 0.2 * box.width, box.top - 0.32 * box.height, box.right + 0.2 * box.width, box.bottom + 0.08 * box.height)  # fmt: skip


@dataclass
class _Job:
    """One picture, with what its proposals are made from."""

    image: np.ndarray
    faces: list[Face]
    settings: CropSettings
    whole: Box
    content: Box

    def aspect(self) -> Iterator[Crop]:
        yield _unchanged(self.content, "whole" if self.content == self.whole else "trim")

    def focal(self, size: tuple[int, int] | None = None, by: str = "", notes: Sequence[str] = ()) -> Iterator[Crop]:
        """The largest frame of the shape of `size`, where most is to see; then others elsewhere, up to `several`."""
        size = size or (self.settings.width, self.settings.height)
        frame = shaped(self.content, *size)
        free = max(self.content.width - frame.width, self.content.height - frame.height)
        if free < 1.0:
            yield _finished(frame, size, self.settings, by or "size", False, notes)
            return
        seen = self._interest()
        frames = [self._around_faces(seen.best(frame.width, frame.height, self.content), self.faces)]
        for _ in range(self.settings.several - 1):
            found = seen.best(frame.width, frame.height, self.content, avoid=frames)
            others = [face for face in self._persons() if not any(_inside(face, other) for other in frames)]
            found = self._around_faces(found, others[:1])
            worth = others or seen.within(found) >= 0.5 * frame.area / self.content.area
            if not worth or max(found.overlap(other) for other in frames) > 0.5:
                break
            frames.append(found)
        for found in frames:
            yield _finished(found, size, self.settings, by or "focal", False, notes)

    def portraits(self) -> Iterator[Crop]:
        """A frame around each person; the focal crop where no face was found."""
        persons = self._persons()[: self.settings.several]
        if not persons:
            yield from self.focal(notes=["no_face"])
        frames: list[Box] = []
        for face in persons:
            crop = self._portrait(face, self.settings.crop)
            if all(crop.box.overlap(other) < _SAME_FRAME for other in frames):
                frames.append(crop.box)
                yield crop

    def close_ups(self, main: Crop) -> Iterator[Crop]:
        """Face crops of the persons whose face is less than half as large in `main` as a face crop would show it."""
        for face in self._persons()[: self.settings.several]:
            crop = self._portrait(face, "close_up")
            small = face.box.height < 0.5 * self.settings.face_share * main.box.height
            if small and min(crop.width, crop.height) >= min(LEAST_CLOSE_UP, self.settings.width, self.settings.height):
                yield crop

    def split(self) -> Iterator[Crop]:
        """A1111's split: parts along a long side, evenly spread, so that they overlap by at least `overlap`."""
        settings, content = self.settings, self.content
        size = (settings.width, settings.height)
        frame = shaped(content, *size)
        downwards = content.height / size[1] > content.width / size[0]
        length, part = (content.height, frame.height) if downwards else (content.width, frame.width)
        if part / length >= settings.split_threshold or length - part < 1.0:
            yield from self.focal()
            return
        count = math.ceil((length - part * settings.overlap) / (part * (1.0 - settings.overlap)) - 1e-6)
        count = min(max(count, 2), MOST_PARTS)
        for index in range(count):
            way = (length - part) * index / (count - 1)
            left, top = (content.left, content.top + way) if downwards else (content.left + way, content.top)
            yield _finished(Box(left, top, left + frame.width, top + frame.height), size, settings, "split", False, [])

    def auto(self) -> Iterator[Crop]:
        """A1111's auto-sized crop: of the sizes in the limits whose shape is near enough, the one with most pixels."""
        settings, content = self.settings, self.content
        low, high = sorted((settings.auto_min, settings.auto_max))
        shape = content.width / content.height
        sizes = [(w, h) for w in range(low, high + 1, _AUTO_STEP) for h in range(low, high + 1, _AUTO_STEP)]
        errors = {(w, h): 1 - min(shape * h / w, w / h / shape) for w, h in sizes if w * h <= settings.auto_area_max}
        near = [size for size, error in errors.items() if error <= settings.auto_error]
        if not near:
            yield replace(next(self.aspect()), notes=("no_size",))
            return
        sharp = [size for size in near if size == output_size(shaped(content, *size), *size, settings.max_upscale)]
        best = (
            max(sharp, key=lambda size: (size[0] * size[1], -errors[size]))
            if sharp
            else min(near, key=lambda size: errors[size])
        )
        yield from self.focal(best, "auto")

    # ------------------------------------------------------------------

    def _interest(self) -> Interest:
        settings = self.settings
        return interest(self.image, self.faces, face=settings.face_weight, entropy=settings.entropy_weight, edges=settings.edges_weight)  # fmt: skip

    def _persons(self) -> list[Face]:
        largest = max((face.box.height for face in self.faces), default=0.0)
        return [face for face in self.faces if face.box.height >= LEAST_FACE * largest]

    def _around_faces(self, frame: Box, faces: Sequence[Face]) -> Box:
        """Moved so that no head is cut, as far as the frame can hold them; the largest comes first."""
        if not self.settings.face_weight:
            return frame
        held: Box | None = None
        for face in faces:
            for wanted in (head_of(face).clipped(self.whole.right, self.whole.bottom), face.box):
                together = _around(held, wanted) if held else wanted
                if together.width <= frame.width and together.height <= frame.height:
                    held = together
                    break
        return moved_inside(_over(frame, held), self.content) if held else frame

    def _portrait(self, face: Face, by: str) -> Crop:
        """The frame in which the face has its share, moved where it would leave the picture, and smaller where it
        would be larger than the picture.
        """
        settings, content, notes = self.settings, self.content, []
        part, place = PORTRAITS[by]
        height = face.box.height / min(settings.face_share * part, 0.95)
        shape = settings.width / settings.height
        least = max(1.05 * face.box.width / shape, LEAST_FRAME / min(1.0, shape))
        if height < least:
            height = least
            notes.append("grown")
        most = shaped(content, settings.width, settings.height).height
        if height > most + 0.5:
            notes.append("shrunk")
        height = min(height, most)
        x, y = face.box.center
        top = y - place * height
        frame = Box(x - height * shape / 2, top, x + height * shape / 2, top + height)
        inside = moved_inside(frame, content)
        if max(abs(inside.left - frame.left), abs(inside.top - frame.top)) > 0.02 * height:
            notes.append("moved")
        return _finished(inside, (settings.width, settings.height), settings, by, False, notes)


def _finished(
    frame: Box, size: tuple[int, int], settings: CropSettings, by: str, mirror: bool, notes: Sequence[str]
) -> Crop:
    width, height = output_size(frame, *size, settings.max_upscale)
    added = [] if (width, height) == size else ["small"]
    return Crop(
        tidy(_without_resizing(shaped(frame, width, height), width, height)),
        width,
        height,
        mirror,
        by,
        (*notes, *added),
    )


def _without_resizing(box: Box, width: int, height: int) -> Box:
    """Where a frame would be reduced by less than 4%, the pixels as they are: sharper, for a sliver of margin."""
    if not (width <= box.width < 1.04 * width and height <= box.height < 1.04 * height):
        return box
    left, top = math.ceil(box.left), math.ceil(box.top)
    left, top = left + int(box.right - width - left) // 2, top + int(box.bottom - height - top) // 2
    return Box(float(left), float(top), float(left + width), float(top + height))


def _unchanged(box: Box, by: str) -> Crop:
    return Crop(box, round(box.width), round(box.height), by=by)


def _mirrored(crops: list[Crop], settings: CropSettings) -> list[Crop]:
    return [*crops, *(replace(crop, mirror=True) for crop in crops)] if settings.mirror else crops


def _inside(face: Face, box: Box) -> bool:
    x, y = face.box.center
    return box.left <= x <= box.right and box.top <= y <= box.bottom


def _around(one: Box, other: Box) -> Box:
    return Box(min(one.left, other.left), min(one.top, other.top), max(one.right, other.right), max(one.bottom, other.bottom))  # fmt: skip


def _over(frame: Box, held: Box) -> Box:
    """`frame` moved as little as possible to lie over `held`, which is no larger."""
    right = max(0.0, held.right - frame.right) or min(0.0, held.left - frame.left)
    down = max(0.0, held.bottom - frame.bottom) or min(0.0, held.top - frame.top)
    return frame.moved(right, down)
