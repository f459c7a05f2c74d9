"""What every part of a configuration is: a frozen section whose types do not guess.

Runs anywhere (PURE). Pydantic's lax mode is wanted for text from a command line ("10" is a
count, "3e-4" a number), but it also takes true for 1, 1 or "yes" for true, and NaN for a
number. A `Section` refuses these in every field, however deep the type is nested.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from orchestrator.config.address import absolute_address, expanded

Number = Annotated[float, Field(allow_inf_nan=False)]
"""A finite number; 3, "3e-4" and 0.5 are numbers, true and NaN are not."""

Whole = Annotated[int, Field()]
"""A whole number of either sign; "10" and 10.0 are whole, 1.5 and true are not."""

Count = Annotated[int, Field(ge=1)]
"""A whole number >= 1; a field may give another bound: `Annotated[Count, Field(ge=0)]`."""

Flag = Annotated[bool, Field()]
"""true or false, or these words as text; not 1, 0, "yes" or "on"."""


def _no_address(path: str) -> str:
    if "://" in path:
        raise ValueError(
            f"must be a path on this machine or a mounted file system; got {path!r}. Copy what lies "
            "in an object store to a disk first"
        )
    return expanded(path)


LocalPath = Annotated[str, Field(min_length=1), AfterValidator(_no_address)]
"""A path; an address such as s3://... would quietly become a local folder `s3:`."""


def _known_address(path: str) -> str:
    absolute_address(path)
    return expanded(path)


StoragePath = Annotated[str, Field(min_length=1), AfterValidator(_known_address)]
"""A path, or the address of a folder in an object store (`address.SCHEMES`)."""


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[\w.-]*", name) or name in (".", ".."):
        raise ValueError(
            "must be the name of one folder, of letters, digits, '_', '-' and '.', and neither "
            f"'.' nor '..'; got {name!r}"
        )
    return name


FolderName = Annotated[str, AfterValidator(_folder_name)]
"""The name of a folder inside another one, or nothing."""


def _guarded(node: Any) -> Any:
    """The same core schema with look-alikes refused wherever a number or flag is read."""
    if isinstance(node, list):
        return type(node)(_guarded(child) for child in node)
    if isinstance(node, tuple):
        return type(node)(_guarded(child) for child in node)
    if not isinstance(node, dict) or _is_guard(node):
        return node
    guarded: Any = {
        # A default or metadata may be a dict of the user's that looks like a schema.
        key: child if key in ("default", "metadata", "serialization") else _guarded(child)
        for key, child in node.items()
    }
    refuse = _GUARDS.get(str(node.get("type")))
    return core_schema.no_info_before_validator_function(refuse, guarded) if refuse else guarded


def _is_guard(node: dict[str, Any]) -> bool:
    """Whether a nested section has been guarded already."""
    function = node.get("function")
    return isinstance(function, dict) and function.get("function") in _GUARDS.values()


def _refuse_for_float(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticKnownError("float_type")
    return value


def _refuse_for_int(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        raise PydanticKnownError("int_type")
    return value


def _refuse_for_bool(value: Any) -> Any:
    if isinstance(value, bool) or str(value).strip().lower() in ("true", "false"):
        return value
    raise PydanticKnownError("bool_type")


_GUARDS = {"float": _refuse_for_float, "int": _refuse_for_int, "bool": _refuse_for_bool}


# Last, because pydantic builds a schema, guards included, while a class is being defined.
class Section(BaseModel):
    """A frozen group of fields that refuses unknown keys and look-alike values."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Pydantic's schema of the section, with a guard before each int, float and bool."""
        return _guarded(handler(source))
