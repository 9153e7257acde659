"""A project on disk: one folder with everything that belongs to one LoRA.

    <root>/<project id>/
      project.json                 title, kind of subject, trigger word, schema version
      images/                      what the user gave, never altered
      dataset/<repeats>_<trigger>/ masks/  regularization/  history/
      runs/<run id>/               run.json  metrics.jsonl  samples/  state/  checkpoints/
      grids/<grid id>/             grid.json; all cells of all grids are in grids/cells/
      picks/<pick id>/             pick.json, and what an undoing needs

Folder names come from ids; the title stands in JSON, so that any language and any character is a good title.
Deleting moves the folder to <root>/.trash, from where it can be brought back.
"""

from __future__ import annotations

import json
import re
import secrets
import time
import unicodedata
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lib_lora_train.errors import UserError
from lib_lora_train.files import move, resolve_inside, safe_name, write_json

PROJECT_VERSION = 1
SUBJECT_KINDS = ("person", "character", "style", "object", "concept")
TRASH = ".trash"
RUN_TRASH = ".trash"  # in runs/
FOLDERS = ("images", "dataset", "masks", "regularization", "history", "runs")
MAX_TITLE = 200

_ID = re.compile(r"[a-z0-9]{1,24}-[0-9a-f]{6}")
_RUN_ID = re.compile(r"r[0-9]{2,6}")
_STORED = {"title": str, "kind": str, "trigger_word": str, "created": float}  # what project.json holds
_SINCE = {"owner": ""}  # and what it may lack, because an earlier version wrote it


@dataclass(frozen=True)
class Project:
    """A project as its project.json describes it. `created` is in seconds since 1970.

    `owner` is the login of whoever made it; a project without one is everybody's.
    """

    root: Path
    id: str
    title: str
    kind: str
    trigger_word: str
    created: float
    owner: str = ""

    @property
    def folder(self) -> Path:
        return self.root / self.id

    def path(self, *parts: str) -> Path:
        """A path inside the project. Raises UserError("path.outside")."""
        return resolve_inside(self.folder, *parts)

    def dataset_folder(self, repeats: int) -> Path:
        """Where prepared pictures go, named as kohya names it."""
        return self.path("dataset", f"{repeats}_{safe_name(self.trigger_word, self.kind)}")


