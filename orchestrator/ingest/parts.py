"""The Parquet files of a set from the pixels staged for it, each written once.

A receipt beside the staged pixels says that a file is whole, and by its name from which pixels
and columns it was made: a run that was killed writes only the files without one.

DRIVER; the tasks it starts are `slices.finish`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import ray

from orchestrator.config.folder import Folder
from orchestrator.ingest.manifest import SPLIT_COLUMN, File, schema
from orchestrator.ingest.slices import Stretch, finish
from orchestrator.ingest.tasks import in_bounds


def write_parts(
    partial: Folder,
    places: Sequence[Stretch],
    columns: pa.Table,
    *,
    image_px: int,
    out: Folder,
    rows_per_file: int,
) -> list[File]:
    """Writes the files of a set that are not there yet; Ray must be up.

    Args:
        partial: Folder of the staged pixels.
        places: Where in it the pixels of all rows lie, in order.
        columns: All other columns of all rows, in the order of the schema.
        image_px: Side of the images.
        out: Folder of the set; files in it that are no part of the set are removed.
        rows_per_file: Rows of one file.
    """
    names = columns.column_names
    protocols = [name.removeprefix(SPLIT_COLUMN) for name in names if name.startswith(SPLIT_COLUMN)]
    wanted = schema((image_px, image_px, 3), protocols)
    there, receipts = out.files(), partial.files()
    files: list[File] = []
    task = ray.remote(finish)

    def work() -> Iterator[ray.ObjectRef]:
        for part, stretches in enumerate(_cut(places, rows_per_file)):
            own = _rows(columns, part * rows_per_file, rows_per_file)
            name = f"part-{part:05d}.parquet"
            receipt = f"{name}.{_key(stretches, own)}.json"
            if receipt in receipts:
                file = File.model_validate_json(partial.read(receipt))
                if there.get(name) == file.bytes:
                    files.append(file)
                    continue
            yield task.remote(partial, stretches, own, wanted, out, name, receipt)

    files.extend(in_bounds(work()))
    for stale in set(there) - {file.name for file in files}:
        if stale.startswith("part-"):
            out.remove(stale)
    return sorted(files, key=lambda file: file.name)


def _cut(places: Iterable[Stretch], rows_per_file: int) -> Iterator[list[Stretch]]:
    """Gathers stretches of images into files of so many rows."""
    part: list[Stretch] = []
    room = rows_per_file
    for place in places:
        start = place.start
        while start < place.stop:
            stop = min(place.stop, start + room)
            part.append(Stretch(images=place.images, start=start, stop=stop))
            room -= stop - start
            start = stop
            if room == 0:
                yield part
                part, room = [], rows_per_file
    if part:
        yield part


def _rows(columns: pa.Table, start: int, rows: int) -> pa.Table:
    """Some rows as a table of their own: a slice would take all rows along to the worker."""
    stop = min(start + rows, columns.num_rows)
    return columns.take(np.arange(start, stop)).combine_chunks()


def _key(stretches: Sequence[Stretch], columns: pa.Table) -> str:
    """Digest of what a file is made from: the names of staged files carry their content's key."""
    digest = hashlib.sha256(repr(list(stretches)).encode())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, columns.schema) as stream:
        stream.write_table(columns)
    digest.update(sink.getvalue())
    return digest.hexdigest()[:16]
