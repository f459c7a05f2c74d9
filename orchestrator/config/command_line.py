"""A command line into a validated config, and an error into an exit status.

Runs anywhere (DRIVER): no torch, no ray, so `--help` and a mistake answer at once. The
grammar is one idea, `path=value`, which may also be written `--path value` or
`--path=value`; a true/false field may be written `--path` alone. `--config FILE` reads a YAML
file below all of them, wherever it stands.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from orchestrator.config.address import with_tilde
from orchestrator.config.errors import ConfigError, OrchestratorError
from orchestrator.config.fields import (
    ModelType,
    field_kind,
    fields_at,
    is_text,
    split_path,
)
from orchestrator.config.help_text import render
from orchestrator.config.layers import Layer, set_path
from orchestrator.config.storage import storage_error
from orchestrator.config.validate import validate
from orchestrator.config.yaml_values import parse_value, read_yaml

ORIGIN = "the command line"
INTERRUPTED = 130  # 128 + SIGINT, what a shell reports
READER_GONE = 141  # what a shell says of a process that SIGPIPE ended

T = TypeVar("T", bound=BaseModel)


def parse(
    model: type[T], argv: Sequence[str], *, command: str, description: str, examples: Sequence[str]
) -> T:
    """The config that a command line asks for.

    Args:
        model: The command's config model.
        argv: The words after the command.
        command: What the user types, for example "python -m orchestrator.train".
        description: One or two sentences for the top of the help.
        examples: Whole command lines for the end of the help.

    Raises:
        ConfigError: With every mistake of the words, the files and their values.
        SystemExit: With status 0 after printing the help.
    """
    if "--help" in argv or "-h" in argv:
        text = render(model, command=command, description=description, examples=examples)
        sys.stdout.write(text)
        raise SystemExit(0)
    words = _read(model, argv)
    files, mistakes = _read_files(words.files)
    mistakes = [*words.mistakes, *mistakes]
    if len(files) < len(words.files):  # judging values without their file would mislead
        raise ConfigError(*mistakes)
    try:
        config = validate(model, *files, (ORIGIN, words.values))
    except ConfigError as error:
        raise ConfigError(*mistakes, *error.problems) from None
    if mistakes:
        raise ConfigError(*mistakes)
    return config


def run(command_main: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """Run a command's main and turn what the user can act on into a message and exit status.

    Args:
        command_main: Takes the words after the command, returns the exit status.
        argv: These words; None takes them from the process.

    Returns:
        main's own status, 2 for wrong input, 1 for other errors of ours, 130 after Ctrl-C, 141
        where nobody reads the output any more.
        Anything else that is raised is a bug and traces back.
    """
    try:
        return command_main(sys.argv[1:] if argv is None else argv)
    except OrchestratorError as error:
        sys.stderr.write(_message(error))
        return error.exit_status
    except OSError as error:
        if isinstance(
            error, BrokenPipeError
        ):  # whoever read the output, such as `head`, has enough
            # Python flushes stdout once more as it ends, which must not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return READER_GONE
        mendable = storage_error(error)
        if mendable is None:
            raise
        sys.stderr.write(_message(mendable))
        return mendable.exit_status
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED


@dataclass
class _Words:
    """What the words of a command line say, before any value is judged."""

    values: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)


def _read(model: ModelType, argv: Sequence[str]) -> _Words:
    words = _Words()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        try:
            if word.startswith("--") and len(word) > 2:
                _read_option(model, words, word[2:], rest)
            elif "=" in word and not word.startswith("-"):
                _assign(model, words, *word.split("=", 1))
            else:
                words.mistakes.append(_no_assignment(word))
        except ConfigError as error:
            words.mistakes.extend(error.problems)
    return words


def _read_option(model: ModelType, words: _Words, option: str, rest: list[str]) -> None:
    """One `--path value`, `--path=value`, `--flag` or `--config FILE`; takes its value off rest."""
    name, equals, text = option.partition("=")
    if not equals:
        if _is_flag(model, name):
            text = rest.pop(0) if rest and rest[0] in ("true", "false") else "true"
        elif rest and not rest[0].startswith("--"):
            text = rest.pop(0)
        elif name == "config" or _is_known(model, name):
            raise ConfigError(f"--{name}: needs a value; got none. Write --{name} VALUE")
    if name == "config":
        words.files.append(text)
    else:
        _assign(model, words, name, text)


def _assign(model: ModelType, words: _Words, path: str, text: str) -> None:
    keys = split_path(model, path)
    kinds = [field_kind(info) for info in fields_at(model, keys)]
    if kinds and all(is_text(kind) for kind in kinds):
        is_null = text == "null" and any(kind.nullable for kind in kinds)
        value: Any = None if is_null else text
    else:
        try:
            value = parse_value(text)
        except ConfigError as error:
            reason = str(error).partition("; ")[2]
            raise ConfigError(
                f"{path}: must be valid YAML; got {text!r}: {reason}. Close it, or quote it"
            ) from None
    set_path(words.values, keys, value)


def _is_flag(model: ModelType, path: str) -> bool:
    kinds = [field_kind(info) for info in fields_at(model, split_path(model, path))]
    return any(kind.plain == (bool,) for kind in kinds)


def _is_known(model: ModelType, path: str) -> bool:
    return bool(fields_at(model, split_path(model, path)))


def _no_assignment(word: str) -> str:
    if word in ("-", "--") or word.startswith("-"):
        return f"{word}: unknown option. Write path=value, --path value or --help"
    return f"{word}: must be path=value; got a word without '='. See --help for the paths"


def _read_files(files: Sequence[str]) -> tuple[list[Layer], list[str]]:
    layers: list[Layer] = []
    mistakes: list[str] = []
    for file in files:
        try:
            layers.append((f"--config {file}", read_yaml(file)))
        except ConfigError as error:
            mistakes.extend(error.problems)
    return layers, mistakes


def _message(error: OrchestratorError) -> str:
    problems = error.problems if isinstance(error, ConfigError) else (str(error),)
    problems = tuple(map(with_tilde, problems))
    if len(problems) == 1:
        return f"error: {problems[0]}\n"
    lines = "".join(f"  {problem}\n" for problem in problems)
    return f"error: {len(problems)} mistakes\n{lines}"
