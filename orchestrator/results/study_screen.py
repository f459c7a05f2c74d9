"""Everything that shows a study while it runs, fed by its ledger's records. DRIVER."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from orchestrator.config.errors import ConfigError
from orchestrator.config.experiment import Experiment
from orchestrator.results.live import LiveBoard
from orchestrator.results.phase_table import SPEEDS, speed_lines, summed
from orchestrator.results.printable import one_line, without_home
from orchestrator.results.sample_grid import StudySamples
from orchestrator.results.study_fold import StudyFold
from orchestrator.results.study_view import StudyView
from orchestrator.results.tensorboard import TensorBoard
from orchestrator.results.utilisation import Utilisation

RECORDS_OF_TRIALS = 100
"""Up to so many trials each record is shown at once; of ten times as many, ten records together."""
LATEST_S = 1.0

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
        self._num_trials = 0
        self._unshown = 0
        self._shown_at_s = 0.0
        self._slots: dict[str, str] = {}
        self._seconds: dict[str, float] = {}
        self._speeds: list[dict[str, float]] = []
        self._notes: list[str] = []
        self.utilisation = Utilisation()

    def begin(self, past: Iterable[Record], study: Record) -> None:
        """Show what was known before this command, at once."""
        for record in past:
            self._take(record)
        self.show(study)

    def show(self, record: Record) -> None:
        """Take one new record in."""
        self._take(record)
        self.utilisation.add(record)
        if record["record"] == "begin":
            self._show_begin(str(record["slot"]), str(record["lineage"]))
        if record["record"] == "unbegun":
            self._slots.pop(str(record["slot"]), None)
        if record["record"] == "epoch":
            self._show_epoch(record)
        self._num_trials += record["record"] == "trial"
        self._unshown += 1
        if self._is_due():
            self._show_all()
        if record["record"] in ("epoch", "end") and not self._unshown:
            self._tensorboard.show(self._fold.view())

    def _show_begin(self, slot: str, lineage: str) -> None:
        words = f"{lineage} begins"
        # Whoever had begun it, and trained nothing, found no room or died.
        self._slots = {name: said for name, said in self._slots.items() if said != words}
        self._slots[slot] = words

    def _show_epoch(self, record: Record) -> None:
        slot, lineage, epoch = (str(record[key]) for key in ("slot", "lineage", "epoch"))
        self._slots[slot] = f"{lineage} epoch {epoch}"
        self._notes += [f"{slot}, {lineage}: {note}" for note in record.get("notes", ())]
        if "weights" in record:
            self._board.say(without_home(str(record["weights"])))
        if not record.get("found"):
            self._add_times(record["metrics"])

    def _add_times(self, metrics: Mapping[str, Any]) -> None:
        self._seconds = summed([self._seconds, metrics.get("seconds") or {}])
        self._speeds.append({name: metrics[name] for name in SPEEDS if name in metrics})

    def view(self) -> StudyView:
        """The study as of now, shown whole."""
        if self._unshown:
            self._show_all()
        return self._fold.view()

    def trained_s(self) -> dict[str, float]:
        """Seconds by phase of the epochs that this command has trained, over all slots."""
        return dict(self._seconds)

    def speed_lines(self) -> tuple[str, ...]:
        """How fast the median epoch of this command was."""
        return speed_lines(self._speeds, of_each="slot")

    def note_lines(self) -> list[str]:
        """What slots met as they began a training, or went on with it, under this command."""
        return [f"note        {one_line(note, 400)}" for note in self._notes]

    def _is_due(self) -> bool:
        """A picture takes time with each trial: it is drawn after that many records, or seconds."""
        return (
            self._unshown * RECORDS_OF_TRIALS > self._num_trials
            or time.monotonic() - self._shown_at_s > LATEST_S
        )

    def _show_all(self) -> None:
        view = self._fold.view()
        self._board.update(view, self._slots)
        for other in self._others:
            other(view)
        self._unshown = 0
        self._shown_at_s = time.monotonic()

    def _take(self, record: Record) -> None:
        self._fold.add(record)
        if record["record"] == "trial":
            self._show_samples(int(record["trial"]), record["values"])

    def _show_samples(self, trial: int, values: dict[str, Any]) -> None:
        try:
            experiment = self._experiment_of(values)
        except ConfigError:  # the draw was refused, as the study says: nothing is trained
            return
        self._samples.show(trial, experiment)
