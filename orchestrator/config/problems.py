"""Pydantic's validation errors in our words: dotted path, rule, value, remedy.

Runs anywhere (PURE). `RULES` is the one table of wording. Pydantic puts more than the path
into an error's location (the tag of a variant, the name of a union's member): walking the
model along the location finds what the user would have typed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from orchestrator.config.fields import (
    Kind,
    ModelType,
    annotation_kind,
    field_kind,
    is_mapping,
    leaf_paths,
)

REQUIRED = "is required"
NUMBER, WHOLE, FLAG = "must be a number", "must be a whole number", "must be true or false"
TEXT, LIST, SECTION = "must be text", "must be a list", "must be a section of keys"
RULES: Mapping[str, str] = {
    "greater_than": "must be > {gt}",
    "greater_than_equal": "must be >= {ge}",
    "less_than": "must be < {lt}",
    "less_than_equal": "must be <= {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "must be a finite number",
    "float_type": NUMBER,
    "float_parsing": NUMBER,
    "int_type": WHOLE,
    "int_parsing": WHOLE,
    "int_parsing_size": WHOLE,
    "int_from_float": WHOLE,
    "bool_type": FLAG,
    "bool_parsing": FLAG,
    "string_type": TEXT,
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "path_type": "must be a path",
    "list_type": LIST,
    "tuple_type": LIST,
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "dict_type": SECTION,
    "mapping_type": SECTION,
    "model_type": SECTION,
    "model_attributes_type": SECTION,
    "none_required": "must be null",
    "invalid_key": "keys must be text",
    "recursion_loop": "must not contain itself",
}
_LONGEST_VALUE = 80
_HOUSE_FORM = re.compile(r"^([A-Za-z_]\w*)[\w.\[\]-]*: ")


def problems(
    model: ModelType, error: ValidationError, origins: Mapping[tuple[Any, ...], str]
) -> tuple[str, ...]:
    """Each mistake as one line, in the order of the model.

    Args:
        model: The model that was validated.
        error: What pydantic found.
        origins: The layer that gave each key; empty if there is nothing to tell apart.
    """
    own_rules: dict[str, tuple[Any, ...]] = {}
    found: dict[tuple[Any, ...], list[_Problem]] = {}
    for details in error.errors(include_url=False):
        place = _locate(model, details["loc"])
        if details["type"] in ("value_error", "assertion_error"):
            own_rules |= dict.fromkeys(_own_words(place, details), place.path)
        elif not _is_echo(details):
            problem = _problem(model, place, details)
            found.setdefault(problem.path, []).append(problem)
    # Of a union's members, the one that got further into the value is the one that was meant.
    inner = {path[:end] for path in found for end in range(len(path))} | set(own_rules.values())
    lines = [_line(same_path, origins) for path, same_path in found.items() if path not in inner]
    return (*lines, *own_rules)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remedy: the nearest of the known words, else all of them."""
    names = list(known)
    choices = f"Choose from: {', '.join(names)}" if names else ""
    return _near(word, names) or choices


def shown(value: Any) -> str:
    """A value as a user would write it, not too long for a line."""
    words = {True: "true", False: "false", None: "null"}
    if isinstance(value, bool) or value is None:
        return words[value]
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def tidy(bound: Any) -> Any:
    """A number without a needless `.0`: pydantic gives bounds of numbers as floats."""
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def printable(text: str) -> str:
    """A text on one line, line breaks and terminal codes in it spelled out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def dotted(path: Sequence[Any]) -> str:
    """A path as a user would type it: `fractions[1]`, `optimizer.lr`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".") or "configuration"


@dataclass(frozen=True)
class _Problem:
    path: tuple[Any, ...]
    rule: str
    remedy: str = ""
    got: str = ""


@dataclass(frozen=True)
class _Place:
    """Where an error's location leads: the path, and the section around its last key."""

    path: tuple[Any, ...] = ()
    kind: Kind = field(default_factory=lambda: annotation_kind(None))
    owner: ModelType | None = None
    owner_path: tuple[Any, ...] = ()
    owner_kind: Kind | None = None  # of the field that holds the owner: its other variants
    is_key: bool = False


