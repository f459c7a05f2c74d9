"""Where `ablate` opens the leaderboard by itself: on a desktop, in a browser that takes no terminal."""

import io
import webbrowser

import pytest

from orchestrator.dashboard.tab import open_page

LINK = "http://127.0.0.1:8265/?ticket=once"


class Browser(webbrowser.BaseBrowser):
    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.fails = fails

    def open(self, url, new=0, autoraise=True):
        if self.fails:
            raise webbrowser.Error("it does not start")
        self.opened.append(url)
        return True


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def desk(monkeypatch):
    """A terminal on a Linux desktop; returns what sets its browser."""
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":0")

    def with_browser(browser, out=None):
        monkeypatch.setattr(
            "sys.stdout", out or Terminal()
        )  # now: pytest sets its own for each phase
        monkeypatch.setattr(webbrowser, "get", lambda: browser)
        return browser

    return with_browser


def test_on_a_desktop_the_link_is_opened(desk):
    browser = desk(Browser())
    assert open_page(LINK)
    assert browser.opened == [LINK]


@pytest.mark.parametrize("without", ["a link", "a desktop", "a terminal"])
def test_where_nobody_sits_nothing_is_opened(without, desk, monkeypatch):
    browser = desk(Browser(), io.StringIO() if without == "a terminal" else None)
    if without == "a desktop":
        monkeypatch.delenv("DISPLAY")
    assert not open_page("" if without == "a link" else LINK)
    assert browser.opened == []


def test_a_browser_of_the_terminal_is_left_alone(desk):
    desk(webbrowser.GenericBrowser("a-browser-that-is-not-there"))
    assert not open_page(LINK)


def test_a_browser_that_does_not_start_ends_nothing(desk):
    desk(Browser(fails=True))
    assert not open_page(LINK)
