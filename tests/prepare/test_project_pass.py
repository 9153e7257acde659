"""A project through the pass: nothing changes before it is applied, then all of it, and all of it comes back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_lora_train.collection.captions import write_caption
from lib_lora_train.collection.concepts import edit_concept
from lib_lora_train.collection.entries import list_concepts, list_pictures
from lib_lora_train.collection.layout import Layout
from lib_lora_train.collection.limits import Limits
from lib_lora_train.collection.locking import JOURNAL, move_all
from lib_lora_train.collection.made import MADE, read_made
from lib_lora_train.collection.trash import delete_pictures, restore
from lib_lora_train.errors import UserError
from lib_lora_train.prepare import applying
from lib_lora_train.prepare.captions import captioning
from lib_lora_train.prepare.fixing import Fixing
from lib_lora_train.prepare.frames import Crop
from lib_lora_train.prepare.one_pass import Outcome, Passing
from lib_lora_train.prepare.sources import cache_folder, read_sources
from lib_lora_train.prepare.state import changed_state, read_state
from lib_lora_train.prepare.tables import PrepareSettings
from lib_lora_train.prepare.tools import Tools
from lib_lora_train.prepare.undoing import list_undo, undo
from lib_lora_train.prepare.wanted import find_wanted
from lib_lora_train.project import Project
from lib_lora_train.signals import Commands, Event, Stage, Stopped, ignore_events
from lib_lora_train.vision.geometry import Box
from tests.collection.tools import leftovers, tree
from tests.helpers.preparing import add, barred, photo, photo_project, settings, tools

ALL = ("check", "crop", "matte", "tag")


@pytest.fixture
def kit(tmp_path: Path) -> Tools:
    return tools(tmp_path / "models")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return photo_project(tmp_path / "projects")


def run(project: Project, kit: Tools, chosen: PrepareSettings, steps: tuple[str, ...] = ALL, apply: bool = False) -> Outcome:
    return Passing(project, kit, chosen).run(steps, apply)


def changes(project: Project, kit: Tools) -> dict[str, int]:
    state = read_state(project)
    tag = state.ran.get("tag")
    seen = kit.seen(cache_folder(project))
    caption = captioning(seen, tag.tag if tag else None, project.trigger_word)
    counts = find_wanted(project, state, kit.bench(cache_folder(project)), caption).counts()
    return {name: count for name, count in counts.items() if count}


def sizes(project: Project) -> dict[str, tuple[int, int]]:
    return {picture.name: (picture.width, picture.height) for picture in list_pictures(project)}


def originals(project: Project) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((project.folder / "images").iterdir())
    }


def test_nothing_changes_before_it_is_applied(project: Project, kit: Tools) -> None:
    before = tree(project)
    outcome = run(project, kit, settings())
    assert outcome.problems == [] and outcome.report is not None
    assert tree(project) == before
    assert changes(project, kit) == {"pictures": 4, "captions": 3}  # the trigger word alone, where there was nothing


def test_applied_and_taken_back(project: Project, kit: Tools) -> None:
    before, kept = tree(project), originals(project)
    run(project, kit, settings(), apply=True)
    assert set(sizes(project).values()) == {(320, 240)}  # without the bars
    assert originals(project) == kept
    with Image.open(first_folder(project) / "2.png") as image:
        assert np.array_equal(np.asarray(image), np.asarray(photo(2)))  # cut, not resampled
    assert changes(project, kit) == {}
    entry = list_undo(project)[0]
    assert entry.counts["pictures"] == 4
    assert undo(project, entry.id) == 0
    assert tree(project) == before
    assert list_undo(project) == [] and read_made(project) == {}
    assert leftovers(project) == []


def first_folder(project: Project) -> Path:
    return list_concepts(project)[0].folder


def test_a_second_run_does_only_what_changed(project: Project, kit: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    run(project, kit, settings(), apply=True)
    done = tree(project)
    opened: list[str] = []
    from lib_lora_train.prepare import working

    real = working.open_image
    monkeypatch.setattr(working, "open_image", lambda path, where="": opened.append(path.name) or real(path, where))
    assert run(project, kit, settings(), apply=True).applied.id == ""
    assert opened == [] and tree(project) == done
    add(project, "9.png", barred(photo(9)))
    run(project, kit, settings(), apply=True)
    assert opened == ["9.png"]  # decoded once
    assert sizes(project)["9.png"] == (320, 240)


def test_outputs_tell_where_they_came_from(project: Project, kit: Tools) -> None:
    run(project, kit, settings(), apply=True)
    made = read_made(project)["0.png"]
    digest = hashlib.sha256((project.path("images") / "0.png").read_bytes()).hexdigest()
    assert made.original == "0.png" and made.how["sha256"] == digest
    assert Crop.of(made.how["crop"]).box == Box(0, 40, 320, 280)


def test_a_jpeg_becomes_a_png_and_again_a_jpeg(tmp_path: Path, kit: Tools) -> None:
    project = photo_project(tmp_path / "projects", 1)
    data = tmp_path / "x.jpg"
    barred(photo(5)).save(data, quality=95)
    add(project, "x.jpg", data.read_bytes())
    run(project, kit, settings(), apply=True)
    assert "x.png" in sizes(project) and "x.jpg" not in sizes(project)
    undo(project, list_undo(project)[0].id)
    assert "x.jpg" in sizes(project) and "x.png" not in sizes(project)


@pytest.mark.parametrize("existing", ["keep", "append", "prepend", "replace"])
def test_captions_that_are_there(project: Project, kit: Tools, existing: str) -> None:
    chosen = settings(tag={"existing": existing, "taggers": ["demo-tagger"], "threshold": 0.5})
    run(project, kit, chosen, ("check", "tag"), apply=True)
    first = {picture.name: picture.caption for picture in list_pictures(project)}
    own = first["1.png"]
    assert ("a thing, red" in own) == (existing != "replace")
    assert first["0.png"].split(", ")[0] == project.trigger_word
    run(project, kit, chosen, ("tag",), apply=True)  # once more changes nothing
    assert {picture.name: picture.caption for picture in list_pictures(project)} == first
    undo(project, list_undo(project)[0].id)
    assert {picture.name: picture.caption for picture in list_pictures(project)} == {
        "0.png": "", "1.png": "a thing, red", "2.png": "", "3.png": ""
    }  # fmt: skip


def test_another_threshold_after_applying(tmp_path: Path, kit: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions that were written follow the threshold; the model does not look again."""
    project = photo_project(tmp_path / "projects", 0)
    for number in range(2):  # of which a tagger of drawings is sure of little
        add(project, f"{number}.png", photo(number))
    add(project, "0.txt", b"my own words")
    chosen = settings(tag={"taggers": ["demo-tagger"], "threshold": 0.9, "existing": "append"})
    run(project, kit, chosen, ("tag",), apply=True)
    strict = {picture.name: picture.caption for picture in list_pictures(project)}
    monkeypatch.setattr("lib_lora_train.prepare.looking.Tagger", None)
    chosen.tag.threshold = 0.01
    run(project, kit, chosen, ("tag",), apply=True)
    loose = {picture.name: picture.caption for picture in list_pictures(project)}
    for name, caption in strict.items():
        assert len(loose[name].split(", ")) > len(caption.split(", "))
    assert loose["0.png"].startswith(project.trigger_word) and "my own words" in loose["0.png"]


