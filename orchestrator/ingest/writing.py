"""The pipeline from a listing to a finished data set, on Ray.

    slices of the listing --stage--> files of images, summaries --splits, audit--> index, manifest

Decoding is spread over the cluster, a slice and so a file a task, with a bounded number of them
under way: pixels in memory are bounded by the cores, not by the set. Pixels are written once.
What needs all rows at once (splits, copies, the fingerprint) works on the summaries, some 500
bytes a row, and goes into an index of all rows. Each step leaves whole files or none, so that a
killed run started again repeats at most the files that were under way. The manifest comes last: a
folder without one is no data set.

DRIVER; the tasks it starts are `slices.stage`. Every node must see the output folder and the
source.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial as partial_of
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from pydantic import ValidationError

from orchestrator import __version__
from orchestrator.config.errors import ConfigError, OrchestratorError
from orchestrator.config.folder import Folder
from orchestrator.config.storage import to_disk, toward_disk
from orchestrator.ingest import manifest as manifests
from orchestrator.ingest.audit import Audit, audit, find_copies
from orchestrator.ingest.listing import BAD, KEPT, LEFT_OUT, Census, Recipe, slices
from orchestrator.ingest.manifest import PARTIAL, AuditCounts, File, Manifest, Source
from orchestrator.ingest.pixels import Fingerprints
from orchestrator.ingest.protocols import Rows, Sizes, Together, has_official, protocols
from orchestrator.ingest.slices import SUMMARY, Receipt, Staged, stage, staged, write_parquet
from orchestrator.ingest.splits import SPLITS, Fractions, SplitIndices
from orchestrator.ingest.tasks import in_bounds

PIXELS = "pixels"
LOCK = "lock"
QUARANTINE = "quarantine.parquet"
SECONDS_BETWEEN_LINES = 5.0
INDEX_ROWS = 65_536  # of a row group of the index
RECEIPT = ".json"
READERS = 16  # of small files at once: in an object store each waits for the network

Say = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """What to write, beyond what single rows depend on (`Recipe`).

    Attributes:
        out: Folder of the data set.
        name: Name of the set.
        plan: Digest of all that decides its content.
        pixels: Digest of what decides its files of images alone.
        source: What the manifest says of the origin.
        fractions: Shares of train, validation and test.
        sizes: Exact rows of them under the random protocol, or None.
        together: Which copies of an image must share a split.
        seed: Seed of the splits.
        max_bad: Share of bad rows above which the set is not finished.
        rows_per_file: Rows of one Parquet file.
        settings: What the manifest says of the settings.
    """

    out: Folder
    name: str
    plan: str
    pixels: str
    source: Source
    fractions: Fractions
    sizes: Sizes | None
    together: Together
    seed: int
    max_bad: float
    rows_per_file: int
    settings: Mapping[str, Any]

    @property
    def partial(self) -> Folder:
        """Folder of unfinished work."""
        return self.out / PARTIAL


@dataclass(frozen=True)
class _Kept:
    """The rows kept, in order."""

    table: pa.Table
    rows: Rows
    fingerprints: Fingerprints
    found: Audit
    splits: dict[str, SplitIndices]


def write(recipe: Recipe, census: Census, target: Target, say: Say) -> Fingerprints:
    """Writes the data set; Ray must be up.

    Args:
        recipe: What a row's pixels depend on.
        census: What the listing found.
        target: What to write.
        say: Takes a line on the progress every few seconds.

    Returns:
        What its images can be told apart by, for an audit page.

    Raises:
        ConfigError: The source cannot be read, or changed while it was; sizes do not fit.
        OrchestratorError: Too many bad rows, a worker died, or storage is not shared.
    """
    with _alone(target):
        pieces = _stage_all(recipe, census, target, say)
        summary = pa.concat_tables(_read_all(target.partial, pieces, _summary))
        counts = _account(summary, census, target, pieces)
        kept = _kept(summary.filter(pc.equal(summary["kind"], KEPT)), recipe, target, say)
        index = write_parquet(_index(kept), target.out, manifests.INDEX, row_group_size=INDEX_ROWS)
        receipts = _read_all(target.partial, pieces, _receipt)
        files = [receipt.file for receipt in receipts if receipt.file]
        _remove_others(target.out, files)
        _settle(target.out, files)
        made = _manifest(recipe, target, counts, kept, files, index)
        content = json.dumps(made.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
        target.out.put_bytes(manifests.FILE_NAME, content.encode())
        with suppress(FileNotFoundError):  # another run that finds the set finished removes it too
            target.partial.remove_all()
    return kept.fingerprints


@contextmanager
def _alone(target: Target) -> Iterator[None]:
    """Makes the folder of unfinished work and keeps a second run out of it.

    An object store has no locks: there, unfinished work on other pixels is refused, and two runs
    on the same pixels write the same bytes.
    """
    local = target.partial.local
    if local is None:
        _refuse_finished(target)
        _refuse_other_pixels(target)
        yield
        return
    local.mkdir(parents=True, exist_ok=True)
    with (local / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = os.fstat(lock.fileno()).st_ino == (local / LOCK).stat().st_ino
        except OSError:
            same = False
        if not same:  # held by another run, or removed by one that has just finished
            raise OrchestratorError(
                f"out: must not be in use; got {target.out}, where another prepare is at work. "
                "Wait for it, or choose another folder."
            )
        _refuse_finished(target)
        for half in local.parent.glob(".*.tmp"):  # of a run that was killed
            half.unlink()
        yield


def _refuse_finished(target: Target) -> None:
    """Another run may have finished the set while this one was starting Ray."""
    if target.out.size(manifests.FILE_NAME) is not None:
        raise OrchestratorError(
            f"out: must not be finished by another prepare meanwhile; got {target.out}. Run the "
            "same command again to see it."
        )


def _refuse_other_pixels(target: Target) -> None:
    """Files of images have the same names whatever they hold."""
    mark = target.pixels.encode()
    if target.partial.size(PIXELS) is not None and target.partial.read(PIXELS) != mark:
        raise ConfigError(
            f"out: must hold no unfinished work of other settings; got {target.partial}. "
            "Remove it, or choose another folder."
        )
    target.partial.put_bytes(PIXELS, mark)


def _stage_all(recipe: Recipe, census: Census, target: Target, say: Say) -> list[Staged]:
    """Decodes all slices that are not there yet; the source must still be what it was."""
    task = ray.remote(stage)
    done = _done(target, sure=True)
    pieces: list[Staged] = []
    listed, digest = 0, ""

    def work() -> Iterator[ray.ObjectRef]:
        nonlocal listed, digest
        for piece in slices(recipe, target.rows_per_file):
            pieces.append(staged(piece))
            listed, digest = listed + len(piece.faces), piece.digest
            if pieces[-1].receipt not in done:
                yield task.remote(recipe, piece, target.out, target.partial)

    last = time.monotonic()
    for receipt in in_bounds(work()):
        if receipt.file and target.out.local is not None:
            toward_disk(target.out.local / receipt.file.name)
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"{listed:,} of {census.rows:,} rows done or under way")
    _refuse_changed(census, listed, digest)
    done = _done(target, sure=False)
    if any(piece.receipt not in done for piece in pieces):
        raise OrchestratorError(
            f"out: must lie on storage that every node sees; got {target.out}, where a worker's "
            f"files did not appear. Use a shared path."
        )
    return pieces


def _refuse_changed(census: Census, listed: int, digest: str) -> None:
    """Slices are cut from a second listing, and all else from the first."""
    if digest != census.digest:
        then = "as many, but others" if listed == census.rows else f"{listed:,}"
        raise ConfigError(
            f"source: must not change while it is read; got {census.rows:,} rows, then {then}. "
            "Run the same command again."
        )


def _done(target: Target, *, sure: bool) -> set[str]:
    """Receipts of slices whose files are there as they say.

    Args:
        target: What is written.
        sure: Whether to compare contents: a run with other settings gives its files the same
            names, and may give them the same size.
    """
    sizes = target.out.files()

    notes = target.partial.files()

    def holds(name: str) -> bool:
        receipt, summary = _parsed(target.partial.read(name)), f"{name[: -len(RECEIPT)]}.parquet"
        if receipt is None or summary not in notes:  # torn by a failure of power
            return False
        file = receipt.file
        if file and sizes.get(file.name) != file.bytes:
            return False
        return not sure or (
            target.partial.sha256(summary) == receipt.summary
            and (file is None or target.out.sha256(file.name) == file.sha256)
        )

    receipts = [name for name in notes if name.endswith(RECEIPT)]
    with ThreadPoolExecutor(READERS) as pool:
        return {
            name for name, good in zip(receipts, pool.map(holds, receipts), strict=True) if good
        }


def _read_all(
    partial: Folder, pieces: Sequence[Staged], read: Callable[[Folder, Staged], T]
) -> list[T]:
    """Reads a note of each slice, in order."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(partial_of(read, partial), pieces))


