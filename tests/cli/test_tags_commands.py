"""`tags` as somebody uses it: what is printed where, what lies on the disk, and the exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from lib_lora_train.cli import main
from lib_lora_train.collection.history import History
from lib_lora_train.messages import catalogue
from lib_lora_train.project import create_project, open_project
from lib_lora_train.tags.edits import FORMS, settings_of
from lib_lora_train.tags.place import Place
from lib_lora_train.tags_commands import ACTIONS
from lib_lora_train.tags_commands.parser import make_parser

ROOT = Path(__file__).parents[2]
CAPTIONS = {
    "a.png": "zuna, 1girl, blue eyes, smile, forest",
    "b.png": "zuna, 1girl, blue eyes, frown, hat",
    "c.png": "1girl, red_eyes, hat, hair, long hair",
    "d.png": "A portrait of zuna, who looks at the sea.",
    "e.png": None,
}


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.chdir(tmp_path)


def write_pictures(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number, (name, text) in enumerate(CAPTIONS.items()):
        Image.new("RGB", (64 + number, 80), (number * 20, 0, 0)).save(folder / name)
        if text is not None:
            (folder / name).with_suffix(".txt").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "set" / "10_zuna").parent


def texts(folder: Path) -> dict[str, str]:
    return {path.name[0]: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.txt"))}


def stored(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*.txt"))}


class Typed:
    """What a command wrote, and its exit code."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> None:
        capsys.readouterr()
        self.code = main(["tags", str(folder), *words])
        self.out, self.err = capsys.readouterr()


@pytest.fixture
def tags(capsys: pytest.CaptureFixture[str], folder: Path):
    def run(*words: str, code: int = 0) -> Typed:
        typed = Typed(capsys, folder, *words)
        assert typed.code == code, typed.err or typed.out
        return typed

    return run


# ---------------------------------------------------------------------- looking


def test_tags_are_listed_by_frequency(tags) -> None:
    lines = tags("list").out.splitlines()
    assert lines[0].split() == ["3", "1girl"]
    assert [line.split() for line in lines[1:4]] == [["2", "blue", "eyes"], ["2", "hat"], ["2", "zuna"]]
    assert tags("list", "--limit", "1").out.splitlines() == lines[:1]
    listed = json.loads(tags("list", "--json", "--where", "tag:hat").out)
    assert listed[0] == {"tag": "1girl", "count": 2, "translation": ""}
    assert {row["tag"] for row in listed} >= {"frown", "red_eyes"} and "forest" not in {row["tag"] for row in listed}


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("", "abcde"),
        ("tag:hat", "bc"),
        ("-tag:hat", "ade"),  # begins with a dash, and is no flag
        ("tag:blue_eyes (smile | frown) NOT tag:forest", "b"),
        ("missing:trigger", "ce"),
        ("none:caption", "e"),
        ("is:sentences", "d"),
        ("width:>=66 width:<68", "cd"),
        ("name:a*", "a"),
    ],
)
def test_a_filter_says_which_pictures_are_meant(tags, where: str, found: str) -> None:
    shown = tags("show", "--where", where).out.splitlines()
    assert "".join(line.split("/")[1][0] for line in shown) == found


def test_captions_are_shown_beside_their_pictures(tags) -> None:
    lines = tags("show").out.splitlines()
    assert lines[0] == f"10_zuna/a.png: {CAPTIONS['a.png']}"
    assert lines[4] == "10_zuna/e.png: (no caption)"
    facts = json.loads(tags("show", "--json", "--limit", "1").out)
    assert facts[0]["tags"][2] == "blue eyes" and (facts[0]["width"], facts[0]["tokens"]) == (64, None)


def test_tokens_are_counted_by_a_named_checkpoints_vocabulary(tags) -> None:
    assert "--checkpoint" in tags("show", "--where", "tokens:>3", code=2).err
    assert "--checkpoint: there is no file" in tags("show", "--checkpoint", "nowhere", code=2).err
    counted = json.loads(tags("show", "--json", "--checkpoint", "demo", "--where", "has:caption").out)
    assert all(row["tokens"] > 5 for row in counted)
    most = max(row["tokens"] for row in counted)
    assert len(tags("show", "--checkpoint", "demo", "--where", f"tokens:{most}").out.splitlines()) >= 1


