"""The pipeline from a listing to a finished data set, on Ray.

    slices of the listing --stage--> pixels + summaries --splits, audit--> --finish--> Parquet

Decoding is spread over the cluster, a slice a task, with a bounded number of slices under way;
what needs all rows at once (splits, duplicates, the fingerprint) works on the summaries, some
500 bytes a row in memory. Each step leaves whole files under `.partial` or none, so that a killed run
started again repeats at most the slices that were under way. The manifest comes last: a folder
without one is no data set.

DRIVER; the tasks it starts are those of `slices.py`. Every node must see the output folder and
the source.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray

from datasets import SourceError
from orchestrator import __version__
from orchestrator.config.errors import ConfigError, OrchestratorError
from orchestrator.config.storage import write_json
from orchestrator.ingest import manifest as manifests
from orchestrator.ingest.audit import audit
from orchestrator.ingest.listing import BAD, KEPT, LEFT_OUT, Census, Recipe, slices
from orchestrator.ingest.manifest import AuditCounts, File, Manifest, Rows, Source
from orchestrator.ingest.slices import SUMMARY, Staged, Stretch, finish, stage, staged
from orchestrator.ingest.splits import (
    SPLITS,
    Fractions,
    SplitIndices,
    group_split,
    random_split,
    split_sizes,
)

PARTIAL = ".partial"
QUARANTINE = "quarantine.parquet"
TASKS_PER_CORE = 2  # under way at once: one in work, one whose rows are on their way
SECONDS_BETWEEN_LINES = 5.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Target:
    """What to write, beyond what single rows depend on (`Recipe`).

    Attributes:
        out: Folder of the data set.
        name: Name of the set.
        plan: Digest of all that decides its content.
        source: What the manifest says of the origin.
        fractions: Shares of train, validation and test.
        seed: Seed of the splits.
        max_bad: Share of bad rows above which the set is not finished.
        rows_per_file: Rows of one Parquet file.
        settings: What the manifest says of the settings.
    """

    out: Path
    name: str
    plan: str
    source: Source
    fractions: Fractions
    seed: int
    max_bad: float
    rows_per_file: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class _Columns:
    """The rows kept, in order: what splits, audit and fingerprint are made from."""

    sources: list[str]
    labels: npt.NDArray[np.int64]
    groups: list[str]
    digests: list[bytes]
    official: list[str]


def write(recipe: Recipe, census: Census, target: Target, say: Say) -> None:
    """Writes the data set; Ray must be up.

    Args:
        recipe: What a row's pixels depend on.
        census: What the listing found.
        target: What to write.
        say: Takes a line on the progress every few seconds.

    Raises:
        ConfigError: The source cannot be read, or changed while it was.
        OrchestratorError: Too many bad rows, a worker died, or storage is not shared.
    """
    with _alone(target.out) as partial:
        files = _stage_all(recipe, census, target, partial, say)
        summaries = [pq.read_table(file.summary, schema=SUMMARY) for file in files]
        rows = _account(pa.concat_tables(summaries), census, target)
        kept = pa.concat_tables(map(_kept, summaries))
        columns = _columns(kept, recipe.classes)
        splits = _splits(columns, target)
        table = _small_columns(kept, columns.labels, splits)
        places = _places(files, summaries)
        written = _finish_all(places, table, recipe, target)
        made = _manifest(recipe, target, rows, columns, splits, written)
        write_json(target.out / manifests.FILE_NAME, made.model_dump(mode="json"))
    shutil.rmtree(target.out / PARTIAL)


@contextmanager
def _alone(out: Path) -> Iterator[Path]:
    """Makes the folder of unfinished work and keeps a second run out of it."""
    partial = out / PARTIAL
    partial.mkdir(parents=True, exist_ok=True)
    with (partial / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OrchestratorError(
                f"out: must not be in use; got {out}, where another prepare is at work. "
                "Wait for it, or choose another folder."
            ) from error
        yield partial


def _stage_all(
    recipe: Recipe, census: Census, target: Target, partial: Path, say: Say
) -> list[Staged]:
    """Decodes all slices that are not there yet."""
    task = ray.remote(stage)
    files: list[Staged] = []
    listed = 0

    def work() -> Iterator[ray.ObjectRef]:
        nonlocal listed
        for piece in slices(recipe):
            files.append(staged(partial, piece))
            listed += len(piece.faces)
            if not files[-1].summary.exists():
                yield task.remote(recipe, piece, partial)

    last = time.monotonic()
    for _ in _in_bounds(work()):
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"{listed:,} of {census.rows:,} rows done or under way")
    missing = [file for file in files if not file.summary.exists()]
    if missing:
        raise OrchestratorError(
            f"out: must lie on storage that every node sees; got {target.out}, where a worker's "
            f"files did not appear. Use a shared path."
        )
    return files


def _in_bounds(work: Iterable[ray.ObjectRef]) -> Iterator[Any]:
    """Runs tasks with a bounded number under way; yields results as they come."""
    bound = TASKS_PER_CORE * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting: list[ray.ObjectRef] = []
    for reference in work:
        waiting.append(reference)
        if len(waiting) >= bound:
            ready, waiting = ray.wait(waiting, num_returns=1)
            yield _result(ready[0])
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=1)
        yield _result(ready[0])


def _result(reference: ray.ObjectRef) -> Any:
    """Fetches a task's result; its failure becomes an error a user can act on."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, SourceError):
            raise ConfigError(*str(error.cause).splitlines()) from error
        if isinstance(error.cause, OSError):
            raise OrchestratorError(
                f"out: must be writable and have room on every node; got {error.cause}. "
                "Run the same command again when it is: what is decoded is kept."
            ) from error
        raise
    except ray.exceptions.RayError as error:
        raise OrchestratorError(
            f"workers: must live until their task is done; got {type(error).__name__}. "
            "Run the same command again: what is decoded is kept."
        ) from error


