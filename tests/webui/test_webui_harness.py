"""The harness itself: the three families draw, the probe sees one changed bit, a trap catches."""

from __future__ import annotations

from collections.abc import Callable

from tests.helpers.webui import Webui

# A parameter whose first number is one bit of nothing: no picture would show it.
A_WEIGHT = "model.diffusion_model.middle_block.0.in_layers.2.weight"


def test_each_family_draws_the_same_picture_twice(family_webui: Webui, family: str) -> None:
    first = family_webui.txt2img("a (cat:1.2), [dog]")
    assert family_webui.state()["loaded"].startswith(f"nano_{family}")
    assert len(set(first.pixels)) > 16  # not black, which is what NaN gives
    assert family_webui.txt2img("a (cat:1.2), [dog]").pixels == first.pixels
    assert family_webui.txt2img("a (cat:1.2), [dog]", seed=2).pixels != first.pixels
    assert family_webui.txt2img("a dog").pixels != first.pixels


def test_the_hash_sees_one_bit(webui: Webui) -> None:
    before = webui.hash()
    assert webui.hash() == before
    webui.inside("model", "change_one_bit", name=A_WEIGHT)
    changed = webui.hash()
    webui.inside("model", "change_one_bit", name=A_WEIGHT)
    assert changed["tensors"] != before["tensors"]
    assert webui.hash() == before


def test_a_generation_is_held_and_goes_on(webui: Webui) -> None:
    from tests.helpers.webui import in_thread

    expected = webui.txt2img().pixels
    webui.hold("sampling", after=2)
    drawn = in_thread(webui.txt2img)
    webui.wait_held()
    assert webui.state()["locked"]
    assert not drawn.done()
    webui.release()
    assert drawn.result(60).pixels == expected


def test_flags_start_another(start_webui: Callable[..., Webui]) -> None:
    webui = start_webui("--nowebui")
    assert webui.txt2img().pixels
    assert webui.complaints() == []


def test_reload_ui_serves_the_page_again(webui: Webui) -> None:
    before = webui.txt2img().pixels
    webui.reload_ui()
    assert webui.txt2img().pixels == before
