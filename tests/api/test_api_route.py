"""What every route does: reads no more than it should, answers in one shape, lets nothing out."""

from __future__ import annotations

import asyncio
import logging
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.testclient import TestClient
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import Mount

from lib_lora_train.access import Exposure
from lib_lora_train.api import PREFIX, bridge, mount
from lib_lora_train.api.gate import UPLOADS, Gate
from lib_lora_train.api.mounting import build_routes
from lib_lora_train.api.policies import Policy, policy, rule_of
from lib_lora_train.api.replies import STATUS, plain, reply, status_of
from lib_lora_train.api.route import MAX_DEPTH, MAX_JSON, read_json
from lib_lora_train.collection.limits import Limits
from lib_lora_train.errors import UserError
from lib_lora_train.messages import catalogue
from tests.helpers.pictures import encoded, gradient
from tests.helpers.rest import BASE, PNG, Server, error_code

JSON = {"content-type": "application/json"}
Message = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return Server(tmp_path_factory.mktemp("route"), Exposure())


# ---------------------------------------------------------------------- how routes get in


def test_an_endpoint_without_a_policy_cannot_be_built(server: Server) -> None:
    def endpoint() -> None: ...

    with pytest.raises(TypeError, match="declares no policy"):
        build_routes(Gate(server.studio), [("GET", "/x", endpoint)])
    with pytest.raises(TypeError):
        rule_of(endpoint)
    assert rule_of(policy(Policy.READ)(endpoint)).policy is Policy.READ


def test_added_to_an_application_that_serves_already(server: Server) -> None:
    """Whatever lies at "/", and whatever it does with errors."""
    app = FastAPI()

    async def everything(scope: Message, receive: Any, send: Any) -> None:
        await PlainTextResponse("host")(scope, receive, send)

    async def teapot(request: Request, error: Exception) -> Response:
        return Response("host", 418)

    app.router.routes.append(Mount("/", everything))
    for kind in (RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, teapot)
    with TestClient(app, base_url=BASE) as client:
        assert client.get(f"{PREFIX}/session").text == "host"
        mount(app, server.studio)
        assert client.get(f"{PREFIX}/session").json()["version"]
        assert client.get("/elsewhere").text == "host"
        assert error_code(client.get(f"{PREFIX}/nothing")) == "api.no_route"
        assert error_code(client.post(f"{PREFIX}/projects", json={})) == "api.field_missing"


def test_mounting_again_replaces(server: Server, tmp_path: Path) -> None:
    other = Server(tmp_path, Exposure())
    before = len(other.app.router.routes)
    other.project("of the other")
    mount(other.app, server.studio)
    assert len(other.app.router.routes) == before
    assert "of the other" not in [each["title"] for each in other.data("GET", "/projects")["projects"]]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/nothing", "/session/", "/projects/a/b/c/d", "/x%0Ay", "/projects/%0A/x%2Fy"])
def test_other_addresses_are_refused_in_our_shape(server: Server, method: str, path: str) -> None:
    answer = server.client.request(method, PREFIX + path, follow_redirects=False)
    assert (answer.status_code, error_code(answer)) == (404, "api.no_route")


def test_a_wrong_method_is_no_address(server: Server) -> None:
    assert server.call("HEAD", "/session").status_code == 404
    preflight = server.call("OPTIONS", "/projects", {"access-control-request-method": "POST"})
    assert preflight.status_code == 404 and "access-control-allow-origin" not in preflight.headers
    assert error_code(server.call("POST", "/live")) == "api.no_route"
    assert error_code(server.call("GET", "/jobs/x/stop")) == "api.no_route"


# ---------------------------------------------------------------------- bodies


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "", "application/octet-stream", "application/json-seq"])  # fmt: skip
def test_only_json_is_read(server: Server, kind: str) -> None:
    answer = server.call("POST", "/projects", {"content-type": kind}, content=b'{"title": "x"}')
    assert (answer.status_code, error_code(answer)) == (415, "api.type")


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_may_say_its_charset(server: Server, kind: str) -> None:
    answer = server.call("POST", "/projects", {"content-type": kind}, content='{"title": "画"}'.encode())
    assert (answer.status_code, answer.json()["title"]) == (201, "画")


def test_files_are_bytes(server: Server) -> None:
    project = server.project()
    for kind in ("image/png", "application/json", "multipart/form-data; boundary=x", ""):
        answer = server.call("POST", f"/projects/{project}/files?name=x.png", {"content-type": kind}, content=b"x")
        assert error_code(answer) == "api.type", kind


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b'{"title": NaN}',
        b'{"title": "\\ud800"}',
        b'{"\\udc00": 1}',
        b'{"title": "\xff"}',
        "{}".encode("utf-16"),
        b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xef\xbb\xbf{}",
        b"null",
        b"[]",
        b'[["title", "x"]]',
        b'"title"',
    ],
)
def test_what_is_no_json(server: Server, content: bytes) -> None:
    answer = server.call("POST", "/projects", JSON, content=content)
    assert (answer.status_code, error_code(answer)) == (422, "api.json")


