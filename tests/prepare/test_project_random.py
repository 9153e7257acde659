"""Any sequence of what somebody can do with a prepared project, against what must hold after each step: originals are
never changed, no picture is lost, and what is taken back comes back byte for byte."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, seed
from hypothesis import settings as examples
from hypothesis import strategies as st

from lib_lora_train.collection.captions import write_caption
from lib_lora_train.collection.concepts import edit_concept
from lib_lora_train.collection.entries import list_concepts, list_pictures
from lib_lora_train.collection.trash import delete_pictures, restore
from lib_lora_train.prepare.frames import Crop
from lib_lora_train.prepare.one_pass import Passing
from lib_lora_train.prepare.sources import read_sources
from lib_lora_train.prepare.state import changed_state
from lib_lora_train.prepare.undoing import list_undo, undo
from lib_lora_train.project import Project
from lib_lora_train.vision.geometry import Box
from tests.collection.tools import leftovers, tree
from tests.helpers.preparing import add, barred, photo, photo_project, settings, tools

CHOICES = [
    settings(),
    settings(crop={"crop": "size"}),
    settings(crop={"crop": "none", "trim": False}),
    settings(matte={"background": "mask", "matte": "grabcut"}),
    settings(crop={"mirror": True}),
]
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["run", "apply", "undo", "crops", "reset", "delete", "restore", "caption", "repeats", "add", "edit"]
        ),
        st.integers(0, 1000),
    ),
    min_size=3,
    max_size=9,
)


class Story:
    """A project and what is known about it."""

    def __init__(self, folder: Path) -> None:
        self.project = photo_project(folder / "projects", 2)
        self.kit = tools(folder / "models")
        self.before: dict[str, dict[str, str]] = {}  # the data set before each change that can be taken back
        self.since: set[str] = set()  # of these, those after which something else was changed
        self.trash: list[str] = []
        self.added = 0

    def do(self, action: str, number: int) -> None:
        getattr(self, action)(number)

    def touched(self) -> None:
        self.since.update(self.before)

    def run(self, number: int) -> None:
        before = self.dataset()
        Passing(self.project, self.kit, CHOICES[number % len(CHOICES)]).run(("check", "crop", "matte"))
        assert self.dataset() == before

    def apply(self, number: int) -> None:
        before = self.dataset()
        outcome = Passing(self.project, self.kit, CHOICES[0]).run((), apply_it=True)
        assert outcome.applied is not None
        if outcome.applied.id:
            self.before[outcome.applied.id] = before
        else:
            assert self.dataset() == before
        done = self.dataset()
        assert Passing(self.project, self.kit, CHOICES[0]).run((), apply_it=True).applied.id == ""
        assert self.dataset() == done

    def undo(self, number: int) -> None:
        entries = list_undo(self.project)
        if not entries:
            return
        left = undo(self.project, entries[0].id)
        if entries[0].id not in self.since:
            assert left == 0 and self.dataset() == self.before[entries[0].id]
        del self.before[entries[0].id]

    def crops(self, number: int) -> None:
        sources = [source for source in read_sources(self.project) if source.kept]
        if sources:
            boxes = (Box(10, 10, 110, 110), Box(50, 60, 200, 210), Box(0, 0, 64, 80))[: 1 + number % 3]
            crops = tuple(Crop(box, int(box.width), int(box.height), number % 2 == 1, "user") for box in boxes)
            with changed_state(self.project) as state:
                state.set_hand(sources[number % len(sources)].original, crops=crops)

    def reset(self, number: int) -> None:
        with changed_state(self.project) as state:
            for original in list(state.hands):
                state.set_hand(original, crops=None)

    def delete(self, number: int) -> None:
        pictures = list_pictures(self.project)
        if len(pictures) > 1:
            self.trash.append(delete_pictures(self.project, [pictures[number % len(pictures)].id]))
            self.touched()

    def restore(self, number: int) -> None:
        if self.trash:
            restore(self.project, self.trash.pop())
            self.touched()

    def caption(self, number: int) -> None:
        pictures = list_pictures(self.project)
        picture = pictures[number % len(pictures)]
        write_caption(self.project, picture.id, f"words {number}", picture.version)
        self.touched()

    def repeats(self, number: int) -> None:
        edit_concept(self.project, list_concepts(self.project)[0].id, repeats=1 + number % 5)
        self.touched()

    def add(self, number: int) -> None:
        self.added += 1
        add(self.project, f"more{self.added}.png", barred(photo(100 + self.added)))
        self.touched()

    def edit(self, number: int) -> None:
        """A picture painted over in another program, which puts a new file in its place."""
        folder = list_concepts(self.project)[0].folder
        names = sorted(path.name for path in folder.glob("*.png"))
        if names:
            path = folder / names[number % len(names)]
            path.unlink()
            photo(2000 + number).save(path)
            self.touched()

    def dataset(self) -> dict[str, str]:
        return tree(self.project, "dataset", "masks")


def contents(project: Project) -> set[str]:
    """Digests of every picture that the project holds anywhere but in its cache."""
    found = set()
    for path in project.folder.rglob("*.png"):
        if ".cache" not in path.relative_to(project.folder).parts:
            found.add(hashlib.sha256(path.read_bytes()).hexdigest())
    return found


@seed(11)
@examples(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=False)
@given(ACTIONS)
def test_any_sequence(actions: list[tuple[str, int]]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        story = Story(folder)
        originals: dict[str, str] = {}
        for action, number in actions:
            story.do(action, number)
            now = tree(story.project, "images")
            deleted = contents(story.project)
            for name, digest in originals.items():
                assert now.get(name, digest) == digest, (action, name)
                assert any(each.startswith(digest) for each in deleted), (action, name)  # kept, or in the trash
            originals |= now
            assert leftovers(story.project) == []
            for picture in list_pictures(story.project):
                assert picture.problem is None
            for path in (story.project.folder / "dataset").rglob("*.txt"):
                assert path.stat().st_size
    finally:
        shutil.rmtree(folder)
