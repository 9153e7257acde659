"""Around gradio's application when the page stands alone: what it answers, to whom, and nothing from elsewhere.

gradio brings routes that this page has no use for (files of the machine by path, requests to other servers, uploads),
and a page that loads scripts and fonts from other sites. Here only what the page needs gets through, a server that
listens on this machine alone answers only to names of this machine (another site's name may be made to point here),
and the page loads nothing from anywhere else.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from lib_lora_train.origin import host_name

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

NEEDED = frozenset(
    {
        "", "assets", "config", "favicon.ico", "heartbeat", "info", "login", "login_check", "logout", "lora-train",
        "run", "startup-events", "static", "theme.css", "token", "user",
    }
)  # fmt: skip
HEADERS = {
    # Inline scripts and styles, and code made from strings, are how gradio works; other sites are not.
    "content-security-policy": (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval'; img-src 'self' data: blob:; font-src 'self' data:; "
        "media-src 'self' blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
        "frame-ancestors 'self'"
    ),
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
_ELSEWHERE = re.compile(
    rb'<script\b[^>]*\bsrc="https?://[^>]*>\s*</script>|<link\b[^>]*\bhref="https?://[^>]*>', re.IGNORECASE
)


class Shield:
    """ASGI middleware. `hosts` are the names the server may be called by, as `origin.host_name` gives them."""

    def __init__(self, app: Application, hosts: Collection[str] | None = None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})  # events of this page do not go through a queue
        elif not self._is_known(scope):
            await _refuse(send, 400, b"This server is not called by that name.")
        elif scope["path"].strip("/").split("/")[0] not in NEEDED:
            await _refuse(send, 404, b"Not found.")
        else:
            await self._app(scope, receive, _Answer(send, is_page=scope["path"] == "/"))

    def _is_known(self, scope: Scope) -> bool:
        named = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        return self._hosts is None or (len(named) == 1 and host_name(named[0]) in self._hosts)


class _Answer:
    """Passes an answer on with our headers; the page itself is held back until it is whole, and cleaned."""

    def __init__(self, send: Send, is_page: bool) -> None:
        self._send = send
        self._start: Message | None = None
        self._held = b""
        self._is_page = is_page

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            there = list(message.get("headers", ()))
            given = {name.lower() for name, _ in there}
            ours = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in given]
            message = {**message, "headers": [*there, *ours]}
            self._is_page = self._is_page and _header(message, b"content-type").startswith(b"text/html")
            self._start = message
            if not self._is_page:
                await self._send(message)
        elif not self._is_page or message["type"] != "http.response.body":
            await self._send(message)
        else:
            self._held += message.get("body", b"")
            if not message.get("more_body", False):
                await self._send_page()

    async def _send_page(self) -> None:
        body = _ELSEWHERE.sub(b"", self._held)
        start = self._start or {}
        kept = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        await self._send({**start, "headers": [*kept, (b"content-length", str(len(body)).encode())]})
        await self._send({"type": "http.response.body", "body": body})


def _header(message: Message, wanted: bytes) -> bytes:
    return next((value for name, value in message["headers"] if name.lower() == wanted), b"")


async def _refuse(send: Send, status: int, words: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(words)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": words})
