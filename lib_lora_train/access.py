"""Who may do what: how far the server can be reached, who is calling, and whose a thing is.

    local                    everything
    reachable, with login    everything but folders of the server named by path
    reachable, no login      the page works inside the projects' folder under quotas; writing REST calls that do not
                             come from a page are refused, unless a launch flag allows them

A page gets a token when it opens, through the host's own login where there is one. The token stands for its visitor
from then on: as a header for what changes something, as a cookie for pictures and downloads.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass

from lib_lora_train.errors import UserError
from lib_lora_train.messages import DEFAULT_LANGUAGE, LANGUAGES

MAX_SESSIONS = 4096  # the page that was not used for longest has to be loaded again


@dataclass(frozen=True)
class Exposure:
    """How far the server can be reached, as its launch flags say. An address a request came from proves nothing."""

    local: bool = True  # listens on this machine only
    login: bool = False  # the page asks for a login
    rest_login: bool = False  # REST calls ask for one (the WebUI's --api-auth)
    hide_paths: bool = False  # --hide-ui-dir-config
    open_rest: bool = False  # allows writing REST calls to whoever can reach the server

    @property
    def has_logins(self) -> bool:
        return self.login or self.rest_login

    @property
    def names_folders(self) -> bool:
        """Whether visitors may name folders of the server."""
        return self.local and not self.hide_paths

    @property
    def writes_without_page(self) -> bool:
        """Whether REST calls may change things without a page's token or a login."""
        return self.local or self.open_rest

    @property
    def has_quotas(self) -> bool:
        return not self.local and not self.has_logins


@dataclass(frozen=True)
class Visitor:
    """Who is calling. `name` is the login, empty where there is none; `session` is the page's, empty for other calls."""

    name: str = ""
    session: str = ""
    language: str = DEFAULT_LANGUAGE


@dataclass(frozen=True)
class Session:
    """An open page."""

    token: str
    name: str  # of the login


class Sessions:
    """The open pages of one server; thread-safe."""

    def __init__(self, most: int = MAX_SESSIONS) -> None:
        self._most = most
        self._guard = threading.Lock()
        self._by_token: OrderedDict[str, Session] = OrderedDict()

    def open(self, name: str = "") -> Session:
        session = Session(secrets.token_urlsafe(24), name)
        with self._guard:
            self._by_token[session.token] = session
            while len(self._by_token) > self._most:
                self._by_token.popitem(last=False)
        return session

    def find(self, token: str) -> Session | None:
        """The page's session; None for a token that was never given, or is forgotten."""
        with self._guard:
            session = self._by_token.get(token)
            if session is not None:
                self._by_token.move_to_end(token)
            return session


def check_folders(exposure: Exposure, where: str) -> None:
    """Raises UserError("access.folders") where visitors may not name folders of the server."""
    if not exposure.names_folders:
        raise UserError("access.folders", where)


def is_mine(exposure: Exposure, visitor: Visitor, owner: str) -> bool:
    """Whether a project or job of `owner` is the visitor's to see and change. Without logins all is everybody's."""
    return not exposure.has_logins or owner in ("", visitor.name)


def check_owner(exposure: Exposure, visitor: Visitor, owner: str, where: str) -> None:
    """Raises UserError("access.not_owner")."""
    if not is_mine(exposure, visitor, owner):
        raise UserError("access.not_owner", where)


def pick_language(setting: str, accepted: str) -> str:
    """The language of a page: the host's own `setting` where it has one, else the browser's first (Accept-Language).

    "zh_CN", "zh-Hans", "zh" and the like are Chinese; everything else that is not shipped is English.
    """
    first = (setting if setting not in ("", "None") else accepted.split(",")[0].split(";")[0]).strip().lower()
    return next((known for known in LANGUAGES if known[:2] == first[:2] and first), DEFAULT_LANGUAGE)