def _summary(partial: Folder, piece: Staged) -> pa.Table:
    path = partial.path(piece.summary)
    return pq.read_table(path, schema=SUMMARY, filesystem=partial.filesystem)


def _receipt(partial: Folder, piece: Staged) -> Receipt:
    return Receipt.model_validate_json(partial.read(piece.receipt))


def _parsed(receipt: bytes) -> Receipt | None:
    try:
        return Receipt.model_validate_json(receipt)
    except ValidationError:
        return None


def _settle(out: Folder, files: Sequence[File]) -> None:
    """Waits until the disk has files of images; workers do not."""
    if out.local is not None:
        for file in files:
            to_disk(out.local / file.name)


def _remove_others(out: Folder, files: Sequence[File]) -> None:
    """Removes files of images that an attempt with other settings left."""
    for name in set(out.files()) - {file.name for file in files}:
        if name.startswith("part-"):
            out.remove(name)


def _account(
    summary: pa.Table, census: Census, target: Target, pieces: Sequence[Staged]
) -> manifests.Rows:
    """Writes the quarantine and checks that no row was lost, nor too many bad."""
    quarantined = summary.filter(pc.not_equal(summary["kind"], KEPT))
    columns = quarantined.select(["source", "label", "reason", "kind"])
    target.out.put(QUARANTINE, lambda path: pq.write_table(columns, path, store_schema=False))
    counts = {
        item["values"]: item["counts"] for item in pc.value_counts(summary["kind"]).to_pylist()
    }
    rows = manifests.Rows(
        listed=summary.num_rows,
        kept=counts.get(KEPT, 0),
        bad=counts.get(BAD, 0),
        left_out=counts.get(LEFT_OUT, 0),
    )
    with target.out.open(QUARANTINE) as written:
        if census.rows != rows.kept + pq.read_metadata(written).num_rows:
            raise AssertionError(f"rows in must be rows out + quarantined: {rows}")
    if rows.kept == 0 or rows.bad > target.max_bad * (rows.kept + rows.bad):
        _forget_bad(summary, target, pieces)
        raise OrchestratorError(_too_many_bad(quarantined, rows, target))
    return rows


