"""Settings from and to elsewhere: presets, files, kohya's command line."""

from __future__ import annotations

import copy
import json
from pathlib import PurePosixPath, PureWindowsPath

from lib_lora_train.access import Visitor
from lib_lora_train.errors import UserError
from lib_lora_train.files import safe_name
from lib_lora_train.messages import message
from lib_lora_train.runs.managed import LOCAL_ONLY, MANAGED, without
from lib_lora_train.runs.naming import loras_folder
from lib_lora_train.runs.presets import delete_preset, list_presets, load_preset, save_preset
from lib_lora_train.settings import TrainSettings
from lib_lora_train.settings.reading import parse_settings
from lib_lora_train.settings.writing import to_dict, to_kohya_command, to_kohya_toml
from lib_lora_train.ui.actions import Actions, listed
from lib_lora_train.ui.given import Given, read_document, text_of
from lib_lora_train.ui.handlers import Answer
from lib_lora_train.ui.markup import notice


class Transfer:
    """Handlers of Presets and files. Presets take the preset's name first, all others the form alone."""

    def __init__(self, actions: Actions) -> None:
        self.actions = actions
        self.studio = actions.studio
        self.parts = actions.parts

    def load_preset(self, visitor: Visitor, name: object, *values: object) -> Answer:
        """The preset's settings in the form; what belongs to the project alone stays."""
        given, name = self.actions.read(visitor, values), _named(name)
        settings = load_preset(self.studio.root, name, given.settings)
        return self.actions.replace(visitor, given, settings, message("ui.preset_loaded", visitor.language, name=name))

    def save_preset(self, visitor: Visitor, name: object, *values: object) -> Answer:
        """The form's settings under a name."""
        given, name = self.actions.read(visitor, values), _named(name)
        save_preset(self.studio.root, name, given.settings)
        return {
            **self._listed(name),
            self.parts.train.transfer.preset_name: "",
            self.parts.message: notice(message("ui.preset_saved", visitor.language, name=name)),
        }

    def delete_preset(self, visitor: Visitor, name: object) -> Answer:
        """Into the trash."""
        name = _named(name)
        delete_preset(self.studio.root, name)
        said = message("ui.preset_deleted", visitor.language, name=name)
        return {**self._listed(""), self.parts.message: notice(said)}

    def apply_document(self, visitor: Visitor, document: object, *values: object) -> Answer:
        """The settings of a file in the form. What the project decides, and what is not here, stays as it is."""
        name, text = read_document(document)
        given = self.actions.read(visitor, values)
        loaded = parse_settings(text, name)
        said = [message("ui.document_loaded", visitor.language, name=name)]
        settings = without(loaded.settings, MANAGED | LOCAL_ONLY)
        self._place_checkpoint(settings, given, said, visitor)
        self._place_lora(settings, said, visitor)
        prompts = settings.run.sample_prompts
        if not prompts or ("\n" not in prompts and prompts.endswith(".txt")):  # a file of somebody's computer
            settings.run.sample_prompts = given.settings.run.sample_prompts
        said += [message(note.code, visitor.language, **note.values) for note in loaded.notes]
        return self.actions.replace(visitor, given, settings, " ".join(said))

    def save_json(self, visitor: Visitor, *values: object) -> Answer:
        """A file that can be loaded here again."""
        given = self.actions.read(visitor, values)
        return self._export(given, ".json", json.dumps(to_dict(given.settings), ensure_ascii=False, indent=2) + "\n")

    def save_toml(self, visitor: Visitor, *values: object) -> Answer:
        """A file for kohya's scripts."""
        given = self.actions.read(visitor, values)
        return self._export(given, ".toml", to_kohya_toml(self._for_kohya(given)))

    def show_command(self, visitor: Visitor, *values: object) -> Answer:
        """A command line for kohya's scripts."""
        given = self.actions.read(visitor, values)
        facts = self.studio.host.describe(given.settings.model.checkpoint)
        script = "sdxl_train_network.py" if facts.family == "sdxl" else "train_network.py"
        return {self.parts.train.transfer.command: to_kohya_command(self._for_kohya(given), script)}

    def _export(self, given: Given, ending: str, text: str) -> Answer:
        name = safe_name(given.name, "settings") + ending
        return {self.parts.bridge.export: json.dumps({"name": name, "text": text}, ensure_ascii=False)}

    def _listed(self, chosen: str) -> Answer:
        names = [preset.name for preset in list_presets(self.studio.root)]
        return {self.parts.train.transfer.preset: listed(names, chosen)}

    def _for_kohya(self, given: Given) -> TrainSettings:
        """With the folders that the project decides; only their names where visitors may not know the server's."""
        settings, project, host = copy.deepcopy(given.settings), given.project, self.studio.host
        checkpoint = host.describe(settings.model.checkpoint).info.path
        places = {
            "checkpoint": checkpoint,
            "dataset": project.path("dataset"),
            "masks": project.path("masks"),
            "regularization": project.path("regularization"),
            "output": loras_folder(host, project),
        }
        named = {name: str(path) if self.studio.exposure.names_folders else path.name for name, path in places.items()}
        settings.model.checkpoint = named["checkpoint"]
        settings.dataset.train_data_dir = named["dataset"]
        if any(project.path("regularization").glob("*/*")):
            settings.dataset.reg_data_dir = named["regularization"]
        if settings.dataset.masked_loss:
            settings.dataset.conditioning_data_dir = named["masks"]
        settings.run.output_dir = named["output"]
        settings.run.output_name = safe_name(given.name, "lora")
        settings.run.sample_prompts = ""  # a file there, the prompts themselves here
        return settings

    def _place_checkpoint(self, settings: TrainSettings, given: Given, said: list[str], visitor: Visitor) -> None:
        wanted, kept = settings.model.checkpoint, given.settings.model.checkpoint
        known = {name.casefold(): name for name in self.studio.checkpoint_names()}
        settings.model.checkpoint = known.get(_stem(wanted), kept)
        if wanted and _stem(wanted) not in known:
            said.append(message("ui.checkpoint_kept", visitor.language, name=_last(wanted), kept=kept))

    def _place_lora(self, settings: TrainSettings, said: list[str], visitor: Visitor) -> None:
        wanted = settings.network.network_weights
        known = {name.casefold(): name for name in self.studio.loras(visitor)}
        settings.network.network_weights = known.get(_stem(wanted), "")
        if wanted and not settings.network.network_weights:
            settings.network.dim_from_weights = False
            said.append(message("ui.lora_left_out", visitor.language, name=_last(wanted)))


def _named(name: object) -> str:
    """Raises UserError("ui.preset_name")."""
    text = text_of(name, "", 200).strip() if name is not None else ""
    if not text:
        raise UserError("ui.preset_name")
    return text


def _last(path: str) -> str:
    """The last part of a path of any system."""
    return PurePosixPath(PureWindowsPath(path).as_posix()).name[:120]


def _stem(path: str) -> str:
    """What a file is known by, whatever its folder and ending; in one case, as Windows sees it."""
    name = _last(path)
    return name.removesuffix(".safetensors").casefold()
