"""The small server that Ray's dashboard asks first, and that answers for the leaderboard alone.

    dashboard -> this server -> 200: our page and data | 404: the dashboard answers itself

A process of its own, started by `tab.py`, so that nothing here can hold up a study or the
dashboard. It never waits: every answer is made from what `Watcher` has in memory. It ends when
its parent does. If it ends earlier, the dashboard goes on without the tab. Imports no ray.

On a head node that is to have the tab for every job, as a parent and its server:

    python -m orchestrator.dashboard.server /shared/runs 8124 &      (or s3://bucket/runs)
    ray start --head --proxy-server-url http://127.0.0.1:8124
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web

from orchestrator.config.address import absolute_address
from orchestrator.dashboard import page
from orchestrator.dashboard.access import COOKIE, COOKIE_MAX_AGE_S, Gate, process_gate
from orchestrator.dashboard.server_process import LOOPBACK, ServerProcess, free_port
from orchestrator.dashboard.snapshot import to_json
from orchestrator.dashboard.watcher import Watcher

FOR_EVER: Final = "private, max-age=31536000, immutable"
NEVER: Final = "no-store"
NICE: Final = 5
"""Training goes first where both want the same core."""
COMMAND: Final = "python -m orchestrator.dashboard.server"
API: Final = "/api/leaderboard"
TICKET: Final = "ticket"
GONE: Final = (
    "the server has died twice, or does not answer; the dashboard goes on without the Leaderboard "
    "tab. Another one starts in"
)
FIRST_PAUSE_S: Final = 60.0
LONGEST_PAUSE_S: Final = 3600.0
"""Between servers of a head node that soon die: what kills them may pass, as a lack of memory does."""
_INDEX: Final = Path("dashboard", "client", "build", "index.html")
_MAX_NAME: Final = 255
_ON_TO_THE_PAGE: Final = (
    '<!DOCTYPE html><html lang="en"><title>Leaderboard</title>'
    f'<meta http-equiv="refresh" content="0; url={page.ROUTE}#{{}}">'
    '<meta name="referrer" content="no-referrer">'
)


@dataclass(frozen=True)
class Pages:
    """The routes of the server.

    Attributes:
        index: Ray's own first page; "" leaves it to Ray.
        run: new with each server, so that a page knows when versions start anew.
    """

    watcher: Watcher
    gate: Gate
    index: str
    run: str = field(default_factory=lambda: secrets.token_hex(4))

    def application(self) -> web.Application:
        """The server's application; what has no route here is 404 at once."""
        app = web.Application(middlewares=[self._guard])
        app.add_routes(
            [
                web.get("/", self.first_page),
                web.get(page.ROUTE, self.leaderboard),
                web.get(f"{page.ROUTE}/{{name}}", self.part),
                web.get(f"{API}/studies", self.studies),
                web.get(f"{API}/study", self.study),
            ]
        )
        return app

    async def first_page(self, request: web.Request) -> web.StreamResponse:
        """Ray's first page with our tab; or, for a ticket, the way to the leaderboard."""
        if TICKET in request.query:
            return self._enter(request.query[TICKET], request.query.get("study", ""))
        if not self.index:
            raise web.HTTPNotFound
        return _answer(page.with_tab(self.index), "text/html")

    async def leaderboard(self, _: web.Request) -> web.Response:
        """The page."""
        return _answer(page.served_page(), "text/html", policy=page.SERVED_POLICY)

    async def part(self, request: web.Request) -> web.Response:
        """A script or style sheet of the page, under a name that changes with its content."""
        name = request.match_info["name"]
        if name == f"plotly-{page.charts_version()}.js":
            return _answer(page.charts_script(), "text/javascript", cache=FOR_EVER)
        for kept, kind in ((page.SCRIPT, "text/javascript"), (page.STYLE, "text/css")):
            if name == page.stamped(kept):
                return _answer(page.part(kept), kind, cache=FOR_EVER)
        raise web.HTTPNotFound

    async def studies(self, _: web.Request) -> web.Response:
        """The studies of this cluster, newest first."""
        found = [study.summary() for study in self.watcher.studies.values()]
        return _answer(to_json({"studies": found}), "application/json")

    async def study(self, request: web.Request) -> web.Response:
        """What changed in a study since `since`, of this `run`; 204 where nothing did."""
        study = self.watcher.studies.get(request.query.get("study", ""))
        if study is None:
            return _answer('{"problem":"there is no such study"}', "application/json", status=410)
        if study.snapshot is None:  # being read for the first time
            return _nothing_new()
        since = _number(request.query.get("since", ""))
        if request.query.get("run") != self.run or since > study.snapshot.version:
            since = 0
        if since == study.snapshot.version:
            return _nothing_new()
        members = to_json({"run": self.run})[1:-1]
        return _answer(f"{{{members},{study.snapshot.document(since)[1:]}", "application/json")

    def _enter(self, ticket: str, study: str) -> web.Response:
        """A good ticket sets the cookie that the dashboard's login sets; another one does not.

        No redirect: the dashboard would follow it itself, without the cookie.
        """
        answer = _answer(_ON_TO_THE_PAGE.format(quote(study[:_MAX_NAME], safe="")), "text/html")
        if self.gate.redeem(ticket) and (token := self.gate.token()):
            answer.set_cookie(
                COOKIE, token, max_age=COOKIE_MAX_AGE_S, path="/", httponly=True, samesite="Strict"
            )
        return answer

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """What is ours needs Ray's token; what is not is not here."""
        is_ours = request.path.startswith((page.ROUTE, API))
        if is_ours and not self.gate.admits(request.headers, request.cookies):
            return web.Response(status=401, text="Unauthorized: Ray's token is needed")
        answer: web.StreamResponse = await handler(request)
        return answer


