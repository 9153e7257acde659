"""A folder made into a set: only what changed is done again, what somebody changed stays, and nothing is half made."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.prepare import folder_output, working
from lib_lora_train.prepare.folder_output import RECORD
from lib_lora_train.prepare.folder_pass import Prepared, prepare_folder
from lib_lora_train.prepare.folders import HIDDEN
from lib_lora_train.prepare.tools import Tools
from lib_lora_train.signals import Commands, Event, Log, Stage, Stopped
from tests.helpers.preparing import ROOT, barred, drawings, photo, settings, tools

TAGS = {"taggers": ["demo-tagger"], "threshold": 0.5}
LOOSE = {**TAGS, "threshold": 0.02, "spaces": False}  # gives other captions for every picture
STRICT = {**TAGS, "threshold": 0.9, "exclude": ["1girl"]}
CHOSEN = settings(tag=TAGS)


@pytest.fixture
def kit(tmp_path: Path) -> Tools:
    return tools(tmp_path / "models")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two concepts; one picture has a caption, one is broken."""
    for number, image in enumerate(drawings(3)):
        save(tmp_path / "in" / "5_hero" / f"{number}.png", image)
    save(tmp_path / "in" / "1_things" / "a.png", barred(photo(1)))
    (tmp_path / "in" / "5_hero" / "1.txt").write_text("my own words")
    (tmp_path / "in" / "1_things" / "bad.png").write_bytes(b"<html>")
    return tmp_path / "in"