def test_depth_is_counted_exactly() -> None:
    inside = MAX_DEPTH - 1
    assert read_json(b'{"a":' + b"[" * inside + b"]" * inside + b"}")
    assert read_json(b'{"a": ["\\ud83d\\ude00", 1e400]}') == {"a": ["😀", float("inf")]}


@pytest.mark.parametrize(
    ("body", "code", "where"),
    [
        ({}, "api.field_missing", "title"),
        ({"title": 1}, "api.field_wrong", "title"),
        ({"title": None}, "api.field_wrong", "title"),
        ({"title": "x", "owner": "ben"}, "api.field_unknown", "owner"),
        ({"title": "x", "kind": ["person"]}, "api.field_wrong", "kind"),
    ],
)
def test_the_field_is_named(server: Server, body: object, code: str, where: str) -> None:
    answer = server.call("POST", "/projects", json=body)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["code"], error["where"]) == (code, where) and where in error["sentence"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/projects/x/concepts", {"name": "x", "repeats": True}),
        ("/projects/x/concepts", {"name": "x", "repeats": 1.5}),
        ("/projects/x/concepts", {"name": "x", "repeats": "1"}),
        ("/projects/x/concepts", {"name": "x", "regularization": 1}),
        ("/projects/x/pictures/delete", {"pictures": "abc"}),
        ("/projects/x/pictures/delete", {"pictures": [1]}),
        ("/projects/x/runs", {"wishes": {"kind": "person", "steps": 1}}),
        ("/jobs/x/move", {"place": 1e400}),
        ("/jobs/x/save", {"now": True}),
    ],
)
def test_types_are_strict(server: Server, path: str, body: object) -> None:
    import json

    answer = server.call("POST", path, JSON, content=json.dumps(body).replace("Infinity", "1e400").encode())
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize(
    "query", ["offset=-1", "offset=x", "limit=0", "limit=1001", "offset=" + "9" * 5000, "limit=1e3"]
)
def test_queries_are_checked(server: Server, query: str) -> None:
    answer = server.call("GET", f"/projects/x/pictures?{query}")
    assert (answer.status_code, error_code(answer)) == (422, "api.field_wrong")
    assert answer.json()["error"]["where"] == query.partition("=")[0]


