"""One process, with one Ray, that runs commands one after another. DRIVER.

Where steps are small, most of their time goes into starting: torch and Ray's libraries are imported,
then Ray starts, then its workers. A process that stays up pays for that once. A command that does
not end well takes process and Ray with it, and the next one gets new ones: whatever went wrong there
is over. A process whose parent is gone ends its command as after SIGTERM.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from orchestrator.cluster import connect, is_private
from orchestrator.config.command_line import run
from orchestrator.dashboard.tab import page_line, serving
from orchestrator.stopping import SIGNALS

END_TIMEOUT_S = 60.0
"""How long a process may take to leave Ray."""
SAID = b"stopping: the step at work ends first, and no other begins\n"
SIGNALLED = 128
"""What a shell adds to the number of the signal that ended a process."""
_DEAF = dict.fromkeys(SIGNALS, signal.SIG_IGN)
"""Between two commands there is nothing to stop."""
Asked = tuple[str, tuple[str, ...], bool]
Handlers = Mapping[signal.Signals, Any]


class StepProcess:
    """Runs commands; its process starts with the first, and ends with one that fails.

    Attributes:
        interrupted: whether Ctrl-C, or the SIGTERM of `ray job stop`, came while one was run.
    """

    def __init__(self, address: str, folder: Path) -> None:
        """Remember both; nothing starts yet.

        Args:
            address: of Ray, as commands take it.
            folder: whose studies the Leaderboard tab of a private Ray shows.
        """
        self.interrupted = False
        self._given = (address, folder)
        self._running: tuple[BaseProcess, Connection] | None = None

    def run(self, module: str, words: Sequence[str], *, with_ray: bool) -> int:
        """Runs the `main` of a module; returns its exit status.

        Ctrl-C, and the SIGTERM of `ray job stop`, reach the process as well: it is waited for until
        the command has ended by itself. A SIGTERM to this process alone lets the command end its
        work; a second one is passed on.

        Args:
            module: by its full name.
            words: its arguments.
            with_ray: whether Ray is to be connected first.
        """
        with self._signals_noted() as noted:
            status = self._answer((module, tuple(words), with_ray))
            if status:
                self.close()
        self.interrupted = self.interrupted or bool(noted)
        return status

    def close(self) -> None:
        """Let the process leave Ray and end; one that does not is killed."""
        if self._running is None:
            return
        process, connection = self._running
        self._running = None
        with suppress(OSError):  # it is gone
            connection.send(None)
        process.join(END_TIMEOUT_S)
        process.kill()
        process.join()
        connection.close()

    @contextmanager
    def _signals_noted(self) -> Iterator[list[int]]:
        """Signals that would end this process are noted instead."""
        noted: list[int] = []

        def note(number: int, _frame: object) -> None:
            os.write(2, SAID)  # not print: a signal can arrive in the middle of one
            if number == signal.SIGTERM and number in noted and self._running is not None:
                self._running[0].terminate()
            noted.append(number)

        before = _set_handlers(dict.fromkeys(SIGNALS, note))
        try:
            yield noted
        finally:
            _set_handlers(before)

    def _answer(self, asked: Asked) -> int:
        if self._running is None or not self._running[0].is_alive():  # it died after its answer
            self._running = _start(*self._given)
        process, connection = self._running
        try:
            connection.send(asked)
            return int(connection.recv())
        except (EOFError, OSError):  # it died
            process.join()
            code = process.exitcode or 1
            return code if code > 0 else SIGNALLED - code


def _start(address: str, folder: Path) -> tuple[BaseProcess, Connection]:
    ours, theirs = multiprocessing.Pipe()
    # Spawned: a fork would share torch's threads and, where one is connected, a Ray.
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(theirs, address, folder)
    )
    process.start()
    theirs.close()
    return process, ours


def _serve(connection: Connection, address: str, folder: Path) -> None:
    """Runs what is asked for until nothing more is, or until whoever asks is gone."""
    heard = _set_handlers(_DEAF)
    threading.Thread(target=_end_with_parent, daemon=True, name="parent").start()
    with ExitStack() as leaving:
        while (asked := _received(connection)) is not None:
            _set_handlers(heard)
            status = run(partial(_main, asked, leaving, address, folder))
            sys.stdout.flush()  # before whoever asked goes on and prints
            heard = _set_handlers(_DEAF)
            with suppress(OSError):  # nobody is there to hear it
                connection.send(status)


def _end_with_parent() -> None:
    """Else a command would go on beside the next life of whoever asked for it."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "this process was spawned"
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _received(connection: Connection) -> Asked | None:
    try:
        asked: Asked | None = connection.recv()
    except EOFError:
        return None
    return asked


def _main(
    asked: Asked, leaving: ExitStack, address: str, folder: Path, _own_words: Sequence[str]
) -> int:
    module, words, with_ray = asked
    if with_ray:  # where it is connected already this does nothing
        tab = leaving.enter_context(serving(folder, wanted=is_private(address)))
        cluster = leaving.enter_context(connect(address, proxy_server_url=tab.server_url))
        if line := page_line(tab, cluster.dashboard_url, ""):
            sys.stdout.write(f"{line}\n")
    return int(importlib.import_module(module).main(words))


def _set_handlers(handlers: Handlers) -> Handlers:
    """Sets handlers of signals; returns those of before."""
    return {number: signal.signal(number, handler) for number, handler in handlers.items()}
