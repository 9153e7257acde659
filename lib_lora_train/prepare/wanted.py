"""What the data set should look like after what was run and decided, and what has to change for that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lib_lora_train.collection.caption_files import Caption, read_caption
from lib_lora_train.collection.layout import ConceptFolder, Layout
from lib_lora_train.collection.locking import settle
from lib_lora_train.collection.made import Made
from lib_lora_train.collection.names import fold, free_stem, split_name, stem_of
from lib_lora_train.errors import UserError
from lib_lora_train.prepare.bench import Bench, Task
from lib_lora_train.prepare.kept import Digests
from lib_lora_train.prepare.rendering import Recipe
from lib_lora_train.prepare.sources import Output, Source, digests_of, read_sources
from lib_lora_train.prepare.state import Hand, State, task_of
from lib_lora_train.project import Project

# (name of what is in the picture, caption it had by itself) -> the caption it should have; None: it stays.
Captioning = Callable[[str, str], str | None]


@dataclass(frozen=True)
class Change:
    """One picture of the data set. `old` and `new` are file names in the concept's folder, empty for none.

    `recipe` None: the picture itself stays. `caption` None: so does the caption; `before` is the caption that it has
    by itself, `now` what is written at present. `mask` is whether another mask is due, `mask_key` which ("": none).
    """

    folder: ConceptFolder
    original: str
    place: int
    old: str
    new: str
    made: Made | None = None
    recipe: Recipe | None = None
    caption: str | None = None
    before: str = ""
    now: Caption = field(default_factory=Caption)
    mask: bool = False
    mask_key: str = ""

    @property
    def moves_picture(self) -> bool:
        return self.recipe is not None or not self.new


@dataclass
class Entry:
    """An original with its task, how its pictures are to be made (None: not known, or they stay) and what changes.

    By place: `captions` are those that its pictures will have, `contents` name what will be in them, `own` are the
    captions that they have by themselves, and `now` those that are written at present (none for a picture to come).
    """

    source: Source
    task: Task | None
    hand: Hand
    error: UserError | None = None
    recipes: list[Recipe] | None = None
    changes: list[Change] = field(default_factory=list)
    captions: dict[int, str] = field(default_factory=dict)
    contents: dict[int, str] = field(default_factory=dict)
    own: dict[int, str] = field(default_factory=dict)
    now: dict[int, str] = field(default_factory=dict)


@dataclass
class Wanted:
    """Of a whole project."""

    layout: Layout
    entries: list[Entry]

    @property
    def changes(self) -> list[Change]:
        return [change for entry in self.entries for change in entry.changes]

    def counts(self) -> dict[str, int]:
        """As the overview shows them."""
        return count_changes(self.changes)


def count_changes(changes: Sequence[Change]) -> dict[str, int]:
    """How many pictures are replaced, added and removed, and how many captions and masks are written."""
    return {
        "pictures": sum(change.recipe is not None and bool(change.old) for change in changes),
        "added": sum(not change.old for change in changes),
        "removed": sum(not change.new for change in changes),
        "captions": sum(change.caption is not None and bool(change.old) for change in changes),
        "masks": sum(change.mask for change in changes),
    }


def tasks_of(
    project: Project, state: State, sources: Sequence[Source], digests: Digests
) -> list[tuple[Source, Task | None, UserError | None]]:
    """A task for each original; those that cannot be read have an error instead."""
    found: list[tuple[Source, Task | None, UserError | None]] = []
    for source in sources:
        try:
            if source.path.is_symlink():
                raise UserError("dataset.link", source.name)
            digest = digests.of(source.path, source.name)
            found.append(
                (source, task_of(project, source.path, source.name, digest, state.hand(source.original)), None)
            )
        except UserError as error:
            found.append((source, None, error))
    return found


def find_wanted(
    project: Project, state: State, bench: Bench, captioning: Captioning, layout: Layout | None = None
) -> Wanted:
    """Reads the project as it is now and compares. With a `layout` the lock is held. Raises UserError("path.outside")."""
    if layout is None:
        settle(project)
        layout = Layout.read(project)
    digests = digests_of(project)
    entries, taken = [], set(layout.stems)
    spoken: dict[tuple[str, str], str] = {}  # of pictures that share a caption, as only their endings differ, the first
    for source, task, error in tasks_of(project, state, read_sources(project, layout, digests), digests):
        hand = state.hand(source.original)
        entry = Entry(source, task, hand, error)
        entries.append(entry)
        if task is None:
            continue
        steps = state.steps
        if steps.crop is not None or steps.matte is not None or hand != Hand():
            entry.recipes = bench.recipes(task, steps)
        entry.changes = list(_changes(layout, entry, captioning, taken, spoken))
    digests.save()
    return Wanted(layout, entries)


def own_caption(made: Made | None, now: Caption) -> str:
    """The caption that a picture has by itself: what stood there before the one that was written, if that is untouched."""
    return made.before if made is not None and made.caption and made.caption == now.version else now.text


def _changes(
    layout: Layout, entry: Entry, captioning: Captioning, taken: set[str], spoken: dict[tuple[str, str], str]
) -> list[Change]:
    source, found = entry.source, []
    first = ""
    present = _by_place(source.outputs)
    recipes = entry.recipes
    digest = entry.task.digest if entry.task is not None else ""
    places = range(len(recipes)) if recipes is not None else sorted(present)
    for place in places:
        recipe = recipes[place] if recipes is not None else None
        output = present.pop(place, None)
        made = output.made if output is not None else None
        now = read_caption(source.folder.path, output.name) if output is not None else Caption()
        own = own_caption(made, now) if output is not None else first
        first = first if place else own
        key = made.key if made is not None else ""
        if recipe is not None and output is not None and recipe.key == key:
            same_picture = recipe
            recipe = None
        else:
            same_picture = None
        wanted = recipe or same_picture
        content = wanted.content if wanted is not None else key or digest
        caption = captioning(content, own)
        if output is not None:
            shared = (source.folder.id, fold(stem_of(output.name)))
            caption = caption if spoken.setdefault(shared, output.name) == output.name else None
        entry.contents[place], entry.own[place] = content, own
        if output is not None:
            entry.now[place] = now.text
        if caption is None and output is None:
            caption = own
        entry.captions[place] = now.text if caption is None else caption
        if caption is not None and caption == now.text:
            caption = None
        mask_key = wanted.mask_key if wanted is not None else made.mask if made is not None else ""
        mask = mask_key != (made.mask if made is not None else "")
        new = output.name if recipe is None and output is not None else _new_name(source, recipe, output, taken)
        if recipe is not None or caption is not None or mask or output is None:
            old = output.name if output is not None else ""
            found.append(
                Change(source.folder, source.original, place, old, new, made, recipe, caption, own, now, mask, mask_key)
            )
    if recipes is not None:
        for place, output in sorted(present.items()):
            now = read_caption(source.folder.path, output.name)
            made = output.made
            found.append(
                Change(
                    source.folder, source.original, place, output.name, "", made, None, None, own_caption(made, now),
                    now, bool(made and made.mask), "",
                )
            )  # fmt: skip
    return found


def _by_place(outputs: Sequence[Output]) -> dict[int, Output]:
    """Each at its place; what was not made by us stands in the first that is free."""
    placed: dict[int, Output] = {}
    for output in sorted(outputs, key=lambda each: each.made is None):
        place = output.made.place if output.made is not None else 0
        while place in placed:
            place += 1
        placed[place] = output
    return placed


def _new_name(source: Source, recipe: Recipe | None, output: Output | None, taken: set[str]) -> str:
    ending = ".png" if recipe is not None and recipe.key else Path(source.original).suffix
    if output is not None:
        stem, before = split_name(output.name)
        if ending == before or stem + ending not in source.folder.names:
            return stem + ending
    stem = free_stem(stem_of(output.name if output is not None else source.original), taken)
    taken.add(fold(stem))
    return stem + ending
