"""One driver holds a folder of an object store; a second is refused, a dead one is succeeded."""

import threading
import time

import pytest

from orchestrator.config.errors import ConfigError, StorageError
from orchestrator.config.folder import folder
from orchestrator.config.lease import CLAIMS, Lease
from orchestrator.config.object_store import Store

BEAT_S, EXPIRY_S = 0.5, 4.0
"""The store tells the time in whole seconds: an expiry of several is needed to tell old from new."""


@pytest.fixture
def store(faulty_s3, tmp_path) -> Store:
    return Store(folder(f"s3://faulty/{tmp_path.name}"))


def lease(store: Store, said: list[str] | None = None) -> Lease:
    say = (said if said is not None else []).append
    return Lease(store, "study", say, heartbeat_s=BEAT_S, expiry_s=EXPIRY_S)


def killed(store: Store) -> Lease:
    """A lease whose driver gives no more signs of life, and gives nothing back."""
    held = lease(store)
    held.__enter__()
    held._over.set()
    held._thread.join()
    held._over.clear()  # held up, not ended: it may come back
    return held


def test_a_folder_that_was_given_back_is_free_at_once(store):
    with lease(store):
        assert len((store / CLAIMS).files()) == 1
    said: list[str] = []
    with lease(store, said) as held:
        held.check()
    assert (said, (store / CLAIMS).files()) == ([], {})


def test_a_second_driver_is_refused_while_the_first_lives(store):
    said: list[str] = []
    with lease(store) as first:
        with pytest.raises(ConfigError, match=r"study: only one .* holds s3://faulty.* study=NAME"):
            lease(store, said).__enter__()
        first.check()
        assert list((store / CLAIMS).files()) == [first._name]
    assert "may be gone" in said[0]


def test_a_driver_that_is_gone_is_succeeded_and_then_writes_no_more(store):
    dead = killed(store)
    began_s = time.monotonic()
    with lease(store) as heir:
        assert time.monotonic() - began_s < 3 * EXPIRY_S
        assert list((store / CLAIMS).files()) == [heir._name]
        dead._look_out()  # its thread wakes up before anything else does
        for _ in range(2):
            with pytest.raises(StorageError, match=r"only one driver .* taken it over.* has ended"):
                dead.check()
        heir.check()
        assert list((store / CLAIMS).files()) == [heir._name]


def test_a_driver_that_was_held_up_goes_on_where_nobody_took_over(store):
    held = killed(store)
    time.sleep(EXPIRY_S / 2)
    held.check()
    assert held._name in (store / CLAIMS).files()


def test_a_write_is_not_begun_on_an_old_sign_of_life_when_the_store_is_away(
    store, faulty_s3, impatient
):
    held = killed(store)
    held.check()
    time.sleep(EXPIRY_S / 2)
    faulty_s3.fail(lambda *_: True, status=503, code="SlowDown")
    with pytest.raises(StorageError, match="SLOW_DOWN"):
        held.check()


def test_drivers_that_start_in_the_same_moment_never_both_begin(store):
    inside, most = set(), []
    barrier = threading.Barrier(3)

    def drive(name: int) -> None:
        barrier.wait()
        try:
            with lease(store):
                inside.add(name)
                most.append(len(inside))
                time.sleep(0.5)
                inside.discard(name)
        except ConfigError:
            return

    threads = [threading.Thread(target=drive, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
