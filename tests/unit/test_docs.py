"""What the README says to type is what the commands take."""

import json
import re
import shlex
from pathlib import Path

from orchestrator.__main__ import COMMANDS
from orchestrator.config.command_line import parse
from orchestrator.config.commands import (
    AblateConfig,
    DoctorConfig,
    LeaderboardConfig,
    PrepareConfig,
    ReportConfig,
    TrainConfig,
)
from orchestrator.config.evaluation import EvaluateConfig
from orchestrator.config.prediction import ExportConfig, PredictConfig
from orchestrator.config.production import AdaptConfig, DiagnoseConfig
from orchestrator.config.reproduction import ReproduceConfig

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
JOB = re.compile(r"(ray job submit .*) -- python -m orchestrator\.(.*)$", re.MULTILINE)
SHORT = re.compile(r"^ +submit (\w+) (.*)$", re.MULTILINE)
CONFIGS = {
    "prepare": PrepareConfig,
    "train": TrainConfig,
    "ablate": AblateConfig,
    "leaderboard": LeaderboardConfig,
    "evaluate": EvaluateConfig,
    "diagnose": DiagnoseConfig,
    "adapt": AdaptConfig,
    "predict": PredictConfig,
    "export": ExportConfig,
    "report": ReportConfig,
    "reproduce": ReproduceConfig,
    "doctor": DoctorConfig,
}


def test_every_command_has_a_line_that_submits_it_with_words_that_it_takes():
    in_full = [words.partition(" ")[::2] for _, words in JOB.findall(README) if "$" not in words]
    jobs = [*in_full, *SHORT.findall(README)]
    assert {command for command, _ in jobs} == CONFIGS.keys() == set(COMMANDS)
    for command, words in jobs:
        parse(CONFIGS[command], words.split(), command="", description="", examples=())


def test_every_line_that_submits_leaves_a_stopped_job_the_time_to_save():
    """Ray kills a job 3 s after `ray job stop` unless the job itself was given more."""
    submits = [shlex.split(line) for line, _ in JOB.findall(README)]
    assert len(submits) == 2
    for words in submits:
        runtime_env = json.loads(words[words.index("--runtime-env-json") + 1])
        assert int(runtime_env["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) >= 600
        assert words[words.index("--working-dir") + 1] == "."


def test_no_job_is_submitted_before_the_dashboard_that_was_just_started_answers():
    lines = README.splitlines()
    (started,) = (n for n, line in enumerate(lines) if "ray dashboard cluster.yaml &" in line)
    waits = r" +ray dashboard .* & until curl .*127\.0\.0\.1:8265; do sleep 1; done"
    assert re.fullmatch(waits, lines[started])
    assert JOB.search(lines[started + 1])
