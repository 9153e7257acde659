"""Who may call what: every cell of the table of exposure, login, credentials and policy."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from lib_lora_train.access import Exposure
from lib_lora_train.api import PREFIX
from tests.helpers.rest import LOGINS, USER_HEADER, Server, error_code

# One letter for each way to show who one is: + let in, 1 is 401, 3 is 403. The order is that of CREDENTIALS.
CREDENTIALS = ("nothing", "page", "cookie", "basic", "wrong", "session")
REACH = {
    "local": {"local": True},
    "reachable": {"local": False},
    "open_rest": {"local": False, "open_rest": True},
    "hidden": {"local": True, "hide_paths": True},
}
LOGIN = {
    "none": {},
    "page": {"login": True},
    "rest": {"rest_login": True},
    "both": {"login": True, "rest_login": True},
}
# (login, reach): open, read, write, folders
TABLE = {
    ("none", "local"): ("++++++", "++++++", "++++++", "++++++"),
    ("none", "reachable"): ("++++++", "3++333", "3+3333", "333333"),
    ("none", "open_rest"): ("++++++", "++++++", "++++++", "333333"),
    ("none", "hidden"): ("++++++", "++++++", "++++++", "333333"),
    ("page", "local"): ("++++++", "1++11+", "1+111+", "1+111+"),
    ("page", "reachable"): ("++++++", "1++11+", "1+111+", "131113"),
    ("page", "open_rest"): ("++++++", "1++11+", "1+111+", "131113"),
    ("page", "hidden"): ("++++++", "1++11+", "1+111+", "131113"),
    ("rest", "local"): ("++++++", "1+++11", "1+1+11", "1+1+11"),
    ("rest", "reachable"): ("++++++", "1+++11", "1+1+11", "131311"),
    ("rest", "open_rest"): ("++++++", "1+++11", "1+1+11", "131311"),
    ("rest", "hidden"): ("++++++", "1+++11", "1+1+11", "131311"),
    ("both", "local"): ("++++++", "1+++1+", "1+1+1+", "1+1+1+"),
    ("both", "reachable"): ("++++++", "1+++1+", "1+1+1+", "131313"),
    ("both", "open_rest"): ("++++++", "1+++1+", "1+1+1+", "131313"),
    ("both", "hidden"): ("++++++", "1+++1+", "1+1+1+", "131313"),
}
# A route of each policy, called so that whoever is let in gets 200, or 404 for a project that is not there.
PROBES = (
    ("GET", "/session", None),
    ("GET", "/projects/x-000000", None),
    ("PATCH", "/projects/x-000000", {"title": "x"}),
    ("POST", "/projects/x-000000/import", {"path": "x"}),
)
FOREIGN = {"origin": "http://evil.example"}


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def shown(server: Server, credential: str) -> dict[str, str]:
    return {
        "nothing": {},
        "page": server.page("anna"),
        "cookie": {"cookie": f"lora_train_{server.studio.id}={server.token('anna')}"},
        "basic": {"authorization": basic("anna", LOGINS["anna"])},
        "wrong": {"authorization": basic("anna", LOGINS["ben"])},
        "session": {USER_HEADER: "anna"},
    }[credential]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Server]:
    folder = tmp_path_factory.mktemp("table")
    return {
        key: Server(folder / "-".join(key), Exposure(**REACH[key[1]], **LOGIN[key[0]]))
        for key in [(login, reach) for login in LOGIN for reach in REACH]
    }


def test_the_table_is_whole() -> None:
    assert set(TABLE) == {(login, reach) for login in LOGIN for reach in REACH}
    assert sum(len(letters) for row in TABLE.values() for letters in row) == 16 * 4 * 6


@pytest.mark.parametrize("key", TABLE, ids="-".join)
def test_every_cell(servers: dict[tuple[str, str], Server], key: tuple[str, str]) -> None:
    server, found, wanted = servers[key], {}, {}
    for (method, path, body), letters in zip(PROBES, TABLE[key], strict=True):
        for credential, letter in zip(CREDENTIALS, letters, strict=True):
            options = {} if body is None else {"json": body}
            answer = server.call(method, path, shown(server, credential), **options)
            found[path, credential] = {200: "+", 404: "+", 401: "1", 403: "3"}.get(answer.status_code, answer.text)
            wanted[path, credential] = letter
            asks = answer.headers.get("www-authenticate", "")
            assert asks.startswith("Basic ") == (letter == "1" and "rest_login" in LOGIN[key[0]])
            foreign = server.call(method, path, {**shown(server, credential), **FOREIGN}, **options)
            assert (foreign.status_code, error_code(foreign)) == (403, "api.origin"), (path, credential)
    assert found == wanted


def routes(server: Server) -> dict[tuple[str, str], str]:
    """Method and path of every route, and its policy."""
    return {
        (method, route.path.removeprefix(PREFIX)): route.rule.policy.value
        for route in server.app.router.routes
        if route.path.startswith(PREFIX) and route.include_in_schema
        for method in route.methods
    }


def test_every_route_refuses_who_shows_nothing(servers: dict[tuple[str, str], Server]) -> None:
    """Before the body is looked at: what is sent here is no JSON."""
    for key, status in ((("none", "reachable"), 403), (("both", "reachable"), 401)):
        server = servers[key]
        for (method, path), wanted in routes(server).items():
            if wanted != "open":
                answer = server.call(method, path.replace("{", "").replace("}", ""), content=b"\xff")
                assert answer.status_code == status, (method, path)


# What is published: a new route has to be written down here, with what it asks for.
DECLARED = {
    ("GET", "/session"): "open",
    ("POST", "/session"): "write",
    ("GET", "/schema"): "read",
    ("GET", "/checkpoints"): "read",
    ("GET", "/assets/{name}"): "open",
    ("GET", "/projects"): "read",
    ("POST", "/projects"): "write",
    ("POST", "/projects/restore"): "write",
    ("GET", "/projects/{project_id}"): "read",
    ("PATCH", "/projects/{project_id}"): "write",
    ("DELETE", "/projects/{project_id}"): "write",
    ("POST", "/projects/{project_id}/concepts"): "write",
    ("PATCH", "/projects/{project_id}/concepts/{concept_id}"): "write",
    ("DELETE", "/projects/{project_id}/concepts/{concept_id}"): "write",
    ("GET", "/projects/{project_id}/pictures"): "read",
    ("GET", "/projects/{project_id}/pictures/{picture_id}/thumbnail"): "read",
    ("GET", "/projects/{project_id}/pictures/{picture_id}/view"): "read",
    ("PUT", "/projects/{project_id}/pictures/{picture_id}/caption"): "write",
    ("POST", "/projects/{project_id}/pictures/move"): "write",
    ("POST", "/projects/{project_id}/pictures/delete"): "write",
    ("GET", "/projects/{project_id}/trash"): "read",
    ("POST", "/projects/{project_id}/trash/restore"): "write",
    ("POST", "/projects/{project_id}/files"): "write",
    ("POST", "/projects/{project_id}/import"): "folders",
    ("GET", "/projects/{project_id}/dataset.zip"): "read",
    ("POST", "/captions/from-picture"): "write",
    ("POST", "/captions/from-prompt"): "write",
    ("GET", "/projects/{project_id}/prepare"): "read",
    ("GET", "/projects/{project_id}/prepare/schema"): "read",
    ("PUT", "/projects/{project_id}/prepare/settings"): "write",
    ("POST", "/projects/{project_id}/prepare/start"): "write",
    ("POST", "/projects/{project_id}/prepare/stop"): "write",
    ("POST", "/projects/{project_id}/prepare/apply"): "write",
    ("POST", "/projects/{project_id}/prepare/discard"): "write",
    ("POST", "/projects/{project_id}/prepare/undo"): "write",
    ("GET", "/projects/{project_id}/prepare/report"): "read",
    ("POST", "/projects/{project_id}/prepare/fix"): "write",
    ("POST", "/projects/{project_id}/prepare/tags/preview"): "write",
    ("GET", "/projects/{project_id}/prepare/buckets"): "read",
    ("GET", "/projects/{project_id}/prepare/sources"): "read",
    ("GET", "/projects/{project_id}/prepare/sources/{source_id}"): "read",
    ("GET", "/projects/{project_id}/prepare/sources/{source_id}/thumbnail"): "read",
    ("GET", "/projects/{project_id}/prepare/sources/{source_id}/view"): "read",
    ("GET", "/projects/{project_id}/prepare/sources/{source_id}/preview"): "read",
    ("PUT", "/projects/{project_id}/prepare/sources/{source_id}/crops"): "write",
    ("POST", "/projects/{project_id}/prepare/sources/{source_id}/crops/reset"): "write",
    ("POST", "/projects/{project_id}/prepare/crops/all"): "write",
    ("GET", "/projects/{project_id}/prepare/sources/{source_id}/matte"): "read",
    ("PUT", "/projects/{project_id}/prepare/sources/{source_id}/matte"): "write",
    ("DELETE", "/projects/{project_id}/prepare/sources/{source_id}/matte"): "write",
    ("GET", "/projects/{project_id}/tags"): "read",
    ("POST", "/projects/{project_id}/tags/find"): "write",
    ("POST", "/projects/{project_id}/tags/filter"): "write",
    ("POST", "/projects/{project_id}/tags/pictures"): "write",
    ("PUT", "/projects/{project_id}/tags/caption"): "write",
    ("POST", "/projects/{project_id}/tags/undo"): "write",
    ("POST", "/projects/{project_id}/tags/redo"): "write",
    ("POST", "/projects/{project_id}/tags/rollback"): "write",
    ("POST", "/projects/{project_id}/tags/forward"): "write",
    ("GET", "/projects/{project_id}/tags/log"): "read",
    ("GET", "/projects/{project_id}/tags/schema"): "read",
    ("POST", "/projects/{project_id}/tags/preview"): "write",
    ("POST", "/projects/{project_id}/tags/apply"): "write",
    ("GET", "/projects/{project_id}/tags/binding"): "read",
    ("PUT", "/projects/{project_id}/tags/binding"): "write",
    ("POST", "/projects/{project_id}/tags/binding/apply"): "write",
    ("GET", "/projects/{project_id}/tags/trigger"): "read",
    ("POST", "/projects/{project_id}/tags/trigger"): "write",
    ("GET", "/projects/{project_id}/tags/complete"): "read",
    ("POST", "/projects/{project_id}/tags/form"): "write",
    ("GET", "/projects/{project_id}/tags/export"): "read",
    ("POST", "/projects/{project_id}/tags/import"): "write",
    ("POST", "/projects/{project_id}/tags/import/apply"): "write",
    ("GET", "/models"): "read",
    ("POST", "/models/{name}/fetch"): "write",
    ("POST", "/models/{name}/stop"): "write",
    ("POST", "/projects/{project_id}/plan"): "write",
    ("GET", "/projects/{project_id}/settings"): "read",
    ("GET", "/projects/{project_id}/runs"): "read",
    ("POST", "/projects/{project_id}/runs"): "write",
    ("POST", "/projects/{project_id}/runs/restore"): "write",
    ("GET", "/projects/{project_id}/runs/{run_id}"): "read",
    ("DELETE", "/projects/{project_id}/runs/{run_id}"): "write",
    ("POST", "/projects/{project_id}/runs/{run_id}/resume"): "write",
    ("POST", "/projects/{project_id}/runs/{run_id}/continue"): "write",
    ("GET", "/projects/{project_id}/runs/{run_id}/metrics"): "read",
    ("GET", "/projects/{project_id}/runs/{run_id}/log"): "read",
    ("GET", "/projects/{project_id}/runs/{run_id}/samples/{name}"): "read",
    ("GET", "/projects/{project_id}/runs/{run_id}/files/{name}"): "read",
    ("GET", "/projects/{project_id}/grids"): "read",
    ("POST", "/projects/{project_id}/grids"): "write",
    ("POST", "/projects/{project_id}/grids/plan"): "write",
    ("POST", "/projects/{project_id}/grids/restore"): "write",
    ("POST", "/projects/{project_id}/grids/unpick"): "write",
    ("POST", "/projects/{project_id}/grids/cancel-pick"): "write",
    ("GET", "/projects/{project_id}/grids/picks/{pick_id}/{part}"): "read",
    ("GET", "/projects/{project_id}/grids/tools"): "read",
    ("GET", "/projects/{project_id}/grids/tools/files/{name}"): "read",
    ("POST", "/projects/{project_id}/grids/tools/{tool}"): "write",
    ("POST", "/projects/{project_id}/grids/sweep"): "write",
    ("GET", "/projects/{project_id}/grids/{grid_id}"): "read",
    ("DELETE", "/projects/{project_id}/grids/{grid_id}"): "write",
    ("POST", "/projects/{project_id}/grids/{grid_id}/stop"): "write",
    ("POST", "/projects/{project_id}/grids/{grid_id}/continue"): "write",
    ("POST", "/projects/{project_id}/grids/{grid_id}/redraw"): "write",
    ("POST", "/projects/{project_id}/grids/{grid_id}/pick"): "write",
    ("PUT", "/projects/{project_id}/grids/{grid_id}/stars"): "write",
    ("PUT", "/projects/{project_id}/grids/{grid_id}/scores"): "write",
    ("GET", "/projects/{project_id}/grids/{grid_id}/cells/{key}"): "read",
    ("GET", "/projects/{project_id}/grids/{grid_id}/cells/{key}/thumbnail"): "read",
    ("GET", "/projects/{project_id}/grids/{grid_id}/cells/{key}/text"): "read",
    ("GET", "/projects/{project_id}/grids/{grid_id}/difference/{key}"): "read",
    ("GET", "/projects/{project_id}/grids/{grid_id}/export"): "read",
    ("GET", "/live"): "read",
    ("GET", "/jobs"): "read",
    ("GET", "/jobs/{job_id}"): "read",
    ("POST", "/jobs/{job_id}/stop"): "write",
    ("POST", "/jobs/{job_id}/save"): "write",
    ("POST", "/jobs/{job_id}/sample"): "write",
    ("POST", "/jobs/{job_id}/pause"): "write",
    ("POST", "/jobs/{job_id}/continue"): "write",
    ("POST", "/jobs/{job_id}/cancel"): "write",
    ("POST", "/jobs/{job_id}/move"): "write",
    ("GET", "/presets"): "read",
    ("GET", "/presets/{name}"): "read",
    ("PUT", "/presets/{name}"): "write",
    ("DELETE", "/presets/{name}"): "write",
}


def test_routes_are_those_declared(servers: dict[tuple[str, str], Server]) -> None:
    assert routes(servers["none", "local"]) == DECLARED


def test_no_get_writes_and_nothing_else_is_open() -> None:
    for (method, path), wanted in DECLARED.items():
        assert (method == "GET") == (wanted in ("open", "read")), (method, path)


def test_a_page_is_told_that_it_is_forgotten(servers: dict[tuple[str, str], Server]) -> None:
    """It then gets a new token by itself, and no prompt of the browser's."""
    for key in (("none", "reachable"), ("both", "local")):
        answer = servers[key].call("GET", "/projects", {"x-lora-train": "a token of yesterday"})
        assert (answer.status_code, error_code(answer)) == (401, "api.session")
        assert "www-authenticate" not in answer.headers


