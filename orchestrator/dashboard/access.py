"""Who may see the page: those whom Ray's dashboard lets in. PURE.

Our server listens on the loopback address, where every user of the machine can reach it, past the
dashboard. So it asks for what the dashboard asks for: Ray's token, which the dashboard passes on
with each request. For a user at the terminal there are tickets: a link that works once, and gives
the browser the cookie that the dashboard's own login form would give it.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

COOKIE: Final = "ray-authentication-token"
COOKIE_MAX_AGE_S: Final = 30 * 24 * 3600
"""Name and life of the cookie as Ray sets it (ray 2.60, authentication_constants.py)."""
_HEADERS: Final = ("authorization", "x-ray-authorization")
_BEARER: Final = "Bearer "


class Gate:
    """Lets requests in that bear Ray's token.

    Args:
        environment: of this process; says whether Ray asks for a token, and which.
        tickets: secrets of links that may be used once each.
    """

    def __init__(self, environment: Mapping[str, str], tickets: frozenset[str]) -> None:
        self._environment = environment
        self._tickets = set(tickets)

    def admits(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> bool:
        """Whether a request may see a study."""
        mode = self._environment.get("RAY_AUTH_MODE") or None
        if mode is not None and mode.lower() != "token":
            return True  # the dashboard itself is open then
        if mode is None and not self.token():
            return True  # Ray asks for a token by itself where there is one
        given = next((headers[name] for name in _HEADERS if headers.get(name)), "")
        given = given.removeprefix(_BEARER) or cookies.get(COOKIE, "")
        token = self.token()
        return bool(token) and hmac.compare_digest(_bytes(given), _bytes(token))

    def redeem(self, ticket: str) -> bool:
        """Whether a ticket is good; it is used up."""
        for known in self._tickets:
            if hmac.compare_digest(_bytes(known), _bytes(ticket)):
                self._tickets.discard(known)
                return True
        return False

    def token(self) -> str:
        """Ray's token, from where Ray itself takes it; "" while there is none.

        Read each time: Ray makes its token when it first starts, after this process.
        """
        if token := self._environment.get("RAY_AUTH_TOKEN", ""):
            return token.strip()
        named = self._environment.get("RAY_AUTH_TOKEN_PATH", "")
        path = Path(named) if named else Path.home() / ".ray" / "auth_token"
        try:
            return path.read_text().strip()
        except OSError:
            return ""


def process_gate(tickets: frozenset[str]) -> Gate:
    """The gate with this process's environment."""
    return Gate(os.environ, tickets)


def _bytes(text: str) -> bytes:
    """What a header holds, whatever bytes those were."""
    return text.encode("utf-8", "surrogateescape")
