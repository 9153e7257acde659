"""Taggers and captioners at work on a set: nothing twice, one model at a time, stopped at any moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.prepare import looking
from lib_lora_train.prepare.guesses import GuessStore
from lib_lora_train.prepare.looking import Picture, caption_pictures, open_taggers, tag_pictures
from lib_lora_train.prepare.sentences import SentenceStore
from lib_lora_train.prepare.tables import TagSettings
from lib_lora_train.prepare.tagging import choose_tags
from lib_lora_train.signals import Commands, Event, EventSink, Stage, Stopped
from tests.helpers.taggers import write_fixed

WHITE = Image.new("RGB", (20, 20), "white")


class Folders:
    """Stands for the store of models: a folder with taggers in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resolve_tagger(self, name: str) -> Path:
        if not (self.folder / name / "model.onnx").is_file():
            raise UserError("onnx.missing_file", name)
        return self.folder / name


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    write_fixed(tmp_path / "one", [0.9, 0.5, 0.2], [("general", 9), ("long_hair", 0), ("smile", 0)])
    write_fixed(tmp_path / "two", [0.6, 0.7], [("smile", 0), ("hat", 0)], batch=1)
    return Folders(tmp_path)


def pictures(count: int, opened: Callable[[], Image.Image] = lambda: WHITE) -> list[Picture]:
    return [Picture(f"key {number}", f"digest {number}", opened) for number in range(count)]


def stages(events: list[Event], code: str) -> list[tuple[int, int]]:
    return [(event.done, event.total) for event in events if isinstance(event, Stage) and event.code == code]


