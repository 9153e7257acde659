"""Drawing latents from noise: DDIM and Euler with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lib_lora_train.errors import UserError

# (latents, timesteps) -> predictions; both (batch, ...) and fp32
Predict = Callable[[Tensor, Tensor], Tensor]


def ddim_timesteps(steps: int, total: int = 1000) -> list[int]:
    """Evenly spaced from the end ("trailing" in Lin et al. 2023, table 2), falling: 999, 949, ... for 20 steps.

    Chosen over the "leading" spacing of the original implementation, whose first step is near 950: sampling starts
    from pure noise, and only the last timestep has been trained on (nearly) pure noise. It matters most for few
    steps and small latents, where what is left of the picture at 950 shows.
    """
    return [round(total - index * total / steps) - 1 for index in range(steps)]


def euler_timesteps(steps: int, total: int = 1000) -> list[int]:
    """Evenly spaced from last to first, both included, falling: k-diffusion's schedule, to whole timesteps."""
    return [round((total - 1) * (1 - index / max(1, steps - 1))) for index in range(steps)]


# Deterministic DDIM (Song et al. 2021) is Euler's method on the probability flow ODE in the variables of Karras et
# al. (2022): the two names differ in their timesteps alone.
SAMPLERS: dict[str, Callable[[int, int], list[int]]] = {"DDIM": ddim_timesteps, "Euler": euler_timesteps}


def timesteps_for(sampler: str, steps: int, total: int) -> list[int]:
    """Raises UserError("host.sampler", "host.steps")."""
    if sampler not in SAMPLERS:
        raise UserError("host.sampler", "sampler", value=sampler, known=", ".join(SAMPLERS))
    if not 1 <= steps <= total:
        raise UserError("host.steps", "steps", value=steps, most=total)
    return SAMPLERS[sampler](steps, total)


def draw_noise(seeds: Sequence[int], height: int, width: int) -> Tensor:
    """Start noise (batch, 4, height/8, width/8), fp32 on the CPU: each picture's from its own seed alone.

    It is what the WebUI draws with its random source set to "CPU".
    """
    shape = (4, height // 8, width // 8)
    return torch.stack(
        [torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed % 2**64)) for seed in seeds]
    )


def sample(
    predict: Predict,
    noise: Tensor,
    timesteps: Sequence[int],
    alphas_cumprod: Tensor,
    prediction: str,
    between: Callable[[], None] = lambda: None,
) -> Tensor:
    """Latents from `noise` (batch, 4, h, w) fp32, by DDIM with eta 0 (Song et al. 2021, eq. 12) over `timesteps`.

    The last step goes to the clean picture (alpha 1). `prediction` is "epsilon" or "v_prediction" (Salimans and Ho
    2022). `between` is called before every step and may raise to cut the work short.
    """
    latents = noise
    alphas = alphas_cumprod.double().tolist()
    for index, timestep in enumerate(timesteps):
        between()
        alpha = alphas[timestep]
        alpha_next = alphas[timesteps[index + 1]] if index + 1 < len(timesteps) else 1.0
        signal, sigma = alpha**0.5, (1 - alpha) ** 0.5
        output = predict(latents, torch.full((len(latents),), timestep, dtype=torch.int64, device=latents.device))
        if prediction == "v_prediction":
            clean, epsilon = signal * latents - sigma * output, signal * output + sigma * latents
        else:
            clean, epsilon = (latents - sigma * output) / signal, output
        latents = alpha_next**0.5 * clean + (1 - alpha_next) ** 0.5 * epsilon
    return latents
