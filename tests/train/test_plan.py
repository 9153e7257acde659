"""The plan as a table: subjects, numbers of pictures, model families and sizes of memory."""

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lib_lora_train.train.plan as plan_module
from lib_lora_train.errors import UserError
from lib_lora_train.host.hints import TrainingHints
from lib_lora_train.messages import catalogue, message
from lib_lora_train.project import SUBJECT_KINDS
from lib_lora_train.settings.fields import describe
from lib_lora_train.settings.tables import TrainSettings
from lib_lora_train.train.memory import FAMILIES, GB, activation_bytes, recomputable_blocks, text_activation_bytes
from lib_lora_train.train.plan import CHOICES, RANKS, REPEATS, SHARE_OF_FREE_MEMORY, SHOWINGS, PlanFacts, make_plan
from lib_lora_train.train.plan_model import own_sizes
from lib_lora_train.train.schedules import RateSchedule

GIB = 2**30
SIX_SUBJECTS = {
    "person in photos": ("person", False),
    "drawn character": ("character", True),
    "drawn style": ("style", True),
    "object in photos": ("object", False),
    "drawn pose": ("concept", True),
    "outfit in photos": ("concept", False),
}
TABLE = list(itertools.product(SIX_SUBJECTS, (10, 25, 60), ("sd1", "sdxl"), (6, 8, 12, 24)))
SPECS = {f"{spec.group}.{spec.name}": spec for spec in describe(TrainSettings)}


def facts(subject="person", drawn=False, images=25, family="sd1", gigabytes=12, side=1200, **others):
    """A card on which a desktop takes 7%."""
    total = gigabytes * GIB
    values = {"bfloat16": True, "free_memory": int(total * 0.93), "total_memory": total} | others
    return PlanFacts(sizes=((side, side),) * images, subject=subject, drawn=drawn, family=family, **values)


