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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cluster import connect
from orchestrator.config.command_line import parse, run
from orchestrator.config.commands import PrepareConfig
from orchestrator.config.errors import ConfigError
from orchestrator.ingest import listing
from orchestrator.ingest.dataset import PreparedDataset, open_dataset
from orchestrator.ingest.manifest import FILE_NAME, VERSION, Source
from orchestrator.ingest.splits import SPLITS

if TYPE_CHECKING:
    from orchestrator.ingest.writing import Target

COMMAND = "python -m orchestrator.prepare"
DESCRIPTION = "Turns raw faces into an audited data set: Parquet files, splits, a manifest."
EXAMPLES = (
    f"{COMMAND} dataset=folder source=~/faces out=prepared/faces",
    f"{COMMAND} dataset=table source=fer2013 options.split_column=usage drop=[neutral] "
    "out=prepared/fer2013 image_px=48",
)
Say = Callable[[str], None]


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    config = parse(PrepareConfig, argv, command=COMMAND, description=DESCRIPTION, examples=EXAMPLES)
    plan = _plan(config)
    if dataset := _finished(plan):
        print(f"{plan.out} is finished already; nothing to do.\n")
        print(summary(dataset))
        return 0
    print(f"{plan.census.rows:,} rows listed in {plan.recipe.source.name or config.dataset}")
    with connect(config.address, dashboard=False):
        start = time.monotonic()
        dataset = _write(plan, _say)
        seconds = time.monotonic() - start
    print(
        f"{dataset.num_rows / seconds:,.0f} images/s ({seconds:.1f} s, start of Ray not counted)\n"
    )
    print(summary(dataset))
    return 0


def prepare(config: PrepareConfig) -> PreparedDataset:
    """Prepares a data set, or opens it where it is finished; Ray must be initialised.

    Raises:
        ConfigError: The source, its labels or the output folder do not fit the config.
        OrchestratorError: Too many unreadable rows, or a worker died.
    """
    plan = _plan(config)
    return _finished(plan) or _write(plan, _silent)


def summary(dataset: PreparedDataset) -> str:
    """What a user needs to know of a prepared set: rows, counts, leaks, place, next command."""
    rows = dataset.manifest["rows"]
    size = "x".join(map(str, dataset.image_shape))
    lines = [
        f"rows in {rows['listed']:,} = kept {rows['kept']:,} + quarantined "
        f"{rows['bad'] + rows['left_out']:,} (bad {rows['bad']:,}, left out {rows['left_out']:,})",
        "",
        *_counts_table(dataset),
        "",
        *_audit_table(dataset),
        "",
        f"data set     {dataset.name}, {dataset.num_rows:,} images of {size}",
        f"folder       {dataset.root}",
        f"fingerprint  {dataset.fingerprint}",
        "",
        f"next: python -m orchestrator.ablate data.path={dataset.root}",
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class _Plan:
    """What is going to be done, known before a pixel is read."""

    config: PrepareConfig
    out: Path
    recipe: listing.Recipe
    census: listing.Census
    key: str


def _plan(config: PrepareConfig) -> _Plan:
    """Lists the source and checks it against the config."""
    recipe = listing.recipe(
        adapter=config.dataset,
        source=str(Path(config.source).expanduser()) if config.source else "",
        options=config.options,
        classes=config.classes,
        drop=config.drop,
        image_px=config.image_px,
        max_pixels=config.max_pixels,
    )
    census = listing.census(recipe)
    decisive = [VERSION, recipe.identity, census.digest, config.fractions, config.seed]
    decisive += [config.rows_per_file, config.name]
    key = hashlib.sha256(json.dumps(decisive).encode()).hexdigest()
    return _Plan(config, Path(config.out).expanduser().absolute(), recipe, census, key)


def _finished(plan: _Plan) -> PreparedDataset | None:
    """Opens the set if it is finished; None if it is to be written.

    Raises:
        ConfigError: The folder holds something else, which is never overwritten.
    """
    if not plan.out.exists():
        return None
    if (plan.out / FILE_NAME).exists():
        dataset = open_dataset(plan.out)
        if dataset.manifest["plan"] == plan.key:
            return dataset
        raise ConfigError(
            f"out: must not hold another data set; got {plan.out} with {dataset.name}, prepared "
            "from other rows or settings. Choose another folder, or delete this one."
        )
    if not plan.out.is_dir() or _is_foreign(plan.out):
        raise ConfigError(
            f"out: must be an empty or a new folder; got {plan.out}. Choose another one."
        )
    return None


def _is_foreign(folder: Path) -> bool:
    """Whether a folder holds files that no unfinished run left there."""
    return any(folder.iterdir()) and not (folder / ".partial").is_dir()


def _write(plan: _Plan, say: Say) -> PreparedDataset:
    """Writes the set and opens it again, which checks every byte."""
    from orchestrator.ingest.writing import write  # imports ray, which `--help` need not wait for

    write(plan.recipe, plan.census, _target(plan), say)
    return open_dataset(plan.out)


def _target(plan: _Plan) -> Target:
    from orchestrator.ingest.writing import Target

    config = plan.config
    return Target(
        out=plan.out,
        name=config.name or plan.out.name,
        plan=plan.key,
        source=Source(
            adapter=config.dataset,
            name=plan.recipe.source.name,
            options={key: _without_folder(value) for key, value in config.options.items()},
        ),
        fractions=config.fractions,
        seed=config.seed,
        max_bad=config.max_bad,
        rows_per_file=config.rows_per_file,
        settings={
            "drop": list(plan.recipe.drop),
            "fractions": list(config.fractions),
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


def _counts_table(dataset: PreparedDataset) -> list[str]:
    """Rows by protocol and split, a column a class."""
    head = ["protocol", "split", *dataset.classes, "total"]
    body = [
        [protocol, split, *map(_thousands, of_class.values()), _thousands(sum(of_class.values()))]
        for protocol, splits in dataset.counts.items()
        for split, of_class in ((split, splits[split]) for split in SPLITS)
    ]
    return _aligned([head, *body], num_words=2)


def _audit_table(dataset: PreparedDataset) -> list[str]:
    """Duplicates, then what each protocol lets across."""
    found = dataset.manifest["audit"]
    head = ["leaks of", "held-out rows", "pixels in train", "group in train"]
    head += ["duplicates across splits", "groups across splits"]
    body = [
        [
            protocol,
            _thousands(leak["held_out_rows"]),
            f"{leak['held_out_duplicates'] / (leak['held_out_rows'] or 1):.2%}",
            f"{leak['held_out_same_group'] / (leak['held_out_rows'] or 1):.2%}",
            _thousands(leak["duplicate_groups_across"]),
            _thousands(leak["groups_across"]),
        ]
        for protocol, leak in found["leaks"].items()
    ]
    return [
        *_aligned([head, *body], num_words=1),
        "",
        f"byte-identical images: {found['duplicate_groups']:,} sets of them with "
        f"{found['duplicate_rows']:,} rows; {found['label_conflicts']:,} sets with several labels",
        f"groups: {found['groups']:,} (a video or subject; an image without one and its exact "
        "copies)",
    ]


def _aligned(rows: Sequence[Sequence[str]], *, num_words: int) -> list[str]:
    """Lines up a table: so many columns of words, then numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < num_words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _thousands(number: int) -> str:
    return f"{number:,}"


if __name__ == "__main__":
    sys.exit(run(main))
