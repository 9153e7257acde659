"""What the WebUI's launch flags say about who can reach it, by which logins, and under which names."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

from lib_lora_train.access import Exposure
from lib_lora_train.origin import LOOPBACK_HOSTS, is_loopback

EVERYWHERE = "0.0.0.0"
LOOPBACK = "127.0.0.1"
SERVER_NAME = "GRADIO_SERVER_NAME"  # the environment variable by which gradio is told an address


@dataclass(frozen=True)
class Reach:
    """How the server is reached. `logins` are the passwords of REST calls by name. `hosts` are the names that a server
    answers to which only this machine can reach; None for one that others reach, by whatever name."""

    exposure: Exposure
    logins: Mapping[str, str]
    hosts: tuple[str, ...] | None


def reach(flags: argparse.Namespace, page_login: bool, environment: Mapping[str, str]) -> Reach:
    """`flags` are the WebUI's. `page_login`: names and passwords are set for its page."""
    address = listens_on(flags, environment)
    local = is_loopback(address) and not _is_forwarded(flags)
    logins = parse_logins(flags.api_auth or "")
    exposure = Exposure(
        local=local,
        login=page_login and not flags.nowebui,  # which only the page asks for
        rest_login=bool(flags.api_auth),
        hide_paths=flags.hide_ui_dir_config,
        open_rest=flags.lora_train_open_rest,
    )
    return Reach(exposure, logins, tuple(sorted({*LOOPBACK_HOSTS, address})) if local else None)


def listens_on(flags: argparse.Namespace, environment: Mapping[str, str]) -> str:
    """The address the server listens on.

    Without a page (`--nowebui`) the WebUI hands its web server no address at all, and that one then listens on every
    one there is.
    """
    if flags.server_name:
        return flags.server_name
    if flags.listen or flags.nowebui:
        return EVERYWHERE
    return environment.get(SERVER_NAME) or LOOPBACK


def _is_forwarded(flags: argparse.Namespace) -> bool:
    """Whether something passes on the calls of other machines: a tunnel, or the proxy that a subpath is there for."""
    return bool(flags.share or flags.ngrok or flags.subpath)


def parse_logins(text: str) -> dict[str, str]:
    """Passwords by name from "ann:secret,bob:other"; what has no colon is none."""
    pairs = (pair.partition(":") for pair in text.split(","))
    return {name: password for name, colon, password in pairs if colon}