def serve(listening: socket.socket, place: str, index: str, gate: Gate) -> None:
    """Serve until the process ends."""
    watcher = Watcher(place)
    watcher.start()
    app = Pages(watcher, gate, index).application()
    web.run_app(app, sock=listening, print=None, access_log=None, handle_signals=False)


def main(argv: Sequence[str]) -> None:
    """Serve for a `ServerProcess`, which says over a pipe what; or be one: FOLDER PORT."""
    if argv:
        keep_up(argv)
        return
    os.nice(NICE)
    orders = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    listening = socket.socket(fileno=int(orders["socket"]))
    gate = process_gate(frozenset(orders["tickets"]))
    serve(listening, orders["place"], ray_index(), gate)


def keep_up(argv: Sequence[str]) -> None:
    """Keep a server up on a head node until this process is ended, and its port in any case."""
    if len(argv) != 2 or not 0 < _number(argv[1]) < 2**16:
        sys.exit(f"{COMMAND}: must be given a folder and a port, 1 to 65535; got {' '.join(argv)}")
    try:
        place, port = absolute_address(argv[0]), _number(argv[1])
    except ValueError as error:
        sys.exit(f"{COMMAND}: folder: {error}")
    try:
        kept = free_port(port)
    except OSError as error:
        sys.exit(f"port: must be free on {LOOPBACK}, got {port}: {error.strerror}. Take another")
    for number in (signal.SIGTERM, signal.SIGINT):  # as the first process of a container, too
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: sys.exit(0))
    with kept:  # nobody else gets the port while no server listens there
        pause_s = FIRST_PAUSE_S
        while True:
            lived_s = _serve_while_it_lives(place, port)
            pause_s = FIRST_PAUSE_S if lived_s > LONGEST_PAUSE_S else pause_s
            sys.stderr.write(f"{COMMAND}: {GONE} {pause_s:g} s\n")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _serve_while_it_lives(place: str, port: int) -> float:
    """Return how many seconds a server and its replacement have lived, when both are gone."""
    started_s = time.monotonic()
    try:
        server = ServerProcess(place, port=port, errors=None)
    except OSError as error:
        sys.stderr.write(f"{COMMAND}: {error.strerror}\n")
        return 0.0
    try:
        server.wait()
    finally:
        server.end()
    return time.monotonic() - started_s


def ray_index() -> str:
    """The first page of the Ray that is installed here; "" where it has none."""
    found = importlib.util.find_spec("ray")
    places = found.submodule_search_locations if found else None
    try:
        return (Path(places[0]) / _INDEX).read_text(encoding="utf-8") if places else ""
    except OSError:
        return ""


def _end_with_parent() -> None:
    sys.stdin.read()  # returns when the parent has closed its end, or is gone
    os._exit(0)


def _answer(
    text: str, kind: str, *, status: int = 200, cache: str = NEVER, policy: str = ""
) -> web.Response:
    headers = {"Cache-Control": cache, "X-Content-Type-Options": "nosniff"}
    if policy:
        headers |= {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
    return web.Response(
        text=text, content_type=kind, charset="utf-8", status=status, headers=headers
    )


def _nothing_new() -> web.Response:
    return web.Response(status=204, headers={"Cache-Control": NEVER})


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0


if __name__ == "__main__":
    main(sys.argv[1:])
