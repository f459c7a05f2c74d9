"""Tables that appear line by line: what is measured is said at once, and a time-out loses nothing."""

from __future__ import annotations


def say(line: str = "") -> None:
    """A line, at once."""
    print(line, flush=True)


class Table:
    """A Markdown table whose rows are printed as they come."""

    def __init__(self, *columns: str) -> None:
        """Prints the head."""
        say(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
        self._num_columns = len(columns)

    def row(self, *cells: str) -> None:
        """Prints a row of as many cells."""
        assert len(cells) == self._num_columns, "a row has a cell for each column"
        say(f"| {' | '.join(cells)} |")
