import importlib
import inspect
import logging

import pytest

from orchestrator.quiet import MESSAGES, quiet_start


@pytest.mark.parametrize("name", MESSAGES)
def test_only_the_message_that_is_no_news_is_dropped(name, caplog):
    quiet_start()
    quiet_start()
    logger = logging.getLogger(name)
    logger.warning(f"{MESSAGES[name]} and so on")
    logger.warning("Something else")
    assert [record.getMessage() for record in caplog.records] == ["Something else"]
    assert len(logger.filters) == 1


SAID_IN = {"ray._private.worker": "ray._private.runtime_env.working_dir"}
"""Modules that speak through the logger of another: `ray.init` hands on its own."""


@pytest.mark.parametrize("name", MESSAGES)
def test_the_library_still_says_it_in_these_words(name):
    source = inspect.getsource(importlib.import_module(SAID_IN.get(name, name)))
    # Of strings that the source has in several pieces.
    assert MESSAGES[name] in " ".join(source.replace('"', " ").replace("%r", "'.git'").split())


def test_ray_init_hands_its_own_logger_to_what_packs_the_working_directory():
    source = inspect.getsource(importlib.import_module("ray._private.worker"))
    assert "upload_working_dir_if_needed" in source
    packing = source.partition("upload_working_dir_if_needed(")[2][:400]
    assert "logger=logger" in packing
