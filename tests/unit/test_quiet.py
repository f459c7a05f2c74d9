import logging

from orchestrator.quiet import MESSAGES, quiet_start


def test_only_the_message_that_is_no_news_is_dropped(caplog):
    (name,) = MESSAGES
    quiet_start()
    quiet_start()
    logger = logging.getLogger(name)
    logger.warning("Token authentication is enabled for this Ray cluster. Set ...")
    logger.warning("Token authentication is disabled for this Ray cluster. Anyone ...")
    assert [record.getMessage().split()[3] for record in caplog.records] == ["disabled"]
    assert len(logger.filters) == 1


def test_ray_still_says_it_in_these_words():
    from ray._private.authentication import authentication_token_setup as setup

    (beginning,) = MESSAGES.values()
    assert setup.__name__ in MESSAGES
    assert beginning in "".join(str(c) for c in setup._warn_token_auth_enabled.__code__.co_consts)
