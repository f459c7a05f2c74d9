"""How much a Parquet file from elsewhere may unpack to: a few bytes can stand for very many.

Three rules, checked before any reader unpacks a column whole: its codecs have a bounded ratio (lz4
at most 255), so that pages cannot grow without limit whatever their headers claim; a row group
takes at most `MAX_GROUP_BYTES`; and so do the texts of a row group once each row has its own copy,
which a dictionary of one long text and many rows would pass by.

PURE.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

CODECS = ("UNCOMPRESSED", "LZ4", "LZ4_RAW", "SNAPPY")
MAX_GROUP_BYTES = 64 * 2**20  # of a row group, unpacked: ours have 16 MiB


def fault_of_size(file: pa.NativeFile, metadata: pq.FileMetaData, image_bytes: int) -> str:
    """Says what a file unpacks to beyond the rules, in words that follow "must ...; got"; or "".

    Args:
        file: Opened; of it the columns of text are read, a row group at a time.
        metadata: Its footer.
        image_bytes: Of one image; 0 where the file has none. One image alone is never too large.
    """
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        codecs = {group.column(column).compression for column in range(group.num_columns)}
        if strange := sorted(codecs - set(CODECS)):
            return f"a file must be compressed by {', '.join(CODECS)}; got {', '.join(strange)}"
        claimed = max(group.num_rows * image_bytes, group.total_byte_size)
        if claimed > max(MAX_GROUP_BYTES, image_bytes + MAX_GROUP_BYTES // 2):
            return f"a row group must have at most {MAX_GROUP_BYTES} bytes; got {claimed}"
    for unpacked in _text_bytes(file, metadata):
        if unpacked > MAX_GROUP_BYTES:
            return f"the texts of a row group must have at most {MAX_GROUP_BYTES} bytes; got more"
    return ""


def _text_bytes(file: pa.NativeFile, metadata: pq.FileMetaData) -> Iterator[int]:
    """Bytes of each row group's texts, each row's its own; in memory each text is there once."""
    schema = metadata.schema.to_arrow_schema()
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    parquet = pq.ParquetFile(file, read_dictionary=texts, metadata=metadata)
    for number in range(metadata.num_row_groups):
        for column in parquet.read_row_group(number, columns=texts).columns:
            yield sum(map(_expanded_bytes, column.chunks))


def _expanded_bytes(column: pa.DictionaryArray) -> int:
    lengths = pc.binary_length(column.dictionary).cast(pa.int64()).take(column.indices)
    return pc.sum(lengths).as_py() or 0
