"""What a visitor does to the WebUI while a run has its model: the declared outcome, and no other losses.

Each run is held at a moment, disturbed there, and goes on. The moments: pictures are being encoded, the third step has
its gradients, a sample is half drawn, the run is paused and the WebUI has its model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.helpers.serving import Rest, wait_for
from tests.helpers.webui import Webui, in_thread, losses, settings_for
from tests.webui.conftest import new_project

STEPS, SAMPLE_EVERY = 8, 4
MOMENTS = ("caching", "training", "sampling", "paused")
HELD_AT = {"caching": ("caching", 1), "training": ("loop", 3), "sampling": ("sampling", 2), "paused": ("loop", 3)}
GENERATES_WITHIN = 5.0  # seconds after the end of a run


@dataclass(frozen=True)
class Seen:
    """What a run left, and how the WebUI was before it."""

    losses: list[float]
    samples: dict[str, bytes]  # pixels by file name
    file: bytes
    pixels: bytes  # of the WebUI's own picture
    bits: str  # digest of the WebUI's model

    @property
    def without_first(self) -> dict[str, bytes]:
        return dict(sorted(self.samples.items())[1:])


class Scene:
    """A WebUI with a project, and runs in it that are all the same."""

    def __init__(self, webui: Webui, project: str) -> None:
        self.webui = webui
        self.project = project
        self.undisturbed: Seen | None = None

    @property
    def rest(self) -> Rest:
        return self.webui.rest

    def start(self) -> str:
        run = {
            "max_train_steps": STEPS,
            "sample_prompts": "zuna, girl --w 64 --h 64 --s 4",
            "sample_every_n_steps": SAMPLE_EVERY,
            "sample_at_first": False,
        }
        return self.rest.start(self.project, settings_for(self.webui, run=run))

    def start_until(self, moment: str) -> str:
        """A new run that is held at a moment, or paused."""
        where, after = HELD_AT[moment]
        self.webui.hold(where, after)
        run = self.start()
        self.webui.wait_held()
        if moment == "paused":
            self.rest.post(f"jobs/{self.job()}/pause", {})
            self.webui.release()
            self.webui.wait_idle()  # its model is back
        return run

    def go_on(self, moment: str) -> None:
        if moment == "paused":
            self.rest.post(f"jobs/{self.job()}/continue", {})
        else:
            self.webui.release()

    def job(self) -> str:
        return self.rest.get("live")["running"]["job"]

    def end(self, run: str, state: str = "done") -> Any:
        """The run's record once it has ended, and the WebUI has drawn again soon after."""
        over = self.rest.wait_for_end(self.project, run, state)
        before = time.monotonic()
        self.webui.txt2img()
        assert time.monotonic() - before < GENERATES_WITHIN
        return over

    def seen(self, run: str) -> Seen:
        found = {one["name"]: self.sample(run, one["name"]) for one in self.rest.run(self.project, run)["samples"]}
        path = next(self.webui.loras.rglob(f"*{run}*{STEPS:06d}*.safetensors"), None)
        return Seen(
            losses=losses(self.webui, self.project, run),
            samples=found,
            file=weights(path) if path else b"",
            pixels=self.webui.txt2img().pixels,
            bits=self.webui.hash()["tensors"],
        )

    def sample(self, run: str, name: str) -> bytes:
        path = next(self.webui.data.rglob(f"{self.project}/runs/{run}/samples/{name}"))
        with Image.open(path) as image:
            return image.convert("RGB").tobytes()

    def said(self, run: str) -> str:
        """The run's log in words."""
        lines = self.rest.get(f"projects/{self.project}/runs/{run}/log")["lines"]
        return "\n".join(line["text"] for line in lines)

    def expect_the_same(self, run: str) -> None:
        """Everything as in the undisturbed run, samples too."""
        assert self.seen(run) == self.undisturbed


def weights(path: Path) -> bytes:
    """All tensors of a LoRA file; its metadata holds times."""
    from safetensors.torch import load_file

    return b"".join(value.numpy().tobytes() for _, value in sorted(load_file(path).items()))


@pytest.fixture(scope="module")
def undisturbed(webuis: Callable[..., Webui]) -> Scene:
    """A scene with a run that nobody disturbed."""
    webui = webuis()
    webui.put_in_order()
    scene = Scene(webui, new_project(webui, "Disturbed"))
    pixels, before = webui.txt2img().pixels, webui.hash()
    run = scene.start()
    scene.end(run)
    scene.undisturbed = scene.seen(run)
    assert scene.undisturbed.pixels == pixels
    assert webui.hash().against(before) == {}
    assert len(scene.undisturbed.losses) == STEPS
    assert len(scene.undisturbed.samples) == STEPS // SAMPLE_EVERY
    assert len(set(scene.undisturbed.losses)) == STEPS
    return scene


@pytest.fixture
def scene(undisturbed: Scene) -> Iterator[Scene]:
    undisturbed.webui.put_in_order()
    before = undisturbed.webui.hash()
    yield undisturbed
    undisturbed.webui.release()
    undisturbed.rest.end_jobs()
    after = undisturbed.webui.hash()
    # Another checkpoint that comes and goes leaves a new object, in which the WebUI sets this one flag otherwise.
    assert set(after.against(before)) <= {"cond_stage_model (module)"}


