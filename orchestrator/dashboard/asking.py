"""Asks a Ray dashboard something, as Ray's own clients do: at Ray's address, with Ray's token. PURE."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Final

from orchestrator.dashboard.access import process_gate

TIMEOUT_S: Final = 10.0
VERSION_ROUTE: Final = "/api/version"
"""Of Ray's Jobs API: what answers here takes jobs too."""


def dashboard_problem(url: str, route: str = VERSION_ROUTE) -> str:
    """Why a dashboard does not answer this process, asked with Ray's token; "" if it does."""
    return _problem(url.rstrip("/") + route, _token_header())


def is_open(url: str) -> bool:
    """Whether a dashboard answers whoever asks, without a token."""
    return not _problem(url.rstrip("/") + VERSION_ROUTE, {})


def _problem(url: str, headers: Mapping[str, str]) -> str:
    request = urllib.request.Request(url, headers=dict(headers))
    # A proxy of this desk's does not know the inside of a cluster.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        wants_token = " (Ray's token is needed)" if error.code in (401, 403) else ""
        return f"answers {error.code}{wants_token}"
    except (OSError, HTTPException, ValueError) as error:  # refused, silent, or no HTTP at all
        return f"does not answer ({getattr(error, 'reason', error)})"


def _token_header() -> dict[str, str]:
    """As Ray's own clients send it: none where the user has turned tokens off."""
    token = process_gate(frozenset()).token()
    if not token or (os.environ.get("RAY_AUTH_MODE") or "token").lower() != "token":
        return {}
    return {"Authorization": f"Bearer {token}"}
