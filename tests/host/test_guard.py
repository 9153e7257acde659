"""The guard sees every change, repairs what it can, and lets the first error through."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lib_lora_train.errors import UserError
from lib_lora_train.host.checksum import checksums
from lib_lora_train.host.guard import differences, guarded, repair, snapshot
from lib_lora_train.host.switches import read_switches, write_switches


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("table", torch.arange(5))

    def forward(self, x):
        return self.linear(x)


def _model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(Inner(), nn.Conv2d(3, 5, 3), nn.BatchNorm1d(4))
    return model.requires_grad_(False).eval()


@pytest.mark.parametrize("exact", [True, False])
def test_nothing_changed(exact):
    model = _model()
    before = snapshot({"unet": model}, exact)
    model[0](torch.zeros(2, 4))
    assert differences(before, snapshot({"unet": model}, exact)) == []


def _flip_one_bit(model):
    weight = model[1].weight
    weight.data.view(torch.int32)[2, 1, 0, 2] ^= 1


def _set_forward(model):
    model[0].forward = lambda x: x


def _set_class_forward(model):
    Inner.forward = lambda self, x: x


CHANGES = {
    "one bit": _flip_one_bit,
    "buffer": lambda m: m[0].table.data.add_(1),
    "swapped rows": lambda m: m[0].linear.weight.data.copy_(m[0].linear.weight.data[[1, 0, 2, 3]]),
    "dtype": lambda m: m[0].half(),
    "requires_grad": lambda m: m[0].linear.bias.requires_grad_(True),
    "gradient": lambda m: setattr(m[0].linear.bias, "grad", torch.zeros(4)),
    "training mode": lambda m: m[2].train(),
    "forward": _set_forward,
    "class forward": _set_class_forward,
    "hook": lambda m: m[0].register_forward_hook(lambda *a: None),
    "pre hook": lambda m: m[0].register_forward_pre_hook(lambda *a: None),
    "backward hook": lambda m: m[0].register_full_backward_hook(lambda *a: None),
    "state dict hook": lambda m: m[0]._register_state_dict_hook(lambda *a: None),
    "new child": lambda m: m[0].add_module("extra", nn.Identity()),
    "new parameter": lambda m: m[0].register_parameter("extra", nn.Parameter(torch.zeros(1))),
    "module replaced": lambda m: m.__setitem__(1, nn.Identity()),
}


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(change, exact):
    model = _model()
    original = Inner.forward
    before = snapshot({"unet": model}, exact)
    try:
        CHANGES[change](model)
        assert differences(before, snapshot({"unet": model}, exact))
    finally:
        Inner.forward = original


def test_a_write_that_changes_nothing_is_seen_by_the_counter():
    model = _model()
    before = snapshot({"unet": model})
    model[1].weight.mul_(1.0)
    assert differences(before, snapshot({"unet": model})) == ["tensor unet.1.weight: was written to"]


def test_exact_looks_at_bits_only():
    model = _model()
    before = snapshot({"unet": model}, exact=True)
    model[1].weight.mul_(1.0)
    assert differences(before, snapshot({"unet": model}, exact=True)) == []


def test_without_versions_the_bits_alone_count():
    model = _model()
    before = snapshot({"unet": model}, versions=False)
    model[1].weight.mul_(1.0)
    assert differences(before, snapshot({"unet": model}, versions=False)) == []
    _flip_one_bit(model)
    assert differences(before, snapshot({"unet": model}, versions=False)) == ["tensor unet.1.weight: other content"]


def test_without_classes_only_the_instances_forwards_count():
    model = _model()
    original = Inner.forward
    before = snapshot({"unet": model}, classes=False)
    try:
        _set_class_forward(model)
        assert differences(before, snapshot({"unet": model}, classes=False)) == []
        _set_forward(model)
        assert differences(before, snapshot({"unet": model}, classes=False))
    finally:
        Inner.forward = original


@pytest.mark.parametrize("options", [{}, {"versions": False}, {"classes": False}])
def test_guarded_compares_by_the_same_rules(options):
    model, original, codes = _model(), Inner.forward, []
    try:
        with guarded({"unet": model}, events=lambda event: codes.append(event.code), **options):
            model[1].weight.mul_(1.0)
            _set_class_forward(model)
    except UserError as error:
        codes.append(error.values["list"])
    finally:
        Inner.forward = original
    seen = " ".join(codes)
    assert ("was written to" in seen) == options.get("versions", True)
    assert ("forward was replaced" in seen) == options.get("classes", True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.bool])
@pytest.mark.parametrize("count", [1, 7, 8, 2**16 + 3, 2**17 + 8])
def test_checksum_sees_one_number(dtype, count):
    tensor = torch.zeros(count, dtype=dtype)
    seen = {checksums({"x": tensor})["x"]}
    for place in {0, count // 2, count - 1}:
        changed = tensor.clone()
        changed[place] = 1
        seen.add(checksums({"x": changed})["x"])
    assert len(seen) == 1 + len({0, count // 2, count - 1})


def test_checksum_does_not_depend_on_memory_layout():
    tensor = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)
    shifted = torch.cat([torch.zeros(1), tensor.flatten()])[1:].reshape(tensor.shape)
    last = tensor.to(memory_format=torch.channels_last)
    assert len(set(checksums({"a": tensor, "b": shifted, "c": last}).values())) == 1


def test_snapshot_takes_inference_and_meta_tensors():
    with torch.inference_mode():
        made = nn.Linear(2, 2)
    model = nn.ModuleDict({"a": made, "b": nn.Linear(2, 2, device="meta")})
    assert differences(snapshot({"x": model}), snapshot({"x": model})) == []


def test_repair_puts_back_all_but_weights():
    model = _model()
    model[0].linear.bias.requires_grad_(True)
    kept = model[0].register_forward_hook(lambda *a: None)
    before = snapshot({"unet": model}, exact=True)
    for change in ("gradient", "training mode", "forward", "hook", "pre hook", "backward hook"):
        CHANGES[change](model)
    model.train().requires_grad_(False)
    model[1].weight.requires_grad_(True)
    with torch.autocast("cpu"):
        threads = torch.get_num_threads()
        torch.use_deterministic_algorithms(True)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        repaired = repair({"unet": model}, before)
    assert {"switch grad mode", "switch default dtype", "switch deterministic algorithms"} <= set(repaired)
    assert torch.get_num_threads() == threads
    assert differences(before, snapshot({"unet": model}, exact=True)) == []
    assert kept.id in model[0]._forward_hooks


def test_switches_read_back_what_was_written():
    before = read_switches()
    other = {
        "grad mode": False,
        "autocast cpu": True,
        "matmul precision": "high",
        "cudnn benchmark": not before["cudnn benchmark"],
        "deterministic algorithms": (True, True),
        "default dtype": torch.float16,
        "flush denormals": not before["flush denormals"],
        "plain attention": False,
    }
    try:
        write_switches(other)
        now = read_switches()
    finally:
        write_switches(before)
    assert {name: now[name] for name in other} == other
    assert read_switches() == before


def test_guarded_reports_changed_weights():
    model, damaged = _model(), []
    with pytest.raises(UserError) as caught, guarded({"unet": model}, on_damage=lambda: damaged.append(1)):
        _flip_one_bit(model)
    assert caught.value.code == "guard.changed"
    assert "unet.1.weight" in caught.value.sentence()
    assert damaged == [1]


def test_guarded_lets_the_own_error_through():
    model, events, damaged = _model(), [], []
    with (
        pytest.raises(ZeroDivisionError),
        guarded({"unet": model}, events=events.append, on_damage=lambda: damaged.append(1)),
    ):
        _flip_one_bit(model)
        raise ZeroDivisionError
    assert [event.code for event in events] == ["guard.changed_after_error"]
    assert damaged == [1]


def test_guarded_says_what_it_repaired():
    model, events = _model(), []
    with guarded({"unet": model}, exact=True, events=events.append):
        model.train()
    assert [event.code for event in events] == ["guard.repaired"]
    assert not any(module.training for module in model.modules())
