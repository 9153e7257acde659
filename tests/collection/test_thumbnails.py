"""Thumbnails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from lib_lora_train.collection import thumbnails
from lib_lora_train.collection.concepts import default_concept
from lib_lora_train.collection.entries import list_pictures
from lib_lora_train.collection.thumbnails import thumbnail
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project
from tests.collection.tools import leftovers, new_project, png, upload
from tests.helpers.pictures import encoded, gradient, with_orientation


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path)


def made(project: Project, name: str, data: bytes, side: int = 256) -> Image.Image:
    picture_id = upload(project, name, data).pictures[0]
    return Image.open(thumbnail(project, picture_id, side))


@pytest.mark.parametrize(("side", "size"), [(256, (256, 128)), (1600, (1600, 800))])
def test_sides(project: Project, side: int, size: tuple[int, int]) -> None:
    image = made(project, "x.png", encoded(gradient(2400, 1200), "PNG"), side)
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", size)


def test_never_enlarged(project: Project) -> None:
    assert made(project, "x.png", png(size=(40, 30)), 1600).size == (40, 30)


def test_upright_without_metadata(project: Project) -> None:
    image = made(project, "x.jpg", with_orientation(gradient(600, 400), 6))
    assert image.size == (256, 171)
    assert not image.getexif() and set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    red, green, _ = image.getpixel((250, 5))
    assert red > 200 and green < 50


def test_transparency_is_white(project: Project) -> None:
    picture = gradient(64, 64).convert("RGBA")
    picture.putalpha(Image.new("L", (64, 64), 0))
    picture.putpixel((63, 63), (0, 0, 0, 255))
    assert made(project, "x.png", encoded(picture, "PNG")).getpixel((10, 10)) == (255, 255, 255)


def test_made_once_until_the_picture_changes(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    picture_id = upload(project, "x.png", png()).pictures[0]
    path = thumbnail(project, picture_id, 256)
    real = thumbnails.open_image
    monkeypatch.setattr(thumbnails, "open_image", None)
    assert thumbnail(project, picture_id, 256) == path
    monkeypatch.setattr(thumbnails, "open_image", real)
    trained = default_concept(project).folder / "x.png"
    trained.unlink()
    trained.write_bytes(png(1, (64, 64)))
    newer = thumbnail(project, picture_id, 256)
    assert newer != path and not path.exists()
    assert Image.open(newer).size == (64, 64)


def test_many_at_once(project: Project) -> None:
    picture_id = upload(project, "x.png", encoded(gradient(500, 400), "PNG")).pictures[0]
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda number: thumbnail(project, picture_id, (256, 1600)[number % 2]), range(16)))
    assert len(paths) == 2 and all(Image.open(path).size[0] in (256, 500) for path in paths)
    assert leftovers(project) == []


def test_what_cannot_be_shown_is_said(project: Project, tmp_path: Path) -> None:
    folder = default_concept(project).folder
    (folder / "bad.png").write_bytes(b"junk")
    (folder / "cut.png").write_bytes(png()[:120])
    secret = tmp_path / "secret.png"
    secret.write_bytes(png())
    (folder / "link.png").symlink_to(secret)
    said = {}
    for picture in list_pictures(project):
        with pytest.raises(UserError) as caught:
            thumbnail(project, picture.id, 256)
        said[picture.name] = caught.value.code
    assert said == {"bad.png": "image.unknown", "cut.png": "image.truncated", "link.png": "dataset.link"}


def test_other_sides_do_not_exist(project: Project) -> None:
    picture_id = upload(project, "x.png", png()).pictures[0]
    with pytest.raises(ValueError, match="512"):
        thumbnail(project, picture_id, 512)
    for wrong in ("0" * 16, "../" * 3, ""):
        with pytest.raises(UserError):
            thumbnail(project, wrong, 256)
