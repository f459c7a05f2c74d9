"""The command `report`: one page that sets a study beside the paper that it reproduces.

    find what was trained and measured -> put tables and figures in order -> write HTML and Markdown

The page works from disk without a network, and each of its numbers leads to the file that it is
from. Imports neither torch nor ray. DRIVER.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.cluster import refuse_lost_folder
from orchestrator.config.command_line import parse, run
from orchestrator.config.commands import ReportConfig
from orchestrator.config.errors import ConfigError
from orchestrator.config.storage import as_typed, exclusive, write_atomic
from orchestrator.results.printable import one_line
from orchestrator.results.report_sources import Sources, find_sources

COMMAND = "python -m orchestrator.report"
DESCRIPTION = (
    "Writes one page, as HTML and Markdown, that sets a study's tables and figures beside those of "
    "the paper it reproduces: both split protocols, main effects, leaks, production, remedies."
)
EXAMPLES = (
    f"{COMMAND} study=runs/paper-1a2b3c4d",
    f"{COMMAND} study=runs/reproduce",
    f"{COMMAND} study=runs/paper-1a2b3c4d also=[runs/paper-random,runs/main-group]",
)
FOLDER = "report"
PAGE, TEXT = "report.html", "report.md"
PARTLY = 1


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    config = parse(ReportConfig, argv, command=COMMAND, description=DESCRIPTION, examples=EXAMPLES)
    refuse_lost_folder(config.out)
    places = [_folder("study", config.study), *(_folder("also", place) for place in config.also)]
    sources = find_sources(places)
    if sources.is_empty:
        raise ConfigError(
            "study: must hold a study, a run or an evaluation, at most a few folders deep; got "
            f"{config.study!r}. The commands print the folders that they leave"
        )
    out = Path(config.out).expanduser().absolute() if config.out else places[0] / FOLDER
    with exclusive(out, "out"):
        _write(sources, f"Report of {places[0].name}", out)
    print(*_found(sources), sep="\n")
    print(f"report       {as_typed(out / PAGE)}  ({TEXT} and pictures beside it)")
    for file, reason in sources.unreadable:
        print(f"not read     {one_line(str(file))}: {one_line(reason, 200)}", file=sys.stderr)
    return PARTLY if sources.unreadable else 0


def _folder(field: str, place: str) -> Path:
    folder = Path(place).expanduser().absolute()
    try:
        if folder.is_dir():
            return folder
    except (OSError, ValueError):  # too long a name, a zero byte
        pass
    raise ConfigError(f"{field}: must be a folder; got {place!r}")


def _write(sources: Sources, title: str, out: Path) -> None:
    """Draws, then writes Markdown, then the page: where it is, the rest belongs to it."""
    from orchestrator.results.report_cells import Linker
    from orchestrator.results.report_html import report_html
    from orchestrator.results.report_markdown import report_markdown
    from orchestrator.results.report_story import report_of

    (out / PAGE).unlink(missing_ok=True)
    for old in out.glob("figure-*.png"):
        old.unlink()
    report = report_of(sources, title, Linker(out))
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
