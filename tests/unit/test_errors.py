import pickle

import pytest

from orchestrator.config.errors import ConfigError, DatasetError, OrchestratorError


@pytest.mark.parametrize("kind", [ConfigError, DatasetError])
def test_a_pickled_error_keeps_its_class_and_every_problem(kind):
    error = pickle.loads(pickle.dumps(kind("a: must be > 0; got -1", "b: unknown key")))
    assert type(error) is kind
    assert error.problems == ("a: must be > 0; got -1", "b: unknown key")


def test_an_orchestrator_error_survives_pickling():
    error = pickle.loads(pickle.dumps(OrchestratorError("slot-0: died")))
    assert str(error) == "slot-0: died"


def test_the_text_of_a_config_error_has_a_line_per_problem():
    assert str(ConfigError("one", "two")) == "one\ntwo"


def test_wrong_input_ends_with_status_2_and_other_errors_with_1():
    statuses = (OrchestratorError.exit_status, ConfigError.exit_status, DatasetError.exit_status)
    assert statuses == (1, 2, 2)


def test_a_data_set_error_is_caught_as_a_config_error():
    assert issubclass(DatasetError, ConfigError)
    assert issubclass(ConfigError, OrchestratorError)
