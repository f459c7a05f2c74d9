import sys
from pathlib import Path
from subprocess import run
from typing import Annotated, Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as cases
from hypothesis import strategies as st
from pydantic import Field, model_validator

from orchestrator.config.errors import ConfigError
from orchestrator.config.section import Count, Flag, Number, Section, Whole
from orchestrator.config.validate import (
    fingerprint,
    given,
    parse_value,
    read_yaml,
    set_path,
    to_dict,
    validate,
)


class Sgd(Section):
    name: Literal["sgd"] = "sgd"
    lr: Annotated[Number, Field(gt=0)] = 0.1
    momentum: Number = 0.9
    nesterov: Flag = False

    @model_validator(mode="after")
    def _nesterov(self):
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: needs momentum > 0; got 0")
        return self


class Adam(Section):
    name: Literal["adam"] = "adam"
    lr: Annotated[Number, Field(gt=0)] = 0.001
    decay: Number = 0.0


class AdamW(Section):
    name: Literal["adamw"] = "adamw"
    lr: Annotated[Number, Field(gt=0)] = 0.001
    decay: Number = 0.01


Optimizer = Annotated[Sgd | Adam | AdamW, Field(discriminator="name")]


class Range(Section):
    low: Number
    high: Number

    @model_validator(mode="after")
    def _ordered(self):
        if self.low > self.high:
            raise ValueError(f"must have low <= high; got {self.low} > {self.high}")
        return self


class Data(Section):
    root: Path = Path("embedded")
    classes: tuple[str, ...] = ("anger", "fear")


class Toy(Section):
    data: Data = Data()
    optimizer: Optimizer = Adam(lr=0.01)
    second: Optimizer | None = None
    epochs: Annotated[Count, Field(le=100)] = 10
    warmup: Annotated[Count, Field(ge=0)] = 0
    offset: Whole = 0
    plain_int: int = 1
    plain_float: float = 1.0
    plain_bool: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    slots: Count | Literal["auto"] = "auto"
    name: str = ""
    fractions: tuple[Number, Number] = (0.5, 0.5)
    axes: dict[str, list[Number | str] | Range] = Field({})
    options: dict[str, str | int | float | bool] = Field({})

    @model_validator(mode="after")
    def _warm(self):
        if self.warmup > self.epochs:
            raise ValueError(f"warmup: must be <= epochs; got {self.warmup}")
        return self


class Needy(Section):
    study: Annotated[str, Field(description="a study's folder")]
    data: Range


def build(**values):
    return validate(Toy, ("values", values))


def mistakes(values, *more, model=Toy):
    with pytest.raises(ConfigError) as caught:
        validate(model, ("values", values), *more)
    return list(caught.value.problems)


# What is accepted


def test_no_layer_gives_the_defaults():
    assert validate(Toy) == Toy()


def test_a_later_layer_wins_key_by_key():
    toy = validate(
        Toy,
        ("file", {"epochs": 3, "optimizer": {"lr": 0.5, "decay": 0.1}}),
        ("line", {"optimizer.lr": 0.2}),
    )
    assert (toy.epochs, toy.optimizer) == (3, Adam(lr=0.2, decay=0.1))


def test_numeric_text_is_a_number_and_whole_text_a_count():
    toy = build(epochs="10", optimizer={"lr": "3e-4"}, offset="-2")
    assert (toy.epochs, toy.optimizer.lr, toy.offset) == (10, 3e-4, -2)


def test_a_part_of_a_section_keeps_the_rest_of_its_default():
    assert build(optimizer={"decay": 0.5}).optimizer == Adam(lr=0.01, decay=0.5)


def test_choosing_another_variant_does_not_inherit_the_default_variants_values():
    assert build(optimizer={"name": "sgd"}).optimizer == Sgd()


def test_another_variant_drops_keys_of_lower_layers_that_only_the_old_one_has():
    toy = validate(
        Toy,
        ("file", {"optimizer": {"name": "sgd", "lr": 0.3, "momentum": 0.5}}),
        ("line", {"optimizer.name": "adam"}),
    )
    assert toy.optimizer == Adam(lr=0.3)


def test_keys_of_the_old_variant_in_the_choosing_layer_are_mistakes():
    found = mistakes(
        {"optimizer": {"name": "sgd"}},
        ("line", {"optimizer.name": "adam", "optimizer.momentum": 1}),
    )
    assert found == ["optimizer.momentum: unknown key (from line). Only optimizer.name=sgd has it"]


