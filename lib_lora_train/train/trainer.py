"""The training run, to be read from top to bottom: `Trainer.run`, then what it calls, in order.

It knows neither page nor command line: it sends events, obeys commands, and sees the model through the host
protocol. Nothing here keeps a random state; a run's position says it all (`train/state.py`).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lib_lora_train.dataset.batches import Showing, batches_per_epoch, epoch_batches, fixed_captions, make_batch
from lib_lora_train.dataset.captions import captions_vary
from lib_lora_train.dataset.folders import scan
from lib_lora_train.dataset.latents import LatentCache, cache_latents
from lib_lora_train.dataset.pictures import Picture
from lib_lora_train.draws import torch_generator
from lib_lora_train.errors import UserError
from lib_lora_train.host.base import BorrowedModel, BorrowRequest, Host, Session
from lib_lora_train.network.files import save_lora
from lib_lora_train.network.keys import unread_keys
from lib_lora_train.network.metadata import RunFacts, build_metadata
from lib_lora_train.settings import TrainSettings
from lib_lora_train.signals import Commands, EventSink, Log, Saved, Stage, Stopped, ignore_events
from lib_lora_train.train.facts import run_facts
from lib_lora_train.train.identity import batching, check_same_run, identity
from lib_lora_train.train.limits import blocks_for, explain_out_of_memory
from lib_lora_train.train.loss import check_loss_settings, sample_losses
from lib_lora_train.train.meter import Meter
from lib_lora_train.train.noise import NoiseSchedule, draw_noise, draw_timesteps
from lib_lora_train.train.optimizer_tensors import load_optimizer_state, optimizer_state
from lib_lora_train.train.optimizers import (
    eval_mode,
    make_optimizer,
    optimizer_notes,
    set_rates,
    train_mode,
)
from lib_lora_train.train.output import Output
from lib_lora_train.train.prompts import PromptEncoder
from lib_lora_train.train.sampling import draw_samples, read_sample_prompts
from lib_lora_train.train.scaler import LossScaler
from lib_lora_train.train.schedules import RateSchedule
from lib_lora_train.train.start import make_network
from lib_lora_train.train.state import Progress, TrainState, load_state, to_cpu
from lib_lora_train.train.validation import Validation

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: "done" or "stopped"; a failure raises instead. `lora` is the last file written."""

    outcome: str
    lora: Path | None
    state: Path | None
    steps: int
    epochs: int
    seconds: float
    loss: float | None


def train(
    host: Host,
    settings: TrainSettings,
    events: EventSink = ignore_events,
    commands: Commands | None = None,
    output: Output | None = None,
) -> TrainResult:
    """Trains one LoRA. Blocks until it is done or stopped.

    Raises UserError for everything a user can put right: settings that contradict each other, no pictures, a
    checkpoint that cannot be read, out of memory, numbers that are no longer finite, a disk that is full. The
    host's model is as it was before, whatever happens.
    """
    return Trainer(host, settings, events, commands or Commands(), output or Output.from_settings(settings.run)).run()


