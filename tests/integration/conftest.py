"""One private Ray for all integration tests: its own folder, two CPUs, no dashboard."""

from collections.abc import Iterator

import pytest

from orchestrator.cluster import Cluster, connect


@pytest.fixture(scope="session")
def local_ray(s3_bucket: str) -> Iterator[Cluster]:
    """Ray on this machine, shared by the session; a test must not shut it down.

    It starts when the environment leads to the S3 server: workers keep what they started with.
    """
    with connect("local", dashboard=False, cpus=2) as cluster:
        yield cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What submits a job to a Ray of its own comes before the session's Ray, which it might find."""
    items.sort(key=lambda item: "test_leaderboard_tab" not in item.nodeid)
