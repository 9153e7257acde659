"""A model hub on this computer, which can be told to misbehave."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class FakeHub:
    """`files` by path; those that end in .onnx are large ones (redirected, SHA-256), others small (git's hash).

    `fault` is what it does wrong, `times` how often (None: always); `after` bytes pass before a body is cut.
    """

    files: dict[str, bytes]
    fault: str = ""
    times: int | None = None
    after: int = 0
    target: str = ""
    mirror: bool = False  # the first answer is a bare redirect, as of a renamed repository or a mirror
    ranges: bool = True
    any_revision: bool = False
    commit: str = COMMIT
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    endpoint: str = ""
    released: threading.Event = field(default_factory=threading.Event)

    def misbehaves(self, *faults: str) -> bool:
        if self.fault not in faults or self.times == 0:
            return False
        if self.times:
            self.times -= 1
        return True


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def log_message(self, *args: object) -> None:
        pass

    def answer(self, body: bool) -> None:
        hub = self.hub
        hub.requests.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
        if hub.misbehaves("silent") or (not body and hub.misbehaves("silent head")):
            hub.released.wait(20)
            return self.close()
        if re.fullmatch(r"\d{3}", hub.fault) and hub.misbehaves(hub.fault):
            return self.send(int(hub.fault), {}, b"{}", body)
        if hub.misbehaves("page") or (body and hub.misbehaves("page for a file")):
            return self.send(200, {"Content-Type": "text/html; charset=utf-8"}, PAGE, body)
        if hub.misbehaves("redirect") or (body and hub.misbehaves("redirect of a file")):
            return self.send(302, {"Location": hub.target}, b"", body)
        if hub.misbehaves("loop"):
            return self.send(307, {"Location": self.path}, b"", body)
        if self.path.startswith("/cdn/"):
            return self.content(hub.files[self.path.removeprefix("/cdn/").split("?")[0]], {}, body)
        if hub.mirror and "?" not in self.path:
            return self.send(307, {"Location": f"{self.path}?again=1"}, b"Temporary Redirect", body)
        found = re.fullmatch(r"/[^/]+/[^/]+/resolve/([^/]+)/([^?]+)(?:\?.*)?", self.path)
        if not found or found[2] not in hub.files or not (hub.any_revision or found[1] in ("main", hub.commit)):
            return self.send(404, {}, b"{}", body)
        data = hub.files[found[2]]
        headers = {} if hub.fault == "no commit" else {"X-Repo-Commit": hub.commit}
        if found[2].endswith(".onnx"):
            digest = hashlib.sha256(data).hexdigest()
            headers |= {
                "X-Linked-Etag": f'"{digest}"',
                "X-Linked-Size": str(len(data)),
                "Location": f"/cdn/{found[2]}?signed=1",
            }
            return self.send(302, headers, b"Found", body)
        return self.content(data, headers | {"ETag": f'"{git_hash(data)}"'}, body)

    def content(self, data: bytes, headers: dict[str, str], body: bool) -> None:
        hub = self.hub
        if body and hub.misbehaves("other content"):
            data = bytes([data[0] ^ 1]) + data[1:]
        start, status = 0, 200
        if body and hub.ranges and (wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))):
            start, status = int(wanted[1]), 206
            headers = headers | {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        if body and hub.misbehaves("cut", "stall"):
            self.head(status, headers | {"Content-Length": str(len(data) - start)})
            self.wfile.write(data[start : start + hub.after])
            self.wfile.flush()
            if hub.fault == "stall":
                hub.released.wait(20)
            return self.close()
        self.send(status, headers, data[start:], body)

    def send(self, status: int, headers: dict[str, str], data: bytes, body: bool) -> None:
        self.head(status, {"Content-Type": "application/octet-stream", "Content-Length": str(len(data))} | headers)
        if body:
            self.wfile.write(data)

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def close(self) -> None:
        self.close_connection = True


@contextmanager
def running(hub: FakeHub) -> Iterator[FakeHub]:
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *args: None  # a client that leaves in the middle is what some tests are about
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
