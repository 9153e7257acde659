"""The WebUI's lock as we take it, and the watch over its model: no WebUI is needed for either."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from lib_lora_train.errors import UserError
from lib_lora_train.host.webui.lock import HostLock
from lib_lora_train.host.webui.watch import ModelWatch
from lib_lora_train.signals import Commands, Stopped


class CountedLock:
    """As the WebUI's: no timeouts, and any thread may give it back."""

    def __init__(self) -> None:
        self.inner = threading.Lock()
        self.waiting = threading.Event()

    def acquire(self, blocking: bool = True) -> bool:
        if blocking:
            self.waiting.set()
        return self.inner.acquire(blocking)

    def release(self) -> None:
        self.inner.release()


def _nothing() -> None:
    pass


def test_a_free_lock_is_taken_at_once_and_given_back() -> None:
    lock, told = CountedLock(), []
    with HostLock(lock).held(Commands(), lambda: told.append(1)):
        assert lock.inner.locked()
    assert not lock.inner.locked()
    assert told == []


def test_it_is_given_back_after_an_error() -> None:
    lock = CountedLock()
    with pytest.raises(ZeroDivisionError), HostLock(lock).held(Commands(), _nothing):
        raise ZeroDivisionError
    assert not lock.inner.locked()


def test_the_same_thread_does_not_wait_for_itself() -> None:
    ours = HostLock(CountedLock())
    with ours.held(Commands(), _nothing), pytest.raises(RuntimeError), ours.held(Commands(), _nothing):
        pass


def test_it_waits_for_its_turn() -> None:
    lock, told = CountedLock(), []
    lock.acquire()
    threading.Timer(0.2, lock.release).start()
    before = time.monotonic()
    with HostLock(lock).held(Commands(), lambda: told.append(1)):
        assert time.monotonic() - before > 0.15
        assert lock.inner.locked()
    assert told == [1]
    assert not lock.inner.locked()


def test_who_stands_in_line_is_seen_where_the_lock_has_one() -> None:
    assert not HostLock(threading.Lock()).wanted()  # of which nobody can tell
    lock = CountedLock()
    lock._pending_threads = []  # as the WebUI's own lock calls it
    ours = HostLock(lock)
    assert not ours.wanted()
    lock._pending_threads.append(threading.Event())
    assert ours.wanted()


def test_a_stop_ends_the_wait_at_once_and_leaves_the_lock_to_others() -> None:
    lock, commands = CountedLock(), Commands()
    lock.acquire()
    threading.Timer(0.1, commands.stop).start()
    before = time.monotonic()
    with pytest.raises(Stopped), HostLock(lock).held(commands, _nothing):
        pytest.fail("it was not free")
    assert time.monotonic() - before < 1
    lock.release()
    assert lock.inner.acquire(timeout=5)  # the place in line was given up, and what came of it passed on


def test_an_error_of_the_one_who_waits_gives_the_place_up(monkeypatch: pytest.MonkeyPatch) -> None:
    lock, commands = CountedLock(), Commands()
    monkeypatch.setattr(Commands, "stopping", property(lambda self: 1 / 0))
    lock.acquire()
    with pytest.raises(ZeroDivisionError), HostLock(lock).held(commands, _nothing):
        pytest.fail("it was not free")
    lock.release()
    assert lock.inner.acquire(timeout=5)


# ---------------------------------------------------------------------- the watch


class Movers(SimpleNamespace):
    """Stands for the WebUI's module `sd_models`."""

    def __init__(self) -> None:
        self.model = object()
        self.moved: list[tuple[str, object]] = []
        super().__init__(model_data=SimpleNamespace(sd_model=self.model))
        for name in ("send_model_to_cpu", "send_model_to_trash", "send_model_to_device"):
            setattr(self, name, lambda model, name=name: self.moved.append((name, model)))

    def names(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name.startswith("send_")}


def _watch(movers: Movers) -> ModelWatch:
    watch = ModelWatch(movers)
    watch.model = movers.model
    return watch


@pytest.mark.parametrize("name", ["send_model_to_cpu", "send_model_to_trash"])
def test_who_takes_the_model_away_waits_for_the_end_and_the_run_hears_of_it(name: str) -> None:
    movers = Movers()
    before = movers.names()
    with _watch(movers) as watch:
        watch.check()
        other = threading.Thread(target=lambda: getattr(movers, name)(movers.model))
        other.start()
        other.join(0.1)
        assert other.is_alive()
        assert movers.moved == []
        with pytest.raises(UserError) as caught:
            watch.check()
        assert caught.value.code == "host.unloaded"
        movers.model_data.sd_model = "the user's own, put back"
    other.join(5)
    assert movers.moved == [(name, "the user's own, put back")]
    assert movers.names() == before


def test_bringing_it_to_the_device_is_nothing_to_do() -> None:
    movers = Movers()
    with _watch(movers) as watch:
        other = threading.Thread(target=lambda: movers.send_model_to_device(movers.model))
        other.start()
        other.join(5)
        watch.check()
    assert movers.moved == []


def test_the_run_itself_moves_models_as_before() -> None:
    movers = Movers()
    with _watch(movers) as watch:
        movers.send_model_to_cpu(movers.model)
        movers.send_model_to_device(movers.model)
        watch.check()
    assert movers.moved == [("send_model_to_cpu", movers.model), ("send_model_to_device", movers.model)]


def test_another_model_in_its_place_is_noticed() -> None:
    movers = Movers()
    with _watch(movers) as watch:
        movers.model_data.sd_model = object()
        with pytest.raises(UserError) as caught:
            watch.check()
    assert caught.value.code == "host.unloaded"


def test_somebody_elses_wrapper_stays_and_works() -> None:
    movers, seen = Movers(), []
    with _watch(movers):
        ours = movers.send_model_to_cpu
        movers.send_model_to_cpu = lambda model: (seen.append(model), ours(model))
        theirs = movers.send_model_to_cpu
    assert movers.send_model_to_cpu is theirs
    other = threading.Thread(target=lambda: movers.send_model_to_cpu(movers.model))
    other.start()
    other.join(5)
    assert seen == [movers.model]
    assert movers.moved == [("send_model_to_cpu", movers.model)]
