"""The WebUI's model before and after: every bit, everything that hangs on it, and a picture, on every way out of a run.

Each family trains U-Net and text encoder. A run leaves the same model whether it ends by itself, is stopped or paused,
or fails while it borrows, trains or saves; whatever was merged, chosen or put on before; and whatever is chosen meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.helpers.serving import wait_for
from tests.helpers.webui import Webui, in_thread, losses, settings_for
from tests.webui.conftest import new_project

GENERATES_WITHIN = 5.0  # seconds after the end of a run, beside the picture's own time
OTHER = {"sd1": "sd2v", "sd2v": "sdxl", "sdxl": "sd1"}


class Scene:
    """A WebUI with one family loaded, and what it was before anything ran."""

    def __init__(self, webui: Webui, family: str) -> None:
        self.webui = webui
        self.family = family
        self.project = new_project(webui, f"Guard {family}")
        self.before = self.now()
        start = time.monotonic()
        webui.txt2img()
        self.usual = time.monotonic() - start

    def now(self) -> dict[str, Any]:
        """The hash of all bits and flags, a picture's pixels, and what is set."""
        pixels = self.webui.txt2img().pixels
        state = self.webui.state()
        kept = {name: state[name] for name in ("attention", "options", "merged", "networks", "fixes", "in_memory")}
        names = {name: state[name].split(" [")[0] for name in ("loaded", "chosen")}  # with its hash once that is known
        return {"hash": self.webui.hash(), "pixels": pixels, **kept, **names}

    def expect_as_before(self, reloaded: bool = False) -> None:
        """`reloaded`: from its file meanwhile. The WebUI leaves a new wrapper of the text encoder in one mode when it
        builds a model anew, and in the other when it fills one that is there; that is no business of ours."""
        start = time.monotonic()
        self.webui.txt2img()
        assert time.monotonic() - start < GENERATES_WITHIN + self.usual
        now = self.now()
        different = now["hash"].against(self.before["hash"])
        if reloaded:
            different = {name: pair for name, pair in different.items() if not _is_wrapper(pair)}
            now["hash"], tensors = self.before["hash"], now["hash"]["tensors"]
            assert tensors == self.before["hash"]["tensors"]
        assert different == {}
        assert now == self.before

    def start(self, family: str = "", **run: Any) -> str:
        settings = settings_for(
            self.webui, family or self.family, run=run, optimizer={"learning_rate": "1e-2", "text_encoder_lr": "1e-2"}
        )
        return self.webui.rest.start(self.project, settings)

    def end(self, run: str, state: str = "done") -> Any:
        """The run's record. Nothing may have been left for the guard to put back."""
        over = self.webui.rest.wait_for_end(self.project, run, state)
        lines = self.webui.rest.get(f"projects/{self.project}/runs/{run}/log")["lines"]
        assert [line["text"] for line in lines if "Put back on the model" in line["text"]] == []
        return over

    def command(self, word: str, body: object = None) -> None:
        job = self.webui.rest.get("live")["running"]["job"]
        self.webui.rest.post(f"jobs/{job}/{word}", body or {})

    def held(self, where: str, after: int = 1, **run: Any) -> str:
        """A new run that is held at a moment."""
        self.webui.hold(where, after)
        started = self.start(**run)
        self.webui.wait_held()
        return started

    def losses(self, run: str) -> list[float]:
        return losses(self.webui, self.project, run)


def _is_wrapper(pair: tuple[list[Any], list[Any]]) -> bool:
    """Whether two entries of a hash differ in nothing but the mode of what the WebUI puts around a text encoder."""
    (kind, _, *mine), (other_kind, _, *others) = pair
    return kind == other_kind and mine == others and kind.endswith("WithCustomWords")


@pytest.fixture(scope="module")
def scenes() -> dict[tuple[str, ...], Scene]:
    return {}


@pytest.fixture
def scene_of(scenes: dict[Any, Scene], start_webui: Callable[..., Webui]) -> Callable[..., Scene]:
    """`scene_of(family, *flags)`: the same one for all tests."""

    def one(family: str, *flags: str) -> Scene:
        webui = start_webui(*flags, family=family)
        key = (webui.address, family)  # it may have been started anew
        if key not in scenes:
            scenes[key] = Scene(webui, family)
        scenes[key].before = scenes[key].now()  # putting it in order may have loaded it anew
        return scenes[key]

    return one


