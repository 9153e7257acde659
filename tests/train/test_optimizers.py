"""Own algorithms against references and hand-computed values, arguments, and resuming bit for bit."""

import importlib.util
import json
import math

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from lib_lora_train.errors import UserError
from lib_lora_train.messages import message
from lib_lora_train.settings.tables import OPTIMIZERS, OptimizerSettings
from lib_lora_train.train.algorithms import Adafactor, Lion
from lib_lora_train.train.optimizers import (
    KINDS,
    accepted_arguments,
    eval_mode,
    load_optimizer_state,
    make_optimizer,
    optimizer_notes,
    optimizer_state,
    parse_arguments,
    set_rates,
    train_mode,
)


def installed(optimizer_type):
    package = KINDS[optimizer_type].package
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def small_adapters(dtype=torch.float32):
    """A down and an up weight, of which up starts at zero, a 1x1 convolution and a vector."""
    random = torch.Generator().manual_seed(3)
    down = torch.randn(4, 16, generator=random)
    conv = torch.randn(8, 4, 1, 1, generator=random)
    tensors = [down, torch.zeros(16, 4), conv, torch.randn(5, generator=random)]
    return [nn.Parameter(tensor.to(dtype)) for tensor in tensors]


def give_gradients(parameters, step):
    random = torch.Generator().manual_seed(100 + step)
    for parameter in parameters:
        noise = torch.randn(parameter.shape, generator=random)
        parameter.grad = (0.1 * noise + 0.05 * parameter.detach().float()).to(parameter.dtype)


def two_groups(parameters, rate=1e-3):
    return [
        {"name": "text_encoder", "params": parameters[:1], "lr": rate},
        {"name": "unet", "params": parameters[1:], "lr": rate},
    ]


# ------------------------------------------------------------------------------------------------ own algorithms


def test_lion_moves_as_computed_by_hand():
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = Lion([weight], lr=0.1, betas=(0.9, 0.99), weight_decay=0.5)
    weight.grad = torch.tensor([2.0, -4.0])
    optimizer.step()
    # Decay to 0.95 of the weight, then a step of 0.1 against the gradient's sign.
    assert weight.tolist() == pytest.approx([0.95 - 0.1, -1.9 + 0.1])
    assert optimizer.state[weight]["exp_avg"].tolist() == pytest.approx([0.02, -0.04])
    weight.grad = torch.tensor([-0.1, 0.5])
    optimizer.step()
    # 0.9 * 0.02 - 0.1 * 0.1 = 0.008 > 0 outweighs the new gradient; 0.9 * -0.04 + 0.1 * 0.5 = 0.014 > 0 does not.
    assert weight.tolist() == pytest.approx([0.85 * 0.95 - 0.1, -1.8 * 0.95 - 0.1])
    assert optimizer.state[weight]["exp_avg"].tolist() == pytest.approx([0.99 * 0.02 - 0.001, -0.99 * 0.04 + 0.005])


def test_lion_equals_the_authors_package():
    package = pytest.importorskip("lion_pytorch")
    ours, theirs = small_adapters(), small_adapters()
    pairs = [(Lion(ours, 1e-3, weight_decay=0.1), ours), (package.Lion(theirs, 1e-3, weight_decay=0.1), theirs)]
    for step in range(10):
        for optimizer, parameters in pairs:
            give_gradients(parameters, step)
            optimizer.step()
    for left, right in zip(ours, theirs, strict=True):
        assert torch.allclose(left, right, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "options",
    [
        {"lr": 1e-2, "scale_parameter": False, "relative_step": False},
        {"lr": 1e-2, "scale_parameter": True, "relative_step": False, "weight_decay": 0.1},
        {"lr": 1e-2, "scale_parameter": False, "relative_step": False, "beta1": 0.9, "clip_threshold": 0.5},
        {"lr": 1e-2, "scale_parameter": False, "relative_step": False, "decay_rate": -0.5, "eps": (1e-8, 1e-2)},
        {"lr": None, "scale_parameter": True, "relative_step": True},
        {"lr": None, "scale_parameter": False, "relative_step": True, "warmup_init": True},
    ],
    ids=["plain", "scaled", "momentum", "decay", "relative", "warmup"],
)
def test_adafactor_equals_transformers(options, dtype):
    optimization = pytest.importorskip("transformers.optimization")
    if not hasattr(optimization, "Adafactor"):
        pytest.skip("this transformers has no Adafactor")
    ours, theirs = small_adapters(dtype), small_adapters(dtype)
    rate = {"lr": 123.0} if options["lr"] is None else {}  # ours ignores it then, theirs wants none
    pairs = [(Adafactor(ours, **(options | rate)), ours), (optimization.Adafactor(theirs, **options), theirs)]
    # Scaled rates are fp32 here and partly double there, which differs in the last bit.
    tolerance = 0.0 if not options["scale_parameter"] else 2e-6 if dtype == torch.float32 else 8e-3
    for step in range(10):
        for optimizer, parameters in pairs:
            give_gradients(parameters, step)
            optimizer.step()
        for left, right in zip(ours, theirs, strict=True):
            assert (left - right).abs().max() <= tolerance * right.abs().max(), step
    assert not torch.equal(ours[1], torch.zeros_like(ours[1]))