def test_a_mistake_in_a_filter_is_shown_where_it_is(tags) -> None:
    wrong = tags("show", "--where", "tag:hat (tag:", code=2).err.splitlines()
    assert wrong[0] == "  tag:hat (tag:"
    assert wrong[1] == "           ^^^^"
    assert wrong[2].startswith("--where: ")
    wide = tags("list", "--where", "蓝 (", code=2).err.splitlines()
    assert wide[1].index("^") == 2 + len("蓝 ") + 1  # a Chinese letter takes two columns


def test_nothing_found_is_no_success_and_no_wrong_use(tags, tmp_path: Path, capsys) -> None:
    assert "--where" in tags("list", "--where", "tag:nothing", code=1).err
    assert "--where" in tags("remove", "hat", "--where", "tag:nothing", code=1).err
    (tmp_path / "empty").mkdir()
    typed = Typed(capsys, tmp_path / "empty", "list")
    assert (typed.code, typed.out) == (1, "") and "empty" in typed.err


def test_strange_captions_do_nothing_to_the_terminal(tags, folder: Path) -> None:
    (folder / "10_zuna" / "a.txt").write_text("\x1b[31mred\u202e, <script>, 😀", encoding="utf-8")
    line = tags("show", "--where", "name:a*").out
    assert "\x1b" not in line and "\u202e" not in line and "<script>" in line and "😀" in line
    assert "\x1b" not in tags("list").out


# ---------------------------------------------------------------------- changing


@pytest.mark.parametrize(
    ("words", "picture", "after"),
    [
        (["add", "scarf"], "a", "zuna, 1girl, blue eyes, smile, forest, scarf"),
        (["add", "scarf, cape", "--at", "front"], "b", "scarf, cape, zuna, 1girl, blue eyes, frown, hat"),
        (["add", "scarf", "--at", "trigger"], "a", "zuna, scarf, 1girl, blue eyes, smile, forest"),
        (["add", "scarf", "--at", "after", "--tag", "1girl"], "c", "1girl, scarf, red_eyes, hat, hair, long hair"),
        (["add", "scarf", "--no-empty"], "e", None),
        (["add", "scarf"], "e", "scarf"),
        (["remove", "1girl", "*eyes"], "c", "hat, hair, long hair"),
        (["remove", "ha", "--how", "text"], "b", "zuna, 1girl, blue eyes, frown"),
        (["replace", "hat", "red hat"], "b", "zuna, 1girl, blue eyes, frown, red hat"),
        (["replace", r"(\w+) eyes", r"\1 gaze", "--how", "regex"], "a", "zuna, 1girl, blue gaze, smile, forest"),
        (["merge", "smile", "frown", "--into", "expression"], "b", "zuna, 1girl, blue eyes, expression, hat"),
        (["dedupe", "--implied"], "c", "1girl, red_eyes, hat, long hair"),
        (["dedupe", "--implied", "--keep", "hair"], "c", "1girl, red_eyes, hat, hair, long hair"),
        (["sort", "--by", "alphabet"], "b", "zuna, 1girl, blue eyes, frown, hat"),
        (["sort", "--by", "alphabet", "--reverse"], "a", "zuna, smile, forest, blue eyes, 1girl"),
        (["move", "smile", "--at", "position", "--position", "2"], "a", "zuna, smile, 1girl, blue eyes, forest"),
        (["truncate", "--by", "tags", "--limit", "2"], "c", "1girl, red_eyes"),
        (["spelling"], "c", "1girl, red eyes, hat, hair, long hair"),
        (["case", "--to", "upper", "--only", "hat"], "b", "zuna, 1girl, blue eyes, frown, HAT"),
        (["weights", "hat", "--weight", "1.2"], "b", "zuna, 1girl, blue eyes, frown, (hat:1.2)"),
        (["affix", "--prefix", "photo, "], "a", "photo, zuna, 1girl, blue eyes, smile, forest"),
        (["trigger", "mira"], "a", "mira, 1girl, blue eyes, smile, forest"),
        (["trigger", "mira"], "d", "mira, A portrait of mira, who looks at the sea."),
        (["trigger", ""], "a", "1girl, blue eyes, smile, forest"),
        (["replace", "zuna", "mira"], "d", "A portrait of mira, who looks at the sea."),
    ],
)  # fmt: skip
def test_every_kind_of_edit_shows_then_does_and_comes_back(
    tags, folder, words, picture: str, after: str | None
) -> None:
    before = stored(folder)
    tags(*words, "--dry-run")
    assert stored(folder) == before
    tags(*words)
    done = texts(folder).get(picture)
    if words[:2] == ["trigger", "mira"] and picture == "d":
        assert done is not None and "zuna" not in done and "mira" in done
    else:
        assert done == after
    changed = stored(folder)
    if changed != before:
        assert len(tags("log").out.splitlines()) == 1
        tags("undo")
        assert stored(folder) == before
        tags("redo")
        assert stored(folder) == changed


