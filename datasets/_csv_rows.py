"""Rows of a CSV file with their line numbers, for the adapters that read tables. DRIVER."""

import csv
from collections.abc import Iterator
from pathlib import Path

from datasets import SourceError


def csv_rows(table: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields line number and fields of each row that is not blank, header included.

    Bytes that are not UTF-8 arrive as lone surrogates, so that they spoil a row, not the table.

    Raises:
        SourceError: The file cannot be read or is no CSV.
    """
    line = 1
    try:
        with table.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.reader(file)
            for row in reader:
                line = reader.line_num + 1
                if row:
                    yield reader.line_num, row
    except csv.Error as error:
        raise SourceError(
            f"{table.name}:{line}: must be CSV; got an error: {error}. Mend that line."
        ) from None
    except OSError as error:
        raise SourceError(f"source: cannot be read ({error.strerror}); got '{table}'.") from None