def test_the_same_run_again_is_the_same(scene: Scene) -> None:
    run = scene.start()
    scene.end(run)
    scene.expect_the_same(run)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("press", ["interrupt", "interrupt after this", "skip"])
def test_interrupt_and_skip_cancel_at_most_one_sample(scene: Scene, press: str, moment: str) -> None:
    run = scene.start_until(moment)
    if press == "interrupt after this":
        scene.webui.inside("buttons", "interrupt")
    else:
        scene.webui.sdapi(press, {})
    scene.go_on(moment)
    scene.end(run)

    seen, usual = scene.seen(run), scene.undisturbed
    assert seen.losses == usual.losses
    assert (seen.file, seen.pixels, seen.bits) == (usual.file, usual.pixels, usual.bits)
    if moment != "sampling":
        assert seen.samples == usual.samples
    elif press == "interrupt after this":  # which lets the one that is being drawn be finished
        assert seen.samples in (usual.samples, usual.without_first)
    else:
        assert seen.samples == usual.without_first
        assert "cancel" in scene.said(run)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_generation_waits_and_happens_afterwards(scene: Scene, moment: str) -> None:
    run = scene.start_until(moment)
    drawn = in_thread(scene.webui.txt2img)
    if moment == "paused":
        assert drawn.result(30).pixels == scene.undisturbed.pixels
    else:
        time.sleep(0.5)
        assert not drawn.done()
    scene.go_on(moment)
    scene.end(run)
    assert drawn.result(5).pixels == scene.undisturbed.pixels
    scene.expect_the_same(run)


@pytest.mark.parametrize("moment", MOMENTS)
def test_another_checkpoint_is_loaded_afterwards(scene: Scene, moment: str) -> None:
    run = scene.start_until(moment)
    chosen = in_thread(lambda: scene.webui.choose("sd2v"))
    if moment == "paused":
        chosen.result(60)
        assert scene.webui.state()["loaded"].startswith("nano_sd2v")
    else:
        wait_for(lambda: scene.webui.state()["chosen"], lambda name: name.startswith("nano_sd2v"))
        assert scene.webui.state()["loaded"].startswith("nano_sd1")
    scene.go_on(moment)
    scene.end(run)
    chosen.result(60)
    assert scene.webui.state()["loaded"].startswith("nano_sd2v")
    assert scene.webui.state()["chosen"].startswith("nano_sd2v")
    scene.webui.choose("sd1")
    scene.expect_the_same(run)


@pytest.mark.parametrize("moment", MOMENTS)
def test_reload_ui_leaves_the_run_alive(scene: Scene, moment: str) -> None:
    run = scene.start_until(moment)
    job = scene.job()
    scene.webui.reload_ui()
    assert scene.job() == job
    scene.go_on(moment)
    scene.end(run)
    seen, usual = scene.seen(run), scene.undisturbed
    if moment == "sampling":  # the WebUI interrupts what is being drawn
        usual = replace(usual, samples=usual.without_first)
    assert seen == usual


@pytest.mark.parametrize("moment", MOMENTS)
def test_unload_ends_the_run_with_a_sentence(scene: Scene, moment: str) -> None:
    run = scene.start_until(moment)
    unloaded = in_thread(lambda: scene.webui.sdapi("unload-checkpoint", {}))
    if moment == "paused":
        unloaded.result(30)
        scene.go_on(moment)
        scene.end(run)
        scene.expect_the_same(run)
        return
    time.sleep(0.5)
    scene.go_on(moment)
    over = scene.rest.wait_for_end(scene.project, run, "failed")
    assert over["error"]["code"] == "host.unloaded"
    unloaded.result(5)
    scene.webui.sdapi("reload-checkpoint", {})
    assert drawn_within(scene.webui, GENERATES_WITHIN) == scene.undisturbed.pixels
    assert scene.webui.hash()["tensors"] == scene.undisturbed.bits
    following = scene.start()
    scene.end(following)
    scene.expect_the_same(following)


@pytest.mark.parametrize("moment", MOMENTS)
def test_reload_checkpoint_changes_nothing(scene: Scene, moment: str) -> None:
    run = scene.start_until(moment)
    reloaded: Future[Any] = in_thread(lambda: scene.webui.sdapi("reload-checkpoint", {}))
    reloaded.result(30)
    scene.go_on(moment)
    scene.end(run)
    scene.expect_the_same(run)


def test_settings_are_applied_afterwards(scene: Scene) -> None:
    """Another attention and a CLIP skip, chosen in the middle of a run; samples are drawn as the WebUI is set by then."""
    run = scene.start_until("training")
    changed = in_thread(
        lambda: scene.webui.set_options(
            cross_attention_optimization="sdp-no-mem - scaled dot product without memory efficient attention",
            CLIP_stop_at_last_layers=2,
            token_merging_ratio=0.5,
        )
    )
    time.sleep(0.5)
    scene.go_on("training")
    scene.end(run)
    changed.result(30)
    assert scene.webui.state()["attention"] == "sdp-no-mem"
    scene.webui.put_in_order()
    seen = scene.seen(run)
    assert len(seen.samples) == len(scene.undisturbed.samples)
    assert replace(seen, samples=scene.undisturbed.samples) == scene.undisturbed


def drawn_within(webui: Webui, seconds: float) -> bytes:
    before = time.monotonic()
    pixels = webui.txt2img().pixels
    assert time.monotonic() - before < seconds
    return pixels
