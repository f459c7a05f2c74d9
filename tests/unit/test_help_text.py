from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from orchestrator.config.help_text import WIDTH, render
from orchestrator.config.section import Count, Flag, Number, Section


class Sgd(Section):
    """Plain descent.

    More that the help leaves out.
    """

    name: Literal["sgd"] = "sgd"
    lr: Annotated[Number, Field(gt=0, description="learning rate")] = 0.1
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9


class Adam(Section):
    """Moments."""

    name: Literal["adam"] = "adam"
    lr: Annotated[Number, Field(gt=0)] = 0.001


class Deep(Section):
    """Below the data."""

    a_field_with_quite_a_long_name_px: Count = 96


class Data(Section):
    """Which faces."""

    root: Path
    deep: Deep = Deep()


class Toy(Section):
    data: Data
    optimizer: Annotated[Sgd | Adam, Field(discriminator="name")] = Adam(lr=0.5)
    epochs: Annotated[Count, Field(ge=0, le=100, description="passes " * 30)] = 20
    precision: Literal["auto", "fp32"] = "auto"
    slots: Annotated[int, Field(ge=1)] | None = None
    name: Annotated[str, Field(pattern="^[a-z]+$")] = ""
    dry_run: Flag = False
    classes: Annotated[tuple[str, ...], Field(min_length=2)] = ("anger", "fear")
    fractions: tuple[Number, Number] = (0.5, 1.0)
    options: dict[str, str | int] = Field({})


@pytest.fixture(scope="module")
def text():
    return render(
        Toy,
        command="python -m toy",
        description="A toy that trains nothing at all.",
        examples=["python -m toy epochs=3", "python -m toy --dry-run"],
    )


def about(text, path):
    """The words beside a path, up to the next path or blank line."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:1] == [path])
    words = [lines[start].strip().removeprefix(path)]
    for line in lines[start + 1 :]:
        if not line.startswith(" " * 10):
            break
        words.append(line.strip())
    return " ".join(words).strip()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("precision", "auto | fp32; default auto"),
        ("slots", "whole number >= 1, or null; default null"),
        ("name", "text matching ^[a-z]+$; default ''"),
        ("dry_run", "true or false; default false"),
        ("classes", "list of text, at least 2 long; default [anger, fear]"),
        ("fractions", "list of 2 × number; default [0.5, 1]"),
        ("options", "map of keys to text or whole number; default {}"),
        ("data.root", "path; required"),
        ("data.deep.a_field_with_quite_a_long_name_px", "whole number >= 1; default 96"),
        ("optimizer.name", "sgd | adam; default adam"),
        ("optimizer.lr", "number > 0; default 0.1 learning rate"),
        ("optimizer.momentum", "number >= 0, < 1; default 0.9"),
    ],
)
def test_a_field_shows_its_type_bounds_default_and_meaning(text, path, expected):
    assert about(text, path) == expected


def test_a_bound_given_again_replaces_the_types_own(text):
    assert about(text, "epochs").startswith("whole number >= 0, <= 100; default 20 passes passes")


def test_sections_carry_the_first_line_of_their_docstring(text):
    assert "  data: Which faces.\n" in text
    assert "  data.deep: Below the data.\n" in text
    assert "leaves out" not in text


def test_each_variant_shows_its_own_fields_and_the_effective_defaults(text):
    sgd, adam = text.split("with optimizer.name=sgd: Plain descent.\n")[1].split(
        "with optimizer.name=adam: Moments.\n"
    )
    assert "optimizer.momentum" in sgd
    assert "optimizer.momentum" not in adam
    assert about(adam, "optimizer.lr") == "number > 0; default 0.5"


def test_the_help_begins_with_the_usage_and_ends_with_the_examples(text):
    assert text.startswith("usage: python -m toy [--config FILE] [path=value ...]\n\nA toy")
    assert text.endswith("Examples:\n  python -m toy epochs=3\n  python -m toy --dry-run\n")


def test_the_help_fits_its_columns_and_has_no_terminal_codes(text):
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "\x1b" not in text