def test_a_slip_in_a_lower_layer_stays_a_mistake_after_the_variant_changes():
    found = mistakes(
        {"optimizer": {"name": "sgd", "momentmu": 0.5}}, ("line", {"optimizer.name": "adam"})
    )
    assert found[0].startswith("optimizer.momentmu: unknown key (from values)")


def test_dotted_keys_of_a_mapping_stay_one_key_and_join_a_lower_layers_mapping():
    toy = validate(
        Toy,
        ("file", {"axes": {"epochs": [1, 2]}}),
        ("line", {"axes.optimizer.lr": [0.1], "options.b": True}),
    )
    assert toy.axes == {"epochs": [1, 2], "optimizer.lr": [0.1]}
    assert toy.options == {"b": True}


def test_validating_leaves_the_given_layers_alone():
    layer = {"optimizer": {"lr": 1}, "optimizer.decay": 0.5}
    validate(Toy, ("values", layer))
    assert layer == {"optimizer": {"lr": 1}, "optimizer.decay": 0.5}


def test_a_mapping_of_scalars_keeps_each_values_type():
    values = {"a": 1, "b": 1.5, "c": True, "d": "1"}
    assert [type(v) for v in build(options=values).options.values()] == [int, float, bool, str]


# What is refused, and in which words


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimizer": {"lr": -1}}, "optimizer.lr: must be > 0; got -1"),
        ({"optimizer": {"lrr": 1}}, "optimizer.lrr: unknown key. Did you mean 'lr'?"),
        ({"epoch": 1}, "epoch: unknown key. Did you mean 'epochs'?"),
        ({"lr": 1}, "lr: unknown key. Did you mean 'optimizer.lr' or 'second.lr'?"),
        (
            {"data": {"zzz": 1}},
            "data.zzz: unknown key. Choose from: root, classes",
        ),
        ({"epochs": 0}, "epochs: must be >= 1; got 0"),
        ({"epochs": 101}, "epochs: must be <= 100; got 101"),
        ({"epochs": 1.5}, "epochs: must be a whole number; got 1.5"),
        ({"epochs": "1.5"}, "epochs: must be a whole number; got '1.5'"),
        ({"epochs": None}, "epochs: must be a whole number; got null"),
        ({"epochs": True}, "epochs: must be a whole number; got true"),
        ({"plain_int": True}, "plain_int: must be a whole number; got true"),
        ({"plain_float": False}, "plain_float: must be a number; got false"),
        ({"plain_float": float("inf")}, "plain_float: must be a finite number; got inf"),
        ({"fractions": [0.5, True]}, "fractions[1]: must be a number; got true"),
        ({"fractions": [0.5]}, "fractions: has too few entries; got [0.5]"),
        ({"warmup": -1}, "warmup: must be >= 0; got -1"),
        ({"optimizer": {"lr": float("nan")}}, "optimizer.lr: must be a finite number; got nan"),
        ({"optimizer": {"lr": "nan"}}, "optimizer.lr: must be a finite number; got 'nan'"),
        ({"optimizer": {"lr": "fast"}}, "optimizer.lr: must be a number; got 'fast'"),
        (
            {"precision": "fp3"},
            "precision: must be one of auto, fp32, bf16; got 'fp3'. Did you mean 'fp32'?",
        ),
        ({"slots": "many"}, "slots: must be a whole number or auto; got 'many'"),
        (
            {"optimizer": {"name": "agam"}},
            "optimizer.name: must be one of sgd, adam, adamw; got 'agam'. Did you mean 'adam'?",
        ),
        (
            {"second": {"lr": 1}},
            "second.name: is required and must be one of sgd, adam, adamw",
        ),
        ({"second": {"name": "sgd", "lr": 0}}, "second.lr: must be > 0; got 0"),
        (
            {"optimizer": "adam"},
            "optimizer: must be a section of keys; got 'adam'. "
            "Give its keys, e.g. optimizer.name=adam",
        ),
        ({"name": 3}, "name: must be text; got 3. Put it in quotes"),
        (
            {"data": {"classes": "anger"}},
            "data.classes: must be a list; got 'anger'. Write data.classes=[anger]",
        ),
        ({"axes": {"lr": {"low": 1, "hihg": 2}}}, None),
        (
            {"axes": {"optimizer.lr": {"low": 1, "high": True}}},
            "axes.optimizer.lr.high: must be a number; got true",
        ),
        ({1: 2}, "1: keys must be text; got 1"),
        # Rules across fields name their field, and the path is made whole.
        ({"warmup": 11}, "warmup: must be <= epochs; got 11"),
        (
            {"optimizer": {"name": "sgd", "nesterov": True, "momentum": 0}},
            "optimizer.nesterov: needs momentum > 0; got 0",
        ),
        (
            {"axes": {"lr": {"low": 2, "high": 1}}},
            "axes.lr: must have low <= high; got 2.0 > 1.0",
        ),
    ],
)
def test_a_mistake_is_one_line_with_path_rule_value_and_remedy(values, message):
    found = mistakes(values)
    if message is None:  # two mistakes in the member of the union that was meant
        assert found == [
            "axes.lr.high: is required. Set axes.lr.high=VALUE",
            "axes.lr.hihg: unknown key. Did you mean 'high'?",
        ]
    else:
        assert found == [message]