def create_project(
    root: Path, title: str, kind: str = "character", trigger_word: str = "", owner: str = ""
) -> Project:
    """Makes the folders of a new project.

    Raises UserError: project.title, project.kind, file.write.
    """
    project = Project(root, _new_id(title), _title(title), _kind(kind), _writable(trigger_word), time.time(), owner)
    try:
        for name in FOLDERS:
            (project.folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError("file.write", project.id, reason=error.strerror or str(error)) from error
    _write(project)
    return project


def open_project(root: Path, project_id: str) -> Project:
    """Raises UserError: project.unknown, project.damaged, project.newer, path.outside."""
    return _read(root, project_id, _folder(root, project_id))


def list_projects(root: Path) -> tuple[list[Project], list[UserError]]:
    """All projects, newest first, and what was found but could not be read."""
    projects, problems = [], []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if _ID.fullmatch(folder.name) and folder.is_dir():
            try:
                projects.append(open_project(root, folder.name))
            except UserError as error:
                problems.append(error)
    return sorted(projects, key=lambda project: project.created, reverse=True), problems


def edit_project(
    project: Project, title: str | None = None, kind: str | None = None, trigger_word: str | None = None
) -> Project:
    """Changes what is not None; the folder keeps its name. Raises UserError: project.title, project.kind."""
    edited = replace(
        project,
        title=project.title if title is None else _title(title),
        kind=project.kind if kind is None else _kind(kind),
        trigger_word=project.trigger_word if trigger_word is None else _writable(trigger_word),
    )
    _write(edited)
    return edited


def delete_project(root: Path, project_id: str) -> str:
    """Moves a project to the trash and returns the id under which it lies there."""
    folder = _folder(root, project_id)
    trash_id = f"{project_id}-{secrets.token_hex(4)}"
    move(folder, root / TRASH / trash_id)
    return trash_id


def restore_project(root: Path, trash_id: str) -> Project:
    """Brings a project back. Raises UserError: project.unknown, project.taken."""
    project_id = trash_id.rpartition("-")[0]
    source = resolve_inside(root, TRASH, trash_id)
    if not _ID.fullmatch(project_id) or not source.is_dir():
        raise UserError("project.unknown", trash_id)
    target = resolve_inside(root, project_id)
    if target.exists():
        raise UserError("project.taken", project_id)
    move(source, target)
    return open_project(root, project_id)


def list_trash(root: Path) -> list[tuple[str, Project]]:
    """What can be brought back: trash id and project, in the order of the ids."""
    found = []
    for folder in sorted((root / TRASH).iterdir()) if (root / TRASH).is_dir() else []:
        project_id = folder.name.rpartition("-")[0]
        if _ID.fullmatch(project_id) and (folder / "project.json").is_file():
            found.append((folder.name, _read(root, project_id, folder)))
    return found


def new_run(project: Project) -> Path:
    """Makes the folder of the next run: runs/r01, r02, ... Two callers at once get two folders.

    The number of a run in the trash is not given again: names of LoRA files are made with it.
    """
    trash = project.path("runs", RUN_TRASH)
    deleted = [path.name.partition("-")[0] for path in trash.iterdir()] if trash.is_dir() else []
    used = [*list_runs(project), *(name for name in deleted if _RUN_ID.fullmatch(name))]
    number = max((int(name[1:]) for name in used), default=0)
    while True:
        number += 1
        folder = project.path("runs", f"r{number:02d}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError("file.write", folder.name, reason=error.strerror or str(error)) from error
        return folder


def list_runs(project: Project) -> list[str]:
    """Run ids in the order they were made."""
    folder = project.path("runs")
    names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted((name for name in names if _RUN_ID.fullmatch(name)), key=lambda name: int(name[1:]))


def run_folder(project: Project, run_id: str) -> Path:
    """Raises UserError("project.no_run")."""
    folder = project.path("runs", run_id)
    if not _RUN_ID.fullmatch(run_id) or not folder.is_dir():
        raise UserError("project.no_run", run_id)
    return folder


def _new_id(title: str) -> str:
    """Readable where the title has letters that are safe everywhere, and unique by its number."""
    ascii_title = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    word = re.sub(r"[^a-z0-9]", "", ascii_title)[:24] or "project"
    return f"{word}-{secrets.token_hex(3)}"


def _folder(root: Path, project_id: str) -> Path:
    if not _ID.fullmatch(project_id):
        raise UserError("project.unknown", project_id)
    folder = resolve_inside(root, project_id)
    if not folder.is_dir():
        raise UserError("project.unknown", project_id)
    return folder


def _read(root: Path, project_id: str, folder: Path) -> Project:
    try:
        content = json.loads((folder / "project.json").read_text(encoding="utf-8"))
        version, stored = content.pop("version"), content
        if version == PROJECT_VERSION:
            values = {name: kind(stored[name]) for name, kind in _STORED.items()}
            return Project(root, project_id, **values, **{name: str(stored.get(name, _SINCE[name])) for name in _SINCE})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError("project.damaged", project_id) from error
    raise UserError("project.newer", project_id, version=version, current=PROJECT_VERSION)


def _write(project: Project) -> None:
    stored = {name: value for name, value in asdict(project).items() if name in (*_STORED, *_SINCE)}
    write_json(project.folder / "project.json", {"version": PROJECT_VERSION, **stored})


def _title(title: str) -> str:
    text = _writable(title)
    if not text or len(text) > MAX_TITLE:
        raise UserError("project.title", "title", longest=MAX_TITLE)
    return text


def _writable(text: str) -> str:
    """Without blanks around it, and without halves of a character, which cannot be written as UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8").strip()


def _kind(kind: str) -> str:
    if kind not in SUBJECT_KINDS:
        raise UserError("project.kind", "kind", value=kind, choices=", ".join(SUBJECT_KINDS))
    return kind
