"""The pictures of docs/images: each place in Ray's dashboard where a study shows, as it trains.

    python -m docs.screenshots [FOLDER]

Starts a head and a node here, submits the quickstart as a job with `ray job submit`, and takes
the pictures with headless Chromium when two trials have finished. Then it stops the job, submits the
same command again, and says what became of both. Needs `chromium`, and minutes.
"""

from __future__ import annotations

import html
import json
import os
import shutil
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from PIL import Image

from orchestrator.dashboard.server_process import ServerProcess
from orchestrator.tuning.ledger import LEDGER, read_records
from tests.integration.headless_browser import dump, picture
from tests.integration.ray_nodes import BEARER, TOKEN, Nodes, within

ROOT: Final = Path(__file__).resolve().parents[1]
IMAGES: Final = ROOT / "docs" / "images"
JOB: Final = "quickstart"
AGAIN: Final = "quickstart-again"
TICKET: Final = "a-ticket-for-the-browser-of-this-script"
PATIENCE_S: Final = 900.0
SIZE: Final = "1280,1000"
WIDTH_PX: Final = 960
COLOURS: Final = 64
LINES: Final = 30
"""Of a job's log, from its end."""


def main(images: Path) -> None:
    """Take all pictures."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN, PATH=path)
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    server = ServerProcess(folder / "runs", (TICKET,))
    nodes = Nodes(folder, f"--proxy-server-url={server.url}")
    try:
        nodes.add("node", cpus=2)
        submitted(nodes, folder / "runs")
        take(nodes, folder, images)
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


def take(nodes: Nodes, folder: Path, images: Path) -> None:
    """One picture of each place."""
    profile = folder / "profile"
    (study,) = (path.parent.name for path in (folder / "runs").glob(f"*/{LEDGER}"))
    dump(f"{nodes.dashboard}/?ticket={TICKET}&study={quote(study)}", profile)  # lets it in
    log = quote(f"leaderboard-{study}.log")
    places = {
        "leaderboard": f"/leaderboard#{quote(study)}",
        "jobs": "/#/jobs",
        "logs": f"/#/logs/viewer?nodeId={head_id(nodes)}&fileName={log}",
        "actors": "/#/actors",
    }
    images.mkdir(parents=True, exist_ok=True)
    for name, place in places.items():
        shot(nodes.dashboard + place, profile, images / f"{name}.png")
    page = folder / "metrics.html"
    page.write_text(f"<title>metrics</title><pre>{html.escape(metrics(nodes))}</pre>")
    shot(page.as_uri(), profile, images / "metrics.png")


def shot(url: str, profile: Path, png: Path) -> None:
    """A picture, made small: few colours do for tables and lines."""
    picture(url, profile, png, size=SIZE)
    with Image.open(png) as whole:
        small = whole.convert("RGB")
    small = small.resize((WIDTH_PX, round(small.height * WIDTH_PX / small.width)))
    small.quantize(COLOURS).save(png, optimize=True)


def summary(nodes: Nodes) -> list[dict[str, Any]]:
    """The nodes as the dashboard lists them."""
    found: list[dict[str, Any]] = json.loads(nodes.ask("/nodes?view=summary")[1])["data"]["summary"]
    return found


def head_id(nodes: Nodes) -> str:
    """The node whose logs have the leaderboard: that of the driver."""
    return next(str(n["raylet"]["nodeId"]) for n in summary(nodes) if n["raylet"]["isHeadNode"])


def metrics(nodes: Nodes) -> str:
    """What Ray exports of the study, without the labels that every line has."""
    lines: list[str] = []
    for node in summary(nodes):
        raylet = node["raylet"]
        url = f"http://{raylet['nodeManagerAddress']}:{raylet['metricsExportPort']}/metrics"
        request = urllib.request.Request(url, headers=BEARER)
        with urllib.request.urlopen(request, timeout=30) as got:
            lines += [line for line in got.read().decode().split("\n") if "ray_fer_" in line]
    return "\n".join(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else IMAGES)
