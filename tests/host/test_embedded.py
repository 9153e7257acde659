"""Borrowing: what the trainer gets, and that the model leaves as it came in on every way out."""

from __future__ import annotations

import shutil
import threading

import pytest
import torch

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import BorrowRequest, HostPaths
from lib_lora_train.host.embedded import EmbeddedHost
from lib_lora_train.host.guard import differences, snapshot
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.settings.tables import NetworkSettings
from lib_lora_train.signals import Commands, Stage, Stopped


def make_host(tmp_path, **options):
    paths = HostPaths(tmp_path / "projects", tmp_path / "loras", tmp_path / "models")
    return EmbeddedHost(paths, device="cpu", **options)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return make_host(tmp_path_factory.mktemp("host"), exact_guard=True)


def _network(model, seed=3):
    network = AdapterNetwork(model.sites(), NetworkSettings(network_dim=2, network_alpha=2.0), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.1, generator=generator)
    return network


def _loss(model, prompts=("red hair", "blue hat")):
    generator = torch.Generator().manual_seed(1)
    # Two latent cells remain in the middle: over a single one attention is constant and its q and k get no gradient.
    noisy = torch.randn(2, 4, 16, 8, generator=generator)
    prediction = model.denoise(noisy, torch.tensor([40, 900]), model.encode_prompts(prompts))
    return (prediction - torch.randn(2, 4, 16, 8, generator=generator)).square().mean()


def _gradients(host, checkpoint, blocks):
    with host.session() as session:
        request = BorrowRequest(str(checkpoint), checkpointed_blocks=blocks)
        with session.borrow(request) as model:
            network = _network(model)
            with network.attached():
                loss = _loss(model)
                loss.backward()
            return loss.detach(), [parameter.grad for parameter in network.parameters()]


def test_what_the_borrowed_model_says_of_itself(host, tiny_checkpoint):
    with host.session() as session, session.borrow(BorrowRequest(str(tiny_checkpoint))) as model:
        assert (model.family, model.prediction, model.latent_scale) == ("sd1", "epsilon", 0.18215)
        assert (model.checkpoint.name, len(model.checkpoint.sha256)) == (tiny_checkpoint.name, 64)
        assert model.alphas_cumprod.shape == (1000,)
        assert model.alphas_cumprod.dtype == torch.float32
        sites = model.sites()
        components = [site.component for site in sites]
        assert components == sorted(components, key=("text_encoder", "unet").index)
        assert components.count("text_encoder") == 3 * 6
        blocks = model.blocks()
        assert blocks[:2] == ["down_blocks.0.resnets.0", "down_blocks.0.attentions.0"]
        assert blocks[-1] == "up_blocks.3.attentions.1"
        assert {site.block for site in sites if site.component == "unet"} <= set(blocks)
        # All at rest: nothing that is borrowed asks for a gradient.
        assert not _loss(model).requires_grad


def test_blocks_stand_in_the_order_they_are_computed(host, tiny_checkpoint):
    with host.session() as session, session.borrow(BorrowRequest(str(tiny_checkpoint))) as model:
        seen = []
        handles = [
            model.loaded.unet.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: seen.append(name))
            for name in model.blocks()
        ]
        _loss(model)
        for handle in handles:
            handle.remove()
        assert seen == model.blocks()


@pytest.mark.parametrize("blocks", [1, 9, 1000])
def test_recomputed_blocks_give_the_same_gradient_bit_for_bit(host, tiny_checkpoint, blocks):
    loss, gradients = _gradients(host, tiny_checkpoint, 0)
    again, recomputed = _gradients(host, tiny_checkpoint, blocks)
    assert torch.equal(loss, again)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    assert all(torch.equal(a, b) for a, b in zip(gradients, recomputed, strict=True))


