"""The page's side of the tag editor, and what is on the disk beside what it is told."""

from __future__ import annotations

import time
from typing import Any

from tests.helpers.rest import Server, error_code


class Page:
    """Asks as the page does, and compares what it is told with what is on the disk."""

    def __init__(self, server: Server, project: str) -> None:
        self.server, self.project = server, project
        self.folder = server.studio.root / project

    def ask(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        return self.server.data(method, f"/projects/{self.project}/tags{path}", status, **options)

    def refused(self, method: str, path: str, **options: Any) -> tuple[int, str]:
        answer = self.server.call(method, f"/projects/{self.project}/tags{path}", **options)
        return answer.status_code, error_code(answer)

    def find(self, filter: str = "", **more: Any) -> Any:
        return self.ask("POST", "/find", json={"filter": filter, **more})

    def pictures(self, ids: list[str]) -> list[dict[str, Any]]:
        some = [ids[start : start + 200] for start in range(0, len(ids), 200)]
        return [each for part in some for each in self.ask("POST", "/pictures", json={"pictures": part})["pictures"]]

    def screen(self) -> dict[str, str]:
        """Captions by the pictures' names, when nothing is being written; they are those on the disk."""
        until = time.monotonic() + 60
        while True:
            overview, found = self.ask("GET", ""), self.find()
            if overview["writing"] is None and found["revision"] == overview["revision"]:  # tokens are counted by now
                break
            assert time.monotonic() < until
            time.sleep(0.05)
        assert found["total"] == overview["total"]
        shown = {each["name"]: each["text"] for each in self.pictures(found["pictures"])}
        captions = {path.with_suffix(".png").name: path for path in self.folder.glob("*/*/*.txt")}
        disk = {path.name: "" for path in self.folder.glob("dataset/*/*.png")}
        disk |= {name: path.read_bytes().decode("utf-8").rstrip("\r\n") for name, path in captions.items()}
        assert shown == disk
        assert overview["captioned"] == len(captions)
        return shown

    def bytes(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.glob("*/*/*.txt")}

    def apply(self, edit: dict[str, Any], **target: Any) -> Any:
        """What a preview showed; then it is done, to those pictures alone."""
        before = self.screen()
        shown = self.ask("POST", "/preview", json={"edit": edit, **target, "limit": 200})
        assert shown["changes"] == len(shown["pictures"])
        self.ask("POST", "/apply", json={"edit": edit, "digest": shown["digest"], **target})
        wanted = before | {each["name"]: each["after"] for each in shown["pictures"]}
        assert self.screen() == wanted
        return shown
