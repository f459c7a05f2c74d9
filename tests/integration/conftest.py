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
