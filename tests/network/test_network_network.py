"""The network as a whole: parts, groups, loading, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lib_lora_train.errors import UserError
from lib_lora_train.network.network import AdapterNetwork, sizes_of
from lib_lora_train.network.sites import Site
from lib_lora_train.settings.tables import NetworkSettings

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
SETTINGS = NetworkSettings(network_dim=4, network_alpha=2.0)


def sites() -> list[Site]:
    return [
        Site("lora_te_a", nn.Linear(6, 6).requires_grad_(False), "linear", 6, 6, "text_encoder"),
        Site("lora_unet_b", nn.Conv2d(6, 8, 1).requires_grad_(False), "conv", 6, 8, "unet"),
        Site("lora_unet_c", nn.Linear(8, 6).requires_grad_(False), "linear", 8, 6, "unet"),
    ]


class Start:
    """A file to start from."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self.name = "old.safetensors"
        self.tensors = tensors
        self.sizes = sizes_of(tensors)


def filled(settings: NetworkSettings = SETTINGS, seed: int = 1) -> AdapterNetwork:
    network = AdapterNetwork(sites(), settings, seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data.normal_(generator=generator)
    return network


def test_names_shapes_and_order_are_kohyas():
    shapes = {name: tuple(tensor.shape) for name, tensor in filled().state_dict().items()}
    assert list(shapes.items()) == [
        ("lora_te_a.alpha", ()), ("lora_te_a.lora_down.weight", (4, 6)), ("lora_te_a.lora_up.weight", (6, 4)),
        ("lora_unet_b.alpha", ()), ("lora_unet_b.lora_down.weight", (4, 6, 1, 1)), ("lora_unet_b.lora_up.weight", (8, 4, 1, 1)),
        ("lora_unet_c.alpha", ()), ("lora_unet_c.lora_down.weight", (4, 8)), ("lora_unet_c.lora_up.weight", (6, 4)),
    ]  # fmt: skip


def test_components_are_chosen_counted_and_grouped():
    network = filled()
    assert network.counts() == {"text_encoder": 1, "unet": 2}
    groups = network.parameter_groups()
    assert list(groups) == ["text_encoder", "unet"]
    assert [len(group) for group in groups.values()] == [2, 4]
    assert sum(p.numel() for p in network.parameters()) == 4 * (12 + 14 + 14)
    unet = AdapterNetwork(sites(), NetworkSettings(network_train_unet_only=True), 1)
    assert (unet.counts(), list(unet.parameter_groups())) == ({"text_encoder": 0, "unet": 2}, ["unet"])
    text = AdapterNetwork(sites(), NetworkSettings(network_train_text_encoder_only=True), 1)
    assert list(text.adapters) == ["lora_te_a"]
    with pytest.raises(UserError) as error:
        AdapterNetwork(sites(), NetworkSettings(network_train_unet_only=True, network_train_text_encoder_only=True), 1)
    assert error.value.code == "network.nothing_to_train"


def test_a_gradient_at_either_matrix_counts():
    network = filled()
    assert network.missing_gradients() == list(network.adapters)
    a, b, c = network.adapters.values()
    a.lora_up.grad = torch.zeros_like(a.lora_up)
    a.lora_down.grad = torch.zeros_like(a.lora_down)
    b.lora_up.grad = torch.zeros_like(b.lora_up)
    b.lora_up.grad[3, 2] = 1e-20
    c.lora_down.grad = torch.full_like(c.lora_down, -1e-9)
    assert network.missing_gradients() == ["lora_te_a"]
    assert network.missing_gradients(unread={"lora_te_a"}) == []


def test_the_first_gradient_is_at_lora_up_alone():
    network = AdapterNetwork(sites(), SETTINGS, 1)
    _, conv, _ = (site.module for site in sites())
    adapter = network.adapters["lora_unet_b"]
    with network.attached():
        adapter.site.module(torch.randn(2, 6, 3, 3)).square().sum().backward()
    assert conv is not adapter.site.module
    assert adapter.lora_down.grad.abs().max() == 0
    assert adapter.lora_up.grad.abs().max() > 0
    assert network.missing_gradients() == ["lora_te_a", "lora_unet_c"]


def test_load_is_the_inverse_of_state_dict_bit_for_bit():
    network, other = filled(NetworkSettings(network_dim=4, network_alpha=0.1)), filled(seed=2)
    identities = [id(parameter) for parameter in other.parameters()]
    other.load({name: tensor.clone() for name, tensor in network.state_dict().items()})
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
    assert [id(parameter) for parameter in other.parameters()] == identities
    assert [a.scale for a in other.adapters.values()] == [a.scale for a in network.adapters.values()]


def test_the_files_alpha_wins_and_a_missing_one_is_the_rank():
    tensors = filled(NetworkSettings(network_dim=4, network_alpha=3.0)).state_dict()
    del tensors["lora_unet_b.alpha"]
    tensors["lora_unet_c.alpha"] = torch.tensor(0.0)
    network = filled()
    network.load(tensors)
    assert [adapter.alpha for adapter in network.adapters.values()] == [3.0, 4.0, 4.0]
    assert network.alpha is None
    assert network.dim == 4


def test_matrices_and_kernels_are_read_alike():
    network = filled()
    tensors = network.state_dict()
    flat = {name: tensor.flatten(1) if tensor.dim() == 4 else tensor for name, tensor in tensors.items()}
    kernels = {name: tensor[..., None, None] if tensor.dim() == 2 else tensor for name, tensor in tensors.items()}
    for written in (flat, kernels):
        other = filled(seed=2)
        other.load(written)
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


def broken(change: str) -> dict[str, torch.Tensor]:
    tensors = {name: tensor.clone() for name, tensor in filled().state_dict().items()}
    if change == "unknown":
        tensors["lora_unet_x.lora_up.weight"] = torch.zeros(2, 2)
    if change == "missing":
        del tensors["lora_unet_c.lora_up.weight"]
    if change == "rank":
        tensors["lora_te_a.lora_down.weight"] = torch.zeros(8, 6)
    if change == "shape":
        tensors["lora_unet_b.lora_up.weight"] = torch.zeros(5, 4)
    if change == "kernel":
        tensors["lora_unet_b.lora_down.weight"] = torch.zeros(4, 6, 3, 3)
    if change == "dimensions":
        tensors["lora_unet_b.lora_down.weight"] = torch.zeros(4)
    return tensors


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        ("unknown", "network.unknown_keys", "lora_unet_x.lora_up.weight"),
        ("missing", "network.missing_keys", "lora_unet_c.lora_up.weight"),
        ("rank", "network.rank_differs", "rank 8"),
        ("shape", "network.shape_differs", "5x4"),
        ("kernel", "network.shape_differs", "4x6x3x3"),
        ("dimensions", "network.shape_differs", "lora_unet_b.lora_down.weight"),
    ],
)
def test_what_does_not_fit_is_refused_and_named_and_changes_nothing(change, code, named):
    network = filled(seed=2)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    with pytest.raises(UserError) as error:
        network.load(broken(change), "old.safetensors")
    assert error.value.code == code
    assert named in error.value.text()
    assert "old.safetensors" in error.value.text()
    assert error.value.remedy("zh-CN") != error.value.remedy()
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_starting_from_a_file_takes_its_weights_and_on_request_its_ranks():
    tensors = dict(filled().state_dict())
    start = Start(tensors)
    network = AdapterNetwork(sites(), SETTINGS, 9, start=start)
    assert torch.equal(network.adapters["lora_te_a"].lora_up, tensors["lora_te_a.lora_up.weight"])
    with pytest.raises(UserError) as error:
        AdapterNetwork(sites(), NetworkSettings(network_dim=8), 9, start=start)
    assert (error.value.code, error.value.values["found"], error.value.values["rank"]) == ("network.rank_differs", 4, 8)

    tensors["lora_te_a.lora_down.weight"] = torch.ones(2, 6)
    tensors["lora_te_a.lora_up.weight"] = torch.ones(6, 2)
    del tensors["lora_unet_c.alpha"], tensors["lora_unet_c.lora_down.weight"], tensors["lora_unet_c.lora_up.weight"]
    own = AdapterNetwork(sites(), NetworkSettings(network_dim=64, dim_from_weights=True), 9, start=Start(tensors))
    assert {key: (a.rank, a.alpha) for key, a in own.adapters.items()} == {
        "lora_te_a": (2, 2.0),
        "lora_unet_b": (4, 2.0),
    }
    assert own.dim is None


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
def test_moving_keeps_the_parameters_and_their_gradients(device):
    network = filled()
    parameter = network.adapters["lora_te_a"].lora_up
    values = parameter.detach().clone()
    parameter.grad = torch.ones_like(parameter)
    network.to(torch.device(device))
    assert network.adapters["lora_te_a"].lora_up is parameter
    assert parameter.device.type == parameter.grad.device.type == device
    assert parameter.dtype == torch.float32
    assert torch.equal(parameter.cpu(), values)