def test_words_written_since_stay(project: Project, kit: Tools) -> None:
    run(project, kit, settings(), apply=True)
    picture = next(each for each in list_pictures(project) if each.name == "0.png")
    write_caption(project, picture.id, "what I say", picture.version)
    undo(project, list_undo(project)[0].id)
    after = {picture.name: picture.caption for picture in list_pictures(project)}
    assert after["0.png"] == "what I say" and after["2.png"] == ""


def test_a_picture_changed_by_hand_is_an_original_of_its_own(project: Project, kit: Tools) -> None:
    run(project, kit, settings(), apply=True)
    file = first_folder(project) / "0.png"
    photo(77).save(file)
    mine = file.read_bytes()
    run(project, kit, settings(), apply=True)
    assert mine in [path.read_bytes() for path in (project.folder / "images").iterdir()]
    assert file.read_bytes() == mine
    undo(project, list_undo(project)[-1].id)
    assert file.read_bytes() == mine


def stopped_after(project: Project, kit: Tools, after: int) -> None:
    """A pass that is told to stop when so many stages were said."""
    commands, seen = Commands(), 0

    def count(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, Stage)
        if seen > after:
            commands.stop()

    Passing(project, kit, settings(), count, commands).run(ALL, True)


def test_a_stop_leaves_the_set_as_it_was(project: Project, kit: Tools) -> None:
    before = tree(project)
    for after in range(12):
        try:
            stopped_after(project, kit, after)
        except Stopped:
            assert tree(project) == before
            continue
        break
    else:
        pytest.fail("never got through")
    assert changes(project, kit) == {}


