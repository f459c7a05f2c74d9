from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Literal

import pytest

import datasets


@dataclass(frozen=True)
class Options:
    count: int = field(default=3, metadata={"at_least": 1, "at_most": 9})
    share: float = 0.5
    strict: bool = False
    name: str = ""
    endings: tuple[str, ...] = (".png",)
    domain: Literal["study", "production"] = "study"


ADAPTER = SimpleNamespace(Options=Options)


def test_text_from_a_command_line_becomes_the_type_of_the_field():
    given = {
        "count": "4",
        "share": "0.25",
        "strict": "true",
        "name": "x",
        "endings": "png, .jpg",
        "domain": "production",
    }
    assert datasets.options(ADAPTER, given) == Options(
        4, 0.25, True, "x", ("png", ".jpg"), "production"
    )


def test_values_of_a_yaml_file_are_taken_as_they_are():
    given = {"count": 4, "share": 1, "strict": False, "endings": [".a", ".b"]}
    assert datasets.options(ADAPTER, given) == Options(4, 1.0, False, "", (".a", ".b"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("count", "4.0"),
        ("count", 4.5),
        ("count", True),
        ("count", None),
        ("count", "0"),
        ("count", 10),
        ("share", "nan"),
        ("share", float("inf")),
        ("share", True),
        ("share", None),
        ("strict", 1),
        ("strict", "yes"),
        ("name", None),
        ("name", ["a"]),
        ("endings", 3),
        ("endings", [1]),
        ("domain", "prod"),
    ],
)
def test_a_value_of_another_type_or_out_of_bounds_is_refused(key, value):
    with pytest.raises(datasets.SourceError, match=rf"^options\.{key}: must be .*; got "):
        datasets.options(ADAPTER, {key: value})


def test_all_mistakes_are_reported_at_once_with_the_nearest_right_word():
    with pytest.raises(datasets.SourceError) as caught:
        datasets.options(ADAPTER, {"cuont": 1, "share": "much", "domain": "stduy"})
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "Did you mean 'count'?" in lines[0]
    assert "got 'much'" in lines[1]
    assert "Did you mean 'study'?" in lines[2]


def test_an_unknown_adapter_is_refused_with_the_choices():
    with pytest.raises(
        datasets.SourceError, match=r"Did you mean 'folder'\? Choices: affectnet, affwild2, "
    ):
        datasets.adapter("foldr")


@pytest.mark.parametrize("name", ["_image_files", "__init__", "folder.py", "../x", ""])
def test_only_adapters_can_be_loaded_by_name(name):
    with pytest.raises(datasets.SourceError):
        datasets.adapter(name)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("Angry", "anger"),
        (" HAPPY\t", "happiness"),
        ("sad", "sadness"),
        ("surprised", "surprise"),
        ("fearful", "fear"),
        ("Disgusted", "disgust"),
        ("Neutral", "neutral"),
        ("very  odd Label", "very odd label"),
    ],
)
def test_labels_get_one_name_an_emotion(label, expected):
    assert datasets.canonical(label) == expected
    assert datasets.canonical(expected) == expected


@pytest.mark.parametrize("text", ["", "-1", "1.5", "x", "2147483648", "9" * 9999, "²"])
def test_what_is_no_frame_number_of_32_bits_is_minus_one(text):
    assert datasets.frame_number(text) == -1


def test_frame_numbers_may_have_leading_zeros():
    assert datasets.frame_number("00042") == 42
    assert datasets.frame_number("2147483647") == 2147483647
