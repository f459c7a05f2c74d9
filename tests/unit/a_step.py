"""A command that does what its words say, for the process that runs such."""

import os
import signal
import sys
import time
from pathlib import Path

from orchestrator.config.errors import ConfigError


def main(words):
    what, file = words[0], Path(words[1])
    if what == "note":
        with file.open("a") as notes:
            notes.write(f"{os.getpid()}\n")
    elif what == "refuse":
        raise ConfigError("word: must be another; got this")
    elif what == "break":
        raise ZeroDivisionError
    elif what == "end of file":
        raise EOFError
    elif what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "save":
        signal.signal(signal.SIGINT, lambda *_: _save(file))
        file.with_suffix(".ready").touch()
        signal.pause()
    elif what == "last":
        signal.signal(signal.SIGTERM, lambda *_: file.touch())
        file.with_suffix(".ready").touch()
        signal.pause()
    elif what == "finish":
        file.with_suffix(".ready").touch()
        while not file.exists():
            time.sleep(0.01)
    return 0


def _save(file):
    time.sleep(0.6)  # longer than subprocess.run would give it
    file.touch()
    sys.exit(130)