@pytest.mark.parametrize("kill_at", range(0, 14, 3))
def test_killed_between_two_moves(project: Project, kit: Tools, monkeypatch: pytest.MonkeyPatch, kill_at: int) -> None:
    """Whatever was moved when the process died, the next one finishes."""

    class Killed(BaseException):
        pass

    def dying(project: Project, moves: list[tuple[Path, Path]]) -> None:
        base = project.path()
        pairs = [[source.relative_to(base).as_posix(), target.relative_to(base).as_posix()] for source, target in moves]
        (project.folder / JOURNAL).write_text(json.dumps(pairs))
        for source, target in moves[:kill_at]:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
        raise Killed

    run(project, kit, settings())
    with monkeypatch.context() as patch:
        patch.setattr(applying, "move_all", dying)
        patch.setattr(applying.Staging, "__exit__", lambda *_: None)  # the process is gone
        with pytest.raises(Killed):
            run(project, kit, settings(), (), apply=True)
    assert set(sizes(project).values()) == {(320, 240)}  # reading finishes the moves
    made = read_made(project)
    assert set(made) == {"0.png", "1.png", "2.png", "3.png"}
    assert all(made[name].is_of(first_folder(project) / name) for name in made)
    assert changes(project, kit) == {}


def test_a_full_disk_changes_nothing(project: Project, kit: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    run(project, kit, settings())
    before = tree(project)

    def failing(project: Project, moves: list[tuple[Path, Path]]) -> None:
        real = Path.rename
        count = 0

        def rename(self: Path, target: Path) -> Path:
            nonlocal count
            count += 1
            if count == 4:
                raise OSError(28, "No space left on device")
            return real(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", rename)
            move_all(project, moves)

    with monkeypatch.context() as patch:
        patch.setattr(applying, "move_all", failing)
        with pytest.raises(UserError) as caught:
            run(project, kit, settings(), (), apply=True)
    assert caught.value.code == "file.write"
    assert tree(project) == before and list_undo(project) == [] and leftovers(project) == []


def test_crops_by_hand(project: Project, kit: Tools) -> None:
    run(project, kit, settings(), apply=True)
    original = read_sources(project)[0].original
    crops = (Crop(Box(100, 60, 228, 188), 128, 128, by="user"), Crop(Box(0, 40, 200, 240), 100, 100, True, "user"))
    with changed_state(project) as state:
        state.set_hand(original, crops=crops)
    assert changes(project, kit) == {"pictures": 1, "added": 1}
    run(project, kit, settings(), (), apply=True)
    shown = sizes(project)
    assert shown["0.png"] == (128, 128) and shown["0-2.png"] == (100, 100) and len(shown) == 5
    second = np.asarray(Image.open(first_folder(project) / "0-2.png"))
    whole = np.asarray(Image.open(project.path("images") / "0.png"))[40:240, :200]
    wanted = np.asarray(Image.fromarray(whole).resize((100, 100), Image.Resampling.LANCZOS))[:, ::-1]
    assert np.abs(second.astype(int) - wanted).max() <= 2
    assert [output.name for output in read_sources(project)[0].outputs] == ["0.png", "0-2.png"]
    with changed_state(project) as state:
        state.set_hand(original, crops=crops[:1])
    assert changes(project, kit) == {"removed": 1}
    run(project, kit, settings(), (), apply=True)
    assert "0-2.png" not in sizes(project)
    undo(project, list_undo(project)[0].id)
    assert sizes(project)["0-2.png"] == (100, 100)


def test_other_repeats_and_a_move_lose_nothing(project: Project, kit: Tools) -> None:
    run(project, kit, settings(), apply=True)
    concept = list_concepts(project)[0]
    edit_concept(project, concept.id, repeats=3)
    assert changes(project, kit) == {}
    undo(project, list_undo(project)[0].id)
    assert set(sizes(project).values()) == {(320, 320)}


def test_a_deleted_crop_leaves_the_original_to_the_other(project: Project, kit: Tools) -> None:
    run(project, kit, settings())
    with changed_state(project) as state:
        state.set_hand("0.png", crops=(Crop(Box(0, 0, 160, 160), 160, 160), Crop(Box(160, 160, 320, 320), 160, 160)))
    run(project, kit, settings(), (), apply=True)
    first = next(picture for picture in list_pictures(project) if picture.name == "0.png")
    trash = delete_pictures(project, [first.id])
    assert (project.path("images") / "0.png").is_file()
    source = next(each for each in read_sources(project) if each.original == "0.png")
    assert [output.name for output in source.outputs] == ["0-2.png"] and source.kept
    restore(project, trash)
    source = next(each for each in read_sources(project) if each.original == "0.png")
    assert [output.name for output in source.outputs] == ["0.png", "0-2.png"]


def test_masks_beside_untouched_pictures(project: Project, kit: Tools) -> None:
    chosen = settings(matte={"background": "mask", "matte": "grabcut"}, crop={"crop": "none", "trim": False})
    before = tree(project, "dataset")
    run(project, kit, chosen, ("crop", "matte"), apply=True)
    assert tree(project, "dataset") == before
    folder = Layout.read(project).folders[0]
    masks = Layout.read(project).masks(folder)
    assert set(masks) == {"0", "1", "2", "3"}
    mask = Image.open(project.path("masks", folder.path.name) / masks["0"])
    assert mask.size == (320, 320) and mask.mode == "L"
    undo(project, list_undo(project)[0].id)
    assert Layout.read(project).masks(folder) == {}


def test_a_white_background(project: Project, kit: Tools) -> None:
    chosen = settings(matte={"background": "white", "matte": "grabcut"})
    run(project, kit, chosen, ("crop", "matte"), apply=True)
    image = np.asarray(Image.open(first_folder(project) / "0.png"))
    assert (image[:8, :8] >= 250).all()
    how = read_made(project)["0.png"].how
    assert how["background"]["background"] == "white" and "grabcut" in how["matte"].lower()


def test_a_trim_takes_the_finding_away(project: Project, kit: Tools) -> None:
    chosen = settings(crop={"crop": "none", "trim": False})
    report = run(project, kit, chosen, ("check", "crop")).report
    found = next(finding for finding in report.findings if finding.code == "borders")
    Fixing(project, kit, chosen, frozenset(found.keys), ignore_events, Commands()).run("trim")
    run(project, kit, chosen, (), apply=True)
    assert set(sizes(project).values()) == {(320, 240)}
    report = run(project, kit, chosen, ("check",)).report
    assert "borders" not in {finding.code for finding in report.findings}


def test_a_broken_picture_stays_and_is_named(project: Project, kit: Tools) -> None:
    (first_folder(project) / "bad.png").write_bytes(b"<html>not a picture</html>")
    outcome = run(project, kit, settings(), apply=True)
    assert [problem.code for problem in outcome.problems] == ["image.html"]
    assert outcome.problems[0].where == "bad.png"
    assert (first_folder(project) / "bad.png").read_bytes() == b"<html>not a picture</html>"
    assert sizes(project)["0.png"] == (320, 240)


def test_discard_goes_back_to_what_was_applied(project: Project, kit: Tools) -> None:
    run(project, kit, settings(), apply=True)
    run(project, kit, settings(crop={"crop": "size"}), ("crop",))
    assert changes(project, kit)
    with changed_state(project) as state:
        state.discard()
    assert changes(project, kit) == {}


def test_damaged_records_are_no_trouble(project: Project, kit: Tools) -> None:
    run(project, kit, settings(), apply=True)
    for name in (MADE, "prepare.json"):
        (project.folder / name).write_text('{"version": 1, "pictures": [')
    assert len(read_sources(project)) == 4
    run(project, kit, settings(), apply=True)
    assert set(sizes(project).values()) == {(320, 240)}


def test_without_a_tagger_the_rest_is_done(project: Project, kit: Tools) -> None:
    chosen = settings(tag={"taggers": ["wd-vit-tagger-v3"]})
    outcome = run(project, kit, chosen, apply=True)
    assert "models.missing" in [problem.code for problem in outcome.problems]
    assert set(sizes(project).values()) == {(320, 240)}
    assert "tag" not in read_state(project).ran
    with pytest.raises(UserError) as caught:
        run(project, kit, chosen, ("tag",))
    assert caught.value.code == "models.missing"


def test_a_full_project_is_left_as_it_is(project: Project, kit: Tools) -> None:
    before = tree(project)
    for limits, code in ((Limits(files=3), "collection.too_many"), (Limits(total_bytes=1000), "collection.no_room")):
        with pytest.raises(UserError) as caught:
            Passing(project, kit, settings(), limits=limits).run(ALL, True)
        assert caught.value.code == code
        assert tree(project) == before and list_undo(project) == [] and leftovers(project) == []


def test_crops_of_one_original_are_no_duplicates(project: Project, kit: Tools) -> None:
    run(project, kit, settings(), ("check", "crop"))
    with changed_state(project) as state:
        whole, part = Crop(Box(0, 40, 320, 280), 320, 240), Crop(Box(60, 60, 260, 260), 200, 200)
        state.set_hand("0.png", crops=(whole, part, Crop(whole.box, 320, 240, True)))
    report = run(project, kit, settings(), ("check", "crop")).report
    assert [finding.code for finding in report.findings if finding.code.startswith("duplicate")] == []
    assert all(len(set(finding.keys)) == len(finding.keys) for finding in report.findings)


HOSTILE = (
    "[]", "null", '{"version": 1}', '{"version": 1, "pictures": {"0.png": 5}}', '{"version": 99}', "\x00", "{" * 5000,
    '{"version": 1, "pictures": {"0.png": {"original": "../../evil.png", "place": 0, "key": "", "size": 1, "time": 1}}}',
    '{"version": 1, "settings": {}, "planned": true, "ran": {"crop": 5}, "times": {}, "hands": {}, "applied": 7, "score": "x", "findings": 0}',
    '{"version": 1, "settings": 3, "planned": 0, "ran": {}, "times": {}, "applied": null, "score": null, "findings": 0,'
    ' "hands": {"0.png": {"crops": null, "background": "evil", "mask": "../../x", "enlarged": "", "scale": 1, "by": ""}}}',
)  # fmt: skip


@pytest.mark.parametrize("name", ["made.json", "prepare.json", "record.json"])
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_records_change_nothing_outside(project: Project, kit: Tools, name: str, text: str) -> None:
    run(project, kit, settings(), ("crop",), apply=True)
    entry = list_undo(project)[0].id
    place = project.path("history", "prepared", entry) if name == "record.json" else project.folder
    (place / name).write_text(text, encoding="utf-8")
    kept = originals(project)
    outside = sorted(path.name for path in project.root.parent.iterdir())
    for undo_it in list_undo(project):
        undo(project, undo_it.id)
    run(project, kit, settings(), ("crop",), apply=True)
    assert set(sizes(project).values()) == {(320, 240)}
    assert {name: digest for name, digest in originals(project).items() if name in kept} == kept
    assert sorted(path.name for path in project.root.parent.iterdir()) == outside


def test_a_record_with_paths_is_refused(project: Project, kit: Tools) -> None:
    run(project, kit, settings(), ("crop",), apply=True)
    entry = list_undo(project)[0].id
    place = project.path("history", "prepared", entry, "record.json")
    record = json.loads(place.read_text(encoding="utf-8"))
    for field, value in (("old", "../../../x.png"), ("new", "/etc/x"), ("holder", "../.."), ("old", 5)):
        bad = {**record, "items": [{**record["items"][0], field: value}]}
        place.write_text(json.dumps(bad), encoding="utf-8")
        with pytest.raises(UserError) as caught:
            undo(project, entry)
        assert caught.value.code == "prepare.no_undo"


def test_tags_alone_need_no_look_at_the_originals(project: Project, kit: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib_lora_train.prepare import one_pass

    monkeypatch.setattr(one_pass, "work", None)
    run(project, kit, settings(tag={"taggers": ["demo-tagger"]}), ("tag",), apply=False)
    assert changes(project, kit)["captions"] == 3
