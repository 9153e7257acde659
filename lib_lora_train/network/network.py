"""All adapters of a run: made, attached, trained, taken off, written out and read back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from lib_lora_train.errors import UserError
from lib_lora_train.network.modules import Adapter, NetworkState
from lib_lora_train.network.sites import Site
from lib_lora_train.settings.tables import NetworkSettings

COMPONENTS = ("text_encoder", "unet")
_PARTS = ("alpha", "lora_down.weight", "lora_up.weight")


class StartFile(Protocol):
    """What a network needs of the LoRA file it starts from; `files.LoraFile` is one."""

    @property
    def name(self) -> str: ...

    @property
    def tensors(self) -> Mapping[str, Tensor]: ...

    @property
    def sizes(self) -> Mapping[str, tuple[int, float]]: ...


class AdapterNetwork:
    """One adapter for each site, in the order of the sites, which is kohya's.

    The start weights follow from (`seed`, key) alone, or are those of the file `start`. With `dim_from_weights` in
    the settings, rank and alpha are the file's as well, for each adapter its own, and sites the file does not name
    get none; otherwise every site has the settings' rank. Raises UserError("network.nothing_to_train") when this
    leaves no site, and the errors of `load` for a file that does not fit.
    """

    def __init__(
        self, sites: Sequence[Site], settings: NetworkSettings, seed: int, start: StartFile | None = None
    ) -> None:
        left_out = set()
        if settings.network_train_unet_only:
            left_out.add("text_encoder")
        if settings.network_train_text_encoder_only:
            left_out.add("unet")
        self.state = NetworkState(settings.network_dropout, settings.rank_dropout, settings.module_dropout)
        sizes = start.sizes if start is not None and settings.dim_from_weights else None
        self.adapters: dict[str, Adapter] = {}
        for site in sites:
            if site.component in left_out or (sizes is not None and site.key not in sizes):
                continue
            rank, alpha = (settings.network_dim, settings.network_alpha) if sizes is None else sizes[site.key]
            # Drawing what a file then replaces takes longer than reading the file.
            self.adapters[site.key] = Adapter(site, rank, alpha, self.state, seed if sizes is None else None)
        if not self.adapters:
            raise UserError("network.nothing_to_train", "network_train_unet_only")
        if start is not None:
            self.load(start.tensors, start.name)

    @property
    def sites(self) -> list[Site]:
        """The sites that have an adapter."""
        return [adapter.site for adapter in self.adapters.values()]

    @property
    def dim(self) -> int | None:
        """The rank, None when adapters differ in it."""
        ranks = {adapter.rank for adapter in self.adapters.values()}
        return ranks.pop() if len(ranks) == 1 else None

    @property
    def alpha(self) -> float | None:
        """The alpha, None when adapters differ in it."""
        alphas = {adapter.alpha for adapter in self.adapters.values()}
        return alphas.pop() if len(alphas) == 1 else None

    @property
    def multiplier(self) -> float:
        """Weight of the adapters; 0 is exactly the model without them."""
        return self.state.multiplier

    @multiplier.setter
    def multiplier(self, value: float) -> None:
        self.state.multiplier = value

    def train(self, training: bool = True) -> None:
        """Dropout acts in training mode only."""
        self.state.training = training

    def eval(self) -> None:
        """Dropout off, as for pictures."""
        self.train(False)

    def set_step(self, generator: torch.Generator) -> None:
        """Draws the seed of this step's dropout masks; to be called before each forward pass that trains."""
        self.state.step_seed = int(torch.randint(0, 2**63 - 1, (1,), generator=generator).item())

    def attach(self) -> None:
        """Puts all adapters on their layers, or none when one fails."""
        try:
            for adapter in self.adapters.values():
                adapter.attach()
        except BaseException:
            self.detach()
            raise

    def detach(self) -> None:
        """Takes all adapters off; every layer is then as it was. Does nothing when they are off."""
        for adapter in self.adapters.values():
            adapter.detach()

    @contextmanager
    def attached(self) -> Iterator[AdapterNetwork]:
        """Attached inside the block, off again on every way out of it."""
        self.attach()
        try:
            yield self
        finally:
            self.detach()

    @contextmanager
    def weighted(self, multiplier: float) -> Iterator[AdapterNetwork]:
        """Another multiplier inside the block, 0 for a picture without the adapters."""
        before = self.multiplier
        self.multiplier = multiplier
        try:
            yield self
        finally:
            self.multiplier = before

    def to(self, device: torch.device | str) -> AdapterNetwork:
        """Moves the weights (and gradients); they stay the same Parameter objects, and fp32."""
        for parameter in self.parameters():
            parameter.data = parameter.data.to(device)
            if parameter.grad is not None:
                parameter.grad.data = parameter.grad.data.to(device)
        return self

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """All trained tensors under their names in a file, in a fixed order."""
        return {
            f"{key}.{part}": _weight(adapter, part) for key, adapter in self.adapters.items() for part in _PARTS[1:]
        }

    def parameters(self) -> list[nn.Parameter]:
        """All trained tensors in the order of `named_parameters`."""
        return list(self.named_parameters().values())

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The trained tensors by component, text encoder first; components without adapters are left out."""
        groups: dict[str, list[nn.Parameter]] = {}
        for component in COMPONENTS:
            for adapter in self.adapters.values():
                if adapter.site.component == component:
                    groups.setdefault(component, []).extend((adapter.lora_down, adapter.lora_up))
        return groups

    def counts(self) -> dict[str, int]:
        """Number of adapters by component."""
        components = [adapter.site.component for adapter in self.adapters.values()]
        return {component: components.count(component) for component in COMPONENTS}

    def missing_gradients(self, unread: Collection[str] = ()) -> list[str]:
        """Keys of adapters that got no gradient but zero, those in `unread` (see `keys.unread_keys`) excepted.

        At the start `lora_up` is zero and with it the gradient of `lora_down`, so one of the two suffices.
        """
        expected = [adapter for key, adapter in self.adapters.items() if key not in unread]
        flags = [_has_gradient(adapter.lora_up) | _has_gradient(adapter.lora_down) for adapter in expected]
        received = torch.stack(flags).tolist() if flags else []  # one transfer for all of them
        return [adapter.site.key for adapter, got in zip(expected, received, strict=True) if not got]

    def state_dict(self) -> dict[str, Tensor]:
        """Detached fp32 tensors under kohya's keys, in kohya's order and shapes; they share the trained memory."""
        tensors: dict[str, Tensor] = {}
        for key, adapter in self.adapters.items():
            tensors[f"{key}.alpha"] = torch.tensor(adapter.alpha, dtype=torch.float32)
            tensors[f"{key}.lora_down.weight"] = adapter.lora_down.detach()
            tensors[f"{key}.lora_up.weight"] = adapter.lora_up.detach()
        return tensors

    def load(self, tensors: Mapping[str, Tensor], where: str = "") -> None:
        """Copies weights in, all or none. An alpha in the file replaces ours, so that the file means what it meant.

        Keys must be exactly ours, only `alpha` may be missing (it is then the rank). A linear layer may stand as a 1x1
        convolution, as in those SD2 files of kohya's that were trained on a single-file checkpoint, or the other way
        round. `where` names the file. Raises UserError with code
        network.unknown_keys, network.missing_keys, network.rank_differs or network.shape_differs.
        """
        known = {f"{key}.{part}" for key in self.adapters for part in _PARTS}
        if foreign := [name for name in tensors if name not in known]:
            raise UserError("network.unknown_keys", where, count=len(foreign), first=foreign[0])
        needed = self.named_parameters()
        if absent := [name for name in needed if name not in tensors]:
            raise UserError("network.missing_keys", where, count=len(absent), first=absent[0])
        for name, weight in needed.items():
            _check_shape(name, tensors[name], weight, where)
        with torch.no_grad():
            for name, weight in needed.items():
                weight.copy_(tensors[name].reshape(weight.shape))
        for key, (_, alpha) in sizes_of(tensors).items():
            self.adapters[key].set_alpha(alpha)


def sizes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, float]]:
    """(rank, alpha) of each adapter in a file's tensors; an alpha that is missing or 0 means the rank, as at kohya's."""
    sizes = {}
    for name, tensor in tensors.items():
        key, _, part = name.partition(".")
        if part == "lora_down.weight":
            rank = tensor.shape[0]
            sizes[key] = (rank, float(tensors.get(f"{key}.alpha", 0)) or float(rank))
    return sizes


def _weight(adapter: Adapter, part: str) -> nn.Parameter:
    return adapter.lora_down if part == "lora_down.weight" else adapter.lora_up


def _check_shape(name: str, tensor: Tensor, weight: Tensor, where: str) -> None:
    """Same matrix, whether or not it is written with the two sides of a 1x1 kernel."""
    shape = tuple(tensor.shape)
    if len(shape) in (2, 4):
        if shape[:2] == tuple(weight.shape[:2]) and all(side == 1 for side in shape[2:]):
            return
        side = 0 if name.endswith("lora_down.weight") else 1
        found, rank = shape[side], weight.shape[side]
        if found != rank:
            raise UserError("network.rank_differs", where, name=name, found=found, rank=rank)
    expected = "x".join(map(str, weight.shape))
    raise UserError("network.shape_differs", where, name=name, shape="x".join(map(str, shape)), expected=expected)


def _has_gradient(parameter: nn.Parameter) -> Tensor:
    """A boolean 0-dim tensor on the parameter's device."""
    if parameter.grad is None:
        return torch.zeros((), dtype=torch.bool, device=parameter.device)
    return parameter.grad.ne(0).any()
