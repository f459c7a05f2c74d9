"""Text of unknown origin, made fit to be shown. PURE.

Values of trials, names of studies and error messages come from files and from foreign code. Shown
as they are, they could move a terminal's cursor, break a table, or inject markup or formulas.
"""

import math
import re
import unicodedata
from typing import Final

from rich.cells import cell_len, set_cell_size

from orchestrator.config.address import expanded

# Whole escape sequences go, not only their ESC: "\x1b[31mred" reads "red", not "[31mred".
_ESCAPES: Final = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])"
)
# Controls, formats (right-to-left overrides, zero-width characters), lone surrogates, private use.
_UNSHOWN: Final = frozenset({"Cc", "Cf", "Cs", "Co"})
# Where a path may begin: not in the middle of another, but right after -I of a compiler, or a written "\\n".
_START: Final = r"(?:(?<![\w.~-])|(?<=-[IL])|(?<=\\n))"
_HOME: Final = re.compile(rf"{_START}(?:(?:/home|/Users)/[^/\s'\":,]+|/root(?=/))")
_MARKDOWN: Final = re.compile(r"([\\`*_\[\]|~$#])")
_FORMULA_STARTS: Final = ("=", "+", "-", "@")


def one_line(text: str, limit: int = 0) -> str:
    """`text` on one line without control characters, cut to `limit` terminal columns if given."""
    spaced = re.sub(r"\s+", " ", _ESCAPES.sub("", text))
    clean = "".join(c for c in spaced if unicodedata.category(c) not in _UNSHOWN).strip()
    if limit and cell_len(clean) > limit:
        return set_cell_size(clean, limit - 1).rstrip() + "…"
    return clean


def without_home(text: str) -> str:
    """Text in which nobody's home folder is named."""
    home = expanded("~")  # it may lie anywhere
    if len(home) > 1:
        text = re.sub(rf"{_START}{re.escape(home)}(?=/)", "~", text)
    return _HOME.sub("~", text)


def in_markdown(text: str) -> str:
    """`text` as plain words in a Markdown table: no markup, HTML, link or mention arises from it."""
    words = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    words = _MARKDOWN.sub(r"\\\1", words)
    # Bare links and mentions need no brackets to become active.
    return words.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")


def in_csv(text: str) -> str:
    """`text` as a cell that no spreadsheet takes for a formula."""
    clean = one_line(text)
    return "'" + clean if clean.startswith(_FORMULA_STARTS) else clean


def value_text(value: str | int | float | bool | None, limit: int = 28) -> str:
    """A trial's value as people write it: true, none, 0.001, 1e-05, adam."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    return one_line(str(value), limit)


def duration(seconds: float) -> str:
    """For example "7 s", "3 min 12 s", "2 h 05 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
