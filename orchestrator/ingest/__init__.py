"""Ingest: raw faces to audited Parquet, and prepared data back into memory.

In the order a data set is made: `listing` (which rows, DRIVER), `decoding` (pixels, WORKER),
`slices` (a slice of rows to a file, WORKER), `splits` and `audit` (PURE), `writing` (the whole
pipeline on Ray, DRIVER), `manifest` (what is written beside the data), `dataset` (opened again
and checked).
"""
