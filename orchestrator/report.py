"""The command `report`: one page that sets a study beside the paper that it reproduces.

    find what was trained and measured -> put tables and figures in order -> write HTML and Markdown

The page works from disk without a network, and each of its numbers leads to the file that it is
from. Imports neither torch nor ray. DRIVER.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
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
FIGURES = ("figure-*.png",)
PARTLY = 1


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    config = parse(ReportConfig, argv, command=COMMAND, description=DESCRIPTION, examples=EXAMPLES)
    refuse_lost_folder(config.out)
    _refuse_apart(config)
    with scratch_folder() if _stored(config) else nullcontext() as scratch:
        return _report(config, scratch)


def _refuse_apart(config: ReportConfig) -> None:
    """The report's figures lead to files by the way from it to them."""
    buckets = {"/".join(place.split("/")[:3]) for place in _stored(config)}
    places = (config.study, *config.also, *filter(None, [config.out]))
    if buckets and (len(buckets) > 1 or config.out or len(_stored(config)) < len(places)):
        raise ConfigError(
            "study, also: must be in one bucket, if one is in an object store, and out left out: the "
            f"report's figures lead to files beside it; got {', '.join(places)}. Copy them to one disk"
        )


def _stored(config: ReportConfig) -> list[str]:
    return [place for place in (config.study, *config.also) if "://" in place]


def _report(config: ReportConfig, scratch: Path | None) -> int:
    """Writes it and says what it is made of; returns the exit status."""
    named = [("study", config.study), *(("also", place) for place in config.also)]
    study, *also = [_folder(field, place, scratch) for field, place in named]
    lost = [one for home in (study, *also) for one in bring(home)]
    sources = find_sources([home.local for home in (study, *also)])
    sources.unreadable += lost
    if sources.is_empty:
        raise ConfigError(
            "study: must hold a study, a run or an evaluation, at most a few folders deep; got "
            f"{config.study!r}. The commands print the folders that they leave"
        )
    given = config.out and Home(Path(config.out).expanduser().absolute())
    with held(given or study / FOLDER, "out", print) as out:
        linker = Linker(out.local, scratch, config.study.partition("://")[0])
        _write(sources, f"Report of {study.local.name}", linker)
        out.send_results(PAGE, FIGURES)
    print(*_found(sources), sep="\n")
    print(f"report       {out.shown / PAGE}  ({TEXT} and pictures beside it)")
    for file, reason in sources.unreadable:
        line = f"{one_line(linker.shown(str(file)))}: {one_line(linker.shown(reason), 200)}"
        print(f"not read     {line}", file=sys.stderr)
    return PARTLY if sources.unreadable else 0


def _folder(field: str, place: str, scratch: Path | None) -> Home:
    if scratch is not None:
        return home_in(scratch, place)
    folder = Path(place).expanduser().absolute()
    with suppress(OSError, ValueError):  # too long a name, a zero byte
        if folder.is_dir():
            return Home(folder)
    raise ConfigError(f"{field}: must be a folder; got {place!r}")


def _write(sources: Sources, title: str, linker: Linker) -> None:
    """Draws, then writes Markdown, then the page: where it is, the rest belongs to it."""
    from orchestrator.results.report_html import report_html
    from orchestrator.results.report_markdown import report_markdown
    from orchestrator.results.report_story import report_of

    out = linker.out
    (out / PAGE).unlink(missing_ok=True)
    for old in out.glob(FIGURES[0]):
        old.unlink()
    report = report_of(sources, title, linker)
    write_atomic(out / TEXT, report_markdown(report).encode("utf-8", "replace"))
    write_atomic(out / PAGE, report_html(report).encode("utf-8", "replace"))


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
