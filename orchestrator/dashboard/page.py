"""The leaderboard's page: its parts as they are served, and the whole of it in one file. PURE.

The page fetches nothing from elsewhere. Charts are drawn by plotly.js, as the package `plotly`
ships it. Its policy forbids scripts other than these and every `eval`.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path
from typing import Final

from orchestrator.config.errors import OrchestratorError
from orchestrator.config.storage import write_atomic
from orchestrator.dashboard.snapshot import Snapshot
from orchestrator.dashboard.study_files import GrowingLedger, WatchedStudy
from orchestrator.tuning.ledger import LEDGER

PAGE_FILE: Final = "leaderboard.html"
ROUTE: Final = "/leaderboard"

SCRIPT: Final = "leaderboard.js"
STYLE: Final = "leaderboard.css"
_FOLDER: Final = Path(__file__).parent / "page"
_PIECES: Final = ("state", "reading", "progress", "trials", "leader", "charts", "start")
_NONE: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: blob:"
# plotly.js writes its rules into a style element of its own.
_STYLE_POLICY: Final = "style-src 'self' 'unsafe-inline'"
SERVED_POLICY: Final = (
    f"{_NONE}; {_STYLE_POLICY}; script-src 'self'; connect-src 'self'; frame-ancestors 'none'"
)


@cache
def charts_script() -> str:
    """plotly.js; "" where the package is not installed: the tables do without charts."""
    found = importlib.util.find_spec("plotly")
    if found is None or not found.submodule_search_locations:
        return ""
    path = Path(found.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def charts_version() -> str:
    """The version of the package, for names that can be kept for ever."""
    try:
        return importlib.metadata.version("plotly")
    except importlib.metadata.PackageNotFoundError:
        return "none"


@cache
def part(name: str) -> str:
    """A file of the page: leaderboard.js (its parts in one), leaderboard.css, body.html, tab.js."""
    if name != SCRIPT:
        return (_FOLDER / name).read_text(encoding="utf-8")
    whole = "\n".join(part(f"{piece}.js") for piece in _PIECES)
    return f'(function () {{\n"use strict";\n{whole}}})();\n'


@cache
def served_page() -> str:
    """The page as the dashboard shows it; its parts and data come by routes of their own."""
    head = (
        f'<link rel="stylesheet" href="{ROUTE}/{stamped(STYLE)}">\n'
        f'<script defer src="{ROUTE}/plotly-{charts_version()}.js"></script>\n'
        f'<script defer src="{ROUTE}/{stamped(SCRIPT)}"></script>'
    )
    return _document(SERVED_POLICY, head, part("body.html"))


def page_in_one_file(snapshot: Snapshot) -> str:
    """The page with all that it needs inside, to be opened from disk."""
    charts, ours = _in_script(charts_script()), _in_script(part(SCRIPT))
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in (charts, ours))
    # Members of a JSON document; "<" is escaped in it, so that no end tag can stand there.
    data = f'<script type="application/json" id="data">{snapshot.document()}</script>'
    body = f"{part('body.html')}\n{data}\n<script>{charts}</script>\n<script>{ours}</script>"
    policy = f"{_NONE}; {_STYLE_POLICY}; script-src {hashes}"
    return _document(policy, f"<style>{part(STYLE)}</style>", body)


def write_page(study_folder: Path) -> Path:
    """Write the page of a study, finished or not, into its folder.

    Raises:
        OrchestratorError: its ledger cannot be read.
        OSError: the folder cannot be written.
    """
    study = WatchedStudy(study_folder.name, GrowingLedger(study_folder / LEDGER))
    study.look()
    study.work_out_importance()
    study.show_importance()
    if study.snapshot is None:
        raise OrchestratorError(f"study: {study_folder} must have a sound ledger; {study.problem}")
    path = study_folder / PAGE_FILE
    write_atomic(path, page_in_one_file(study.snapshot).encode())
    return path


def with_tab(index_html: str) -> str:
    """The dashboard's own first page with a script that adds our tab to it."""
    script = f'<script>var leaderboardRoute = "{ROUTE}";\n{part("tab.js")}</script>'
    return index_html.replace("</head>", f"{script}</head>", 1)


@cache
def stamped(name: str) -> str:
    """A part's name with a digest of its content: a browser may keep it for ever."""
    stem, _, ending = name.rpartition(".")
    return f"{stem}-{hashlib.sha256(part(name).encode()).hexdigest()[:12]}.{ending}"


def _document(policy: str, head: str, body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_for_meta(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>Leaderboard</title>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _for_meta(policy: str) -> str:
    """A meta element cannot say who may frame the page: the header does."""
    return policy.replace("; frame-ancestors 'none'", "")


def _in_script(code: str) -> str:
    return code.replace("</script", "<\\/script")


def _digest(code: str) -> str:
    return base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
