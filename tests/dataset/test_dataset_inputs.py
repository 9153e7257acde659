"""Every kind of input has its declared outcome, names itself in both languages, and never stops the good pictures."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from lib_lora_train.dataset import listing
from lib_lora_train.dataset.batches import epoch_batches, make_batch
from lib_lora_train.dataset.folders import scan
from lib_lora_train.dataset.latents import cache_latents
from lib_lora_train.errors import UserError
from lib_lora_train.messages import LANGUAGES, message
from lib_lora_train.settings import TrainSettings
from lib_lora_train.signals import Event, Log
from tests.helpers.inputs import ALL_KINDS, STALE, Kind
from tests.helpers.pictures import encode_stub, write_picture

NOBODY = 65534


@contextmanager
def without_root() -> Iterator[None]:
    """Root may read everything; the test of rights needs to be someone else."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def tree_hash(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        digest.update(str(path.relative_to(root)).encode("utf-8", "surrogateescape"))
        if path.is_file() and not path.is_symlink():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def test_there_are_73_kinds():
    assert len({kind.name for kind in ALL_KINDS}) == len(ALL_KINDS) == 73


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.name)
def test_declared_outcome(kind: Kind, open_folder: Path, monkeypatch: pytest.MonkeyPatch):
    if kind.posix and os.name == "nt":
        pytest.skip("Windows has no such files")
    data = open_folder / "data"
    folder = data / "10_a hero"
    folder.mkdir(parents=True)
    if kind.good:
        write_picture(folder / "good.png", "a good one", shift=1)
    kind.build(folder)
    before = tree_hash(data)
    if kind.name == "stale network path":
        monkeypatch.setattr(listing.os, "scandir", lambda path: (_ for _ in ()).throw(STALE))
    settings = TrainSettings()
    settings.dataset.train_data_dir = str(data)
    settings.dataset.resolution = "64"
    events: list[Event] = []

    def run():
        with without_root() if kind.name == "not readable" else nullcontext():
            found = scan(settings.dataset, events.append)
            return cache_latents(found, settings.dataset, encode_stub, 0.18215, 1, "vae", events=events.append)

    where = f"10_a hero/{kind.where}"
    if kind.outcome == "refused":
        with pytest.raises(UserError) as caught:
            run()
        assert caught.value.code == kind.code
        check_texts([caught.value])
    else:
        cache = run()
        logs = [event for event in events if isinstance(event, Log)]
        used = {entry.picture.where: entry.picture for entry in cache.entries}
        assert ("10_a hero/good.png" in used) == kind.good
        assert (where in used) == (kind.outcome == "used")
        about = [log for log in logs if kind.code and log.code in kind.code.split("|")]
        assert bool(about) == bool(kind.code)
        if kind.outcome == "skipped":
            assert any(log.values["where"] == where for log in about)
        if kind.outcome == "ignored":
            assert not any(log.values.get("where") == where for log in logs)
        if kind.outcome == "used" and kind.caption is not None:
            assert used[where].caption == kind.caption
        for log in logs:
            for language in LANGUAGES:
                text = message(log.code, language, **log.values)
                assert str(log.values.get("where", "")) in text
                assert str(open_folder) not in text
        batch = make_batch(epoch_batches(cache, 1, 0, 50)[0], cache, settings, 1, 0)
        assert batch.latents.isfinite().all()
        assert len(batch.captions) == 10 * len(used)
    folder.chmod(0o755)
    monkeypatch.undo()
    for path in folder.iterdir():
        if path.is_file() and not path.is_symlink():
            path.chmod(0o644)
    assert tree_hash(data) == before


def check_texts(errors: list[UserError]) -> None:
    for error in errors:
        for language in LANGUAGES:
            assert error.sentence(language)
            assert error.remedy(language)
