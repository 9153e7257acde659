import torch

from lib_lora_train.settings import LossSettings
from lib_lora_train.train.noise import NoiseSchedule, draw_noise, draw_timesteps

SHAPE = torch.Size((3, 4, 16, 24))
PINNED_TIMESTEPS = [92, 941, 837, 953]


def schedule(prediction: str) -> NoiseSchedule:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    return NoiseSchedule(torch.cumprod(1 - betas, dim=0), prediction, False, torch.device("cpu"))


def test_noise_is_a_function_of_seed_and_position_only():
    torch.manual_seed(1)
    first = draw_noise(LossSettings(), 7, 3, SHAPE)
    torch.manual_seed(2)
    assert torch.equal(first, draw_noise(LossSettings(), 7, 3, SHAPE))
    assert not torch.equal(first, draw_noise(LossSettings(), 7, 4, SHAPE))
    assert not torch.equal(first, draw_noise(LossSettings(), 8, 3, SHAPE))


def test_drawing_leaves_torchs_own_generator_alone():
    before = torch.get_rng_state()
    draw_noise(LossSettings(multires_noise_iterations=6), 7, 3, SHAPE)
    draw_timesteps(LossSettings(), 7, 3, 8)
    assert torch.equal(before, torch.get_rng_state())


def test_noise_offset_moves_the_mean_of_each_channel_by_its_strength():
    plain = draw_noise(LossSettings(), 7, 3, SHAPE)
    moved = draw_noise(LossSettings(noise_offset=0.1), 7, 3, SHAPE) - plain
    torch.testing.assert_close(moved, moved.mean((2, 3), keepdim=True).expand(SHAPE), atol=1e-6, rtol=0)
    offsets = torch.cat(
        [
            (draw_noise(LossSettings(noise_offset=0.1), 7, k, SHAPE) - draw_noise(LossSettings(), 7, k, SHAPE))[
                :, :, 0, 0
            ].flatten()
            for k in range(100)
        ]
    )
    assert 0.09 < offsets.std() < 0.11


def test_multires_noise_has_unit_variance_and_more_in_the_coarse():
    plain = draw_noise(LossSettings(), 7, 3, SHAPE)
    pyramid = draw_noise(LossSettings(multires_noise_iterations=6, multires_noise_discount=0.8), 7, 3, SHAPE)
    assert abs(pyramid.std() - 1) < 1e-5
    pool = torch.nn.functional.avg_pool2d
    assert pool(pyramid, 8).std() > 1.5 * pool(plain, 8).std()


def test_timesteps_stay_in_range_and_fill_it():
    settings = LossSettings(min_timestep=20, max_timestep=25)
    drawn = torch.cat([draw_timesteps(settings, 1, micro, 16) for micro in range(20)])
    assert sorted(drawn.unique().tolist()) == [20, 21, 22, 23, 24]
    assert drawn.dtype == torch.int64


def test_first_timesteps_are_pinned():
    """A change here makes every saved state continue differently."""
    assert draw_timesteps(LossSettings(), 42, 0, 4).tolist() == PINNED_TIMESTEPS


def test_noisy_latents_and_targets_by_hand():
    table = schedule("epsilon")
    latents, noise = torch.full((1, 4, 1, 1), 2.0), torch.full((1, 4, 1, 1), -1.0)
    timesteps = torch.tensor([500])
    alpha = 0.27633247
    expected = alpha**0.5 * 2 - (1 - alpha) ** 0.5
    torch.testing.assert_close(
        table.add_noise(latents, noise, timesteps), torch.full((1, 4, 1, 1), expected), rtol=1e-5, atol=0
    )
    assert torch.equal(table.target(latents, noise, timesteps), noise)
    velocity = schedule("v_prediction").target(latents, noise, timesteps)
    torch.testing.assert_close(
        velocity, torch.full((1, 4, 1, 1), -(alpha**0.5) - (1 - alpha) ** 0.5 * 2), rtol=1e-5, atol=0
    )


def test_velocity_and_noisy_latents_give_the_latents_back():
    table = schedule("v_prediction")
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(5, 4, 3, 3, generator=generator), torch.randn(5, 4, 3, 3, generator=generator)
    timesteps = torch.tensor([0, 10, 400, 800, 999])
    noisy, velocity = table.add_noise(latents, noise, timesteps), table.target(latents, noise, timesteps)
    signal, sigma = table.signal[timesteps].view(-1, 1, 1, 1), table.sigma[timesteps].view(-1, 1, 1, 1)
    torch.testing.assert_close(signal * noisy - sigma * velocity, latents, atol=1e-5, rtol=0)
