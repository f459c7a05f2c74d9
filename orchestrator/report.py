"""The command `report`: one page that sets a study beside the paper that it reproduces.

    find what was trained and measured -> put tables and figures in order -> write HTML and Markdown

The page works from disk without a network, and each of its numbers leads to the file that it is
from. Imports neither torch nor ray. DRIVER.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.cluster import refuse_lost_folder
from orchestrator.config.command_line import parse, run
from orchestrator.config.commands import ReportConfig
from orchestrator.config.errors import ConfigError
from orchestrator.config.home import Home, held, home_in, scratch_folder
from orchestrator.config.storage import write_atomic
from orchestrator.results.printable import one_line
from orchestrator.results.report_cells import Linker
from orchestrator.results.report_sources import Sources, bring, find_sources

COMMAND = "python -m orchestrator.report"
DESCRIPTION = (
    "Writes one page, as HTML and Markdown, that sets a study's tables and figures beside those of "
    "the paper it reproduces: both split protocols, main effects, leaks, production, remedies."
)
EXAMPLES = (
    f"{COMMAND} study=runs/paper-1a2b3c4d",
    f"{COMMAND} study=runs/reproduce",
    f"{COMMAND} study=runs/paper-1a2b3c4d also=[runs/paper-random,runs/main-group]",
    f"{COMMAND} study=s3://bucket/runs",
)
FOLDER = "report"
PAGE, TEXT = "report.html", "report.md"
PARTLY = 1


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    config = parse(ReportConfig, argv, command=COMMAND, description=DESCRIPTION, examples=EXAMPLES)
    refuse_lost_folder(config.out)
    _refuse_apart(config)
    with scratch_folder() as scratch:
        study = _folder("study", config.study, scratch)
        also = [_folder("also", place, scratch) for place in config.also]
        return _report(config, study, also, scratch)


def _refuse_apart(config: ReportConfig) -> None:
    """The report's figures lead to files by the way from it to them."""
    buckets = {place.rpartition("://")[2].partition("/")[0] for place in _stored(config)}
    places = (config.study, *config.also, *filter(None, [config.out]))
    if buckets and (len(buckets) > 1 or config.out or len(_stored(config)) < len(places)):
        raise ConfigError(
            "study, also: must be in one bucket, if one is in an object store, and out left out: the "
            f"report's figures lead to files beside it; got {', '.join(places)}. Copy them to one disk"
        )


def _stored(config: ReportConfig) -> list[str]:
    return [place for place in (config.study, *config.also) if "://" in place]


def _folder(field: str, place: str, scratch: Path) -> Home:
    """A folder on a disk; or one in an object store, with what a report reads of it brought here."""
    if "://" in place:
        home = home_in(scratch, place)
        bring(home)
        return home
    folder = Path(place).expanduser().absolute()
    with suppress(OSError, ValueError):  # too long a name, a zero byte
        if folder.is_dir():
            return Home(folder)
    raise ConfigError(f"{field}: must be a folder; got {place!r}")


def _report(config: ReportConfig, study: Home, also: Sequence[Home], scratch: Path) -> int:
    """Writes it and says what it is made of; returns the exit status."""
    sources = find_sources([home.local for home in (study, *also)])
    if sources.is_empty:
        raise ConfigError(
            "study: must hold a study, a run or an evaluation, at most a few folders deep; got "
            f"{config.study!r}. The commands print the folders that they leave"
        )
    given = config.out and Home(Path(config.out).expanduser().absolute())
    with held(given or study / FOLDER, "out", print) as out:
        _write(sources, study, out.local, scratch)
        out.send_all()
    print(*_found(sources), sep="\n")
    print(f"report       {out.shown / PAGE}  ({TEXT} and pictures beside it)")
    for file, reason in sources.unreadable:
        (line,) = study.named([f"{one_line(str(file))}: {one_line(reason, 200)}"])
        print(f"not read     {line}", file=sys.stderr)
    return PARTLY if sources.unreadable else 0


def _write(sources: Sources, study: Home, out: Path, scratch: Path) -> None:
    """Draws, then writes Markdown, then the page: where it is, the rest belongs to it."""
    from orchestrator.results.report_html import report_html
    from orchestrator.results.report_markdown import report_markdown
    from orchestrator.results.report_story import report_of

    (out / PAGE).unlink(missing_ok=True)
    for old in out.glob("figure-*.png"):
        old.unlink()
    linker = Linker(out, top=scratch if study.store else None)
    report = report_of(sources, f"Report of {study.local.name}", linker)
    for name, text in ((TEXT, report_markdown(report)), (PAGE, report_html(report))):
        scheme = str(study.kept).partition("://")[0]
        # What was brought lies below this folder as in its bucket.
        shown = text.replace(f"{scratch}/", f"{scheme}://") if study.store else text
        write_atomic(out / name, shown.encode("utf-8", "replace"))


def _found(sources: Sources) -> list[str]:
    """How many of each kind."""
    numbers = {
        "studies": len(sources.studies),
        "runs": len(sources.runs),
        "evaluations": len(sources.evaluations),
        "diagnoses": len(sources.diagnoses),
        "adaptations": len(sources.adaptations),
        "data sets": len(sources.datasets),
    }
    return [f"found        {', '.join(f'{number} {kind}' for kind, number in numbers.items())}"]


if __name__ == "__main__":
    sys.exit(run(main))
