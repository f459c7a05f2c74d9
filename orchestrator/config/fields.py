"""What a config model looks like from outside: its sections, variants and dotted paths.

Runs anywhere (PURE). Merging layers, naming mistakes, reading a command line and printing
help all need the same few facts about a pydantic field: which sections it can hold, which
field tells them apart, what else it accepts. They are read off the type here, once.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Discriminator
from pydantic.fields import FieldInfo

ModelType = type[BaseModel]


@dataclass(frozen=True)
class TagOf:
    """Tells variants apart by a key, of which one variant leaves the end open.

    For `Field(discriminator=Discriminator(TagOf("name")))`: a variant whose `name` is a Literal
    is chosen by that word; one whose `name` defaults to "timm:lamb" by any "timm:...".
    """

    key: str

    @property
    def __name__(self) -> str:
        """What pydantic calls a discriminator in its own messages."""
        return self.key

    def __call__(self, value: Any) -> str | None:
        """The tag of a mapping or of a section."""
        tag = value.get(self.key) if isinstance(value, Mapping) else getattr(value, self.key, None)
        return None if tag is None else tag_shape(str(tag))


def tag_shape(tag: str) -> str:
    """What stands for a tag among the variants: "timm:lamb" is a "timm:<name>", "adam" itself."""
    prefix, colon, _ = tag.partition(":")
    return f"{prefix}:<name>" if colon else tag


@dataclass(frozen=True)
class Kind:
    """What a field's type admits.

    Attributes:
        sections: The models it can hold: none for a plain value, several for variants.
        plain: Everything else but null, e.g. `int`, `Literal["a", "b"]`, `tuple[str, ...]`.
        tag: The field that tells the variants apart ("" where there is none).
        nullable: Whether null is accepted.
    """

    sections: tuple[ModelType, ...]
    plain: tuple[Any, ...]
    tag: str
    nullable: bool

    @property
    def variants(self) -> dict[str, ModelType]:
        """Tag value to model, in the order of the type."""
        if not self.tag:
            return {}
        return {
            str(value): section for section in self.sections for value in _tags(section, self.tag)
        }

    def typed(self, tag: str) -> str:
        """A value of the tag that a user can type: for "timm:<name>" that is "timm:lamb"."""
        field = self.variants[tag].model_fields[self.tag]
        return tag if get_args(field.annotation) else str(field.default)

    def variant(self, tag: Any) -> ModelType | None:
        """The model that a value of the tag chooses; None if there is none."""
        return self.variants.get(tag_shape(str(tag)))


def field_kind(field: FieldInfo) -> Kind:
    """What a field admits."""
    return annotation_kind(field.annotation, _tag_key(field.discriminator))


def annotation_kind(annotation: Any, tag: str = "") -> Kind:
    """What an annotation admits; `tag` is the discriminator where the field carries it."""
    members, inner_tag = _members(annotation)
    return Kind(
        sections=tuple(member for member in members if is_section(member)),
        plain=tuple(m for m in members if not is_section(m) and m is not type(None)),
        tag=tag or inner_tag,
        nullable=type(None) in members,
    )


def is_section(annotation: Any) -> bool:
    """Whether an annotation is a model."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def is_mapping(annotation: Any) -> bool:
    """Whether an annotation is a mapping with keys of the user's own."""
    origin = get_origin(annotation) or annotation
    return isinstance(origin, type) and issubclass(origin, Mapping)


def is_text(kind: Kind) -> bool:
    """Whether a field takes nothing but text, so that text needs no interpretation."""
    return bool(kind.plain) and not kind.sections and all(_is_text(plain) for plain in kind.plain)


def default_of(field: FieldInfo) -> Any:
    """A field's default, its factory called; PydanticUndefined where it is required."""
    return field.get_default(call_default_factory=True, validated_data={})


def explicit_values(section: BaseModel) -> dict[str, Any]:
    """What was given when a default section was written, and the tags of its variants."""
    values: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            tag = field_kind(field).tag
            inner = explicit_values(value) | ({tag: getattr(value, tag)} if tag else {})
            values |= {name: inner} if inner else {}
        elif name in section.model_fields_set:
            values[name] = value
    return values


def split_path(model: ModelType, dotted: str) -> tuple[str, ...]:
    """The keys of a dotted path; dashes stand for underscores, a mapping's keys keep dots.

    Args:
        model: The model the path starts at.
        dotted: For example "optimizer.lr" or "axes.optimizer.lr" (two keys if axes is a dict).
    """
    parts = dotted.split(".")
    sections: tuple[ModelType, ...] = (model,)
    keys: list[str] = []
    for index, part in enumerate(parts):
        keys.append(_known_name(sections, part))
        kinds = [field_kind(field) for field in fields_named(sections, keys[-1])]
        sections = tuple(section for kind in kinds for section in kind.sections)
        if not sections:
            rest = parts[index + 1 :]
            holds_mapping = any(is_mapping(plain) for kind in kinds for plain in kind.plain)
            return (*keys, ".".join(rest)) if holds_mapping and rest else (*keys, *rest)
    return tuple(keys)


def fields_at(model: ModelType, keys: Sequence[str]) -> tuple[FieldInfo, ...]:
    """The fields a path can mean: one, or one a variant; none where it is unknown."""
    sections: tuple[ModelType, ...] = (model,)
    found: tuple[FieldInfo, ...] = ()
    for key in keys:
        found = fields_named(sections, key)
        sections = tuple(s for field in found for s in field_kind(field).sections)
    return found


def fields_named(sections: Sequence[ModelType], name: str) -> tuple[FieldInfo, ...]:
    """The fields of that name in any of the sections."""
    return tuple(s.model_fields[name] for s in sections if name in s.model_fields)


def leaf_paths(model: ModelType) -> Iterator[str]:
    """Each dotted path a value can be given at, once, in the order of the model."""
    yield from dict.fromkeys(_leaf_paths(model, ""))


def _leaf_paths(model: ModelType, prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        sections = field_kind(field).sections
        if not sections:
            yield prefix + name
        for section in sections:
            yield from _leaf_paths(section, f"{prefix}{name}.")


def _known_name(sections: Sequence[ModelType], part: str) -> str:
    name = part.replace("-", "_")
    return name if fields_named(sections, name) else part


def _members(annotation: Any) -> tuple[list[Any], str]:
    """The members of a union, flattened, and the discriminator found on the way."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        members, tag = _members(inner)
        here = [_tag_key(m.discriminator) for m in metadata if isinstance(m, FieldInfo)]
        return members, next((key for key in here if key), tag)
    if origin in (Union, types.UnionType):
        parts = [_members(member) for member in get_args(annotation)]
        return [m for members, _ in parts for m in members], next((t for _, t in parts if t), "")
    return [annotation], ""


def _tag_key(discriminator: str | Discriminator | None) -> str:
    """The field that tells variants apart; "" where there is none."""
    if isinstance(discriminator, Discriminator):
        chooser = discriminator.discriminator
        return chooser.key if isinstance(chooser, TagOf) else ""
    return discriminator or ""


def _tags(section: ModelType, tag: str) -> tuple[Any, ...]:
    field = section.model_fields.get(tag)
    if field is None:
        return ()
    return get_args(field.annotation) or (tag_shape(str(field.default)),)


def _is_text(plain: Any) -> bool:
    if get_origin(plain) is Literal:
        return all(isinstance(choice, str) for choice in get_args(plain))
    return isinstance(plain, type) and issubclass(plain, str | Path)