def test_a_token_of_another_server_is_none(servers: dict[tuple[str, str], Server]) -> None:
    here, there = servers["page", "local"], servers["both", "local"]
    assert here.call("GET", "/projects", there.page("anna")).status_code == 401


@pytest.mark.parametrize(
    "header",
    ["Basic", "Basic ", "Basic !!!", "Basic YW5uYQ==", "Bearer YW5uYTpjb3JyZWN0IGhvcnNl", "Basic /w==", "Basic Og=="],
)
def test_broken_logins_are_none(servers: dict[tuple[str, str], Server], header: str) -> None:
    assert servers["rest", "local"].call("GET", "/projects", {"authorization": header}).status_code == 401


def test_names_may_be_in_any_script(tmp_path: Path) -> None:
    server = Server(tmp_path, Exposure(rest_login=True))
    gate_logins = {"安娜": "пароль"}
    from lib_lora_train.api import mount

    mount(server.app, server.studio, logins=gate_logins)
    assert server.data("GET", "/session", headers={"authorization": basic("安娜", "пароль")})["user"] == "安娜"
    assert server.call("GET", "/projects", {"authorization": basic("安娜", "пароль!")}).status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:7860", 200), ("127.0.0.1", 200), ("[::1]:7860", 200), ("evil.example:7860", 403), ("localhost.", 403)],
)
def test_names_the_server_may_be_called_by(tmp_path: Path, host: str, status: int) -> None:
    from lib_lora_train.origin import LOOPBACK_HOSTS

    server = Server(tmp_path, Exposure(), hosts=LOOPBACK_HOSTS)
    for path in ("/session", "/projects", "/nothing"):
        answer = server.call("GET", path, {"host": host})
        assert answer.status_code == (404 if status == 200 and path == "/nothing" else status)
        assert status == 200 or error_code(answer) == "api.host"


def test_the_session_tells_what_may_be_done(servers: dict[tuple[str, str], Server]) -> None:
    told = {
        (key, credential): [
            servers[key].data("GET", "/session", headers=shown(servers[key], credential))[name]
            for name in ("user", "may_write", "may_use_paths")
        ]
        for key in (("none", "local"), ("none", "reachable"), ("both", "reachable"))
        for credential in ("nothing", "page", "cookie")
    }
    assert told == {
        (("none", "local"), "nothing"): ["", True, True],
        (("none", "local"), "page"): ["anna", True, True],
        (("none", "local"), "cookie"): ["anna", True, True],
        (("none", "reachable"), "nothing"): ["", False, False],
        (("none", "reachable"), "page"): ["anna", True, False],
        (("none", "reachable"), "cookie"): ["anna", False, False],
        (("both", "reachable"), "nothing"): ["", False, False],
        (("both", "reachable"), "page"): ["anna", True, False],
        (("both", "reachable"), "cookie"): ["anna", False, False],
    }
