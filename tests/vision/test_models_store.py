"""The model store against a hub on this computer: what is found, fetched, pinned, refused."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")
from lib_lora_train.errors import UserError
from lib_lora_train.signals import Commands, Log, Stage, Stopped, ignore_events
from lib_lora_train.vision.hub import Hub
from lib_lora_train.vision.models import KnownModel
from lib_lora_train.vision.patience import HubFault, Patience
from lib_lora_train.vision.store import ModelStore
from tests.helpers.fake_hub import COMMIT, FakeHub, running
from tests.helpers.onnx_bytes import tiny_model

MODEL = tiny_model(filling=3_000_000)
TAGS = b"tag_id,name,category,count\n1,long_hair,0,1\n"
CONTENT = {"onnx/model.onnx": MODEL, "selected_tags.csv": TAGS}
TAGGER = KnownModel(
    "small", "tagger", "Small tagger", "someone/small", tuple(CONTENT), 3, "Apache-2.0", True, "models.note_vit"
)
TABLE = (TAGGER, KnownModel("forbidden", "matte", "Forbidden", "someone/forbidden", ("onnx/model.onnx",), 3, "CC-BY-NC-4.0", False, "models.note_isnet"))  # fmt: skip
SHA256 = {"model.onnx": hashlib.sha256(MODEL).hexdigest(), "selected_tags.csv": hashlib.sha256(TAGS).hexdigest()}
QUICK = (0.02, 0.02)


@pytest.fixture
def hub():
    with running(FakeHub(dict(CONTENT))) as served:
        yield served


def make_store(folder: Path, hub: FakeHub | str, patience: float = 10.0, timeout: float = 5.0, **more) -> ModelStore:
    endpoint = hub if isinstance(hub, str) else hub.endpoint
    return ModelStore(
        folder, table=TABLE, hub=Hub(endpoint, timeout=timeout, pauses=QUICK), patience=patience, offline=False, **more
    )


def drop(folder: Path, files: dict[str, bytes] = CONTENT) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        (folder / Path(path).name).write_bytes(data)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def pins(folder: Path) -> dict:
    return json.loads((folder / "small" / "pins.json").read_text())


# ---------------------------------------------------------------------- a download that goes well


def test_fetch_downloads_records_and_reports(tmp_path, hub):
    events = []
    store = make_store(tmp_path, hub)
    assert store.find("small") is None
    assert [status.state for status in store.known("tagger")] == ["missing"]
    place = store.fetch("small", events.append, Commands())
    assert names(tmp_path) == ["small", "small/model.onnx", "small/pins.json", "small/selected_tags.csv"]
    assert place == tmp_path / "small"
    assert ((place / "model.onnx").read_bytes(), (place / "selected_tags.csv").read_bytes()) == (MODEL, TAGS)
    recorded = pins(tmp_path)
    assert (recorded["commit"], recorded["repository"]) == (COMMIT, "someone/small")
    assert {name: pin["sha256"] for name, pin in recorded["files"].items()} == SHA256
    stages = [event for event in events if isinstance(event, Stage)]
    assert (stages[0].done, stages[-1].done, stages[-1].total) == (0, 3, 4)
    assert stages == sorted(stages, key=lambda stage: stage.done)
    (log,) = [event for event in events if isinstance(event, Log) and event.code == "models.recorded"]
    assert COMMIT in log.values["commit"] and SHA256["model.onnx"] in log.values["sha256"]
    (status,) = store.known("tagger")
    assert (status.state, status.commit, status.sha256, status.size) == (
        "ready",
        COMMIT,
        SHA256,
        len(MODEL) + len(TAGS),
    )


def test_all_files_are_of_the_commit_that_the_first_one_named(tmp_path, hub):
    make_store(tmp_path, hub).fetch("small", ignore_events, Commands())
    asked = [path for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path]
    assert asked == [f"/someone/small/resolve/{COMMIT}/{name}" for name in CONTENT]


def test_what_is_there_needs_no_network(tmp_path, hub, monkeypatch):
    make_store(tmp_path, hub).fetch("small", ignore_events, Commands())
    no_sockets(monkeypatch)
    store = make_store(tmp_path, "https://huggingface.co")
    assert store.find("small") == tmp_path / "small"
    assert store.fetch("small", ignore_events, Commands()) == tmp_path / "small"
    assert store.resolve_tagger("small") == tmp_path / "small"
    assert [status.state for status in store.known()] == ["ready", "missing"]


def test_a_mirror_that_redirects_without_the_hubs_headers(tmp_path, hub):
    hub.mirror = True
    make_store(tmp_path, hub).fetch("small", ignore_events, Commands())
    assert pins(tmp_path)["commit"] == COMMIT


def test_mirror_and_token_come_from_the_environment(tmp_path, hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint + "/")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    ModelStore(tmp_path, table=TABLE).fetch("small", ignore_events, Commands())
    assert {headers.get("authorization") for _, _, headers in hub.requests} == {"Bearer hf_secret"}


def test_the_token_goes_to_no_other_host(tmp_path, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(Hub, "_trusted", lambda self, url: True)
    with running(FakeHub(dict(CONTENT))) as other:
        hub.fault, hub.target = "redirect of a file", f"{other.endpoint}/cdn/onnx/model.onnx"
        place = make_store(tmp_path, hub)
        place.fetch("forbidden", ignore_events, Commands())
        assert {method for method, _, _ in other.requests} == {"GET"}
        assert not any("authorization" in headers for _, _, headers in other.requests)


def test_a_licence_that_forbids_commercial_use_is_said(tmp_path, hub):
    events = []
    store = make_store(tmp_path, hub)
    store.fetch("forbidden", events.append, Commands())
    assert [event.level for event in events if isinstance(event, Log) and event.code == "models.not_commercial"] == [
        "warning"
    ]
    status = store.known("matte")[0].as_dict("en")
    assert status["commercial"] is False and "forbids commercial use" in status["note"]
    assert "禁止商业用途" in store.known("matte")[0].as_dict("zh-CN")["note"]


# ---------------------------------------------------------------------- faults


def expect_fault(store: ModelStore, folder: Path, code: str, name: str = "small") -> UserError:
    """The fault is told in one sentence and a remedy that says what to put where; nothing is left behind."""
    with pytest.raises(UserError) as caught:
        store.fetch(name, ignore_events, Commands())
    error = caught.value
    assert error.code == code
    for language in ("en", "zh-CN"):
        text = error.remedy(language)
        assert str(folder / "small") in text and "model.onnx, selected_tags.csv" in text
        assert len(error.sentence(language).rstrip(".。").split(". ")) == 1
    assert names(folder) == []
    return error


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("401", "models.no_access"),
        ("403", "models.no_access"),
        ("404", "models.not_found"),
        ("429", "models.too_many"),
        ("500", "models.server"),
        ("503", "models.server"),
        ("418", "models.server"),
        ("cut", "models.cut"),
        ("other content", "models.wrong_hash"),
        ("page", "models.not_a_hub"),
        ("page for a file", "models.web_page"),
        ("no commit", "models.not_a_hub"),
        ("loop", "models.redirected"),
    ],
)
def test_a_fault_of_the_hub(tmp_path, hub, fault, code):
    hub.fault = fault
    expect_fault(make_store(tmp_path, hub), tmp_path, code)


@pytest.mark.parametrize("fault", ["redirect", "redirect of a file"])
@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:9/x",
        "http://localhost:9/x",
        "http://[::1]:9/x",
        "http://169.254.169.254/latest",
        "https://example.org/x",
        "https://evilhuggingface.co/x",
        "http://huggingface.co/x",
        "https://huggingface.co.example.org/x",
        "file:///etc/passwd",
    ],
)
def test_a_redirect_that_leaves_the_hub(tmp_path, hub, monkeypatch, fault, target):
    hub.fault, hub.target = fault, target
    error = expect_fault(make_store(tmp_path, hub), tmp_path, "models.redirected")
    assert len([path for _, path, _ in hub.requests]) <= 4
    assert error.values["host"]


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("https://hf-mirror.com/x", True),
        ("https://cdn.hf-mirror.com/x", True),
        ("https://cas-bridge.xethub.hf.co/x", True),
        ("https://cdn-lfs.huggingface.co/x", True),
        ("https://huggingface.co/x", True),
        ("http://cdn.hf-mirror.com/x", False),
        ("https://hf-mirror.com.evil.org/x", False),
        ("https://hf-mirror.com:444@evil.org/x", False),
        ("https://127.0.0.1/x", False),
    ],
)
def test_where_a_mirror_may_redirect_to(url, trusted):
    assert Hub("https://hf-mirror.com")._trusted(url) is trusted


def test_nobody_listens(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    expect_fault(make_store(tmp_path, endpoint), tmp_path, "models.no_connection")


def test_no_such_host(tmp_path, monkeypatch):
    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = expect_fault(make_store(tmp_path, "https://hub.invalid"), tmp_path, "models.no_connection")
    assert "hub.invalid" in error.sentence("en")


@pytest.mark.parametrize("fault", ["silent", "stall"])
def test_no_answer_in_time(tmp_path, hub, fault):
    """By the limit of one request and its repetitions, and by the patience for all together."""
    hub.fault = fault
    expect_fault(make_store(tmp_path, hub, timeout=0.2), tmp_path, "models.no_answer")
    expect_fault(make_store(tmp_path, hub, timeout=20, patience=0.5), tmp_path, "models.no_answer")


def test_all_waiting_together_is_at_most_half_a_minute():
    """Whatever the parts of it: the clock is the store's, and counts 25 seconds and one poll."""
    patience = Patience(Commands(), ModelStore(Path("x"))._patience)
    for _ in range(249):
        patience.spend(0.1)
        patience.moved(10)  # a byte now and then is no movement
    with pytest.raises(HubFault):
        patience.spend(0.2)
    patience.moved(1 << 16)
    patience.spend(24)


