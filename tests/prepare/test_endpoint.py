"""The operator's endpoint, against a real server on this machine that also does everything wrong."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.prepare import endpoint as module
from lib_lora_train.prepare.captioners import captioners, found, label
from lib_lora_train.prepare.endpoint import KEY, MODEL, PROMPT, URL, Endpoint, reduced_jpeg
from lib_lora_train.prepare.tables import CAPTIONERS, TagSettings
from lib_lora_train.signals import Commands, Stopped

PICTURE = Image.new("RGB", (2000, 1000), (200, 30, 30))
Act = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers by what the test has put into `server.acts`, the last one again and again."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(SimpleNamespace(path=self.path, headers=dict(self.headers), body=json.loads(body)))
        acts = self.server.acts
        (acts.pop(0) if len(acts) > 1 else acts[0])(self)

    def do_GET(self) -> None:
        self.server.asked.append(SimpleNamespace(path=self.path, headers=dict(self.headers), body=None))
        self.send_error(405)

    def reply(self, data: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *given: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.acts: list[Act] = [say("a red field")]
        self.asked: list[Any] = []
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave early are what is tested."""


def say(text: object) -> Act:
    return lambda handler: handler.reply(json.dumps({"choices": [{"message": {"content": text}}]}).encode())


def status(code: int, **headers: str) -> Act:
    return lambda handler: handler.reply(b"<html>secret detail</html>", code, **headers)


def raw(data: bytes) -> Act:
    return lambda handler: handler.reply(data)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


def asked(server: Server, commands: Commands | None = None, **changes: Any) -> str:
    given = {"url": server.url, "pause": 0.01, "timeout": 5.0, **changes}
    with Endpoint(**given).loaded(commands) as caption:
        return caption(PICTURE)


def refusal(server: Server, *acts: Act, **changes: Any) -> UserError:
    server.acts = list(acts)
    with pytest.raises(UserError) as caught:
        asked(server, **changes)
    error = caught.value
    assert "secret" not in error.text() + error.text("zh-CN")
    assert "\n" not in error.text()
    return error


# ---------------------------------------------------------------------- what is sent, what comes back


def test_a_picture_goes_out_reduced_and_a_caption_comes_back(server: Server) -> None:
    assert asked(server, model="llava", secret="secret-key", prompt="What is it?") == "a red field"
    (request,) = server.asked
    assert request.path == "/v1/chat/completions"
    assert request.headers["Authorization"] == "Bearer secret-key"
    assert request.headers["Content-Type"] == "application/json"
    assert request.body["model"] == "llava"
    text, picture = request.body["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    head, _, data = picture["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(BytesIO(base64.b64decode(data))) as sent:
        assert (sent.format, sent.size) == ("JPEG", (1024, 512))


def test_without_model_and_key_neither_is_sent(server: Server) -> None:
    asked(server, url=f"{server.url}/chat/completions/")
    (request,) = server.asked
    assert request.path == "/v1/chat/completions"
    assert "Authorization" not in request.headers
    assert "model" not in request.body


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        (' "A girl,\n\nsitting." ', "A girl, sitting."),
        ("<think>a\nb</think>\nA hat", "A hat"),
        ("<think>never ends", ""),
        ("x\x00\x1b[31m\u202ey", "x [31m y"),
        ("long " * 5000, ("long " * 400)[:2000]),
    ],
)
def test_captions_are_one_clean_line(server: Server, text: str, caption: str) -> None:
    server.acts = [say(text)]
    assert asked(server) == caption


def test_what_is_sent_says_nothing_of_the_file() -> None:
    image = Image.new("RGBA", (10, 10), (1, 2, 3, 0))
    exif = Image.Exif()
    exif[0x010E] = "a private note"
    image.info["exif"] = exif.tobytes()
    assert b"private" not in reduced_jpeg(image)