def check_consistent(facts, plan):
    """What holds for every plan, whether it fits or not."""
    changes, family = plan.changes, FAMILIES[facts.family]
    for name, value in changes.items():
        spec = SPECS[name]
        assert isinstance(value, spec.type), name
        assert spec.minimum is None or spec.minimum <= value <= spec.maximum, name
        assert not spec.choices or value in spec.choices, name
    assert len(changes) == len(plan.reasons)
    rank, alpha = changes["network.network_dim"], changes["network.network_alpha"]
    assert RANKS[0] <= rank <= RANKS[1] and 0 < alpha <= rank
    assert changes["run.max_train_epochs"] >= 5

    unet, text = float(changes["optimizer.unet_lr"]), float(changes["optimizer.text_encoder_lr"])
    assert 0.095 <= text / unet <= 0.505
    resolution, batch = int(changes["dataset.resolution"]), changes["run.train_batch_size"]
    assert resolution % 64 == 0 and batch in (1, 2, 4)
    assert changes["dataset.min_bucket_reso"] < resolution < changes["dataset.max_bucket_reso"]
    share = changes["dataset.validation_split"]
    held = round(len(facts.sizes) * share)
    assert (share > 0) == (len(facts.sizes) >= 40) and (share == 0 or 4 <= held <= max(16, len(facts.sizes) // 100))
    showings = changes["dataset.repeats"] * (len(facts.sizes) - held)
    assert plan.showings == showings * changes["run.max_train_epochs"]
    assert plan.steps == -(-showings // batch) * changes["run.max_train_epochs"]
    assert changes["optimizer.lr_warmup_steps"] < plan.steps

    # The prediction is that of train/memory.py for the very settings of the plan.
    element = 4 if changes["run.mixed_precision"] == "fp32" else 2
    names = recomputable_blocks(family.unet, facts.family == "sdxl")[: changes["run.checkpointed_blocks"]]
    activations = activation_bytes(family.unet, resolution, resolution, batch, element, names, rank)
    if not changes["network.network_train_unet_only"]:
        activations += text_activation_bytes(family, batch, element)
    assert plan.need.activations == activations
    assert plan.budget == int(facts.free_memory * SHARE_OF_FREE_MEMORY)
    assert plan.fits == (plan.need.total <= plan.budget)
    assert plan.fits == (not any(note.code.startswith("plan.does_not_fit") for note in plan.warnings))


@pytest.mark.parametrize(("subject", "images", "family", "gigabytes"), TABLE)
def test_the_table(subject, images, family, gigabytes):
    kind, drawn = SIX_SUBJECTS[subject]
    given_facts = facts(kind, drawn, images, family, gigabytes)
    plan = make_plan(given_facts)
    check_consistent(given_facts, plan)
    changes, medium = plan.changes, "drawn" if drawn else "photo"
    low, high = SHOWINGS[medium]
    assert low <= plan.showings <= high
    assert plan.steps >= low // changes["run.train_batch_size"]
    if images <= 50:
        assert REPEATS[medium][0] <= changes["dataset.repeats"] <= REPEATS[medium][1]
    assert ("plan.few_images" in {note.code for note in plan.warnings}) == (images < 15)
    assert ("plan.many_images" in {note.code for note in plan.warnings}) == (images > 50)
    assert changes["model.clip_skip"] == (2 if drawn and family == "sd1" else 1)
    assert plan.fits == ((family, gigabytes) != ("sdxl", 6))
    if plan.fits:
        assert changes["dataset.resolution"] == {"sd1": "512", "sdxl": "1024"}[family]
        assert changes["run.mixed_precision"] == "bf16"


# Family, GiB -> batch size, whether blocks are recomputed, activations as in performance.md section 4 (GB)
MEMORY = {
    ("sd1", 6): (2, False, 1.89),
    ("sd1", 8): (4, False, 3.78),
    ("sd1", 12): (4, False, 3.78),
    ("sd1", 24): (4, False, 3.78),
    ("sdxl", 8): (1, True, None),
    ("sdxl", 12): (1, True, None),
    ("sdxl", 24): (2, False, 13.5),
}


@pytest.mark.parametrize(("family", "gigabytes"), MEMORY)
def test_memory_decides_batch_and_blocks(family, gigabytes):
    batch, recomputes, activations = MEMORY[family, gigabytes]
    plan = make_plan(facts("character", True, 25, family, gigabytes))
    assert plan.changes["run.train_batch_size"] == batch
    assert (plan.changes["run.checkpointed_blocks"] > 0) == recomputes
    if activations:
        assert plan.need.activations / GB == pytest.approx(activations, rel=0.1)
    else:
        # One block less would not fit: what is recomputed is the least.
        names = recomputable_blocks(FAMILIES[family].unet, True)[: plan.changes["run.checkpointed_blocks"] - 1]
        more = activation_bytes(FAMILIES[family].unet, 1024, 1024, 1, 2, names, plan.changes["network.network_dim"])
        assert plan.need.total - plan.need.activations + more > plan.budget


def test_larger_cards_recompute_less():
    counts = [
        make_plan(facts(family="sdxl", gigabytes=size)).changes["run.checkpointed_blocks"] for size in (8, 10, 12, 16)
    ]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]


def test_sdxl_on_six_gigabytes_says_what_would_fit():
    plan = make_plan(facts(family="sdxl", gigabytes=6))
    assert not plan.fits
    (note,) = [note for note in plan.warnings if note.code == "plan.does_not_fit_but"]
    assert note.values["other"] == "SD 1.x" and note.values["other_need"] < note.values["free"] < note.values["need"]
    for language in ("en", "zh-CN"):
        text = message(note.code, language, **note.values)
        assert "SD 1.x" in text and str(note.values["need"]) in text
    by_setting = {reason.setting: reason.code for reason in plan.reasons}
    assert by_setting["run.checkpointed_blocks"] == "plan.blocks_all"
    # The smallest settings there are.
    assert plan.changes["network.network_dim"] == 4 and plan.changes["run.train_batch_size"] == 1


def test_nothing_fits_into_nothing():
    plan = make_plan(facts(gigabytes=1))
    assert not plan.fits and "plan.does_not_fit" in {note.code for note in plan.warnings}
    assert plan.changes["dataset.resolution"] == "256"


def test_rank_and_resolution_give_way_last():
    roomy = make_plan(facts("style", True, family="sdxl", gigabytes=8, choice="thorough"))
    tight = make_plan(facts("style", True, family="sdxl", gigabytes=7, choice="thorough"))
    assert roomy.fits and tight.fits
    assert (
        tight.changes["network.network_dim"]
        < 32
        == make_plan(facts("style", True, family="sdxl", gigabytes=24, choice="thorough")).changes[
            "network.network_dim"
        ]
    )
    assert {reason.setting: reason.code for reason in tight.reasons}["network.network_dim"] == "plan.rank_memory"


# --------------------------------------------------------------------------------------------------- single rules


@pytest.mark.parametrize(
    ("others", "precision"),
    [
        ({"bfloat16": True}, "bf16"),
        ({"bfloat16": False}, "fp16"),
        ({"bfloat16": True, "loaded_dtype": "fp16"}, "fp16"),
        ({"device": "cpu"}, "fp32"),
        ({"device": "mps"}, "fp32"),
    ],
)
def test_precision_follows_the_device_and_the_loaded_model(others, precision):
    assert make_plan(facts(**others)).changes["run.mixed_precision"] == precision


def test_a_loaded_model_leaves_its_memory_out():
    beside = make_plan(facts(family="sdxl", gigabytes=6, loaded_dtype="fp16"))
    assert beside.fits and beside.need.model == 0


@pytest.mark.parametrize(
    ("family", "side", "resolution"),
    [
        ("sd1", 2000, 512),
        ("sd1", 450, 448),
        ("sd1", 200, 384),
        ("sd2", 700, 640),
        ("sdxl", 900, 896),
        ("sdxl", 300, 768),
    ],
)
def test_small_pictures_train_smaller(family, side, resolution):
    plan = make_plan(facts(family=family, side=side, gigabytes=24))
    assert plan.changes["dataset.resolution"] == str(resolution)
    assert ("plan.small_pictures" in {note.code for note in plan.warnings}) == (side < resolution)


def test_the_median_of_mixed_sizes_counts():
    mixed = replace(facts(images=1), sizes=((100, 100), (512, 512), (400, 520), (4000, 4000), (3000, 3000)))
    assert make_plan(mixed).changes["dataset.resolution"] == "512"


def test_choices_trade_time():
    plans = [make_plan(facts(choice=choice)) for choice in CHOICES]
    assert [plan.steps for plan in plans] == sorted(plan.steps for plan in plans)
    assert plans[0].steps < plans[2].steps / 2


def test_very_few_pictures_get_more_epochs():
    plan = make_plan(facts(images=3))
    assert plan.changes["run.max_train_epochs"] == 10 and plan.changes["dataset.repeats"] == 100


def test_a_processor_takes_one_picture_at_a_time():
    plan = make_plan(facts(device="cpu", gigabytes=32))
    assert plan.changes["run.train_batch_size"] == 1
    assert "plan.slow" in {note.code for note in plan.warnings}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"images": 0}, "plan.no_images"),
        ({"subject": "dragon"}, "plan.unknown"),
        ({"choice": "fast"}, "plan.unknown"),
        ({"family": "flux"}, "plan.unknown"),
        ({"device": "tpu"}, "plan.unknown"),
    ],
)
def test_unknown_facts_are_refused(wrong, code):
    with pytest.raises(UserError) as caught:
        make_plan(facts(**wrong))
    assert caught.value.code == code


