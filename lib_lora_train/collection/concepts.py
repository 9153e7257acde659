"""Concepts: folders `<repeats>_<name>` of training or regularization pictures."""

from __future__ import annotations

from lib_lora_train.collection.entries import ConceptInfo, concept_info
from lib_lora_train.collection.layout import HOLDERS, ConceptFolder, Layout
from lib_lora_train.collection.limits import MAX_CONCEPT_NAME, MAX_CONCEPTS, MAX_REPEATS
from lib_lora_train.collection.locking import locked, move_all
from lib_lora_train.collection.names import fold, parse_folder
from lib_lora_train.collection.trash import delete_concept
from lib_lora_train.errors import UserError
from lib_lora_train.files import safe_name
from lib_lora_train.project import Project

__all__ = ["add_concept", "default_concept", "delete_concept", "edit_concept"]

DEFAULT_REPEATS = 10


def add_concept(
    project: Project, name: str, repeats: int = DEFAULT_REPEATS, regularization: bool = False
) -> ConceptInfo:
    """Makes an empty one.

    Raises UserError: collection.concept_name, collection.repeats, collection.concept_taken,
    collection.too_many_concepts, file.write.
    """
    with locked(project):
        layout = Layout.read(project)
        wanted = folder_name(name, repeats)
        if _same_folder(layout, wanted, regularization) is not None:
            raise UserError("collection.concept_taken", "name", folder=wanted)
        return concept_info(make_folder(layout, wanted, regularization))


def default_concept(project: Project) -> ConceptInfo:
    """The first training concept; where there is none it is made, called by the trigger word or the kind of subject."""
    with locked(project):
        return concept_info(default_folder(Layout.read(project)))


def edit_concept(project: Project, concept_id: str, name: str | None = None, repeats: int | None = None) -> ConceptInfo:
    """Another name or number of repeats; the folder of its masks goes along.

    With another name the id changes, and so do the ids of its pictures. Raises UserError:
    collection.unknown_concept, collection.concept_name, collection.repeats, collection.concept_taken, file.write.
    """
    with locked(project):
        layout = Layout.read(project)
        folder = layout.folder(concept_id)
        wanted = folder_name(folder.name if name is None else name, folder.repeats if repeats is None else repeats)
        if wanted == folder.path.name:
            return concept_info(folder)
        other = _same_folder(layout, wanted, folder.regularization)
        if other is not None and other is not folder:
            raise UserError("collection.concept_taken", "name", folder=wanted)
        moves = [(folder.path, folder.path.with_name(wanted))]
        masks = layout.mask_folder(folder)
        if masks is not None:
            moves.append((masks, masks.with_name(wanted)))
        move_all(project, moves)
        layout.folders.remove(folder)
        return concept_info(layout.add(folder.path.with_name(wanted), folder.regularization))


def folder_name(name: str, repeats: int) -> str:
    """`<repeats>_<name>` as it is legal everywhere. Raises UserError: collection.concept_name, collection.repeats."""
    if isinstance(repeats, bool) or not isinstance(repeats, int) or not 1 <= repeats <= MAX_REPEATS:
        raise UserError("collection.repeats", "repeats", limit=MAX_REPEATS)
    text = name.strip()
    folder = safe_name(f"{repeats}_{text}")
    parsed = parse_folder(folder)
    if len(text) > MAX_CONCEPT_NAME or parsed is None or not parsed[1].strip():
        raise UserError("collection.concept_name", "name", longest=MAX_CONCEPT_NAME)
    return folder


def default_folder(layout: Layout) -> ConceptFolder:
    """As `default_concept`; the lock must be held."""
    for folder in layout.folders:
        if not folder.regularization:
            return folder
    project = layout.project
    for name in (project.trigger_word[:MAX_CONCEPT_NAME], project.kind):
        try:
            return make_folder(layout, folder_name(name, DEFAULT_REPEATS), False)
        except UserError as error:
            if error.code != "collection.concept_name":
                raise
    raise UserError("collection.concept_name", "name", longest=MAX_CONCEPT_NAME)


def find_or_make(layout: Layout, name: str, repeats: int, regularization: bool) -> ConceptFolder:
    """The concept of an imported folder; the lock must be held. Raises as `add_concept`, but for a taken name."""
    found = find_existing(layout, name, repeats, regularization)
    return found if found is not None else make_folder(layout, folder_name(name, repeats), regularization)


def find_existing(layout: Layout, name: str, repeats: int, regularization: bool) -> ConceptFolder | None:
    return _same_folder(layout, folder_name(name, repeats), regularization)


def make_folder(layout: Layout, wanted: str, regularization: bool) -> ConceptFolder:
    """Makes the folder and adds it to `layout`. Raises UserError: collection.too_many_concepts, file.write."""
    if len(layout.folders) >= MAX_CONCEPTS:
        raise UserError("collection.too_many_concepts", "name", limit=MAX_CONCEPTS)
    path = layout.project.path(HOLDERS[regularization], wanted)
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise UserError("file.write", wanted, reason=error.strerror or "?") from error
    return layout.add(path, regularization)


def _same_folder(layout: Layout, wanted: str, regularization: bool) -> ConceptFolder | None:
    for folder in layout.folders:
        if folder.regularization == regularization and fold(folder.path.name) == fold(wanted):
            return folder
    return None