def test_json_has_a_limit_by_header_and_by_count(server: Server) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(MAX_JSON // 1000 + 1):
            yield b" " * 1000

    for content in (b" " * (MAX_JSON + 1), pieces()):
        answer = server.call("POST", "/projects", JSON, content=content)
        assert (answer.status_code, error_code(answer)) == (413, "api.too_large")
    just = b'{"title": "' + b"x" * 200 + b'"}'
    assert server.call("POST", "/projects", JSON, content=just.ljust(MAX_JSON)).status_code == 201


def test_errors_speak_the_language_of_the_browser(server: Server) -> None:
    answer = server.call("POST", "/projects", {"accept-language": "zh-CN,zh;q=0.9"}, json={})
    assert answer.json()["error"]["sentence"] == "缺少“title”。"


# ---------------------------------------------------------------------- what gets out


def test_a_fault_of_the_program_tells_nothing(server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:  # fmt: skip
    def fail(visitor: object) -> None:
        raise OSError(5, "secret", "/very/secret/path")

    monkeypatch.setattr(server.studio, "projects", fail)
    with caplog.at_level(logging.ERROR, "lib_lora_train.api"):
        answer = server.call("GET", "/projects")
    assert (answer.status_code, error_code(answer)) == (500, "api.failed")
    assert "secret" not in answer.text and "Traceback" not in answer.text
    assert "/very/secret/path" in caplog.text and "Traceback" in caplog.text


@pytest.mark.parametrize("path", ["/session", "/projects", "/projects/x", "/nothing", "/assets/x.js"])
def test_headers_of_every_answer(server: Server, path: str) -> None:
    answer = server.call("GET", path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["content-type"] == "application/json"


def test_a_host_that_is_none_breaks_nothing(server: Server) -> None:
    for host in ("[evil", "a b", "x" * 5000, ":", "[::1]x:y"):
        assert server.call("GET", "/session", {"host": host}).status_code == 200
        assert server.call("POST", "/session", {"host": host, "origin": "http://[evil"}).status_code == 403


def test_status_by_code() -> None:
    assert status_of("project.title") == 400 and status_of("collection.unknown_picture") == 404
    assert status_of("collection.caption_changed") == 409 and status_of("access.folders") == 403
    assert status_of("api.json") == 422 and status_of("api.field_wrong") == 422 and status_of("api.no_route") == 404


def test_the_status_table_holds_codes_there_are() -> None:
    for code in STATUS:
        known = [each for each in catalogue("en") if each == code or (code[-1] in "._" and each.startswith(code))]
        assert known, code


def test_every_error_of_the_routes_has_its_status() -> None:
    """None falls to 400 by being forgotten."""
    own = {code for code in catalogue("en") if code.startswith("api.")}
    assert {code for code in own if status_of(code) == 400} == {"api.cut"}


def test_numbers_that_are_none_become_null() -> None:
    assert plain({"a": [float("nan"), float("-inf"), 1.5], 2: (True, None, "x")}) == {"a": [None, None, 1.5], "2": [True, None, "x"]}  # fmt: skip
    assert reply(["\udcff画"]).body == '["?画"]'.encode()


def test_who_lost_the_race_for_a_caption_gets_both_texts() -> None:
    from lib_lora_train.api.replies import error_reply

    error = UserError("collection.caption_changed", "x.png", theirs="theirs", version="v2")
    answer = error_reply(error, "en")
    assert answer.status_code == 409 and b'"theirs":{"text":"theirs","version":"v2"}' in answer.body


# ---------------------------------------------------------------------- session and cookie


def test_the_cookie_is_for_reading_and_for_these_routes_only(server: Server) -> None:
    token = server.token("anna")
    answer = server.call("POST", "/session", {"x-lora-train": token})
    # Without Path= it is that of the address, "/lora-train/v1", whatever a proxy puts before it.
    assert answer.headers["set-cookie"] == f"lora_train_{server.studio.id}={token}; HttpOnly; SameSite=Strict"
    secure = server.call("POST", "/session", {"x-lora-train": token, "origin": "https://testserver"})
    assert secure.headers["set-cookie"].endswith("; Secure")
    assert "set-cookie" not in server.call("POST", "/session").headers


def test_the_session_in_both_languages(server: Server) -> None:
    english = server.data("GET", "/session")
    assert english["language"] == "en" and english["texts"] == {}
    assert english["subjects"] == ["person", "character", "style", "object", "concept"]
    assert english["choices"] == ["quick", "balanced", "thorough"]
    limits = Limits.local()
    assert english["limits"] == {name: getattr(limits, name) for name in ("files", "file_bytes", "total_bytes")}
    assert server.data("GET", "/session", headers={"accept-language": "zh"})["language"] == "zh-CN"


def test_the_schema_is_the_settings_table(server: Server) -> None:
    groups = {group["name"]: group["settings"] for group in server.data("GET", "/schema")["groups"]}
    assert list(groups) == ["model", "dataset", "network", "optimizer", "loss", "run"]
    rank = next(item for item in groups["network"] if item["name"] == "network_dim")
    assert rank == {
        "name": "network_dim", "label": "Rank", "help": "Size of the LoRA; more can learn more, and overfit more.",
        "type": "int", "default": 16, "minimum": 1, "maximum": 1024, "choices": [], "unit": "", "kohya": "network_dim",
        "optional": False, "managed": False,
    }  # fmt: skip
    assert [item["name"] for item in groups["dataset"] if item["managed"]][:2] == ["train_data_dir", "reg_data_dir"]


def test_assets_are_looked_up_not_opened(tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    (shipped / "javascript").mkdir(parents=True)
    (shipped / "javascript" / "a.js").write_text("let a;", encoding="utf-8")
    (shipped / "style.css").write_text("a {}", encoding="utf-8")
    (shipped / "secret.txt").write_text("secret", encoding="utf-8")
    server = Server(tmp_path, Exposure(local=False, login=True), assets=shipped)
    script = server.call("GET", "/assets/a.js")
    assert (script.text, script.headers["content-type"]) == ("let a;", "text/javascript; charset=utf-8")
    assert server.call("GET", "/assets/style.css").headers["content-type"] == "text/css; charset=utf-8"
    for name in ("secret.txt", "..%2Fsecret.txt", "javascript", "%2e%2e", "a.js%00", "javascript%2Fa.js"):
        assert server.call("GET", f"/assets/{name}").status_code == 404


# ---------------------------------------------------------------------- uploads


async def ask(app: FastAPI, path: str, body: Callable[[], Awaitable[Message]], query: str = "", kind: str = PNG["content-type"]) -> tuple[int, bytes]:  # fmt: skip
    """A POST, message by message: status and body of the answer."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    path = PREFIX + path
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "headers": [(b"host", b"testserver"), (b"content-type", kind.encode())], "scheme": "http", "root_path": "",
        "http_version": "1.1", "server": ("testserver", 80), "client": ("x", 1),
    }  # fmt: skip
    await app(scope, body, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def messages(*parts: Message | None) -> Callable[[], Awaitable[Message]]:
    """One after the other; None waits for ever."""

    async def generate() -> AsyncIterator[Message]:
        for part in parts:
            if part is None:
                await asyncio.Event().wait()
            yield part  # type: ignore[misc]

    source = generate()
    return lambda: source.__anext__()


def part(data: bytes, more: bool = True) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


def left_behind(server: Server, project: str) -> list[str]:
    return [path.name for path in (server.studio.root / project).rglob("*") if path.is_file() and path.suffix in (".png", ".tmp", ".zip")]  # fmt: skip


def test_a_picture_in_pieces(server: Server) -> None:
    project, picture = server.project(), encoded(gradient(64, 64), "PNG")
    pieces = [part(picture[start : start + 100]) for start in range(0, len(picture), 100)]
    status, body = asyncio.run(ask(server.app, f"/projects/{project}/files", messages(*pieces, part(b"", False)), "name=x.png"))  # fmt: skip
    assert status == 200 and b'"skipped":[]' in body
    shown = server.data("GET", f"/projects/{project}/pictures")
    assert shown["total"] == 1 and shown["pictures"][0]["width"] == 64


def test_a_connection_that_breaks_leaves_nothing(server: Server) -> None:
    project, picture = server.project(), encoded(gradient(64, 64), "PNG")
    gone = messages(part(picture[:100]), {"type": "http.disconnect"})
    status, body = asyncio.run(ask(server.app, f"/projects/{project}/files", gone, "name=x.png"))
    assert status == 400 and b"api.cut" in body
    assert server.data("GET", f"/projects/{project}/pictures")["total"] == 0 and left_behind(server, project) == []


def test_silence_ends_an_upload(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "SILENCE", 0.05)
    project = server.project()
    status, body = asyncio.run(ask(server.app, f"/projects/{project}/files", messages(part(b"PK"), None), "name=x.zip"))
    assert status == 400 and b"api.cut" in body and left_behind(server, project) == []


def test_uploads_that_hang_leave_threads_to_others(server: Server) -> None:
    project, begun = server.project(), set()

    async def crowd() -> tuple[int, int]:
        """Status of a call while more uploads hang than there are threads, and how many of them did."""
        released = asyncio.Event()

        def hang(number: int) -> Callable[[], Awaitable[Message]]:
            async def receive() -> Message:
                begun.add(number)
                await released.wait()
                return {"type": "http.disconnect"}

            return receive

        address = f"/projects/{project}/files"
        hanging = [asyncio.ensure_future(ask(server.app, address, hang(n), f"name={n}.png")) for n in range(50)]
        while len(begun) < UPLOADS:
            await asyncio.sleep(0.01)
        made, _ = await ask(server.app, "/projects", messages(part(b'{"title": "x"}', False)), kind="application/json")
        count = sum(not one.done() for one in hanging)
        released.set()
        assert {status for status, _ in await asyncio.gather(*hanging)} == {400}
        return made, count

    assert asyncio.run(crowd()) == (201, 50)


def test_a_large_file_is_never_whole_in_memory(server: Server) -> None:
    project = server.project()
    piece = bytes(1 << 20)

    async def receive() -> Message:
        nonlocal left
        left -= 1
        return part(piece, left > 0)

    left = 64
    tracemalloc.start()
    try:
        status, body = asyncio.run(ask(server.app, f"/projects/{project}/files", receive, "name=x.zip"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert status == 400 and b"collection.zip" in body
    assert peak < 24 << 20


def test_files_have_a_limit_by_header_and_by_count(tmp_path: Path) -> None:
    server = Server(tmp_path, Exposure(), limits=Limits(file_bytes=1000, total_bytes=5000))
    project = server.project()
    for name, size in (("x.png", 1001), ("x.txt", 1001), ("x.zip", 5001)):
        for content in (bytes(size), iter([bytes(size)])):
            answer = server.call("POST", f"/projects/{project}/files?name={name}", PNG, content=content)
            assert (answer.status_code, error_code(answer)) == (413, "api.too_large"), name
    assert left_behind(server, project) == []


@pytest.mark.parametrize("query", ["", "?name=", "?name=" + "a" * 1001])
def test_a_file_has_a_name(server: Server, query: str) -> None:
    answer = server.call("POST", f"/projects/{server.project()}/files{query}", PNG, content=b"x")
    assert (answer.status_code, answer.json()["error"]["where"]) == (422, "name")
