"""Taking over a data set from elsewhere on this machine, whatever made it. Its files are copied and never changed.

Recognised, in this order:
- a kohya data set file (.toml, .json), or a zip;
- a project of sd-webui-train-tools (`<project>/versions/<version>/dataset/processed/<repeats>_<project>`): of the
  version that was used last the pictures as they were trained on; those in `dataset/origin` when there are none;
- kohya folders `<repeats>_<name>`, straight in the folder or in `img`, `dataset` and the like below it, with `reg`
  or `regularization` and `masks` beside them or in them;
- one folder `<repeats>_<name>` itself;
- a folder of pictures.
"""

from __future__ import annotations

from pathlib import Path

from lib_lora_train.collection.archive import add_zip
from lib_lora_train.collection.batch import take_all
from lib_lora_train.collection.dataset_file import read_dataset_file
from lib_lora_train.collection.intake import Added
from lib_lora_train.collection.kohya import MASK_FOLDERS, REGULARIZATION_FOLDERS, TRAINING_FOLDERS, wish_of
from lib_lora_train.collection.limits import Limits
from lib_lora_train.collection.names import natural, shown
from lib_lora_train.collection.sources import Source, check_not_empty, is_folder_inside, join_found, read_source
from lib_lora_train.dataset.listing import list_folder, root_folder
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project
from lib_lora_train.signals import Commands, EventSink, Log, ignore_events

_PROCESSED, _ORIGIN, _TT_REGULARIZATION = ("dataset", "processed"), ("dataset", "origin"), ("dataset", "reg")


def import_from(
    project: Project,
    path: Path,
    limits: Limits,
    events: EventSink = ignore_events,
    commands: Commands | None = None,
    concept_id: str = "",
) -> Added:
    """Takes over what is at `path`. Pictures whose folder names no concept go to `concept_id`, "" for the default.

    Raises UserError: collection.unknown_concept, dataset.no_folder, dataset.folder_missing, dataset.folder, dataset.empty,
    collection.import_unknown, and what `add_zip` and `read_dataset_file` raise; Stopped.
    """
    path = Path(str(path).strip().strip('"'))  # Windows' "Copy as path" puts quotes around it
    if path == Path():
        raise UserError("dataset.no_folder", "path")
    file = _file(path)
    if file is not None:
        suffix = file.suffix.lower()
        if suffix == ".zip":
            return add_zip(project, concept_id, file, limits, events, commands)
        if suffix not in (".toml", ".json"):
            raise UserError("collection.import_unknown", shown(file.name))
        root = file.parent.resolve()
        sources, problems, notes = read_dataset_file(file)
    else:
        root = root_folder(str(path), "path")
        sources, notes = find_sources(root)
        problems = []
    parts = [read_source(source) for source in sources]
    found = join_found(parts)
    found.problems = problems + found.problems
    found.notes = notes + found.notes
    check_not_empty(root, [found])
    return take_all(project, concept_id, found, limits, events, commands)


def find_sources(root: Path) -> tuple[list[Source], list[Log]]:
    """Which folders at or below `root` hold the data set. Raises UserError("dataset.folder")."""
    version = _train_tools_version(root)
    if version is not None:
        notes = [Log("collection.train_tools", {"where": shown(version.name)})]
        trained = _numbered(root, version.joinpath(*_PROCESSED), False)
        origin = version.joinpath(*_ORIGIN)
        if not any(read_source(source).pictures for source in trained):
            trained = [Source(root, origin)] if is_folder_inside(root, origin) else []
        return trained + _numbered(root, version.joinpath(*_TT_REGULARIZATION), True), notes
    for holder in (root, *(root / name for name in TRAINING_FOLDERS)):
        concepts = _numbered(root, holder, False)
        if concepts:
            regularization = [
                source for name in sorted(REGULARIZATION_FOLDERS) for source in _numbered(root, root / name, True)
            ]
            return concepts + regularization, _ignored(holder, holder == root)
    return [Source(root, root, wish_of(root.name))], []


def _file(path: Path) -> Path | None:
    """The path when it is one of a file. What is wrong with it is said when it is opened as a folder."""
    try:
        file = path.expanduser()
        return file if file.is_file() else None
    except (OSError, RuntimeError, ValueError):
        return None


def _numbered(root: Path, holder: Path, regularization: bool) -> list[Source]:
    """The `<repeats>_<name>` folders in `holder`, those with their masks; none where there is no such folder."""
    if not is_folder_inside(root, holder):
        return []
    sources = []
    for name in sorted(list_folder(holder, "path").folders, key=natural):
        wish = wish_of(name, regularization)
        if wish is not None:
            places = [base / masks / name for base in (holder, root) for masks in sorted(MASK_FOLDERS)]
            masks = tuple(
                dict.fromkeys(place for place in places if not regularization and is_folder_inside(root, place))
            )
            sources.append(Source(root, holder / name, wish, masks=masks))
    return sources


def _ignored(holder: Path, plain: bool) -> list[Log]:
    """Notes on what lies beside the concepts and is not taken."""
    listing = list_folder(holder, "path")
    known = MASK_FOLDERS | REGULARIZATION_FOLDERS | frozenset(TRAINING_FOLDERS)
    others = [name for name in listing.subfolders if wish_of(name) is None and not (plain and name.lower() in known)]
    notes = [Log("dataset.folder_ignored", {"where": shown(name)}, "warning") for name in others]
    if listing.pictures:
        notes.append(Log("dataset.loose", {"where": shown(holder.name), "count": len(listing.pictures)}, "warning"))
    return notes


def _train_tools_version(root: Path) -> Path | None:
    """The version folder of a sd-webui-train-tools project that was changed last, or `root` when it is one."""
    if _has_dataset(root, root):
        return root
    versions = root / "versions"
    if not is_folder_inside(root, versions):
        return None
    found = [versions / name for name in list_folder(versions, "path").folders]
    found = [folder for folder in found if _has_dataset(root, folder)]
    return max(found, key=lambda folder: (folder.stat().st_mtime_ns, folder.name), default=None)


def _has_dataset(root: Path, folder: Path) -> bool:
    return any(is_folder_inside(root, folder.joinpath(*parts)) for parts in (_PROCESSED, _ORIGIN))
