"""Projects of real pictures, and tools to prepare them with, without any network."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from demo.character import TRIGGER, training_set
from lib_lora_train.collection.adding import add_stream
from lib_lora_train.collection.limits import Limits
from lib_lora_train.prepare.tables import PrepareSettings
from lib_lora_train.prepare.tools import Tools
from lib_lora_train.project import Project, create_project
from lib_lora_train.vision.store import ModelStore
from tests.helpers.pictures import encoded

ROOT = Path(__file__).parents[2]
DEMO_TAGGER = ROOT / "demo" / "tagger"


def photo(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Something with a sharp subject before a soft background; another one for each seed."""
    draws = np.random.default_rng(seed)
    coarse = Image.fromarray(draws.integers(40, 200, (4, 5, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    fine = draws.integers(0, 256, (size[1] // 3, size[0] // 4, 3), dtype=np.uint8)
    coarse.paste(Image.fromarray(fine), (size[0] // 3 + int(draws.integers(-20, 20)), size[1] // 4))
    return coarse


def barred(image: Image.Image, bar: int = 40) -> Image.Image:
    """Between black bars."""
    framed = Image.new("RGB", (image.width, image.height + 2 * bar))
    framed.paste(image, (0, bar))
    return framed


def add(project: Project, name: str, image: Image.Image | bytes, concept: str = "") -> str:
    """Adds a picture and returns its id."""
    data = image if isinstance(image, bytes) else encoded(image, "PNG")
    added = add_stream(project, concept, name, [data], Limits.local())
    assert not added.problems, added.problems
    return added.pictures[0] if added.pictures else ""


def photo_project(root: Path, count: int = 4, kind: str = "object") -> Project:
    """`count` pictures between bars, the second with a caption."""
    project = create_project(root, "things", kind, TRIGGER)
    for number in range(count):
        add(project, f"{number}.png", barred(photo(number)))
    if count > 1:
        add(project, "1.txt", b"a thing, red")
    return project


def tools(folder: Path, offline: bool = True) -> Tools:
    """With no model at all but the demo's tagger, as a folder of the user's own."""
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / "demo-tagger"
    if not own.exists():
        own.mkdir()
        for name in ("model.onnx", "selected_tags.csv"):
            (own / name).write_bytes((DEMO_TAGGER / name).read_bytes())
    return Tools(ModelStore(folder, offline=offline), provider="cpu")


def settings(**groups: dict[str, object]) -> PrepareSettings:
    """Settings for small pictures, without taggers unless they are named."""
    made = PrepareSettings()
    made.check.size = made.crop.width = made.crop.height = 128
    made.tag.taggers = []
    for group, values in groups.items():
        for name, value in values.items():
            assert hasattr(getattr(made, group), name), name
            setattr(getattr(made, group), name, value)
    return made


def png_bytes(image: Image.Image) -> bytes:
    data = BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def drawings(count: int, side: int = 256) -> list[Image.Image]:
    """The demo's character, as the first of its training pictures."""
    return [image.resize((side, side), Image.Resampling.LANCZOS) for image, _ in training_set(n=count)]