def test_only_the_meant_pictures_change_and_the_answer_counts_them(tags, folder: Path) -> None:
    said = tags("remove", "1girl", "--where", "tag:hat -tag:frown").out
    assert "Tags that go: 1girl 1" in said and "Captions changed: 1 of 1. Entry 1" in said
    assert texts(folder)["b"] == CAPTIONS["b.png"] and "1girl" not in texts(folder)["c"]
    assert tags("remove", "1girl", "--where", "tag:hat -tag:frown").out.strip() == "Nothing had to change."
    assert len(tags("log").out.splitlines()) == 1


def test_a_dry_run_shows_before_and_after(tags) -> None:
    shown = tags("replace", "hat", "cap", "--dry-run", "--show", "1").out.splitlines()
    assert shown[:3] == ["10_zuna/b.png", f"  - {CAPTIONS['b.png']}", "  + zuna, 1girl, blue eyes, frown, cap"]
    assert shown[3].strip() == "and 1 more"
    assert shown[-1] == "Captions that would change: 2 of 5."
    asked = tags("dedupe", "--implied", "--dry-run").out
    assert "hair, which long hair says as well: 1" in asked


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "ACTION"),
        (["paint"], "invalid choice: 'paint'"),
        (["add"], "TAG"),
        (["add", " , "], "TAG"),
        (["add", "x", "--at", "nowhere"], "--at"),
        (["add", "x", "--at", "after"], "--tag"),
        (["add", "x", "--colour", "red"], "--colour"),
        (["merge", "a", "b"], "--into"),
        (["replace", "a"], "REPLACE"),
        (["replace", "(", "x", "--how", "regex"], "FIND"),
        (["truncate", "--limit", "0"], "--limit"),
        (["truncate", "--limit", "many"], "--limit"),
        (["truncate"], "--by"),
        (["weights", "--weight", "9"], "--weight"),
        (["bind", "--choose", "hat"], "--choose"),
        (["bind", "--choose", "hat=burn"], "burn"),
        (["bind", "--kind", "dragon"], "dragon"),
        (["trigger", "x" * 201], "200"),
        (["undo"], "nothing to take back"),
        (["redo"], "nothing was taken back"),
        (["rollback", "7"], "7"),
        (["forward", "1"], "1"),
        (["export", "x.json", "--as", "pickle"], "pickle"),
        (["import", "missing.json"], "missing.json"),
        (["import", "wrong.exe"], "wrong.exe"),
    ],
)
def test_wrong_use_is_one_sentence_on_standard_error(tags, tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "wrong.exe").write_bytes(b"MZ")
    typed = tags(*words, code=2)
    assert typed.out == "" and len(typed.err.splitlines()) == 1 and said in typed.err


