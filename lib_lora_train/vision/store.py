"""The models on this computer: found without any network, downloaded on demand, and pinned from their first use on.

Each known model has a folder of its name; its files may also be put there by hand, or lie with another program.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from lib_lora_train.errors import UserError
from lib_lora_train.files import TEMPORARY_SUFFIX, resolve_inside, sweep_temporaries
from lib_lora_train.messages import DEFAULT_LANGUAGE
from lib_lora_train.signals import Commands, EventSink, Log, Stage, Stopped
from lib_lora_train.vision.hub import Hub, HubFile, is_same
from lib_lora_train.vision.models import KNOWN, NAMES_OF_A_TAGGER, KnownModel, known_model
from lib_lora_train.vision.onnx_file import check_onnx
from lib_lora_train.vision.patience import HubFault, Patience
from lib_lora_train.vision.pins import PINS_FILE, Hashes, Pins, pin, read_pins

MISSING, READY, CHANGED = "missing", "ready", "changed"
_MB = 1_000_000
_SPARE = 50 * _MB  # left free on the disk
_ABANDONED = 86_400.0  # seconds after which another process's unfinished download is swept away
_TRUE = frozenset({"1", "ON", "YES", "TRUE"})  # as huggingface_hub reads its switches
_NOTHING: Mapping[str, Sequence[Path]] = MappingProxyType({})


@dataclass(frozen=True)
class ModelStatus:
    """A known model on this computer. `state` is missing, ready or changed; `commit` and `sha256` (by file name) are
    what was recorded, empty before the first use; `size` is in bytes; `folder` is where a person may put the files.
    """

    model: KnownModel
    state: str
    folder: str
    commit: str = ""
    size: int = 0
    sha256: dict[str, str] = field(default_factory=dict)

    def as_dict(self, language: str = DEFAULT_LANGUAGE) -> dict[str, object]:
        """As the REST route and the command line show it."""
        model = self.model
        return {
            "name": model.name,
            "purpose": model.purpose,
            "label": model.label,
            "repository": model.repository,
            "files": list(model.files),
            "megabytes": model.megabytes,
            "licence": model.licence,
            "commercial": model.commercial,
            "verified": model.verified,
            "note": model.notes(language),
            "state": self.state,
            "commit": self.commit,
            "sha256": dict(self.sha256),
            "size": self.size,
            "folder": self.folder,
        }


class ModelStore:
    """The models in `folder`. `extra` names files that other programs have, by model; nothing is written there.
    `taggers` are folders elsewhere that the operator named; each is known by its own name, before all others.

    `offline` None follows HF_HUB_OFFLINE. `shown` is how the folder is called in sentences, where its path is nobody's
    business. `patience` is how many seconds a download may stand still.
    """

    def __init__(
        self,
        folder: Path,
        *,
        offline: bool | None = None,
        extra: Mapping[str, Sequence[Path]] = _NOTHING,
        taggers: Sequence[Path] = (),
        shown: str | None = None,
        table: tuple[KnownModel, ...] = KNOWN,
        hub: Hub | None = None,
        patience: float = 25.0,
    ) -> None:
        self.folder = folder
        self.offline = _offline_by_environment() if offline is None else offline
        self._extra, self._table, self._patience = extra, table, patience
        self._taggers = {path.name: path for path in taggers}
        self._shown = Path(shown or folder)
        self._hub = hub or Hub()
        self._hashes = Hashes()

    def known(self, purpose: str = "") -> list[ModelStatus]:
        """All known models, or those for a purpose; never raises for what lies in the folders."""
        return [self._status(model) for model in self._table if purpose in ("", model.purpose)]

    def find(self, name: str) -> Path | None:
        """The folder that holds all files of the model under their base names; None when there is none.

        Never asks the network. What was put there by hand is recorded now. Raises UserError: models.unknown;
        models.changed when a file is no longer the recorded one; models.pins; for a new file, those of `check_onnx`.
        """
        model = known_model(name, self._table)
        place = self._place(model)
        if place is not None:
            self._check(model, place)
        return place

    def fetch(self, name: str, events: EventSink, commands: Commands) -> Path:
        """`find`, else download, with Stage events in MB; what came is compared with the hub's hash, then recorded.

        A commit that was recorded before is asked for again. Raises Stopped; UserError of `find`, and one for each
        fault, which says which files to put where. Nothing is left of a download that did not end.
        """
        model = known_model(name, self._table)
        place = self.find(name)
        if place is not None:
            return place
        if self.offline:
            raise self._error(model, "models.offline")
        if find_spec("huggingface_hub") is None or find_spec("requests") is None:
            raise self._error(model, "models.no_package")
        try:
            self._download(model, events, commands)
        except HubFault as fault:
            raise self._error(model, fault.code, **fault.values) from fault
        except OSError as error:
            raise self._error(model, "models.disk", reason=error.strerror or str(error)) from error
        except UserError as error:
            if error.code != "file.write":
                raise
            raise self._error(model, "models.disk", reason=error.values["reason"]) from error
        return self.find(name) or self.folder / model.name

    def user_folders(self) -> list[str]:
        """Names of folders with a tagger of the user's own: `model.onnx` beside `selected_tags.csv`."""
        known = {model.name for model in self._table}
        names = []
        with suppress(OSError):
            for path in sorted(self.folder.iterdir()):
                if path.name not in known and not path.name.startswith(".") and self._user_tagger(path.name):
                    names.append(path.name)
        return names

    def resolve_tagger(self, name: str) -> Path:
        """The folder of a known tagger that is there, or of one of the user's own.

        Raises UserError: models.missing, models.no_tagger, path.outside, those of `find`.
        """
        if name in self._taggers and _is_tagger(self._taggers[name]):
            return self._taggers[name]
        for model in self._table:
            if (model.name, model.purpose) == (name, "tagger"):
                place = self.find(name)
                if place is None:
                    raise self._error(model, "models.missing")
                return place
        resolve_inside(self.folder, name)
        place = self._user_tagger(name) if name not in ("", ".") else None
        if place is None:
            known = [model.name for model in self._table if model.purpose == "tagger"]
            raise UserError("models.no_tagger", name, known=", ".join([*known, *self.user_folders()]))
        return place

    # ------------------------------------------------------------------ what is there

    def _user_tagger(self, name: str) -> Path | None:
        try:
            place = resolve_inside(self.folder, name)
        except UserError:  # a link that leads elsewhere
            return None
        return place if _is_tagger(place) else None

    def _place(self, model: KnownModel) -> Path | None:
        others = [path if path.is_dir() else path.parent for path in self._extra.get(model.name, ())]
        for place in (self.folder / model.name, *others):
            if all((place / file).is_file() for file in model.file_names):
                return place
        return None

    def _pins_file(self, model: KnownModel) -> Path:
        return self.folder / model.name / PINS_FILE

    def _check(self, model: KnownModel, place: Path) -> None:
        pins = read_pins(self._pins_file(model))
        before = dict(pins.files)
        for name in model.file_names:
            path, recorded = place / name, pins.files.get(name)
            if recorded is not None and recorded.fits(path):
                continue
            try:
                sha256 = self._hashes.of(path)
                if recorded is None:
                    _refuse_other_kinds(path)
                elif recorded.sha256 != sha256:
                    raise self._error(model, "models.changed", file=name)
                pins.files[name] = pin(path, sha256, recorded.by if recorded else "hand")
            except OSError as error:
                raise UserError("models.unreadable", name) from error
        if pins.files != before:
            pins.repository = model.repository
            with suppress(UserError):  # a folder that cannot be written to; then nobody changes the files either
                pins.write(self._pins_file(model))

    def _status(self, model: KnownModel) -> ModelStatus:
        folder = str(self._shown / model.name)
        place = self._place(model)
        try:
            pins = read_pins(self._pins_file(model))
            sha256 = {name: recorded.sha256 for name, recorded in pins.files.items() if name in model.file_names}
            if place is None:
                return ModelStatus(model, MISSING, folder, pins.commit, 0, sha256)
            paths = [place / name for name in model.file_names]
            same = all(self._is_recorded(pins, path) for path in paths)
            size = sum(path.stat().st_size for path in paths)
        except (OSError, UserError):
            return ModelStatus(model, CHANGED, folder)
        return ModelStatus(model, READY if same else CHANGED, folder, pins.commit, size, sha256)

    def _is_recorded(self, pins: Pins, path: Path) -> bool:
        recorded = pins.files.get(path.name)
        return recorded is None or recorded.fits(path) or recorded.sha256 == self._hashes.of(path)

    # ------------------------------------------------------------------ download

    def _download(self, model: KnownModel, events: EventSink, commands: Commands) -> None:
        patience = Patience(commands, self._patience)
        pins = read_pins(self._pins_file(model))
        wanted = self._look(model, pins, patience)
        if not wanted:  # somebody else was quicker
            return
        with self._workplace(model, sum(file.size for file in wanted)) as aside:
            events(
                Log(
                    "models.downloading_from",
                    {"label": model.label, "repository": model.repository, "licence": model.licence},
                )
            )
            if not model.commercial:
                events(Log("models.not_commercial", level="warning"))
            report = _Progress(events, sum(file.size for file in wanted))
            for file, name in ((file, Path(file.path).name) for file in wanted):
                with (aside / name).open("wb") as target:
                    sha256 = self._hub.download(file, target, patience, report.within)
                    target.flush()
                    os.fsync(target.fileno())
                report.finished(file.size)
                recorded = pins.files.get(name)
                if recorded is not None and recorded.sha256 != sha256:
                    raise HubFault("models.changed_there")
                _refuse_other_kinds(aside / name)
                pins.files[name] = pin(aside / name, sha256, "hub")
            if commands.stopping:
                raise Stopped
            pins.repository, pins.commit = model.repository, wanted[0].commit
            pins.write(self._pins_file(model))  # first: what is then cut off is asked for again, as recorded
            for file in wanted:
                name = Path(file.path).name
                (aside / name).replace(self.folder / model.name / name)
            events(Log("models.recorded", {"label": model.label, "commit": pins.commit, "sha256": ", ".join(f"{name} {recorded.sha256}" for name, recorded in pins.files.items())}))  # fmt: skip

    def _look(self, model: KnownModel, pins: Pins, patience: Patience) -> list[HubFile]:
        """The files that are not there yet, all of one commit. One that is there must be the hub's."""
        revision, wanted = pins.commit or "main", []
        for path, name in zip(model.files, model.file_names, strict=True):
            file = self._hub.look(model.repository, path, revision, patience)
            revision = file.commit
            here = self.folder / model.name / name
            if not here.is_file():
                wanted.append(file)
            elif not is_same(here, file):
                raise HubFault("models.other_file", file=name)
        return wanted

    @contextmanager
    def _workplace(self, model: KnownModel, size: int) -> Iterator[Path]:
        """A folder beside the files to come; gone afterwards, and the model's own folder too if it stayed empty."""
        home = self.folder / model.name
        aside = home / f".download.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
        try:
            aside.mkdir(parents=True)
            sweep_temporaries(home, older_than=_ABANDONED)
            free = shutil.disk_usage(home).free
            if free < size + _SPARE:
                raise HubFault("models.no_space", needed=(size + _SPARE) // _MB, free=free // _MB)
            yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            with suppress(OSError):
                home.rmdir()

    def _error(self, model: KnownModel, code: str, **values: object) -> UserError:
        return UserError(
            code,
            model.label,
            **values,
            folder=str(self._shown / model.name),
            files=", ".join(model.file_names),
            page=self._hub.page(model.repository, model.folder),
        )


class _Progress:
    """Stage events in MB, at most five a second."""

    def __init__(self, events: EventSink, total: int) -> None:
        self._events, self._total, self._done, self._told = events, total, 0, 0.0
        self._tell(0)

    def within(self, count: int) -> None:
        if time.monotonic() - self._told >= 0.2:
            self._tell(self._done + count)

    def finished(self, size: int) -> None:
        self._done += size
        self._tell(self._done)

    def _tell(self, done: int) -> None:
        self._told = time.monotonic()
        self._events(Stage("models.downloading", done=done // _MB, total=-(-self._total // _MB)))


def _refuse_other_kinds(path: Path) -> None:
    """A web page in place of a model, and what `check_onnx` refuses. Raises UserError, OSError."""
    if path.suffix == ".onnx":
        check_onnx(path)
        return
    with path.open("rb") as handle:
        if handle.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
            raise UserError("onnx.web_page", path.name)


def _is_tagger(folder: Path) -> bool:
    return all((folder / file).is_file() for file in NAMES_OF_A_TAGGER)


def _offline_by_environment() -> bool:
    return any(os.environ.get(name, "").upper() in _TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
