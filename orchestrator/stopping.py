"""Ctrl-C once: what is begun ends, and then the command; twice: at once.

DRIVER. The same for SIGTERM, which `ray job stop` sends. A command trains inside
`stop_on_signals`, asks `stop.asked()` between epochs, and prints `go_on` if work is left.
"""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from orchestrator.config.address import with_tilde

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAID = b"\nstopping: what is begun ends first (at most one epoch); Ctrl-C again stops at once\n"


@dataclass
class Stop:
    """Whether the command is to end before its work is done."""

    _gently: bool = True
    _first: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None

    def asked(self) -> bool:
        """Whether to begin nothing more."""
        return self._first.is_set()

    def gently(self) -> None:
        """From here on something is begun that is worth waiting for."""
        self._gently = True

    def abort(self, error: Exception) -> None:
        """Raise an error in the main thread, wherever that waits; called from another thread."""
        self.error = error
        signal.pthread_kill(_main_thread_id(), signal.SIGINT)

    def _on_signal(self, _signum: int, _frame: FrameType | None) -> None:
        if self.error is not None:
            raise self.error
        if self._first.is_set() or not self._gently:
            raise KeyboardInterrupt
        self._first.set()
        # Not print: a signal can arrive in the middle of one.
        os.write(2, SAID)


@contextmanager
def stop_on_signals(*, at_once: bool = False) -> Iterator[Stop]:
    """Take Ctrl-C and SIGTERM as wishes for as long as the context lasts.

    Enter it when Ray is connected: Ray sets a handler of its own. Outside the main thread, where
    Python gets no signals, nobody can ask.

    Args:
        at_once: whether the first signal stops at once until `Stop.gently` is called.

    Raises:
        KeyboardInterrupt: in the main thread, at the second signal.
    """
    stop = Stop(not at_once)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop._on_signal) for number in SIGNALS}
    try:
        yield stop
    except Exception as error:
        if stop.error is None or error is stop.error:
            raise
        raise stop.error from error  # a library wrapped it on its way
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def go_on(command: str, argv: Sequence[str]) -> str:
    """The command line that goes on with what was stopped: the very same, with `~` for the home folder."""
    return shlex.join([*command.split(), *map(with_tilde, argv)])


def _main_thread_id() -> int:
    ident = threading.main_thread().ident
    assert ident is not None, "the main thread has started"
    return ident