@pytest.fixture
def scene(scene_of: Callable[..., Scene], family: str) -> Scene:
    return scene_of(family)


# ---------------------------------------------------------------------- ways out


def success(scene: Scene) -> None:
    samples = {"sample_every_n_steps": 3, "sample_prompts": "zuna, girl --w 64 --h 64 --s 3"}
    run = scene.start(checkpointed_blocks=4, **samples)
    scene.end(run)
    assert len(scene.losses(run)) == 6


def stop(scene: Scene) -> None:
    run = scene.held("loop", 3)
    scene.command("stop", {"save": False})
    scene.webui.release()
    scene.end(run, "stopped")


def stop_between_forward_and_backward(scene: Scene) -> None:
    run = scene.held("backward", 3)
    scene.command("stop", {"save": True})
    scene.webui.release()
    scene.end(run, "stopped")


def pause_and_continue(scene: Scene) -> None:
    run = scene.held("loop", 3)
    scene.command("pause")
    scene.webui.release()
    scene.webui.wait_idle()
    scene.expect_as_before()  # the WebUI has its model while a run is paused
    scene.command("continue")
    scene.end(run)


def error_in_the_loop(scene: Scene) -> None:
    scene.webui.fault("loop", "RuntimeError", after=3)
    scene.end(scene.start(), "failed")


def error_with_a_graph_alive(scene: Scene) -> None:
    scene.webui.fault("backward", "OutOfMemory", after=2)
    scene.end(scene.start(), "failed")


def error_in_saving(scene: Scene) -> None:
    scene.webui.fault("save", "OSError")
    scene.end(scene.start(), "failed")


def error_as_soon_as_it_is_borrowed(scene: Scene) -> None:
    scene.webui.fault("borrow", "RuntimeError")
    scene.end(scene.start(), "failed")


def error_in_a_sample(scene: Scene) -> None:
    scene.webui.fault("sample", "MemoryError")
    scene.end(scene.start(sample_every_n_steps=2, sample_prompts="zuna --w 64 --h 64 --s 2"), "failed")


WAYS_OUT = (
    success,
    stop,
    stop_between_forward_and_backward,
    pause_and_continue,
    error_in_the_loop,
    error_with_a_graph_alive,
    error_in_saving,
    error_as_soon_as_it_is_borrowed,
    error_in_a_sample,
)


@pytest.mark.parametrize("way_out", WAYS_OUT, ids=lambda way_out: way_out.__name__)
def test_the_model_is_as_it_was(scene: Scene, way_out: Callable[[Scene], None]) -> None:
    way_out(scene)
    scene.expect_as_before()


@pytest.mark.parametrize(
    "way_out", [success, pause_and_continue, stop, error_in_the_loop], ids=lambda one: one.__name__
)
def test_with_medvram(scene_of: Callable[..., Scene], family: str, way_out: Callable[[Scene], None]) -> None:
    scene = scene_of(family, "--medvram")
    assert scene.webui.inside("guard", "hooked")
    way_out(scene)
    scene.expect_as_before()


def test_medvram_changes_no_loss(scene_of: Callable[..., Scene], family: str) -> None:
    plain, medvram = scene_of(family), scene_of(family, "--medvram")
    runs = [scene.start() for scene in (plain, medvram)]
    for scene, run in zip((plain, medvram), runs, strict=True):
        scene.end(run)
    assert plain.losses(runs[0]) == medvram.losses(runs[1])


# ---------------------------------------------------------------------- what was there before


def test_a_lora_of_an_earlier_prompt_is_not_trained_on(scene: Scene) -> None:
    first = scene.start(max_train_steps=8)
    scene.end(first)
    lora = max(scene.webui.loras.rglob(f"*{first}*.safetensors"), key=lambda path: path.stat().st_mtime).stem
    with_lora = scene.webui.txt2img(f"a cat <lora:{lora}:1>").pixels
    assert with_lora != scene.before["pixels"]
    state = scene.webui.state()
    assert state["merged"] != []
    assert state["networks"] == [lora]

    second = scene.start(max_train_steps=8)
    scene.end(second)
    assert scene.losses(second) == scene.losses(first)
    scene.expect_as_before()
    assert scene.webui.txt2img(f"a cat <lora:{lora}:1>").pixels == with_lora
    scene.webui.txt2img()
    assert scene.webui.hash() == scene.before["hash"]


