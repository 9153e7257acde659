"""Plans and estimates from real projects and real checkpoints' headers."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lib_lora_train.collection.entries import list_concepts, list_pictures
from lib_lora_train.collection.history import History
from lib_lora_train.errors import UserError
from lib_lora_train.host.base import Memory
from lib_lora_train.project import Project, create_project, edit_project
from lib_lora_train.runs.estimate import estimate
from lib_lora_train.runs.managed import MANAGED, without
from lib_lora_train.runs.planning import apply_repeats, plan_for, sample_prompts, training_pictures
from lib_lora_train.runs.wishes import Wishes
from lib_lora_train.settings import TrainSettings
from lib_lora_train.settings.reading import from_document, validate
from lib_lora_train.signals import Log
from lib_lora_train.train.plan import SHARE_OF_FREE_MEMORY, PlanFacts, make_plan
from lib_lora_train.train.plan_model import own_sizes
from lib_lora_train.words import word
from tests.helpers.pictures import write_picture
from tests.helpers.studios import run_settings, studio_host, write_concept

DEMO = Path(__file__).parents[2] / "demo" / "checkpoint"
GB = 1_000_000_000


@pytest.fixture
def demo_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The demo checkpoint on a processor with 8 GB free."""
    host = studio_host(tmp_path, DEMO, "demo")
    monkeypatch.setattr(host, "memory", lambda: Memory(8 * GB, 16 * GB, "cpu"))
    return host


def drawings(project: Project, count: int = 16) -> Project:
    for number in range(count):
        tags = ["quillon", "1girl", "close-up" if number % 2 else "upper body", f"tag {number}"]
        write_picture(project.path("dataset/10_quillon") / f"{number}.png", ", ".join(tags), (128, 128), number)
    return edit_project(project, trigger_word="quillon")


@pytest.fixture
def sixteen(root: Path) -> Project:
    return drawings(create_project(root, "Quillon"))


def test_the_demo_is_planned_as_it_was_measured(demo_host, sixteen: Project) -> None:
    planned = plan_for(demo_host, sixteen, Wishes("character", "auto", "quick", "demo"))
    settings, plan = planned.settings, planned.plan
    assert settings.model.checkpoint == "demo" and settings.dataset.resolution == "128"
    assert (settings.optimizer.unet_lr, settings.optimizer.text_encoder_lr) == ("0.008", "0.004")
    assert (settings.model.clip_skip, settings.run.sample_cfg) == (1, 2.5)
    assert (settings.network.network_dim, settings.network.network_alpha) == (8, 4.0)
    assert (planned.repeats, plan.showings, plan.steps) == (19, 1520, 380)
    assert settings.run.sample_every_n_epochs == settings.run.save_every_n_epochs == 1
    assert validate(settings) == [] and settings == without(settings, MANAGED)


def test_the_plan_is_that_of_the_facts(demo_host, sixteen: Project) -> None:
    wishes = Wishes("style", "photo", "thorough", "demo")
    facts = demo_host.describe("demo")
    given = PlanFacts(
        sizes=((128, 128),) * 16, subject="style", drawn=False, family="sd1", free_memory=8 * GB,
        total_memory=16 * GB, device="cpu", choice="thorough", native=128, hints=facts.hints,
        model=own_sizes("sd1", facts.unet_config, facts.text_config, facts.parameters),
    )  # fmt: skip
    assert plan_for(demo_host, sixteen, wishes).plan == make_plan(given)


def test_the_trigger_word_stays_in_front_and_sentences_keep_their_order(demo_host, sixteen: Project) -> None:
    project = edit_project(sixteen, trigger_word="zuna, 1girl")
    wishes = Wishes("character", "drawn", "quick", "demo")
    dataset = plan_for(demo_host, project, wishes).settings.dataset
    assert (dataset.shuffle_caption, dataset.keep_tokens) == (True, 2)
    History.of_project(project).append([], Log("history.caption"), {"form": "sentences"})
    dataset = plan_for(demo_host, project, wishes).settings.dataset
    assert (dataset.shuffle_caption, dataset.keep_tokens) == (False, 0)