def test_adafactors_first_step_has_the_size_of_the_rate():
    """With one gradient the second moment is its square: each number moves by the rate, in the gradient's sign."""
    weight = nn.Parameter(torch.zeros(3))
    optimizer = Adafactor([weight], lr=0.01)
    weight.grad = torch.tensor([5.0, -0.2, 0.001])
    optimizer.step()
    assert weight.tolist() == pytest.approx([-0.01, 0.01, -0.01], rel=1e-5)


# ---------------------------------------------------------------------------------------------------- the registry


def test_the_registry_has_exactly_what_the_settings_offer():
    assert tuple(KINDS) == OPTIMIZERS


@pytest.mark.parametrize("optimizer_type", OPTIMIZERS)
def test_every_accepted_argument_is_one_of_the_class(optimizer_type):
    installed(optimizer_type)
    parameters = small_adapters()
    given = [f"{name}={value!r}" for name, value in accepted_arguments(optimizer_type).items() if value != math.inf]
    settings = OptimizerSettings(optimizer_type=optimizer_type, learning_rate="1.0", optimizer_args=given)
    group = make_optimizer(settings, two_groups(parameters, 1.0)).param_groups[0]
    assert group["lr"] == 1.0
    if "weight_decay" in accepted_arguments(optimizer_type):
        changed = OptimizerSettings(
            optimizer_type=optimizer_type, learning_rate="1.0", optimizer_args=["weight_decay=0.25"]
        )
        assert make_optimizer(changed, two_groups(parameters, 1.0)).param_groups[0]["weight_decay"] == 0.25


@pytest.mark.parametrize(
    ("optimizer_type", "arguments", "code"),
    [
        ("AdamW", ["weight_decay"], "optimizer.argument_form"),
        ("AdamW", ["=3"], "optimizer.argument_form"),
        ("AdamW", ["momentum=0.9"], "optimizer.argument_unknown"),
        ("AdamW", ["lr=1"], "optimizer.argument_unknown"),
        ("AdamW", ["params=()"], "optimizer.argument_unknown"),
        ("AdamW", ["weight_decay=0.1", "weight_decay=0.2"], "optimizer.argument_twice"),
        ("AdamW", ["weight_decay=strong"], "optimizer.argument_value"),
        ("AdamW", ["weight_decay=__import__('os')"], "optimizer.argument_value"),
        ("AdamW", ["weight_decay='0.1'"], "optimizer.argument_value"),
        ("AdamW", ["weight_decay=True"], "optimizer.argument_value"),
        ("AdamW", ["amsgrad=1"], "optimizer.argument_value"),
        ("AdamW", ["betas=0.9"], "optimizer.argument_value"),
        ("AdamW", ["betas=0.9,0.99,0.999"], "optimizer.argument_value"),
        ("AdamW", ["betas=0.9,None"], "optimizer.argument_value"),
        ("Adafactor", ["beta1='x'"], "optimizer.argument_value"),
        ("AdamW", ["betas=0.9,2.0"], "optimizer.refused"),
        ("Adafactor", ["warmup_init=True"], "optimizer.refused"),
        ("Adafactor", ["clip_threshold=0"], "optimizer.refused"),
        ("Lion", ["betas=0.9,-1"], "optimizer.refused"),
        ("SuperAdam", [], "optimizer.unknown"),
    ],
)
def test_wrong_arguments_are_refused_by_name(optimizer_type, arguments, code):
    settings = OptimizerSettings(optimizer_type=optimizer_type, optimizer_args=arguments)
    with pytest.raises(UserError) as caught:
        make_optimizer(settings, two_groups(small_adapters()))
    assert caught.value.code == code
    assert caught.value.text("en") != caught.value.text("zh-CN")
    if code == "optimizer.argument_unknown":
        assert "weight_decay" in caught.value.remedy()