def test_an_endpoint_that_is_no_address(tmp_path):
    expect_fault(make_store(tmp_path, "http://[not-an-address"), tmp_path, "models.no_connection")


def test_too_little_room(tmp_path, hub, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 51_000_000})())
    expect_fault(make_store(tmp_path, hub), tmp_path, "models.no_space")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
def test_the_disk_runs_full_while_writing(tmp_path, hub):
    """For real, by a limit on the size of files, in a process of its own."""
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from lib_lora_train.errors import UserError; from lib_lora_train.signals import Commands, ignore_events\n"
        "from tests.vision.test_models_store import make_store\n"
        "store = make_store(Path(sys.argv[1]), sys.argv[2])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        "try: store.fetch('small', ignore_events, Commands())\n"
        "except UserError as error: print(error.code, error.remedy())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), hub.endpoint],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert done.stdout.startswith("models.disk") and str(tmp_path / "small") in done.stdout
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to(tmp_path, hub):
    tmp_path.chmod(0o500)
    expect_fault(make_store(tmp_path, hub), tmp_path, "models.disk")
    tmp_path.chmod(0o700)


def test_the_models_folder_is_a_file(tmp_path, hub):
    (tmp_path / "models").write_text("in the way")
    with pytest.raises(UserError) as caught:
        make_store(tmp_path / "models", hub).fetch("small", ignore_events, Commands())
    assert caught.value.code == "models.disk"


