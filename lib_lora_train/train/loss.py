"""The loss, in kohya's order: element-wise in fp32, mask, mean per sample, sample weights, timestep weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib_lora_train.errors import UserError
from lib_lora_train.settings import LossSettings
from lib_lora_train.train.noise import NoiseSchedule

_MAX_SNR = 1000.0  # at timestep 0 the SNR explodes; kohya caps it here for the debiased weight


def check_loss_settings(settings: LossSettings) -> None:
    """Raises UserError for combinations that have no meaning."""
    if settings.min_timestep >= settings.max_timestep:
        raise UserError("train.timestep_range", "min_timestep", first=settings.min_timestep, last=settings.max_timestep)
    if settings.min_snr_gamma and settings.debiased_estimation_loss:
        raise UserError("train.two_weights", "debiased_estimation_loss")
    if settings.noise_offset and settings.multires_noise_iterations:
        raise UserError("train.two_noises", "multires_noise_iterations")


def sample_losses(
    prediction: Tensor,
    target: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    settings: LossSettings,
    masks: Tensor | None = None,
    loss_weights: Tensor | None = None,
) -> Tensor:
    """One loss per sample, fp32 (batch,); the step's loss is their mean.

    `prediction` and `target` are (batch, 4, h, w), `masks` (batch, 1, h, w) in 0..1, `loss_weights` (batch,).
    As in kohya's trainer the mean of a masked sample is over all elements, the masked ones included.
    """
    difference = prediction.float() - target.float()
    losses = _elementwise(difference, timesteps, schedule, settings)
    if masks is not None:
        losses = losses * masks
    losses = losses.mean(dim=(1, 2, 3))
    if loss_weights is not None:
        losses = losses * loss_weights
    return losses * timestep_weights(timesteps, schedule, settings)


def timestep_weights(timesteps: Tensor, schedule: NoiseSchedule, settings: LossSettings) -> Tensor:
    """Weight of each sample by its timestep: min-SNR (Hang et al. 2023), debiased (Yu et al. 2023), or 1."""
    snr = schedule.snr[timesteps]
    velocity = schedule.prediction == "v_prediction"
    if settings.min_snr_gamma:
        return snr.clamp(max=settings.min_snr_gamma) / (snr + 1 if velocity else snr)
    if settings.debiased_estimation_loss:
        snr = snr.clamp(max=_MAX_SNR)
        return 1 / (snr + 1) if velocity else snr.rsqrt()
    return torch.ones_like(snr)


def _elementwise(difference: Tensor, timesteps: Tensor, schedule: NoiseSchedule, settings: LossSettings) -> Tensor:
    if settings.loss_type == "l2":
        return difference.square()
    if settings.loss_type == "l1":
        return difference.abs()
    threshold = huber_threshold(timesteps, schedule, settings).view(-1, 1, 1, 1)
    bent = (difference.square() + threshold.square()).sqrt() - threshold
    return 2 * (threshold * bent if settings.loss_type == "huber" else bent)


def huber_threshold(timesteps: Tensor, schedule: NoiseSchedule, settings: LossSettings) -> Tensor:
    """The pseudo-Huber threshold of each sample (batch,), by `huber_schedule` as in kohya's trainer."""
    if settings.huber_schedule == "constant":
        return torch.full_like(timesteps, settings.huber_c, dtype=torch.float32)
    if settings.huber_schedule == "exponential":
        return torch.exp(timesteps * (math.log(settings.huber_c) / len(schedule)))
    sigma = schedule.sigma[timesteps] / schedule.signal[timesteps]
    return (1 - settings.huber_c) / (1 + sigma).square() + settings.huber_c
