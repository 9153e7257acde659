"""A browser, and `serve` for it to look at. Where there is no browser the tests are skipped, or fail if one is required."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers.browsers import chromium
from tests.helpers.serving import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.helpers.tab import Tab


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, for all tests of this folder; closed after them, as its event loop is in the way of others."""
    yield from chromium()


@pytest.fixture(scope="package")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Starts servers with empty data folders; `serve(*options)`. At the end none may have complained."""
    pytest.importorskip("gradio", reason="needs gradio")
    servers: list[Server] = []

    def start(*options: str) -> Server:
        servers.append(Server(tmp_path_factory.mktemp("served") / "data", *options).start())
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
    assert [server.complaints() for server in servers] == [[] for _ in servers]


@pytest.fixture(scope="package")
def served(serve: Callable[..., Server]) -> Server:
    """A server that the tests share, each with projects of its own."""
    return serve()


@pytest.fixture(autouse=True)
def nothing_left_running(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that fails in the middle of a run leaves it to nobody."""
    yield
    if "served" in request.fixturenames:
        request.getfixturevalue("served").rest().end_jobs()


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[Callable[..., Tab]]:
    """Opens pages: `open_tab(server, query="", login="name:password", **options of the browser's context)`.

    None may bring problems: errors, dialogs, calls to elsewhere.
    """
    from tests.helpers.tab import new_tab

    tabs: list[Tab] = []

    def open_one(server: Server, query: str = "", login: str = "", **options: Any) -> Tab:
        tabs.append(new_tab(browser, server.address, **options))
        if not login:
            return tabs[-1].open(query)
        tabs[-1].log_in(login)
        return tabs[-1]

    yield open_one
    for tab in tabs:
        tab.close()
    assert [list(tab.bad()) for tab in tabs] == [[] for _ in tabs]


@pytest.fixture
def drawings(tmp_path: Path) -> Path:
    """A folder with 16 drawings of one character and their captions."""
    from demo.character import training_set
    from tests.helpers.serving import write_drawings

    return write_drawings(tmp_path / "drawings", training_set()[:16])