def _locate(model: ModelType, loc: Sequence[int | str]) -> _Place:
    place = _Place(kind=annotation_kind(model), owner=model)
    for segment in loc:
        place = _step(place, segment)
    return place


def _step(place: _Place, segment: int | str) -> _Place:
    """One segment further; a variant's tag or a union member's name adds nothing to the path."""
    kind = place.kind
    if len(kind.sections) + len(kind.plain) > 1:
        return _into_member(place, segment)
    if kind.sections:
        (section,) = kind.sections
        holder = place.owner_kind if place.owner_path == place.path else kind
        info = section.model_fields.get(str(segment))
        inner = field_kind(info) if info else annotation_kind(None)
        return _Place((*place.path, str(segment)), inner, section, place.path, holder)
    if segment == "[key]":
        return _Place(place.path, kind, place.owner, place.owner_path, place.owner_kind, True)
    path = (*place.path, segment)
    return _Place(path, _entry_kind(kind, segment), place.owner, place.owner_path, place.owner_kind)


def _into_member(place: _Place, label: int | str) -> _Place:
    kind = place.kind
    start, _, inside = str(label).lower().partition("[")  # range, list[int], function-after[f, x]
    named = {_name(member): member for member in (*kind.sections, *kind.plain)}
    words = [start, inside.removesuffix("]").rpartition(" ")[2]]
    member = next((named[word] for word in words if word in named), None)
    chosen = kind.variants.get(str(label), member)
    return _Place(place.path, annotation_kind(chosen), place.owner, place.path, kind)


def _name(member: Any) -> str:
    return str(getattr(get_origin(member) or member, "__name__", "")).lower()


def _entry_kind(kind: Kind, segment: int | str) -> Kind:
    """What a list's or mapping's entry admits."""
    arguments = [a for plain in kind.plain for a in get_args(plain) if a is not ...]
    if not arguments:
        return annotation_kind(None)
    if is_mapping(kind.plain[0]):
        return annotation_kind(arguments[-1])
    position = segment if isinstance(segment, int) and segment < len(arguments) else 0
    return annotation_kind(arguments[position])


def _is_echo(details: ErrorDetails) -> bool:
    """Whether pydantic calls a list too short only because it dropped bad entries from it."""
    value = details.get("input")
    return (
        details["type"] == "too_short"
        and isinstance(value, list | tuple | dict)
        and len(value) >= details["ctx"]["min_length"]
    )


def _problem(model: ModelType, place: _Place, details: ErrorDetails) -> _Problem:
    kind, value, path = details["type"], details.get("input"), place.path
    if kind == "missing":  # the input is what surrounds the gap
        if isinstance(path[-1], int):
            return _Problem(path[:-1], "has too few entries", got=shown(value))
        return _Problem(path, REQUIRED, _how_to_give(place))
    got = shown(value)
    if kind == "extra_forbidden":
        return _unknown_key(model, place)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _bad_tag(place, details)
    if kind == "literal_error":
        choices = _choices(place.kind) or [details["ctx"]["expected"]]
        return _Problem(path, f"must be {_one_of(choices)}", _near(value, choices), got)
    if place.is_key:
        return _Problem(path, "keys must be text", got=got)
    context = {key: tidy(given) for key, given in details.get("ctx", {}).items()}
    rule = RULES[kind].format(**context) if kind in RULES else details["msg"]
    rule = "must not be empty" if context.get("min_length") == 1 else rule
    return _Problem(path, rule, _remedy(place, rule, value), got)


def _how_to_give(place: _Place) -> str:
    known = place.owner.model_fields.get(str(place.path[-1])) if place.owner else None
    meaning = f" ({known.description})" if known and known.description else ""
    return f"Set {dotted(place.path)}=VALUE{meaning}"


def _unknown_key(model: ModelType, place: _Place) -> _Problem:
    key = str(place.path[-1])
    return _Problem(place.path, "unknown key", _where_it_belongs(model, place, key))