def _forget_bad(summary: pa.Table, target: Target, pieces: Sequence[Staged]) -> None:
    """Has slices with a bad row read again by the next run, when the source may be mended."""
    bad = summary.filter(pc.equal(summary["kind"], BAD))
    for index in pc.unique(bad["slice"]).to_pylist():
        target.partial.remove(pieces[index].receipt)


def _too_many_bad(quarantined: pa.Table, rows: manifests.Rows, target: Target) -> str:
    """Says how many rows were bad, and why, the most frequent reasons first."""
    wanted = rows.kept + rows.bad
    if not rows.bad:
        return (
            f"source: must have a row to keep; got {rows.left_out:,} rows that are all left out. "
            f"See {target.out / QUARANTINE}."
        )
    reasons = quarantined.filter(pc.equal(quarantined["kind"], BAD))["reason"]
    counts = {item["values"]: item["counts"] for item in pc.value_counts(reasons).to_pylist()}
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]
    listed = "; ".join(f"{count:,} x {reason}" for reason, count in top)
    return (
        f"max_bad: at most {target.max_bad:.2%} of the rows may be unreadable; got {rows.bad:,} of "
        f"{wanted:,} ({rows.bad / wanted:.2%}): {listed}. "
        f"See {target.out / QUARANTINE}; mend the source, or raise max_bad."
    )