def test_applied_changes_a_copy():
    before = TrainSettings()
    after = make_plan(facts()).applied(before)
    assert before == TrainSettings()
    assert after.network.network_dim == 32 and after.run.max_train_epochs == 5
    assert RateSchedule(after.optimizer, 100).at(50)["unet"] > 0


# ------------------------------------------------------------------------- checkpoints that are not like their family

SD1_UNET = json.loads((Path(plan_module.__file__).parents[1] / "host/configs/sd1.json").read_text(encoding="utf-8"))[
    "unet"
]
DEMO = json.loads(
    (Path(plan_module.__file__).parents[2] / "demo/checkpoint/unet/config.json").read_text(encoding="utf-8")
)
DEMO_TEXT = {"hidden_act": "quick_gelu", "num_hidden_layers": 2, "hidden_size": 64}
DEMO_SIZES = own_sizes("sd1", DEMO, DEMO_TEXT, {"unet": 3_727_700, "text_encoder": 153_536, "vae": 978_103})


def small_model(**others):
    values = {"native": 128, "model": DEMO_SIZES, "device": "cpu", "choice": "quick", "gigabytes": 8, "side": 128}
    return facts("character", True, **{"images": 16, **values, **others})


def test_a_small_model_is_planned_at_its_own_size():
    given_facts = small_model()
    plan = make_plan(given_facts)
    changes = plan.changes
    assert plan.fits and plan.need.total < 0.7 * GB
    assert (changes["dataset.resolution"], changes["run.mixed_precision"]) == ("128", "fp32")
    assert (changes["dataset.min_bucket_reso"], changes["dataset.max_bucket_reso"]) == (64, 256)
    assert plan.showings == 1520 and plan.steps == 380
    assert "plan.slow" not in {note.code for note in plan.warnings}
    codes = {reason.setting: reason.code for reason in plan.reasons}
    assert codes["dataset.resolution"] == "plan.resolution_own"
    assert codes["run.train_batch_size"] == "plan.batch_small"
    activations = activation_bytes(DEMO_SIZES.unet, 128, 128, 4, 4, (), 8) + text_activation_bytes(DEMO_SIZES, 4, 4)
    assert plan.need.activations == activations