def _where_it_belongs(model: ModelType, place: _Place, key: str) -> str:
    """The remedy for an unknown key: another variant's, another section's, or a slip."""
    holder = place.owner_kind
    if holder and holder.tag:
        tag_path = dotted((*place.owner_path, holder.tag))
        having = [
            holder.typed(tag)
            for tag, section in holder.variants.items()
            if key in section.model_fields
        ]
        if having:
            return f"Only {' or '.join(f'{tag_path}={tag}' for tag in having)} has it"
    own = list(place.owner.model_fields) if place.owner else []
    paths = list(leaf_paths(model))
    leaves = [path.rpartition(".")[2] for path in paths]
    near_elsewhere = difflib.get_close_matches(key, leaves, n=1)
    if key in leaves or (near_elsewhere and not _near(key, own)):
        leaf = key if key in leaves else near_elsewhere[0]
        named = [path for path, last in zip(paths, leaves, strict=True) if last == leaf]
        return f"Did you mean {' or '.join(repr(path) for path in named)}?"
    return did_you_mean(key, own)


def _bad_tag(place: _Place, details: ErrorDetails) -> _Problem:
    choices = list(place.kind.variants)
    rule = f"must be {_one_of(choices)}"
    path = (*place.path, place.kind.tag)
    if details["type"] == "union_tag_not_found":
        return _Problem(path, f"{REQUIRED} and {rule}")
    value = details["input"]  # pydantic's own word for the tag is its shape: "tim:<name>"
    tag = value.get(place.kind.tag) if isinstance(value, Mapping) else details["ctx"]["tag"]
    return _Problem(path, rule, _near(tag, [*map(place.kind.typed, choices)]), shown(tag))


def _choices(kind: Kind) -> list[str]:
    literals = [plain for plain in kind.plain if get_origin(plain) is Literal]
    return [str(choice) for literal in literals for choice in get_args(literal)]


def _one_of(choices: Sequence[str]) -> str:
    return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"


def _near(value: Any, choices: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(value), choices, n=1)
    return f"Did you mean '{near[0]}'?" if near else ""


def _remedy(place: _Place, rule: str, value: Any) -> str:
    path = dotted(place.path)
    if rule == LIST:
        return f"Write {path}=[{value}]" if isinstance(value, str | int | float) else ""
    if rule == TEXT and isinstance(value, bool | int | float):
        return "Put it in quotes"
    if rule == SECTION and place.kind.sections:
        key = place.kind.tag or next(iter(place.kind.sections[0].model_fields), "key")
        return f"Give its keys, e.g. {path}.{key}={value if place.kind.tag else 'VALUE'}"
    return ""


def _own_words(place: _Place, details: ErrorDetails) -> list[str]:
    """What a rule of ours raised: its message in house form, its path made whole."""
    lines = str(details.get("ctx", {}).get("error", details["msg"])).splitlines()
    return [_placed(place, line) for line in lines if line]


def _placed(place: _Place, line: str) -> str:
    """A line that names its field below the section, or names none, with the full path."""
    section = place.kind.sections[0] if len(place.kind.sections) == 1 else None
    base = place.path if section else place.owner_path
    owner = section or place.owner
    named = _HOUSE_FORM.match(line)
    if named and owner and named[1] in owner.model_fields:
        return f"{dotted(base)}.{line}" if base else line
    shown_path = dotted(place.path)
    return line if named and line.startswith(shown_path) else f"{shown_path}: {line}"


def _line(same_path: Sequence[_Problem], origins: Mapping[tuple[Any, ...], str]) -> str:
    """One line for a path; the members of a union each had their say."""
    first = same_path[0]
    rules = dict.fromkeys(problem.rule for problem in same_path)
    rule = " or ".join([first.rule, *(r.removeprefix("must be ") for r in list(rules)[1:])])
    origin = _origin(first, origins)
    got = f"; got {first.got}" if first.got else ""
    remedy = next((problem.remedy for problem in same_path if problem.remedy), "")
    ending = f". {remedy}" if remedy else ""
    return printable(f"{dotted(first.path)}: {rule}{got}{origin}{ending}")


def _origin(problem: _Problem, origins: Mapping[tuple[Any, ...], str]) -> str:
    if problem.rule.startswith(REQUIRED):
        return ""
    prefixes = (problem.path[:end] for end in range(len(problem.path), 0, -1))
    origin = next((origins[prefix] for prefix in prefixes if prefix in origins), "")
    return f" (from {origin})" if origin else ""
