"""A study on the dashboard's own pages: Logs, Jobs and Metrics of any Ray cluster. DRIVER.

A thread reads the study's ledger every few seconds, as the page's server does, and brings up to
date what is there: a file of this node's session logs, the status of the submitted job, and
gauges. Nothing of it can hold up or end a study: what fails is left alone from then on.
"""

from __future__ import annotations

import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from orchestrator.config.storage import write_atomic
from orchestrator.dashboard.metrics import Slots, StudyMetrics
from orchestrator.dashboard.snapshot import shown
from orchestrator.dashboard.study_files import GrowingLedger, WatchedStudy
from orchestrator.results.leaderboard_cells import mean_text
from orchestrator.results.leaderboard_tables import text_table
from orchestrator.results.printable import without_home
from orchestrator.results.study_view import StudyView
from orchestrator.tuning.ledger import LEDGER

LOOK_EVERY_S: Final = 2.0
"""What is new is on Ray's pages within 5 s: this, the work of it, and the page's own reading."""
REFRESH_EVERY_S: Final = 5.0
"""Where nothing is new: utilisation falls with time, and a job may not have been RUNNING yet."""
MOST_FAILURES: Final = 3
"""In a row, after which a surface is taken to be absent."""
LOG_ROWS: Final = 200
NO_BREAK_SPACE: Final = "\u00a0"
JOB_CONFIG: Final = "RAY_JOB_CONFIG_JSON_ENV_VAR"
JOB_ID_KEY: Final = "job_submission_id"
_RUNS: Final = re.compile(r"^ +| {2,}", re.MULTILINE)
_CLOSE_TIMEOUT_S: Final = 10.0

Surface = Callable[[StudyView, Slots], None]


@contextmanager
def shown_in_ray(study_folder: Path, session_logs: str) -> Iterator[None]:
    """Show a study on Ray's own pages while the context lasts, and its end.

    Args:
        study_folder: with a ledger, now or later.
        session_logs: of the node that this process is on; "" = none.
    """
    surfaces: list[Surface] = [StudyMetrics(study_folder.name), _JobStatus(study_folder.name)]
    if session_logs and Path(session_logs).is_dir():
        surfaces.append(_Log(Path(session_logs) / f"leaderboard-{study_folder.name}.log"))
    ended = threading.Event()
    thread = threading.Thread(
        target=_keep_up, args=(study_folder, surfaces, ended), name="surfaces", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_CLOSE_TIMEOUT_S)


def log_text(view: StudyView) -> str:
    """The leaderboard for the dashboard's log viewer, which takes runs of spaces for one.

    Spaces that align are no-break spaces, so that columns stay columns.
    """
    text = without_home(text_table(view, per_class=True, num_rows=LOG_ROWS))
    return _RUNS.sub(lambda run: NO_BREAK_SPACE * len(run.group()), text)


def status_message(view: StudyView) -> str:
    """One line for the list of jobs."""
    ended = view.count("finished") + view.count("stopped") + view.count("failed")
    best = view.leading
    words = f"{ended} of {len(view.trials)} trials ended"
    if best is None:
        return words
    # The list of jobs cuts it short.
    return f"best so far {mean_text(best)}, trial {best.row.trial}; {words}"


def _keep_up(folder: Path, surfaces: list[Surface], ended: threading.Event) -> None:
    """Show what is new soon, and the rest now and then: a look that finds nothing costs a `stat`."""
    study = WatchedStudy(folder.name, GrowingLedger(folder / LEDGER))
    shown_s, failures = -math.inf, dict.fromkeys(surfaces, 0)
    while True:
        is_last = ended.is_set()  # asked before the look: the last record is looked at too
        is_new = study.look()
        is_due = is_new or is_last or time.monotonic() - shown_s >= REFRESH_EVERY_S
        if is_due and study.view is not None and study.view.trials:
            shown_s = time.monotonic()
            for surface in list(failures):
                _show(surface, study, failures)
        if is_last or study.problem:
            return
        ended.wait(LOOK_EVERY_S)


def _show(surface: Surface, study: WatchedStudy, failures: dict[Surface, int]) -> None:
    assert study.view is not None
    try:
        surface(study.view, study.feed.slots)
        failures[surface] = 0
    except Exception:  # noqa: BLE001 - Ray's own interfaces: their absence must be harmless
        failures[surface] += 1
        if failures[surface] == MOST_FAILURES:  # it is absent; once may be a moment's trouble
            del failures[surface]


class _Log:
    """A file that the Logs page lists and shows, replaced whole when the study has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: StudyView | None = None

    def __call__(self, view: StudyView, _: Slots) -> None:
        if view is not self._written:
            write_atomic(self._path, log_text(view).encode())
            self._written = view


class _JobStatus:
    """The status message and metadata of the job that this driver was submitted as.

    Ray has no public way for a job to say how it is; `JobInfoStorageClient` is what its own job
    manager uses (ray 2.60).
    """

    def __init__(self, study: str) -> None:
        self._study = study
        self._message = ""

    def __call__(self, view: StudyView, _: Slots) -> None:
        job_id = submitted_job()
        message = status_message(view)
        metadata = {"study": shown(self._study), **_figures(view)}
        if job_id and message != self._message and _put_status(job_id, message, metadata):
            self._message = message


def submitted_job() -> str:
    """The submission id of the job that this process is the driver of; "" if it is of none."""
    try:
        config = json.loads(os.environ.get(JOB_CONFIG, ""))
        return str(config["metadata"][JOB_ID_KEY])
    except (ValueError, KeyError, TypeError):
        return ""


def _put_status(job_id: str, message: str, metadata: dict[str, str]) -> bool:
    """Whether it could be put: Ray calls a job PENDING for a moment after its driver has begun."""
    import asyncio
    from dataclasses import replace

    import ray
    from ray.dashboard.modules.job.common import JobInfoStorageClient, JobStatus

    async def put() -> bool:
        client = JobInfoStorageClient(ray._private.worker.global_worker.gcs_client)
        info = await client.get_info(job_id)
        if info is None or info.status != JobStatus.RUNNING:
            return False
        merged = {**(info.metadata or {}), **metadata}
        await client.put_info(job_id, replace(info, message=message, metadata=merged))
        return True

    return asyncio.run(put())


def _figures(view: StudyView) -> dict[str, str]:
    best = view.leading
    if best is None:
        return {}
    return {"best_trial": str(best.row.trial), "best_macro_f1": mean_text(best)}