class Trainer:
    """One run. The attributes set in `_set_up` live as long as one borrowing of the model."""

    def __init__(
        self, host: Host, settings: TrainSettings, events: EventSink, commands: Commands, output: Output
    ) -> None:
        self.host = host
        self.settings = settings
        self.events = events
        self.commands = commands
        self.output = output
        self.caches: LatentCache | None = None
        self.progress = Progress()
        self.held: TrainState | None = None  # where to go on from: a resumed run, or this one after a pause
        self.last_file: Path | None = None
        self.last_state: Path | None = None

    # ------------------------------------------------------------------ the run

    def run(self) -> TrainResult:
        self._check()
        outcome = "paused"
        try:
            self.scan = scan(self.settings.dataset, self.events, self.commands, self.settings.run.seed)
            if self.settings.run.resume:
                self.held = load_state(Path(self.settings.run.resume))
                self.progress = self.held.progress
            else:
                self.output.refuse_to_overwrite()
            self.output.prepare()
            while outcome == "paused":
                self._wait_while_paused()
                with self.host.session(self.commands, self.events) as session, session.borrow(self._request()) as model:
                    outcome = self._train_on(session, model)
        except Stopped:
            outcome = "stopped"
        except torch.cuda.OutOfMemoryError as error:  # of a training step there is more to say: explain_out_of_memory
            raise UserError("train.out_of_memory_before", "resolution") from error
        return self._result(outcome)

    def _check(self) -> None:
        """Refuses impossible settings before anything is loaded."""
        network, run = self.settings.network, self.settings.run
        check_loss_settings(self.settings.loss)
        if network.network_train_unet_only and network.network_train_text_encoder_only:
            raise UserError("train.nothing_trained", "network_train_text_encoder_only")
        if not self.settings.model.checkpoint:
            raise UserError("train.no_checkpoint", "checkpoint")
        if run.resume and network.network_weights and not network.dim_from_weights:
            raise UserError("train.resume_and_weights", "network_weights")
        self.prompts = read_sample_prompts(self.settings)
        RateSchedule(self.settings.optimizer, total_steps=1)  # raises for a rate that cannot be read

    def _wait_while_paused(self) -> None:
        if self.commands.paused:
            self.network = self.optimizer = self.encode = self.model = None  # what they held is the host's now
            self.events(Stage("train.stage_paused", self.held.progress.step if self.held else 0))
            self.commands.wait_while_paused()

    def _request(self) -> BorrowRequest:
        settings = self.settings
        return BorrowRequest(
            checkpoint=settings.model.checkpoint,
            train_unet=not settings.network.network_train_text_encoder_only,
            train_text_encoder=self._trains_text_encoder,
            clip_skip=settings.model.clip_skip,
            max_token_length=settings.model.max_token_length,
            dtype=self._dtype(),
            resolutions=tuple(self.scan.buckets),
            prediction=settings.model.prediction,
        )

    def _dtype(self) -> torch.dtype:
        """The setting's; but fp16, which is the default, is not for processors: slow where they can do it at all."""
        dtype = DTYPES[self.settings.run.mixed_precision]
        if dtype == torch.float16 and self.host.device.type == "cpu":
            self.events(Log("train.cpu_fp32", level="warning"))
            return torch.float32
        return dtype

    @property
    def _trains_text_encoder(self) -> bool:
        return not self.settings.network.network_train_unet_only

    # ------------------------------------------------------------------ one borrowing of the model

    def _train_on(self, session: Session, model: BorrowedModel) -> str:
        """Trains until the end, a stop or a pause; returns "done", "stopped" or "paused"."""
        self.session, self.model = session, model
        if self.caches is None:
            self.caches = self._cache(model)
        model.rest("vae")
        self._set_up(model)
        try:
            self._encode_ahead(model)
            largest = self._largest_bucket()
            self.blocks = blocks_for(self.settings, model, largest)
            model.recompute(self.blocks)
            with (
                self.network.attached(),
                explain_out_of_memory(self.settings, model, self.blocks, largest, lambda: self.last_state),
            ):
                self._restore()
                if self.progress.step == 0 and self.progress.batch == 0:
                    self._probe()
                    self._validate()
                if self.settings.run.sample_at_first and self.progress.last_sample_step < 0:
                    self._sample()
                return self._loop()
        finally:
            self.meter.close()

    def _pictures(self) -> list[Picture]:
        """Those that are trained on: a picture can turn out broken when it is decoded."""
        return [entry.picture for entry in self.caches.entries]

    def _largest_bucket(self) -> tuple[int, int]:
        return max(self.scan.buckets, key=lambda size: size[0] * size[1])

    def _cache(self, model: BorrowedModel) -> LatentCache:
        disk = self.output.latents if self.settings.dataset.cache_latents_to_disk else None
        return cache_latents(
            self.scan,
            self.settings.dataset,
            model.encode_images,
            model.latent_scale,
            self.settings.run.seed,
            vae_key=model.checkpoint.sha256 or model.checkpoint.name,
            disk_folder=disk,
            events=self.events,
            commands=self.commands,
        )

    def _set_up(self, model: BorrowedModel) -> None:
        settings, run = self.settings, self.settings.run
        # The session's number is kohya's: 32 bits from the system, no draw of the training.
        fresh = Progress(session_id=str(secrets.randbits(32)), started_at=time.time())
        self.progress = replace(self.held.progress) if self.held else fresh
        self.schedule = NoiseSchedule(
            model.alphas_cumprod, model.prediction, settings.loss.zero_terminal_snr, model.device
        )
        self.network = make_network(model, settings.network, run.seed, self.events)
        self.network.train()
        self._count_steps()
        self.rates = RateSchedule(settings.optimizer, self.total_steps)
        groups = [
            {"name": name, "params": parameters, "lr": self.rates.at(0)[name]}
            for name, parameters in self.network.parameter_groups().items()
        ]
        self.optimizer = make_optimizer(settings.optimizer, groups)
        self.scaler = LossScaler(enabled=model.dtype == torch.float16)
        self.encode = PromptEncoder(model, self._trains_text_encoder, remember=not captions_vary(settings.dataset))
        self.waiting_loss = torch.zeros((), device=model.device)
        totals = (self.total_steps, self.total_epochs)
        self.meter = Meter(self.output.metrics, run.logging_dir, self.events, self.progress, totals, model.device)
        self.validation = Validation(self.caches.held_back, settings, model.checkpoint)

    def _encode_ahead(self, model: BorrowedModel) -> None:
        """Captions that stay the same are encoded before the loop, after which the text encoder may rest."""
        if self.encode.remembers:
            self.events(Stage("train.stage_captions"))
            self.encode.learn(fixed_captions(self.caches, self.settings.dataset), self.commands)
            model.rest("text_encoder")

    def _count_steps(self) -> None:
        """Optimizer steps and epochs of the whole run. An epoch's last step may hold fewer batches, as in kohya's."""
        run = self.settings.run
        self.batches_per_epoch = batches_per_epoch(self.caches, run.train_batch_size)
        steps_per_epoch = -(-self.batches_per_epoch // run.gradient_accumulation_steps)
        done = self.progress if self.held and self.held.batching != batching(self.settings.run) else Progress()
        self.total_epochs = run.max_train_epochs or -(-run.max_train_steps // steps_per_epoch)
        self.total_steps = run.max_train_steps
        if run.max_train_epochs:
            self.total_steps = done.step + (run.max_train_epochs - done.epoch) * steps_per_epoch

    def _restore(self) -> None:
        """Goes on from `held`: weights, optimizer, gradients that wait, scale. The position was taken in `_set_up`."""
        state = self.held
        if state is None:
            return
        check_same_run(state.identity, identity(self.settings, self._pictures()))
        self.network.load(state.network, "resume")
        load_optimizer_state(self.optimizer, state.optimizer_tensors, state.optimizer_facts)
        self.scaler.load(state.scaler)
        if state.batching != batching(self.settings.run):
            # Other batches are other draws: the epoch starts over. This is how a run that was out of memory goes on.
            self.progress.batch, self.progress.accumulated = 0, 0
            self.events(Log("train.epoch_restarted", level="warning"))
        else:
            weights = self.network.named_parameters()
            for key, gradient in state.gradients.items():
                # A copy: memory that came from a file is aligned otherwise, and some sums then round differently.
                weights[key].grad = torch.empty_like(weights[key]).copy_(gradient)
            self.waiting_loss.fill_(state.progress.waiting_loss)
        self.events(Log("train.resumed", {"step": self.progress.step, "epoch": self.progress.epoch}))

    def _probe(self) -> None:
        """One forward and backward before step 1: an adapter without a gradient would train nothing, for hours."""
        self.events(Stage("train.stage_probe"))
        self.network.train(False)
        self._forward_backward(self._batches(0)[0], epoch=0, index=0)
        self.network.train()
        unread = unread_keys(list(self.network.adapters), self.model.family, self.settings.model.clip_skip)
        silent = self.network.missing_gradients(unread)
        self.optimizer.zero_grad(set_to_none=True)
        self.waiting_loss.zero_()
        if silent:
            raise UserError("train.no_gradient", "network", count=len(silent), first=silent[0])

    # ------------------------------------------------------------------ the loop

    def _loop(self) -> str:
        run, progress = self.settings.run, self.progress
        for note in (*optimizer_notes(self.settings.optimizer), *self.rates.notes()):
            self.events(note)
        self.events(Stage("train.stage_training", progress.step, self.total_steps))
        train_mode(self.optimizer)
        self.meter.restart_clock()
        while progress.step < self.total_steps:
            batches = self._batches(progress.epoch)
            for index in range(progress.batch, len(batches)):
                self._forward_backward(batches[index], progress.epoch, index)
                progress.batch = index + 1
                progress.accumulated += 1
                if progress.accumulated == run.gradient_accumulation_steps or progress.batch == len(batches):
                    self._optimizer_step()
                    self._save_and_sample_by_step()
                outcome = self._obey()
                if outcome:
                    return outcome
                if progress.step >= self.total_steps:
                    break
            if progress.batch == len(batches):
                progress.epoch += 1
                progress.batch = 0
                self._save_and_sample_by_epoch()
        self._finish()
        return "done"

    def _forward_backward(self, showings: Sequence[Showing], epoch: int, index: int) -> None:
        """Adds one batch's gradients to those that wait."""
        run, model = self.settings.run, self.model
        batch = make_batch(showings, self.caches, self.settings, run.seed, epoch)
        micro = epoch * self.batches_per_epoch + index
        noise = draw_noise(self.settings.loss, run.seed, micro, batch.latents.shape)
        timesteps = draw_timesteps(self.settings.loss, run.seed, micro, len(batch.latents))
        latents, noise, timesteps, weights = self._to_device(batch.latents, noise, timesteps, batch.loss_weights)
        masks = None if batch.masks is None else batch.masks.to(model.device)
        self.network.set_step(torch_generator(run.seed, "network dropout", micro))

        cond = self.encode(batch.captions)
        noisy = self.schedule.add_noise(latents, noise, timesteps)
        prediction = model.denoise(noisy, timesteps, cond, batch.size_ids)
        target = self.schedule.target(latents, noise, timesteps)
        losses = sample_losses(prediction, target, timesteps, self.schedule, self.settings.loss, masks, weights)
        loss = losses.mean()
        (loss * (self.scaler.scale / run.gradient_accumulation_steps)).backward()
        self.waiting_loss += loss.detach()

    def _batches(self, epoch: int) -> list[list[Showing]]:
        return epoch_batches(self.caches, self.settings.run.seed, epoch, self.settings.run.train_batch_size)

    def _to_device(self, *tensors: Tensor) -> Iterator[Tensor]:
        return (tensor.to(self.model.device, non_blocking=True) for tensor in tensors)

    def _optimizer_step(self) -> None:
        progress = self.progress
        rates = self.rates.at(progress.step)
        set_rates(self.optimizer, rates)
        self.scaler.unscale(self.network.parameters())
        limit = self.settings.optimizer.max_grad_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), limit)
        moves = self.scaler.allows_step(norm, progress.step + 1)
        if moves:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        loss = self.waiting_loss / progress.accumulated
        self.waiting_loss = torch.zeros_like(self.waiting_loss)
        progress.accumulated = 0
        self.meter.add(progress.step, progress.epoch + 1, loss, norm, rates, skipped=not moves)

    # ------------------------------------------------------------------ between steps

    def _obey(self) -> str:
        """Carries out what was commanded since the last batch; returns an outcome when the loop must be left."""
        commands = self.commands
        if commands.take_save():
            self._save_lora(self.output.step_file(self.progress.step))
            self._save_state()
        if commands.take_sample():
            self._sample()
        if commands.stopping:
            if commands.saves_on_stop:
                self._save_lora(self.output.step_file(self.progress.step))
                self._save_state()
            return "stopped"
        if commands.paused:
            self._save_state()
            return "paused"
        return ""

    def _save_and_sample_by_step(self) -> None:
        run, step = self.settings.run, self.progress.step
        if step >= self.total_steps:
            return
        if run.save_every_n_steps and step % run.save_every_n_steps == 0:
            self._save_lora(self.output.step_file(step))
            self._save_state()
        if run.sample_every_n_steps and step % run.sample_every_n_steps == 0:
            self._sample()

    def _save_and_sample_by_epoch(self) -> None:
        run, epoch = self.settings.run, self.progress.epoch
        if self.progress.step >= self.total_steps:
            return
        if run.save_every_n_epochs and epoch % run.save_every_n_epochs == 0:
            self._save_lora(self.output.epoch_file(epoch))
            self._save_state()
        if run.sample_every_n_epochs and epoch % run.sample_every_n_epochs == 0:
            self._sample()

    def _finish(self) -> None:
        within = self.progress.step if self.progress.batch else 0
        self._save_lora(self.output.final_file(self.progress.epoch, within), final=True)
        self._save_state()
        if self.prompts and self.progress.last_sample_step != self.progress.step:
            self._sample()

    def _save_lora(self, path: Path, final: bool = False) -> None:
        """Writes the LoRA; what is not finite never gets that far. Older ones go when only the last n are kept."""
        self.meter.read()
        eval_mode(self.optimizer)
        metadata = build_metadata(self._facts(path.stem))
        save_lora(path, self.network.state_dict(), metadata, DTYPES[self.settings.run.save_precision])
        self.last_file = path
        self.output.keep_last(self.progress.checkpoints, path.name, 0 if final else self.settings.run.save_last_n)
        self.events(Saved(path=path, step=self.progress.step, epoch=self.progress.epoch, final=final))
        self._validate(path.name)
        train_mode(self.optimizer)
        self.meter.restart_clock()

    def _validate(self, file: str = "") -> None:
        """The loss on the pictures that were held back, with the weights that `file` was written with."""
        loss = self.validation.loss(self.model, self.network, self.encode, self.schedule, self.events, self.commands)
        if loss is not None:
            self.meter.add_validation(loss, self.validation.pictures, self.validation.key, file)

    def _save_state(self) -> None:
        self.meter.read()
        self.held = self._state()
        if self.settings.run.save_state:
            self.last_state = self.held.save(self.output.states)
        self.meter.restart_clock()

    def _state(self) -> TrainState:
        self.progress.waiting_loss = float(self.waiting_loss)
        tensors, facts = optimizer_state(self.optimizer)
        weights = self.network.named_parameters()
        return TrainState(
            progress=replace(self.progress, checkpoints=list(self.progress.checkpoints)),
            network=to_cpu(self.network.state_dict()),
            gradients=to_cpu({key: value.grad for key, value in weights.items() if value.grad is not None}),
            optimizer_tensors=to_cpu(tensors),
            optimizer_facts=facts,
            scaler=self.scaler.state(),
            identity=identity(self.settings, self._pictures()),
            batching=batching(self.settings.run),
        )

    def _sample(self) -> None:
        """Draws the sample prompts; a sample that fails is said and does not end the run."""
        if not self.prompts:
            return
        self.meter.read()
        eval_mode(self.optimizer)
        try:
            draw_samples(
                self.session,
                self.network,
                self.prompts,
                self.settings.model.clip_skip,
                self.output.samples,
                self.progress.step,
                self.events,
            )
        except Stopped:
            pass  # the loop sees the command next, and saves if that was asked
        except UserError as error:
            self.events(Log("train.sample_failed", {"reason": error.sentence()}, level="warning"))
        finally:
            train_mode(self.optimizer)
        self.progress.last_sample_step = self.progress.step
        self.meter.restart_clock()

    # ------------------------------------------------------------------ what is said of it

    def _facts(self, output_name: str) -> RunFacts:
        totals = (self.batches_per_epoch, self.total_epochs, self.total_steps)
        return run_facts(
            self.settings, self.model, self.network, self.caches, self.progress, totals, output_name, self.blocks
        )

    def _result(self, outcome: str) -> TrainResult:
        progress = self.progress
        return TrainResult(
            outcome=outcome,
            lora=self.last_file,
            state=self.last_state,
            steps=progress.step,
            epochs=progress.epoch,
            seconds=progress.elapsed,
            loss=progress.loss_smoothed,
        )
