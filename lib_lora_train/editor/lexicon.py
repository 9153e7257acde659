"""Known tags, their translations and the rules of binding: read when first asked for, and again when a file changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from lib_lora_train.tags.traits.rules import Rules, load_rules
from lib_lora_train.tags.translations import TRANSLATIONS_FOLDER, Translations, translation_files
from lib_lora_train.tags.vocabulary import Vocabulary, find_vocabulary, list_files
from lib_lora_train.tags.vocabulary.finding import TAGGERS_LIST

RULES_FILE = "binding.toml"  # of the user's, in the projects' folder
_LOOKED = 2.0  # seconds between two looks at whether files have changed
_PATIENCE = 0.5  # seconds that somebody waits for a long list; then they go on without it

Value = TypeVar("Value")
_Stamp = tuple[tuple[str, int, int], ...]


class Kept(Generic[Value]):
    """Something made from files, for as long as they are the same. Thread-safe."""

    def __init__(self, files: Callable[[], Iterable[Path]], make: Callable[[], Value]) -> None:
        self._files = files
        self._make = make
        self._guard = threading.Lock()
        self._stamp: _Stamp | None = None
        self._looked = 0.0
        self._value: list[Value] = []

    def get(self) -> Value:
        """Raises what making it raises; then the next call tries again."""
        with self._guard:
            now = time.monotonic()
            if not self._value or now - self._looked > _LOOKED:
                stamp = _stamp(self._files())
                if not self._value or stamp != self._stamp:
                    self._value = []
                    self._value, self._stamp = [self._make()], stamp
                self._looked = now
            return self._value[0]


class Lexicon:
    """Of one server. `models` is the models folder, `projects` that of all projects; `others` are files of taggers that
    lie elsewhere."""

    def __init__(self, models: Path, projects: Path, others: Iterable[Path] = ()) -> None:
        taggers = list(dict.fromkeys(path.parent for path in others if path.name == TAGGERS_LIST))
        self._translations_folder = models / TRANSLATIONS_FOLDER
        self._guard = threading.Lock()
        self._vocabulary = Kept(lambda: list_files(models, taggers), lambda: find_vocabulary(models, taggers))
        self._loading: threading.Thread | None = None
        self._translations: dict[str, Kept[Translations]] = {}
        rules_file = projects / RULES_FILE
        self._rules = Kept(lambda: [rules_file], lambda: load_rules(rules_file))
        self._none = Vocabulary()

    def vocabulary(self) -> Vocabulary:
        """All known tags; lists of a hundred thousand take a second to read."""
        return self._vocabulary.get()

    def vocabulary_soon(self) -> Vocabulary:
        """The same, or an empty one while it is being read the first time and takes long."""
        with self._guard:
            if self._loading is None:
                self._loading = threading.Thread(target=self._vocabulary.get, name="vocabulary", daemon=True)
                self._loading.start()
            loading = self._loading
        loading.join(_PATIENCE)
        return self._none if loading.is_alive() else self._vocabulary.get()

    def translations(self, language: str) -> Translations:
        folder = self._translations_folder
        with self._guard:
            kept = self._translations.get(language)
            if kept is None:
                kept = Kept(lambda: translation_files(folder), lambda: Translations.load(language, folder))
                self._translations[language] = kept
        return kept.get()

    def rules(self) -> Rules:
        """Raises UserError as `load_rules`, for a mistake in the user's file."""
        return self._rules.get()


def _stamp(files: Iterable[Path]) -> _Stamp:
    found = []
    for path in files:
        try:
            information = path.stat()
            found.append((str(path), information.st_size, information.st_mtime_ns))
        except OSError:  # not there, or gone meanwhile
            continue
    return tuple(found)
