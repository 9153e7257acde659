"""Pure comparisons of two sets of figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Check:
    """One figure and the bound it must stay within; without a bound it is told and judged by nobody."""

    name: str
    value: float
    bound: float | None = None

    @property
    def holds(self) -> bool:
        return self.bound is None or self.value <= self.bound  # NaN is in no bound


def relative(ours: Tensor, theirs: Tensor) -> float:
    """Length of the difference by the length of `theirs`."""
    scale = theirs.double().norm()
    difference = (ours.double() - theirs.double()).norm()
    return float(difference / scale) if scale else float(difference)


def worst_relative(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """The largest `relative` among tensors of the same name; both must have the same names."""
    return max(relative(ours[name], theirs[name]) for name in theirs)


def overall_relative(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """`relative` of all tensors together."""
    difference = sum(float((ours[name].double() - theirs[name].double()).square().sum()) for name in theirs)
    scale = sum(float(theirs[name].double().square().sum()) for name in theirs)
    return (difference / scale) ** 0.5 if scale else difference**0.5


def worst_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The largest relative difference of two rows of numbers, infinite when they differ in length."""
    if len(ours) != len(theirs):
        return float("inf")
    return max(abs(mine - other) / abs(other) for mine, other in zip(ours, theirs, strict=True))


def layout_differences(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> list[str]:
    """Names that only one side has, and tensors whose shape or number format differs."""
    found = [f"only ours: {name}" for name in ours if name not in theirs]
    found += [f"only theirs: {name}" for name in theirs if name not in ours]
    for name, tensor in theirs.items():
        if name in ours and (ours[name].shape != tensor.shape or ours[name].dtype != tensor.dtype):
            found.append(f"{name}: {_kind(ours[name])} for {_kind(tensor)}")
    return found


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def metadata_differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> dict[str, list[str]]:
    """Names of metadata entries that only one side writes."""
    return {"only_ours": sorted(ours.keys() - theirs.keys()), "only_theirs": sorted(theirs.keys() - ours.keys())}