def test_arguments_are_read_as_literals():
    settings = OptimizerSettings(
        optimizer_type="Adafactor", optimizer_args=["beta1=0.9", "eps=[1e-30, 1]", "scale_parameter=True"]
    )
    assert parse_arguments(settings) == {"beta1": 0.9, "eps": (1e-30, 1), "scale_parameter": True}


def test_a_missing_package_is_named_with_the_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "prodigyopt", None)
    with pytest.raises(UserError) as caught:
        make_optimizer(OptimizerSettings(optimizer_type="Prodigy", learning_rate="1"), two_groups(small_adapters()))
    assert caught.value.code == "optimizer.package"
    assert "pip install prodigyopt" in caught.value.text("en") and "pip install prodigyopt" in caught.value.text(
        "zh-CN"
    )


def test_rates_go_to_the_groups_by_name():
    optimizer = make_optimizer(OptimizerSettings(), two_groups(small_adapters(), rate=0.0))
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0]
    set_rates(optimizer, {"unet": 1e-4, "text_encoder": 5e-5})
    assert {group["name"]: group["lr"] for group in optimizer.param_groups} == {"unet": 1e-4, "text_encoder": 5e-5}


def test_adaptive_optimizers_take_one_rate():
    installed("Prodigy")
    settings = OptimizerSettings(optimizer_type="Prodigy", learning_rate="1.0", text_encoder_lr="0.5")
    with pytest.raises(UserError) as caught:
        make_optimizer(settings, two_groups(small_adapters()))
    assert (caught.value.code, caught.value.where) == ("optimizer.one_rate", "text_encoder_lr")
    alone = [{"name": "unet", "params": small_adapters(), "lr": 1.0}]
    assert len(make_optimizer(settings, alone).param_groups) == 1


def test_unexpected_effects_are_said():
    cases = {
        "optimizer.low_rate": OptimizerSettings(optimizer_type="Prodigy"),
        "optimizer.rates_ignored": OptimizerSettings(optimizer_type="Adafactor", optimizer_args=["relative_step=True"]),
    }
    for code, settings in cases.items():
        (note,) = optimizer_notes(settings)
        assert note.code == code and message(code, "zh-CN", **note.values) != message(code, "en", **note.values)
    assert optimizer_notes(OptimizerSettings(optimizer_type="Prodigy", learning_rate="1.0")) == []
    assert optimizer_notes(OptimizerSettings()) == []


# ---------------------------------------------------------------------------------------------- resume and two modes


def run_steps(settings, parameters, optimizer, first, last):
    adaptive = KINDS[settings.optimizer_type].adaptive
    train_mode(optimizer)
    for step in range(first, last):
        give_gradients(parameters, step)
        warmup = min(1.0, step / 3)  # begins at a rate of zero, as a warm-up does
        rate = (1.0 if adaptive else 1e-3) * warmup
        set_rates(optimizer, {"unet": rate, "text_encoder": rate if adaptive else rate / 2})
        optimizer.step()


RESUMED = [
    *((name, ()) for name in OPTIMIZERS),
    ("AdamW", ("amsgrad=True",)),
    ("AdamW8bit", ("min_8bit_size=1",)),
    ("Adafactor", ("beta1=0.9", "scale_parameter=True")),
    ("Adafactor", ("relative_step=True", "warmup_init=True")),
    ("Prodigy", ("weight_decay=0.01", "safeguard_warmup=True", "growth_rate=1.02", "slice_p=3", "beta3=0.99")),
    ("DAdaptAdam", ("decouple=True", "use_bias_correction=True", "growth_rate=1.02")),
    ("DAdaptSGD", ("momentum=0.9",)),
    ("DAdaptAdaGrad", ("momentum=0.9",)),
    ("AdamWScheduleFree", ("warmup_steps=4", "foreach=False")),
]


