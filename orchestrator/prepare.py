"""The command `prepare`: raw faces to an audited data set of Parquet files.

    list the source -> decode -> split -> audit -> write -> say what was done

Started again with the same plan it finds the finished set and says so, or goes on where it was
killed. Rows in = rows kept + rows quarantined, always; `quarantine.parquet` tells each row that
was not kept, and why.

DRIVER.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from datasets._image_files import printable
from orchestrator.cluster import connect, refuse_lost_folder
from orchestrator.config.command_line import parse, run
from orchestrator.config.commands import PrepareConfig
from orchestrator.config.errors import ConfigError, OrchestratorError
from orchestrator.config.folder import Folder, folder
from orchestrator.ingest import listing
from orchestrator.ingest.dataset import PreparedDataset, open_dataset
from orchestrator.ingest.manifest import FILE_NAME, PARTIAL, VERSION, Source
from orchestrator.results.dataset_tables import AUDIT, AUDIT_PAGE, summary

if TYPE_CHECKING:
    from orchestrator.ingest.pixels import Fingerprints
    from orchestrator.ingest.writing import Target

COMMAND = "python -m orchestrator.prepare"
DESCRIPTION = "Turns raw faces into an audited data set: Parquet files, splits, a manifest."
EXAMPLES = (
    f"{COMMAND} dataset=folder source=~/faces out=prepared/faces",
    f"{COMMAND} dataset=table source=fer2013 options.split_column=usage drop=[neutral] "
    "out=prepared/fer2013 image_px=48",
)
FILE_BYTES = 512 * 2**20
"""Pixels of a file at most; it takes large images for this to lower `rows_per_file`."""

Say = Callable[[str], None]


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    config = parse(PrepareConfig, argv, command=COMMAND, description=DESCRIPTION, examples=EXAMPLES)
    refuse_lost_folder(config.out)
    if config.audit:
        return _end(open_dataset(config.out), None)
    plan = _plan(config)
    if finished := _finished(plan):
        print(f"{plan.out} is finished already; nothing to write.\n")
        return _end(finished, None, again=False)
    print(f"{plan.census.rows:,} rows listed in {plan.recipe.source.name or config.dataset}")
    if plan.census.passed_over:
        print(f"{plan.census.passed_over:,} other frames are passed over by every={config.every}")
    with connect(config.address, dashboard=False):
        _start_workers()
        start = time.monotonic()
        dataset, found = _write(plan, _say)
        seconds = time.monotonic() - start
    print(
        f"{dataset.num_rows / seconds:,.0f} images/s "
        f"({seconds:.1f} s, start of Ray and its workers not counted)\n"
    )
    return _end(dataset, found)


def _start_workers() -> None:
    from orchestrator.ingest.slices import stage  # with all that a worker needs to import
    from orchestrator.ingest.tasks import start_workers

    start_workers(stage)


def prepare(config: PrepareConfig) -> PreparedDataset:
    """Prepares a data set, or opens it where it is finished; Ray must be initialised.

    Raises:
        ConfigError: The source, its labels or the output folder do not fit the config.
        OrchestratorError: No CPU is free, too many unreadable rows, or a worker died.
    """
    plan = _plan(config)
    if finished := _finished(plan):
        return finished
    _start_workers()
    return _write(plan, _silent)[0]


def _end(dataset: PreparedDataset, found: Fingerprints | None, *, again: bool = True) -> int:
    """Writes the audit's page, not again where that is not wanted, and says what was done."""
    from orchestrator.results.dataset_audit import write_audit  # imports matplotlib

    if again or (dataset.root / AUDIT).size(AUDIT_PAGE) is None:
        with _storage_of(dataset.root):
            write_audit(dataset, found)
    print(summary(dataset))
    return 0


@dataclass(frozen=True)
class _Plan:
    """What is going to be done, known before a pixel is read."""

    config: PrepareConfig
    out: Folder
    recipe: listing.Recipe
    census: listing.Census
    key: str
    pixels: str


