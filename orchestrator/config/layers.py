"""Layers of configuration into one tree: defaults below files below the command line.

Runs anywhere (PURE). Later layers win key by key. Two things need the model: a dotted key
(`optimizer.lr`) becomes keys below each other, and where a later layer chooses another variant
(optimizer.name=adam over a file written for sgd) the keys that only the old variant has are
dropped. Keys given in the layer that chooses, or later, stay and are judged.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from orchestrator.config.errors import ConfigError
from orchestrator.config.fields import (
    Kind,
    ModelType,
    default_of,
    explicit_values,
    field_kind,
    fields_named,
    is_mapping,
    split_path,
)
from orchestrator.config.problems import printable, shown

Layer = tuple[str, Mapping[str, Any]]
"""Where values come from ("the command line", "--config my.yaml") and the values: nested,
or with dotted keys at the top level, or both."""

Keys = tuple[Any, ...]


@dataclass
class Merged:
    """All layers as one tree, and the layer that gave each key last."""

    tree: dict[str, Any] = field(default_factory=dict)
    origins: dict[Keys, str] = field(default_factory=dict)


def merge(model: ModelType, layers: Sequence[Layer]) -> Merged:
    """Lay layers over each other, and the model's default sections below them.

    Raises:
        ConfigError: If one layer gives both a value and keys below it.
    """
    merged = Merged()
    for origin, values in layers:
        nested = _nested(model, values)
        merged.tree = _overlay((model,), merged.tree, nested)
        _note(merged.origins, (model,), nested, origin, ())
    merged.tree = _with_default_sections(model, merged.tree)
    return merged


def set_path(tree: MutableMapping[str, Any], path: str | Sequence[str], value: Any) -> None:
    """Set a value at a dotted path (or a sequence of keys) in place, making dicts on the way.

    Raises:
        ConfigError: If a key is empty or a value lies where a dict is needed.
    """
    keys = path.split(".") if isinstance(path, str) else list(path)
    dotted = printable(".".join(map(str, keys)))
    if not all(keys):
        raise ConfigError(f"{dotted or 'path'}: must be keys joined by dots; got {dotted!r}")
    here: MutableMapping[str, Any] = tree
    for index, key in enumerate(keys[:-1]):
        below = here.setdefault(key, {})
        if not isinstance(below, MutableMapping):
            taken = printable(".".join(map(str, keys[: index + 1])))
            raise ConfigError(
                f"{dotted}: cannot lie below {taken}; {taken} is given as {shown(below)}. "
                "Give one of the two"
            )
        here = below
    here[keys[-1]] = value


def _nested(model: ModelType, values: Mapping[str, Any]) -> dict[str, Any]:
    """One layer with its dotted keys unfolded; the given mapping is left alone.

    Dotted keys come last, so that one of them changes the section beside it, not the reverse.
    """
    paths = {key: split_path(model, key) for key in values if isinstance(key, str) and key}
    nested = copy.deepcopy({k: v for k, v in values.items() if paths.get(k, (k,)) == (k,)})
    for key, path in paths.items():
        if path != (key,):
            set_path(nested, path, copy.deepcopy(values[key]))
    return nested


def _overlay(
    sections: Sequence[ModelType], lower: Mapping[str, Any], upper: Mapping[str, Any]
) -> dict[str, Any]:
    """The upper tree over the lower one: sections and mappings key by key, the rest whole."""
    merged = dict(lower)
    for key, value in upper.items():
        found = fields_named(sections, key)
        if isinstance(value, Mapping) and _has_keys(found):
            given = lower.get(key)
            below: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
            below = _without_stale(found[0], field_kind(found[0]), below, value)
            merged[key] = _overlay(_sections_of(found), below, value)
        else:
            merged[key] = value
    return merged


def _has_keys(found: Sequence[FieldInfo]) -> bool:
    """Whether a field holds a section or a mapping."""
    plain = [plain for info in found for plain in field_kind(info).plain]
    return bool(_sections_of(found)) or any(is_mapping(one) for one in plain)


def _sections_of(found: Sequence[FieldInfo]) -> tuple[ModelType, ...]:
    return tuple(section for info in found for section in field_kind(info).sections)


def _without_stale(
    info: FieldInfo, kind: Kind, lower: Mapping[str, Any], upper: Mapping[str, Any]
) -> dict[str, Any]:
    """The lower keys without those that only the variant left behind has."""
    old = kind.variant(lower.get(kind.tag, _default_tag(info, kind)))
    new = kind.variant(upper.get(kind.tag))
    if old is None or new is None or old is new:
        return dict(lower)
    stale = set(old.model_fields) - set(new.model_fields)
    return {key: value for key, value in lower.items() if key not in stale}


def _default_tag(info: FieldInfo, kind: Kind) -> Any:
    return getattr(default_of(info), kind.tag, None) if kind.tag else None


def _with_default_sections(model: ModelType, tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with each section's default below what was given for a part of it.

    Without this, `optimizer.lr=1` alone would lose the default optimizer's name and its values.
    """
    filled = dict(tree)
    for name, info in model.model_fields.items():
        kind = field_kind(info)
        value = tree.get(name, {} if info.is_required() and len(kind.sections) == 1 else None)
        if kind.sections and isinstance(value, Mapping):
            filled[name] = _with_default(info, kind, value)
    return filled


def _with_default(info: FieldInfo, kind: Kind, value: Mapping[str, Any]) -> dict[str, Any]:
    default = default_of(info)
    tag = value.get(kind.tag, _default_tag(info, kind)) if kind.tag else None
    section = kind.variant(tag) if kind.tag else kind.sections[0]
    if section is None or (not kind.tag and len(kind.sections) > 1):
        return dict(value)
    if isinstance(default, BaseModel) and type(default) is section:
        given = explicit_values(default) | ({kind.tag: tag} if kind.tag else {})
        value = _overlay((section,), given, value)
    return _with_default_sections(section, value)


def _note(
    origins: dict[Keys, str],
    sections: Sequence[ModelType],
    values: Mapping[str, Any],
    origin: str,
    prefix: Keys,
) -> None:
    """Remember which layer gave each key of each section."""
    for key, value in values.items():
        origins[*prefix, key] = origin
        found = fields_named(sections, key)
        if isinstance(value, Mapping) and _has_keys(found):
            _note(origins, _sections_of(found), value, origin, (*prefix, key))
