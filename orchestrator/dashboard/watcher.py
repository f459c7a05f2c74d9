"""Keeps the newest picture of every study of a folder, in threads of its own. DRIVER.

Whoever asks gets what is there and never waits: reading ledgers and weighing fields happens here,
and a finished picture takes the place of the last one in one step.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Final

from orchestrator.dashboard.study_files import FolderOfStudies, Studies, WatchedStudy
from orchestrator.results.printable import one_line

LOOK_EVERY_S: Final = 1.0
WEIGH_EVERY_S: Final = 15.0


class Watcher:
    """Watches the studies of a folder from `start` to `stop`."""

    def __init__(self, place: str) -> None:
        """Read nothing yet.

        Args:
            place: path or address of a folder that holds study folders.
        """
        self._found = _studies(place)
        self._ended = threading.Event()
        self._problem = ""
        self.studies: dict[str, WatchedStudy] = {}

    def start(self) -> None:
        """Begin; the first pictures are there after the first look."""
        threading.Thread(target=self._watch, name="watcher", daemon=True).start()
        threading.Thread(target=self._weigh, name="importance", daemon=True).start()

    def stop(self) -> None:
        """End both threads soon."""
        self._ended.set()

    def look(self) -> None:
        """Read what is new in every study."""
        found = self._found.names()
        new = {
            name: WatchedStudy(name, self._found.ledger(name))
            for name in found
            if name not in self.studies
        }
        # New ones first; the others keep their places, so that a list of them stands still.
        self.studies = new | {name: s for name, s in self.studies.items() if name in found}
        for study in self.studies.values():
            study.look()

    def _watch(self) -> None:
        while not self._ended.is_set():
            try:
                self.look()
                self._problem = ""
            except Exception as error:  # noqa: BLE001 - a look that fails is not the last one
                self._say(f"{type(error).__name__}: {error}")
            self._ended.wait(LOOK_EVERY_S)

    def _say(self, problem: str) -> None:
        """Once as long as it lasts: the page stays as it is, but somebody may read this process's log."""
        if problem != self._problem:
            sys.stderr.write(f"leaderboard: {one_line(problem, 400)}\n")
        self._problem = problem

    def _weigh(self) -> None:
        while not self._ended.wait(WEIGH_EVERY_S):
            for study in list(self.studies.values()):
                study.work_out_importance()


def _studies(place: str) -> Studies:
    if "://" not in place:
        return FolderOfStudies(Path(place))
    # With pyarrow: only where there is an object store.
    from orchestrator.config.folder import folder
    from orchestrator.dashboard.stored_studies import StoredStudies

    return StoredStudies(folder(place))
