"""What a page asks for first: its session, the settings there are, checkpoints; and the page's own files."""

from __future__ import annotations

from fastapi import Depends, Request, Response

from lib_lora_train import __version__
from lib_lora_train.api.bodies import Nothing
from lib_lora_train.api.gate import Call
from lib_lora_train.api.policies import Policy, policy
from lib_lora_train.api.replies import inline_reply, reply
from lib_lora_train.api.route import current_call
from lib_lora_train.api.shipped import KINDS, asset
from lib_lora_train.project import SUBJECT_KINDS
from lib_lora_train.runs.managed import MANAGED
from lib_lora_train.settings import TrainSettings, describe
from lib_lora_train.settings.fields import shown_setting
from lib_lora_train.settings.tables import SCHEMA_VERSION
from lib_lora_train.train.plan import CHOICES
from lib_lora_train.words import page_words

CALL = Depends(current_call)


@policy(Policy.OPEN)
def read_session(call: Call = CALL) -> Response:
    """Language and words of the page, and what the caller may do."""
    return reply(_session(call))


@policy(Policy.WRITE)
def open_session(request: Request, body: Nothing, call: Call = CALL) -> Response:
    """The same, and sets the cookie by which pictures and downloads know the page."""
    response = reply(_session(call))
    if call.visitor.session:
        # Without a path the browser takes the address's own, whatever a proxy has put before the prefix.
        secure = request.scope["scheme"] == "https" or request.headers.get("origin", "").startswith("https://")
        cookie = f"{call.gate.cookie}={call.visitor.session}; HttpOnly; SameSite=Strict"
        response.headers.append("set-cookie", f"{cookie}; Secure" if secure else cookie)
    return response


@policy(Policy.READ)
def read_schema(call: Call = CALL) -> Response:
    """Every setting with its label, help, bounds and kohya's name."""
    groups: dict[str, list[dict[str, object]]] = {}
    for item in describe(TrainSettings):
        managed = f"{item.group}.{item.name}" in MANAGED
        groups.setdefault(item.group, []).append({**shown_setting(item), "managed": managed})
    tables = [{"name": name, "settings": settings} for name, settings in groups.items()]
    return reply({"version": SCHEMA_VERSION, "groups": tables})


@policy(Policy.READ)
def list_checkpoints(call: Call = CALL) -> Response:
    """The checkpoints that can be trained on."""
    return reply({"checkpoints": [vars(info) for info in call.studio.checkpoints()]})


@policy(Policy.OPEN)
def read_asset(name: str, call: Call = CALL) -> Response:
    """A script of the page or its style sheet, where the host does not serve them itself."""
    path = asset(call.gate.assets, name)
    return inline_reply(path, KINDS[path.suffix])


def _session(call: Call) -> dict[str, object]:
    limits, language = call.studio.limits, call.language
    return {
        "language": language,
        "texts": dict(page_words(language)),
        "user": call.visitor.name,
        "may_use_paths": call.studio.exposure.names_folders,
        "may_write": call.may_write,
        "subjects": list(SUBJECT_KINDS),
        "choices": list(CHOICES),
        "limits": {"files": limits.files, "file_bytes": limits.file_bytes, "total_bytes": limits.total_bytes},
        "version": __version__,
    }


ROUTES = (
    ("GET", "/session", read_session),
    ("POST", "/session", open_session),
    ("GET", "/schema", read_schema),
    ("GET", "/checkpoints", list_checkpoints),
    ("GET", "/assets/{name}", read_asset),
)