def _kept(table: pa.Table, recipe: Recipe, target: Target, say: Say) -> _Kept:
    """Splits and audits the rows kept."""
    fingerprints = Fingerprints(
        digests=np.array(table["digest"].to_pylist(), dtype="S32"), looks=table["look"].to_numpy()
    )
    copies = find_copies(fingerprints.digests, fingerprints.looks)
    tied = {Together.NONE: None, Together.EXACT: copies.exact, Together.NEAR: copies.near}
    rows = _rows(table, recipe.classes, tied[target.together])
    _check_sizes(len(rows.labels), target.sizes)
    splits = protocols(rows, fractions=target.fractions, sizes=target.sizes, seed=target.seed)
    if not has_official(rows.official) and (rows.official != "").any():
        without = int((~np.isin(rows.official, SPLITS)).sum())
        say(f"no protocol `official`: {without:,} rows kept have no split of the release's own")
    for protocol, of_row in splits.items():
        for at, split in enumerate(SPLITS):
            if target.fractions[at] and protocol != "official" and not (of_row == at).any():
                say(
                    f"protocol {protocol} has no row in {split}: too few groups, or copies, to part"
                )
    found = audit(copies, rows.labels, rows.groups, splits, recipe.classes)
    return _Kept(table, rows, fingerprints, found, splits)


def _rows(table: pa.Table, classes: Sequence[str], copies: npt.NDArray[np.int64] | None) -> Rows:
    index_of = {name: index for index, name in enumerate(classes)}
    return Rows(
        sources=table["source"].to_pylist(),
        labels=np.array([index_of[label] for label in table["label"].to_pylist()], dtype=np.int64),
        groups=np.array(table["group"].to_pylist(), dtype=np.str_),
        official=np.array(table["split"].to_pylist(), dtype=np.str_),
        copies=copies,
    )


def _check_sizes(num_rows: int, sizes: Sizes | None) -> None:
    if sizes is not None and sum(sizes) != num_rows:
        raise ConfigError(
            f"sizes: must add up to the rows kept, {num_rows:,}; got {list(sizes)}, which add up "
            f"to {sum(sizes):,}. Change them, or leave them out and give fractions."
        )


def _index(kept: _Kept) -> pa.Table:
    """All columns of all rows but the pixels."""
    names = np.array(SPLITS)
    rows = len(kept.rows.labels)
    columns = {
        "row_id": pa.array(np.arange(rows), type=pa.int64()),
        "listed": kept.table["listed"],
        "label": pa.array(kept.rows.labels, type=pa.int8()),
        **{name: kept.table[name] for name in ("group", "frame", "source")},
        **{
            manifests.SPLIT_COLUMN + protocol: pa.array(names[of_row], type=pa.string())
            for protocol, of_row in kept.splits.items()
        },
    }
    return pa.table(columns, schema=manifests.index_schema(list(kept.splits)))


def _manifest(
    recipe: Recipe,
    target: Target,
    counts: manifests.Rows,
    kept: _Kept,
    files: list[File],
    index: File,
) -> Manifest:
    """Puts together what is known of the set."""
    shape = [recipe.image_px, recipe.image_px, 3]
    rows = kept.rows
    return Manifest(
        version=2,
        name=target.name,
        fingerprint=manifests.fingerprint(
            classes=recipe.classes,
            image_shape=shape,
            digests=kept.table["digest"].to_pylist(),
            labels=rows.labels,
            groups=rows.groups.tolist(),
            splits=kept.splits,
        ),
        plan=target.plan,
        classes=list(recipe.classes),
        image_shape=shape,
        rows=counts,
        counts=manifests.count(rows.labels, kept.splits, recipe.classes),
        files=files,
        index=index,
        source=target.source,
        settings=dict(target.settings),
        audit=AuditCounts.model_validate(asdict(kept.found)),
        written_by=f"fer-orchestrator {__version__}",
    )