@pytest.mark.parametrize("side", [40, 100, 128, 200, 4000])
def test_nothing_is_planned_below_what_a_model_can_learn_at(side):
    assert make_plan(small_model(side=side)).changes["dataset.resolution"] == "128"
    assert make_plan(small_model(side=side, gigabytes=0.1)).changes["dataset.resolution"] == "128"


@pytest.mark.parametrize(("native", "side", "resolution"), [(768, 2000, 768), (768, 600, 576), (640, 500, 512)])
def test_a_fine_tune_made_for_another_size_keeps_it(native, side, resolution):
    plan = make_plan(facts(native=native, side=side, gigabytes=24))
    assert plan.changes["dataset.resolution"] == str(resolution)


def test_a_familys_own_size_is_nothing_special():
    assert make_plan(facts(native=512)) == make_plan(facts())
    assert own_sizes("sd1", SD1_UNET, {}, {}) is None


def test_what_a_checkpoint_says_is_obeyed_and_named():
    said = make_plan(small_model(hints=TrainingHints(rate_factor=20, clip_skip=1, sample_cfg=2.5)))
    plain = make_plan(small_model())
    for name in ("learning_rate", "unet_lr", "text_encoder_lr"):
        setting = f"optimizer.{name}"
        assert float(said.changes[setting]) == pytest.approx(20 * float(plain.changes[setting]))
    assert (plain.changes["model.clip_skip"], said.changes["model.clip_skip"]) == (2, 1)
    assert said.changes["run.sample_cfg"] == 2.5 and "run.sample_cfg" not in plain.changes
    hinted = {reason.code for reason in said.reasons} - {reason.code for reason in plain.reasons}
    assert hinted == {"plan.rate_hint", "plan.clip_skip_hint", "plan.sample_cfg_hint"}
    for reason in said.reasons:
        assert isinstance(reason.value, bool) or str(reason.value) in reason.text("en"), reason.code
        assert isinstance(reason.value, bool) or str(reason.value) in reason.text("zh-CN"), reason.code


# ------------------------------------------------------------------------------------------------------------ words


