"""Who is calling, and whether they may: checked for every request before anything of its body is read.

A caller shows one of: a page's token as a header, the same as a cookie (pictures and downloads only: a cookie alone
changes nothing), a name and password of the REST calls (Basic), the host's own login.

    no logins, local         everything is open
    no logins, reachable     a page's token; REST calls without a page where a launch flag allows them
    logins                   a page's token, Basic where REST calls have logins, the host's login where the page has one
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from anyio import CapacityLimiter
from fastapi import Request

from lib_lora_train.access import Exposure, Session, Visitor, check_folders, pick_language
from lib_lora_train.api.policies import Policy
from lib_lora_train.errors import UserError
from lib_lora_train.origin import allowed_names, host_name, is_foreign
from lib_lora_train.studio import Studio

TOKEN_HEADER = "x-lora-train"
UPLOADS = 8  # at a time; each takes a thread, of which the host needs some too
SessionUser = Callable[[Request], str | None]


@dataclass(frozen=True)
class Credentials:
    """What a caller has shown, and what of it is good. `stale`: a page's token that is not known (any more)."""

    page: Session | None = None
    cookie: Session | None = None
    user: str = ""
    stale: bool = False

    def name(self) -> str:
        session = self.page or self.cookie
        return self.page.name if self.page else self.user or (session.name if session else "")

    def allow(self, exposure: Exposure, wanted: Policy) -> None:
        """Raises UserError: api.session, api.login, api.page, access.folders."""
        if wanted is Policy.OPEN:
            return
        known = self.page or self.user or (self.cookie and not wanted.writes)
        if not known and (exposure.has_logins or not exposure.writes_without_page):
            if self.stale:
                raise UserError("api.session")
            raise UserError("api.login") if exposure.has_logins else UserError("api.page")
        if wanted is Policy.FOLDERS:
            check_folders(exposure, "path")


@dataclass(frozen=True)
class Call:
    """A request that was let in."""

    studio: Studio
    visitor: Visitor
    may_write: bool
    gate: Gate

    @property
    def language(self) -> str:
        return self.visitor.language


class Gate:
    """The door of one mounted set of routes.

    `logins` are the names and passwords of REST calls; `session_user` tells who is logged in by the host's own means;
    `hosts` are the names the server may be called by (any, when None).
    """

    def __init__(
        self,
        studio: Studio,
        session_user: SessionUser | None = None,
        logins: Mapping[str, str] | None = None,
        hosts: Iterable[str] | None = None,
        assets: Path | None = None,
    ) -> None:
        self.studio = studio
        self.cookie = f"lora_train_{studio.id}"
        self.assets = assets
        self._uploads: CapacityLimiter | None = None
        self._session_user = session_user
        self._logins = {name: _digests(name, password) for name, password in (logins or {}).items()}
        self._hosts = None if hosts is None else allowed_names(hosts)

    def uploads(self) -> CapacityLimiter:
        """What keeps uploads from taking all threads; made by the first one, for it needs a running event loop."""
        if self._uploads is None:
            self._uploads = CapacityLimiter(UPLOADS)
        return self._uploads

    def language(self, request: Request) -> str:
        return pick_language(self.studio.language, request.headers.get("accept-language", ""))

    def asks_for_login(self, request: Request) -> bool:
        """Whether a refusal should make the caller show a name and password. A page would only open a prompt."""
        return self.studio.exposure.rest_login and TOKEN_HEADER not in request.headers

    def admit(self, request: Request, wanted: Policy) -> Call:
        """Raises UserError: api.host, api.origin, and what `Credentials.allow` raises."""
        if self._hosts is not None and host_name(request.headers.get("host", "")) not in self._hosts:
            raise UserError("api.host", "Host")
        if is_foreign(request.headers, request.scope["scheme"]):
            raise UserError("api.origin", "Origin")
        shown, exposure = self._credentials(request), self.studio.exposure
        shown.allow(exposure, wanted)
        token = shown.page.token if shown.page else ""
        visitor = Visitor(shown.name(), token, self.language(request))
        may_write = _is_allowed(shown, exposure, Policy.WRITE)
        return Call(self.studio, visitor, may_write, self)

    def _credentials(self, request: Request) -> Credentials:
        exposure, sessions = self.studio.exposure, self.studio.sessions
        token = request.headers.get(TOKEN_HEADER, "")
        page = sessions.find(token) if token else None
        cookie = sessions.find(request.cookies.get(self.cookie, ""))
        user = self._basic_user(request.headers.get("authorization", "")) if exposure.rest_login else ""
        if not user and exposure.login and self._session_user is not None:
            user = self._session_user(request) or ""
        return Credentials(page, cookie, user, stale=bool(token) and page is None)

    def _basic_user(self, header: str) -> str:
        """The name that a Basic header proves; empty for none. Takes as long for a wrong name as for a right one."""
        kind, _, encoded = header.partition(" ")
        try:
            name, colon, password = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, ValueError):
            return ""
        if kind.lower() != "basic" or not colon:
            return ""
        given, found = _digests(name, password), ""
        for known, digests in self._logins.items():
            if hmac.compare_digest(given, digests):
                found = known
        return found


def _digests(name: str, password: str) -> bytes:
    """Of the same length for all, so that comparing tells nothing."""
    return hashlib.sha256(name.encode("utf-8")).digest() + hashlib.sha256(password.encode("utf-8")).digest()


def _is_allowed(shown: Credentials, exposure: Exposure, wanted: Policy) -> bool:
    try:
        shown.allow(exposure, wanted)
    except UserError:
        return False
    return True
