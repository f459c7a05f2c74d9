"""Optuna's storage of a study, kept up by a thread while the study runs. DRIVER.

A training never waits for it and never ends because of it: only the newest state is written, and
a failure is said once and is the end of that file alone. The next command writes it anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from orchestrator.config.home import Home
from orchestrator.results.study_view import StudyView

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

JOURNAL: Final = "optuna.journal"
"""File of a study's folder."""
CLOSE_TIMEOUT_S: Final = 60.0


class OptunaJournal:
    """Shows a study to Optuna's tools; use it as a context manager."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        """Write nothing yet; `say` is called at most once, from any thread."""
        self.path = folder / JOURNAL
        self._say = say
        self._changed = threading.Condition()
        self._latest: StudyView | None = None
        self._is_closed = False
        self._has_failed = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the last of it."""
        if self._thread is None:
            return
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            self._fail(TimeoutError("its file system takes too long"))

    def begin(
        self,
        distributions: Mapping[str, BaseDistribution],
        directions: Sequence[str],
        trials: Sequence[Mapping[str, Any]],
    ) -> None:
        """Say what can be tried.

        Args:
            distributions: of each path that a trial of this study can have a value for.
            directions: "maximize" for macro-F1; then "minimize" if seconds are an objective.
            trials: values of those that were tried already.
        """
        what = (dict(distributions), tuple(directions), list(trials))
        self._thread = threading.Thread(target=self._work, args=what, name=JOURNAL, daemon=True)
        self._thread.start()

    def show(self, view: StudyView) -> None:
        """Bring the file up to a study; returns at once."""
        with self._changed:
            self._latest = view
            self._changed.notify()

    def closing_lines(self, home: Home) -> tuple[str, ...]:
        """How to look at it, for the end of a command.

        Args:
            home: of the study.
        """
        if self._has_failed or not self.path.is_file():
            return ()
        kept = (home / self.path.name).shown
        words = f"{self.path.name}, a copy of {kept}" if home.store else f"{kept}"
        return (f"optuna      optuna-dashboard {words}  (pip install optuna-dashboard)",)

    def _work(
        self,
        distributions: Mapping[str, BaseDistribution],
        directions: Sequence[str],
        trials: Sequence[Mapping[str, Any]],
    ) -> None:
        from orchestrator.results.journal_file import JournalFile, covering, quiet

        try:
            quiet()
            file = JournalFile(self.path, covering(distributions, trials), directions)
            while (view := self._next()) is not None:
                file.update(view)
        except Exception as error:  # noqa: BLE001 - a picture of a study must not end it
            self._fail(error)

    def _next(self) -> StudyView | None:
        """The newest state that is not written; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._latest is not None or self._is_closed)
            view, self._latest = self._latest, None
            return view

    def _fail(self, error: Exception) -> None:
        if self._has_failed:
            return
        self._has_failed = True
        self._say(
            f"optuna: must be able to write {self.path}; got {type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}. Training goes on without it; the same command "
            "writes it anew"
        )