# ---------------------------------------------------------------------- faults


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError) as caught, Endpoint(f"http://127.0.0.1:{port}/v1", pause=0.01).loaded() as caption:
        caption(PICTURE)
    assert caught.value.code == "tagging.endpoint_unreachable"


@pytest.mark.parametrize(
    ("code", "wanted", "times"),
    [
        (401, "tagging.endpoint_key", 1), (403, "tagging.endpoint_key", 1), (404, "tagging.endpoint_refused", 1),
        (400, "tagging.endpoint_refused", 1), (429, "tagging.endpoint_failed", 3), (500, "tagging.endpoint_failed", 3),
        (503, "tagging.endpoint_failed", 3), (418, "tagging.endpoint_failed", 1),
    ],
)  # fmt: skip
def test_refusals(server: Server, code: int, wanted: str, times: int) -> None:
    error = refusal(server, status(code), secret="secret-key")
    assert error.code == wanted
    assert len(server.asked) == times
    if wanted != "tagging.endpoint_key":
        assert str(code) in error.sentence()


def test_it_is_tried_again(server: Server) -> None:
    server.acts = [status(500), status(429), say("at last")]
    assert asked(server) == "at last"
    assert len(server.asked) == 3


def test_how_long_to_wait_is_heard_within_bounds(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(module, "_sleep", lambda seconds, commands: waited.append(seconds))
    server.acts = [status(429, Retry_After="3"), status(429, Retry_After="100000"), say("x")]
    asked(server)
    assert waited == [3.0, 10.0]
    server.acts, waited[:] = [status(429, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT"), say("x")], []
    asked(server)
    assert waited == [0.01]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"<html>", b"[]", b'{"choices": []}', b'{"choices": [{"message": {"content": null}}]}', b"\xff\xfe",
        b'{"error": {"message": "secret"}}', b'{"choices": 5}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_caption(server: Server, data: bytes) -> None:
    assert refusal(server, raw(data)).code == "tagging.endpoint_answer"


def test_a_huge_answer_is_not_read_to_its_end(server: Server) -> None:
    sent: list[int] = []

    def flood(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(2000):
            handler.wfile.write(b"x" * 100_000)
            sent.append(1)

    assert refusal(server, flood).code == "tagging.endpoint_answer"
    time.sleep(0.1)
    assert len(sent) < 1000


def test_an_answer_that_does_not_come(server: Server) -> None:
    before = time.monotonic()
    error = refusal(server, lambda handler: handler.server.over.wait(10), timeout=0.3)
    assert error.code == "tagging.endpoint_slow"
    assert time.monotonic() - before < 8


def test_an_answer_that_drips(server: Server) -> None:
    def drip(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not handler.server.over.wait(0.05):
            handler.wfile.write(b" ")

    assert refusal(server, drip, timeout=0.4).code == "tagging.endpoint_slow"


def test_a_connection_that_is_cut(server: Server) -> None:
    def cut(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "5000")
        handler.end_headers()
        handler.wfile.write(b'{"choi')
        handler.close_connection = True

    assert refusal(server, cut).code in ("tagging.endpoint_unreachable", "tagging.endpoint_answer")


@pytest.mark.parametrize(
    "address",
    [
        "http://example.invalid/v1",
        "http://127.0.0.1:1/v1",
        "http://localhost:9/v1",
        "https://127.0.0.1/x",
        "file:///etc/passwd",
    ],
)
@pytest.mark.parametrize("code", [301, 302, 307])
def test_a_picture_follows_no_redirect_to_another_server(server: Server, address: str, code: int) -> None:
    error = refusal(server, status(code, Location=address), secret="secret-key")
    assert error.code in ("tagging.endpoint_redirect", "tagging.endpoint_failed")
    assert len(server.asked) == 1


def test_a_redirect_within_the_server_is_followed_with_the_picture(server: Server) -> None:
    server.acts = [status(307, Location="/other/chat/completions"), say("there")]
    assert asked(server, secret="k") == "there"
    assert [request.path for request in server.asked] == ["/v1/chat/completions", "/other/chat/completions"]
    assert server.asked[1].body == server.asked[0].body
    assert server.asked[1].headers["Authorization"] == "Bearer k"


def test_redirects_in_a_circle_end(server: Server) -> None:
    assert refusal(server, status(307, Location="/v1/chat/completions")).code == "tagging.endpoint_failed"
    assert len(server.asked) < 40


@pytest.mark.parametrize("act", [lambda handler: handler.server.over.wait(10), status(429, Retry_After="10")])
def test_a_stop_ends_the_wait(server: Server, act: Act) -> None:
    commands = Commands()
    server.acts = [act]
    threading.Timer(0.2, commands.stop).start()
    before = time.monotonic()
    with pytest.raises(Stopped):
        asked(server, commands, timeout=30.0)
    assert time.monotonic() - before < 5


def test_a_proxy_of_the_system_is_not_asked_about_this_machine(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert asked(server) == "a red field"


# ---------------------------------------------------------------------- who sets it up


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/v1",
        "127.0.0.1:80",
        "http://",
        "http://x:y/",
        "http://x /v1",
        "http://x/\nv1",
        "file:///x",
        "http://ü/v1",
    ],
)
def test_bad_addresses(url: str) -> None:
    trouble = Endpoint(url).trouble()
    assert trouble is not None
    assert trouble.code == "tagging.endpoint_address"
    with pytest.raises(UserError), Endpoint(url).loaded():
        pytest.fail("it has no address")


def test_a_key_that_no_header_can_carry() -> None:
    assert Endpoint("http://x/v1", secret="a\r\nX: y").trouble() is not None
    assert Endpoint("http://x/v1", secret="密").trouble() is not None
    assert Endpoint("http://x/v1", secret="sk-123").trouble() is None


def test_it_is_set_up_by_the_environment_alone() -> None:
    assert Endpoint.of({}) is None
    assert Endpoint.of({URL: "  "}) is None
    given = Endpoint.of({URL: "http://x/v1", MODEL: "m", KEY: "sk-123", PROMPT: "p"})
    assert given == Endpoint("http://x/v1", "m", "sk-123", "p")
    assert "sk-123" not in repr(given)
    assert {name for name in TagSettings.__dataclass_fields__ if "endpoint" in name or "url" in name} == set()


def test_its_key_changes_with_what_it_would_say() -> None:
    keys = {
        Endpoint(url, model, "", prompt).key
        for url in ("http://a", "http://b")
        for model in ("m", "n")
        for prompt in ("p", "q")
    }
    assert len(keys) == 8
    assert Endpoint("http://a", secret="one").key == Endpoint("http://a", secret="two").key


class Quiet:
    """A host without captioners of its own."""

    def __init__(self, folder: Any) -> None:
        self.paths, self.device = SimpleNamespace(models=folder), "cpu"

    def captioners(self) -> list[Any]:
        return []


def test_the_captioner_of_the_settings(tmp_path: Any) -> None:
    host, environment = Quiet(tmp_path), {URL: "http://127.0.0.1:1/v1"}
    assert found(host, TagSettings(), environment) is None
    assert found(host, TagSettings(captioner="endpoint"), environment) == Endpoint.of(environment)
    assert [each.name for each in captioners(host, environment)] == ["florence2", "endpoint"]
    for name, code in [
        ("endpoint", "tagging.no_endpoint"),
        ("blip", "tagging.no_captioner"),
        ("deepdanbooru", "tagging.no_captioner"),
    ]:
        with pytest.raises(UserError) as caught:
            found(host, TagSettings(captioner=name), {})
        assert caught.value.code == code
    with pytest.raises(UserError) as caught:
        found(host, TagSettings(captioner="endpoint"), {URL: "nonsense"})
    assert caught.value.code == "tagging.endpoint_address"


def test_all_have_labels() -> None:
    for name in CAPTIONERS[1:]:
        assert label(name)
        assert label(name, "zh-CN")
