"""Which requests a page of another site made."""

from __future__ import annotations

import pytest

from lib_lora_train.origin import LOOPBACK_HOSTS, allowed_names, host_name, is_foreign


class Headers(dict[str, str]):
    """One value a name, but for `origins`."""

    origins: tuple[str, ...] | None = None

    def getlist(self, key: str) -> list[str]:
        if key == "origin" and self.origins is not None:
            return list(self.origins)
        return [self[key]] if key in self else []


@pytest.mark.parametrize(
    ("headers", "scheme", "foreign"),
    [
        ({}, "http", False),  # a program
        ({"origin": "http://localhost:7860"}, "http", False),
        ({"origin": "HTTP://LocalHost:7860"}, "http", False),
        ({"origin": "https://localhost:7860"}, "http", False),  # a proxy speaks https for the server
        ({"origin": "https://localhost:7860"}, "https", False),
        ({"origin": "http://localhost:7860"}, "https", True),
        ({"origin": "http://localhost"}, "http", True),
        ({"origin": "http://localhost:8000"}, "http", True),
        ({"origin": "http://localhost:7860.evil.example"}, "http", True),
        ({"origin": "http://evil.example"}, "http", True),
        ({"origin": "http://user@localhost:7860"}, "http", True),
        ({"origin": "http://[::1"}, "http", True),
        ({"origin": "localhost:7860"}, "http", True),
        ({"origin": "null"}, "http", True),
        ({"origin": "null", "sec-fetch-site": "same-origin"}, "http", True),
        ({"origin": ""}, "http", True),
        ({"origin": "https://public.example", "sec-fetch-site": "same-origin"}, "http", False),  # Host was changed
        ({"origin": "http://localhost:7860", "sec-fetch-site": "same-site"}, "http", True),
        ({"sec-fetch-site": "cross-site"}, "http", True),
        ({"sec-fetch-site": "same-site"}, "http", True),
        ({"sec-fetch-site": "none"}, "http", False),  # typed into the address bar
        ({"sec-fetch-site": "same-origin"}, "http", False),
        ({"referer": "http://evil.example/x"}, "http", True),
        ({"referer": "http://localhost:7860/x"}, "http", False),
        ({"referer": "http://evil.example/x", "sec-fetch-site": "none"}, "http", False),
        ({"origin": "http://evil.example", "x-forwarded-host": "evil.example"}, "http", True),
    ],
)
def test_table(headers: dict[str, str], scheme: str, foreign: bool) -> None:
    assert is_foreign(Headers(host="localhost:7860", **headers), scheme) is foreign


def test_two_origins_are_foreign() -> None:
    headers = Headers(host="localhost:7860")
    headers.origins = ("http://localhost:7860", "http://localhost:7860")
    assert is_foreign(headers, "http")


def test_without_a_host_every_origin_is_foreign() -> None:
    assert is_foreign(Headers(origin="http://"), "http") and is_foreign(Headers(origin="http://localhost"), "http")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:7860", "localhost"),
        ("LOCALHOST", "localhost"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]:7860", "[::1]"),
        ("[::1]", "[::1]"),
        ("[::1", ""),
        ("localhost.evil.example:7860", "localhost.evil.example"),
        ("localhost.", "localhost."),
        ("", ""),
    ],
)
def test_host_name(header: str, name: str) -> None:
    assert host_name(header) == name


def test_names_are_compared_as_headers_write_them() -> None:
    assert allowed_names({"MyBox", "::1", "[fe80::1]", "10.0.0.5", ""}) == {"mybox", "[::1]", "[fe80::1]", "10.0.0.5"}
    assert allowed_names(LOOPBACK_HOSTS) == LOOPBACK_HOSTS
