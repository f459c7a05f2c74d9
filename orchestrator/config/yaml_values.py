"""YAML without its traps: what a file or a command line says is what the config gets.

Runs anywhere (PURE). PyYAML follows YAML 1.1, where 3e-4 is text, 010 is eight, `no` is false,
1:30 is ninety and 2024-01-01 a date, and where a key given twice silently wins. Here scalars
follow YAML 1.2 (null, true, false, decimal numbers, else text), `<<` is a key like any other
(PyYAML 6.0.4 merges a merged mapping wrongly) and a key given twice is an error with both lines.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from orchestrator.config.address import expanded
from orchestrator.config.errors import ConfigError

_SCALARS = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
)
_MAX_DIGITS = 4300  # Python refuses longer ones; nobody means them


def read_yaml(path: Path | str) -> dict[str, Any]:
    """The mapping in a YAML file, at a path or address; an empty file is an empty mapping.

    Raises:
        ConfigError: If the file cannot be read, is not YAML, gives a key twice, or holds
            something else than a mapping; with the line.
    """
    try:
        text = _read(str(path)).decode()
    except FileNotFoundError:
        raise ConfigError(f"{path}: must be a YAML file; it does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: bytes that are no UTF-8, a NUL in a name
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: must be a readable YAML file; {reason}") from None
    tree = _load(text, str(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}:1: must hold keys and values; got {type(tree).__name__}")
    return tree


def _read(place: str) -> bytes:
    if "://" not in place:
        return Path(expanded(place)).read_bytes()
    # With pyarrow: only for an object store.
    from orchestrator.config.folder import folder
    from orchestrator.config.object_store import Store

    above, _, name = place.rpartition("/")
    return Store(folder(above, "--config")).read(name)


def parse_value(text: str) -> Any:
    """The value a word of the command line stands for.

    Numbers, true, false and null are themselves; `[a, b]`, `{a: 1}` and quoted text are read as
    YAML; anything else is plain text (so `a: b`, `x #1` and `*.jpg` stay as typed).

    Raises:
        ConfigError: If a list, map or quote does not close.
    """
    stripped = text.strip()
    if stripped[:1] in ("[", "{", "'", '"'):
        return _load(stripped, "value")
    loader = _Loader("")
    tag = loader.resolve(yaml.ScalarNode, stripped, (True, False))  # type: ignore[no-untyped-call]
    value = loader.construct_object(yaml.ScalarNode(tag, stripped))
    return text if isinstance(value, str) else value


def _load(text: str, name: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{name}{line}: must be valid YAML; {what}") from None
    except (yaml.YAMLError, RecursionError) as error:
        what = str(error).splitlines()[0]
        raise ConfigError(f"{name}: must be valid YAML; {what}") from None


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2 and unique keys."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own protocol

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """The mapping as written, unless a key occurs twice."""
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in lines:
                raise yaml.composer.ComposerError(
                    problem=f"key '{key.value}' is given twice, first on line {lines[key.value]}. "
                    "Delete one of them",
                    problem_mark=key.start_mark,
                )
            lines[key.value] = key.start_mark.line + 1
        return node


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    if len(text) > _MAX_DIGITS:
        raise yaml.constructor.ConstructorError(
            problem=f"a number of {len(text)} digits", problem_mark=node.start_mark
        )
    return int(text)


for _tag, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
