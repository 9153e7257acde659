"""What a face in a picture says: how large it is, where it looks, whether something hides it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lib_lora_train.vision.geometry import Face

_UNKNOWN = ""
CLOSE_UP, UPPER_BODY = 0.3, 0.1  # height of the face as a share of the picture's
_HALF, _FULL = 0.18, 0.5  # place of the nose beside the middle of the eyes, in distances of the eyes


@dataclass(frozen=True)
class FaceMeasure:
    """`height`, `width`: as shares of the picture's height and width. `pixels`: its height in pixels. `cut`: whether it
    reaches over the picture's edge. `kind`: photo or drawn. `score`: the finder's, 0..1. `angle`: front, left, right (where
    the nose points, as the picture is seen), left_profile, right_profile, or empty when there are no landmarks. `covered`:
    eyes, mouth or empty."""

    height: float
    width: float
    pixels: float
    cut: bool
    kind: str
    score: float
    angle: str = _UNKNOWN
    covered: str = ""

    @property
    def framing(self) -> str:
        """close_up, upper_body or full_body."""
        if self.height >= CLOSE_UP:
            return "close_up"
        return "upper_body" if self.height >= UPPER_BODY else "full_body"

    @classmethod
    def of(cls, values: Mapping[str, object]) -> FaceMeasure:
        return cls(**values)  # type: ignore[arg-type]


def measure_face(face: Face, image: np.ndarray) -> FaceMeasure:
    """Of a face in the full picture (RGB)."""
    height, width = image.shape[:2]
    box = face.box
    cut = box.left < -0.02 * box.width or box.top < -0.02 * box.height
    cut = cut or box.right > width + 0.02 * box.width or box.bottom > height + 0.02 * box.height
    # Finders that clip their boxes to the picture leave them touching its edge.
    cut = cut or min(box.left, box.top, width - box.right, height - box.bottom) <= 0
    return FaceMeasure(
        height=round(box.height / height, 4),
        width=round(box.width / width, 4),
        pixels=round(box.height, 1),
        cut=cut,
        kind=face.kind,
        score=round(face.score, 3),
        angle=_angle(face),
        covered=_covered(face, image),
    )


def _angle(face: Face) -> str:
    if len(face.landmarks) < 3:
        return _UNKNOWN
    (right_x, right_y), (left_x, left_y), (nose_x, nose_y) = face.landmarks[:3]
    apart = math.hypot(left_x - right_x, left_y - right_y)
    if apart < 0.12 * face.box.width:  # one eye hides the other
        return "left_profile" if nose_x < (left_x + right_x) / 2 else "right_profile"
    along = ((left_x - right_x) / apart, (left_y - right_y) / apart)
    turn = ((nose_x - (left_x + right_x) / 2) * along[0] + (nose_y - (left_y + right_y) / 2) * along[1]) / apart
    side = "right" if turn > 0 else "left"
    if abs(turn) < _HALF:
        return "front"
    return side if abs(turn) < _FULL else f"{side}_profile"


def _covered(face: Face, image: np.ndarray) -> str:
    """By colour alone: dark glasses make both eyes and what lies between them dark; a mask has not the cheeks' colour."""
    if len(face.landmarks) < 5 or face.kind != "photo":
        return ""
    right, left, nose, mouth_right, mouth_left = face.landmarks[:5]
    reach = max(0.09 * face.box.height, 2.0)
    skin = _patch(image, ((right[0] + left[0]) / 2, 2 * (right[1] + left[1]) / 2 - nose[1]), reach)  # the forehead
    nearby = _patch(image, ((right[0] + left[0]) / 2, (right[1] + left[1]) / 2), reach)
    mouth = _patch(image, ((mouth_right[0] + mouth_left[0]) / 2, (mouth_right[1] + mouth_left[1]) / 2), reach)
    eyes = [_patch(image, point, reach) for point in (right, left)]
    if skin is None or nearby is None or mouth is None or eyes[0] is None or eyes[1] is None:
        return ""
    if all(eye.mean() < 0.4 * skin.mean() for eye in eyes) and nearby.mean() < 0.75 * skin.mean():
        return "eyes"
    redness = lambda colour: colour[0] - (colour[1] + colour[2]) / 2  # noqa: E731 - skin and lips are redder than cloth
    if redness(skin) >= 18 and redness(mouth) < 0.3 * redness(skin):
        return "mouth"
    return ""


def _patch(image: np.ndarray, middle: tuple[float, float], reach: float) -> np.ndarray | None:
    """Middle colour around a place, float RGB; None when it lies outside."""
    height, width = image.shape[:2]
    x, y = middle
    left, right = max(int(x - reach), 0), min(int(x + reach) + 1, width)
    top, bottom = max(int(y - reach / 2), 0), min(int(y + reach / 2) + 1, height)
    if right <= left or bottom <= top:
        return None
    return np.median(image[top:bottom, left:right].reshape(-1, 3), axis=0)