def test_number_of_recomputed_blocks_can_change_while_borrowed(host, tiny_checkpoint):
    with host.session() as session, session.borrow(BorrowRequest(str(tiny_checkpoint), checkpointed_blocks=3)) as model:

        def wrapped():
            return [name for name in model.blocks() if "forward" in vars(model.loaded.unet.get_submodule(name))]

        for count in (5, 0, 1000, 2):
            model.recompute(count)
            assert wrapped() == model.blocks()[:count]
    assert wrapped() == []


def test_recomputed_blocks_keep_less(host, tiny_checkpoint):
    def kept(blocks):
        sizes = []

        def pack(tensor):
            sizes.append(tensor.numel())
            return tensor

        request = BorrowRequest(str(tiny_checkpoint), checkpointed_blocks=blocks)
        watched = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with host.session() as session, session.borrow(request) as model, _network(model).attached(), watched:
            _loss(model)
        return sum(sizes)

    none, some, all_of_them = kept(0), kept(6), kept(1000)
    assert all_of_them < 0.6 * none
    assert all_of_them < some < none


class _OwnError(Exception):
    pass


def _success(model, network):
    _loss(model).backward()


def _stop(model, network):
    _loss(model).backward()
    raise Stopped


def _error_in_forward(model, network):
    def fail(*args):
        raise _OwnError

    model.loaded.unet.mid_block.attentions[0].register_forward_pre_hook(fail)
    _loss(model)


def _error_in_backward(model, network):
    loss = _loss(model)
    network.parameters()[0].register_hook(lambda gradient: (_ for _ in ()).throw(_OwnError()))
    loss.backward()


def _error_in_save(model, network):
    model.loaded.unet.train()
    torch.set_default_dtype(torch.float64)
    raise OSError(28, "No space left on device")


def _interrupt(model, network):
    model.loaded.text_encoder.requires_grad_(True)
    _loss(model).backward()
    raise KeyboardInterrupt


def _left_attached(model, network):
    _network(model, seed=4).attach()
    torch.set_grad_enabled(False)
    raise MemoryError


EXITS = {
    _success: None,
    _stop: Stopped,
    _error_in_forward: _OwnError,
    _error_in_backward: _OwnError,
    _error_in_save: OSError,
    _interrupt: KeyboardInterrupt,
    _left_attached: MemoryError,
}


@pytest.mark.parametrize("blocks", [0, 1000])
@pytest.mark.parametrize("leave", EXITS)
def test_the_model_is_as_it_was_on_every_way_out(host, tiny_checkpoint, leave, blocks):
    loaded = host.load(str(tiny_checkpoint), torch.float32, lambda event: None)
    before = snapshot(loaded.modules(), exact=True)
    request = BorrowRequest(str(tiny_checkpoint), checkpointed_blocks=blocks)

    def run():
        with host.session() as session, session.borrow(request) as model:
            network = _network(model)
            with network.attached():
                leave(model, network)

    if EXITS[leave] is None:
        run()
    else:
        with pytest.raises(EXITS[leave]):
            run()
    assert differences(before, snapshot(loaded.modules(), exact=True)) == []
    assert host.load("", None, lambda event: None) is loaded  # kept, not read again
    with host.session():
        pass  # the lock was given back


def test_damaged_weights_are_said_and_read_afresh(tmp_path, tiny_checkpoint):
    host = make_host(tmp_path)
    request = BorrowRequest(str(tiny_checkpoint))
    with pytest.raises(UserError) as caught, host.session() as session, session.borrow(request) as model:
        good = model.loaded.unet.conv_out.bias.clone()
        model.loaded.unet.conv_out.bias.add_(1)
    assert caught.value.code == "guard.changed"
    assert host.current() is None
    assert torch.equal(host.load(str(tiny_checkpoint), torch.float32, print).unet.conv_out.bias, good)