def test_what_is_not_planned_is_taken_over(demo_host, sixteen: Project) -> None:
    base = TrainSettings()
    base.run.seed, base.run.sample_prompts, base.network.network_dim = 7, "mine", 99
    settings = plan_for(demo_host, sixteen, Wishes(checkpoint="demo"), base).settings
    assert (settings.run.seed, settings.run.sample_prompts, settings.network.network_dim) == (7, "mine", 16)
    assert base.network.network_dim == 99


def test_broken_and_regularization_pictures_do_not_count(demo_host, sixteen: Project) -> None:
    write_concept(sixteen, "regularization/1_girl")
    (sixteen.path("dataset/10_quillon") / "broken.png").write_bytes(b"no picture")
    assert len(list_pictures(sixteen)) == 22
    assert len(training_pictures(sixteen)) == 16
    assert plan_for(demo_host, sixteen, Wishes(checkpoint="demo", choice="quick")).plan.showings == 1520


@pytest.mark.parametrize(
    ("wishes", "code"),
    [
        (Wishes(kind="dragon"), "run.wish"),
        (Wishes(medium="film"), "run.wish"),
        (Wishes(choice="fast"), "run.wish"),
        (Wishes(checkpoint="none"), "host.checkpoint_missing"),
        (Wishes(checkpoint="demo"), "plan.no_images"),
    ],
)
def test_what_cannot_be_planned_is_said(demo_host, root: Path, wishes: Wishes, code: str) -> None:
    with pytest.raises(UserError) as caught:
        plan_for(demo_host, create_project(root, "Empty"), wishes)
    assert caught.value.code == code


def test_without_a_wish_it_is_the_first_checkpoint_or_the_loaded_one(demo_host, tmp_path: Path, sixteen) -> None:
    assert plan_for(demo_host, sixteen, Wishes()).settings.model.checkpoint == "demo"
    none = studio_host(tmp_path, DEMO)
    none.named = {}
    with pytest.raises(UserError) as caught:
        plan_for(none, sixteen, Wishes())
    assert caught.value.code == "host.no_checkpoint"


def test_the_plan_as_the_page_shows_it(demo_host, sixteen: Project) -> None:
    planned = plan_for(demo_host, sixteen, Wishes("character", "auto", "quick", "demo"))
    shown = planned.as_dict("zh-CN")
    assert from_document(shown["settings"], "plan").settings == planned.settings
    rank = next(reason for reason in shown["reasons"] if reason["setting"] == "network.network_dim")
    assert rank["label"] == word("Rank", "zh-CN") and rank["value"] == 8 and rank["text"].startswith("8：")
    assert abs(shown["free"] - 8 * GB) <= 2
    assert shown["budget"] == int(8 * GB * SHARE_OF_FREE_MEMORY) and shown["fits"] and shown["need"] > 0.5 * GB
    assert (shown["steps"], shown["showings"], shown["warnings"]) == (380, 1520, [])


# ---------------------------------------------------------------------- repeats and prompts


def test_repeats_go_to_the_training_concepts(sixteen: Project) -> None:
    for folder in ("dataset/3_hat", "dataset/4_hat", "regularization/1_girl"):
        write_concept(sixteen, folder)
    apply_repeats(sixteen, 19)
    found = {(concept.name, concept.repeats) for concept in list_concepts(sixteen)}
    # Two concepts that differ in their repeats alone cannot have the same.
    assert found == {("quillon", 19), ("hat", 19), ("hat", 4), ("girl", 1)}


def prompts_of(project: Project, captions: list[str]) -> list[str]:
    for number, caption in enumerate(captions):
        write_picture(project.path("dataset/1_x") / f"{number}.png", caption, shift=number)
    return sample_prompts(project, list_pictures(project))


@pytest.mark.parametrize(
    ("captions", "prompts"),
    [
        ([], ["zuna"]),
        (["zuna"], ["zuna"]),
        (["zuna, a, b", "zuna, a, b", "a, c", "b, d"], ["zuna, a, b", "zuna, a, c"]),
        (["A photo of zuna in the rain.\nmore"], ["zuna, A photo of zuna in the rain."]),
        (["ZUNA, hat --w 9999 --n x, # note"], ["zuna, hat -w 9999 -n x, note"]),
        (["a, a ,  a  b\t c"], ["zuna, a, a b c"]),
        (["a, b, c, d, e, f, g, h, i, j"], ["zuna, a, b, c, d, e, f, g, h"]),
        (["x" * 1000], ["zuna, " + "x" * 294]),
    ],
)
def test_sample_prompts(root: Path, captions: list[str], prompts: list[str]) -> None:
    assert prompts_of(create_project(root, "Zuna", trigger_word="zuna"), captions) == prompts


