"""Around gradio's application: what gets through, to whom, and nothing from elsewhere."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from lib_lora_train.origin import LOOPBACK_HOSTS
from lib_lora_train.studio import Studio
from lib_lora_train.ui import compat
from lib_lora_train.ui.page import build_page
from lib_lora_train.ui.shield import NEEDED, Shield

PAGE = (
    b'<link rel="preconnect" href="https://fonts.example" />\n<link\n rel="x"\n href="https://a.example/b"\n crossorigin>'
    b'<script\n src="https://cdn.example/x.js"\n async\n></script><script type="module" src="./assets/a.js"></script>'
    b'<link rel="stylesheet" href="./assets/a.css"><a href="https://example.org">kept</a>'
)


def ask(app: Any, path: str = "/", host: str | None = "localhost", kind: str = "http") -> tuple[list[Any], bytes]:
    """The messages of one answer, and its body."""
    sent: list[Any] = []

    async def receive() -> Mapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    headers = [] if host is None else [(b"host", host.encode("latin-1"))]
    asyncio.run(app({"type": kind, "path": path, "headers": headers}, receive, send))
    return sent, b"".join(message.get("body", b"") for message in sent)


def answering(body: bytes, content_type: bytes = b"text/html; charset=utf-8") -> Any:
    """An application that answers everything with `body`, in two pieces."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"Content-Type", content_type), (b"Content-Length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body[:40], "more_body": True})
        await send({"type": "http.response.body", "body": body[40:]})

    return app


def test_the_page_loads_nothing_from_elsewhere() -> None:
    sent, body = ask(Shield(answering(PAGE)))
    assert b"cdn.example" not in body and b"fonts.example" not in body and b"a.example" not in body
    assert b"./assets/a.js" in body and b"./assets/a.css" in body and b"kept" in body
    headers = dict(sent[0]["headers"])
    assert headers[b"content-length"] == str(len(body)).encode() and b"Content-Length" not in headers
    assert b"frame-ancestors 'self'" in headers[b"content-security-policy"]


def test_other_answers_pass_unchanged_and_at_once() -> None:
    for path, kind in (("/assets/a.js", b"text/html"), ("/", b"application/json")):
        sent, body = ask(Shield(answering(PAGE, kind)), path)
        assert body == PAGE and len(sent) == 3
        assert (b"x-content-type-options", b"nosniff") in sent[0]["headers"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("127.0.0.1:7861", 200), ("LOCALHOST:80", 200), ("[::1]:7861", 200),
        ("evil.example", 400), ("127.0.0.1.evil.example", 400), ("localhost.evil.example:7861", 400), ("", 400),
        (None, 400), ("evil.example:127.0.0.1", 400),
    ],
)  # fmt: skip
def test_only_names_of_this_machine(host: str | None, status: int) -> None:
    sent, _ = ask(Shield(answering(PAGE), LOOPBACK_HOSTS), "/", host)
    assert sent[0]["status"] == status
    assert ask(Shield(answering(PAGE)), "/", host)[0][0]["status"] == 200  # where others may come, any name is good


@given(path=st.text().map(lambda text: f"/{text}"))
def test_what_is_not_needed_is_not_there(path: str) -> None:
    sent, _ = ask(Shield(answering(PAGE)), path)
    assert (sent[0]["status"] == 200) == (path.strip("/").split("/")[0] in NEEDED)


def test_sockets_are_closed() -> None:
    sent, _ = ask(Shield(answering(PAGE)), "/queue/join", kind="websocket")
    assert sent == [{"type": "websocket.close", "code": 1008}]


# ---------------------------------------------------------------------- the real application


@pytest.fixture
def client(studio: Studio) -> TestClient:
    import gradio as gr

    page = build_page(studio)
    page.auth, page.allowed_paths, page.blocked_paths = None, [], []
    app = gr.routes.App.create_app(page, app_kwargs={"middleware": [Middleware(Shield, hosts=LOOPBACK_HOSTS)]})
    return TestClient(app, base_url="http://127.0.0.1:7861")


def test_gradios_own_page_is_clean(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200 and "gradio_config" in page.text
    loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"([^\"]*)\"", page.text)
    assert loaded and not [address for address in loaded if "//" in address]
    for address in loaded:
        assert client.get(address).status_code == 200, address
    assert client.get("/theme.css").status_code == 200
    assert "http" not in re.sub(r"data:[^)]*|http://www\.w3\.org/\S*", "", client.get("/theme.css").text)


@pytest.mark.parametrize(
    "path",
    [
        "/file=/etc/passwd", "/file/etc/passwd", "/file=pyproject.toml", "/proxy=https://example.org/x", "/upload",
        "/queue/join", "/queue/data", "/api/predict", "/stream/x", "/monitoring", "/custom_component/x", "/docs",
        "/openapi.json", "/robots.txt", "/assets/../../routes.py",
    ],
)  # fmt: skip
def test_gradios_other_routes_are_closed(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
    assert client.post(path, json={}).status_code in (404, 405)


def test_fonts_and_scripts_are_the_machines_own(studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "javascript").mkdir()
    for name in ("lora_train_1_b.js", "lora_train_0_a.js", "other.js"):
        (tmp_path / "javascript" / name).write_text("", encoding="utf-8")
    (tmp_path / "style.css").write_text(".lora_train_x { color: red; }", encoding="utf-8")
    page = build_page(studio, tmp_path)
    assert ".lora_train_x" in page.css
    loads = [dependency for dependency in page.get_config_file()["dependencies"] if dependency["js"]]
    script = next(str(dependency["js"]) for dependency in loads if "createElement" in str(dependency["js"]))
    assert script.index("lora_train_0_a.js?v=") < script.index("lora_train_1_b.js?v=") and "other.js" not in script
    assert page.theme._get_theme_css().count("@import") == 0
    assert getattr(page.theme, "_stylesheets", []) == []


def test_the_login_is_gradios_own(studio: Studio) -> None:
    import gradio as gr

    page = build_page(studio)
    page.auth, page.allowed_paths, page.blocked_paths = [("ann", "secret")], [], []
    app = gr.routes.App.create_app(page)
    client = TestClient(app)
    assert compat.login_of(app, dict(client.cookies)) == ""
    assert client.post("/login", data={"username": "ann", "password": "wrong"}).status_code == 400
    assert compat.login_of(app, dict(client.cookies)) == ""
    assert client.post("/login", data={"username": "ann", "password": "secret"}).status_code == 200
    assert compat.login_of(app, dict(client.cookies)) == "ann"
    names = list(client.cookies)
    assert compat.login_of(app, dict.fromkeys(names, "guessed")) == ""
    assert compat.login_of(app, {}) == ""
