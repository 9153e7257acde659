"""The section "LoRA Train" of the WebUI's settings: what holds for the machine, and never what holds for a run."""

from __future__ import annotations

from pathlib import Path

from modules import shared
from modules.paths_internal import data_path

from lib_lora_train.errors import UserError

SECTION = ("lora_train", "LoRA Train")
CATEGORY = "training"
FOLDER = "lora-train"  # of the projects, in the WebUI's folder of user data, where nothing else is named
PROJECTS, EXACT_CHECK = "lora_train_projects", "lora_train_exact_check"
GRID_BATCH, MOST_AT_ONCE = "lora_train_grid_batch", 16


def add_settings() -> None:
    """Declares the settings; the WebUI calls this each time before it draws its page of them."""
    places = shared.OptionInfo(
        "",
        "Folder of the LoRA training projects",
        component_args=shared.hide_dirs,
        section=SECTION,
        category_id=CATEGORY,
        restrict_api=True,
    )
    places.info("empty: lora-train, in the folder of the WebUI's data; --lora-train-dir goes before this")
    checks = shared.OptionInfo(
        False,
        "After a training compare every weight of the model with what it was before",
        section=SECTION,
        category_id=CATEGORY,
    )
    checks.info("some seconds more; otherwise a checksum is compared")
    batch = shared.OptionInfo(
        1,
        "Pictures of a preview grid that are drawn at once",
        component_args={"precision": 0, "minimum": 1, "maximum": MOST_AT_ONCE},
        section=SECTION,
        category_id=CATEGORY,
    )
    batch.info(
        "those of one prompt, over its seeds; 1: each is bit for bit what txt2img draws, more is faster on a GPU"
    )
    shared.opts.add_option(PROJECTS, places.needs_restart())
    shared.opts.add_option(EXACT_CHECK, checks.needs_reload_ui())
    shared.opts.add_option(GRID_BATCH, batch)


def projects_folder() -> Path:
    """The folder of the projects, which is made when it is missing. Raises UserError("file.write")."""
    chosen = shared.cmd_opts.lora_train_dir or _value(PROJECTS, "") or FOLDER
    folder = Path(data_path) / str(chosen).strip()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError("file.write", str(chosen), reason=error.strerror or str(error)) from error
    return folder.resolve()


def exact_check() -> bool:
    """Whether the model's weights are compared one by one after a training."""
    return bool(_value(EXACT_CHECK, False))


def grid_batch() -> int:
    """How many pictures of a grid are drawn at once, 1 to 16."""
    chosen = _value(GRID_BATCH, 1)
    return int(min(MOST_AT_ONCE, max(1, chosen))) if isinstance(chosen, (int, float)) else 1


def language() -> str:
    """The language that the WebUI is set to; empty for its own English, and for that of each browser."""
    chosen = shared.opts.data.get("localization") or ""
    return "" if chosen == "None" else str(chosen)


def _value(name: str, otherwise: object) -> object:
    """Without a page the WebUI never asks for the settings; what was chosen stands in its file all the same."""
    return shared.opts.data.get(name, otherwise)
