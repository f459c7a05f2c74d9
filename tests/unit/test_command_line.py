import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from orchestrator.config.command_line import parse, run
from orchestrator.config.errors import ConfigError, OrchestratorError
from orchestrator.config.section import Count, Flag, Number, Section


class Sgd(Section):
    name: Literal["sgd"] = "sgd"
    lr: Number = 0.1
    momentum: Number = 0.9


class Adam(Section):
    name: Literal["adam"] = "adam"
    lr: Number = 0.001


class Toy(Section):
    optimizer: Annotated[Sgd | Adam, Field(discriminator="name")] = Adam()
    epochs: Count = 1
    batch_size: Count = 8
    dry_run: Flag = False
    verbose: Flag | None = None
    study: str = "none"
    root: Path | None = None
    switch: Literal["on", "off"] = "on"
    drop: tuple[str, ...] = ()
    options: dict[str, str | int] = Field({})


def read(*argv):
    return parse(Toy, argv, command="python -m toy", description="A toy.", examples=["one", "two"])


def mistakes(*argv):
    with pytest.raises(ConfigError) as caught:
        read(*argv)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    "argv",
    [
        ["batch_size=3"],
        ["--batch_size=3"],
        ["--batch_size", "3"],
        ["--batch-size", "3"],
        ["--batch-size=3"],
        ["batch-size=3"],
        ["batch_size=2", "batch_size=3"],
    ],
)
def test_every_spelling_of_an_override_means_the_same(argv):
    assert read(*argv) == Toy(batch_size=3)


def test_nested_fields_are_given_by_dotted_path():
    assert read("optimizer.name=sgd", "--optimizer.lr", "3e-4").optimizer == Sgd(lr=3e-4)


def test_a_negative_number_is_a_value_not_an_option():
    assert read("--optimizer.lr", "-1").optimizer.lr == -1


@pytest.mark.parametrize(
    ("argv", "flag"),
    [
        (["--dry-run"], True),
        (["--dry-run", "epochs=1"], True),
        (["--dry-run", "false"], False),
        (["--dry-run=false"], False),
        (["dry_run=true"], True),
    ],
)
def test_a_flag_may_stand_alone(argv, flag):
    assert read(*argv).dry_run is flag


def test_a_flag_that_may_be_null_may_stand_alone():
    assert read("--verbose").verbose is True


def test_text_stays_as_typed_where_only_text_is_wanted():
    toy = read("study=007", "root=1e5", "switch=off")
    assert (toy.study, toy.root, toy.switch) == ("007", Path("1e5"), "off")
    assert read("study=").study == ""
    assert read("study=a=b").study == "a=b"


def test_null_is_nothing_where_that_is_allowed_and_text_elsewhere():
    toy = read("root=null", "study=null")
    assert (toy.root, toy.study) == (None, "null")


def test_lists_and_the_keys_of_a_mapping_can_be_given():
    toy = read("drop=[neutral, other]", "options.split-column=usage", "options.a.b=2")
    assert toy.drop == ("neutral", "other")
    assert toy.options == {"split-column": "usage", "a.b": 2}


def test_the_command_line_wins_over_a_file_wherever_the_file_stands(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("epochs: 5\nbatch-size: 4\noptimizer: {name: sgd, momentum: 0.5}\n")
    for argv in (
        [f"--config={file}", "epochs=7", "optimizer.name=adam"],
        ["epochs=7", "optimizer.name=adam", "--config", str(file)],
    ):
        assert read(*argv) == Toy(epochs=7, batch_size=4, optimizer=Adam())


def test_mistakes_of_words_and_values_are_reported_together(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("epochs: 0\n")
    assert mistakes("--config", str(file), "foo", "-x", "--epohcs", "3", "drop=[a", "lr=1") == [
        "foo: must be path=value; got a word without '='. See --help for the paths",
        "-x: unknown option. Write path=value, --path value or --help",
        "drop: must be valid YAML; got '[a': while parsing a flow sequence, "
        "expected ',' or ']', but got '<stream end>'. Close it, or quote it",
        f"epochs: must be >= 1; got 0 (from --config {file})",
        "epohcs: unknown key (from the command line). Did you mean 'epochs'?",
        "lr: unknown key (from the command line). Did you mean 'optimizer.lr'?",
    ]


def test_a_file_that_is_absent_is_the_mistake_not_what_it_lacks():
    assert mistakes("--config", "absent.yaml", "epochs=0") == [
        "absent.yaml: must be a YAML file; it does not exist"
    ]


@pytest.mark.parametrize("argv", [["--epochs"], ["--epochs", "--dry-run"], ["--config"]])
def test_an_option_without_its_value_is_a_mistake(argv):
    assert mistakes(*argv) == [f"{argv[0]}: needs a value; got none. Write {argv[0]} VALUE"]


def test_an_unknown_option_that_stands_alone_is_an_unknown_key():
    assert mistakes("--dryrun") == ["dryrun: unknown key. Did you mean 'dry_run'?"]


@pytest.mark.parametrize("word", ["=3", "a..b=3", "--=3", "optimizer.=3"])
def test_a_path_with_an_empty_key_is_a_mistake(word):
    assert "must be keys joined by dots" in mistakes(word)[0]


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_is_printed_and_ends_well_whatever_else_is_wrong(word, capsys):
    with pytest.raises(SystemExit) as caught:
        read("epochs=0", word)
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("usage: python -m toy ")


def failing(error):
    def main(argv):
        raise error

    return main


def test_run_returns_the_status_of_main():
    assert run(lambda argv: len(argv), ["a", "b", "c"]) == 3


def test_run_reads_the_words_of_the_process(monkeypatch):
    monkeypatch.setattr("sys.argv", ["program", "a"])
    assert run(lambda argv: list(argv).index("a"), None) == 0


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ConfigError("epochs: must be >= 1; got 0"), 2, "error: epochs: must be >= 1; got 0\n"),
        (ConfigError("a: x", "b: y"), 2, "error: 2 mistakes\n  a: x\n  b: y\n"),
        (OrchestratorError("slot-0: died"), 1, "error: slot-0: died\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_run_turns_an_error_into_a_message_and_a_status(error, status, message, capsys):
    assert run(failing(error), []) == status
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", message)


def test_an_error_names_nobodys_home_folder(monkeypatch, capsys):
    monkeypatch.setenv("HOME", "/mnt/homes/ada")
    run(failing(ConfigError("out: must be writable; got '/mnt/homes/ada/runs'")), [])
    assert capsys.readouterr().err == "error: out: must be writable; got '~/runs'\n"


def test_run_lets_a_bug_trace_back():
    with pytest.raises(ZeroDivisionError):
        run(failing(ZeroDivisionError()), [])


def test_run_lets_help_exit():
    with pytest.raises(SystemExit):
        run(failing(SystemExit(0)), [])


def test_a_reader_that_has_enough_ends_a_command_without_a_traceback():
    code = (
        "import sys\nfrom orchestrator.config.command_line import run\n"
        "sys.exit(run(lambda argv: [print('x' * 999) for _ in range(9999)] and 0, []))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as command:
        command.stdout.readline()
        command.stdout.close()
        assert command.stderr.read() == b""
        assert command.wait() == 141
