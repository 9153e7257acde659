"""A reverse proxy of few lines: it takes a folder off the address and passes the rest on, as people put it before a
server that is to be one folder of a site."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def proxied(address: str, folder: str) -> Iterator[str]:
    """The address under which the server at `address` is found in `folder`. It keeps the name it is called by."""

    class Handler(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            if not self.path.startswith(f"/{folder}/"):
                self.send_error(404)
                return
            length = int(self.headers.get("content-length") or 0)
            given = {name: value for name, value in self.headers.items() if name.lower() != "accept-encoding"}
            request = urllib.request.Request(
                address.rstrip("/") + self.path.removeprefix(f"/{folder}"),
                self.rfile.read(length) if length else None,
                given,
                method=self.command,
            )
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    self._answer(answer.status, answer.headers.items(), answer.read())
            except urllib.error.HTTPError as error:
                with error:
                    self._answer(error.code, error.headers.items(), error.read())

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _pass_on  # noqa: N815 - so they are called

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/{folder}/"
        finally:
            server.shutdown()