def test_every_setting_of_every_edit_has_a_flag_and_none_hides_another(capsys) -> None:
    parser = make_parser("en")
    for table in FORMS:
        with pytest.raises(SystemExit):
            parser.parse_args([table.kind, "--help"])
        text = capsys.readouterr().out
        for item in settings_of(table.kind):
            flag = "--at" if item.name == "where" else f"--{item.name}"
            word = {"tags": "TAG", "find": "FIND", "replace": "REPLACE"}.get(item.name, flag)
            assert flag in text or word in text, (table.kind, item.name)
    assert {table.kind for table in FORMS} <= set(ACTIONS)
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    text = capsys.readouterr().out
    assert all(f"\n    {action} " in text for action in ACTIONS)


# ---------------------------------------------------------------------- binding


def test_binding_shows_its_reasons_and_is_one_step(tags, folder: Path) -> None:
    place = folder / "10_zuna"
    for name in "abc":
        (place / f"{name}.txt").write_text(f"zuna, 1girl, silver hair, scar, {'smile' if name == 'a' else 'frown'}")
    before = stored(folder)
    shown = tags("bind", "--dry-run", "--where", "is:tags").out
    assert "silver hair" in shown.splitlines()[0] and "bind" in shown and stored(folder) == before
    facts = json.loads(tags("bind", "--dry-run", "--json").out)
    rows = {row["tag"]: row for row in facts["rows"]}
    assert facts["kind"] == "character" and facts["applies"] and "silver hair" in facts["summary"]
    assert (rows["silver hair"]["decision"], rows["smile"]["decision"]) == ("bind", "keep")
    assert rows["scar"]["reason"] and "zuna" not in rows
    tags("bind", "--choose", "scar=keep")
    assert texts(folder)["a"] == "zuna, 1girl, scar, smile"
    tags("undo")
    assert stored(folder) == before


def test_a_style_keeps_all(tags, folder: Path) -> None:
    facts = json.loads(tags("bind", "--kind", "style", "--json", "--dry-run").out)
    assert not facts["applies"] and {row["decision"] for row in facts["rows"]} <= {"keep", "fix"}
    tags("bind", "--kind", "style")
    assert texts(folder)["a"] == CAPTIONS["a.png"]


# ---------------------------------------------------------------------- going back


def test_the_log_tells_what_was_done_and_any_of_it_can_be_taken_back(tags, folder: Path) -> None:
    states = [stored(folder)]
    for words in (["add", "scarf"], ["remove", "hat"], ["sort", "--by", "alphabet"]):
        tags(*words)
        states.append(stored(folder))
    lines = tags("log").out.splitlines()
    assert [line.split()[0] for line in lines] == ["3", "2", "1"]
    assert "Removed: hat (pictures: 2)" in lines[1]
    tags("rollback", "1")
    assert stored(folder) == states[1]
    assert [line[0] for line in tags("log").out.splitlines()] == ["-", "-", " "]
    tags("forward", "3")
    assert stored(folder) == states[3]
    tags("undo", "--sitting")
    assert stored(folder) == states[0]
    entries = json.loads(tags("log", "--json", "--limit", "2").out)
    assert [(entry["number"], entry["in_force"], entry["count"]) for entry in entries] == [(3, False, 2), (2, False, 2)]
    assert "and 1 more" in tags("log", "--limit", "2").out


def test_a_sitting_ends_where_the_next_one_begins(tags, folder: Path) -> None:
    tags("add", "scarf")
    first = stored(folder)
    History(folder, folder / ".lora_train" / "history").new_sitting()
    tags("add", "cape")
    tags("add", "belt")
    tags("undo", "--sitting")
    assert stored(folder) == first
    tags("undo", "--sitting")
    assert "scarf" not in texts(folder)["a"]


