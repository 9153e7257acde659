"""The WebUI's launch flags, and who may do what under them."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from lib_lora_train.host.webui.exposure import Reach, parse_logins, reach

FLAGS: dict[str, Any] = {
    "listen": False, "share": False, "ngrok": None, "server_name": None, "subpath": None, "nowebui": False,
    "api_auth": None, "hide_ui_dir_config": False, "lora_train_open_rest": False,
}  # fmt: skip


def reached(page_login: bool = False, environment: dict[str, str] | None = None, **flags: Any) -> Reach:
    assert flags.keys() <= FLAGS.keys()
    return reach(argparse.Namespace(**{**FLAGS, **flags}), page_login, environment or {})


@pytest.mark.parametrize(
    ("flags", "local"),
    [
        ({}, True),
        ({"listen": True}, False),
        ({"share": True}, False),
        ({"ngrok": "token"}, False),
        ({"server_name": "0.0.0.0"}, False),
        ({"server_name": "192.168.1.5"}, False),
        ({"server_name": "::"}, False),
        ({"server_name": "box.example.org"}, False),  # whoever it is, and it may come to be another
        ({"server_name": "127.0.0.1"}, True),
        ({"server_name": "127.0.0.2"}, True),
        ({"server_name": "localhost"}, True),
        ({"server_name": "::1"}, True),
        ({"server_name": "127.0.0.1", "listen": True}, True),  # the name goes before
        ({"server_name": "127.0.0.1", "share": True}, False),
        ({"subpath": "sd"}, False),  # there is a proxy in front, and who reaches that is not known
        ({"nowebui": True}, False),  # listens everywhere
        ({"nowebui": True, "server_name": "127.0.0.1"}, True),
        ({"environment": {"GRADIO_SERVER_NAME": "0.0.0.0"}}, False),
        ({"environment": {"GRADIO_SERVER_NAME": "0.0.0.0"}, "server_name": "127.0.0.1"}, True),
        ({"hide_ui_dir_config": True}, True),
    ],
)
def test_local(flags: dict[str, Any], local: bool) -> None:
    found = reached(**flags)
    assert found.exposure.local is local
    assert (found.hosts is not None) is local


def test_names_of_a_local_server() -> None:
    assert reached().hosts == ("127.0.0.1", "[::1]", "localhost")
    assert "127.0.0.2" in (reached(server_name="127.0.0.2").hosts or ())


@pytest.mark.parametrize(
    ("flags", "login", "rest_login"),
    [
        ({}, False, False),
        ({"page_login": True}, True, False),
        ({"api_auth": "ann:secret"}, False, True),
        ({"page_login": True, "api_auth": "ann:secret"}, True, True),
        ({"page_login": True, "nowebui": True}, False, False),  # there is no page to log in at
    ],
)
def test_logins(flags: dict[str, Any], login: bool, rest_login: bool) -> None:
    exposure = reached(**flags).exposure
    assert (exposure.login, exposure.rest_login) == (login, rest_login)


def test_what_is_allowed_follows() -> None:
    assert reached().exposure.names_folders
    assert not reached(hide_ui_dir_config=True).exposure.names_folders
    assert not reached(listen=True, page_login=True).exposure.names_folders
    assert reached(listen=True).exposure.has_quotas
    assert not reached(listen=True, page_login=True).exposure.has_quotas
    assert not reached(listen=True).exposure.writes_without_page
    assert reached(listen=True, lora_train_open_rest=True).exposure.writes_without_page


def test_logins_of_rest_calls() -> None:
    assert parse_logins("ann:secret,bob:a:b") == {"ann": "secret", "bob": "a:b"}
    assert parse_logins("") == {}
    assert reached(api_auth="nobody").exposure.rest_login  # asks for a login that nobody has
    assert reached(api_auth="nobody").logins == {}