def test_offline_by_flag_and_by_environment(tmp_path, monkeypatch):
    no_sockets(monkeypatch)
    expect_fault(ModelStore(tmp_path, table=TABLE, offline=True), tmp_path, "models.offline")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    expect_fault(ModelStore(tmp_path, table=TABLE), tmp_path, "models.offline")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    assert not ModelStore(tmp_path, table=TABLE).offline


def test_the_folder_is_called_as_the_store_is_told(tmp_path):
    store = ModelStore(tmp_path, table=TABLE, offline=True, shown="models")
    with pytest.raises(UserError) as caught:
        store.fetch("small", ignore_events, Commands())
    assert str(tmp_path) not in caught.value.text() and str(Path("models/small")) in caught.value.text()
    assert str(tmp_path) not in json.dumps(store.known()[0].as_dict())


# ---------------------------------------------------------------------- cuts, and stopping


def test_a_cut_is_continued_where_it_was(tmp_path, hub):
    hub.fault, hub.times, hub.after = "cut", 2, 1_000_000
    make_store(tmp_path, hub).fetch("small", ignore_events, Commands())
    ranges = [
        headers.get("range") for method, path, headers in hub.requests if method == "GET" and path.startswith("/cdn/")
    ]
    first, second = (int(text.removeprefix("bytes=").rstrip("-")) for text in ranges[1:])
    assert ranges[0] is None and 0 < first <= 1_000_000 and first < second <= 2_000_000
    assert pins(tmp_path)["files"]["model.onnx"]["sha256"] == SHA256["model.onnx"]


