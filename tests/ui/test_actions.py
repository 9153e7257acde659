"""What the page does when something is pressed, through gradio's own application, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lib_lora_train.access import Exposure
from lib_lora_train.collection.entries import list_concepts
from lib_lora_train.errors import UserError
from lib_lora_train.messages import message
from lib_lora_train.project import Project, edit_project, open_project
from lib_lora_train.runs.drafts import DRAFT, read_draft, read_wishes, write_draft
from lib_lora_train.runs.records import read_record
from lib_lora_train.settings import TrainSettings
from lib_lora_train.studio import Studio
from lib_lora_train.ui.page import build_page
from tests.helpers.gradio_page import CHINESE, ENGLISH, GradioPage
from tests.helpers.serving import wait_for
from tests.helpers.studios import filled_project
from tests.ui.conftest import MakeStudio

PLAN = {"repeats": 30, "rank": 8, "epochs": 10, "steps": "750"}  # for five drawn pictures


def said(page: GradioPage, place: str = "message") -> str:
    return page.get(place) or ""


# ---------------------------------------------------------------------- projects


def test_a_page_gets_a_session(page: GradioPage, studio: Studio) -> None:
    page.press("session_button")
    assert studio.sessions.find(page.get("token")) is not None
    first = page.get("token")
    page.press("session_button")
    assert page.get("token") != first


def test_a_new_project_is_planned(opened: GradioPage, project: Project) -> None:
    assert (opened.get("name"), opened.get("trigger"), opened.get("kind")) == ("Zuna", "zuna", "Character")
    assert opened.get("checkpoint") == "tiny" and opened.choices("checkpoint") == ["tiny"]
    assert opened.get("setting_network_dim") == PLAN["rank"]
    assert opened.get("setting_max_train_epochs") == PLAN["epochs"]
    assert opened.get("prompts").splitlines()[0].startswith("zuna, ")
    assert f"in {PLAN['steps']} steps" in said(opened, "plan") and f"{PLAN['steps']} steps" in said(opened, "estimate")
    assert "Now:" not in said(opened, "plan")
    assert not (project.folder / DRAFT).exists()  # looking is not changing
    assert opened.choices("preset")  # the shipped ones


def test_no_project(page: GradioPage) -> None:
    page.press("project_button")
    assert "No project is open" in said(page)
    page.press("plan_button")
    assert "No project is open" in said(page)
    page.press("train_button")
    assert "No project is open" in said(page)


@pytest.mark.parametrize(
    "project_id", ["nope-000000", "../x", "a/b", "\x00", "<b>x</b>", "x" * 5000, None, 7, ["a"], {"a": 1}]
)
def test_a_project_that_is_none(page: GradioPage, project_id: Any) -> None:
    page.press("project_button", project_id=project_id)
    assert "lora_train_error" in said(page) and "<b>" not in said(page)


def test_without_pictures_the_page_says_what_to_do(page: GradioPage, studio: Studio) -> None:
    empty = studio.create_project(_nobody(), "Empty")
    page.set(project_id=empty.id)
    page.press("project_button")
    assert "Add 15 to 50 pictures first" in said(page, "plan") and said(page) == ""
    assert page.get("setting_network_dim") == TrainSettings().network.network_dim


def test_a_title_is_text(page: GradioPage, studio: Studio) -> None:
    project = edit_project(filled_project(studio.root), title="<img src=x onerror=alert(1)>")
    page.set(project_id=project.id)
    page.press("project_button")
    assert page.get("name") == "<img src=x onerror=alert(1)>"  # a text field
    page.set(name="")
    page.press("draft_button")
    assert "<img" not in "".join(str(page.get(place)) for place in ("message", "plan", "estimate"))


# ---------------------------------------------------------------------- the draft


def test_what_was_changed_is_there_again(opened: GradioPage, studio: Studio, project: Project) -> None:
    opened.set(setting_network_dim=24, setting_optimizer_args="weight_decay=0.2 betas=0.9,0.99", choice="Quick")
    opened.set(name="Zuna two", trigger="zuna2", kind="Person", medium="Drawn", prompts="zuna2, a girl")
    opened.press("draft_button")
    assert "Now: 24" in said(opened, "plan") and said(opened) == ""
    assert read_draft(project).network.network_dim == 24
    assert open_project(studio.root, project.id).title == "Zuna two"

    page = GradioPage(build_page(studio))
    page.set(project_id=project.id)
    page.press("project_button")
    shown = {name: page.get(name) for name in ("setting_network_dim", "setting_optimizer_args", "choice", "name")}
    assert shown == {
        "setting_network_dim": 24,
        "setting_optimizer_args": "weight_decay=0.2 betas=0.9,0.99",
        "choice": "Quick",
        "name": "Zuna two",
    }
    assert (page.get("trigger"), page.get("kind"), page.get("medium")) == ("zuna2", "Person", "Drawn")
    assert page.get("prompts") == "zuna2, a girl"


@pytest.mark.parametrize("content", ["{", '{"version": 99}', '{"version": 1, "x": {}}'])
def test_a_draft_that_cannot_be_read_is_kept_and_not_in_the_way(
    page: GradioPage, project: Project, content: str
) -> None:
    (project.folder / DRAFT).write_text(content, encoding="utf-8")
    page.set(project_id=project.id)
    page.press("project_button")
    assert "could not be read" in said(page) and page.get("setting_network_dim") == PLAN["rank"]
    kept = [path for path in project.folder.glob("settings-*.json") if path.name in said(page)]
    assert [path.read_text(encoding="utf-8") for path in kept] == [content]
    page.press("draft_button")
    page.set(opened="")  # as after a reload
    page.press("project_button")
    assert said(page) == ""


def test_what_was_said_stays_while_the_project_is_the_same(opened: GradioPage, studio: Studio) -> None:
    opened.press("train_button", setting_network_dim=5000)
    refused = said(opened)
    assert "Rank" in refused
    for button in ("look_button", "project_button", "draft_button"):
        opened.press(button)
        assert said(opened) == refused
    opened.set(project_id="nope-000000")
    opened.press("project_button")
    assert said(opened) not in ("", refused)
    opened.set(project_id=studio.create_project(_nobody(), "Another").id)
    opened.press("project_button")
    assert said(opened) == ""


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("setting_network_dim", 5000, "Rank"),
        ("setting_network_dim", None, "Rank"),
        ("setting_learning_rate", ["x"], "Learning rate"),
        ("kind", "Dragon", "Kind of subject"),
        ("kind", ["Person"], "Kind of subject"),
        ("choice", "<b>", "Quality against time"),
        ("medium", 3, "Pictures are"),
        ("name", {"a": 1}, "Name"),
        ("trigger", "x" * 30_000, "Trigger word"),
        ("lora", "../../etc/passwd", "Continue from LoRA"),
        ("prompts", "x" * 30_000, "Sample prompts"),
    ],
)
def test_a_bad_value_is_named_and_nothing_is_kept(
    opened: GradioPage, project: Project, field: str, value: Any, words: str
) -> None:
    opened.press("draft_button", **{field: value})
    assert "lora_train_error" in said(opened, "estimate") and words in said(opened, "estimate")
    assert not (project.folder / DRAFT).exists()
    assert open_project(project.root, project.id) == project
    opened.press("train_button", **{field: value})
    assert words in said(opened)


def test_fields_are_named_in_the_visitors_language(studio: Studio, project: Project) -> None:
    page = GradioPage(build_page(studio), CHINESE)
    page.set(project_id=project.id)
    page.press("project_button")
    assert message("ui.plan_head", "zh-CN", showings="1,500", steps="750") in said(page, "plan")
    page.press("draft_button", setting_network_dim=5000)
    assert UserError("settings.bounds", "?", value="5000", minimum="1", maximum="1024").remedy("zh-CN") in said(
        page, "estimate"
    )


def test_the_hosts_language_is_stronger_than_the_browsers(make_studio: MakeStudio) -> None:
    page = GradioPage(build_page(make_studio(language="zh-CN")), ENGLISH)
    page.press("plan_button")
    assert "还没有打开项目" in said(page)


def test_opening_the_sub_tab_looks_at_the_pictures_again(page: GradioPage, studio: Studio) -> None:
    project = studio.create_project(_nobody(), "Late")
    page.set(project_id=project.id)
    page.press("project_button")
    assert "Planned for" not in said(page, "plan")
    (project.folder / "dataset").rmdir()
    filled = filled_project(studio.root, "Other")
    (filled.folder / "dataset").rename(project.folder / "dataset")
    page.press("look_button")
    assert "Planned for your pictures" in said(page, "plan")
    assert page.get("setting_network_dim") == PLAN["rank"]  # the form was not changed by anybody, so it is planned
    page.set(setting_network_dim=77)
    page.press("draft_button")
    page.press("look_button")
    assert page.get("setting_network_dim") == 77


@pytest.mark.parametrize("button", ["project_button", "look_button", "apply_button"])
@pytest.mark.parametrize("project_id", ["", "nope-000000"])
def test_the_page_hears_what_was_answered(opened: GradioPage, button: str, project_id: str) -> None:
    """Also after an error, as the form is not to be held for ever."""
    for name, heard in (("7", "7"), ("x" * 5000, ""), (None, ""), (["7"], ""), ("<b>", "<b>")):
        opened.press(button, press=name, project_id=project_id, opened=project_id)
        assert opened.get("answered") == heard


def test_no_project_is_no_error_for_what_nobody_pressed(page: GradioPage) -> None:
    for name in ("draft_button", "look_button"):
        page.press(name)
    assert said(page) == "" and said(page, "estimate") == ""


# ---------------------------------------------------------------------- plan


def test_planning_takes_back_what_it_decides_and_leaves_the_rest(opened: GradioPage, project: Project) -> None:
    opened.set(setting_network_dim=99, setting_seed=7, prompts="zuna in the rain")
    opened.press("plan_button")
    assert opened.get("setting_network_dim") == PLAN["rank"]
    assert opened.get("setting_seed") == 7 and opened.get("prompts") == "zuna in the rain"
    assert "Planned." in said(opened)
    assert [concept.repeats for concept in list_concepts(project)] == [PLAN["repeats"]]
    assert f"{PLAN['steps']} steps" in said(opened, "estimate")


def test_what_is_changed_while_the_plan_is_made_stays(opened: GradioPage) -> None:
    opened.set(name="Zuna in the rain", trigger="zunya", setting_seed=8, kind="Style", prompts="zunya in the rain")
    sent = {"name": "Zuna", "trigger": "zuna", "setting_seed": 7, "kind": "Character", "prompts": "zuna in the sun"}
    opened.press("plan_button", setting_network_dim=99, **sent)
    assert (opened.get("name"), opened.get("trigger"), opened.get("kind")) == ("Zuna in the rain", "zunya", "Style")
    assert (opened.get("setting_seed"), opened.get("prompts")) == (8, "zunya in the rain")
    assert opened.get("setting_network_dim") == PLAN["rank"]


def test_the_later_of_two_quick_choices_counts(opened: GradioPage) -> None:
    rank = opened.get("setting_network_dim")
    opened.set(setting_network_dim=99)  # by the answer to the first, when the second was on its way already
    opened.press("plan_button", setting_network_dim=rank)
    assert opened.get("setting_network_dim") == rank == PLAN["rank"]


def test_a_checkpoint_that_came_since_is_planned_with_and_listed(opened: GradioPage) -> None:
    opened.properties["lora_train_checkpoint"]["choices"] = []
    opened.set(checkpoint=None)
    opened.press("plan_button")
    assert (opened.get("checkpoint"), opened.choices("checkpoint")) == ("tiny", ["tiny"])


def test_another_choice_is_another_plan(opened: GradioPage, project: Project) -> None:
    epochs = {}
    for choice in ("Quick", "Thorough"):
        opened.set(choice=choice)
        opened.press("choice", "input")
        epochs[choice] = opened.get("setting_max_train_epochs"), opened.get("setting_network_dim")
    assert epochs["Quick"] != epochs["Thorough"]
    assert read_wishes(project).choice == "thorough"


def test_a_choice_that_the_page_fills_in_is_no_other_choice(opened: GradioPage, project: Project) -> None:
    opened.set(choice="Quick")
    opened.press("choice", "input")
    opened.set(setting_network_dim=24)
    opened.press("draft_button")
    opened.press("choice", "input")  # as gradio 4 says it when the project is opened again
    assert opened.get("setting_network_dim") == 24
    assert read_draft(project).network.network_dim == 24


def test_repeats_that_are_not_planned_are_said(opened: GradioPage) -> None:
    opened.set(setting_seed=3)
    opened.press("draft_button")  # from now on the form is somebody's, and its pictures are shown once an epoch
    assert "Now: 1" in said(opened, "plan")
    assert f"{PLAN['steps']} steps" not in said(opened, "estimate")


def test_memory_that_is_not_there_is_said(opened: GradioPage) -> None:
    opened.set(setting_resolution="8192", setting_train_batch_size=512)
    opened.press("draft_button")
    assert "lora_train_warning" in said(opened, "estimate") and "will not fit" in said(opened, "estimate")


# ---------------------------------------------------------------------- train


def test_train_starts_the_form_as_it_is(opened: GradioPage, studio: Studio, project: Project) -> None:
    opened.set(setting_network_dim=5, setting_max_train_epochs=1, setting_sample_every_n_epochs=0)
    opened.press("draft_button")
    opened.press("train_button")
    assert "Training has started (r01)" in said(opened)
    assert read_record(project.path("runs", "r01")).settings.network.network_dim == 5
    assert [concept.repeats for concept in list_concepts(project)] == [1]
    opened.press("train_button")
    assert "Waiting in line at place 1 (r02)" in said(opened)


def test_train_does_not_wait_for_the_draft(opened: GradioPage, project: Project) -> None:
    opened.set(setting_noise_offset=0.04)
    opened.press("train_button")  # within the second after which a change is kept
    assert read_record(project.path("runs", "r01")).settings.loss.noise_offset == 0.04


def test_a_setting_that_only_the_training_reads_is_named_as_the_form_names_it(opened: GradioPage) -> None:
    opened.set(setting_learning_rate="fast")
    opened.press("train_button")
    assert "Learning rate (learning_rate)" in said(opened) and "lora_train_error" in said(opened)


def test_train_of_an_untouched_form_is_planned(opened: GradioPage, project: Project) -> None:
    opened.press("train_button")
    assert "Training has started" in said(opened)
    record = read_record(project.path("runs", "r01"))
    assert record.settings.network.network_dim == PLAN["rank"] and record.steps == int(PLAN["steps"])
    assert [concept.repeats for concept in list_concepts(project)] == [PLAN["repeats"]]


def test_what_was_typed_a_moment_ago_is_trained(opened: GradioPage, project: Project) -> None:
    """The draft is kept a second after the last change; Train may be pressed before."""
    opened.set(setting_network_dim=6, setting_max_train_epochs=2)
    opened.press("train_button")
    record = read_record(project.path("runs", "r01"))
    assert (record.settings.network.network_dim, record.settings.run.max_train_epochs) == (6, 2)
    assert [concept.repeats for concept in list_concepts(project)] == [PLAN["repeats"]]  # as the page said


def test_a_run_keeps_its_folders_when_another_is_planned(opened: GradioPage, project: Project) -> None:
    opened.set(setting_max_train_epochs=500)
    opened.press("draft_button")
    opened.press("train_button")
    opened.press("plan_button")
    assert [concept.repeats for concept in list_concepts(project)] == [1]
    assert message("run.repeats_busy", where=project.title).split(".")[0] in said(opened).replace("&quot;", '"')


def test_the_trained_file_can_be_continued(opened: GradioPage, studio: Studio) -> None:
    opened.set(setting_max_train_epochs=1, setting_sample_every_n_epochs=0, setting_sample_at_first=False)
    opened.press("draft_button")
    opened.press("train_button")
    wait_for(studio.registry.running, lambda running: running is None)
    opened.press("refresh_loras")
    assert "Zuna" in opened.choices("lora")
    opened.set(lora="Zuna", setting_dim_from_weights=True)
    opened.press("train_button")
    assert "has started (r02)" in said(opened)


# ---------------------------------------------------------------------- who is calling


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:7861", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "", "Referer": "https://evil.example/page"},
    ],
)
def test_a_page_of_another_site_is_refused(opened: GradioPage, studio: Studio, headers: dict[str, str]) -> None:
    opened.headers = {**opened.headers, **headers}
    opened.press("train_button")
    assert "did not come from a page of this server" in said(opened)
    assert studio.registry.running() is None
    opened.press("session_button")
    assert not opened.get("token")


def test_headers_in_the_body_prove_nothing(page: GradioPage) -> None:
    """gradio 3 lets the caller write them there."""
    page.headers = {"Origin": "https://evil.example"}
    answer = page.post("session_button", {"data": [], "request": {"headers": {"host": "x", "origin": "http://x"}}})
    token = answer.json()["data"][1]
    assert not (token.get("value") if isinstance(token, dict) else token)
    assert "did not come from a page" in answer.json()["data"][0]


def test_what_belongs_to_others_does_not_exist(make_studio: MakeStudio) -> None:
    studio = make_studio(Exposure(local=False, login=True))
    theirs = filled_project(studio.root, "Ann's", owner="ann")
    pages = {}
    for name in ("ann", "bob"):
        page = pages[name] = GradioPage(build_page(studio), auth=[("ann", "1"), ("bob", "2")])
        page.client.post("/login", data={"username": name, "password": "1" if name == "ann" else "2"})
        page.set(project_id=theirs.id)
        page.press("project_button")
    assert pages["ann"].get("name") == "Ann's"
    assert pages["bob"].get("name") == "" and "lora_train_error" in said(pages["bob"])
    pages["ann"].press("session_button")
    assert studio.sessions.find(pages["ann"].get("token")).name == "ann"


def test_an_error_of_ours_is_one_sentence(
    opened: GradioPage, studio: Studio, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret /srv/data")

    monkeypatch.setattr(studio, "start", broken)
    opened.press("train_button")
    assert "The program failed here (RuntimeError)" in said(opened) and "secret" not in said(opened)
    assert "secret /srv/data" in caplog.text  # the log has the trace


# ---------------------------------------------------------------------- presets and files


def test_presets(opened: GradioPage, studio: Studio, project: Project) -> None:
    opened.set(setting_network_dim=21, preset_name="  Mine ", prompts="kept")
    opened.press("save_preset")
    assert "Saved as" in said(opened) and opened.get("preset") == "Mine" and opened.get("preset_name") == ""
    opened.set(setting_network_dim=3)
    opened.press("load_preset")
    assert opened.get("setting_network_dim") == 21 and opened.get("prompts") == "kept"
    assert read_draft(project).network.network_dim == 21
    opened.press("delete_preset")
    assert "Mine" not in opened.choices("preset") and "trash" in said(opened)
    for name in (None, "", "../x", ["x"], "Mine"):
        opened.press("load_preset", preset=name)
        assert "lora_train_error" in said(opened), name
    opened.press("save_preset", preset_name="a/b")
    assert "lora_train_error" in said(opened)


def apply(page: GradioPage, name: str, text: str) -> None:
    page.set(document=json.dumps({"name": name, "text": text}))
    page.press("apply_button")


def test_a_file_goes_out_and_comes_back(opened: GradioPage, project: Project) -> None:
    opened.set(setting_network_dim=19, setting_training_comment='a "quoted" <b>', name="Zuna: 1/2")
    for button, suffix in (("save_json", ".json"), ("save_toml", ".toml")):
        opened.press(button)
        written = json.loads(opened.get("export"))
        assert written["name"] == f"Zuna_ 1_2{suffix}"
        opened.set(setting_network_dim=1, setting_training_comment="")
        apply(opened, written["name"], written["text"])
        assert opened.get("setting_network_dim") == 19, said(opened)
        assert opened.get("setting_training_comment") == 'a "quoted" <b>'
        assert opened.get("checkpoint") == "tiny" and "<b>" not in said(opened)
    assert read_draft(project).network.network_dim == 19


def test_somebody_elses_kohya_file(opened: GradioPage, studio: Studio, project: Project) -> None:
    prompts = opened.get("prompts")
    text = """
        [anything]
        pretrained_model_name_or_path = 'D:\\models\\nothing here.safetensors'
        train_data_dir = "/home/someone/pictures"
        output_dir = "C:/out"
        logging_dir = "/tmp/log"
        network_weights = "/x/old.safetensors"
        dim_from_weights = true
        sample_prompts = "prompts.txt"
        network_dim = 12
        xformers = true
    """
    apply(opened, "theirs.toml", text)
    assert opened.get("setting_network_dim") == 12
    assert (opened.get("checkpoint"), opened.get("prompts")) == ("tiny", prompts)
    assert opened.get("lora") in ("", None) and opened.get("setting_dim_from_weights") is False
    for words in ("theirs.toml", "nothing here.safetensors", "tiny stays chosen", "old.safetensors", "xformers"):
        assert words in said(opened), words
    draft = read_draft(project)
    assert (draft.dataset.train_data_dir, draft.run.output_dir, draft.run.logging_dir) == ("", "", "")


def test_a_checkpoint_of_a_file_is_found_by_name(opened: GradioPage) -> None:
    apply(opened, "a.toml", "pretrained_model_name_or_path = 'D:\\models\\TINY.safetensors'")
    assert opened.get("checkpoint") == "tiny" and "stays chosen" not in said(opened)


@pytest.mark.parametrize(
    "document",
    ["", "{", "[]", "null", '{"name": 1, "text": "{}"}', '{"name": "a.json"}', '{"name": "a.exe", "text": "x"}',
     '{"name": "a.json", "text": "{"}', '{"name": "a.json", "text": "{\\"network_dimm\\": 3}"}',
     '{"name": "<i>.json", "text": "{\\"network_dim\\": \\"<i>\\"}"}', "[" * 100_000, None, 5],
)  # fmt: skip
def test_files_that_are_none(opened: GradioPage, project: Project, document: Any) -> None:
    opened.press("apply_button", document=document)
    assert "lora_train_error" in said(opened) and "<i>" not in said(opened)
    assert not (project.folder / DRAFT).exists()


def test_kohyas_command(opened: GradioPage, project: Project, make_studio: MakeStudio, tiny_checkpoint: Path) -> None:
    opened.press("show_command")
    command = opened.get("command")
    assert command.startswith("accelerate launch train_network.py \\\n")
    assert f"--train_data_dir={project.path('dataset')}" in command
    assert f"--pretrained_model_name_or_path={tiny_checkpoint}" in command
    page = GradioPage(build_page(make_studio(Exposure(local=False, login=True))))
    page.set(project_id=project.id)
    page.press("project_button")
    page.press("show_command")
    assert "--train_data_dir=dataset" in page.get("command") and str(project.root) not in page.get("command")


def test_a_checkpoint_that_has_gone_is_replaced(page: GradioPage, project: Project) -> None:
    draft = TrainSettings()
    draft.model.checkpoint = "gone"
    write_draft(project, draft)
    page.set(project_id=project.id)
    page.press("project_button")
    assert page.get("checkpoint") == "tiny"
    page.press("refresh_checkpoints", checkpoint=["x"])
    assert page.get("checkpoint") == "tiny"


def _nobody() -> Any:
    from lib_lora_train.access import Visitor

    return Visitor()