def test_another_checkpoint_is_trained_and_the_users_put_back(scene: Scene) -> None:
    run = scene.start(OTHER[scene.family])
    wait_for(lambda: scene.webui.state()["loaded"] or "", lambda name: name.startswith(f"nano_{OTHER[scene.family]}"))
    assert scene.webui.state()["chosen"].startswith(f"nano_{scene.family}.")
    scene.end(run)
    assert scene.webui.state()["loaded"].startswith(scene.before["loaded"])
    scene.expect_as_before(reloaded=True)


def test_another_checkpoint_fails_and_the_users_is_put_back(scene: Scene) -> None:
    scene.webui.fault("loop", "RuntimeError", after=2)
    scene.end(scene.start(OTHER[scene.family]), "failed")
    assert scene.webui.state()["loaded"].startswith(scene.before["loaded"])
    scene.expect_as_before(reloaded=True)


def test_a_checkpoint_picked_meanwhile_is_loaded_afterwards(scene: Scene) -> None:
    other = OTHER[scene.family]
    run = scene.held("loop", 3)
    picked = in_thread(lambda: scene.webui.choose(other))
    wait_for(lambda: scene.webui.state()["chosen"], lambda name: name.startswith(f"nano_{other}"))
    assert scene.webui.state()["loaded"].startswith(scene.before["loaded"])
    scene.webui.release()
    scene.end(run)
    picked.result(30)
    assert scene.webui.state()["loaded"].startswith(f"nano_{other}")
    scene.webui.choose(scene.family)
    scene.expect_as_before(reloaded=True)


def test_what_pictures_are_drawn_with_does_not_reach_the_training(scene: Scene) -> None:
    """A hypernetwork of the last prompt, tiling of the last picture, another attention: the same losses, and there after."""
    plain = scene.start()
    scene.end(plain)
    scene.webui.set_options(cross_attention_optimization="V1 - original v1")
    put_on = scene.webui.inside("guard", "put_on")
    assert put_on["hypernetworks"] == 1
    assert put_on["tiling"]
    before = scene.webui.hash()
    run = scene.start()
    scene.end(run)
    assert scene.webui.inside("guard", "is_on") == put_on
    assert scene.webui.hash() == before
    assert scene.losses(run) == scene.losses(plain)
    scene.webui.inside("guard", "take_off")
    scene.webui.put_in_order(scene.family)
    # Not the hash: with another attention the WebUI itself leaves the encoder's wrapper in another mode.
    assert scene.webui.txt2img().pixels == scene.before["pixels"]


# ---------------------------------------------------------------------- what cannot be trained on


def test_a_damaged_model_is_read_from_its_file_again(scene: Scene) -> None:
    """Somebody writes into the weights during the run: it is said, and the WebUI draws as before all the same."""
    run = scene.held("loop", 2)
    scene.webui.inside("model", "change_one_bit", name="model.diffusion_model.middle_block.0.in_layers.2.weight")
    scene.webui.release()
    over = scene.end(run, "failed")
    assert over["error"]["code"] == "guard.changed"
    scene.expect_as_before(reloaded=True)


def test_fp8_is_refused(own_webui: Callable[..., Webui]) -> None:
    """In a WebUI of its own: what this setting rounds stays so, also without it."""
    scene = Scene(own_webui(), "sd1")
    scene.webui.set_options(fp8_storage="Enable")
    before = scene.webui.hash()
    over = scene.end(scene.start(), "failed")
    assert over["error"]["code"] == "webui.fp8"
    assert scene.webui.hash().against(before) == {}


def test_another_unet_is_refused(scene_of: Callable[..., Scene]) -> None:
    scene = scene_of("sd1")
    scene.webui.inside("guard", "other_unet", on=True)
    try:
        over = scene.end(scene.start(), "failed")
        assert over["error"]["code"] == "webui.other_unet"
    finally:
        scene.webui.inside("guard", "other_unet", on=False)
    scene.expect_as_before()


def test_lowvram_is_refused(own_webui: Callable[..., Webui]) -> None:
    webui = own_webui("--lowvram")
    scene = Scene(webui, "sd1")
    over = scene.end(scene.start(), "failed")
    assert over["error"]["code"] == "webui.lowvram"
    scene.expect_as_before()
