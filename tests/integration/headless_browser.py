"""A headless Chromium, where one is installed: what a page is after its scripts have run."""

import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed here")


def dump(url: str, profile: Path, *, size: str = "1280,6000", budget_ms: int = 12_000) -> str:
    """The document as it is when `budget_ms` of the page's own time have passed."""
    return _run(profile, size, budget_ms, "--dump-dom", url)


def _run(profile: Path, size: str, budget_ms: int, *what: str) -> str:
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        f"--user-data-dir={profile}",
        f"--window-size={size}",
        f"--virtual-time-budget={budget_ms}",
        *what,
    ]
    found = subprocess.run(command, capture_output=True, timeout=180, check=True)
    return found.stdout.decode()
