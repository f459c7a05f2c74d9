"""Holds a folder of an object store for one driver, as a lock file holds one on a disk.

DRIVER. pyarrow offers no conditional writes, so this rests on what every store does promise: a
listing shows each object that was written before it began. A driver first writes a claim under a name
of its own, then lists the claims. Of two drivers that do so, at least one sees the other; whoever
sees a living one withdraws. So two never begin, though two that start in the same moment may both
step back, wait a little and try again.

A claim lives as long as it is written anew (`heartbeat_s`); one that has not been for `expiry_s`, by
the store's own clock, is of a driver that is gone, and is taken over. What this cannot promise: a
driver that was held up for longer than `expiry_s` (a laptop asleep, a network cut) may find that
another has taken over. It then writes nothing more: before each write it looks whether its last sign of
life is younger than half of `expiry_s`, and if not, gives one and lists the claims first. Only a write
that was on its way for all of the other half can arrive late. It damages nothing: a ledger's records
have names of their own for each driver, and both train the same lineage to the same weights.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType

from orchestrator.config.errors import ConfigError, StorageError
from orchestrator.config.object_store import Store

CLAIMS = ".drivers"
"""Folder of a study or run that holds the claims."""
HEARTBEAT_S, EXPIRY_S = 15.0, 60.0
LOOKS = 10
"""Looks within one heartbeat at a claim that may be dead."""


class Lease:
    """One driver's claim to a folder; use it as a context manager."""

    def __init__(
        self,
        store: Store,
        field: str,
        say: Callable[[str], None],
        *,
        heartbeat_s: float = HEARTBEAT_S,
        expiry_s: float = EXPIRY_S,
    ) -> None:
        """Claim nothing yet.

        Args:
            store: of the study or run.
            field: that names the folder, for messages.
            say: told once if another driver's claim has to be waited for.
            heartbeat_s: between two signs of life.
            expiry_s: without a sign of life after which a driver counts as gone.
        """
        self._address = str(store)
        self._claims = store / CLAIMS
        self._field = field
        self._say = say
        self._heartbeat_s, self._expiry_s = heartbeat_s, expiry_s
        self._name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        self._renewed_s = float("-inf")
        self._claiming = threading.Lock()
        self._lost: StorageError | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, daemon=True, name="lease")

    def __enter__(self) -> Lease:
        """Claim the folder; wait for the claim of a driver that may be gone.

        Raises:
            ConfigError: another driver is alive.
            StorageError: the store does not answer.
        """
        while living := self._claim():
            self._claims.remove(self._name)
            self._wait_for(living)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the folder back. Should that fail, the claim expires: nobody waits for it now."""
        self._over.set()
        if self._claiming.acquire(timeout=self._heartbeat_s):
            self._give_back()

    def check(self) -> None:
        """Ask before each write whether the folder is still ours; costs nothing while it surely is.

        Raises:
            StorageError: another driver has taken it over, or the store does not answer.
        """
        if self._lost is None and not self._is_fresh(time.monotonic()):
            self._look_out()
        if self._lost is not None:
            raise self._lost

    def _is_fresh(self, now_s: float) -> bool:
        return now_s - self._renewed_s < self._expiry_s / 2

    def _look_out(self) -> None:
        """Gives a sign of life; where another driver has taken over, this one is to write no more."""
        if others := self._claim():
            self._lost = StorageError(
                f"storage: only one driver may write to {self._address}; {min(others)} has taken it "
                f"over, as this one gave no sign of life for more than {self._expiry_s:g} s. Run the "
                "same command again when that one has ended"
            )
            self._over.set()
            self._give_back()

    def _claim(self) -> dict[str, int]:
        """Gives a sign of life; after one that is too old, lists the claims of other living drivers."""
        with self._claiming:
            began_s = time.monotonic()
            if self._over.is_set():
                return {}
            claim = {"driver": self._name, "since": self._since}
            self._claims.put(self._name, json.dumps(claim).encode())
            living = {} if self._is_fresh(began_s) else self._living()
            if not living:
                self._renewed_s = began_s
            return living

    def _living(self) -> dict[str, int]:
        """Claims of others that have not expired; where there are none, the expired ones go."""
        found = self._claims.changed_ns()
        # Our own claim was written just now: it tells the time by the store's clock.
        now_ns = found.pop(self._name, 0)
        oldest_ns = now_ns - self._expiry_s * 1e9
        living = {name: at_ns for name, at_ns in found.items() if at_ns >= oldest_ns}
        if not living:
            for name in found:
                self._claims.remove(name)
        return living

    def _keep_alive(self) -> None:
        while not self._over.wait(self._heartbeat_s):
            # What fails here shows where it matters: the next write gives the sign itself.
            with suppress(StorageError):
                self._look_out()

    def _give_back(self) -> None:
        with suppress(OSError):
            self._claims.folder.remove(self._name)

    def _wait_for(self, living: Mapping[str, int]) -> None:
        """Until these claims are given back or have expired.

        Raises:
            ConfigError: one of them was written anew.
        """
        self._say(
            f"waiting     up to {self._expiry_s:g} s for {min(living)}, which holds {self._address} "
            "and may be gone"
        )
        until_s = time.monotonic() + self._expiry_s
        # Two that have just stepped back for each other must not come back at the same moment.
        time.sleep(int(self._name[-2:], 16) / 256 * self._heartbeat_s / LOOKS)
        while time.monotonic() < until_s:
            seen = self._claims.changed_ns()
            if not living.keys() & seen.keys():
                return
            if any(seen.get(name, changed) != changed for name, changed in living.items()):
                raise ConfigError(
                    f"{self._field}: only one process may work on a folder; another, "
                    f"{min(living)}, holds {self._address}. Wait for it or end it, or choose another "
                    f"name with {self._field}=NAME"
                )
            time.sleep(self._heartbeat_s / LOOKS)
