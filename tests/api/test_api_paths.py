"""150 texts that try to be a path, for every field that takes an id or a name: nothing outside is read or touched."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from lib_lora_train.access import Exposure
from lib_lora_train.api import PREFIX
from tests.helpers.payloads import CANARY, path_payloads
from tests.helpers.pictures import encoded, gradient
from tests.helpers.rest import PNG, Server

SECRET = "canary-5d41402abc4b2a76"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """<place>/server is the server's; everything beside it is not."""
    place = tmp_path_factory.mktemp("paths")
    for folder in ("", "outside", "projects_evil", "etc", "server/loras"):
        (place / folder).mkdir(parents=True, exist_ok=True)
        (place / folder / CANARY).write_text(SECRET, encoding="utf-8")
    picture = encoded(gradient(64, 64), "PNG")
    for path in (place / "outside" / "x.png", place / "projects_evil" / "x.png", place / "x.png"):
        path.write_bytes(picture)
    with zipfile.ZipFile(place / f"{CANARY}.zip", "w") as archive:
        archive.writestr("x.png", picture)
    return place


@pytest.fixture(scope="module")
def server(place: Path) -> Server:
    return Server(place / "server", Exposure(), assets=Path(__file__).parents[2])


@pytest.fixture(scope="module")
def known(server: Server) -> dict[str, str]:
    project = server.filled(1)
    [picture] = server.data("GET", f"/projects/{project}/pictures")["pictures"]
    return {"project": project, "picture": picture["id"], "concept": picture["concept"], "empty": server.project()}