def _plan(config: PrepareConfig) -> _Plan:
    """Lists the source and checks it against the config."""
    recipe = listing.recipe(
        adapter=config.dataset,
        source=str(Path(config.source).expanduser()) if config.source else "",
        options=config.options,
        classes=config.classes,
        drop=config.drop,
        every=config.every,
        image_px=config.image_px,
        max_pixels=config.max_pixels,
    )
    census = listing.census(recipe)
    pixels = _digest([VERSION, recipe.identity, census.digest, config.rows_per_file])
    key = _digest(
        [pixels, config.fractions, config.sizes, config.together, config.seed, config.name]
    )
    return _Plan(config, folder(config.out), recipe, census, key, pixels)


def _digest(decisive: list[object]) -> str:
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


def _finished(plan: _Plan) -> PreparedDataset | None:
    """Opens the set if it is finished; None if it is to be written.

    Raises:
        ConfigError: The folder holds something else, which is never overwritten.
    """
    if not plan.out.exists():
        return None
    if plan.out.size(FILE_NAME) is not None:
        dataset = open_dataset(plan.out)
        if dataset.manifest["plan"] == plan.key:
            _remove_leftovers(plan.out)
            return dataset
        raise ConfigError(
            f"out: must not hold another data set; got {plan.out} with {dataset.name}, prepared "
            "from other rows or settings. Choose another folder, or delete this one."
        )
    if _is_foreign(plan.out):
        raise ConfigError(
            f"out: must be an empty or a new folder; got {plan.out}. Choose another one."
        )
    return None


def _remove_leftovers(out: Folder) -> None:
    """Removes what the run that finished a set left, if it was killed at its very end."""
    if (out / PARTIAL).exists():
        with suppress(OSError):  # it may be at it still, or the folder not be ours to write
            (out / PARTIAL).remove_all()


def _is_foreign(out: Folder) -> bool:
    """Whether it is a file, or holds files that no unfinished run left there."""
    is_file = out.local is not None and not out.local.is_dir()
    return is_file or not (out.is_empty() or (out / PARTIAL).exists())


def _write(plan: _Plan, say: Say) -> tuple[PreparedDataset, Fingerprints]:
    """Writes the set and opens it again, which compares all that it says of itself."""
    from orchestrator.ingest.writing import write  # imports ray, which `--help` need not wait for

    with _storage_of(plan.out):
        found = write(plan.recipe, plan.census, _target(plan), say)
    return open_dataset(plan.out, digests=False), found


@contextmanager
def _storage_of(out: Folder) -> Iterator[None]:
    """Turns what storage complains of into an error a user can act on."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise OrchestratorError(
            f"out: must be there, writable, and have room; got {out}: "
            f"{' '.join(str(error).split())}. Run the same command again when it is: what is "
            "finished is kept."
        ) from error


def _target(plan: _Plan) -> Target:
    from orchestrator.ingest.protocols import Together
    from orchestrator.ingest.writing import Target

    config = plan.config
    return Target(
        out=plan.out,
        name=printable(config.name or plan.out.name),
        plan=plan.key,
        pixels=plan.pixels,
        source=Source(
            adapter=config.dataset,
            name=plan.recipe.source.name,
            options={key: _without_folder(value) for key, value in config.options.items()},
            provenance=dict(plan.census.provenance),
        ),
        fractions=config.fractions,
        sizes=config.sizes,
        together=Together(config.together),
        seed=config.seed,
        max_bad=config.max_bad,
        # A worker holds a file's pixels at once, whatever their size.
        rows_per_file=min(config.rows_per_file, max(1, FILE_BYTES // (config.image_px**2 * 3))),
        settings={
            "drop": list(plan.recipe.drop),
            "every": config.every,
            "passed_over": plan.census.passed_over,
            "fractions": list(config.fractions),
            "sizes": list(config.sizes) if config.sizes else None,
            "together": config.together,
            "seed": config.seed,
            "max_bad": config.max_bad,
            "max_pixels": config.max_pixels,
            "rows_per_file": config.rows_per_file,
        },
    )


def _without_folder(value: str | int | float | bool) -> str | int | float | bool:
    """A set can be given to others: it does not tell where things lay on this machine."""
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    return value


def _say(line: str) -> None:
    print(line, flush=True)


def _silent(_: str) -> None:
    pass


if __name__ == "__main__":
    sys.exit(run(main))
