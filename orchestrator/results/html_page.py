"""A web page in one file, made of text that is not trusted. PURE.

Nothing is fetched and nothing runs: styles and pictures are inside, and the page's own policy
forbids the rest, should a name ever get past the escaping. Light and dark follow the reader's
system. What others wrote (names of files, labels, data sets) comes in through `words`.
"""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from orchestrator.results.printable import one_line

MAX_WORDS: Final = 160
MAX_CAPTION: Final = 2000
"""A caption says in its end what holds of all the figures below it."""

_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c1f23; --soft: #5b636d; --line: #d9dde2;
  --ground: #ffffff; --card: #f5f7f9; --bad: #b3261e; --good: #1a7f37; --link: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #9aa3ad; --line: #363c44;
  --ground: #14171a; --card: #1e2226; --bad: #ff8a80; --good: #6bd089; --link: #6cb8e6; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; overflow-wrap: anywhere; }
main { max-width: 66rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .5rem 0; max-width: 46rem; }
a { color: var(--link); }
.soft { color: var(--soft); }
.bad { color: var(--bad); font-weight: 600; }
.good { color: var(--good); font-weight: 600; }
ul.verdicts { list-style: none; margin: 1rem 0; padding: 0; }
ul.verdicts li { background: var(--card); border-left: .3rem solid var(--good);
  border-radius: .25rem; padding: .5rem .9rem; margin: .5rem 0; }
ul.verdicts li.warns { border-left-color: var(--bad); }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
caption { text-align: left; color: var(--soft); padding-bottom: .35rem; }
th, td { text-align: right; padding: .35rem .8rem; border-bottom: 1px solid var(--line);
  vertical-align: bottom; max-width: 20rem; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--soft); font-weight: 600; font-size: .875rem; }
tbody th { font-weight: 400; min-width: 9rem; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1rem;
  list-style: none; margin: 1rem 0; padding: 0; }
.pairs > li { background: var(--card); border-radius: .5rem; padding: .75rem 1rem; }
.pairs p { margin: 0 0 .5rem; font-size: .875rem; }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: .75rem; }
figure { margin: 0; }
figcaption { font-size: .8125rem; line-height: 1.35; margin-top: .35rem; }
img { max-width: 100%; height: auto; display: block; border-radius: .25rem; }
.two img { width: 100%; }
.paper { background: #ffffff; padding: .75rem; border-radius: .5rem; }
.banner { border: 2px solid var(--bad); border-radius: .5rem; padding: .75rem 1rem; margin: 1rem 0; }
tbody td { white-space: nowrap; }
td.wraps { white-space: normal; text-align: left; min-width: 14rem; }
td.theirs { color: var(--soft); font-style: italic; }
td a { color: inherit; text-decoration-color: var(--line); }
pre { background: var(--card); border-radius: .5rem; padding: .75rem 1rem; overflow-x: auto;
  font-size: .8125rem; white-space: pre-wrap; }
"""


@dataclass(frozen=True)
class Cell:
    """A table's cell, with a class of the style sheet where it is to stand out.

    `link` is a relative address, percent-encoded: of the file that a number is from.
    """

    text: str
    mark: str = ""
    link: str = ""


Row = Sequence[str | Cell]


def page(title: str, body: str) -> str:
    """The whole document; `body` is HTML, the title is not."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{words(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def words(text: str, limit: int = MAX_WORDS) -> str:
    """Text of any origin as HTML: one line, cut to a length, no markup, no control characters."""
    return html.escape(one_line(text, limit))


def table(caption: str, head: Sequence[str], rows: Sequence[Row]) -> str:
    """A table of text; the first column names the rows."""
    said = words(caption, MAX_CAPTION)
    heads = "".join(f'<th scope="col">{words(name)}</th>' for name in head)
    body = "\n".join(_row(row) for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{said}">'
        f"<table>\n<caption>{said}</caption>\n"
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def picture(png: bytes, alt: str) -> str:
    """A PNG inside the page; `alt` says what it shows."""
    width, height = Image.open(io.BytesIO(png), formats=["PNG"]).size
    data = base64.b64encode(png).decode()
    size = f'width="{width}" height="{height}"'
    return f'<img src="data:image/png;base64,{data}" {size} alt="{words(alt, MAX_CAPTION)}">'


def png_of(image_HWC: npt.NDArray[np.uint8]) -> bytes:
    """An RGB image as PNG, bit for bit."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image_HWC)).save(file, "PNG")
    return file.getvalue()


def _row(row: Row) -> str:
    first, *others = (cell if isinstance(cell, Cell) else Cell(cell) for cell in row)
    cells = "".join(f"<td{_marked(cell)}>{_linked(cell)}</td>" for cell in others)
    return f'<tr><th scope="row"{_marked(first)}>{_linked(first)}</th>{cells}</tr>'


def _linked(cell: Cell) -> str:
    text = words(cell.text)
    return f'<a href="{html.escape(cell.link)}">{text}</a>' if cell.link else text


def _marked(cell: Cell) -> str:
    return f' class="{cell.mark}"' if cell.mark else ""
