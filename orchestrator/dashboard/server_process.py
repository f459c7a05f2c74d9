"""The process of the server behind the Leaderboard tab, as its parent sees it.

DRIVER; or the process of a head node that has the tab for every job (`server.py`).

The dashboard sends every request, with the user's token, to the port that it was told at its
start. So that nobody else can take that port when the server dies, this process keeps it: a
second socket, bound and never listening. Connections are refused at once then, which the
dashboard takes for "answer yourself". A server that dies is replaced, but not one that soon dies
again.

One that hangs is worse: the system goes on accepting connections for it, and the dashboard waits
30 s on each. So this process asks it for something every few seconds, over loopback, and kills a
server that has been silent for too long; what follows is what follows a death.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from orchestrator.config.address import absolute_address

LOOPBACK: Final = "127.0.0.1"
ROOT: Final = Path(__file__).resolve().parents[2]
REPLACEMENTS: Final = 1
"""One that dies again has a reason to."""
LONG_LIFE_S: Final = 3600.0
"""Of a server whose death is not held against the one that takes its place."""
END_TIMEOUT_S: Final = 5.0
LOOK_EVERY_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 2.0
START_LIMIT_S: Final = 60.0
"""Until the first answer: its imports wait for a cold disk, and for the training."""
SILENCE_LIMIT_S: Final = 10.0
"""Since the last answer, several looks: a busy machine alone is no reason."""


class ServerProcess:
    """Serves from its making until `end`."""

    def __init__(
        self,
        place: str,
        tickets: tuple[str, ...] = (),
        *,
        port: int = 0,
        environment: Mapping[str, str] = MappingProxyType({}),
        errors: int | None = subprocess.DEVNULL,
    ) -> None:
        """Start the server.

        Args:
            place: path or address of the folder that holds study folders; need not exist yet.
            tickets: secrets of links that may be used once each; a replacement honours none,
                as it cannot know which were used.
            port: to listen on; 0 = one that is free.
            environment: of the server, beside this process's own.
            errors: where it writes them; None = where this process does.

        Raises:
            OSError: there is no port, it is taken, or no process can be started.
        """
        self._place = absolute_address(place)
        self._environment = dict(environment)
        self._errors = errors
        self._kept = free_port(port)
        self._port: int = self._kept.getsockname()[1]
        self._ended = threading.Event()
        self._changing = threading.Lock()
        try:
            self._process = self._start(tickets)
        except OSError:
            self._kept.close()
            raise
        self._watcher = threading.Thread(target=self._watch, name="tab-server", daemon=True)
        self._watcher.start()

    @property
    def url(self) -> str:
        """What the dashboard is to ask first."""
        return f"http://{LOOPBACK}:{self._port}"

    def wait(self) -> None:
        """Return when the server is gone for good; its port is kept until `end`."""
        self._watcher.join()

    def end(self) -> None:
        """End the server and give the port back."""
        with self._changing:
            self._ended.set()
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(END_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._kept.close()

    def _watch(self) -> None:
        replacements_left = REPLACEMENTS
        while True:
            started_s = time.monotonic()
            self._stay_until_gone()
            if time.monotonic() - started_s > LONG_LIFE_S:
                replacements_left = REPLACEMENTS
            with self._changing:
                if self._ended.is_set() or not replacements_left:
                    return  # the dashboard goes on without the tab
                replacements_left -= 1
                try:
                    self._process = self._start(())
                except OSError:
                    return

    def _stay_until_gone(self) -> None:
        """Return once the server has died, or has been killed for its silence, or at the end."""
        heard_s, has_answered = time.monotonic(), False
        while not self._ended.wait(LOOK_EVERY_S) and self._process.poll() is None:
            if _answers(self._port):
                heard_s, has_answered = time.monotonic(), True
                continue
            limit_s = SILENCE_LIMIT_S if has_answered else START_LIMIT_S
            if time.monotonic() - heard_s > limit_s:
                self._process.kill()  # also one that is stopped
                self._process.wait()

    def _start(self, tickets: tuple[str, ...]) -> subprocess.Popen[str]:
        """What the process needs to know goes over a pipe, where nobody else reads."""
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        # It listens when it is ready to answer: until then connections are refused.
        with _bound(self._port) as listening:
            orders = {
                "socket": listening.fileno(),
                "place": self._place,
                "tickets": tickets,
            }
            process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.dashboard.server"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env={**os.environ, "PYTHONPATH": path, **self._environment},
                pass_fds=[listening.fileno()],
                start_new_session=True,  # Ctrl-C is for the study; the server ends with the pipe
                text=True,
            )
        # The server's socket is the only one that listens now: when it dies, none does.
        assert process.stdin is not None
        process.stdin.write(json.dumps(orders) + "\n")
        process.stdin.flush()
        return process


def _answers(port: int) -> bool:
    """Whether a server says anything at all, such as that there is no such page."""
    asked = http.client.HTTPConnection(LOOPBACK, port, timeout=ANSWER_TIMEOUT_S)
    try:
        asked.request("HEAD", "/alive")
        asked.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asked.close()
    return True


def free_port(port: int = 0) -> socket.socket:
    """A bound socket on a port where nobody listens, not even a server of the same user.

    Args:
        port: wanted; 0 = any.

    Raises:
        OSError: the port is taken.
    """
    if port and _is_heard(port):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    return _bound(port)


def _is_heard(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), ANSWER_TIMEOUT_S).close()
    except ConnectionRefusedError:
        return False
    except OSError:  # too busy to answer
        return True
    return True


def _bound(port: int) -> socket.socket:
    """A socket on a port that only sockets of the same user can share."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((LOOPBACK, port))
    except OSError:
        made.close()
        raise
    return made
