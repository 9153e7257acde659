"""Picking: what comes to lie where, that it is checked before, that nothing is overwritten, and the way back."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import GenerateRequest, LoraCheck
from lib_lora_train.jobs import Registry
from lib_lora_train.network.files import describe_lora, load_lora
from lib_lora_train.network.rewriting import read_metadata, same_tensors
from lib_lora_train.project import Project, list_projects
from lib_lora_train.runs import picking
from lib_lora_train.runs.editions import Shown
from lib_lora_train.runs.history import read_run
from lib_lora_train.runs.launch import start_run
from lib_lora_train.runs.pick_files import run_checkpoints
from lib_lora_train.runs.pick_records import DONE, PUBLISHING, UNDONE, list_picks, write_pick
from lib_lora_train.runs.picking import Choice, pick, suggest_name, unpick
from lib_lora_train.runs.publishing import published
from lib_lora_train.signals import Commands
from tests.helpers.studios import filled_project, run_settings, studio_host

FIRST, LAST = "Zuna-r01-000001.safetensors", "Zuna-r01-000003.safetensors"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    """A project with a run of three files, of which the last is published as "Zuna"; to be copied, not written into."""
    folder = tmp_path_factory.mktemp("trained")
    host, registry = studio_host(folder, tiny_checkpoint), Registry()
    started = start_run(host, registry, filled_project(folder / "projects"), run_settings())
    assert started.job.wait(120) and registry.close(timeout=60)
    return folder


@pytest.fixture
def place(trained: Path, tmp_path: Path, tiny_checkpoint: Path):
    for name in ("projects", "loras"):
        shutil.copytree(trained / name, tmp_path / name)
    return studio_host(tmp_path, tiny_checkpoint), list_projects(tmp_path / "projects")[0][0]


def chosen(**changes: object) -> Choice:
    return replace(Choice("r01", FIRST, "Zuna 2", weight=0.8), **changes)


def cell(host, project: Project, file: str = FIRST) -> Shown:
    """A cell as a grid draws it."""
    request = GenerateRequest(
        "zuna, red hair",
        negative_prompt="hat",
        width=64,
        height=64,
        steps=2,
        seed=5,
        lora=host.paths.loras / project.id / file,
        weight=0.8,
        checkpoint="tiny",
    )
    with host.session() as session:
        drawn = session.generate([request])[0]
    return Shown(drawn.image, drawn.infotext, request)


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder with their bytes, without the locks of picks and names that were taken."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.endswith(".lock")}


def test_a_cell_is_published_with_card_and_thumbnail(place) -> None:
    host, project = place
    shown = cell(host, project)
    before = tree(host.paths.loras)
    made = pick(host, project, chosen(notes='爱 "<b>"'), shown)
    loras, source = host.paths.loras, host.paths.loras / project.id / FIRST
    target = loras / "Zuna 2.safetensors"
    assert set(tree(loras)) == set(before) | {"Zuna 2.safetensors", "Zuna 2.png", "Zuna 2.json"}
    assert same_tensors(target, source) and describe_lora(target).hash_matches
    assert made.matched == made.total == len(load_lora(source).sizes)
    assert made.unmatched == () and made.difference == 0 and made.notes == () and made.file == "Zuna 2.safetensors"
    card = json.loads((loras / "Zuna 2.json").read_text(encoding="utf-8"))
    assert card == made.card
    assert card["activation text"] == "zuna" and card["preferred weight"] == 0.8 and card["sd version"] == "SD1"
    assert card["negative text"] == "hat" and card["notes"].startswith('爱 "<b>"\nZuna-r01-000001, tiny')
    with Image.open(loras / "Zuna 2.png") as picture:
        assert picture.tobytes() == shown.image.tobytes()
        assert "<lora:Zuna 2:0.8>" in picture.info["parameters"] and "r01" not in picture.info["parameters"]


def test_the_list_of_a_runs_files_shows_what_was_picked(place) -> None:
    host, project = place

    def shown() -> set[str]:
        return {file.name for file in read_run(host, project, "r01").files if file.published}

    assert shown() == {LAST}
    pick(host, project, chosen())
    assert shown() == {FIRST, LAST}
    unpick(host, project)
    assert shown() == {LAST}


def test_metadata_keeps_kohyas_entries_and_says_the_new_name(place) -> None:
    host, project = place
    pick(host, project, chosen(trigger="zuna, girl"))
    old = read_metadata(host.paths.loras / project.id / FIRST)
    new = read_metadata(host.paths.loras / "Zuna 2.safetensors")
    changed = {name for name in new if old.get(name) != new[name]}
    assert old.keys() <= new.keys() and "ss_tag_frequency" in new
    assert changed == {
        "ss_output_name", "modelspec.title", "ss_preferred_weight", "modelspec.usage_hint",
        "modelspec.trigger_phrase", "sshs_legacy_hash",
    } - ({"sshs_legacy_hash"} if old["sshs_legacy_hash"] == new["sshs_legacy_hash"] else set())  # fmt: skip
    assert new["ss_output_name"] == "Zuna 2" and new["modelspec.trigger_phrase"] == "zuna, girl"
    assert new["modelspec.usage_hint"] == "<lora:Zuna 2:0.8>" and new["ss_preferred_weight"] == "0.8"


def test_what_is_published_loads_in_diffusers(place, tiny_checkpoint: Path) -> None:
    pytest.importorskip("peft")
    diffusers = pytest.importorskip("diffusers")
    host, project = place
    pick(host, project, chosen(scrub=True))
    path = host.paths.loras / "Zuna 2.safetensors"
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(tiny_checkpoint, safety_checker=None)
    pipeline.load_lora_weights(str(path))
    modules = [*pipeline.unet.modules(), *pipeline.text_encoder.modules()]
    assert sum(hasattr(module, "lora_A") for module in modules) == len(load_lora(path).sizes)


def test_scrubbed_of_private_names(place) -> None:
    host, project = place
    pick(host, project, chosen(scrub=True), cell(host, project))
    path = host.paths.loras / "Zuna 2.safetensors"
    new = read_metadata(path)
    assert not {"ss_tag_frequency", "ss_dataset_dirs", "ss_training_started_at", "ss_session_id"} & new.keys()
    assert {"ss_base_model_version", "ss_v2", "ss_network_dim", "sshs_model_hash", "ss_sd_model_name"} <= new.keys()
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["notes"] == ""
    with Image.open(path.with_suffix(".png")) as picture:
        assert not picture.info.get("parameters")


@pytest.mark.parametrize(
    "taken", ["zuna 2.safetensors", "other/Zuna 2.ckpt", "Zuna 2.json", "Zuna 2.preview.png", "ZUNA 2.webp"]
)
def test_a_name_in_use_is_asked_about_and_nothing_is_written(place, taken: str) -> None:
    host, project = place
    path = host.paths.loras / taken
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"somebody's")
    before = tree(host.paths.loras)
    with pytest.raises(UserError) as caught:
        pick(host, project, chosen())
    assert caught.value.code == "picking.taken" and caught.value.values["free"] == "Zuna 2 2"
    assert tree(host.paths.loras) == before and list_picks(project) == []
    assert pick(host, project, chosen(name=str(caught.value.values["free"]))).name == "Zuna 2 2"


def test_a_name_of_another_project_is_in_use(place) -> None:
    host, project = place
    other = filled_project(project.root, "Zuna 2")
    from lib_lora_train.runs.naming import reserve_name

    assert reserve_name(other, "Zuna 2")
    with pytest.raises(UserError) as caught:
        pick(host, project, chosen())
    assert caught.value.code == "picking.taken"
    assert suggest_name(host, project, "r01", FIRST) == "Zuna 3"


def test_the_runs_own_copy_of_the_same_file_gets_card_and_thumbnail(place) -> None:
    """Most often the last file is the best one; its plain name is taken by nothing but itself."""
    host, project = place
    loras = host.paths.loras
    assert published(host, project.path("runs", "r01")) == ("Zuna", LAST)
    (loras / "Zuna.json").write_text('{"notes": "mine"}', encoding="utf-8")
    before = tree(loras)
    assert suggest_name(host, project, "r01", LAST) == "Zuna"
    with pytest.raises(UserError) as caught:  # other weights never come under this name
        pick(host, project, chosen(name="Zuna"))
    assert caught.value.code == "picking.taken"
    made = pick(host, project, chosen(file=LAST, name="Zuna"), cell(host, project, LAST))
    card = json.loads((loras / "Zuna.json").read_text(encoding="utf-8"))
    assert card["preferred weight"] == 0.8 and (loras / "Zuna.png").is_file()
    again = pick(host, project, chosen(file=LAST, name="Zuna", weight=0.6))
    assert json.loads((loras / "Zuna.json").read_text(encoding="utf-8"))["preferred weight"] == 0.6
    assert not (loras / "Zuna.png").exists()  # that of the earlier pick
    with pytest.raises(UserError) as caught:
        unpick(host, project, made.pick_id)
    assert caught.value.code == "picking.later"
    assert unpick(host, project).id == again.pick_id and unpick(host, project).id == made.pick_id
    assert tree(loras) == before


def test_other_weights_under_the_plain_name_are_somebodys(place) -> None:
    """Somebody has put another file where the run had published its own."""
    host, project = place
    shutil.copyfile(host.paths.loras / project.id / FIRST, host.paths.loras / "Zuna.safetensors")
    with pytest.raises(UserError) as caught:
        pick(host, project, chosen(file=LAST, name="Zuna"))
    assert caught.value.code == "picking.taken"


@pytest.mark.parametrize("others", ["move", "trash"])
def test_the_other_checkpoints_go_and_come_back(place, others: str) -> None:
    host, project = place
    loras = host.paths.loras
    (loras / project.id / "Zuna-r01-000002.preview.png").write_bytes(b"thumbnail")
    (loras / project.id / "Zuna-r02-000001.safetensors").write_bytes(b"of another run")
    before = tree(loras)
    made = pick(host, project, chosen(others=others))
    left = {"Zuna 2.safetensors", "Zuna 2.json", f"{project.id}/{FIRST}", f"{project.id}/Zuna-r02-000001.safetensors"}
    assert set(tree(loras)) == left
    names = [path.name for path in run_checkpoints(host, project, "r01")]
    assert names == ([FIRST, "Zuna-r01-000002.safetensors", LAST] if others == "move" else [FIRST])
    assert made.moved == 5  # two checkpoints, a thumbnail, the published copy and its card
    if others == "move":  # what was moved can be picked all the same
        pick(host, project, chosen(file=LAST, name="Zuna last"))
        unpick(host, project)
    else:
        assert not list(project.folder.rglob("*000002.safetensors"))  # nothing there that a list of models shows
    assert unpick(host, project, made.pick_id).state == UNDONE
    assert tree(loras) == before
    with pytest.raises(UserError) as caught:
        unpick(host, project, made.pick_id)
    assert caught.value.code == "picking.no_pick"


def test_undoing_meets_a_file_that_came_meanwhile(place) -> None:
    host, project = place
    made = pick(host, project, chosen(others="trash"))
    (host.paths.loras / "Zuna.safetensors").write_bytes(b"somebody's")
    before = tree(host.paths.loras)
    with pytest.raises(UserError) as caught:
        unpick(host, project)
    assert caught.value.code == "picking.in_way" and tree(host.paths.loras) == before
    (host.paths.loras / "Zuna.safetensors").unlink()
    assert unpick(host, project).id == made.pick_id


def test_an_edited_card_is_not_lost_by_undoing(place) -> None:
    host, project = place
    made = pick(host, project, chosen())
    (host.paths.loras / "Zuna 2.json").write_text('{"notes": "edited"}', encoding="utf-8")
    unpick(host, project)
    kept = project.path("picks", made.pick_id, "taken", "Zuna 2.json.aside")
    assert "edited" in kept.read_text(encoding="utf-8") and not (host.paths.loras / "Zuna 2.json").exists()


# ---------------------------------------------------------------------- checked before it is there


def test_a_file_that_fits_nothing_is_not_published(place, monkeypatch: pytest.MonkeyPatch) -> None:
    host, project = place
    before = tree(host.paths.loras)
    monkeypatch.setattr(type(host), "check_lora", lambda self, *given: LoraCheck(0, 24, ("lora_unet_x",)))
    with pytest.raises(UserError) as caught:
        pick(host, project, chosen())
    assert caught.value.code == "picking.unfit" and tree(host.paths.loras) == before and list_picks(project) == []


def test_the_hosts_loader_sees_the_very_file_that_is_published(place, monkeypatch: pytest.MonkeyPatch) -> None:
    host, project = place
    seen = []
    stop, told = Commands(), []

    def check(self, path: Path, checkpoint: str, *waiting: object) -> LoraCheck:
        assert checkpoint == "tiny" and waiting == (stop, told.append)  # so that it can be told while it waits
        seen.append((path.name, path.read_bytes(), (self.paths.loras / "Zuna 2.safetensors").exists()))
        return LoraCheck(20, 24, ("lora_unet_x",))

    monkeypatch.setattr(type(host), "check_lora", check)
    made = pick(host, project, chosen(), None, stop, told.append)
    assert seen == [("Zuna 2.safetensors", (host.paths.loras / "Zuna 2.safetensors").read_bytes(), False)]
    assert [note.code for note in made.notes] == ["picking.partly"] and made.as_dict()["unmatched"] == ["lora_unet_x"]


def test_a_picture_that_differs_is_said(place) -> None:
    host, project = place
    shown = cell(host, project)
    image = shown.image.copy()
    image.putpixel((3, 3), tuple((value + 100) % 256 for value in image.getpixel((3, 3))))
    made = pick(host, project, chosen(), replace(shown, image=image))
    assert made.difference >= 100 and [note.code for note in made.notes] == ["picking.differs"]
    assert pick(host, project, chosen(name="Zuna 3", compare=False), shown).difference is None
    other = pick(host, project, chosen(name="Zuna 4"), replace(shown, image=image.resize((32, 32))))
    assert other.difference == 255


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "a/b"}, "picking.name"),
        ({"name": ""}, "picking.name"),
        ({"name": "Zuna-r02"}, "picking.name"),
        ({"name": "爱" * 60}, "picking.name"),
        ({"weight": 11.0}, "picking.weight"),
        ({"weight": float("nan")}, "picking.weight"),
        ({"notes": "x" * 10_001}, "picking.text"),
        ({"others": "burn"}, "picking.others"),
        ({"file": "Zuna-r01-000009.safetensors"}, "run.no_file"),
        ({"file": "../../x.safetensors"}, "run.no_file"),
        ({"run_id": "r07"}, "project.no_run"),
        ({"run_id": "", "file": "nobody"}, "run.no_lora"),
    ],
)
def test_what_is_refused(place, changes: dict[str, object], code: str) -> None:
    host, project = place
    before = tree(host.paths.loras)
    with pytest.raises(UserError) as caught:
        pick(host, project, chosen(**changes))
    assert caught.value.code == code and tree(host.paths.loras) == before


def test_a_run_that_is_training_keeps_its_files(place) -> None:
    from lib_lora_train.job_files import FolderLock

    host, project = place
    lock = FolderLock.take(project.path("runs", "r01"))
    try:
        with pytest.raises(UserError) as caught:
            pick(host, project, chosen(others="trash"))
        assert caught.value.code == "run.lives"
        assert pick(host, project, chosen()).moved == 0
    finally:
        lock.release()


def test_a_file_of_the_lora_folder(place) -> None:
    """Of another trainer, say: it belongs to no run."""
    host, project = place
    made = pick(host, project, chosen(run_id="", file="Zuna", name="Copy", others="trash"))
    assert made.moved == 0 and made.card["activation text"] == "zuna" and made.card["sd version"] == "SD1"
    assert unpick(host, project).name == "Copy"


# ---------------------------------------------------------------------- cut short


@pytest.mark.parametrize("others", ["keep", "trash"])
@pytest.mark.parametrize("own", [False, True], ids=["new name", "own name"])
def test_cut_at_any_moment_all_is_as_it_was_or_whole(
    place, monkeypatch: pytest.MonkeyPatch, own: bool, others: str
) -> None:
    """The process dies at the n-th move of a file; the next pick puts all back, whatever n is."""
    host, project = place
    before = tree(host.paths.loras)
    choice = chosen(file=LAST, name="Zuna", others=others) if own else chosen(others=others)
    whole = tree_after(host, project, choice)
    assert tree(host.paths.loras) == before
    ends = 0
    for moment in range(1, 100):
        ended = dies_at(monkeypatch, host, project, choice, moment)
        monkeypatch.undo()
        with picking.alone(project):
            picking.settle(project, host.paths.loras)
        if ended:
            assert set(tree(host.paths.loras)) == set(whole)
            unpick(host, project)
            ends += 1
        assert tree(host.paths.loras) == before, moment
        assert not [each for each in list_picks(project) if each.state in (PUBLISHING, DONE)]
        if ended:
            break
    assert ends == 1 and moment > (4 if own or others == "trash" else 2)


class Died(BaseException):
    pass


def tree_after(host, project: Project, choice: Choice) -> dict[str, bytes]:
    pick(host, project, choice)
    found = tree(host.paths.loras)
    unpick(host, project)
    return found


def dies_at(monkeypatch: pytest.MonkeyPatch, host, project: Project, choice: Choice, moment: int) -> bool:
    """Whether the pick came to its end. After the moment nothing is done any more, as in a process that was killed."""
    from lib_lora_train.runs import editions, pick_records

    count, real = 0, editions.put

    def put(source: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count >= moment:
            raise Died
        real(source, target)

    for module in (editions, pick_records):
        monkeypatch.setattr(module, "put", put)
    monkeypatch.setattr(picking, "take_back", lambda *arguments: None)
    try:
        pick(host, project, choice)
    except Died:
        return False
    return True


def test_a_failing_disk_leaves_nothing(place, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib_lora_train.runs import pick_records

    host, project = place
    before = tree(host.paths.loras)

    def full(source: Path, target: Path) -> None:
        raise UserError("file.write", source.name, reason="No space left on device")

    real = pick_records.put
    monkeypatch.setattr(
        pick_records, "put", lambda source, target: (full if "000003" in source.name else real)(source, target)
    )
    with pytest.raises(UserError) as caught:
        pick(host, project, chosen(others="trash"))
    assert caught.value.code == "file.write" and tree(host.paths.loras) == before
    assert [each.state for each in list_picks(project)] == [UNDONE]


def test_a_file_that_comes_at_the_same_moment_stays(place, monkeypatch: pytest.MonkeyPatch) -> None:
    host, project = place
    real = picking.place_set

    def place_set(source: Path, target: Path, names) -> None:
        (target / "Zuna 2.safetensors").write_bytes(b"somebody's")
        real(source, target, names)

    monkeypatch.setattr(picking, "place_set", place_set)
    before = tree(host.paths.loras)
    with pytest.raises(UserError) as caught:
        pick(host, project, chosen(others="trash"), cell(host, project))
    assert caught.value.code == "picking.appeared"
    assert tree(host.paths.loras) == before | {"Zuna 2.safetensors": b"somebody's"}


def test_a_disk_without_links(place, monkeypatch: pytest.MonkeyPatch) -> None:
    host, project = place

    def link(source: Path, target: Path) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("lib_lora_train.runs.editions.os.link", link)
    before = tree(host.paths.loras)
    pick(host, project, chosen(others="move"), cell(host, project))
    assert (host.paths.loras / "Zuna 2.png").is_file()
    unpick(host, project)
    assert tree(host.paths.loras) == before


def test_a_damaged_record_is_passed_over(place) -> None:
    host, project = place
    made = pick(host, project, chosen())
    project.path("picks", made.pick_id, "pick.json").write_text("{", encoding="utf-8")
    assert list_picks(project) == []
    with pytest.raises(UserError) as caught:
        unpick(host, project, made.pick_id)
    assert caught.value.code == "picking.no_pick"
    with pytest.raises(UserError):
        unpick(host, project, "../../x")


def test_a_record_cannot_name_files_elsewhere(place) -> None:
    host, project = place
    made = pick(host, project, chosen(others="trash"))
    stored = list_picks(project)[0]
    write_pick(project, replace(stored, moves=(("../outside.safetensors", stored.moves[0][1]),)))
    with pytest.raises(UserError) as caught:
        unpick(host, project, made.pick_id)
    assert caught.value.code == "path.outside"