@pytest.mark.parametrize("value", [1, 0, "yes", "on", "1", 1.0, None, [True]])
@pytest.mark.parametrize("field", ["plain_bool", "optimizer.nesterov"])
def test_only_true_and_false_are_flags(field, value):
    (line,) = mistakes({"optimizer.name": "sgd", field: value})
    assert line.startswith(f"{field}: must be true or false; got ")


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False)])
def test_the_words_true_and_false_are_flags(text, value):
    assert build(plain_bool=text).plain_bool is value


def test_all_mistakes_are_reported_at_once():
    found = mistakes({"epochs": 0, "optimizer": {"lr": -1, "x": 1}, "precision": 8, "data": 3})
    assert [line.split(":")[0] for line in found] == [
        "data",
        "optimizer.lr",
        "optimizer.x",
        "epochs",
        "precision",
    ]


def test_missing_fields_say_what_they_are_for_and_missing_sections_what_they_lack():
    assert mistakes({}, model=Needy) == [
        "study: is required. Set study=VALUE (a study's folder)",
        "data.low: is required. Set data.low=VALUE",
        "data.high: is required. Set data.high=VALUE",
    ]


def test_with_several_layers_a_mistake_names_the_one_that_made_it():
    found = mistakes(
        {"epochs": 0, "optimizer": {"lr": -1}},
        ("--config my.yaml", {"axes": {"a": 3}}),
        ("the command line", {"optimizer.lr": -2}),
    )
    assert found == [
        "optimizer.lr: must be > 0; got -2 (from the command line)",
        "epochs: must be >= 1; got 0 (from values)",
        "axes.a: must be a list or a section of keys; got 3 (from --config my.yaml). "
        "Write axes.a=[3]",
    ]


def test_a_value_and_keys_below_it_in_one_layer_contradict_each_other():
    (line,) = mistakes({"optimizer": "adam", "optimizer.lr": 1})
    assert line.startswith("optimizer.lr: cannot lie below optimizer; ")


def test_a_long_value_is_cut_to_fit_a_line():
    (line,) = mistakes({"epochs": "9x" * 1000})
    assert len(line) < 150


def test_configs_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Toy().epochs = 3


words = st.text("a.:[ \n-é", max_size=4)
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "lr", "momentum", "low", "x.y", ""]) | words,
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@cases(st.dictionaries(st.sampled_from([*Toy.model_fields, "optimizer.name", "zz"]), junk))
def test_any_values_give_a_config_that_reads_back_equal_or_clean_lines(values):
    toy, found = attempt(("a", values), ("b", {"optimizer.name": "sgd"}))
    assert (toy is None) == bool(found)
    assert all(": " in line and "\n" not in line for line in found)
    assert not any("function-" in line for line in found)
    assert toy is None or validate(Toy, ("saved", to_dict(toy))) == toy


def attempt(*layers):
    try:
        return validate(Toy, *layers), ()
    except ConfigError as error:
        return None, error.problems


# Saved configs


def test_a_saved_config_reads_back_equal():
    toy = build(optimizer={"name": "sgd"}, axes={"optimizer.lr": {"low": 1, "high": 2}})
    assert validate(Toy, ("saved", to_dict(toy))) == toy


def test_what_was_given_lets_a_later_variant_keep_its_own_defaults():
    base = build(optimizer={"lr": 0.5})
    assert given(base) == {"optimizer": {"name": "adam", "lr": 0.5}}
    trial = validate(Toy, ("base", given(base)), ("trial 1", {"optimizer.name": "adamw"}))
    assert trial.optimizer == AdamW(lr=0.5, decay=0.01)


def test_the_fingerprint_ignores_order_and_the_form_of_equal_values():
    first = {"a": 1, "b": {"c": (1.0, 2), "d": Path("x")}}
    second = {"b": {"d": "x", "c": [1, 2.0]}, "a": 1.0}
    assert fingerprint(first) == fingerprint(second)
    assert len(fingerprint(first)) == 64


