"""Fixtures of all tests: an S3 server of this machine, and one that can be made to fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from orchestrator.config import object_store
from orchestrator.config.folder import folder

if TYPE_CHECKING:
    from tests.unit.faulty_s3 import FaultyS3

_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """A real S3 server on loopback; yields its address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def s3_bucket(s3_server: str) -> Iterator[str]:
    """The address of a bucket on it; the environment says how to get there."""
    import boto3

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**_CREDENTIALS, "AWS_ENDPOINT_URL": s3_server}.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="faces")
        yield "s3://faces"


@pytest.fixture(scope="session")
def _faulty_server(s3_server: str) -> Iterator[FaultyS3]:
    import boto3

    from tests.unit.faulty_s3 import FaultyS3

    proxy = FaultyS3(int(s3_server.rpartition(":")[2]))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _CREDENTIALS.items():
            patch.setenv(name, value)
        with pytest.MonkeyPatch.context() as for_now:
            for_now.setenv("AWS_ENDPOINT_URL", proxy.url)
            boto3.client("s3").create_bucket(Bucket="faulty")
            # The file system of a bucket is built once a process, with the endpoint of then.
            assert folder("s3://faulty").filesystem is not None
        yield proxy
    proxy.close()


@pytest.fixture
def faulty_s3(_faulty_server: FaultyS3) -> Iterator[FaultyS3]:
    """The server of the bucket `s3://faulty`, whose answers a test can spoil."""
    _faulty_server.mend()
    yield _faulty_server
    _faulty_server.mend()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of an object store are waited out for a moment only."""
    monkeypatch.setattr(object_store, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(object_store, "RETRY_FOR_S", 0.5)
