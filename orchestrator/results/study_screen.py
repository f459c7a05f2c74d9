"""Everything that shows a study while it runs, fed by its ledger's records. DRIVER."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from orchestrator.config.experiment import Experiment
from orchestrator.results.live import LiveBoard
from orchestrator.results.phase_table import summed
from orchestrator.results.sample_grid import StudySamples
from orchestrator.results.study_fold import StudyFold
from orchestrator.results.study_view import StudyView
from orchestrator.results.tensorboard import TensorBoard

Record = Mapping[str, Any]


class StudyScreen:
    """Takes each record once and shows it on the terminal and in TensorBoard."""

    def __init__(
        self,
        board: LiveBoard,
        tensorboard: TensorBoard,
        samples: StudySamples,
        experiment_of: Callable[[dict[str, Any]], Experiment],
        others: Sequence[Callable[[StudyView], None]] = (),
    ) -> None:
        """Show nothing yet.

        Args:
            board: the terminal.
            tensorboard: its files.
            samples: pictures of augmented images.
            experiment_of: resolves a trial's values.
            others: told of the study with every record; must return at once.
        """
        self._board = board
        self._tensorboard = tensorboard
        self._samples = samples
        self._experiment_of = experiment_of
        self._others = tuple(others)
        self._fold = StudyFold()
        self._slots: dict[str, str] = {}
        self._seconds: dict[str, float] = {}

    def begin(self, past: Iterable[Record], study: Record) -> None:
        """Show what was known before this command, at once."""
        for record in past:
            self._take(record)
        self.show(study)

    def show(self, record: Record) -> None:
        """Take one new record in."""
        self._take(record)
        if record["record"] == "epoch":
            slot, lineage, epoch = (str(record[key]) for key in ("slot", "lineage", "epoch"))
            self._slots[slot] = f"{lineage} epoch {epoch}"
            self._seconds = summed([self._seconds, record["metrics"].get("seconds") or {}])
        view = self.view()
        self._board.update(view, self._slots)
        if record["record"] in ("epoch", "end"):
            self._tensorboard.show(view)
        for other in self._others:
            other(view)

    def view(self) -> StudyView:
        """The study as of now."""
        return self._fold.view()

    def trained_s(self) -> dict[str, float]:
        """Seconds by phase of the epochs that this command has trained, over all slots."""
        return dict(self._seconds)

    def _take(self, record: Record) -> None:
        self._fold.add(record)
        if record["record"] == "trial":
            self._samples.show(int(record["trial"]), self._experiment_of(record["values"]))
