"""What the README says to type is what the commands take."""

import re
from pathlib import Path

from orchestrator.__main__ import COMMANDS
from orchestrator.config.command_line import parse
from orchestrator.config.commands import (
    AblateConfig,
    DoctorConfig,
    LeaderboardConfig,
    PrepareConfig,
    TrainConfig,
)
from orchestrator.config.evaluation import EvaluateConfig

ROOT = Path(__file__).parents[2]
JOB = re.compile(
    r"^ +ray job submit --address http://127\.0\.0\.1:8265 --working-dir \. -- "
    r"python -m orchestrator\.(\w+) ?(.*)$",
    re.MULTILINE,
)
CONFIGS = {
    "prepare": PrepareConfig,
    "train": TrainConfig,
    "ablate": AblateConfig,
    "leaderboard": LeaderboardConfig,
    "evaluate": EvaluateConfig,
    "doctor": DoctorConfig,
}


def test_every_line_that_submits_a_job_has_words_that_its_command_takes():
    jobs = JOB.findall((ROOT / "README.md").read_text())
    assert {command for command, _ in jobs} == CONFIGS.keys() <= set(COMMANDS)
    for command, words in jobs:
        parse(CONFIGS[command], words.split(), command="", description="", examples=())


def test_no_job_is_submitted_before_the_dashboard_that_was_just_started_answers():
    lines = (ROOT / "README.md").read_text().splitlines()
    started = lines.index("    ray dashboard cluster.yaml &")
    assert re.fullmatch(r" +until curl .*127\.0\.0\.1:8265; do sleep 1; done", lines[started + 1])
    assert JOB.match(lines[started + 2])