@pytest.mark.parametrize("other", [{"a": 2}, {"a": True}, {"a": "1"}, {"b": 1}, {}, {"a": [1]}])
def test_the_fingerprint_tells_different_values_apart(other):
    assert fingerprint({"a": 1}) != fingerprint(other)


def test_the_fingerprint_stays_what_it_was_in_saved_runs():
    # sha256 of '{"a":1,"b":"x"}'
    assert fingerprint({"b": "x", "a": 1.0}) == (
        "ecf9e98ec0641e23113ff3ce8bdc78d0ddd249886517fd4a7f68cc83d4e65667"
    )


def test_a_fingerprint_of_nan_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        fingerprint({"a": float("nan")})


# YAML and text


def written(folder, text):
    path = folder / "my.yaml"
    path.write_text(text)
    return path


def test_yaml_reads_numbers_and_words_as_they_look(tmp_path):
    text = "a: 3e-4\nb: 1e5\nc: 010\nd: no\ne: 1:30\nf: 2024-01-01\ng: true\nh:\ni: -.5\nj: .inf"
    values = list(read_yaml(written(tmp_path, text)).values())
    expected = [3e-4, 1e5, 10, "no", "1:30", "2024-01-01", True, None, -0.5, float("inf")]
    assert values == expected
    assert [type(v) for v in values] == [type(v) for v in expected]


def test_a_key_given_twice_is_refused_with_both_lines(tmp_path):
    path = written(tmp_path, "a: 1\nb:\n  lr: 1\n  x: 2\n  lr: 3\n")
    with pytest.raises(ConfigError, match=r"my\.yaml:5: .*'lr' is given twice, first on line 3"):
        read_yaml(path)


def test_an_alias_is_its_anchors_value_and_merging_is_no_feature(tmp_path):
    path = written(tmp_path, "a: &a {x: 1}\nb: *a\nc: {<<: *a}\n")
    assert read_yaml(path) == {"a": {"x": 1}, "b": {"x": 1}, "c": {"<<": {"x": 1}}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2\nb: 3\n", r"my\.yaml:2: must be valid YAML"),
        ("- a\n- b\n", r"my\.yaml:1: must hold keys and values; got list"),
        ("a: !!python/object:os.system x\n", r"my\.yaml:1: must be valid YAML"),
        ("a: 1\n---\nb: 2\n", r"my\.yaml:2: must be valid YAML"),
        ("a: \x07\n", r"my\.yaml: must be valid YAML"),
        (f"a: {'9' * 5000}\n", r"my\.yaml:1: must be valid YAML"),
        ("[" * 500, r"my\.yaml"),
    ],
)
def test_a_bad_file_is_one_clear_mistake(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_yaml(written(tmp_path, text))
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)


def test_a_file_that_is_absent_or_unreadable_is_a_mistake(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: must be a YAML file; it does not exist"):
        read_yaml(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="must be a readable YAML file"):
        read_yaml(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match="must be a readable YAML file"):
        read_yaml(tmp_path / "bytes.yaml")


def test_an_empty_file_gives_nothing(tmp_path):
    assert read_yaml(written(tmp_path, "# nothing yet\n")) == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("10", 10),
        ("-1", -1),
        ("true", True),
        ("null", None),
        ("", None),
        ("[a, 1, 2.5]", ["a", 1, 2.5]),
        ("{low: 1e-5, log: true}", {"low": 1e-5, "log": True}),
        ("'10'", "10"),
        ("yes", "yes"),
        ("a: b", "a: b"),
        ("x #1", "x #1"),
        ("*.jpg", "*.jpg"),
        ("s3://bucket/a", "s3://bucket/a"),
        ("<<", "<<"),
    ],
)
def test_a_word_of_the_command_line_is_what_it_looks_like(text, value):
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_a_list_that_does_not_close_is_a_mistake():
    with pytest.raises(ConfigError, match="must be valid YAML"):
        parse_value("[1, 2")


def test_set_path_makes_the_dicts_on_the_way():
    tree = {"a": {"x": 1}}
    set_path(tree, "a.b.c", 2)
    assert tree == {"a": {"x": 1, "b": {"c": 2}}}


@pytest.mark.parametrize("path", ["", "a..b", ".a", "a."])
def test_set_path_refuses_empty_keys(path):
    with pytest.raises(ConfigError, match="must be keys joined by dots"):
        set_path({}, path, 1)


def test_reading_a_config_imports_neither_torch_nor_ray():
    code = (
        "import sys, orchestrator.config.command_line; "
        "sys.exit(bool({'torch', 'ray', 'numpy'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    assert run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