def test_a_file_that_somebody_else_changed_is_left_and_named(tags, folder: Path) -> None:
    tags("add", "scarf")
    mine = folder / "10_zuna" / "b.txt"
    mine.write_text("written elsewhere", encoding="utf-8")
    said = tags("undo").out
    assert "stay as they are: 1" in said and "10_zuna/b.txt" in said
    assert mine.read_text(encoding="utf-8") == "written elsewhere"
    assert texts(folder)["a"] == CAPTIONS["a.png"]


def test_a_file_that_changes_between_reading_and_writing_is_not_overwritten(tags, folder: Path, monkeypatch) -> None:
    mine = folder / "10_zuna" / "b.txt"
    reads = Place.read

    def read(self, known=None, counter=None):
        sheet = reads(self, known, counter)
        mine.write_text("written elsewhere", encoding="utf-8")
        return sheet

    monkeypatch.setattr(Place, "read", read)
    assert "b.png" in tags("add", "scarf", code=2).err
    assert mine.read_text(encoding="utf-8") == "written elsewhere" and texts(folder)["a"] == CAPTIONS["a.png"]
    assert tags("log").out == ""


def test_what_a_killed_process_left_is_finished_by_the_next_command(tags, folder: Path) -> None:
    tags("add", "scarf")
    done = stored(folder)
    tags("undo")
    before = stored(folder)
    history = History(folder, folder / ".lora_train" / "history")
    history.redo(1)  # the journal moved, and then the process died
    assert stored(folder) == before
    assert "scarf" in tags("show", "--where", "name:a*").out
    assert stored(folder) == done


# ---------------------------------------------------------------------- a project


@pytest.fixture
def project(tmp_path: Path):
    made = create_project(tmp_path / "projects", "Zuna", "character", "zuna")
    write_pictures(made.folder / "dataset" / "10_zuna")
    regularization = made.folder / "regularization" / "1_girl"
    write_pictures(regularization)
    (regularization / "a.txt").write_text("1girl, hat", encoding="utf-8")
    return made


def test_a_project_is_edited_by_the_journal_of_its_page(project, capsys) -> None:
    before = stored(project.folder)
    assert Typed(capsys, project.folder, "add", "scarf", "--where", "concept:10_zuna | concept:zuna").code == 0
    history = History.of_project(project)
    assert (history.head, history.log()[1][0].title.code) == (1, "edits.title_add_back")
    assert not (project.folder / ".lora_train").exists()
    assert "scarf" in (project.folder / "dataset" / "10_zuna" / "a.txt").read_text(encoding="utf-8")
    assert "scarf" not in (project.folder / "regularization" / "1_girl" / "a.txt").read_text(encoding="utf-8")
    history.undo(1)
    history.finish()
    assert stored(project.folder) == before


def test_a_projects_trigger_word_goes_back_and_forth_with_its_entry(project, capsys) -> None:
    folder, root = project.folder, project.root
    text = folder / "dataset" / "10_zuna" / "a.txt"
    assert "weights" in Typed(capsys, folder, "trigger", "mira, (x)", "--dry-run").out
    assert open_project(root, project.id).trigger_word == "zuna"
    Typed(capsys, folder, "trigger", " mira ,1girl")
    assert open_project(root, project.id).trigger_word == "mira, 1girl"
    assert text.read_text(encoding="utf-8") == "mira, 1girl, blue eyes, smile, forest"
    assert (folder / "regularization" / "1_girl" / "a.txt").read_text(encoding="utf-8") == "1girl, hat"
    Typed(capsys, folder, "undo")
    assert open_project(root, project.id).trigger_word == "zuna"
    assert text.read_text(encoding="utf-8") == CAPTIONS["a.png"]
    Typed(capsys, folder, "redo")
    assert open_project(root, project.id).trigger_word == "mira, 1girl"


def test_decisions_made_on_the_page_hold_here_too(project, capsys) -> None:
    for name in "abc":
        text = "zuna, silver hair, scar, hat, " + ("smile" if name == "a" else "frown")
        (project.folder / "dataset" / "10_zuna" / f"{name}.txt").write_text(text)
    (project.folder / "binding.json").write_text(
        json.dumps({"version": 1, "outfit": True, "choices": {"scar": "keep", "smile": "bind"}})
    )
    rows = json.loads(Typed(capsys, project.folder, "bind", "--dry-run", "--json", "--choose", "smile=keep").out)[
        "rows"
    ]
    decided = {row["tag"]: row["decision"] for row in rows}
    assert decided == {"silver hair": "bind", "scar": "keep", "hat": "bind", "smile": "keep", "frown": "keep"}