def test_a_server_that_cannot_continue_begins_anew(tmp_path, hub):
    hub.fault, hub.times, hub.after, hub.ranges = "cut", 1, 1_000_000, False
    place = make_store(tmp_path, hub).fetch("small", ignore_events, Commands())
    assert (place / "model.onnx").read_bytes() == MODEL


@pytest.mark.parametrize("fault", ["500", "429", "silent"])
def test_a_fault_that_passes(tmp_path, hub, fault):
    hub.fault, hub.times = fault, 2
    make_store(tmp_path, hub, timeout=0.3).fetch("small", ignore_events, Commands())
    assert make_store(tmp_path, hub).find("small")


@pytest.mark.parametrize("fault", ["silent", "silent head", "stall", ""])
def test_stop_while_it_waits_or_loads(tmp_path, hub, fault):
    """At once, though the connection's own limit is far off; nothing is left."""
    hub.fault, hub.after = fault, 1_000_000
    commands, began, outcome = Commands(), threading.Event(), []

    def events(event: object) -> None:
        if isinstance(event, Stage):
            began.set()
            if not fault:
                commands.stop()

    def work() -> None:
        try:
            make_store(tmp_path, hub, timeout=60, patience=60).fetch("small", events, commands)
        except Stopped:
            outcome.append("stopped")

    thread = threading.Thread(target=work)
    thread.start()
    began.wait(0.5)
    commands.stop()
    thread.join(10)
    assert not thread.is_alive() and outcome == ["stopped"]
    assert names(tmp_path) == []


def test_what_a_killed_download_left_is_swept_away_in_time(tmp_path, hub):
    for name, age in (("old", 100_000), ("new", 1_000)):
        folder = drop(tmp_path / "small" / f".download.{name}.tmp", {"model.onnx": MODEL[:1000]})
        changed = time.time() - age
        os.utime(folder, (changed, changed))
    make_store(tmp_path, hub).fetch("small", ignore_events, Commands())
    assert [name for name in names(tmp_path / "small") if name.endswith(".tmp")] == [".download.new.tmp"]


def test_no_thread_stays(tmp_path, hub):
    for fault in ("", "cut", "500"):
        hub.fault = fault
        store = make_store(tmp_path / (fault or "good"), hub)
        if fault:
            with pytest.raises(UserError):
                store.fetch("small", ignore_events, Commands())
        else:
            store.fetch("small", ignore_events, Commands())
    for thread in threading.enumerate():
        if thread.name == "model download":
            thread.join(5)
            assert not thread.is_alive()


# ---------------------------------------------------------------------- pinned


def test_a_changed_file_is_refused(tmp_path, hub, monkeypatch):
    make_store(tmp_path, hub).fetch("small", ignore_events, Commands())
    (tmp_path / "small" / "selected_tags.csv").write_bytes(TAGS + b"2,hat,0,1\n")
    no_sockets(monkeypatch)
    store = make_store(tmp_path, hub)
    for use in (store.find, store.resolve_tagger, lambda name: store.fetch(name, ignore_events, Commands())):
        with pytest.raises(UserError) as caught:
            use("small")
        assert caught.value.code == "models.changed"
        assert "selected_tags.csv" in caught.value.text() and "pins.json" in caught.value.text()
    assert store.known("tagger")[0].state == "changed"
    (tmp_path / "small" / "pins.json").unlink()  # what the remedy says
    assert make_store(tmp_path, hub).find("small")