def _account(summary: pa.Table, census: Census, target: Target) -> Rows:
    """Writes the quarantine and checks that no row was lost, nor too many bad."""
    quarantined = summary.filter(pc.not_equal(summary["kind"], KEPT))
    _put_table(quarantined.select(["source", "label", "reason", "kind"]), target.out / QUARANTINE)
    counts = {
        item["values"]: item["counts"] for item in pc.value_counts(summary["kind"]).to_pylist()
    }
    rows = Rows(
        listed=summary.num_rows,
        kept=counts.get(KEPT, 0),
        bad=counts.get(BAD, 0),
        left_out=counts.get(LEFT_OUT, 0),
    )
    if census.rows != rows.listed:
        raise ConfigError(
            f"source: must not change while it is read; got {census.rows:,} rows, then "
            f"{rows.listed:,}. Run the same command again."
        )
    if rows.listed != rows.kept + quarantined.num_rows:
        raise AssertionError(f"rows in must be rows out + quarantined: {rows}")
    if rows.bad > target.max_bad * rows.listed or rows.kept == 0:
        raise OrchestratorError(_too_many_bad(quarantined, rows, target))
    return rows


def _too_many_bad(quarantined: pa.Table, rows: Rows, target: Target) -> str:
    """Says how many rows were bad, and why, the most frequent reasons first."""
    reasons = quarantined.filter(pc.equal(quarantined["kind"], BAD))["reason"]
    counts = {item["values"]: item["counts"] for item in pc.value_counts(reasons).to_pylist()}
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]
    listed = "; ".join(f"{count:,} x {reason}" for reason, count in top)
    return (
        f"max_bad: at most {target.max_bad:.2%} of the rows may be unreadable; got {rows.bad:,} of "
        f"{rows.listed:,} ({rows.bad / rows.listed:.2%}): {listed}. "
        f"See {target.out / QUARANTINE}; mend the source, or raise max_bad."
    )


def _kept(summary: pa.Table) -> pa.Table:
    return summary.filter(pc.equal(summary["kind"], KEPT))


def _columns(kept: pa.Table, classes: Sequence[str]) -> _Columns:
    index_of = {name: index for index, name in enumerate(classes)}
    return _Columns(
        sources=kept["source"].to_pylist(),
        labels=np.array([index_of[label] for label in kept["label"].to_pylist()], dtype=np.int64),
        groups=kept["group"].to_pylist(),
        digests=kept["digest"].to_pylist(),
        official=kept["split"].to_pylist(),
    )


