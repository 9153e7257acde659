"""The loss against numbers computed by hand and by kohya's trainer (its schedule, SD1.x, 1000 steps)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.errors import UserError
from lib_lora_train.settings import LossSettings
from lib_lora_train.train.loss import check_loss_settings, huber_threshold, sample_losses, timestep_weights
from lib_lora_train.train.noise import NoiseSchedule

CPU = torch.device("cpu")
TIMESTEPS = torch.tensor([0, 1, 250, 500, 999])


def sd_alphas_cumprod() -> torch.Tensor:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float32) ** 2
    return torch.cumprod(1 - betas, dim=0)


@pytest.fixture
def epsilon() -> NoiseSchedule:
    return NoiseSchedule(sd_alphas_cumprod(), "epsilon", False, CPU)


@pytest.fixture
def velocity() -> NoiseSchedule:
    return NoiseSchedule(sd_alphas_cumprod(), "v_prediction", False, CPU)


def close(actual: torch.Tensor, expected: list[float], rtol: float = 1e-5) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected), rtol=rtol, atol=1e-7)


def test_schedule_is_sds(epsilon):
    close(epsilon.alphas_cumprod[TIMESTEPS], [0.99914998, 0.99829602, 0.6737923, 0.27633247, 0.0046600951])
    close(epsilon.snr[TIMESTEPS], [1175.4406, 585.86218, 2.0655317, 0.38185006, 0.0046819123], rtol=1e-4)


def test_zero_terminal_schedule_is_kohyas():
    schedule = NoiseSchedule(sd_alphas_cumprod(), "v_prediction", True, CPU)
    close(schedule.alphas_cumprod[TIMESTEPS], [0.99914998, 0.9982335, 0.65245676, 0.24101864, 0.0])
    assert schedule.alphas_cumprod[-1] == 0


def test_weights_come_from_the_schedule_before_it_is_rescaled():
    """kohya fills its SNR table first and rescales the betas after."""
    schedule = NoiseSchedule(sd_alphas_cumprod(), "v_prediction", True, CPU)
    weights = timestep_weights(TIMESTEPS, schedule, LossSettings(min_snr_gamma=5))
    close(weights, [0.0042501087, 0.0085198879, 0.6737923, 0.2763325, 0.0046600942], rtol=1e-4)


def test_zero_terminal_snr_is_refused_for_noise_prediction():
    with pytest.raises(UserError) as error:
        NoiseSchedule(sd_alphas_cumprod(), "epsilon", True, CPU)
    assert error.value.code == "train.zero_snr_epsilon"


@pytest.mark.parametrize(
    ("prediction", "settings", "expected"),
    [
        ("epsilon", LossSettings(min_snr_gamma=5), [0.0042537241, 0.0085344305, 1.0, 1.0, 1.0]),
        (
            "v_prediction",
            LossSettings(min_snr_gamma=5),
            [0.0042501087, 0.0085198879, 0.6737923, 0.2763325, 0.0046600942],
        ),
        (
            "epsilon",
            LossSettings(debiased_estimation_loss=True),
            [0.031622779, 0.041314479, 0.69579941, 1.6182796, 14.614648],
        ),
        (
            "v_prediction",
            LossSettings(debiased_estimation_loss=True),
            [0.00099900097, 0.0017039776, 0.32620767, 0.72366756, 0.99533987],
        ),
        ("epsilon", LossSettings(), [1.0] * 5),
    ],
)
def test_timestep_weights_are_kohyas(prediction, settings, expected):
    schedule = NoiseSchedule(sd_alphas_cumprod(), prediction, False, CPU)
    close(timestep_weights(TIMESTEPS, schedule, settings), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("schedule_name", "expected"),
    [
        ("snr", [0.94970924, 0.93000114, 0.41296339, 0.23128358, 0.10369129]),
        ("exponential", [1.0, 0.9977001, 0.56234133, 0.31622776, 0.10023053]),
        ("constant", [0.1] * 5),
    ],
)
def test_huber_thresholds_are_kohyas(epsilon, schedule_name, expected):
    close(huber_threshold(TIMESTEPS, epsilon, LossSettings(huber_schedule=schedule_name)), expected)


def test_order_of_the_loss_by_hand(epsilon):
    """Squared error 4 everywhere; half the mask is 0, a quarter 0.5; sample weight 3; min-SNR weight at t = 1."""
    prediction = torch.full((1, 4, 2, 2), 3.0, dtype=torch.float16)
    target = torch.ones(1, 4, 2, 2)
    mask = torch.tensor([[[[0.0, 0.0], [0.5, 1.0]]]])
    losses = sample_losses(
        prediction, target, torch.tensor([1]), epsilon, LossSettings(min_snr_gamma=5), mask, torch.tensor([3.0])
    )
    close(losses, [4 * (0.5 + 1.0) / 4 * 3 * 0.0085344305], rtol=1e-4)
    assert losses.dtype == torch.float32


@pytest.mark.parametrize(
    ("loss_type", "value"),
    [
        ("l2", 4.0),
        ("l1", 2.0),
        ("huber", 2 * 0.1 * (math.sqrt(4 + 0.01) - 0.1)),
        ("smooth_l1", 2 * (math.sqrt(4 + 0.01) - 0.1)),
    ],
)
def test_loss_types_by_hand(epsilon, loss_type, value):
    settings = LossSettings(loss_type=loss_type, huber_schedule="constant", huber_c=0.1)
    losses = sample_losses(
        torch.full((2, 4, 1, 1), 3.0), torch.ones(2, 4, 1, 1), torch.tensor([5, 6]), epsilon, settings
    )
    close(losses, [value, value])


def test_samples_do_not_mix(velocity):
    prediction = torch.stack([torch.zeros(4, 2, 2), torch.full((4, 2, 2), 2.0)])
    losses = sample_losses(prediction, torch.zeros(2, 4, 2, 2), torch.tensor([9, 9]), velocity, LossSettings())
    close(losses, [0.0, 4.0])


@given(st.integers(0, 999), st.floats(0.1, 20))
def test_min_snr_weight_never_exceeds_one(timestep, gamma):
    schedule = NoiseSchedule(sd_alphas_cumprod(), "epsilon", False, CPU)
    weight = float(timestep_weights(torch.tensor([timestep]), schedule, LossSettings(min_snr_gamma=gamma)))
    assert 0 < weight <= 1 + 1e-6


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        (LossSettings(min_timestep=500, max_timestep=500), "train.timestep_range"),
        (LossSettings(min_snr_gamma=5, debiased_estimation_loss=True), "train.two_weights"),
        (LossSettings(noise_offset=0.1, multires_noise_iterations=6), "train.two_noises"),
    ],
)
def test_meaningless_settings_are_refused(settings, code):
    with pytest.raises(UserError) as error:
        check_loss_settings(settings)
    assert error.value.code == code