def save(path: Path, image: Image.Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def files(folder: Path) -> dict[str, str]:
    """Names and contents of what a trainer or a person sees."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and HIDDEN not in path.parts
    }


def run(source: Path, kit: Tools, chosen=CHOSEN, out: Path | None = None, **more) -> Prepared:
    return prepare_folder(str(source), out or source.with_name("out"), kit, chosen, trigger="hero", **more)


def counts(prepared: Prepared) -> tuple[int, int, int]:
    return prepared.files.changed, prepared.files.unchanged, prepared.files.captions


def test_a_set_is_made_and_the_originals_stay(source: Path, kit: Tools) -> None:
    before = files(source)
    prepared = run(source, kit)
    out = source.with_name("out")
    assert files(source) == before and not (source / HIDDEN).exists()
    assert set(files(out)) == {f"5_hero/{n}.{e}" for n in (0, 1, 2) for e in ("png", "txt")} | {
        "1_things/a.png", "1_things/a.txt"
    }  # fmt: skip
    assert counts(prepared) == (4, 0, 4) and prepared.looked_at == 5
    with Image.open(out / "1_things" / "a.png") as image:
        assert image.size == (320, 240)  # without its bars
    assert "my own words" in (out / "5_hero" / "1.txt").read_text()
    assert (out / "5_hero" / "0.txt").read_text().startswith("hero, ")
    assert [problem.code for problem in prepared.problems] == ["image.html"]
    about = json.loads((out / HIDDEN / RECORD).read_text())["pictures"]["1_things/a.png"]
    assert about["original"] == "1_things/a.png"
    assert about["about"]["sha256"] == before["1_things/a.png"] and about["about"]["crop"]["by"] == "trim"


def test_a_second_run_does_only_what_changed(source: Path, kit: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    run(source, kit)
    done = files(source.with_name("out"))
    opened: list[str] = []
    real = working.open_image
    monkeypatch.setattr(working, "open_image", lambda path, where="": opened.append(path.name) or real(path, where))
    monkeypatch.setattr("lib_lora_train.prepare.describing.open_image", lambda *_: pytest.fail("tagged again"))
    again = run(source, kit)
    assert opened == [] and counts(again) == (0, 4, 0) and files(source.with_name("out")) == done
    assert [problem.where for problem in again.problems] == ["1_things/bad.png"]  # said again
    monkeypatch.undo()
    monkeypatch.setattr(working, "open_image", lambda path, where="": opened.append(path.name) or real(path, where))
    save(source / "5_hero" / "9.png", drawings(4)[3])
    assert counts(run(source, kit)) == (1, 4, 1) and opened == ["9.png"]


def test_another_threshold_is_instant(source: Path, kit: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    run(source, kit)
    monkeypatch.setattr("lib_lora_train.prepare.looking.Tagger", None)
    prepared = run(source, kit, settings(tag=LOOSE))
    assert prepared.files.changed == 0 and prepared.files.captions >= 3
    assert "red_eyes" in (source.with_name("out") / "5_hero" / "0.txt").read_text()


def test_what_somebody_changed_stays(source: Path, kit: Tools) -> None:
    run(source, kit)
    out = source.with_name("out")
    (out / "5_hero" / "0.txt").write_text("what I say")
    save(out / "5_hero" / "2.png", photo(9))
    mine = files(out)
    events: list[Event] = []
    prepared = run(source, kit, settings(crop={"crop": "size"}, tag=LOOSE), events=events.append)
    assert files(out)["5_hero/0.txt"] == mine["5_hero/0.txt"] and files(out)["5_hero/2.png"] == mine["5_hero/2.png"]
    assert files(out)["5_hero/0.png"] != mine["5_hero/0.png"]
    assert prepared.files.stays == 1
    said = {(event.code, event.values["where"]) for event in events if isinstance(event, Log) and "stays" in event.code}
    assert said == {("prepare.caption_stays", "5_hero/0.png"), ("prepare.picture_stays", "5_hero/2.png")}
    again = files(out)
    run(source, kit, settings(crop={"crop": "size"}, tag=LOOSE))
    assert files(out) == again
    (out / "5_hero" / "2.png").unlink()
    assert run(source, kit).files.stays == 0  # and it is made anew


def test_a_folder_with_files_of_somebody_else(source: Path, kit: Tools) -> None:
    """Nothing that was there before the first run is written over."""
    out = source.with_name("out")
    save(out / "5_hero" / "0.png", photo(3))
    (out / "5_hero" / "0.txt").write_text("theirs")
    (out / "5_hero" / "1.png").symlink_to(source / "5_hero" / "1.png")
    before, originals = files(out), files(source)
    assert run(source, kit).files.stays == 2
    assert {name: files(out)[name] for name in before} == before and files(source) == originals


def test_what_lost_its_original_goes_aside(source: Path, kit: Tools) -> None:
    chosen = settings(matte={"background": "mask", "matte": "grabcut"}, tag=TAGS)
    run(source, kit, chosen)
    out, masks = source.with_name("out"), source.with_name("out_masks")
    assert set(files(masks)) == {"5_hero/0.png", "5_hero/1.png", "5_hero/2.png", "1_things/a.png"}
    gone = (out / "5_hero" / "0.png").read_bytes()
    (source / "5_hero" / "0.png").unlink()
    (source / "5_hero" / "2.png").rename(source / "5_hero" / "3.png")
    prepared = run(source, kit, chosen)
    assert prepared.files.removed == 2
    assert {name for name in files(out) if "hero" in name} == {
        f"5_hero/{n}.{e}" for n in (1, 3) for e in ("png", "txt")
    }
    assert set(files(masks)) == {"5_hero/1.png", "5_hero/3.png", "1_things/a.png"}
    kept = [path for path in (out / HIDDEN / "removed").rglob("0.png") if path.read_bytes() == gone]
    assert len(kept) == 1 and kept[0].with_suffix(".txt").is_file()
    run(source, kit)  # masks are not asked for any more
    assert files(masks) == {}


def test_masks_that_somebody_painted_stay(source: Path, kit: Tools) -> None:
    chosen = settings(matte={"background": "mask", "matte": "grabcut"})
    run(source, kit, chosen)
    mask = source.with_name("out_masks") / "5_hero" / "0.png"
    save(mask, Image.new("L", (256, 256), 255))
    mine, others = (
        mask.read_bytes(),
        {name: (mask.parents[1] / name).stat().st_mtime_ns for name in files(mask.parents[1])},
    )
    run(source, kit, chosen)
    assert mask.read_bytes() == mine
    assert {name: (mask.parents[1] / name).stat().st_mtime_ns for name in files(mask.parents[1])} == others
    run(source, kit)
    assert mask.read_bytes() == mine


def test_folders_in_one_another_are_refused(source: Path, kit: Tools) -> None:
    masked = settings(matte={"background": "mask", "matte": "grabcut"})
    named = source.rename(source.with_name("set_masks"))
    before = files(named)
    for out, chosen in (
        (named / "out", CHOSEN),
        (named, CHOSEN),
        (named.parent, CHOSEN),
        (named.with_name("set"), masked),
    ):
        with pytest.raises(UserError) as caught:
            run(named, kit, chosen, out)
        assert caught.value.code == "prepare.out_inside"
    (named.parent / "link").symlink_to(named)
    with pytest.raises(UserError):
        run(named, kit, CHOSEN, named.parent / "link" / "out")
    assert files(named) == before


@pytest.mark.skipif(os.name == "nt", reason="rights as POSIX has them")
def test_a_place_that_cannot_be_written_is_said_before_the_work(source: Path, kit: Tools) -> None:
    (source.parent / "file").write_text("")
    with pytest.raises(UserError, match="file") as caught:
        run(source, kit, out=source.parent / "file", events=lambda event: pytest.fail(str(event)))
    assert caught.value.code == "file.write"


@pytest.mark.parametrize("taggers, code", [(["nobody"], "models.no_tagger"), (["../in"], "path.outside")])
def test_a_tagger_that_nobody_knows_is_refused_before_the_work(
    source: Path, kit: Tools, taggers: list[str], code: str
) -> None:
    with pytest.raises(UserError) as caught:
        run(source, kit, settings(tag={"taggers": taggers}), events=lambda event: pytest.fail(str(event)))
    assert caught.value.code == code and not source.with_name("out").exists()


def test_without_its_tagger_the_rest_is_done(source: Path, kit: Tools) -> None:
    """And that is said once; the trigger word and the captions that are there go in."""
    events: list[Event] = []
    run(source, kit, settings(tag={"taggers": ["wd-vit-tagger-v3"]}), events=events.append)
    out = source.with_name("out")
    assert (out / "5_hero" / "0.txt").read_text() == "hero"
    assert "my own words" in (out / "5_hero" / "1.txt").read_text()
    assert [event.code for event in events if isinstance(event, Log) and event.code.startswith("models.")] == [
        "models.missing"
    ]


def test_nothing_usable_changes_nothing(source: Path, kit: Tools) -> None:
    run(source, kit)
    done = files(source.with_name("out"))
    for path in source.rglob("*.png"):
        path.write_bytes(b"<html>")
    with pytest.raises(UserError) as caught:
        run(source, kit)
    assert caught.value.code == "prepare.nothing_usable" and files(source.with_name("out")) == done


def test_two_files_of_the_same_broken_content_are_both_named(source: Path, kit: Tools) -> None:
    (source / "5_hero" / "bad2.png").write_bytes(b"<html>")
    for _ in range(2):
        assert {problem.where for problem in run(source, kit).problems} == {"1_things/bad.png", "5_hero/bad2.png"}


HOSTILE = [
    "", "[]", "{}", '{"version": 2, "pictures": 5}', '{"version": 2, "pictures": {"../../x.png": {}}}', "[" * 100_000,
    '{"version": 2, "pictures": {"5_hero/0.png": {"original": 1, "pictures": [["a", "b", "c"]], "masks": 1}}}',
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_damaged_records_are_no_trouble(source: Path, kit: Tools, text: str) -> None:
    run(source, kit)
    out = source.with_name("out")
    done = files(out)
    for name in (RECORD, "digests.json", "looks.json", "crops.json", "mattes.json", "guesses/taggers.json"):
        (out / HIDDEN / name).write_text(text)
    prepared = run(source, kit)
    assert files(out) == done and prepared.files.stays == 0


def test_values_of_wrong_kinds_are_found_out_anew(tmp_path: Path, kit: Tools) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    save(source / "0.png", photo(1, (96, 96)))
    chosen = settings(matte={"background": "white", "matte": "grabcut"})
    run(source, kit, chosen)
    done = files(out)
    save(out / "stolen.png", Image.new("L", (96, 96), 255))
    wrong = [None, 5, "x", [], {}, [{}], {"error": 5}, {"size": ["a", "b"]}, {"file": "../../stolen.png", "by": "x"}]
    for value in wrong:
        for name in ("looks.json", "crops.json", "mattes.json"):
            content = json.loads((out / HIDDEN / name).read_text())
            content["values"] = dict.fromkeys(content["values"], value)
            (out / HIDDEN / name).write_text(json.dumps(content))
        shutil.rmtree(out / HIDDEN / "pictures")
        run(source, kit, chosen)
        assert files(out)["0.png"] == done["0.png"], value


def test_a_record_from_elsewhere_moves_nothing_from_outside(source: Path, kit: Tools, tmp_path: Path) -> None:
    out, outside = source.with_name("out"), tmp_path / "outside"
    secret = save(outside / "secret.png", photo(1))
    out.mkdir()
    (out / "link").symlink_to(outside)
    stat = secret.stat()
    entry = {"original": "x", "pictures": [["c", stat.st_size, stat.st_mtime_ns]], "masks": [], "captions": []}
    names = (
        "../outside/secret.png",
        "link/secret.png",
        f"/{secret}",
        "..\\outside\\secret.png",
        "a/../../outside/secret.png",
    )
    (out / HIDDEN).mkdir()
    (out / HIDDEN / RECORD).write_text(json.dumps({"version": 2, "pictures": dict.fromkeys(names, entry)}))
    assert run(source, kit).files.removed == 0
    assert secret.is_file()


# ---------------------------------------------------------------------- stops


def test_a_stop_leaves_the_set_as_it_was(source: Path, kit: Tools) -> None:
    run(source, kit)
    out = source.with_name("out")
    done = files(out)
    save(source / "5_hero" / "7.png", drawings(6)[5])
    chosen = settings(crop={"crop": "size"}, tag=LOOSE)
    for after in range(40):
        commands, seen = Commands(), [0]

        def count(event: Event, commands: Commands = commands, seen: list[int] = seen, after: int = after) -> None:
            seen[0] += isinstance(event, Stage) and event.code != "prepare.stage_writing"
            if seen[0] > after:
                commands.stop()

        try:
            run(source, kit, chosen, events=count, commands=commands)
        except Stopped:
            assert files(out) == done
            continue
        break
    else:
        pytest.fail("never got through")
    assert after > 3 and files(out) != done


CHILD = """
import sys
from pathlib import Path
from tests.helpers.preparing import settings, tools
from lib_lora_train.prepare.folder_pass import prepare_folder
chosen = settings(crop={"crop": "size"}, matte={"background": "mask", "matte": "grabcut"}, tag={"taggers": ["demo-tagger"], "threshold": 0.3})
kit = tools(Path(sys.argv[3]))
print("ready", flush=True)
prepare_folder(sys.argv[1], Path(sys.argv[2]), kit, chosen, trigger="other")
"""


def child(source: Path, out: Path, models: Path) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(source), str(out), str(models)], env=environment, stdout=subprocess.PIPE
    )


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_anywhere(source: Path, kit: Tools, tmp_path: Path) -> None:
    """Every picture whole, every caption the old or the new one; the next run ends as if nothing had been."""
    out = source.with_name("out")
    run(source, kit)
    before = files(out)
    undisturbed = shutil.copytree(out, tmp_path / "whole")
    process = child(source, undisturbed, kit.store.folder)
    process.stdout.readline()
    working_since = time.monotonic()
    assert process.wait(60) == 0
    seconds = time.monotonic() - working_since
    wanted, wanted_masks = files(undisturbed), files(tmp_path / "whole_masks")
    draws = random.Random(5)
    kills = int(os.environ.get("LORA_TRAIN_KILLS", "4"))
    inside = 0
    for point in range(kills):
        place = tmp_path / f"killed{point}"
        shutil.copytree(out, place)
        process = child(source, place, kit.store.folder)
        process.stdout.readline()
        time.sleep(draws.uniform(0, 1.1) * seconds if point else 0)  # the first at once: how fast they are differs
        process.kill()
        inside += process.wait() != 0
        now = files(place)
        for name, digest in now.items():
            if ".tmp" in name:
                continue
            assert digest in (before.get(name), wanted.get(name)), name
            assert (place / name).stat().st_size > 0
            if name.endswith(".png"):
                with Image.open(place / name) as image:
                    image.load()
        assert {name for name in before if name in wanted} <= set(now)
        process = child(source, place, kit.store.folder)
        assert process.wait(60) == 0
        assert files(place) == wanted and files(place.with_name(place.name + "_masks")) == wanted_masks
        shutil.rmtree(place)
    assert inside  # some of the moments lay within the work


@pytest.mark.parametrize("kill_at", range(0, 10, 2))
def test_killed_between_two_writes(source: Path, kit: Tools, monkeypatch: pytest.MonkeyPatch, kill_at: int) -> None:
    """Then wishes change: what was half brought is known as ours, and nothing is left over."""
    run(source, kit)
    (source / "5_hero" / "2.png").unlink()

    class Killed(BaseException):
        pass

    left = [kill_at]

    def counted(real):
        def call(*values, **more):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real(*values, **more)

        return call

    with monkeypatch.context() as patch:
        for name in ("_bring_file", "save_caption", "write_json"):
            patch.setattr(folder_output, name, counted(getattr(folder_output, name)))
        patch.setattr(folder_output.shutil, "move", counted(shutil.move))
        with pytest.raises(Killed):
            run(source, kit, settings(crop={"crop": "size"}, tag=LOOSE))
    events: list[Event] = []
    prepared = run(source, kit, settings(crop={"crop": "none"}, tag=STRICT), events=events.append)
    assert prepared.files.stays == 0 and not [e for e in events if isinstance(e, Log) and "stays" in e.code]
    out = source.with_name("out")
    undisturbed = source.with_name("other")
    run(source, kit, settings(crop={"crop": "none"}, tag=STRICT), out=undisturbed)
    assert files(out) == files(undisturbed)


def test_a_full_disk_is_one_sentence_and_the_next_run_goes_on(
    source: Path, kit: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = shutil.copyfile, [0]

    def full(one: Path, other: Path) -> None:
        count[0] += 1
        if count[0] == 3:
            Path(other).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        real(one, other)

    with monkeypatch.context() as patch:
        patch.setattr(folder_output.shutil, "copyfile", full)
        with pytest.raises(UserError) as caught:
            run(source, kit)
    assert caught.value.code == "file.write" and "No space" in caught.value.text()
    out = source.with_name("out")
    assert not list(out.rglob("*.tmp"))
    for path in out.glob("*/*.png"):
        assert np.asarray(Image.open(path)).size
    run(source, kit)
    assert len([name for name in files(out) if name.endswith(".png")]) == 4