def test_full_precision_gives_numbers_where_half_does_not(tmp_path, tiny_checkpoint):
    """Activations beyond fp16's 65504, as some autoencoders have them."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_checkpoint, tmp_path / "loud")
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["encoder.conv_in.weight"] *= 3e5
    save_file(weights, path)
    host = make_host(tmp_path, exact_guard=True)
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with host.session() as session, session.borrow(BorrowRequest(str(folder), dtype=torch.float16)) as model:
        plain, _ = model.encode_images(pixels)
        mean, std = model.encode_images(pixels, full_precision=True)
    assert not torch.isfinite(plain).all()
    assert torch.isfinite(mean).all()
    assert (mean.shape, mean.dtype, std.dtype) == ((2, 4, 8, 8), torch.float32, torch.float32)


def test_posterior_is_diffusers(host, tiny_checkpoint):
    pixels = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with host.session() as session, session.borrow(BorrowRequest(str(tiny_checkpoint))) as model:
        mean, std = model.encode_images(pixels)
        with torch.no_grad():
            posterior = model.loaded.vae.encode(pixels).latent_dist
        assert torch.equal(mean, posterior.mean)
        assert torch.equal(std, posterior.std)


def test_wait_for_the_lock_is_told_and_can_be_cancelled(host):
    commands, events, outcome = Commands(), [], []
    waiting = threading.Event()

    def hear(event):
        events.append(event)
        waiting.set()

    def second():
        try:
            with host.session(commands, hear):
                outcome.append("in")
        except Stopped:
            outcome.append("stopped")

    with host.session():
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        commands.stop()
        thread.join(10)
    assert outcome == ["stopped"]
    assert events == [Stage("host.stage_waiting")]


def test_the_second_gets_the_lock_when_the_first_is_done(host):
    outcome, waiting = [], threading.Event()

    def second():
        with host.session(events=lambda event: waiting.set()):
            outcome.append("in")

    with host.session():
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        assert outcome == []
    thread.join(10)
    assert outcome == ["in"]


def test_misuse_is_refused(host, tiny_checkpoint):
    with host.session() as session:
        with pytest.raises(RuntimeError, match="held by this thread"), host.session():
            pass
        first, second = session.borrow(BorrowRequest(str(tiny_checkpoint))), session.borrow(BorrowRequest(""))
        with first, pytest.raises(RuntimeError, match="borrowed already"), second:
            pass
    with pytest.raises(RuntimeError, match="over"), session.borrow(BorrowRequest(str(tiny_checkpoint))):
        pass


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"checkpoint": "missing"}, "host.checkpoint_missing"),
        ({"clip_skip": 4}, "host.clip_skip"),
        ({"max_token_length": 80}, "host.token_limit"),
        ({"prediction": "sample"}, "host.prediction"),
    ],
)
def test_requests_that_cannot_be(host, tiny_checkpoint, change, code):
    request = BorrowRequest(**{"checkpoint": str(tiny_checkpoint)} | change)
    with pytest.raises(UserError) as caught, host.session() as session, session.borrow(request):
        pass
    assert caught.value.code == code


def test_checkpoint_is_kept_found_by_name_and_read_again_when_it_changes(tmp_path, tiny_checkpoint):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "models" / "small")
    host = make_host(tmp_path, folders=[tmp_path / "models"])
    assert [info.name for info in host.checkpoints()] == ["small"]
    events = []

    def borrow(name, dtype=torch.float32):
        with host.session(events=events.append) as session, session.borrow(BorrowRequest(name, dtype=dtype)) as model:
            return model.loaded

    first = borrow("small")
    assert borrow(str(folder)) is first
    assert borrow("", torch.float16) is not first
    assert events == [Stage("host.stage_loading")] * 2
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-4] + b"\0\0\0\0")
    assert borrow("small", torch.float16).info.sha256 != first.info.sha256


def test_no_grad_around_the_borrowing_does_no_harm(host, tiny_checkpoint):
    request = BorrowRequest(str(tiny_checkpoint))
    with torch.no_grad(), host.session() as session, session.borrow(request) as model, _network(model).attached():
        assert _loss(model).requires_grad
    assert torch.is_grad_enabled()
