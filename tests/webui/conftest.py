"""The real WebUI for tests: where it is, started once for each set of flags, and put in order before each test.

Two variables name it: LORA_TRAIN_WEBUI a checkout of the WebUI, LORA_TRAIN_WEBUI_PYTHON the Python with its packages.
Without them these tests are skipped; LORA_TRAIN_REQUIRE=webui makes that a failure. Nothing is downloaded and nothing is
written into the checkout: data, projects and LoRAs are in a temporary folder, the checkpoints in pytest's cache.

Fixtures:
  webui             a `Webui` (tests/helpers/webui.py) shared by all tests, with the narrow SD1 checkpoint loaded
  family            in a test that asks for it: "sd1", "sd2v" and "sdxl" one after the other
  family_webui      the shared `Webui` with that family's checkpoint loaded
  start_webui       start_webui("--medvram", family="sdxl") -> a `Webui` shared by all tests with these flags
  own_webui         own_webui(*flags) -> a `Webui` of this test alone: for those that stop it or fill its folders
  project           id of a new project with four captioned pictures of 64 px in `webui`
  open_tab          open_tab(webui) -> a `WebuiTab` (tests/helpers/webui_tab.py) on its page in Chromium

What a `Webui` can do, in short: rest (our routes), sdapi (the WebUI's), txt2img (pixels of a fixed seed), choose, hash
and state (the probe's), fault and hold (fails or waits at a moment of a run), inside (calls a function of
tests/webui/inside/ within the WebUI), matched, reload_ui, log, stop.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers.browsers import chromium
from tests.helpers.pictures import gradient
from tests.helpers.webui import CHECKOUT, FAMILIES, PYTHON, Installation, Webui

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.helpers.webui_tab import WebuiTab

MOST_RUNNING = 2  # each takes some gigabytes


@pytest.fixture(scope="session")
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The WebUI, with its checkpoints made. At the end its checkout must be as it was."""
    checkout, python = (Path(os.environ.get(name, "")) for name in (CHECKOUT, PYTHON))
    required = "webui" in os.environ.get("LORA_TRAIN_REQUIRE", "").split(",")
    if not (checkout / "webui.py").is_file() or not python.is_file():
        (pytest.fail if required else pytest.skip)(f"needs {CHECKOUT} (a checkout) and {PYTHON} (its python)")
    cache = getattr(request.config, "cache", None)
    program = Path(__file__).with_name("checkpoints.py").read_bytes()
    name = f"webui-{hashlib.sha256(program).hexdigest()[:12]}"
    folder = cache.mkdir(name) if cache is not None else tmp_path_factory.mktemp(name)
    found = Installation(checkout.resolve(), python.absolute(), folder)
    before = files_of(found.checkout)
    found.make_checkpoints()
    yield found
    after = files_of(found.checkout)
    assert [name for name in {**before, **after} if before.get(name) != after.get(name)] == []


@pytest.fixture(scope="session")
def webuis(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Webui]]:
    """`webuis(*flags)`: the one that runs with these flags. Those not asked for lately are stopped."""
    running: dict[tuple[str, ...], Webui] = {}

    def one(*flags: str) -> Webui:
        found = running.pop(flags, None)
        if found is None or not found.running:
            while len(running) >= MOST_RUNNING:
                running.pop(next(iter(running))).stop()
            found = Webui(installation, tmp_path_factory.mktemp("webui") / "data").start(*flags)
        running[flags] = found  # the last one asked for is the last to go
        return found

    yield one
    for webui in running.values():
        webui.stop()


@pytest.fixture
def start_webui(webuis: Callable[..., Webui]) -> Iterator[Callable[..., Webui]]:
    started: list[Webui] = []

    def start(*flags: str, family: str = "sd1") -> Webui:
        started.append(webuis(*flags))
        started[-1].put_in_order(family)
        return started[-1]

    yield start
    for webui in started:
        webui.release()


@pytest.fixture
def webui(start_webui: Callable[..., Webui]) -> Webui:
    return start_webui()


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def family_webui(start_webui: Callable[..., Webui], family: str) -> Webui:
    return start_webui(family=family)


@pytest.fixture
def own_webui(installation: Installation, tmp_path: Path) -> Iterator[Callable[..., Webui]]:
    own: list[Webui] = []

    def start(*flags: str) -> Webui:
        own.append(Webui(installation, tmp_path / f"webui{len(own)}").start(*flags))
        return own[-1]

    yield start
    for webui in own:
        webui.kill()


@pytest.fixture
def project(webui: Webui) -> str:
    return new_project(webui)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, for all tests of this folder; closed after them, as its event loop is in the way of others."""
    yield from chromium()


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[Callable[..., WebuiTab]]:
    """Opens pages: `open_tab(webui, **options of the browser's context)`. None may bring errors of ours."""
    from tests.helpers.webui_tab import WebuiTab

    tabs: list[WebuiTab] = []

    def open_one(webui: Webui, **options: Any) -> WebuiTab:
        tabs.append(WebuiTab.new(browser, webui.address, **options).open())
        return tabs[-1]

    yield open_one
    for tab in tabs:
        tab.close()
    assert [list(tab.bad()) for tab in tabs] == [[] for _ in tabs]


def new_project(webui: Webui, title: str = "Zuna", pictures: int = 4) -> str:
    """The id of a project with captioned pictures."""
    rest = webui.rest
    project = rest.new_project(title, trigger="zuna")
    shown = [(gradient(64, 64 + 8 * number), f"zuna, girl, smile {number}") for number in range(pictures)]
    rest.add_pictures(project, shown)
    return project


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file, but for what the WebUI's Python and git keep for themselves."""
    found = {}
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in (".git", "__pycache__")]
        for file in (Path(path) / name for name in names):
            status = file.lstat()
            found[str(file.relative_to(folder))] = (status.st_size, status.st_mtime_ns)
    return found
