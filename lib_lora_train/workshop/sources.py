"""The originals of a project as faces show them: their crops, masks and what becomes of each."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

from PIL import Image

from lib_lora_train.collection.caption_files import read_caption
from lib_lora_train.collection.made import Made
from lib_lora_train.collection.names import identify, shown
from lib_lora_train.dataset.images import open_image, read_size
from lib_lora_train.errors import UserError
from lib_lora_train.files import write_bytes
from lib_lora_train.messages import DEFAULT_LANGUAGE
from lib_lora_train.prepare.bench import Matte
from lib_lora_train.prepare.frames import Crop, carried_over, enlargement, fit_crop
from lib_lora_train.prepare.matting import check_mask
from lib_lora_train.prepare.rendering import Recipe, load_alpha, render
from lib_lora_train.prepare.state import changed_state, mask_file
from lib_lora_train.prepare.wanted import Entry
from lib_lora_train.vision.geometry import Box
from lib_lora_train.workshop.context import Context
from lib_lora_train.workshop.steps import look_of, matte_of

LOGGER = logging.getLogger("lib_lora_train.prepare")
MOST_CROPS = 32  # of one original
VIEW_SIDE, THUMBNAIL_SIDE = 1600, 256  # px
_QUALITY = 90


def entry_of(context: Context, source_id: str) -> Entry:
    """Raises UserError("prepare.unknown_source")."""
    entry = context.entries.get(source_id)
    if entry is None:
        raise UserError("prepare.unknown_source", "source")
    return entry


def list_sources(
    context: Context, concept: str, offset: int, limit: int, language: str = DEFAULT_LANGUAGE
) -> dict[str, Any]:
    """`GET /sources`."""
    entries = [entry for entry in context.wanted.entries if concept in ("", entry.source.folder.id)]
    page = entries[offset : offset + limit]
    return {"total": len(entries), "sources": [show_source(context, entry, language) for entry in page]}


def show_source(context: Context, entry: Entry, language: str = DEFAULT_LANGUAGE) -> dict[str, Any]:
    """One original, for the REST routes; no path."""
    source, look = entry.source, look_of(context, entry)
    error = entry.error or (look.error if look is not None else None)
    width, height = (look.width, look.height) if look is not None else (0, 0)
    if not width and error is None:
        try:
            width, height = read_size(source.path, source.name)
        except UserError as problem:
            error = problem
    scale = entry.hand.scale if entry.hand.enlarged else 1.0
    found = matte_of(context, entry)
    crop_settings = context.state.ran.get("crop")
    proposal = None
    if crop_settings is not None and entry.task is not None:
        proposal = context.bench.proposal(entry.task.digest, crop_settings)
    first = next((change for change in entry.changes if change.place == 0), None)
    now = first.now if first is not None else read_caption(source.folder.path, source.outputs[0].name)
    after = now.text if first is None or first.caption is None else first.caption
    return {
        "id": source.id,
        "name": source.name,
        "concept": source.folder.id,
        "width": width,
        "height": height,
        "stamp": stamp_of(entry),
        "problem": error.as_dict(language) if error is not None else None,
        "faces": [face.box.as_list() for face in look.faces] if look is not None else [],
        "proposal": [show_crop(crop, scale, language) for crop in proposal or ()],
        "crops": [show_crop(crop, scale, language) for crop in _crops(entry, width, height)],
        "by_hand": entry.hand.crops is not None,
        "previews": [preview_stamp(entry, place) for place in range(len(entry.recipes or [None]))],
        "outputs": [
            {"picture": source.folder.picture_id(output.name), "name": shown(output.name), "stamp": _file_stamp(entry, output.name)}
            for output in source.outputs
        ],
        "matte": _show_matte(found),
        "enlarged": {"by": entry.hand.by, "scale": scale} if entry.hand.enlarged else None,
        "changed": bool(entry.changes),
        "caption": {"before": now.text, "after": after},
    }  # fmt: skip


def show_crop(crop: Crop, scale: float = 1.0, language: str = DEFAULT_LANGUAGE) -> dict[str, Any]:
    """`scale` of the output is against the original, or what stands in for it."""
    box = crop.box.as_list()
    return {
        "left": box[0],
        "top": box[1],
        "right": box[2],
        "bottom": box[3],
        "width": crop.width,
        "height": crop.height,
        "mirror": crop.mirror,
        "by": crop.by,
        "label": crop.label(language),
        "notes": crop.remarks(language),
        "scale": round(enlargement(crop) / scale, 3),
    }


def set_crops(context: Context, source_id: str, crops: Sequence[object] | None) -> None:
    """Crops by hand; None: as proposed again. Raises UserError: prepare.unknown_source, prepare.crops, and as
    `fit_crop`."""
    entry = entry_of(context, source_id)
    fitted = None
    if crops is not None:
        if not 1 <= len(crops) <= MOST_CROPS:
            raise UserError("prepare.crops", "crops", most=MOST_CROPS)
        size = read_size(entry.source.path, entry.source.name)
        fitted = tuple(fit_crop(Crop.of(crop), size) for crop in crops)
    with changed_state(context.project) as state:
        state.set_hand(entry.source.original, crops=fitted)


def like_all(context: Context, source_id: str) -> None:
    """The crops of one original for all others of its concept, at the same relative places."""
    entry = entry_of(context, source_id)
    width, height = read_size(entry.source.path, entry.source.name)
    model = _crops(entry, width, height)
    sizes = {}
    for other in context.wanted.entries:
        try:
            sizes[other.source.original] = read_size(other.source.path, other.source.name)
        except UserError:  # one that cannot be read is said elsewhere
            continue
    with changed_state(context.project) as state:
        for original, size in sizes.items():
            if original == entry.source.original:
                continue
            crops = [replace(carried_over(crop, (width, height), size), by="user") for crop in model]
            state.set_hand(original, crops=tuple(crops))


def preview(context: Context, entry: Entry, place: int, side: int) -> tuple[bytes, str]:
    """What would be written into the data set: bytes and media type, at most `side` px long.

    Raises UserError: prepare.unknown_source, prepare.crops, and an `image.*` code.
    """
    if entry.task is None:
        raise entry.error or UserError("prepare.unknown_source", "source")
    if entry.recipes is None or not entry.recipes:
        return as_jpeg(open_image(entry.source.path, entry.source.name).image, side)
    if not 0 <= place < len(entry.recipes):
        raise UserError("prepare.crops", "crop", most=len(entry.recipes))
    image = _rendered(context, entry, entry.recipes[place])
    if image.mode != "RGBA":
        return as_jpeg(image, side)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return as_png(image), "image/png"


def preview_stamp(entry: Entry, place: int) -> str:
    """Changes when the preview does."""
    recipes = entry.recipes or []
    return identify(recipes[place].content) if 0 <= place < len(recipes) else stamp_of(entry)


def original_view(entry: Entry, side: int) -> tuple[bytes, str]:
    """The upright original as JPEG. Raises UserError with an `image.*` code."""
    return as_jpeg(open_image(entry.source.path, entry.source.name).image, side)


def as_jpeg(image: Image.Image, side: int) -> tuple[bytes, str]:
    """At most `side` px long; made anew, so that nothing of what was uploaded is served."""
    image = image.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    data = BytesIO()
    image.save(data, "JPEG", quality=_QUALITY)
    return data.getvalue(), "image/jpeg"


def as_png(image: Image.Image) -> bytes:
    data = BytesIO()
    image.save(data, "PNG", compress_level=1)
    return data.getvalue()


def read_mask(context: Context, entry: Entry, side: int) -> tuple[bytes, str]:
    """The mask of an original as grey PNG, at most `side` px long (0: as it is kept), and its stamp.

    Raises UserError("prepare.no_mask").
    """
    found = matte_of(context, entry)
    if found is None:
        raise UserError("prepare.no_mask", entry.source.name)
    try:
        if not side:
            return found.file.read_bytes(), identify(found.key)
    except OSError as error:
        raise UserError("prepare.no_mask", entry.source.name) from error
    image = open_image(found.file, entry.source.name).image.convert("L")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return as_png(image), identify(found.key)


def write_mask(context: Context, source_id: str, data: bytes) -> None:
    """A mask that was corrected by hand. Raises UserError: prepare.unknown_source, and as `check_mask`."""
    entry = entry_of(context, source_id)
    size = read_size(entry.source.path, entry.source.name)
    alpha = check_mask(data, size)
    image = Image.fromarray((alpha * 255.0 + 0.5).astype("uint8"))
    encoded = BytesIO()
    image.save(encoded, "PNG", compress_level=6)
    digest = hashlib.sha256(encoded.getvalue()).hexdigest()[:32]
    write_bytes(mask_file(context.project, digest), encoded.getvalue())
    with changed_state(context.project) as state:
        state.set_hand(entry.source.original, mask=digest)


def reset_mask(context: Context, source_id: str) -> None:
    """Back to what the model saw. Raises UserError("prepare.unknown_source")."""
    entry = entry_of(context, source_id)
    with changed_state(context.project) as state:
        state.set_hand(entry.source.original, mask="")


def sizes_of(context: Context, entry: Entry) -> list[tuple[int, int]]:
    """(width, height) of the pictures that an original will have in the data set; none for one that cannot be read."""
    width = height = 0
    if entry.recipes is None:
        try:
            width, height = read_size(entry.source.path, entry.source.name)
        except UserError:
            return []
    return [(crop.width, crop.height) for crop in _crops(entry, width, height)]


def stamp_of(entry: Entry) -> str:
    """Changes when the original does."""
    return identify(entry.task.digest) if entry.task is not None else ""


def _rendered(context: Context, entry: Entry, recipe: Recipe) -> Image.Image:
    """From the file where it is rendered already."""
    task = entry.task
    if task is None or not recipe.key:
        return open_image(entry.source.path, entry.source.name).image
    try:
        with Image.open(context.bench.picture(recipe), formats=["PNG"]) as image:
            image.load()
            return image
    except OSError:  # not rendered yet, or not wanted any more
        LOGGER.debug("rendered now: %s", entry.source.name)
    alpha = None
    found = matte_of(context, entry)
    if recipe.background is not None and found is not None:
        alpha = load_alpha(found.file, entry.source.name)
    image = open_image(task.enlarged or task.path, entry.source.name).image
    return render(image, task.scale, alpha, recipe)


def _crops(entry: Entry, width: int, height: int) -> list[Crop]:
    """Those that will hold, else those of the pictures that are there, else all of it."""
    if entry.recipes is not None:
        return [recipe.crop for recipe in entry.recipes]
    made = [output.made for output in entry.source.outputs if output.made is not None]
    known = [crop for each in made if (crop := _made_crop(each)) is not None]
    return known or [Crop(Box(0, 0, width, height), width, height)]


def _made_crop(made: Made) -> Crop | None:
    crop = made.how.get("crop")
    try:
        return Crop.of(crop) if isinstance(crop, dict) else None
    except UserError:
        return None


def _show_matte(found: Matte | None) -> dict[str, str]:
    if found is None:
        return {"state": "none", "stamp": "", "by": ""}
    return {"state": "hand" if found.by == "hand" else "model", "stamp": identify(found.key), "by": found.by}


def _file_stamp(entry: Entry, name: str) -> str:
    try:
        information = (entry.source.folder.path / name).lstat()
    except OSError:
        return ""
    return identify(str(information.st_size), str(information.st_mtime_ns))
