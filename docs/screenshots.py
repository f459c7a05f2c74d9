"""The pictures of docs/images: each place in Ray's dashboard where a study shows, as it trains.

    python -m docs.screenshots [FOLDER]

Starts a head and a node here, submits the quickstart as a job with `ray job submit`, and takes
the pictures with headless Chromium when two trials have finished; Ray's metrics are shown by a real
Prometheus. Then it stops the job, submits the same command again, and says what became of both. Needs
`chromium` and `prometheus`, and minutes.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from PIL import Image

from orchestrator.dashboard.server_process import ServerProcess
from orchestrator.tuning.ledger import LEDGER, read_records
from tests.integration.driven_browser import Page, browsing
from tests.integration.headless_browser import dump
from tests.integration.prometheus_server import scraping
from tests.integration.ray_nodes import TOKEN, Nodes, within

ROOT: Final = Path(__file__).resolve().parents[1]
IMAGES: Final = ROOT / "docs" / "images"
JOB: Final = "quickstart"
AGAIN: Final = "quickstart-again"
TICKET: Final = "a-ticket-for-the-browser-of-this-script"
PATIENCE_S: Final = 900.0
LOOK_S: Final = 8.0
"""Until a page has fetched what it shows."""
WIDTH_PX: Final = 960
COLOURS: Final = 64
LINES: Final = 30
"""Of a job's log, from its end."""
CHART: Final = "max by (slot) (ray_fer_slot_macro_f1)"
SPAN: Final = "4m"
CHART_FIELDS: Final = urlencode({"g0.expr": CHART, "g0.range_input": SPAN, "g0.tab": "0"})
"""The query of Prometheus's page."""
HEIGHTS_PX: Final = {"leaderboard": 1040, "jobs": 440, "logs": 500, "actors": 420, "metrics": 610}
"""Of each picture, from its top: what is below has nothing."""


def main(images: Path) -> None:
    """Take all pictures."""
    missing = [name for name in ("chromium", "prometheus") if not shutil.which(name)]
    if missing:
        sys.exit(f"{missing[0]}: must be installed for the pictures; it is not on the PATH")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN, PATH=path)
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    server = ServerProcess(str(folder / "runs"), (TICKET,))
    nodes = Nodes(folder, f"--proxy-server-url={server.url}")
    try:
        nodes.add("node", cpus=2)
        with ExitStack() as watching:
            prometheus = watching.enter_context(scraping(metrics_of_head(nodes), folder))
            submitted(nodes, folder / "runs")
            take(nodes, folder, images, prometheus)
        stopped_and_gone_on(nodes, folder / "runs")
    finally:
        nodes.close()
        server.end()
        shutil.rmtree(folder, ignore_errors=True)


def submitted(nodes: Nodes, runs: Path) -> None:
    """Submit the quickstart and wait until two of its trials have finished."""
    submit(nodes, JOB, runs)
    assert within(PATIENCE_S, lambda: num(runs, "end") >= 2), nodes.log(JOB)


def submit(nodes: Nodes, job: str, runs: Path) -> None:
    """The same command each time, as the README has it."""
    words = ("python", "-m", "orchestrator.ablate", f"out={runs}", "open_page=false")
    done = nodes.submit(job, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"submitted {job}", flush=True)


def stopped_and_gone_on(nodes: Nodes, runs: Path) -> None:
    """Stop the job midway, submit it once more, and say what both have done."""
    nodes.stop(JOB)
    print(f"stopped {JOB}: {nodes.ends(JOB)}, {num(runs, 'epoch')} epochs are in its ledger")
    print(*nodes.log(JOB).splitlines()[-LINES:], "", sep="\n")
    submit(nodes, AGAIN, runs)
    print(f"ended {AGAIN}: {nodes.ends(AGAIN, PATIENCE_S)}, {num(runs, 'epoch')} epochs")
    print(*nodes.log(AGAIN).splitlines()[-LINES:], sep="\n")


def num(runs: Path, kind: str) -> int:
    """Records of a kind in the ledger of the only study."""
    ledgers = list(runs.glob(f"*/{LEDGER}"))
    return sum(r["record"] == kind for path in ledgers for r in read_records(path))


def take(nodes: Nodes, folder: Path, images: Path, prometheus: str) -> None:
    """One picture of each place."""
    profile = folder / "profile"
    (study,) = (path.parent.name for path in (folder / "runs").glob(f"*/{LEDGER}"))
    dump(f"{nodes.dashboard}/?ticket={TICKET}&study={quote(study)}", profile)  # lets it in
    log = quote(f"leaderboard-{study}.log")
    places = {
        "leaderboard": f"{nodes.dashboard}/leaderboard#{quote(study)}",
        "jobs": f"{nodes.dashboard}/#/jobs",
        "logs": f"{nodes.dashboard}/#/logs/viewer?nodeId={head_id(nodes)}&fileName={log}",
        "actors": f"{nodes.dashboard}/#/actors/{slot_id(nodes, study)}",
        "metrics": f"{prometheus}/graph?{CHART_FIELDS}",
    }
    images.mkdir(parents=True, exist_ok=True)
    with browsing("about:blank", profile) as page:
        for name, place in places.items():
            shot(page, place, images / f"{name}.png", HEIGHTS_PX[name])


def shot(page: Page, url: str, png: Path, height_px: int) -> None:
    """A picture, made small: few colours do for tables and lines."""
    page.go("about:blank")  # a page of which only the part behind # differs would not be loaded
    page.go(url)
    time.sleep(LOOK_S)  # in real time: the page shows how long ago the last report was
    taken = page.commands(("Page.captureScreenshot", {"format": "png"}))
    with Image.open(io.BytesIO(base64.b64decode(taken["data"]))) as whole:
        small = whole.convert("RGB")
    small = small.resize((WIDTH_PX, round(small.height * WIDTH_PX / small.width)))
    small = small.crop((0, 0, WIDTH_PX, min(height_px, small.height)))
    small.quantize(COLOURS).save(png, optimize=True)


def head(nodes: Nodes) -> dict[str, Any]:
    """The head as the dashboard lists it: the node of the driver, of its logs and gauges."""
    found = json.loads(nodes.ask("/nodes?view=summary")[1])["data"]["summary"]
    return next(node["raylet"] for node in found if node["raylet"]["isHeadNode"])


def head_id(nodes: Nodes) -> str:
    """Its id, by which its logs are found."""
    return str(head(nodes)["nodeId"])


def metrics_of_head(nodes: Nodes) -> str:
    """host:port of what Ray exports there."""
    raylet = head(nodes)
    return f"{raylet['nodeManagerAddress']}:{raylet['metricsExportPort']}"


def slot_id(nodes: Nodes, study: str) -> str:
    """The actor of a slot of the study: the list of actors has no address for a part of it."""
    actors = json.loads(nodes.ask("/logical/actors")[1])["data"]["actors"]
    return next(i for i, a in actors.items() if str(a.get("reprName", "")).endswith(study))


if __name__ == "__main__":
    words = argparse.ArgumentParser(
        description="Take the pictures of the README, on the embedded set."
    )
    words.add_argument("images", type=Path, nargs="?", default=IMAGES, help="folder for them")
    main(words.parse_args().images)
