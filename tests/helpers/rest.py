"""A real studio behind real routes, asked through a test client."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from lib_lora_train.access import Exposure
from lib_lora_train.api import PREFIX, mount
from lib_lora_train.host.base import HostPaths
from lib_lora_train.host.embedded import EmbeddedHost
from lib_lora_train.jobs import Registry
from lib_lora_train.studio import Studio
from tests.helpers.pictures import encoded, gradient

BASE = "http://testserver"
LOGINS = {"anna": "correct horse", "ben": "battery staple"}
USER_HEADER = "x-logged-in"  # stands for the host's own login
PNG = {"content-type": "application/octet-stream"}

# A run of three steps on the tiny checkpoint, which no grid follows, and one without end.
SMALL = {
    "version": 1,
    "model": {"checkpoint": "tiny"},
    "dataset": {"resolution": "128", "min_bucket_reso": 64, "max_bucket_reso": 256},
    "network": {"network_dim": 2, "network_alpha": 1.0},
    "run": {
        "max_train_epochs": 0,
        "max_train_steps": 3,
        "mixed_precision": "fp32",
        "sample_prompts": "zuna, girl --w 64 --h 64 --s 2",
        "sample_every_n_steps": 2,
        "save_every_n_steps": 2,
        "grid_after_training": False,
    },
}
LONG = {**SMALL, "run": {**SMALL["run"], "max_train_steps": 100_000, "sample_every_n_steps": 0, "sample_prompts": ""}}
# A grid that is drawn in a second or two.
SMALL_GRID = {
    "settings": {
        "width": 64,
        "height": 64,
        "steps": 2,
        "weights": "0, 0.5, 1",
        "seeds": "1, 2",
        "prompts": "zuna, girl",
    },
}


class Server:
    """`root` gets projects, loras and models. `checkpoints` is a folder with some."""

    def __init__(self, root: Path, exposure: Exposure, checkpoints: Path | None = None, **options: Any) -> None:
        self.root = root
        paths = HostPaths(projects=root / "projects", loras=root / "loras", models=root / "models")
        for path in (paths.projects, paths.loras):
            path.mkdir(parents=True, exist_ok=True)
        host = EmbeddedHost(paths, device="cpu", folders=[checkpoints] if checkpoints else [])
        self.studio = Studio(host, Registry(), paths.projects, exposure, options.pop("limits", None))
        self.app = FastAPI()
        mount(
            self.app,
            self.studio,
            options.pop("assets", None),
            session_user=lambda request: request.headers.get(USER_HEADER),
            logins=LOGINS if exposure.rest_login else None,
            **options,
        )
        # Errors that get out of the routes are errors of the test.
        self.client = TestClient(self.app, base_url=BASE)

    def token(self, name: str = "") -> str:
        return self.studio.sessions.open(name).token

    def page(self, name: str = "") -> dict[str, str]:
        """Headers of a page."""
        return {"x-lora-train": self.token(name)}

    def call(self, method: str, path: str, headers: Mapping[str, str] | None = None, **options: Any) -> Any:
        """The answer. A POST, PUT or PATCH without a body sends an empty object."""
        if method in ("POST", "PUT", "PATCH") and not options.keys() & {"json", "content"}:
            options["json"] = {}
        return self.client.request(method, PREFIX + path, headers=dict(headers or {}), **options)

    def data(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        """The answer's JSON, its status checked."""
        answer = self.call(method, path, **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    def project(self, title: str = "Zuna", **options: Any) -> str:
        """The id of a new project."""
        body = {"title": title, "kind": "character", "trigger_word": "zuna"}
        return self.data("POST", "/projects", 201, json=body, **options)["id"]

    def upload(self, project: str, name: str, content: bytes, **options: Any) -> Any:
        query = {"name": name, **options.pop("params", {})}
        headers = {**PNG, **options.pop("headers", {})}
        return self.data(
            "POST", f"/projects/{project}/files", params=query, content=content, headers=headers, **options
        )

    def filled(self, count: int = 3, **options: Any) -> str:
        """The id of a project with `count` pictures of 64 px and captions."""
        project = self.project(**options)
        for number in range(count):
            self.upload(project, f"{number}.png", encoded(gradient(64, 64 + 8 * number), "PNG"), **options)
            self.upload(project, f"{number}.txt", f"zuna, girl, red hair, smile {number}".encode(), **options)
        return project

    def start(self, project: str, settings: Mapping[str, Any] = SMALL, **options: Any) -> Any:
        """Starts a run: {"run", "job", "state", "place"}."""
        return self.data("POST", f"/projects/{project}/runs", 201, json={"settings": settings}, **options)

    def draw(self, project: str, body: Mapping[str, Any] = SMALL_GRID, wanted: str = "done") -> str:
        """The id of a grid, once its job has ended as `wanted`."""
        grid = self.data("POST", f"/projects/{project}/grids", 201, json=body)["grid"]
        self.drawn(project, grid, wanted)
        return grid

    def drawn(self, project: str, grid: str, wanted: str = "done") -> Any:
        """A grid whose job has ended, which has to be as `wanted`."""
        registry = self.studio.previews.line.registry
        folder = self.root / "projects" / project / "grids" / grid / "job"
        for job in (registry.running(), *registry.waiting()):
            if job is not None and job.folder == folder:
                assert job.finished.wait(120), job.record
        shown = self.data("GET", f"/projects/{project}/grids/{grid}")
        assert shown["state"] == wanted, (shown["state"], shown["last"])
        return shown

    def wait(self, job: str, wanted: str) -> None:
        """Until the job has ended, which has to be as `wanted`."""
        found = self.studio.registry.find(job)
        assert found.finished.wait(120), found.record
        assert found.state == wanted, found.record


def error_code(answer: Any) -> str:
    error = answer.json()["error"]
    assert set(error) == {"code", "where", "sentence", "remedy"}
    return error["code"]