def test_without_a_trigger_word_it_is_the_title(root: Path) -> None:
    assert prompts_of(create_project(root, "# Zuna -- 1"), []) == ["Zuna - 1"]


# ---------------------------------------------------------------------- estimates


def test_an_estimate_of_the_planned_settings_is_the_plans(demo_host, sixteen: Project) -> None:
    planned = plan_for(demo_host, sixteen, Wishes("character", "auto", "quick", "demo"))
    apply_repeats(sixteen, planned.repeats)
    found = estimate(demo_host, sixteen, planned.settings)
    assert (found.need, found.steps) == (planned.plan.need.total, 380)
    assert (found.free, found.total, found.fits) == (8 * GB, 16 * GB, True)


def test_estimates_follow_the_settings(demo_host, sixteen: Project) -> None:
    settings = plan_for(demo_host, sixteen, Wishes("character", "auto", "quick", "demo")).settings

    def need(**changes: object) -> int:
        for name, value in changes.items():
            group = next(group for group in vars(settings).values() if hasattr(group, name))
            setattr(group, name, value)
        return estimate(demo_host, sixteen, settings).need

    small = need()
    assert need(train_batch_size=16) > small
    assert need(train_batch_size=4) == need(mixed_precision="fp16") == small  # a processor computes in fp32
    assert need(network_dim=64) > small and need(network_dim=8, network_train_unet_only=True) < small
    assert need(resolution="256") > need(resolution="128")
    assert need(checkpointed_blocks=38) < need(checkpointed_blocks=None)


def test_on_a_gpu_blocks_are_recomputed_as_the_training_does(demo_host, sixteen: Project, monkeypatch) -> None:
    settings = run_settings(checkpoint="demo", resolution="1024", max_bucket_reso=1024, train_batch_size=32)
    monkeypatch.setattr(demo_host, "memory", lambda: Memory(80 * GB, 80 * GB, "cuda", True))
    roomy = estimate(demo_host, sixteen, settings)
    monkeypatch.setattr(demo_host, "memory", lambda: Memory(int(0.7 * roomy.need), 80 * GB, "cuda", True))
    tight = estimate(demo_host, sixteen, settings)
    assert tight.fits and tight.need <= SHARE_OF_FREE_MEMORY * tight.free < roomy.need
    settings.run.checkpointed_blocks = 0
    assert not estimate(demo_host, sixteen, settings).fits
    monkeypatch.setattr(demo_host, "memory", lambda: Memory(GB, 80 * GB, "cuda", True))
    settings.run.checkpointed_blocks = None
    assert not estimate(demo_host, sixteen, settings).fits


def test_without_pictures_an_estimate_has_no_steps(demo_host, root: Path) -> None:
    found = estimate(demo_host, create_project(root, "Empty"), run_settings(checkpoint="demo"))
    assert found.steps == 0 and found.need > 0


@pytest.mark.parametrize("resolution", ["7", "abc", "99999"])
def test_an_impossible_resolution_is_said(demo_host, sixteen: Project, resolution: str) -> None:
    with pytest.raises(UserError) as caught:
        estimate(demo_host, sixteen, run_settings(checkpoint="demo", resolution=resolution))
    assert caught.value.code == "settings.resolution"


def test_masks_are_made_use_of(demo_host, sixteen: Project) -> None:
    plain = plan_for(demo_host, sixteen, Wishes(kind="character", checkpoint="demo"))
    assert not plain.settings.dataset.masked_loss
    folder = next(path for path in sixteen.path("dataset").iterdir())
    picture = next(path for path in sorted(folder.iterdir()) if path.suffix == ".png")
    mask = sixteen.path("masks", folder.name) / picture.name
    mask.parent.mkdir(parents=True)
    Image.new("L", (64, 64), 255).save(mask)
    masked = plan_for(demo_host, sixteen, Wishes(kind="character", checkpoint="demo"))
    assert masked.settings.dataset.masked_loss
    assert any(reason["setting"] == "dataset.masked_loss" for reason in masked.as_dict()["reasons"])
