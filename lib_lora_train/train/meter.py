"""Losses and gradient norms on their way from the device to the page, the metrics file and TensorBoard.

Reading a number from a GPU makes it wait. The meter keeps numbers on the device and reads several steps at once;
on a CPU it reads each step.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from lib_lora_train.errors import UserError
from lib_lora_train.files import write_text
from lib_lora_train.signals import EventSink, Log, Step, Validated
from lib_lora_train.train.state import Progress

VALIDATION = "validation.jsonl"  # beside the metrics: a line for each time that held back pictures were looked at
READ_EVERY = 10  # steps between readings of a GPU
SMOOTHING = 0.98  # share of the old value in the smoothed loss, once there are enough steps
_SLOW_FACTOR = 3.0  # a step this many times slower than the first ones points to spilled memory
_WINDOW = 20  # steps that a speed is measured over


@dataclass
class _Pending:
    step: int
    epoch: int
    loss: Tensor  # 0-dim, on the device
    gradient_norm: Tensor  # 0-dim, on the device
    rates: dict[str, float]
    finished: float  # time.monotonic()


class Meter:
    """Takes one entry per optimizer step; sends `Step` events and appends to `metrics.jsonl`."""

    def __init__(
        self,
        metrics: Path,
        logging_dir: str,
        events: EventSink,
        progress: Progress,
        total: tuple[int, int],
        device: torch.device,
    ) -> None:
        """`total` is (steps, epochs). `progress` carries the smoothed loss and the time over a stop."""
        self._events = events
        self._progress = progress
        self._total_steps, self._total_epochs = total
        self._device = device
        self._pending: list[_Pending] = []
        self._durations: list[float] = []
        self._first_pace: float | None = None
        self._spill_said = False
        self._last = time.monotonic()
        metrics.parent.mkdir(parents=True, exist_ok=True)
        self._validation = metrics.with_name(VALIDATION)
        for path in (metrics, self._validation):
            drop_steps_after(path, progress.step)
        self._file = metrics.open("a", encoding="utf-8")
        self._board = _tensorboard(logging_dir, metrics.parent.name, events)

    def restart_clock(self) -> None:
        """Called after anything that is not training (a sample, a save), so that the pace is the steps' own."""
        self._last = time.monotonic()

    def add(
        self, step: int, epoch: int, loss: Tensor, gradient_norm: Tensor, rates: dict[str, float], skipped: bool
    ) -> None:
        """One optimizer step. A step `skipped` for fp16 overflow counts, but its infinite norm is no fault."""
        if skipped:
            gradient_norm = torch.zeros_like(gradient_norm)
        self._pending.append(_Pending(step, epoch, loss, gradient_norm, rates, time.monotonic()))
        if self._device.type == "cpu" or len(self._pending) >= READ_EVERY:
            self.read()

    def add_validation(self, loss: float, pictures: int, key: str, file: str) -> None:
        """The loss on `pictures` held back ones, now. Losses with the same `key` can be compared; `file` is the LoRA that
        was written with these weights, "" before the first step. A loss that is not finite is said, and no fault: the
        training's own losses tell whether it is one."""
        progress = self._progress
        if not math.isfinite(loss):
            self._events(Log("train.validation_not_finite", {"step": progress.step}, "warning"))
            return
        event = Validated(progress.step, progress.epoch, loss, pictures, file)
        with self._validation.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({**asdict(event), "key": key}) + "\n")
        if self._board is not None:
            self._board.add_scalar("loss/validation", loss, progress.step)
        self._events(event)

    def read(self) -> None:
        """Reads what waits on the device, in one transfer.

        Raises UserError("train.non_finite") naming the first step whose loss or gradient is not finite.
        """
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        numbers = torch.stack([value.float() for item in pending for value in (item.loss, item.gradient_norm)]).tolist()
        # Steps queued on a GPU end together as far as we can see: their time is shared out evenly.
        pace = (
            pending[-1].finished - self._last if self._device.type == "cpu" else time.monotonic() - self._last
        ) / len(pending)
        self._last = time.monotonic()
        for item, loss, norm in zip(pending, numbers[0::2], numbers[1::2], strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                what = "loss" if not math.isfinite(loss) else "gradient"
                raise UserError(
                    "train.non_finite", "learning_rate", step=item.step, what=what, last_file=self._last_file()
                )
            self._tell(item, loss, norm, pace)
        self._watch_pace(pace, len(pending))
        self._file.flush()

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def _last_file(self) -> str:
        return self._progress.checkpoints[-1] if self._progress.checkpoints else "-"

    def _tell(self, item: _Pending, loss: float, norm: float, pace: float) -> None:
        progress = self._progress
        # The share of the old value grows with the steps seen, so that the first losses do not linger.
        share = min(SMOOTHING, item.step / (item.step + 5))
        progress.loss_smoothed = (
            loss if progress.loss_smoothed is None else progress.loss_smoothed * share + loss * (1 - share)
        )
        progress.elapsed += pace
        self._durations = [*self._durations[-_WINDOW + 1 :], pace]
        usual = statistics.fmean(self._durations)
        event = Step(
            step=item.step,
            total_steps=self._total_steps,
            epoch=item.epoch,
            total_epochs=self._total_epochs,
            loss=loss,
            loss_smoothed=progress.loss_smoothed,
            learning_rates=item.rates,
            gradient_norm=norm,
            steps_per_second=1 / usual if usual else 0.0,
            memory=memory_in_use(self._device),
            elapsed=progress.elapsed,
            remaining=(self._total_steps - item.step) * usual,
        )
        self._file.write(json.dumps(asdict(event)) + "\n")
        if self._board is not None:
            for name, value in {
                "loss/current": loss,
                "loss/average": progress.loss_smoothed,
                "gradient_norm": norm,
            }.items():
                self._board.add_scalar(name, value, item.step)
            for name, rate in item.rates.items():
                self._board.add_scalar(f"lr/{name}", rate, item.step)
        self._events(event)

    def _watch_pace(self, pace: float, count: int) -> None:
        """Windows moves GPU memory to RAM without a word when it runs short; steps then take many times longer."""
        if len(self._durations) < _WINDOW or count == 0:
            return
        if self._first_pace is None:
            self._first_pace = statistics.median(self._durations)
        recent = statistics.median(self._durations)
        if not self._spill_said and recent > _SLOW_FACTOR * self._first_pace:
            self._spill_said = True
            self._events(Log("train.slower", {"factor": round(recent / self._first_pace, 1)}, level="warning"))


def memory_in_use(device: torch.device) -> int:
    """Peak bytes: of the GPU's allocator on CUDA, of the process elsewhere (0 where the system does not tell)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if find_spec("resource") is None:  # Windows
        return 0
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def drop_steps_after(metrics: Path, step: int) -> None:
    """Removes lines of steps that a resumed run will do again, and a line cut by a kill."""
    if not metrics.exists():
        return
    kept = []
    for line in metrics.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError):
            continue
    write_text(metrics, "".join(line + "\n" for line in kept))


def _tensorboard(logging_dir: str, name: str, events: EventSink):
    """A TensorBoard writer, or None when not wanted or not installed (which is said)."""
    if not logging_dir:
        return None
    if find_spec("tensorboard") is None:
        events(Log("train.no_tensorboard", level="warning"))
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(Path(logging_dir) / name))
