"""What `--help` prints: every field with its path, type, bounds, default and meaning.

Runs anywhere (PURE). It is read off the models, so it cannot differ from what is validated.
Plain text in 100 columns, without terminal codes; the order is the models' own. A field that
holds one of several variants (optimizer.name = sgd, adam, ...) shows each with its own fields.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any, Literal, get_args, get_origin

import annotated_types as at
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from orchestrator.config.fields import (
    Kind,
    ModelType,
    annotation_kind,
    default_of,
    field_kind,
    is_mapping,
)
from orchestrator.config.problems import shown, tidy

WIDTH = 100  # columns
_PATH_WIDTH = 30  # columns of the path before the explanation starts
_WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text"}
_BOUNDS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="), ("multiple_of", "multiple of"))
_USAGE = (
    "Fields are given as path=value, --path value or --path=value; a true/false field also as "
    "--path. Lists are written [a, b], nothing is written null. --config FILE reads a YAML file "
    "with the same fields; what the command line gives wins. All mistakes are reported at once."
)


def render(model: ModelType, *, command: str, description: str, examples: Sequence[str]) -> str:
    """The whole help of a command, ending in a newline.

    Args:
        model: The command's config model.
        command: What the user types, for example "python -m orchestrator.train".
        description: One or two sentences on what the command does.
        examples: Whole command lines, printed as they are.
    """
    lines = [
        f"usage: {command} [--config FILE] [path=value ...]",
        "",
        *_wrapped(description, ""),
        "",
        *_wrapped(_USAGE, ""),
        "",
        "Fields:",
        *_fields(model, "", None),
        "",
        "Examples:",
        *(f"  {example}" for example in examples),
    ]
    return "\n".join(lines) + "\n"


def _fields(
    model: ModelType, prefix: str, default: BaseModel | None, tag: str = ""
) -> Iterator[str]:
    """The plain fields of a section but its tag, then its sections, each below a heading."""
    kinds = {n: field_kind(info) for n, info in model.model_fields.items() if n != tag}
    for name, kind in kinds.items():
        if not kind.sections:
            info = model.model_fields[name]
            yield from _entry(prefix + name, kind, info, _default(info, name, default))
    for name, kind in kinds.items():
        if kind.sections:
            info = model.model_fields[name]
            yield from _section(prefix + name, kind, info, _default(info, name, default))


def _default(info: FieldInfo, name: str, section: BaseModel | None) -> Any:
    """A field's effective default: the surrounding default section may set its own."""
    return getattr(section, name) if section is not None else default_of(info)


def _section(path: str, kind: Kind, info: FieldInfo, default: Any) -> Iterator[str]:
    yield ""
    if len(kind.sections) == 1 and not kind.tag:
        (section,) = kind.sections
        yield from _wrapped(f"{path}: {info.description or _first_line(section)}", "  ")
        yield from _fields(section, f"{path}.", default if type(default) is section else None)
        return
    tag = f"{path}.{kind.tag}" if kind.tag else path
    choices = " | ".join(kind.variants or [section.__name__ for section in kind.sections])
    chosen = getattr(default, kind.tag, None) if kind.tag else None
    ending = f"default {chosen}" if chosen else _default_text(default)
    about = info.description or "one of these variants, each with its own fields"
    yield from _wrapped(f"{path}: {about}", "  ")
    yield from _columns(tag, f"{choices}; {ending}")
    for value, section in kind.variants.items():
        yield from ("", *_wrapped(f"with {tag}={value}: {_first_line(section)}", "  "))
        own = default if type(default) is section else None
        yield from _fields(section, f"{path}.", own, kind.tag)


def _entry(path: str, kind: Kind, info: FieldInfo, default: Any) -> Iterator[str]:
    about = f"{_type_text(kind, info)}; {_default_text(default)}"
    yield from _columns(path, about, info.description or "")


def _columns(path: str, about: str, description: str = "") -> Iterator[str]:
    indent = " " * (_PATH_WIDTH + 4)
    first, *more = _wrapped(about, indent)
    if len(path) > _PATH_WIDTH:
        yield f"  {path}"
        yield first
    else:
        yield f"  {path:<{_PATH_WIDTH}}  {first.strip()}"
    yield from more
    yield from _wrapped(description, indent)


def _type_text(kind: Kind, info: FieldInfo) -> str:
    words = [_word(plain) for plain in kind.plain]
    text = " or ".join(dict.fromkeys(words)) + _bounds([*_nested_metadata(info), *info.metadata])
    return f"{text}, or null" if kind.nullable else text


def _word(plain: Any) -> str:
    """A type in words."""
    origin, arguments = get_origin(plain), get_args(plain)
    if origin is Literal:
        return " | ".join(str(choice) for choice in arguments)
    if is_mapping(plain):
        return "map of keys to " + (_any_of(arguments[-1]) if arguments else "values")
    if origin in (list, tuple):
        entries = [a for a in arguments if a is not ...]
        size = f"{len(entries)} × " if origin is tuple and ... not in arguments else ""
        return f"list of {size}{_any_of(entries[0])}" if entries else "list"
    if isinstance(plain, type) and issubclass(plain, PurePath):
        return "path"
    return _WORDS.get(plain, getattr(plain, "__name__", str(plain)))


def _any_of(annotation: Any) -> str:
    kind = annotation_kind(annotation)
    members = [*(s.__name__ for s in kind.sections), *map(_word, kind.plain)]
    return " or ".join([*dict.fromkeys(members), *(["null"] if kind.nullable else [])])


def _nested_metadata(info: FieldInfo) -> list[Any]:
    """Bounds inside a union's members: `Annotated[int, Field(ge=1)] | None`."""
    found: list[Any] = []
    for member in get_args(info.annotation):
        for extra in getattr(member, "__metadata__", ()):
            found.extend(extra.metadata if isinstance(extra, FieldInfo) else [extra])
    return found


def _bounds(metadata: Sequence[Any]) -> str:
    """Bounds in words; a later one of a kind replaces an earlier one, as in pydantic."""
    found: dict[str, str] = {}
    for extra in metadata:
        for name, sign in _BOUNDS:
            bound = getattr(extra, name, None)
            if bound is not None:
                found[name] = f"{sign} {tidy(bound)}"
        if isinstance(extra, at.MinLen) and extra.min_length > 1:
            found["min"] = f"at least {extra.min_length} long"
        if isinstance(extra, at.MaxLen):
            found["max"] = f"at most {extra.max_length} long"
        if getattr(extra, "pattern", None):
            found["pattern"] = f"matching {extra.pattern}"
    text = ", ".join(found.values())
    return f", {text}" if text.startswith("at ") else f" {text}".rstrip()


def _default_text(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, str | PurePath):
        return f"default {str(default) or repr('')}"
    if isinstance(default, tuple | list):
        return f"default [{', '.join(str(tidy(entry)) for entry in default)}]"
    return f"default {shown(tidy(default))}"


def _first_line(section: ModelType) -> str:
    return (section.__doc__ or section.__name__).strip().splitlines()[0]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