def test_every_reason_quotes_its_number_in_both_languages():
    for subject, drawn in SIX_SUBJECTS.values():
        for family, choice, size in itertools.product(FAMILIES, CHOICES, (6, 12)):
            plan = make_plan(facts(subject, drawn, family=family, choice=choice, gigabytes=size))
            for reason in plan.reasons:
                english, chinese = reason.text("en"), reason.text("zh-CN")
                assert "\n" not in english and len(english) < 200
                assert re.search(r"[\u4e00-\u9fff]", chinese)
                if not isinstance(reason.value, bool):
                    assert str(reason.value) in english and str(reason.value) in chinese, reason.code
            for note in plan.warnings:
                assert message(note.code, "en", **note.values) != message(note.code, "zh-CN", **note.values)


@pytest.mark.parametrize("room", ["plan", "optim"])
def test_both_languages_have_the_same_codes_and_placeholders(room):
    locales = Path(plan_module.__file__).parents[1] / "locales"
    english, chinese = (
        json.loads((locales / language / f"{room}.json").read_text(encoding="utf-8")) for language in ("en", "zh-CN")
    )
    assert english.keys() == chinese.keys() <= catalogue("en").keys()

    def placeholders(entry):
        text = json.dumps(entry, ensure_ascii=False)
        return sorted(re.findall(r"\{(\w+)\}", text))

    for code, entry in english.items():
        assert isinstance(entry, type(chinese[code])), code
        assert sorted(set(placeholders(entry))) == sorted(set(placeholders(chinese[code]))), code


def test_no_text_is_left_unused():
    source = "".join(path.read_text(encoding="utf-8") for path in Path(plan_module.__file__).parent.glob("*.py"))
    made = {f"plan.rank_{kind}" for kind in SUBJECT_KINDS} | {f"plan.epochs_{choice}" for choice in CHOICES}
    made |= {f"plan.repeats_{medium}" for medium in REPEATS} | {"plan.precision_bf16", "plan.precision_fp16"}
    locales = Path(plan_module.__file__).parents[1] / "locales" / "en"
    codes = [
        code
        for room in ("plan", "optim")
        for code in json.loads((locales / f"{room}.json").read_text(encoding="utf-8"))
    ]
    for code in codes:
        assert f'"{code}"' in source or code in made, code


@pytest.mark.parametrize(
    ("drawn", "sentences", "trigger", "kept", "code"),
    [
        (True, False, "zuna", 1, "plan.keep_trigger"),
        (True, False, " zuna , 1girl,, red scarf ", 3, "plan.keep_trigger"),
        (True, False, "", 0, "plan.keep_no_trigger"),
        (True, True, "zuna", 0, "plan.keep_none"),
        (False, False, "zuna, woman", 0, "plan.keep_none"),
        (True, False, ",".join("abc" for _ in range(300)), 255, "plan.keep_trigger"),
    ],
)
def test_as_many_tags_stay_in_front_as_the_trigger_word_has(drawn, sentences, trigger, kept, code):
    plan = make_plan(facts(drawn=drawn, trigger=trigger, sentences=sentences))
    assert plan.changes["dataset.keep_tokens"] == kept
    assert plan.changes["dataset.shuffle_caption"] is (drawn and not sentences)
    reasons = {reason.setting: reason.code for reason in plan.reasons}
    assert reasons["dataset.keep_tokens"] == code
    wanted = "plan.no_shuffle_sentences" if sentences else "plan.shuffle" if drawn else "plan.no_shuffle"
    assert reasons["dataset.shuffle_caption"] == wanted


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(SUBJECT_KINDS), st.booleans(), st.integers(1, 300), st.sampled_from(sorted(FAMILIES)),
    st.floats(0.5, 80), st.integers(32, 6000), st.sampled_from(CHOICES), st.sampled_from(["cuda", "mps", "cpu"]),
    st.sampled_from(["", "fp16", "fp32"]),
)  # fmt: skip
def test_every_plan_is_consistent(subject, drawn, images, family, gigabytes, side, choice, device, loaded):
    memory = {"free_memory": int(gigabytes * GIB), "total_memory": int(gigabytes * GIB)}
    given_facts = facts(
        subject, drawn, images, family, side=side, choice=choice, device=device, loaded_dtype=loaded, **memory
    )
    check_consistent(given_facts, make_plan(given_facts))