def test_hashes_are_computed_only_when_size_or_time_differ(tmp_path, hub, monkeypatch):
    make_store(tmp_path, hub).fetch("small", ignore_events, Commands())
    counted = []
    real = hashlib.sha256
    monkeypatch.setattr("lib_lora_train.vision.pins.hashlib.sha256", lambda *args: counted.append(1) or real(*args))
    assert make_store(tmp_path, hub).find("small")
    assert counted == []
    os.utime(tmp_path / "small" / "model.onnx", ns=(1, 1))
    assert make_store(tmp_path, hub).known("tagger")[0].state == "ready"
    assert make_store(tmp_path, hub).find("small")
    assert counted == [1, 1]
    assert make_store(tmp_path, hub).find("small")
    assert counted == [1, 1]  # the new time was recorded


def test_a_lost_file_is_fetched_as_it_was_recorded(tmp_path, hub):
    make_store(tmp_path, hub).fetch("small", ignore_events, Commands())
    hub.requests.clear()
    (tmp_path / "small" / "selected_tags.csv").unlink()
    store = make_store(tmp_path, hub)
    assert store.find("small") is None
    store.fetch("small", ignore_events, Commands())
    assert all(COMMIT in path for _, path, _ in hub.requests if "/resolve/" in path)
    assert not any(path.startswith("/cdn/") for _, path, _ in hub.requests)
    (tmp_path / "small" / "selected_tags.csv").unlink()
    hub.files["selected_tags.csv"] = TAGS + b"2,hat,0,1\n"
    with pytest.raises(UserError) as caught:
        make_store(tmp_path, hub).fetch("small", ignore_events, Commands())
    assert caught.value.code == "models.changed_there"
    assert names(tmp_path / "small") == ["model.onnx", "pins.json"]


def test_the_commit_that_was_asked_for_must_come(tmp_path, hub):
    make_store(tmp_path, hub).fetch("small", ignore_events, Commands())
    (tmp_path / "small" / "selected_tags.csv").unlink()
    hub.commit, hub.any_revision = "f" * 40, True
    with pytest.raises(UserError) as caught:
        make_store(tmp_path, hub).fetch("small", ignore_events, Commands())
    assert caught.value.code == "models.not_a_hub"


def test_a_damaged_record_is_not_forgotten(tmp_path, hub):
    drop(tmp_path / "small")
    for text in (
        "{",
        "[]",
        '{"files": 3}',
        '{"repository": "", "commit": "", "files": {"model.onnx": {}}}',
        "[" * 9999,
    ):
        (tmp_path / "small" / "pins.json").write_text(text)
        store = make_store(tmp_path, hub)
        with pytest.raises(UserError) as caught:
            store.find("small")
        assert caught.value.code == "models.pins" and "small" in caught.value.text()
        assert store.known("tagger")[0].state == "changed"


# ---------------------------------------------------------------------- by hand, and elsewhere


def test_files_put_there_by_hand_are_recorded_at_their_first_use(tmp_path, hub, monkeypatch):
    drop(tmp_path / "small")
    no_sockets(monkeypatch)
    store = make_store(tmp_path, hub)
    assert store.known("tagger")[0].as_dict()["sha256"] == {} and store.known("tagger")[0].state == "ready"
    assert store.find("small") == tmp_path / "small"
    recorded = pins(tmp_path)
    assert recorded["commit"] == "" and {pin["by"] for pin in recorded["files"].values()} == {"hand"}
    assert store.known("tagger")[0].sha256 == SHA256
    (tmp_path / "small" / "model.onnx").write_bytes(MODEL[:-1])
    with pytest.raises(UserError):
        store.find("small")


