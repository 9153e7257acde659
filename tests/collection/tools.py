"""What the tests of the collection share."""

from __future__ import annotations

import hashlib
import os
from io import BytesIO
from pathlib import Path

from lib_lora_train.collection.adding import Added, add_stream
from lib_lora_train.collection.entries import list_pictures
from lib_lora_train.collection.limits import Limits
from lib_lora_train.messages import LANGUAGES
from lib_lora_train.project import Project, create_project
from tests.helpers.pictures import encoded, gradient

LIMITS = Limits()


def new_project(root: Path, trigger_word: str = "hero") -> Project:
    return create_project(root, "test", "character", trigger_word)


def png(shift: int = 0, size: tuple[int, int] = (48, 32)) -> bytes:
    """A good picture; its bytes differ with `shift`."""
    image = gradient(*size)
    image.putpixel((0, 0), (shift % 256, shift // 256 % 256, 7))
    return encoded(image, "PNG")


def jpeg(shift: int = 0) -> bytes:
    return encoded(gradient(40 + shift, 40), "JPEG")


def upload(project: Project, name: str, data: bytes, concept: str = "", limits: Limits = LIMITS) -> Added:
    chunks = (data[start : start + 1000] for start in range(0, len(data), 1000))
    return add_stream(project, concept, name, chunks, limits)


def captions(project: Project) -> dict[str, str]:
    return {picture.name: picture.caption for picture in list_pictures(project)}


def codes(added: Added) -> list[str]:
    """What was skipped; each says so in both languages."""
    for problem in added.problems:
        for language in LANGUAGES:
            assert problem.sentence(language) and problem.remedy(language)
    return [problem.code for problem in added.problems]


def tree(project: Project, *holders: str) -> dict[str, str]:
    """Names and contents of what is the user's in a project."""
    found = {}
    for holder in holders or ("images", "dataset", "masks", "regularization"):
        for path in sorted((project.folder / holder).rglob("*")):
            if path.is_file():
                digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
                found[path.relative_to(project.folder).as_posix()] = digest
    return found


def fingerprint(folder: Path) -> str:
    """All names, kinds, contents and times below a folder; links are not followed."""
    digest = hashlib.sha256()
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted([*folders, *names]):
            path = Path(place) / name
            information = path.lstat()
            digest.update(os.fsencode(path) + f"{information.st_mode} {information.st_nlink}".encode())
            if path.is_symlink():
                digest.update(os.fsencode(path.readlink()))
            elif path.is_file():
                digest.update(f"{information.st_size} {information.st_mtime_ns}".encode() + path.read_bytes())
    return digest.hexdigest()


def leftovers(project: Project) -> list[str]:
    """Temporary files and journals that nobody took away."""
    return [
        path.relative_to(project.folder).as_posix()
        for path in project.folder.rglob("*")
        if path.name.endswith((".tmp", ".moves"))
    ]


def zip_of(files: dict[str, bytes], method: int = 8) -> bytes:
    import zipfile

    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()
