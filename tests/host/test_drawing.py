"""Pictures: the same request gives the same picture, and adapters are on exactly where they are asked for."""

from __future__ import annotations

import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import BorrowRequest, CheckpointInfo, GenerateRequest
from lib_lora_train.host.embedded_model import EmbeddedModel
from lib_lora_train.host.infotext import infotext
from lib_lora_train.host.sampling import ddim_timesteps, draw_noise, euler_timesteps, sample
from lib_lora_train.network.files import load_lora, save_lora
from lib_lora_train.signals import Commands, Stage, Stopped
from tests.host.test_embedded import _loss, _network, make_host

BASE = GenerateRequest("red hair", negative_prompt="hat", width=64, height=64, steps=4, cfg_scale=3.0, seed=5)


@pytest.fixture(scope="module")
def host(tmp_path_factory, tiny_checkpoint):
    host = make_host(tmp_path_factory.mktemp("host"), exact_guard=True)
    host.load(str(tiny_checkpoint), torch.float32, lambda event: None)
    return host


@pytest.fixture(scope="module")
def lora(host, tiny_checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("loras") / "zuna.safetensors"
    with host.session() as session, session.borrow(BorrowRequest(str(tiny_checkpoint))) as model:
        save_lora(path, _network(model).state_dict(), {"ss_output_name": "zuna"}, torch.float32)
    return path


def _draw(host, *requests, **options):
    with host.session() as session:
        return [np.asarray(item.image).astype(int) for item in session.generate(requests, **options)]


def _close(a, b):
    """Equal but for the last bit of rounding, which may differ with the size of a batch."""
    return np.abs(a - b).max() <= 1


def test_same_request_same_picture_whatever_the_global_state(host):
    torch.manual_seed(1)
    (first,) = _draw(host, BASE)
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    (second,) = _draw(host, BASE)
    assert np.array_equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.shape == (64, 64, 3)
    assert first.std() > 5


def test_a_picture_does_not_depend_on_its_batch(host):
    requests = [
        BASE,
        replace(BASE, seed=6),
        replace(BASE, prompt="blue eyes", cfg_scale=5.0),
        replace(BASE, width=96),
        replace(BASE, cfg_scale=1.0),
        replace(BASE, prompt=", ".join(["blue hat"] * 40)),  # two chunks
        replace(BASE, sampler="Euler"),
        replace(BASE, clip_skip=2),
    ]
    together = _draw(host, *requests)
    alone = [_draw(host, request)[0] for request in requests]
    assert all(_close(a, b) for a, b in zip(together, alone, strict=True))
    assert together[3].shape == (64, 96, 3)
    square = [picture for picture in together if picture.shape == (64, 64, 3)]
    for index, picture in enumerate(square):
        assert all(np.abs(picture - other).max() > 1 for other in square[index + 1 :])


def test_ddim_is_diffusers(host, tiny_checkpoint):
    """The same noise through diffusers' scheduler with trailing spacing and the last alpha at one."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(8)
    assert scheduler.timesteps.tolist() == ddim_timesteps(8)
    with host.session() as session, session.borrow(BorrowRequest(str(tiny_checkpoint))) as model, torch.no_grad():
        cond = model.encode_prompts(["red hair"])
        for prediction in ("epsilon", "v_prediction"):
            scheduler.register_to_config(prediction_type=prediction)
            noise = expected = draw_noise([5], 64, 64)
            for step in scheduler.timesteps:
                output = model.denoise(expected, step[None], cond)
                expected = scheduler.step(output, step, expected).prev_sample
            got = sample(
                lambda x, t: model.denoise(x, t, cond), noise, ddim_timesteps(8), model.alphas_cumprod, prediction
            )
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_exact_prediction_leads_to_the_picture():
    """A model that knows the answer: every sampler ends at the clean picture."""
    clean, noise = torch.full((1, 4, 2, 2), 0.7), draw_noise([1], 16, 16)
    alphas = torch.linspace(0.999, 0.005, 1000)

    def epsilon(latents, timesteps):
        alpha = alphas[timesteps].view(-1, 1, 1, 1)
        return (latents - alpha.sqrt() * clean) / (1 - alpha).sqrt()

    for steps in (ddim_timesteps(6), euler_timesteps(6), ddim_timesteps(1), euler_timesteps(1)):
        torch.testing.assert_close(sample(epsilon, noise, steps, alphas, "epsilon"), clean, rtol=1e-4, atol=1e-4)


def test_timesteps():
    assert ddim_timesteps(4) == [999, 749, 499, 249]
    assert euler_timesteps(4) == [999, 666, 333, 0]
    assert ddim_timesteps(1000) == list(range(999, -1, -1))


def test_noise_is_the_pictures_own():
    two = draw_noise([7, 8], 64, 96)
    assert two.shape == (2, 4, 8, 12)
    assert torch.equal(two[1:], draw_noise([8], 64, 96))
    assert torch.equal(two[0], torch.randn(4, 8, 12, generator=torch.Generator().manual_seed(7)))


def test_lora_file_is_on_at_its_weight_and_never_merged(host, lora):
    plain, off, half, full = _draw(
        host,
        BASE,
        replace(BASE, lora=lora, weight=0.0),
        replace(BASE, lora=lora, weight=0.5),
        replace(BASE, lora=lora),
    )
    assert _close(plain, off)
    assert np.abs(plain - full).max() > 5
    assert np.abs(half - full).max() > 1
    assert np.abs(half - plain).max() > 1
    assert np.array_equal(_draw(host, BASE)[0], _draw(host, BASE)[0])
    assert _close(_draw(host, BASE)[0], plain)


def test_changed_lora_file_is_read_again(host, lora, tiny_checkpoint, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(lora.read_bytes())
    request = replace(BASE, lora=path)
    (first,) = _draw(host, request)
    with host.session() as session, session.borrow(BorrowRequest(str(tiny_checkpoint))) as model:
        save_lora(path, _network(model, seed=8).state_dict(), {"x": "longer"}, torch.float32)
    (second,) = _draw(host, request)
    assert np.abs(first - second).max() > 1


def test_a_network_that_is_trained_between_two_pictures_is_drawn_as_it_stands(host, tiny_checkpoint):
    with host.session() as session:
        with session.borrow(BorrowRequest(str(tiny_checkpoint))) as model:
            network = _network(model)
        pictures = []
        for _ in range(2):
            pictures.append(np.asarray(session.generate([BASE], network=network)[0].image).astype(int))
            for parameter in network.parameters():
                parameter.data.mul_(0.5)
    assert np.abs(pictures[0] - pictures[1]).max() > 1


def test_what_is_made_of_a_lora_for_drawing_ends_with_the_session_or_the_model(host, lora, tiny_checkpoint):
    def copies() -> list[weakref.ref]:
        return [weakref.ref(host.kept.fixed.of(network, 0.5)) for network in host._adapters.values()]

    host.refresh_loras()
    request = replace(BASE, lora=lora, weight=0.5, steps=1)
    for end in (lambda session: session.close(), lambda session: host.unload()):
        with host.session() as session:
            session.generate([request])
            (first,) = copies()
            session.generate([replace(request, seed=6)])
            assert first() is not None and copies() == [first]
            end(session)
            gc.collect()
            assert first() is None
        host.load(str(tiny_checkpoint), torch.float32, lambda event: None)


def test_few_lora_files_are_kept(host, lora, tmp_path):
    paths = [tmp_path / f"{number}.safetensors" for number in range(12)]
    for path in paths:
        path.write_bytes(lora.read_bytes())
    small = replace(BASE, steps=1, cfg_scale=1.0)
    pictures = _draw(host, *(replace(small, lora=path) for path in paths))
    assert all(_close(picture, pictures[0]) for picture in pictures)
    assert 0 < len(host._adapters) <= 8
    host.refresh_loras()
    assert len(host._adapters) == 0


def test_drawing_in_the_middle_of_a_training(host, lora, tiny_checkpoint):
    (plain,), (with_file,) = _draw(host, BASE), _draw(host, replace(BASE, lora=lora))
    with host.session() as session, session.borrow(BorrowRequest(str(tiny_checkpoint), checkpointed_blocks=5)) as model:
        network = _network(model)  # the same weights as in the file
        network.train()
        with network.attached():
            loss = _loss(model)

            def draw(request, **options):
                return np.asarray(session.generate([request], **options)[0].image).astype(int)

            assert _close(draw(BASE), plain)  # the one in training is off
            assert _close(draw(BASE, network=network), with_file)
            assert _close(draw(replace(BASE, weight=0.0), network=network), plain)
            assert _close(draw(replace(BASE, lora=lora), network=network), with_file)
            assert (network.multiplier, network.state.training) == (1.0, True)
            assert torch.equal(_loss(model), loss)
            with pytest.raises(UserError) as caught:
                draw(replace(BASE, checkpoint=str(lora.parent)))
            assert caught.value.code == "host.other_checkpoint"
            assert draw(replace(BASE, checkpoint=str(tiny_checkpoint))).shape == (64, 64, 3)


def test_half_precision_that_overflows_is_decoded_again(host, tiny_checkpoint, tmp_path):
    from shutil import copytree

    from safetensors.torch import load_file, save_file

    folder = copytree(tiny_checkpoint, tmp_path / "loud")
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    for part in ("weight", "bias"):
        weights[f"decoder.conv_in.{part}"] *= 3e5  # the normalisation after it takes the size away again
    save_file(weights, path)
    loud = make_host(tmp_path)
    loud.load(str(folder), torch.float16, lambda event: None)
    (picture,) = _draw(loud, BASE)
    assert picture.std() > 5


def test_stop_ends_drawing_between_steps(host):
    commands, events = Commands(), []
    with pytest.raises(Stopped), host.session(commands, events.append) as session:
        commands.stop()
        session.generate([BASE])
    assert events == []


def test_progress_is_told(host):
    events = []
    with host.session(events=events.append) as session:
        assert session.generate([]) == []
        session.generate([BASE, replace(BASE, width=96)])
    assert events == [Stage("host.stage_drawing", 1, 2), Stage("host.stage_drawing", 2, 2)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"sampler": "Magic"}, "host.sampler"),
        ({"steps": 0}, "host.steps"),
        ({"steps": 1001}, "host.steps"),
        ({"width": 60}, "host.size"),
        ({"height": 0}, "host.size"),
        ({"clip_skip": 9}, "host.clip_skip"),
        ({"checkpoint": "nowhere"}, "host.checkpoint_missing"),
    ],
)
def test_requests_that_cannot_be(host, change, code):
    with pytest.raises(UserError) as caught:
        _draw(host, replace(BASE, **change))
    assert caught.value.code == code


def test_nothing_to_draw_with(tmp_path):
    with pytest.raises(UserError) as caught:
        _draw(make_host(tmp_path), BASE)
    assert caught.value.code == "host.no_checkpoint"


def test_infotext(lora, host):
    info = CheckpointInfo("base, 1.5", lora, "sd1", "0123456789abcdef")
    request = replace(BASE, lora=lora, weight=0.75, clip_skip=2)
    assert infotext(request, info, "zuna") == (
        "red hair <lora:zuna:0.75>\nNegative prompt: hat\n"
        "Steps: 4, Sampler: DDIM, CFG scale: 3, Seed: 5, Size: 64x64, "
        'Model hash: 0123456789, Model: "base, 1.5", Clip skip: 2'
    )
    with host.session() as session:
        drawn = session.generate([replace(BASE, lora=lora), replace(BASE, lora=lora, weight=0.0)])
    assert "<lora:zuna:1>" in drawn[0].infotext
    assert "<lora:" not in drawn[1].infotext
    assert str(lora.parent) not in drawn[0].infotext


def test_prompts_are_encoded_once_for_each_text_encoder_there_is(host, tiny_checkpoint, lora, tmp_path):
    """A grid's calls: the pictures are those that are drawn alone, and a file without the text encoder's part costs none."""
    tensors = load_lora(lora).tensors
    save_lora(unet := tmp_path / "unet.safetensors", only(tensors, "lora_unet"), {}, torch.float32)
    save_lora(again := tmp_path / "again.safetensors", only(tensors, "lora_unet", 2.0), {}, torch.float32)
    cells = [
        replace(BASE, prompt=prompt, seed=seed, lora=file, weight=weight)
        for file, weight in ((None, 0.0), (unet, 0.5), (unet, 1.0), (again, 1.0), (lora, 0.5), (lora, 1.0))
        for prompt in ("red hair", "blue eyes")
        for seed in (1, 2)
    ]
    texts: list[str] = []
    encode = EmbeddedModel.encode

    def counted(self, prompts, *others):
        texts.extend(prompts)
        return encode(self, prompts, *others)

    with pytest.MonkeyPatch.context() as patch, host.session() as session:
        patch.setattr(EmbeddedModel, "encode", counted)
        drawn = [session.generate(cells[start : start + 2])[0] for start in range(0, len(cells), 2)]
        assert sorted(texts) == sorted(["red hair", "blue eyes", "hat"] * 3)  # bare, at 0.5 and at 1
        assert session.switches == 5
        session.generate(cells[-4:])
        assert (len(texts), session.switches) == (9, 5)
        with session.borrow(BorrowRequest(str(tiny_checkpoint))):  # what is trained is another model at each step
            session.generate(cells[:1])
            session.generate(cells[:1])
        assert len(texts) == 9 + 2 * 2
    for place, picture in enumerate(drawn):
        (alone,) = _draw(host, cells[2 * place])
        assert _close(np.asarray(picture.image).astype(int), alone)
    assert len({picture.image.tobytes() for picture in drawn}) == len(drawn)


def only(tensors, prefix, scale=1.0):
    return {
        name: tensor * (scale if "lora_up" in name else 1.0)
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def test_a_prompts_code_does_not_depend_on_what_was_known(host):
    """Else a grid that is gone on with would not have the very same pixels."""
    with host.session() as session:
        together = session.generate([BASE, replace(BASE, prompt="blue eyes")])
    with host.session() as session:
        session.generate([replace(BASE, prompt="blue eyes", seed=9)])
        apart = session.generate([BASE, replace(BASE, prompt="blue eyes")])
    assert [one.image.tobytes() for one in together] == [one.image.tobytes() for one in apart]


@pytest.mark.parametrize("name", ["a:b", "a>b", "a=b", "a#b", "a\nb"])
def test_a_name_that_no_tag_can_hold_stands_beside_the_prompt(host, lora, name):
    text = infotext(replace(BASE, lora=lora, weight=1 / 3), CheckpointInfo("base", lora), name)
    assert text.startswith("red hair\nNegative prompt: hat\nSteps: ")
    assert text.endswith(f", LoRA: {json.dumps(f'{name} 0.3333333333333333')}") or name in ("a>b", "a=b", "a#b")
    assert len(text.splitlines()) == 3


def test_halves_of_characters_are_not_written():
    text = infotext(replace(BASE, prompt="a \ud83d cat"), CheckpointInfo("base", Path("x")), "小\udcff")
    assert text.startswith("a ? cat <lora:小?:1>")
