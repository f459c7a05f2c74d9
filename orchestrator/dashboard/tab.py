"""The Leaderboard tab: its server, for as long as a private Ray lives, and links to it. DRIVER."""

from __future__ import annotations

import os
import secrets
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from orchestrator.dashboard.asking import dashboard_problem
from orchestrator.dashboard.page import ROUTE
from orchestrator.dashboard.server_process import ServerProcess


@dataclass(frozen=True)
class Tab:
    """The server behind the tab.

    Attributes:
        server_url: what the dashboard is to ask first; None where there is no server.
        tickets: secrets that let a browser in, once each.
    """

    server_url: str | None
    tickets: tuple[str, ...] = ()

    def link(self, dashboard_url: str, study: str, *, ticket: int | None = None) -> str:
        """Where a study's leaderboard is, plain or with a ticket; "" where it is nowhere."""
        if self.server_url is None or not dashboard_url:
            return ""
        if ticket is None:
            return _place(dashboard_url, study)
        return f"{dashboard_url}/?ticket={self.tickets[ticket]}&study={quote(study, safe='')}"


@contextmanager
def serving(folder: Path, *, wanted: bool = True) -> Iterator[Tab]:
    """Serve the leaderboard of the studies in `folder` while the context lasts.

    A study never ends because of it: where the server cannot start there is no tab.

    Args:
        folder: which holds study folders; need not exist yet.
        wanted: False = no server; so too where Ray is up already, and cannot be told of one.
    """
    if not wanted or _is_ray_up():
        yield Tab(None)
        return
    tickets = (secrets.token_urlsafe(24), secrets.token_urlsafe(24))
    try:
        # As `cluster.connect` will set it for the Ray that it starts.
        mode = os.environ.get("RAY_AUTH_MODE") or "token"
        server = ServerProcess(str(folder), tickets, environment={"RAY_AUTH_MODE": mode})
    except OSError:  # no loopback, no file descriptor left
        yield Tab(None)
        return
    try:
        yield Tab(server.url, tickets)
    finally:
        server.end()


def page_line(tab: Tab, dashboard_url: str, study: str) -> str:
    """Where the leaderboard is, for the terminal; "" where there is none.

    On a terminal the link has a ticket; a log may be read by others, and has none.
    """
    plain = tab.link(dashboard_url, study)
    if not plain or not sys.stdout.isatty():
        return plain and f"leaderboard {plain}"
    ticket = tab.link(dashboard_url, study, ticket=0)
    return f"leaderboard {ticket}\n            works once in one browser; then {plain}"


def cluster_line(dashboard_url: str, study: str) -> str:
    """Where the leaderboard is in the dashboard of a joined cluster; "" where that has no tab.

    The study is there if the tab shows the folder that the study is in.
    """
    if not dashboard_url or dashboard_problem(dashboard_url, ROUTE):
        return ""
    return f"leaderboard {_place(dashboard_url, study)}"


def _place(dashboard_url: str, study: str) -> str:
    return f"{dashboard_url}{ROUTE}#{quote(study, safe='')}"


def open_page(link: str) -> bool:
    """Open a link where a user sits in front of a desktop; returns whether that was tried."""
    has_desktop = sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if not link or not sys.stdout.isatty() or not has_desktop:
        return False
    try:
        browser = webbrowser.get()
        if isinstance(browser, webbrowser.GenericBrowser):
            return False  # a text browser takes the terminal, and the study would wait for it
        return browser.open(link)
    except (webbrowser.Error, OSError):
        return False


def _is_ray_up() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())
