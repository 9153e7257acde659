"""Where a request comes from: the site whose page made it, and the name by which this server was called.

A login in the browser goes along with whatever another site's page asks for, so a request that such a page made is
refused. Middleware of the host is no help: one host lets any site through.

What is believed: `Sec-Fetch-Site`, which no page can set, and `Origin` against `Host`. Not `X-Forwarded-Host`: where the
host answers preflights for everyone, a page can set it. Behind a proxy that changes `Host`, today's browsers still say
"same-origin" over https and on localhost; else the proxy has to pass `Host` on.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Protocol
from urllib.parse import urlsplit

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Headers(Protocol):
    """Starlette's: names in any case, and a name may come more than once."""

    def get(self, key: str, default: str) -> str: ...

    def getlist(self, key: str) -> list[str]: ...


def host_name(header: str) -> str:
    """The name in a Host header, without the port, in small letters; an IPv6 address keeps its brackets."""
    text = header.strip().lower()
    if text.startswith("["):
        return text[: text.find("]") + 1]
    return text.partition(":")[0]


def is_loopback(address: str) -> bool:
    """Whether a server that listens on this address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address.lower() == "localhost"


def allowed_names(hosts: Iterable[str]) -> frozenset[str]:
    """Names as `host_name` gives them; an IPv6 address may stand without brackets."""
    return frozenset(f"[{name}]" if name.count(":") > 1 and name[0] != "[" else name.lower() for name in hosts if name)


def is_foreign(headers: Headers, scheme: str) -> bool:
    """Whether a page of another site made the request. Programs that are no browsers send nothing of this."""
    site, origins = headers.get("sec-fetch-site", ""), headers.getlist("origin")
    if site in ("cross-site", "same-site") or len(origins) > 1:
        return True
    if origins:
        if origins[0] == "null":
            return True
        return site != "same-origin" and not _is_here(origins[0], headers, scheme)
    referer = headers.get("referer", "")
    return not site and bool(referer) and not _is_here(referer, headers, scheme)


def _is_here(address: str, headers: Headers, scheme: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:  # brackets that hold no IPv6 address
        return False
    if scheme == "https" and parts.scheme != "https":
        return False
    return bool(parts.netloc) and parts.netloc.lower() == headers.get("host", "").lower()
