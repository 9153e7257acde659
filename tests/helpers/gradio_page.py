"""gradio's page without a browser: components by their ids, events sent as the page sends them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
from starlette.testclient import TestClient

ENGLISH = {"Accept-Language": "en-US,en;q=0.9"}
CHINESE = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}


class GradioPage:
    """What one open page holds. `values` are the components' by id of the element, as the browser has them."""

    def __init__(self, blocks: gr.Blocks, headers: Mapping[str, str] = ENGLISH, auth: Any = None) -> None:
        blocks.auth = auth
        if not hasattr(blocks, "allowed_paths"):  # what `launch` sets
            blocks.allowed_paths, blocks.blocked_paths = [], []
        self.app = gr.routes.App.create_app(blocks)
        self.client = TestClient(self.app, base_url="http://127.0.0.1:7861")
        self.headers = {"Origin": "http://127.0.0.1:7861", **headers}
        self._blocks = blocks
        config = blocks.get_config_file()
        self._elements: dict[int, str] = {}
        self.properties: dict[str, dict[str, Any]] = {}
        for component in config["components"]:
            name = component["props"].get("elem_id") or f"#{component['id']}"
            self._elements[component["id"]] = name
            self.properties[name] = dict(component["props"])
        self._dependencies = config["dependencies"]

    @property
    def values(self) -> dict[str, Any]:
        return {name: properties.get("value") for name, properties in self.properties.items()}

    def set(self, **values: Any) -> None:
        """Types or chooses; names are element ids without `lora_train_`."""
        for name, value in values.items():
            self.properties[f"lora_train_{name}"]["value"] = value

    def get(self, name: str) -> Any:
        return self.properties[f"lora_train_{name}"].get("value")

    def choices(self, name: str) -> list[str]:
        """What a dropdown or radio shows."""
        shown = self.properties[f"lora_train_{name}"]["choices"]
        return [choice[0] if isinstance(choice, list | tuple) else choice for choice in shown]

    def press(self, name: str, event: str = "click", /, **overrides: Any) -> None:
        """Sends the event of a component with the values of its inputs, and takes over what comes back.

        `overrides` are values that the browser sends instead of those it shows.
        """
        for component_id, value in zip(*self.send(name, event, **overrides), strict=True):
            properties = self.properties[self._elements[component_id]]
            if isinstance(value, dict) and value.get("__type__") in ("update", "generic_update"):
                properties.update({key: item for key, item in value.items() if key != "__type__"})
            else:
                properties["value"] = value

    def send(self, name: str, event: str = "click", /, **overrides: Any) -> tuple[list[int], list[Any]]:
        """The ids of the outputs and what was answered."""
        index, dependency = self._dependency(f"lora_train_{name}", event)
        sent = {f"lora_train_{key}": value for key, value in overrides.items()}
        data = [sent.get(element, self.values[element]) for element in self._names(dependency["inputs"])]
        body = {"fn_index": index, "data": data, "session_hash": "page"}
        answer = self.client.post("/run/predict", json=body, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return dependency["outputs"], answer.json()["data"]

    def post(self, name: str, body: Mapping[str, Any], event: str = "click") -> Any:
        """A call that is put together by hand."""
        index, _ = self._dependency(f"lora_train_{name}", event)
        return self.client.post("/run/predict", json={"fn_index": index, **body}, headers=self.headers)

    def _names(self, ids: list[int]) -> list[str]:
        return [self._elements[component_id] for component_id in ids]

    def _dependency(self, element: str, event: str) -> tuple[int, dict[str, Any]]:
        for index, dependency in enumerate(self._dependencies):
            for target in dependency["targets"]:
                target_id, trigger = target if isinstance(target, list | tuple) else (target, dependency["trigger"])
                if self._elements.get(target_id) == element and trigger == event and dependency["backend_fn"]:
                    return dependency.get("id", index), dependency
        raise KeyError(f"{element} has no {event}")
