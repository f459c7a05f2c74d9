"""The command `reproduce`: the whole study, from raw faces to the report, one command a step.

    list the steps -> run those that are not done -> say what was done

Each step is one of our commands and keeps its own state, so that a killed one goes on where it
was. In small they share a process and its Ray (`step_process.py`); in full each has its own: there
a start is nothing, and what a step has left in Ray's memory must not meet the next.

`steps/<name>.json` says of each with which command it ended how: the same command again runs only
what is not done, or what stands on a step that had to be run anew: before a step is run, the
records of all that stands on it say that they are not done, whatever happens then. A step that
fails does not stop those that do without it, nor does a study of which some trials failed stop
those that need its winner alone; the report is written from what there is. DRIVER.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import models
from orchestrator.checkpoint_choice import choose
from orchestrator.cluster import refuse_lost_folder
from orchestrator.config.command_line import INTERRUPTED, parse, run
from orchestrator.config.commands import PrepareConfig
from orchestrator.config.errors import ConfigError, OrchestratorError
from orchestrator.config.reproduction import ReproduceConfig
from orchestrator.config.storage import as_typed, exclusive, write_json
from orchestrator.reproduction_steps import STARTS_RAY, TRAINS, Step, steps
from orchestrator.results.printable import duration
from orchestrator.results.report_sources import STEPS
from orchestrator.results.study_fold import fold
from orchestrator.step_process import StepProcess
from orchestrator.tuning.ledger import LEDGER, read_records

COMMAND = "python -m orchestrator.reproduce"
DESCRIPTION = (
    "Runs the whole study: prepares, trains main and baseline, ablates, evaluates on test and "
    "production, diagnoses the shift, adapts, reports. The same command again runs what is not "
    "done. preset=quick does it in small, without a download."
)
EXAMPLES = (
    COMMAND,
    f"{COMMAND} --dry-run",
    f"{COMMAND} preset=full source=AFF_WILD2 production=PRODUCTION weights=vgg_face_dag.pth "
    "out=/shared/reproduce",
)
VERSION = 1
LAST = "report"
"""The step that is run whatever failed before it."""
FAILED = 1
IMAGE_PX = PrepareConfig().image_px
"""Of the sets that are prepared for preset=full."""


@dataclass(frozen=True)
class _Failure:
    """Why a step is not done.

    Attributes:
        reason: as it is shown.
        has_winner: whether it left a study's winner all the same, which is all that others need.
    """

    reason: str
    has_winner: bool = False


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    config = parse(
        ReproduceConfig, argv, command=COMMAND, description=DESCRIPTION, examples=EXAMPLES
    )
    refuse_lost_folder(config.out)
    listed = steps(config)
    folder = Path(config.out).absolute() / STEPS
    if any(step.command in TRAINS and not _is_done(step, folder) for step in listed):
        _refuse_weights(config)
    if config.dry_run:
        for step in listed:
            print(f"# {step.name}{': done' if _is_done(step, folder) else ''}")
            print(_shown(step))
        return 0
    with exclusive(folder, "out"), closing(StepProcess(config.address, folder.parent)) as process:
        return _reproduce(listed, folder, process, is_small=config.preset == "quick")


def _refuse_weights(config: ReproduceConfig) -> None:
    """Refuse first weights that no training can begin with: the first of them is hours away.

    Raises:
        ConfigError: as the steps that train would say it, by the fields of this command.
    """
    if config.preset != "full":
        return
    problems: list[str] = []
    for model, field in (("main", "weights"), ("baseline", "baseline_weights")):
        try:
            models.check(model, image_size=IMAGE_PX, weights=getattr(config, field))
        except models.ModelError as error:
            problems += [problem.replace("model.weights", field) for problem in error.problems]
    if problems:
        raise ConfigError(*problems)


def _reproduce(
    listed: Sequence[Step], folder: Path, process: StepProcess, *, is_small: bool
) -> int:
    """Runs what is not done; the exit status is 0 when all of it is."""
    ran: set[str] = set()
    failed: dict[str, _Failure] = {}
    for number, step in enumerate(listed, start=1):
        place = f"[{number}/{len(listed)}] {step.name}"
        lost = [name for name in step.needs if name in failed and not failed[name].has_winner]
        if lost:
            failed[step.name] = _Failure(f"needs {', '.join(lost)}")
            print(f"{place}: not run, needs {', '.join(lost)}\n", flush=True)
            continue
        # The report tells of all the others.
        is_due = bool(ran) if step.name == LAST else bool(ran.intersection(step.needs))
        if not is_due and _is_done(step, folder):
            print(f"{place}: done before", flush=True)
            continue
        _undo(_standing_on(step, listed), folder)
        status = _run(step, place, folder, process)
        if not is_small:
            process.close()
        ran.add(step.name)
        if status == INTERRUPTED or process.interrupted:
            raise KeyboardInterrupt
        if status:
            failed[step.name] = _failure(step, status)
    return _closing(listed, failed, folder)


def _failure(step: Step, status: int) -> _Failure:
    if status == FAILED and step.study and _has_winner(Path(step.study)):
        words = f"exit status {status}: trials failed; what needs only its winner went on"
        return _Failure(words, has_winner=True)
    return _Failure(f"exit status {status}")


def _has_winner(study: Path) -> bool:
    """Whether all trials of a study have ended and one that finished, with its weights, leads."""
    try:
        choose(str(study))
        view = fold(read_records(study / LEDGER))
    except (OrchestratorError, OSError):
        return False
    return not view.count("queued") + view.count("running")


def _standing_on(step: Step, listed: Sequence[Step]) -> list[Step]:
    """The steps that need it, or one that needs it, and so on; the report tells of every step."""
    names, found = {step.name}, []
    for other in listed:  # what a step needs comes before it
        if names.intersection(other.needs) or (other.name == LAST and step.name != LAST):
            names.add(other.name)
            found.append(other)
    return found


def _undo(stale: Sequence[Step], folder: Path) -> None:
    """Records that steps are not done, of those that were: what they left is of before."""
    for step in stale:
        record = _read(_record_file(step, folder))
        if record.get("done"):
            write_json(_record_file(step, folder), {**record, "done": False})


def _run(step: Step, place: str, folder: Path, process: StepProcess) -> int:
    """Runs a step and records how it ended; returns its exit status."""
    print(f"{place}\n{_shown(step)}", flush=True)
    record = {
        "version": VERSION,
        "step": step.name,
        "command": _shown(step),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    file = _record_file(step, folder)
    write_json(file, {**record, "done": False, "exit_status": None})
    started = time.monotonic()
    with_ray = step.command in STARTS_RAY
    status = process.run(f"orchestrator.{step.command}", step.words, with_ray=with_ray)
    seconds = time.monotonic() - started
    outcome = {"done": status == 0, "exit_status": status, "seconds": round(seconds, 1)}
    write_json(file, {**record, **outcome})
    words = "done" if status == 0 else f"FAILED with exit status {status}"
    print(f"{place}: {words} in {duration(seconds)}\n", flush=True)
    return status


def _is_done(step: Step, folder: Path) -> bool:
    """Whether the same command was done before, and what it left is still there."""
    record = _read(_record_file(step, folder))
    left = step.leaves or step.study
    is_there = not left or Path(left).is_dir()
    return record.get("done") is True and record.get("command") == _shown(step) and is_there


def _read(file: Path) -> Mapping[str, object]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _record_file(step: Step, folder: Path) -> Path:
    return folder / f"{step.name}.json"


def _shown(step: Step) -> str:
    return shlex.join(["python", "-m", f"orchestrator.{step.command}", *step.words])


def _closing(listed: Sequence[Step], failed: Mapping[str, _Failure], folder: Path) -> int:
    report = folder.parent / "report" / "report.html"
    print()
    if not failed:
        print(f"all {len(listed)} steps are done")
    for name, failure in failed.items():
        verdict = "not all done" if failure.has_winner else "not done"
        print(f"{verdict:<12} {name}: {failure.reason}")
    if failed:
        print("             mend what the output above says, and type the same command again")
    if report.is_file():
        print(f"report       {as_typed(report)}")
    return FAILED if failed else 0


if __name__ == "__main__":
    sys.exit(run(main))
