"""Captions proposed over the routes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import PngImagePlugin

from lib_lora_train.access import Exposure
from lib_lora_train.api import captions
from lib_lora_train.collection.limits import Limits
from tests.helpers.pictures import encoded, gradient
from tests.helpers.rest import PNG, Server, error_code

PROMPT = "masterpiece, (red hair:1.2), <script>alert(1)</script>"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return Server(tmp_path_factory.mktemp("captions"), Exposure())


def picture(prompt: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", f"{prompt}\nNegative prompt: ugly\nSteps: 2, Sampler: Euler, CFG scale: 7")
    return encoded(gradient(), "PNG", pnginfo=info)


def test_from_a_picture(server: Server) -> None:
    ask = {"params": {"name": "../x.png", "trigger_word": "zuna"}, "headers": PNG}
    told = server.data("POST", "/captions/from-picture", content=picture(PROMPT), **ask)
    assert told == {"prompt": PROMPT, "caption": "zuna, red hair, <script>alert1</script>"}
    told = server.data("POST", "/captions/from-picture", content=encoded(gradient(), "JPEG"), **ask)
    assert told == {"prompt": "", "caption": ""}


def test_from_a_prompt(server: Server) -> None:
    told = server.data("POST", "/captions/from-prompt", json={"prompt": PROMPT, "trigger_word": "zuna"})
    assert told == {"prompt": PROMPT, "caption": "zuna, red hair, <script>alert1</script>"}
    assert server.data("POST", "/captions/from-prompt", json={"prompt": ""}) == {"prompt": "", "caption": ""}
    told = server.data("POST", "/captions/from-prompt", json={"prompt": "girl", "trigger_word": "z" * 5000})
    assert told["caption"] == "z" * captions.MAX_TRIGGER + ", girl"
    answer = server.call("POST", "/captions/from-prompt", json={"prompt": 3})
    assert (answer.status_code, error_code(answer)) == (422, "api.field_wrong")


def test_what_is_refused(server: Server, tmp_path: Path) -> None:
    answer = server.call("POST", "/captions/from-picture", params={"name": "x.txt"}, content=b"girl", headers=PNG)
    assert (answer.status_code, error_code(answer)) == (400, "image.unknown")
    answer = server.call("POST", "/captions/from-picture", json={"prompt": "girl"})
    assert (answer.status_code, error_code(answer)) == (415, "api.type")
    small = Server(tmp_path, Exposure(), limits=Limits(file_bytes=100))
    answer = small.call("POST", "/captions/from-picture", content=picture("girl"), headers=PNG)
    assert (answer.status_code, error_code(answer)) == (413, "api.too_large")
