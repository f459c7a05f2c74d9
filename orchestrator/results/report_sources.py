"""What a report is made from: studies, runs, evaluations and the rest, found below some folders.

DRIVER, reads files only. Each kind is known by the file that is written last of it, so that what
is half done is not found. Whatever cannot be read is named in the report and hides nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from orchestrator.config.errors import ConfigError, LedgerError, OrchestratorError
from orchestrator.config.experiment import Experiment
from orchestrator.config.home import Home
from orchestrator.config.storage import CHECKPOINTS, MARKER, RUN_CONFIG
from orchestrator.config.validate import read_yaml, to_dict, validate
from orchestrator.ingest.manifest import FILE_NAME, Manifest
from orchestrator.results.report_cells import number, part
from orchestrator.results.study_fold import fold
from orchestrator.results.study_view import StudyView
from orchestrator.tuning.ledger import LEDGER, RECORD_NAME, RECORDS, fetch_ledger, read_records

DEPTH: Final = 5
"""Folders below the one named: <out>/<run>/evaluations/<name> needs three."""
MAX_BYTES: Final = 256 * 2**20
"""Of a file that is read whole."""
INSIDE: Final = frozenset({"lineages", CHECKPOINTS, "tensorboard", "audit", "failures", "export"})
"""Folders of runs, studies and sets in which nothing of ours begins."""
ADAPTATION: Final = "adapt.json"
IDENTITY: Final = "identity.json"
"""What `adapt` leaves first: what lies beside it is of an adaptation, finished or not."""
STEPS: Final = "steps"
"""Folder of the records that `reproduce` leaves, one a step."""

Json = Mapping[str, Any]


@dataclass(frozen=True)
class StudySource:
    """A study, with what its record says beyond the view.

    Attributes:
        file: its ledger.
        record: the newest of the study itself.
        experiment: what all its trials have alike, as it was resolved.
    """

    file: Path
    view: StudyView
    record: Json
    experiment: Json

    @property
    def fingerprint(self) -> str:
        """Of its data set."""
        return str(part(self.record, "dataset", "fingerprint") or "")


@dataclass(frozen=True)
class RunSource:
    """A single training.

    Attributes:
        file: its metrics.jsonl.
        experiment: as it was resolved.
        history: one mapping of metrics an epoch.
        environment: of the command that trained it.
        dataset: what its checkpoint says of its data set; may be empty.
    """

    file: Path
    experiment: Json
    history: Sequence[Json]
    environment: Json
    dataset: Json

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.file.parent

    @property
    def protocol(self) -> str:
        """Split protocol."""
        return str(part(self.experiment, "data", "protocol") or "")

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(part(self.experiment, "model", "name") or "")

    @property
    def best(self) -> Json:
        """The epoch of the best checkpoint: the first with the highest validation macro-F1."""
        return max(self.history, key=lambda metrics: number(metrics.get("val_macro_f1")) or 0.0)


@dataclass(frozen=True)
class JsonSource:
    """An evaluation, a diagnosis, an adaptation or a step: its file and what it says."""

    file: Path
    content: Json


@dataclass(frozen=True)
class DatasetSource:
    """A prepared set, by its manifest."""

    file: Path
    manifest: Manifest


@dataclass
class Sources:
    """All that was found, each kind in the order of its path."""

    studies: list[StudySource] = field(default_factory=list)
    runs: list[RunSource] = field(default_factory=list)
    evaluations: list[JsonSource] = field(default_factory=list)
    diagnoses: list[JsonSource] = field(default_factory=list)
    adaptations: list[JsonSource] = field(default_factory=list)
    datasets: list[DatasetSource] = field(default_factory=list)
    steps: list[JsonSource] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to report."""
        return not (self.studies or self.runs or self.evaluations)

    @property
    def trained_on(self) -> list[DatasetSource]:
        """The sets that something was trained on; all, where nothing says which."""
        said = {study.fingerprint for study in self.studies}
        said |= {str(run.dataset.get("fingerprint", "")) for run in self.runs}
        said |= {str(part(one.content, "trained_on", "fingerprint")) for one in self.evaluations}
        found = [one for one in self.datasets if one.manifest.fingerprint in said]
        return found or self.datasets

    def dataset(self, fingerprint: str) -> DatasetSource | None:
        """The set of that fingerprint."""
        same = [one for one in self.datasets if one.manifest.fingerprint == fingerprint]
        return same[0] if same else None


def bring(home: Home) -> list[tuple[Path, str]]:
    """Bring here what a report reads of a folder in an object store; nothing on a disk.

    Returns:
        Ledgers that could not be brought, each with the reason.

    Raises:
        StorageError: the store does not answer.
    """
    if home.store is None:
        return []
    from orchestrator.config.object_store import at_once

    sizes = home.store.files()
    at_once(partial(_bring_file, home), [name for name in sizes if _is_read(name, sizes[name])])
    unreadable = []
    for above in sorted({name.rpartition(f"{RECORDS}/")[0] for name in sizes if _is_record(name)}):
        study = home / above.rstrip("/") if above else home
        try:
            fetch_ledger(study)
        except LedgerError as error:
            unreadable.append((study.local / LEDGER, str(error)))
    return unreadable


def _bring_file(home: Home, name: str) -> None:
    # A training may remove an older checkpoint meanwhile.
    with suppress(FileNotFoundError):
        home.fetch(name)


