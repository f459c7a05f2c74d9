"""`python -m orchestrator` lists every command that there is, with what it does."""

import importlib
from pathlib import Path

import orchestrator
from orchestrator.__main__ import COMMANDS, main

FOLDER = Path(orchestrator.__file__).parent


def test_every_command_is_listed_with_its_first_line(capsys):
    assert main() == 0
    lines = capsys.readouterr().out.splitlines()
    for command in COMMANDS:
        (line,) = [
            line for line in lines if line.startswith(f"  python -m orchestrator.{command} ")
        ]
        summary = line.split(command, 1)[1].strip()
        assert summary
        assert "`" not in summary


def test_every_module_that_can_be_run_is_in_the_list():
    runnable = {path.stem for path in FOLDER.glob("*.py") if "run(main)" in path.read_text()}
    assert runnable == set(COMMANDS)


def test_every_command_has_examples_of_itself():
    for command in COMMANDS:
        module = importlib.import_module(f"orchestrator.{command}")
        assert f"python -m orchestrator.{command}" == module.COMMAND
        assert all(module.COMMAND in example for example in module.EXAMPLES)
