"""What a preparation works with: the models' folder, and what the host lends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.prepare.bench import Bench
from lib_lora_train.prepare.captioners import captioners
from lib_lora_train.prepare.captions import Seen
from lib_lora_train.vision.store import ModelStore

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host


@dataclass(frozen=True)
class Tools:
    """`host` is None on the command line. `provider` is where ONNX models run: auto, cpu, cuda, directml, coreml.

    `downloads` is whether models may be fetched when a step needs them.
    """

    store: ModelStore
    host: Host | None = None
    provider: str = "auto"
    downloads: bool = True

    @property
    def may_download(self) -> bool:
        return self.downloads and not self.store.offline

    def bench(self, folder: Path) -> Bench:
        return Bench(folder, self.store, self.provider)

    def check_taggers(self, names: Sequence[str]) -> None:
        """Of names that nobody can know. Raises UserError: models.no_tagger, path.outside."""
        known = {status.model.name for status in self.store.known("tagger")}
        for name in names:
            if name not in known:
                self.store.resolve_tagger(name)

    def seen(self, folder: Path) -> Seen:
        """What taggers and captioners saw, kept in `folder`."""
        keys = {captioner.name: captioner.key for captioner in captioners(self.host, models=self.store.folder)}
        return Seen(folder, keys)
