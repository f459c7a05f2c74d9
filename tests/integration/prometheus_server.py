"""A real Prometheus that scrapes one Ray, where Debian's package is installed."""

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.integration.ray_nodes import free_port

PROMETHEUS = shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(not PROMETHEUS, reason="no Prometheus is installed here")


@contextmanager
def scraping(target: str, folder: Path) -> Iterator[str]:
    """Scrape a host:port every second; yields the server's own address."""
    config = folder / "prometheus.yml"
    job = {"job_name": "ray", "scrape_interval": "1s", "static_configs": [{"targets": [target]}]}
    config.write_text(yaml.safe_dump({"scrape_configs": [job]}))
    here = f"127.0.0.1:{free_port()}"
    with subprocess.Popen(
        [
            str(PROMETHEUS),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'series'}",
            f"--web.listen-address={here}",
            "--log.level=error",
        ]
    ) as server:
        try:
            yield f"http://{here}"
        finally:
            server.terminate()


def answer(server: str, expression: str) -> list[dict]:
    """The series that an expression has now; none while the server is not up."""
    query = urllib.parse.urlencode({"query": expression})
    try:
        with urllib.request.urlopen(f"{server}/api/v1/query?{query}", timeout=30) as got:
            return json.loads(got.read())["data"]["result"]
    except urllib.error.URLError:
        return []
