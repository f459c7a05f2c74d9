"""A headless Chromium that is clicked and typed at: the DevTools protocol, over its web socket.

Source of the commands: https://chromedevtools.github.io/devtools-protocol/
"""

import asyncio
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.integration.headless_browser import CHROMIUM

START_S = 60.0
PORT_FILE = "DevToolsActivePort"


class Page:
    """One page of a browser; each question opens a connection of its own."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, script: str, **media: str) -> Any:
        """The value of an expression in the page, as on a desk with these media features."""
        features = [{"name": name.replace("_", "-"), "value": of} for name, of in media.items()]
        answer = self.commands(
            ("Emulation.setEmulatedMedia", {"features": features}),
            ("Runtime.evaluate", {"expression": script, "returnByValue": True}),
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, script: str, limit_s: float = 60.0) -> None:
        """Return when an expression is true."""
        end_s = time.monotonic() + limit_s
        while not self.ask(f"Boolean({script})"):
            assert time.monotonic() < end_s, f"never so: {script}"
            time.sleep(0.1)

    def press(self, key: str) -> None:
        """A key that has no character of its own, or Enter."""
        text = {"text": "\r"} if key == "Enter" else {}
        event = {"key": key, "code": key, **text}
        down, up = ({"type": kind, **event} for kind in ("keyDown", "keyUp"))
        self.commands(("Input.dispatchKeyEvent", down), ("Input.dispatchKeyEvent", up))

    def go(self, url: str) -> None:
        """To another page."""
        self.commands(("Page.navigate", {"url": url}))

    def commands(self, *commands: tuple[str, dict[str, object]]) -> Any:
        """The answer to the last of some commands; what they set holds until then."""
        return asyncio.run(self._commands(commands))

    async def _commands(self, commands: Sequence[tuple[str, dict[str, object]]]) -> Any:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{self._port}/json/list") as listed:
                pages = [found for found in await listed.json() if found["type"] == "page"]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as page:
                for number, (method, given) in enumerate(commands):
                    await page.send_json({"id": number, "method": method, "params": given})
                    answer = await _answer(page, number)
        return answer


async def _answer(page: aiohttp.ClientWebSocketResponse, number: int) -> Any:
    async for message in page:  # events come between
        if message.json().get("id") == number:
            return message.json()["result"]
    raise AssertionError("the browser has gone")


@contextmanager
def browsing(url: str, profile: Path) -> Iterator[Page]:
    """A browser at an address, as long as the context lasts."""
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
    port = ("--remote-debugging-port=0", f"--user-data-dir={profile}", "--window-size=1280,1400")
    with subprocess.Popen(
        [CHROMIUM, *options, *port, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield Page(_port(profile / PORT_FILE))
        finally:
            process.kill()


def _port(file: Path) -> int:
    end_s = time.monotonic() + START_S
    while not (file.is_file() and file.read_text().strip()):
        assert time.monotonic() < end_s, "the browser did not start"
        time.sleep(0.05)
    return int(file.read_text().split()[0])
