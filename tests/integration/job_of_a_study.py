"""The driver of a submitted job: shows a study in Ray until the file `stop` is beside its runs.

python -m tests.integration.job_of_a_study RUNS
"""

import sys
import time
from pathlib import Path

from orchestrator.cluster import connect
from orchestrator.dashboard.surfaces import shown_in_ray


def main(runs: Path) -> None:
    with connect() as cluster, shown_in_ray(runs / "s", cluster.logs):
        while not (runs / "stop").exists():
            time.sleep(0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