@pytest.mark.parametrize(
    ("path", "data", "code"),
    [
        ("model.onnx", b"<!DOCTYPE html><title>Sign in</title>", "onnx.web_page"),
        ("model.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "onnx.web_page"),
        ("model.onnx", MODEL[:-1], "onnx.unreadable"),
        ("selected_tags.csv", b"\n<html></html>", "onnx.web_page"),
    ],
)
def test_what_is_no_model_is_not_recorded(tmp_path, hub, path, data, code):
    drop(tmp_path / "small")
    (tmp_path / "small" / path).write_bytes(data)
    with pytest.raises(UserError) as caught:
        make_store(tmp_path, hub).find("small")
    assert caught.value.code == code
    assert not (tmp_path / "small" / "pins.json").exists()


def test_half_of_the_files_by_hand(tmp_path, hub):
    drop(tmp_path / "small", {"selected_tags.csv": TAGS})
    store = make_store(tmp_path, hub)
    assert store.find("small") is None
    store.fetch("small", ignore_events, Commands())
    assert (store.known("tagger")[0].state, pins(tmp_path)["commit"]) == ("ready", COMMIT)
    other = drop(tmp_path / "other" / "small", {"selected_tags.csv": b"name\nanother list\n"})
    with pytest.raises(UserError) as caught:
        make_store(tmp_path / "other", hub).fetch("small", ignore_events, Commands())
    assert caught.value.code == "models.other_file"
    assert (names(other), (other / "selected_tags.csv").read_bytes()) == (
        ["selected_tags.csv"],
        b"name\nanother list\n",
    )


def test_files_of_another_program_are_used_and_left_alone(tmp_path, hub, monkeypatch):
    no_sockets(monkeypatch)
    other = drop(tmp_path / "webui")
    before = names(other)
    for extra in ([other / "model.onnx"], [tmp_path / "nowhere" / "model.onnx", other]):
        store = make_store(tmp_path / "models", hub, extra={"small": extra})
        assert store.find("small") == other
        assert store.known("tagger")[0].state == "ready"
    assert names(other) == before
    assert pins(tmp_path / "models")["files"]["model.onnx"]["sha256"] == SHA256["model.onnx"]
    (other / "model.onnx").write_bytes(tiny_model(filling=5))
    with pytest.raises(UserError) as caught:
        store.find("small")
    assert caught.value.code == "models.changed"
    drop(tmp_path / "models" / "small")  # our own come first, and are still the recorded ones
    assert store.find("small") == tmp_path / "models" / "small"


def test_names_are_those_of_the_table(tmp_path, hub):
    store = make_store(tmp_path, hub)
    for name in ("", "..", "small/../small", "someone/small", "https://huggingface.co/someone/small", "SMALL"):
        for use in (store.find, lambda name: store.fetch(name, ignore_events, Commands())):
            with pytest.raises(UserError) as caught:
                use(name)
            assert caught.value.code == "models.unknown"
    assert hub.requests == []


def test_taggers_of_ones_own(tmp_path, hub):
    models, outside = tmp_path / "models", drop(tmp_path / "outside")
    (
        drop(models / "mine"),
        drop(models / ".hidden"),
        drop(models / "small"),
        drop(models / "half", {"model.onnx": MODEL}),
    )
    (models / "away").symlink_to(outside)
    store = make_store(models, hub)
    assert store.user_folders() == ["mine"]
    assert store.resolve_tagger("mine") == (models / "mine").resolve()
    assert store.resolve_tagger("small") == models / "small"
    for name, code in {
        "..": "path.outside", "../outside": "path.outside", "away": "path.outside", str(outside): "path.outside",
        "half": "models.no_tagger", "nothing": "models.no_tagger", "": "models.no_tagger", "forbidden": "models.no_tagger",
    }.items():  # fmt: skip
        with pytest.raises(UserError) as caught:
            store.resolve_tagger(name)
        assert caught.value.code == code, name
    assert make_store(tmp_path / "none", hub).user_folders() == []
    with pytest.raises(UserError) as caught:
        make_store(tmp_path / "none", hub).resolve_tagger("small")
    assert caught.value.code == "models.missing"


def test_taggers_elsewhere_that_the_operator_named(tmp_path, hub):
    named, empty = drop(tmp_path / "elsewhere" / "mine"), tmp_path / "empty"
    drop(tmp_path / "models" / "mine")
    store = make_store(tmp_path / "models", hub, taggers=[named, empty])
    assert store.resolve_tagger("mine") == named
    assert store.user_folders() == ["mine"]
    with pytest.raises(UserError) as caught:
        store.resolve_tagger("empty")
    assert caught.value.code == "models.no_tagger"