def test_a_folder_of_a_project_is_edited_through_the_project(project, capsys) -> None:
    typed = Typed(capsys, project.folder / "dataset" / "10_zuna", "list")
    assert typed.code == 2 and project.id in typed.err
    assert Typed(capsys, project.folder.parent / "none", "list").code == 2


# ---------------------------------------------------------------------- other programs


@pytest.mark.parametrize(("form", "name"), [("kohya", "out.json"), ("folder", "out.zip"), ("folder", "out")])
def test_what_goes_out_comes_in_again(tags, folder: Path, tmp_path: Path, form: str, name: str) -> None:
    before = stored(folder)
    assert f"Captions written: 4, in {name}" in tags("export", name, "--as", form).out
    if name == "out.zip":
        assert len(zipfile.ZipFile(tmp_path / name).namelist()) == 4
    tags("remove", "1girl", "zuna")
    assert stored(folder) != before
    tags("import", name, "--dry-run")
    assert stored(folder) != before
    assert "Captions changed: 4 of 5" in tags("import", name).out
    assert stored(folder) == before
    assert f"Captions taken from {name}" in tags("log").out


def test_tags_go_out_one_a_line_and_strange_names_are_said(tags, tmp_path: Path) -> None:
    tags("export", "tags.txt", "--as", "lines", "--where", "tag:smile")
    assert "blue eyes" in (tmp_path / "tags.txt").read_text(encoding="utf-8").splitlines()
    (tmp_path / "meta.json").write_text(json.dumps({"a": {"tags": "x"}, "who": {"caption": "y"}}))
    said = tags("import", "meta.json").out
    assert "several: 1 (who)" in said and "Captions changed: 1 of 5" in said
    (tmp_path / "bad.json").write_text("[1, 2")
    assert "bad.json" in tags("import", "bad.json", code=2).err


# ---------------------------------------------------------------------- as a program of its own


def test_chinese_words_find_tags_and_stand_beside_them(tags, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    lines = tags("list", "--where", "蓝眼睛").out.splitlines()
    assert any(line.split() == ["2", "blue", "eyes", "蓝眼睛"] for line in lines)
    assert tags("show", "--where", "蓝瞳 -帽子").out.startswith("10_zuna/a.png")


def started(folder: Path, *words: str, **more) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lib_lora_train", "tags", str(folder), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, encoding="utf-8")


def test_from_a_shell_in_chinese(folder: Path) -> None:
    done = started(folder, "remove", "hat", LC_ALL="zh_CN.UTF-8", PYTHONUTF8="1")
    assert done.returncode == 0 and "已改动的描述：2 / 5" in done.stdout and done.stderr == ""
    wrong = started(folder, "rollback", "9", LC_ALL="zh_CN.UTF-8", PYTHONUTF8="1")
    assert wrong.returncode == 2 and wrong.stdout == "" and "Traceback" not in wrong.stderr


def test_a_reader_that_leaves_early_is_no_error(folder: Path) -> None:
    (folder / "10_zuna" / "a.txt").write_text(", ".join(f"a tag of some length {part}" for part in range(6_000)))
    command = f'"{sys.executable}" -m lib_lora_train tags "{folder}" list | head -1'
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "") and len(done.stdout.splitlines()) == 1


def test_the_help_of_the_command_names_its_actions(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["tags", "--help"])
    text = capsys.readouterr().out
    assert "tag:blue_eyes" in text and all(action in text for action in ACTIONS)
    assert {f"tags_cli.do_{name}" for name in ACTIONS if name not in {t.kind for t in FORMS}} <= catalogue("en").keys()
