"""The forward diffusion: noise, timesteps, noisy latents and what the U-Net should answer.

Every draw comes from a generator seeded by (seed, purpose, micro-batch number), on the CPU, so that a run is the
same on every device, can be resumed at any step, and does not depend on how often it draws samples.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lib_lora_train.draws import torch_generator
from lib_lora_train.errors import UserError
from lib_lora_train.settings import LossSettings


def zero_terminal_alphas_cumprod(alphas_cumprod: Tensor) -> Tensor:
    """The schedule shifted and scaled so that the last timestep has no signal and the first is unchanged.

    Lin et al. 2023, "Common Diffusion Noise Schedules and Sample Steps are Flawed", algorithm 1.
    `alphas_cumprod` is (timesteps,) fp32.
    """
    root = alphas_cumprod.sqrt()
    root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    return root.square()


class NoiseSchedule:
    """What depends on the timestep alone, as (1000,) fp32 tables on one device."""

    def __init__(self, alphas_cumprod: Tensor, prediction: str, zero_terminal_snr: bool, device: torch.device) -> None:
        """`prediction` is "epsilon" or "v_prediction". Raises UserError("train.zero_snr_epsilon")."""
        if zero_terminal_snr and prediction == "epsilon":
            # At the last timestep the answer would be the input itself: nothing is learned and the SNR weights divide by 0.
            raise UserError("train.zero_snr_epsilon", "zero_terminal_snr")
        original = alphas_cumprod.detach().to("cpu", torch.float32)
        table = zero_terminal_alphas_cumprod(original) if zero_terminal_snr else original
        self.prediction = prediction
        self.alphas_cumprod = table.to(device)
        self.signal = self.alphas_cumprod.sqrt()
        self.sigma = (1.0 - self.alphas_cumprod).sqrt()
        # As in kohya's trainer the weights come from the schedule before it is rescaled: by the rescaled one the last
        # timestep, which the rescaling is for, would have weight 0.
        self.snr = (original.sqrt() / (1.0 - original).sqrt()).square().to(device)

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """sqrt(alphas_cumprod) * latents + sqrt(1 - alphas_cumprod) * noise; all (batch, 4, h, w)."""
        return _rows(self.signal, timesteps) * latents + _rows(self.sigma, timesteps) * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The noise, or for v-prediction the velocity of Salimans and Ho 2022: alpha * noise - sigma * latents."""
        if self.prediction == "epsilon":
            return noise
        return _rows(self.signal, timesteps) * noise - _rows(self.sigma, timesteps) * latents


def draw_timesteps(settings: LossSettings, seed: int, micro: int, batch: int) -> Tensor:
    """Uniform integers in [min_timestep, max_timestep), int64 (batch,), for the micro-batch numbered `micro`."""
    generator = torch_generator(seed, "timesteps", micro)
    return torch.randint(settings.min_timestep, settings.max_timestep, (batch,), generator=generator)


def draw_noise(settings: LossSettings, seed: int, micro: int, shape: torch.Size) -> Tensor:
    """Gaussian noise (batch, 4, h, w) fp32 on the CPU, with noise offset or multi-resolution noise when set."""
    return noise_from(torch_generator(seed, "noise", micro), settings, shape)


def noise_from(generator: torch.Generator, settings: LossSettings, shape: torch.Size) -> Tensor:
    """The same from a generator of one's own."""
    noise = torch.randn(shape, generator=generator)
    if settings.noise_offset:
        # One draw per sample and channel moves the mean, which plain noise hardly ever does (Crosslabs 2023).
        noise = noise + settings.noise_offset * torch.randn((*shape[:2], 1, 1), generator=generator)
    if settings.multires_noise_iterations:
        noise = _add_pyramid(noise, settings, generator)
    return noise


def _add_pyramid(noise: Tensor, settings: LossSettings, generator: torch.Generator) -> Tensor:
    """Whitaker 2023, "Multi-Resolution Noise for Diffusion Model Training": coarser and coarser noise on top."""
    batch, channels, height, width = noise.shape
    for level in range(settings.multires_noise_iterations):
        # A random ratio between 2 and 4 per level rather than always 2, as kohya draws it.
        ratio = (float(torch.rand((), generator=generator)) * 2 + 2) ** level
        size = max(1, int(height / ratio)), max(1, int(width / ratio))
        coarse = torch.randn((batch, channels, *size), generator=generator)
        raised = functional.interpolate(coarse, size=(height, width), mode="bilinear")
        noise = noise + raised * settings.multires_noise_discount**level
        if 1 in size:
            break
    return noise / noise.std()


def _rows(table: Tensor, timesteps: Tensor) -> Tensor:
    return table[timesteps].view(-1, 1, 1, 1)
