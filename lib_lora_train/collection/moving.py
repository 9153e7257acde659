"""Moving pictures from one concept to another."""

from __future__ import annotations

from collections.abc import Collection

from lib_lora_train.collection.layout import IMAGES, MASKS, Layout
from lib_lora_train.collection.locking import locked, move_all
from lib_lora_train.collection.names import fold, free_stem, stem_of
from lib_lora_train.collection.thumbnails import forget
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project


def move_pictures(project: Project, picture_ids: Collection[str], concept_id: str) -> list[str]:
    """Moves pictures with captions and masks to a concept, all or none, and returns the ids they have there.

    Raises UserError: collection.nothing_chosen, collection.unknown_picture, collection.unknown_concept, file.write.
    """
    if not picture_ids:
        raise UserError("collection.nothing_chosen", "pictures")
    with locked(project):
        layout = Layout.read(project)
        target = layout.folder(concept_id)
        chosen = layout.locate(picture_ids)
        images, moves, names = project.path(IMAGES), [], []
        there = {fold(stem_of(name)) for name in target.names}
        for each in layout.belongings(chosen):
            if each.folder is target:
                names.append(each.picture)
                continue
            stem = stem_of(each.picture)
            fresh = free_stem(stem, layout.stems) if fold(stem) in there else stem
            there.add(fold(fresh))
            layout.stems.add(fold(fresh))
            for name in (each.picture, *each.captions):
                moves.append((each.folder.path / name, target.path / (fresh + name[len(stem) :])))
            if each.mask and not target.regularization:  # there it would be of no use; it waits where it is
                source, home = project.path(MASKS, each.folder.path.name), project.path(MASKS, target.path.name)
                moves.append((source / each.mask, home / (fresh + each.mask[len(stem) :])))
            if each.original and fresh != stem:
                ending = each.original[len(stem_of(each.original)) :]
                moves.append((images / each.original, images / (fresh + ending)))
            names.append(fresh + each.picture[len(stem) :])
        forget(project, picture_ids)
        move_all(project, moves)
        return [target.picture_id(name) for name in names]
