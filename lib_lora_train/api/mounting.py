"""All routes, and how they get into an application."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute

from lib_lora_train.api import (
    captions,
    jobs,
    models,
    pages,
    picks,
    pictures,
    prepare,
    presets,
    previews,
    projects,
    runs,
    sources,
    tag_batches,
    tag_binding,
    tag_files,
    tags,
    uploads,
)
from lib_lora_train.api.gate import Gate, SessionUser
from lib_lora_train.api.policies import Body, Policy, policy
from lib_lora_train.api.route import guarded_by
from lib_lora_train.errors import UserError
from lib_lora_train.studio import Studio

PREFIX = "/lora-train/v1"
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
# Method, path below the prefix, endpoint.
ROUTES: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    *pages.ROUTES,
    *projects.ROUTES,
    *pictures.ROUTES,
    *uploads.ROUTES,
    *captions.ROUTES,
    *prepare.ROUTES,
    *sources.ROUTES,
    *tags.ROUTES,
    *tag_batches.ROUTES,
    *tag_binding.ROUTES,
    *tag_files.ROUTES,
    *models.ROUTES,
    *runs.ROUTES,
    *jobs.ROUTES,
    *presets.ROUTES,
    *picks.ROUTES,
    *previews.ROUTES,
)


def mount(
    app: FastAPI,
    studio: Studio,
    assets: Path | None = None,
    *,
    session_user: SessionUser | None = None,
    logins: Mapping[str, str] | None = None,
    hosts: Iterable[str] | None = None,
) -> None:
    """Adds the routes to `app`, which may be serving already; those of an earlier call are replaced.

    assets: folder with javascript/ and style.css, served below /assets; None where the host serves them.
    session_user: the name of whoever is logged in by the host's own means (`Exposure.login`), None for nobody.
    logins: names and passwords of REST calls (`Exposure.rest_login`).
    hosts: names the server may be called by, without ports (`origin.LOOPBACK_HOSTS` and the address it listens on,
    for one that only this machine can reach); None checks nothing.
    """
    gate = Gate(studio, session_user, logins, hosts, assets)
    others = [route for route in app.router.routes if not str(getattr(route, "path", "")).startswith(f"{PREFIX}/")]
    # In front: what the host mounts at "/" would take everything. A new list, since requests are being matched.
    app.router.routes = [*build_routes(gate), *others]
    app.openapi_schema = None


def build_routes(gate: Gate, routes: Iterable[tuple[str, str, Callable[..., Any]]] = ROUTES) -> list[APIRoute]:
    """Raises TypeError for an endpoint that declares no policy."""
    router = APIRouter(prefix=PREFIX, route_class=guarded_by(gate), tags=["LoRA Train"])
    for method, path, endpoint in routes:
        router.add_api_route(path, endpoint, methods=[method], response_model=None)
    # Whatever else lies below the prefix is ours to refuse, in our own shape; a parameter would not match line breaks.
    router.add_api_route("/", no_route, methods=[*METHODS], response_model=None, include_in_schema=False)
    router.routes[-1].path_regex = re.compile(re.escape(f"{PREFIX}/"))
    return router.routes


@policy(Policy.OPEN, Body.NONE)
async def no_route(request: Request) -> None:
    raise UserError("api.no_route")
