"""The one validating function: files, overrides, sampled values and saved runs go through it.

Runs anywhere (PURE): no torch, no ray. All mistakes are reported at once, each with its dotted
path, the rule, the value and a remedy. A validated config turns into JSON with `to_dict` and
has a `fingerprint`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.config.errors import ConfigError
from orchestrator.config.fields import explicit_values
from orchestrator.config.layers import Layer, merge, set_path
from orchestrator.config.problems import problems
from orchestrator.config.yaml_values import parse_value, read_yaml

__all__ = [
    "Layer",
    "fingerprint",
    "given",
    "parse_value",
    "read_yaml",
    "set_path",
    "to_dict",
    "validate",
]

T = TypeVar("T", bound=BaseModel)


def validate(model: type[T], *layers: Layer) -> T:
    """Merge layers over the model's defaults and check everything.

    Args:
        model: The config model to build.
        layers: (origin, values) pairs, later ones win. Values are nested dicts or have dotted
            keys at their top level. The origin ("the command line") is named with a mistake
            when there are several layers.

    Raises:
        ConfigError: With a line for each mistake of all layers together.
    """
    merged = merge(model, layers)
    try:
        return model.model_validate(merged.tree)
    except ValidationError as error:
        origins = merged.origins if len(layers) > 1 else {}
        raise ConfigError(*problems(model, error, origins)) from None


def to_dict(model: BaseModel) -> dict[str, Any]:
    """A config as plain JSON values; validating it again gives an equal config."""
    return model.model_dump(mode="json")


def given(model: BaseModel) -> dict[str, Any]:
    """What was given of a config, without the defaults that filled it up.

    As a layer below others this lets a variant that is chosen later keep its own defaults;
    `to_dict` would carry the old variant's defaults over (adam's weight decay to adamw).
    """
    return explicit_values(model)


def fingerprint(mapping: Mapping[str, Any]) -> str:
    """The sha256 (64 hex digits) of a mapping's canonical JSON.

    The same for any order of keys, for tuples and lists, paths and their text, and for numbers
    of equal value (1 and 1.0, -0.0 and 0); true and 1 differ, and so do "1" and 1.

    Raises:
        ValueError: For NaN and infinity.
        TypeError: For values JSON has no form for.
    """
    canonical = json.dumps(
        _canonical(mapping), sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _canonical(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(entry) for entry in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return str(value) if isinstance(value, PurePath) else value
