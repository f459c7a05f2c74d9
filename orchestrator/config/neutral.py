"""Fields that came later, and what a training was before they were there.

Runs anywhere (PURE). A study knows its trainings by a fingerprint of their configuration. A new
field would change all of them and orphan every study on disk; so a field that is added names the
value that says what was done without it, and where it holds that value it does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from orchestrator.config.validate import to_dict


@dataclass(frozen=True)
class Neutral:
    """`Annotated[..., Neutral(0)]`: with 0, all is as it was before the field was there.

    It is no default: a default may change later, this may not.
    """

    value: object


def but_neutral(section: BaseModel) -> dict[str, Any]:
    """A section as plain JSON values, without its fields that hold their neutral value."""
    values = to_dict(section)
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            values[name] = but_neutral(value)
        elif any(isinstance(m, Neutral) and m.value == value for m in field.metadata):
            del values[name]
    return values
