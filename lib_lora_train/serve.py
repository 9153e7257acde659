"""`serve`: the page in a browser, without a WebUI, on the embedded host."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from lib_lora_train.access import Exposure
from lib_lora_train.errors import UserError
from lib_lora_train.messages import LANGUAGES, message
from lib_lora_train.origin import LOOPBACK_HOSTS, is_loopback

if TYPE_CHECKING:
    from lib_lora_train.studio import Studio

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "demo" / "checkpoint"
DEMO_NAME = "demo"
LOOPBACK = "127.0.0.1"
PORT = 7861  # one beside the WebUI's
FOLDERS = ("projects", "loras", "models", "checkpoints")
_POLL_SECONDS = 0.2  # Windows hears Ctrl+C only between two looks


def add_options(parser: argparse.ArgumentParser, language: str) -> None:
    """The options of the command."""

    def add(name: str, metavar: str, **more: Any) -> None:
        parser.add_argument(f"--{name}", metavar=metavar, help=message(f"serve.{name}_help", language), **more)

    add("data", "DIR", type=Path, default=ROOT / "data")
    add("checkpoints", "DIR", type=Path, nargs="+", action="extend", default=[])
    add("port", "N", type=int, default=PORT)
    add("listen", "ADDRESS", default=LOOPBACK)
    add("auth", "USER:PASSWORD", default="")
    add("language", "LANGUAGE", choices=LANGUAGES, default="")


def serve(options: argparse.Namespace, language: str) -> None:
    """Serves the page until Ctrl+C, which ends the running job first and saves it; a second one does not wait.

    Raises UserError: serve.no_folder, serve.auth_form, serve.auth_needed, serve.port, serve.port_taken, serve.address,
    file.write.
    """
    for folder in options.checkpoints:
        if not folder.is_dir():
            raise UserError("serve.no_folder", "--checkpoints", folder=folder)
    logins = parse_logins(options.auth)
    exposure = exposure_of(options.listen, logins)
    port = free_port(options.listen, options.port)
    folders = make_folders(options.data)
    _prepare_environment(options.listen)

    from lib_lora_train import api
    from lib_lora_train.host.base import HostPaths
    from lib_lora_train.host.embedded import EmbeddedHost
    from lib_lora_train.jobs import Registry
    from lib_lora_train.studio import Studio
    from lib_lora_train.ui import compat
    from lib_lora_train.ui.page import ASSETS, build_page, launch_page

    paths = HostPaths(projects=folders["projects"], loras=folders["loras"], models=folders["models"])
    checkpoints = [folders["checkpoints"], *options.checkpoints]
    host = EmbeddedHost(paths, folders=checkpoints, named={DEMO_NAME: DEMO} if DEMO.is_dir() else {})
    studio = Studio(host, Registry(), paths.projects, exposure, language=options.language)
    hosts = sorted({*LOOPBACK_HOSTS, options.listen}) if exposure.local else None
    page = build_page(studio, ASSETS)
    try:
        app = launch_page(page, options.listen, port, logins, hosts, options.data)
    except OSError as error:  # taken since we looked
        raise UserError("serve.port_taken", "--port", port=port) from error
    api.mount(
        app,
        studio,
        ASSETS,
        session_user=lambda request: compat.login_of(app, request.cookies) or None,
        logins=logins,
        hosts=hosts,
    )
    language = options.language or language
    with ended_by_signal() as ended:
        print(message("serve.ready", language, address=f"http://{_name(options.listen)}:{port}/"), flush=True)
        while not ended.wait(_POLL_SECONDS):
            continue
        _close(studio, language)


def _name(address: str) -> str:
    """What a browser of this machine calls it by."""
    return "localhost" if address in ("0.0.0.0", "::") else address


def parse_logins(text: str) -> dict[str, str]:
    """Passwords by name from "ann:secret,bob:other". Raises UserError("serve.auth_form")."""
    logins: dict[str, str] = {}
    for pair in text.split(",") if text else []:
        name, _, password = pair.partition(":")
        if not name.strip() or not password or name.strip() in logins:
            raise UserError("serve.auth_form", "--auth")
        logins[name.strip()] = password
    return logins


def exposure_of(address: str, logins: Mapping[str, str]) -> Exposure:
    """Who may do what on this address. Raises UserError("serve.auth_needed")."""
    local = is_loopback(address)
    if not local and not logins:
        raise UserError("serve.auth_needed", "--listen", address=address)
    return Exposure(local=local, login=bool(logins), rest_login=bool(logins))


def free_port(address: str, port: int) -> int:
    """The port, or for 0 one that is free.

    Raises UserError: serve.port for what is none, serve.port_taken, serve.address for one that is not of this machine.
    """
    if not 0 <= port <= 65535:
        raise UserError("serve.port", "--port", port=port)
    try:
        kind, _, _, _, place = socket.getaddrinfo(address.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UserError("serve.address", "--listen", address=address) from error
    with socket.socket(kind, socket.SOCK_STREAM) as probe:
        if os.name != "nt":  # there it means that two may have the port; here, that one just left it
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
        except PermissionError as error:  # below 1024, which only the system may use
            raise UserError("serve.port", "--port", port=port) from error
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise UserError("serve.address", "--listen", address=address) from error
            raise UserError("serve.port_taken", "--port", port=port) from error
        return probe.getsockname()[1]


def models_folder() -> Path:
    """Where models are kept unless somebody says otherwise; the page and the commands share it."""
    return ROOT / "data" / "models"


def make_folders(data: Path) -> dict[str, Path]:
    """The folders of a data folder. Raises UserError("file.write")."""
    folders = {name: data.resolve() / name for name in FOLDERS}
    for name, folder in folders.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError("file.write", name, reason=error.strerror or str(error)) from error
    return folders


def _prepare_environment(address: str) -> None:
    """Nothing is sent to anybody, and a proxy is not asked for this machine's own pages."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    for name in ("no_proxy", "NO_PROXY"):
        known = [part for part in os.environ.get(name, "").split(",") if part]
        os.environ[name] = ",".join([*known, "localhost", LOOPBACK, address])


@contextmanager
def ended_by_signal() -> Iterator[threading.Event]:
    """Set by the first Ctrl+C, or by a request to end; the next one is a KeyboardInterrupt."""
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        if ended.is_set():
            raise KeyboardInterrupt
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _close(studio: Studio, language: str) -> None:
    """Ends the running job after its step, saves it, and waits for that."""
    if studio.registry.running() is not None:
        print(message("cli.stopping", language), flush=True)
    while not studio.close(_POLL_SECONDS):
        continue