def _splits(columns: _Columns, target: Target) -> dict[str, SplitIndices]:
    """Computes each protocol; `official` where every row has a split of its own."""
    sizes = split_sizes(len(columns.labels), target.fractions)
    splits = {
        "group": group_split(columns.labels, columns.groups, target.fractions, target.seed),
        "random": random_split(columns.sources, sizes, target.seed),
    }
    if all(split in SPLITS for split in columns.official):
        splits["official"] = np.array([SPLITS.index(s) for s in columns.official], dtype=np.int8)
    return splits


def _small_columns(
    kept: pa.Table, labels: npt.NDArray[np.int64], splits: Mapping[str, SplitIndices]
) -> pa.Table:
    """All columns of the set but the pixels, in the order of the schema."""
    names = np.array(SPLITS)
    return pa.table(
        {
            "label": pa.array(labels, type=pa.int8()),
            "row_id": pa.array(np.arange(len(labels)), type=pa.int64()),
            "group": kept["group"],
            "frame": kept["frame"],
            "source": kept["source"],
            **{
                manifests.SPLIT_COLUMN + protocol: pa.array(names[of_row], type=pa.string())
                for protocol, of_row in splits.items()
            },
        }
    )


def _places(files: Sequence[Staged], summaries: Sequence[pa.Table]) -> list[Stretch]:
    """Where the images of all rows kept lie, in order."""
    counts = [_kept(summary).num_rows for summary in summaries]
    return [
        Stretch(images=file.images, start=0, stop=rows)
        for file, rows in zip(files, counts, strict=True)
        if rows
    ]


def _finish_all(
    places: Sequence[Stretch], table: pa.Table, recipe: Recipe, target: Target
) -> list[File]:
    """Writes the Parquet files; those of an earlier attempt are removed first."""
    for stale in target.out.glob("part-*.parquet"):
        stale.unlink()
    shape = (recipe.image_px, recipe.image_px, 3)
    protocols = [name.removeprefix(manifests.SPLIT_COLUMN) for name in table.column_names[5:]]
    schema = manifests.schema(shape, protocols)
    task = ray.remote(finish)

    def work() -> Iterator[ray.ObjectRef]:
        for part, stretches in enumerate(_cut(places, target.rows_per_file)):
            columns = table.slice(part * target.rows_per_file, target.rows_per_file)
            # A slice of a table still refers to all of it, and would take all of it along.
            columns = columns.take(np.arange(columns.num_rows)).combine_chunks()
            yield task.remote(stretches, columns, schema, target.out / f"part-{part:05d}.parquet")

    return sorted(_in_bounds(work()), key=lambda file: file.name)


def _cut(places: Iterable[Stretch], rows_per_file: int) -> Iterator[list[Stretch]]:
    """Gathers stretches of images into files of so many rows."""
    part: list[Stretch] = []
    room = rows_per_file
    for place in places:
        start = place.start
        while start < place.stop:
            stop = min(place.stop, start + room)
            part.append(Stretch(images=place.images, start=start, stop=stop))
            room -= stop - start
            start = stop
            if room == 0:
                yield part
                part, room = [], rows_per_file
    if part:
        yield part


def _manifest(
    recipe: Recipe,
    target: Target,
    rows: Rows,
    columns: _Columns,
    splits: Mapping[str, SplitIndices],
    files: list[File],
) -> Manifest:
    """Puts together what is known of the set."""
    shape = [recipe.image_px, recipe.image_px, 3]
    found = audit(np.array(columns.digests), columns.labels, np.array(columns.groups), splits)
    return Manifest(
        version=1,
        name=target.name,
        fingerprint=manifests.fingerprint(
            classes=recipe.classes,
            image_shape=shape,
            digests=columns.digests,
            labels=columns.labels,
            groups=columns.groups,
            splits=splits,
        ),
        plan=target.plan,
        classes=list(recipe.classes),
        image_shape=shape,
        rows=rows,
        counts=manifests.count(columns.labels, splits, recipe.classes),
        files=files,
        source=target.source,
        settings=dict(target.settings),
        audit=AuditCounts.model_validate(asdict(found)),
        written_by=f"fer-orchestrator {__version__}",
    )


def _put_table(table: pa.Table, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(table, temporary, store_schema=False)
    temporary.replace(path)
