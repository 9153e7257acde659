"""The route class: checks who calls before the body is read, and lets nothing out but our own shape of answers.

It does all of it itself, without middleware and exception handlers, because the routes are added to an application
that is somebody else's and is serving already.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, ClassVar

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from lib_lora_train.api.gate import Call, Gate
from lib_lora_train.api.policies import Body, Rule, rule_of
from lib_lora_train.api.replies import error_reply, harden
from lib_lora_train.errors import UserError

LOGGER = logging.getLogger("lib_lora_train.api")
MAX_JSON = 1_000_000  # bytes; settings with prompts are a hundredth of it
MAX_DEPTH = 32
_CALL = "lora_train_call"
_WITH_BODY = ("POST", "PUT", "PATCH")


class GuardedRoute(APIRoute):
    """A route whose endpoint declares a policy. `guarded_by` makes the class for one gate."""

    gate: ClassVar[Gate]

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.rule = rule_of(endpoint)
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer, gate, rule = super().get_route_handler(), self.gate, self.rule

        async def guarded(request: Request) -> Response:
            boundary = _Boundary(gate, request)
            with boundary:
                request.scope[_CALL] = gate.admit(request, rule.policy)
                boundary.response = await answer(await _with_body(request, rule))
            return harden(boundary.response)

        return guarded


def guarded_by(gate: Gate) -> type[GuardedRoute]:
    return type("GateRoute", (GuardedRoute,), {"gate": gate})


async def current_call(request: Request) -> Call:
    """The dependency by which an endpoint gets its call."""
    return request.scope[_CALL]


async def body_chunks(request: Request, most: int) -> AsyncIterator[bytes]:
    """The body piece by piece. Raises UserError: api.too_large as soon as more than `most` bytes came, api.cut."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > most:
        raise _too_large(most)
    count = 0
    try:
        async for chunk in request.stream():
            count += len(chunk)
            if count > most:
                raise _too_large(most)
            if chunk:
                yield chunk
    except ClientDisconnect as error:
        raise UserError("api.cut") from error


class _ReadRequest(Request):
    """A request whose JSON has been read and checked."""

    def __init__(self, request: Request, data: bytes, value: object) -> None:
        super().__init__(request.scope, request.receive)
        self._data, self._value = data, value

    async def body(self) -> bytes:
        return self._data

    async def json(self) -> Any:
        return self._value


async def _with_body(request: Request, rule: Rule) -> Request:
    """Checks the kind of a body, and reads one that is JSON. Raises UserError: api.type and what the readers raise."""
    if request.method not in _WITH_BODY or rule.body is Body.NONE:
        return request
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != rule.body.value:
        raise UserError("api.type", "Content-Type", wanted=rule.body.value)
    if rule.body is Body.BYTES:
        return request
    data = b"".join([chunk async for chunk in body_chunks(request, MAX_JSON)]) or b"{}"
    return _ReadRequest(request, data, read_json(data))


def read_json(data: bytes) -> dict[str, Any]:
    """Raises UserError("api.json") for what is no object, is nested too deep, or holds half characters."""
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse)
        _check(value)
        if not isinstance(value, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError) as error:  # the parser does not bound its depth
        raise UserError("api.json") from error
    return value


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check(value: object) -> None:
    """Raises ValueError. A lone surrogate can be written to no file."""
    rest = [(value, 1)]
    while rest:
        item, depth = rest.pop()
        if depth > MAX_DEPTH:
            raise ValueError("nested too deep")
        if isinstance(item, str):
            item.encode("utf-8")
        elif isinstance(item, dict):
            rest += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list):
            rest += [(part, depth + 1) for part in item]


def _too_large(most: int) -> UserError:
    return UserError("api.too_large", most=f"{most / 1_000_000:g}")


class _Boundary:
    """Where a request ends, however it ends: an error becomes an answer and goes no further.

    The caller reads a UserError's words. Of anything else they read that it happened, and the log has the trace.
    """

    response: Response

    def __init__(self, gate: Gate, request: Request) -> None:
        self._gate, self._request = gate, request

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        if isinstance(error, UserError):
            shown = error
        elif isinstance(error, RequestValidationError):
            shown = _shape_error(error)
        elif isinstance(error, ClientDisconnect):
            shown = UserError("api.cut")
        else:
            path = self._request.scope["path"]
            LOGGER.error("%s %r failed", self._request.method, path, exc_info=(type(error), error, trace))
            shown = UserError("api.failed")
        gate, request = self._gate, self._request
        self.response = error_reply(shown, gate.language(request), gate.asks_for_login(request))
        return True


def _shape_error(error: RequestValidationError) -> UserError:
    """The first thing that does not fit, by its name; pydantic's own words differ by version and are English."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    kind = str(first["type"])
    if kind.endswith("missing"):
        return UserError("api.field_missing", place or "body")
    if "extra" in kind:
        return UserError("api.field_unknown", place)
    return UserError("api.field_wrong", place or "body")