def _is_read(name: str, size: int) -> bool:
    *folders, file = name.split("/")
    if file == MARKER:  # says which set a run was trained on
        return folders[-3:-1] == [CHECKPOINTS, "best"] and size <= MAX_BYTES
    inside = INSIDE | {RECORDS}
    is_open = not any(folder in inside or folder.startswith(".") for folder in folders)
    is_ours = file.endswith((".json", ".jsonl", ".yaml")) and file != LEDGER
    return is_open and is_ours and len(folders) <= DEPTH and size <= MAX_BYTES


def _is_record(name: str) -> bool:
    *folders, file = name.split("/")
    is_one = folders[-1:] == [RECORDS] and RECORD_NAME.fullmatch(file) is not None
    return is_one and len(folders) <= DEPTH + 1


def find_sources(places: Sequence[Path]) -> Sources:
    """Look into folders, and for the data sets that what was found there names.

    Args:
        places: folders of studies, runs, evaluations, or that hold such.
    """
    sources = Sources()
    seen: set[Path] = set()
    for place in places:
        for folder, names in _folders(place, DEPTH):
            if folder.resolve() not in seen:
                seen.add(folder.resolve())
                _take(folder, names, sources)
    for root in _named_datasets(sources):
        if root.resolve() not in seen and (root / FILE_NAME).is_file():
            seen.add(root.resolve())
            _take(root, {FILE_NAME}, sources)
    return sources


def _folders(place: Path, depth: int) -> Iterator[tuple[Path, set[str]]]:
    """Folders and the names in them, sorted; no link is followed, no hidden one entered."""
    try:
        with os.scandir(place) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    names = {entry.name for entry in found}
    yield place, names
    inner = INSIDE | ({"runs", "data"} if names & {ADAPTATION, IDENTITY} else frozenset())
    for entry in found:
        enters = entry.name not in inner and not entry.name.startswith(".")
        if depth and enters and entry.is_dir(follow_symlinks=False):
            yield from _folders(place / entry.name, depth - 1)


def _take(folder: Path, names: set[str], sources: Sources) -> None:
    """Reads what lies directly in a folder."""
    kinds: tuple[tuple[str, Callable[[Path], Any], list[Any]], ...] = (
        (LEDGER, _study, sources.studies),
        ("metrics.jsonl", _run, sources.runs),
        ("evaluation.json", _json, sources.evaluations),
        ("diagnosis.json", _json, sources.diagnoses),
        (ADAPTATION, _json, sources.adaptations),
        (FILE_NAME, _dataset, sources.datasets),
    )
    wanted = [(folder / name, read, into) for name, read, into in kinds if name in names]
    if folder.name == STEPS:  # one of them is called like the results of `adapt`
        steps = sorted(name for name in names if name.endswith(".json"))
        wanted = [(folder / name, _json, sources.steps) for name in steps]
    for file, read, into in wanted:
        try:
            if file.stat().st_size > MAX_BYTES:
                raise ValueError(f"larger than {MAX_BYTES:,} bytes")
            into.append(read(file))
        # Each is a fault of what lies there: a table of one odd file must not cost the others.
        except (OSError, ValueError, TypeError, KeyError, OrchestratorError) as error:
            first = str(error).strip().splitlines() or [type(error).__name__]
            sources.unreadable.append((file, first[0]))


def _study(file: Path) -> StudySource:
    records = list(read_records(file))
    heads = [record for record in records if record.get("record") == "study"]
    if not heads:
        raise ValueError("holds no record of a study")
    experiment = heads[-1].get("experiment")
    resolved = _resolved(str(file), experiment) if isinstance(experiment, dict) else {}
    return StudySource(file, fold(records), heads[-1], resolved)


def _run(file: Path) -> RunSource:
    folder = file.parent
    history = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    if not history or not all(isinstance(metrics, dict) for metrics in history):
        raise ValueError("must hold one JSON object an epoch")
    environment = folder / "environment.json"
    return RunSource(
        file=file,
        experiment=_resolved(str(folder / RUN_CONFIG), read_yaml(folder / RUN_CONFIG)),
        history=history,
        environment=_json(environment).content if environment.is_file() else {},
        dataset=_dataset_of_run(folder),
    )


def _resolved(origin: str, content: Json) -> Json:
    """What was trained, with the defaults of fields that came after it was written."""
    try:
        return to_dict(validate(Experiment, (origin, content)))
    except ConfigError:  # of another version: shown as it is
        return content


def _dataset_of_run(folder: Path) -> Json:
    for marker in sorted(folder.glob("checkpoints/best/*/state.json")):
        said = _json(marker).content.get("dataset")
        if isinstance(said, dict):
            return said
    return {}


def _json(file: Path) -> JsonSource:
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("must hold a JSON object")
    return JsonSource(file, content)


def _dataset(file: Path) -> DatasetSource:
    try:
        return DatasetSource(file, Manifest.model_validate(_json(file).content))
    except ValidationError as error:
        raise ValueError(
            f"{error.error_count()} fields are not as this version has them"
        ) from error


def _named_datasets(sources: Sources) -> list[Path]:
    """Where the sets lie that studies and evaluations were made with, as they say."""
    said = [part(study.record, "dataset", "root") for study in sources.studies]
    for evaluation in sources.evaluations:
        said += [part(evaluation.content, key, "root") for key in ("data", "trained_on")]
    for run in sources.runs:
        path = part(run.experiment, "data", "path")
        said.append(str(run.folder.parent / "embedded") if path == "embedded" else path)
    local = [text for text in said if isinstance(text, str) and text and "://" not in text]
    return [Path(text) for text in dict.fromkeys(local)]