def state_outside(place: Path) -> dict[str, str]:
    """Hash of every file that is not in the projects' folder."""
    files = [path for path in place.rglob("*") if path.is_file() and "projects" not in path.relative_to(place).parts]
    return {path.relative_to(place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def stray(folder: Path) -> set[Path]:
    """What is a link, or not really within the folder."""
    return {path for path in folder.rglob("*") if path.is_symlink() or folder.resolve() not in path.resolve().parents}


Ask = Callable[[Server, dict[str, str], str], Any]


def address(method: str, template: str, body: object = None) -> Ask:
    """A call with the payload in the address, as a client would write it."""

    def ask(server: Server, known: dict[str, str], payload: str) -> Any:
        written = quote(payload, safe="").replace(".", "%2E")  # the test's client would resolve the dots
        path = template.format(**known, payload=written)
        options = {} if body is None else {"json": body}
        return server.call(method, path, **options)

    return ask


def query(method: str, template: str, key: str, **others: str) -> Ask:
    def ask(server: Server, known: dict[str, str], payload: str) -> Any:
        headers, options = ({}, {}) if method == "GET" else (PNG, {"content": encoded(gradient(16, 16), "PNG")})
        return server.call(method, template.format(**known), headers, params={**others, key: payload}, **options)

    return ask


def field(method: str, template: str, make: Callable[[str, dict[str, str]], object]) -> Ask:
    def ask(server: Server, known: dict[str, str], payload: str) -> Any:
        return server.call(method, template.format(**known), json=make(payload, known))

    return ask


def settings(**groups: str) -> Ask:
    """A start with the payload as the value of settings: group="name name". Without pictures no run begins."""

    def make(payload: str, known: dict[str, str]) -> object:
        document: dict[str, Any] = {"version": 1, "model": {"checkpoint": "tiny"}}
        for group, names in groups.items():
            document.setdefault(group, {}).update(dict.fromkeys(names.split(), payload))
        return {"settings": document}

    return field("POST", "/projects/{empty}/runs", make)


FIELDS: dict[str, Ask] = {
    "asset": address("GET", "/assets/{payload}"),
    "project": address("GET", "/projects/{payload}"),
    "project edit": address("PATCH", "/projects/{payload}", {"title": "x"}),
    "project delete": address("DELETE", "/projects/{payload}"),
    "project pictures": address("GET", "/projects/{payload}/pictures"),
    "project zip": address("GET", "/projects/{payload}/dataset.zip"),
    "project restore": field("POST", "/projects/restore", lambda payload, known: {"trash_id": payload}),
    "concept edit": address("PATCH", "/projects/{project}/concepts/{payload}", {"repeats": 2}),
    "concept delete": address("DELETE", "/projects/{project}/concepts/{payload}"),
    "concept query": query("GET", "/projects/{project}/pictures", "concept"),
    "concept of a file": query("POST", "/projects/{project}/files", "concept", name="x.png"),
    "file name": query("POST", "/projects/{project}/files", "name"),
    "picture": address("GET", "/projects/{project}/pictures/{payload}/thumbnail"),
    "picture view": address("GET", "/projects/{project}/pictures/{payload}/view"),
    "picture caption": address("PUT", "/projects/{project}/pictures/{payload}/caption", {"text": "x", "version": ""}),
    "pictures delete": field("POST", "/projects/{project}/pictures/delete", lambda payload, known: {"pictures": [payload]}),
    "pictures move": field("POST", "/projects/{project}/pictures/move", lambda payload, known: {"pictures": [known["picture"]], "concept": payload}),
    "trash": field("POST", "/projects/{project}/trash/restore", lambda payload, known: {"trash_id": payload}),
    "settings form": query("GET", "/projects/{project}/settings", "form"),
    "run": address("GET", "/projects/{project}/runs/{payload}"),
    "run delete": address("DELETE", "/projects/{project}/runs/{payload}"),
    "run resume": address("POST", "/projects/{project}/runs/{payload}/resume", {}),
    "run metrics": address("GET", "/projects/{project}/runs/{payload}/metrics"),
    "run log": address("GET", "/projects/{project}/runs/{payload}/log"),
    "run sample": address("GET", "/projects/{project}/runs/r01/samples/{payload}"),
    "run file": address("GET", "/projects/{project}/runs/r01/files/{payload}"),
    "run continue": field("POST", "/projects/{project}/runs/r01/continue", lambda payload, known: {"file": payload}),
    "run restore": field("POST", "/projects/{project}/runs/restore", lambda payload, known: {"trash_id": payload}),
    "checkpoint": settings(model="checkpoint"),
    "checkpoint of a plan": field("POST", "/projects/{project}/plan", lambda payload, known: {"checkpoint": payload}),
    "weights": settings(network="network_weights"),
    "managed settings": settings(
        run="resume output_dir output_name sample_prompts trigger_word",
        dataset="train_data_dir reg_data_dir conditioning_data_dir class_tokens",
    ),
    "log folder": settings(run="logging_dir"),
    "job": address("GET", "/jobs/{payload}"),
    "preset": address("GET", "/presets/{payload}"),
    "preset write": address("PUT", "/presets/{payload}", {"settings": {"version": 1}}),
    "preset delete": address("DELETE", "/presets/{payload}"),
}  # fmt: skip


@pytest.fixture(scope="module")
def with_run(server: Server, known: dict[str, str], tiny_checkpoint: Path) -> None:
    """A run r01 with a sample, so that what is asked for below it is looked up."""
    server.studio.host.folders = (tiny_checkpoint.parent,)
    folder = server.studio.root / known["project"] / "runs" / "r01"
    (folder / "samples").mkdir(parents=True)
    (folder / "samples" / "00000001-00.png").write_bytes(encoded(gradient(16, 16), "PNG"))


@pytest.mark.parametrize("name", FIELDS)
def test_nothing_outside_is_reached(server: Server, known: dict[str, str], with_run: None, place: Path, name: str) -> None:  # fmt: skip
    folder = server.studio.root
    before, links = state_outside(place), stray(folder)
    payloads = path_payloads(str(place / CANARY))
    assert len(payloads) == len(set(payloads)) == 150
    for payload in payloads:
        answer = FIELDS[name](server, known, payload)
        assert answer.status_code < 500, (payload, answer.text)
        assert SECRET not in answer.text, payload
        assert str(place) in payload or str(place) not in answer.text, payload  # told to nobody who did not know it
    assert state_outside(place) == before
    assert sorted(path.name for path in place.iterdir()) == sorted({*(key.partition("/")[0] for key in before)})
    assert stray(folder) == links and (folder / known["project"] / "project.json").is_file()


def test_a_folder_of_the_server_is_read_and_not_more(server: Server, known: dict[str, str], place: Path) -> None:
    """Locally any folder may be named; what is no data set is refused, and its text is not shown."""
    before = state_outside(place)
    for payload in path_payloads(str(place / CANARY)):
        answer = server.call("POST", f"/projects/{known['project']}/import", json={"path": payload})
        assert answer.status_code < 500 and SECRET not in answer.text, payload
    assert state_outside(place) == before


def test_names_in_a_zip_stay_inside(server: Server, place: Path) -> None:
    """Each payload as a folder and as a file's name."""
    before, project, data = state_outside(place), server.project(), BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for number, payload in enumerate(path_payloads(str(place / CANARY))):
            clean = payload.replace("\x00", "")[:200]
            archive.writestr(f"{clean}/{number}.png", encoded(gradient(16, 16 + number), "PNG"))
            archive.writestr(f"{clean}.png", encoded(gradient(17, 16 + number), "PNG"))
            archive.writestr(f"10_x/{clean}.txt", "caption")
    answer = server.call("POST", f"/projects/{project}/files?name=all.zip", PNG, content=data.getvalue())
    assert answer.status_code == 200 and len(answer.json()["pictures"]) > 100, answer.text
    assert state_outside(place) == before
    home = (server.studio.root / project).resolve()
    assert all(home in path.resolve().parents for path in home.rglob("*"))


def test_links_that_lead_out_are_not_followed(server: Server, place: Path) -> None:
    before, project = state_outside(place), server.project()
    folder = server.studio.root / project
    (folder / "runs" / "r01").symlink_to(place / "outside", target_is_directory=True)
    (folder / "dataset" / "10_link").symlink_to(place / "outside", target_is_directory=True)
    (folder / "dataset" / "10_x").mkdir()
    (folder / "dataset" / "10_x" / "x.png").symlink_to(place / "outside" / "x.png")
    for path in ("runs/r01", "runs/r01/log", "runs/r01/metrics", "runs", "pictures", "dataset.zip", ""):
        answer = server.call("GET", f"/projects/{project}/{path}".rstrip("/"))
        assert answer.status_code < 500 and SECRET not in answer.text, path
    for picture in server.data("GET", f"/projects/{project}/pictures")["pictures"]:
        for kind in ("thumbnail", "view"):
            assert server.call("GET", f"/projects/{project}/pictures/{picture['id']}/{kind}").status_code == 400
    assert server.call("DELETE", f"/projects/{project}").status_code == 200
    assert state_outside(place) == before


def test_raw_addresses(server: Server, known: dict[str, str], place: Path) -> None:
    """Not encoded by a client: as they come over the wire."""
    for payload in path_payloads(str(place / CANARY)):
        if payload.isascii() and payload.isprintable() and " " not in payload:
            for start in (f"{PREFIX}/", f"{PREFIX}/projects/", f"{PREFIX}/projects/{known['project']}/runs/r01/files/", f"{PREFIX}/assets/"):  # fmt: skip
                answer = server.client.get(start + payload.replace("#", "%23").replace("?", "%3F"))
                assert answer.status_code < 500 and SECRET not in answer.text, payload
