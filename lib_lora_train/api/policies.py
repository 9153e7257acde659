"""What a route asks of whoever calls it. Every endpoint carries one; the router refuses to build with one that does not.

OPEN     nothing: what a page needs before it has a session
READ     shows what belongs to a visitor
WRITE    changes something
FOLDERS  as WRITE, and names folders of the server
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

_ATTRIBUTE = "lora_train_rule"

Endpoint = Callable[..., Any]
Decorated = TypeVar("Decorated", bound=Endpoint)


class Policy(Enum):
    OPEN = "open"
    READ = "read"
    WRITE = "write"
    FOLDERS = "folders"

    @property
    def writes(self) -> bool:
        return self in (Policy.WRITE, Policy.FOLDERS)


class Body(Enum):
    """Of a POST, PUT or PATCH; other methods have none."""

    JSON = "application/json"  # read and checked before the endpoint is called
    BYTES = "application/octet-stream"  # the endpoint reads it piece by piece
    NONE = ""  # whatever comes is left alone


@dataclass(frozen=True)
class Rule:
    policy: Policy
    body: Body = Body.JSON


def policy(wanted: Policy, body: Body = Body.JSON) -> Callable[[Decorated], Decorated]:
    """Declares what an endpoint asks of its caller."""

    def declare(endpoint: Decorated) -> Decorated:
        setattr(endpoint, _ATTRIBUTE, Rule(wanted, body))
        return endpoint

    return declare


def rule_of(endpoint: Endpoint) -> Rule:
    """Raises TypeError for an endpoint that declares nothing."""
    rule = getattr(endpoint, _ATTRIBUTE, None)
    if not isinstance(rule, Rule):
        raise TypeError(f"endpoint {getattr(endpoint, '__name__', endpoint)!r} declares no policy")
    return rule
