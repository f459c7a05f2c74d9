"""Ends a study or training in which nothing moves any more, and says who waits for what.

DRIVER, in a thread of its own, as the main one may be what hangs. Something moves as long as the
signs of life change: epochs in the ledger, states of slots, batches of their workers. So an
epoch may take hours; a worker that waits for one that will never come may not.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from orchestrator.config.errors import StalledError

LOOKS = 20
"""Looks within the time that nothing may move."""
LOOK_TIMEOUT_S = 20.0
"""Ray may be what hangs: then nothing is seen to move."""
REPORT_TIMEOUT_S = 20.0
"""And the report goes without its part."""
LAST_LOOK_S = 5.0
"""How long a look may take to end: its thread must not ask a Ray that the process has left."""

ABORTS, ABORT_S = 4, 30.0
"""Libraries may swallow the error once, and what they clean up takes a while."""

Signs = Callable[[], object]
Report = Callable[[], Sequence[str]]
Clock = Callable[[], float]
T = TypeVar("T")


class Watchdog:
    """Knows how long nothing has moved."""

    def __init__(self, signs: Signs, clock: Clock = time.monotonic) -> None:
        """Begin to watch; `signs` is anything that compares equal as long as nothing moves."""
        self._signs = signs
        self._clock = clock
        self._last: object = None
        self._look: _Question[object] | None = None
        self._moved_s = clock()
        self.still_s()

    def still_s(self) -> float:
        """Look once; returns for how long nothing has moved, seconds."""
        for now in self._seen():
            if now != self._last:
                self._last, self._moved_s = now, self._clock()
        return self._clock() - self._moved_s

    def _seen(self) -> Sequence[object]:
        """The signs, if they came in time; those that come late are found by the next look.

        So no more than one look ever hangs, however long Ray does not answer.
        """
        if self._look is None:
            self._look = _Question(self._signs)
        answers = self._look.wait(LOOK_TIMEOUT_S)
        if self._look.is_over():
            self._look = None  # whatever keeps us from seeing life is no sign of it
        return answers


@contextmanager
def watching(
    signs: Signs, report: Report, abort: Callable[[Exception], None], *, stall_s: float
) -> Iterator[None]:
    """Watch for as long as the context lasts.

    Args:
        signs: see `Watchdog`.
        report: lines that say who waits for what.
        abort: raises an error in the main thread.
        stall_s: how long nothing may move.
    """
    over = threading.Event()

    def watch() -> None:
        dog = Watchdog(signs)
        while not over.wait(stall_s / LOOKS):
            if dog.still_s() < stall_s:
                continue
            lines = _in_time(report)
            # The report takes a while, in which the study may have ended or come back.
            if not over.is_set() and dog.still_s() >= stall_s:
                _end(StalledError(stalled_message(stall_s, lines)), abort, over)
                return

    thread = threading.Thread(target=watch, daemon=True, name="watchdog")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(LAST_LOOK_S)


def _end(error: StalledError, abort: Callable[[Exception], None], over: threading.Event) -> None:
    """Raise the error in the main thread; if that cannot even be ended so, end the process."""
    for _ in range(ABORTS):
        abort(error)
        if over.wait(ABORT_S):
            return
    os.write(2, f"error: {error}\n".encode())
    os._exit(error.exit_status)


def stalled_message(stall_s: float, lines: Sequence[str]) -> str:
    """The error: the rule first, then the report."""
    rule = (
        f"resources: something must move at least every resources.stall_s={stall_s:g} s; nothing did. "
        "What is known of it follows; the same command goes on from what is finished"
    )
    return "\n".join([rule, *(f"  {line}" for line in lines)])


def _in_time(report: Report) -> Sequence[str]:
    question = _Question(report)
    answers = question.wait(REPORT_TIMEOUT_S)
    if question.error is not None:  # the study ends without it
        return (f"ray         says nothing of it: {question.error}",)
    return answers[0] if answers else ("ray         does not answer",)


class _Question(Generic[T]):
    """What is asked of Ray in a thread of its own, as the answer may never come."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self._answers: list[T] = []
        self._ask = ask
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="watchdog-question")
        self._thread.start()

    def wait(self, timeout_s: float) -> Sequence[T]:
        """The answer; nothing where there is none in time, or an error in its place."""
        self._thread.join(timeout_s)
        return tuple(self._answers)

    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._answers.append(self._ask())
        except Exception as error:  # noqa: BLE001 - whoever asked decides what it means
            self.error = error