@pytest.mark.parametrize(("optimizer_type", "arguments"), RESUMED, ids=lambda value: str(value).replace("()", ""))
def test_resuming_is_bit_exact(optimizer_type, arguments):
    installed(optimizer_type)
    settings = OptimizerSettings(optimizer_type=optimizer_type, learning_rate="1.0", optimizer_args=list(arguments))
    whole = small_adapters()
    start = [parameter.detach().clone() for parameter in whole]
    run_steps(settings, whole, make_optimizer(settings, two_groups(whole, 0.0)), 0, 10)

    first = small_adapters()
    optimizer = make_optimizer(settings, two_groups(first, 0.0))
    run_steps(settings, first, optimizer, 0, 6)
    tensors, scalars = optimizer_state(optimizer)
    kept = {key: tensor.clone() for key, tensor in tensors.items()}
    file, text = save(kept), json.dumps(scalars, allow_nan=False)

    second = small_adapters()
    for fresh, stopped in zip(second, first, strict=True):
        fresh.data.copy_(stopped.data)
    resumed = make_optimizer(settings, two_groups(second, 0.0))
    load_optimizer_state(resumed, load(file), json.loads(text))
    again, again_scalars = optimizer_state(resumed)
    assert again.keys() == kept.keys() and all(torch.equal(again[key], kept[key]) for key in kept)
    assert all(again[key].dtype == kept[key].dtype for key in kept)
    assert again_scalars == scalars
    run_steps(settings, second, resumed, 6, 10)
    for straight, stopped_once, begun in zip(whole, second, start, strict=True):
        assert torch.equal(straight, stopped_once)
        assert torch.isfinite(straight).all()
        assert not torch.equal(straight, begun)


def test_loading_copies_the_tensors():
    parameters = small_adapters()
    optimizer = make_optimizer(OptimizerSettings(), two_groups(parameters))
    run_steps(OptimizerSettings(), parameters, optimizer, 0, 2)
    tensors, scalars = optimizer_state(optimizer)
    tensors = {key: tensor.clone() for key, tensor in tensors.items()}
    before = {key: tensor.clone() for key, tensor in tensors.items()}
    load_optimizer_state(optimizer, tensors, scalars)
    run_steps(OptimizerSettings(), parameters, optimizer, 2, 4)
    assert all(torch.equal(tensors[key], before[key]) for key in before)


def test_another_optimizers_state_is_refused():
    parameters = small_adapters()
    tensors, scalars = optimizer_state(make_optimizer(OptimizerSettings(), two_groups(parameters)))
    with pytest.raises(UserError) as caught:
        load_optimizer_state(
            make_optimizer(OptimizerSettings(optimizer_type="Lion"), two_groups(parameters)), tensors, scalars
        )
    assert caught.value.code == "optimizer.state_other"
    with pytest.raises(UserError) as caught:
        fewer = [{"name": "unet", "params": parameters, "lr": 1e-3}]
        load_optimizer_state(make_optimizer(OptimizerSettings(), fewer), tensors, scalars)
    assert caught.value.code == "optimizer.state_mismatch"
    with pytest.raises(UserError) as caught:
        same = make_optimizer(OptimizerSettings(), two_groups(parameters))
        load_optimizer_state(same, {"7.0.exp_avg": torch.zeros(1)}, scalars)
    assert caught.value.code == "optimizer.state_mismatch"


def test_a_state_that_json_cannot_hold_is_an_error():
    parameters = small_adapters()
    optimizer = make_optimizer(OptimizerSettings(), two_groups(parameters))
    optimizer.state[parameters[0]] = {"odd": object()}
    with pytest.raises(TypeError, match=r"0\.0\.odd"):
        optimizer_state(optimizer)


@pytest.mark.parametrize("optimizer_type", ["AdamW", "AdamWScheduleFree", "RAdamScheduleFree"])
def test_looking_at_a_run_does_not_change_it(optimizer_type):
    installed(optimizer_type)
    settings = OptimizerSettings(optimizer_type=optimizer_type)
    looked_at, alone = small_adapters(), small_adapters()
    first, second = (make_optimizer(settings, two_groups(group)) for group in (looked_at, alone))
    eval_mode(first)  # before the first step, as for a first sample
    train_mode(first)
    for step in range(8):
        run_steps(settings, looked_at, first, step, step + 1)
        run_steps(settings, alone, second, step, step + 1)
        training = [parameter.detach().clone() for parameter in looked_at]
        eval_mode(first)
        eval_mode(first)
        averaged = [parameter.detach().clone() for parameter in looked_at]
        train_mode(first)
        assert all(torch.equal(left, right) for left, right in zip(looked_at, training, strict=True))
    changes = any(not torch.equal(left, right) for left, right in zip(averaged, training, strict=True))
    assert changes == (optimizer_type != "AdamW")
    assert all(torch.equal(left, right) for left, right in zip(looked_at, alone, strict=True))