def test_what_is_missing_is_looked_at_and_nothing_else(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, events, opened = GuessStore(tmp_path / "store"), [], []

    def open_one() -> Image.Image:
        opened.append(1)
        return WHITE

    taggers = open_taggers(folders, ["one", "two", " one ", ""])
    assert [source.name for source in taggers] == ["one", "two"]
    looked = tag_pictures(pictures(5, open_one), taggers, store, events.append)
    assert (looked.new, looked.errors, len(opened)) == (10, {}, 10)
    assert stages(events, "tagging.stage_tagging")[-1] == (10, 10)
    seen = [store.get(store.key_of(name), "digest 3") for name in ("one", "two")]
    assert choose_tags([each for each in seen if each], TagSettings()) == ["hat", "long hair", "smile"]

    monkeypatch.setattr(looking, "Tagger", lambda *given: pytest.fail("loaded for nothing"))
    again = tag_pictures(pictures(5, open_one), taggers, GuessStore(tmp_path / "store"))
    assert (again.new, len(opened)) == (0, 10)


def test_same_pictures_are_seen_once(folders: Folders, tmp_path: Path) -> None:
    twins = [Picture("a", "same", lambda: WHITE), Picture("b", "same", lambda: WHITE)]
    assert tag_pictures(twins, open_taggers(folders, ["one"]), GuessStore(tmp_path / "store")).new == 1


def test_one_model_at_a_time(folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[str] = []

    class Watched(looking.Tagger):
        def __init__(self, folder: Path, *given: object) -> None:
            assert alive == []
            super().__init__(folder, *given)
            alive.append(folder.name)

        def close(self) -> None:
            super().close()
            alive.clear()

    monkeypatch.setattr(looking, "Tagger", Watched)
    tag_pictures(pictures(3), open_taggers(folders, ["one", "two"]), GuessStore(tmp_path / "store"))
    assert alive == []


def test_a_tagger_that_is_not_there_is_told_before_any_work(folders: Folders) -> None:
    with pytest.raises(UserError) as caught:
        open_taggers(folders, ["one", "none"])
    assert caught.value.where == "none"


def test_a_changed_tagger_looks_again(folders: Folders, tmp_path: Path) -> None:
    store = GuessStore(tmp_path / "store")
    taggers = open_taggers(folders, ["two"])
    assert tag_pictures(pictures(2), taggers, store).new == 2
    write_fixed(folders.folder / "two", [0.1, 0.9], [("smile", 0), ("hat", 0)])
    assert tag_pictures(pictures(2), taggers, store).new == 2


def test_pictures_that_cannot_be_opened_are_named_and_the_rest_is_tagged(folders: Folders, tmp_path: Path) -> None:
    def broken() -> Image.Image:
        raise UserError("image.damaged", "b.png")

    mixed = [*pictures(3), Picture("bad", "bad", broken), Picture("good", "good", lambda: WHITE)]
    looked = tag_pictures(mixed, open_taggers(folders, ["one", "two"]), GuessStore(tmp_path / "store"))
    assert looked.new == 8
    assert {key: error.code for key, error in looked.errors.items()} == {"bad": "image.damaged"}


def test_a_stop_keeps_what_was_seen(folders: Folders, tmp_path: Path) -> None:
    commands = Commands()
    events: list[Event] = []

    def tell(event: Event) -> None:
        events.append(event)
        if isinstance(event, Stage) and event.done == 7:
            commands.stop()

    with pytest.raises(Stopped):
        tag_pictures(
            pictures(200), open_taggers(folders, ["one", "two"]), GuessStore(tmp_path / "store"), tell, commands
        )
    again = GuessStore(tmp_path / "store")
    left = again.missing(again.key_of("one") or "", [f"digest {number}" for number in range(200)])
    assert 100 < len(left) <= 193
    looked = tag_pictures(pictures(200), open_taggers(folders, ["one"]), again)
    assert looked.new == len(left)


# ---------------------------------------------------------------------- captioners


class Teller:
    name, key = "teller", "teller-1"

    def __init__(self, caption: Callable[[Image.Image], str]) -> None:
        self.say = caption
        self.open = False

    def trouble(self) -> UserError | None:
        return None

    @contextmanager
    def loaded(
        self, commands: Commands | None = None, events: EventSink | None = None
    ) -> Iterator[Callable[[Image.Image], str]]:
        self.open = True
        try:
            yield self.say
        finally:
            self.open = False


def test_captions_are_asked_for_once(tmp_path: Path) -> None:
    events: list[Event] = []
    teller = Teller(lambda image: f"{image.width} wide")
    looked = caption_pictures(pictures(3), teller, SentenceStore(tmp_path), events.append)
    assert (looked.new, looked.errors, teller.open) == (3, {}, False)
    assert stages(events, "tagging.stage_captioning") == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert SentenceStore(tmp_path).get("teller-1", "digest 2") == "20 wide"
    again = Teller(lambda image: pytest.fail("asked again"))
    assert caption_pictures(pictures(3), again, SentenceStore(tmp_path)).new == 0


def test_a_captioner_that_fails_thrice_in_a_row_ends_the_work(tmp_path: Path) -> None:
    asked: list[int] = []

    def fail(image: Image.Image) -> str:
        asked.append(1)
        if len(asked) in (2, 4):
            return "fine"
        raise UserError("tagging.endpoint_answer", "endpoint")

    store = SentenceStore(tmp_path)
    teller = Teller(fail)
    with pytest.raises(UserError):
        caption_pictures(pictures(30), teller, store)
    assert len(asked) == 7
    assert SentenceStore(tmp_path).get("teller-1", "digest 3") == "fine"
    assert not teller.open


def test_single_failures_are_named(tmp_path: Path) -> None:
    def broken() -> Image.Image:
        raise UserError("image.damaged", "b.png")

    mixed = [Picture("bad", "bad", broken), *pictures(2)]
    looked = caption_pictures(mixed, Teller(lambda image: "x"), SentenceStore(tmp_path))
    assert (looked.new, list(looked.errors)) == (2, ["bad"])


def test_a_stop_keeps_what_was_said(tmp_path: Path) -> None:
    commands = Commands()

    def say(image: Image.Image) -> str:
        commands.stop()
        return "said"

    with pytest.raises(Stopped):
        caption_pictures(pictures(3), Teller(say), SentenceStore(tmp_path), commands=commands)
    assert SentenceStore(tmp_path).get("teller-1", "digest 0") == "said"
