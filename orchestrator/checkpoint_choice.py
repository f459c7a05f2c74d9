"""Which checkpoint a folder means: itself, the best of a run, or the winner of a study.

DRIVER. Imports neither torch nor ray; looks at names only, and reads a study's ledger. Whether
the checkpoint is whole and unchanged is found out when it is opened (`inference/stored_model`). What
an object store keeps is brought here: the checkpoint, and what the choice depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config.address import is_below
from orchestrator.config.errors import ConfigError, OrchestratorError
from orchestrator.config.experiment import EMBEDDED
from orchestrator.config.home import Home, home_in, scratch_folder
from orchestrator.config.storage import CHECKPOINTS, MARKER, RUN_CONFIG
from orchestrator.results.leaderboard_cells import values_text, varied_paths
from orchestrator.results.printable import one_line
from orchestrator.results.study_fold import fold
from orchestrator.results.study_view import TrialRow
from orchestrator.tuning.ledger import LEDGER, RECORDS, fetch_ledger, read_records

if TYPE_CHECKING:
    from orchestrator.config.folder import Folder

LEVELS = 4
"""A study's checkpoint lies that deep: lineages/<key>/milestones/epoch-0012."""


@dataclass(frozen=True)
class Choice:
    """The checkpoint that was taken.

    Attributes:
        home: of its run or study; the folder above it where it has none.
        name: of the checkpoint's folder, from there.
        words: what it is, to be shown.
        label: tells it from the checkpoint that `home` itself means; "" for that one.
    """

    home: Home
    name: str
    words: str
    label: str = ""

    @property
    def folder(self) -> Path:
        """Of the checkpoint, on this machine."""
        return self.home.local / self.name

    @property
    def kept(self) -> Path | Folder:
        """Where it is kept."""
        return self.home.kept / self.name

    @property
    def shown(self) -> Path | Folder:
        """Where it is kept, as the user would type it."""
        return self.home.shown / self.name

    def place_of(self, data: str) -> str:
        """Where a set lies; the drawn faces lie beside the run that drew them."""
        return str((self.home.parent / EMBEDDED).kept) if data == EMBEDDED else data


Kind = Callable[[Home], Choice]


@contextmanager
def chosen(place: str) -> Iterator[Choice]:
    """The checkpoint that a path or address means; it is here for as long as the context lasts.

    Raises:
        ConfigError: there is none.
        LedgerError: the study's ledger is damaged.
        StorageError: the object store that keeps it does not answer.
    """
    if "://" not in place:
        yield choose(place)
        return
    with scratch_folder() as scratch:
        try:
            home = home_in(scratch, place)
            yield _taken(_kind(home), home, place)
        except OrchestratorError as error:  # about a file here: it is to name what is kept
            here, kept = f"{scratch}/", f"{place.partition('://')[0]}://"
            error.args = tuple(
                said.replace(here, kept) if isinstance(said, str) else said for said in error.args
            )
            raise


def choose(place: str) -> Choice:
    """The checkpoint that a folder on a disk means.

    Raises:
        ConfigError: there is none.
        LedgerError: the study's ledger is damaged.
    """
    home, kind = Home(Path()), None
    with suppress(OSError, RuntimeError, ValueError):  # too long a name, no such user, a zero byte
        home = Home(Path(place).expanduser().absolute())
        kind = _kind(home)
    return _taken(kind, home, place)


def _kind(home: Home) -> Kind | None:
    if home.has(MARKER):
        return _itself
    if _has_ledger(home):
        return _winner
    is_run = home.has(RUN_CONFIG) if home.store else (home.local / CHECKPOINTS).exists()
    return _of_run if is_run else None


def _taken(kind: Kind | None, home: Home, place: str) -> Choice:
    if kind is not None:
        return kind(home)
    raise ConfigError(
        f"checkpoint: must be a checkpoint (a folder with {MARKER}), a run folder of `train` or a "
        f"study folder of `ablate`; got {place!r}. The commands print it as they end"
    )


def _has_ledger(home: Home) -> bool:
    return (home.store / RECORDS).exists() if home.store else home.has(LEDGER)


def _itself(folder: Home) -> Choice:
    above = _above(folder)
    home = next((one for one in above if one.has(RUN_CONFIG) or _has_ledger(one)), above[0])
    name = folder.local.relative_to(home.local)
    _fetch(home, str(name))
    parts = [part for part in name.parts if part != CHECKPOINTS]
    words = f"the checkpoint named, {one_line('/'.join(parts))}"
    return Choice(home, str(name), words, "-".join(parts))


def _above(folder: Home) -> list[Home]:
    found = [folder.parent]
    while len(found) < LEVELS and found[-1].parent.kept != found[-1].kept:
        found.append(found[-1].parent)
    return found


def _of_run(run: Home) -> Choice:
    """The best epoch; the last one where a run was stopped before it wrote any as best."""
    for kind in ("best", "last"):
        folders = run.folders(f"{CHECKPOINTS}/{kind}/*")
        whole = [name for name in folders if run.has(f"{name}/{MARKER}")]
        if whole:
            _fetch(run, whole[-1])
            return Choice(run, whole[-1], f"the {kind} of run {one_line(run.local.name)}")
    raise ConfigError(
        f"checkpoint: the run must have a finished epoch; {run.kept} has none. Train it first"
    )


def _winner(study: Home) -> Choice:
    fetch_ledger(study)
    records = list(read_records(study.local / LEDGER))
    view = fold(records)
    place = view.leading
    if place is None:
        raise ConfigError(
            f"checkpoint: the study must have a finished trial; {study.kept} has none. Let it finish, "
            "or name a checkpoint below its lineages"
        )
    row = place.row
    values = values_text(row, varied_paths(view))
    words = f"the winner of study {one_line(view.name)}: trial {row.trial}"
    if len(place.rows) > 1:
        words += f", seed {row.seed}, the median of its {len(place.rows)} seeds"
    _bring_checkpoint(row, study, _num_workers(records))
    return Choice(study, row.checkpoint, f"{words} ({values})" if values else words)


def _fetch(home: Home, name: str) -> None:
    try:
        home.fetch_folder(name)
    except FileNotFoundError:
        raise ConfigError(
            f"checkpoint: must stay while it is read; {home.kept}/{name} was removed, as a training does "
            "with older ones. Run the same command again"
        ) from None


def _num_workers(records: Iterable[Mapping[str, Any]]) -> int:
    """Of the newest command's slots."""
    heads = [record for record in records if record["record"] == "study"]
    resources = heads[-1].get("resources") if heads else None
    workers = resources.get("workers") if isinstance(resources, Mapping) else None
    return workers if isinstance(workers, int) else 1


def _bring_checkpoint(row: TrialRow, study: Home, workers: int) -> None:
    """The ledger is input: what it names must lie in the study's own folder."""
    folder = study.local / row.checkpoint
    is_inside = folder.resolve().is_relative_to(study.local.resolve())
    if is_inside and is_below(row.checkpoint) and study.has(f"{row.checkpoint}/{MARKER}"):
        _fetch(study, row.checkpoint)
        return
    from orchestrator.lost_weights import making_lines  # with Optuna: a second, only here

    making = "" if study.store else making_lines(row, study.local, workers)
    raise ConfigError(
        f"checkpoint: the winner, trial {row.trial}, must have its checkpoint in {study.kept}; got "
        f"{one_line(row.checkpoint, 80) or 'none'!r}. Its weights were not kept (it was "
        "answered from a longer training, or they were removed); name another checkpoint, or "
        + (f"make them:\n  {making}" if making else "train it alone with `train`")
    )
