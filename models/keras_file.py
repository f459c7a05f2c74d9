"""The numbers of a Keras .h5 file, and nothing else of it. WORKER.

HDF5 can do much more than hold numbers: link to other files, keep a dataset's bytes in them, show
one dataset as parts of others, run decompressors, and promise more numbers than the file holds.
Published weights do none of that, so a file that does is refused before a number is read.
Attributes, where Keras keeps names and settings, are not read at all.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from models.errors import ModelError
from models.keras_layers import role

if TYPE_CHECKING:
    import h5py

# VGG16 with 4096-4096-2622 has 145 million numbers in 32 tensors, at most three groups deep.
LARGEST_BYTES = 2 * 1024**3
MOST_ENTRIES = 200
DEEPEST = 3
LARGEST_RANK = 4


def read(path: Path) -> dict[str, Tensor]:
    """Reads a file that Keras's `save_weights` wrote.

    Args:
        path: HDF5 with a group a layer, holding kernels and biases.

    Returns:
        float32 tensors in Keras's order of axes, by their path in the file
        (`conv1_1/conv1_1/kernel:0`).

    Raises:
        ModelError: not HDF5, or something in it that weights do not need.
    """
    import h5py  # an optional package; weight_problems() has said so where it is missing

    try:
        # A file on a shared or read-only disk cannot always be locked, and nobody writes to it.
        with h5py.File(path, "r", locking=False) as file:
            datasets = dict(_datasets(file, "", 1, _Budget()))
            problem = _excess(datasets)
            tensors = {} if problem else {name: _tensor(found) for name, found in datasets.items()}
    # Whatever the HDF5 library makes of a damaged file: OSError, RuntimeError, KeyError, ...
    except _Refused as refused:
        problem = str(refused)
    except Exception as error:
        raise ModelError(
            f"model.weights: must be a Keras .h5 file; got {path} "
            f"({type(error).__name__}: {str(error)[:100]}). It is damaged, cut short, or another "
            "format"
        ) from error
    if problem:
        raise ModelError(
            f"model.weights: a Keras .h5 file must hold one group a layer with its kernel and "
            f"bias, as save_weights() writes VGG16; got {problem} in {path}. Use the published "
            "file, or convert it to safetensors"
        )
    return tensors


class _Refused(Exception):
    """What the file holds that weights do not need."""


class _Budget:
    """Counts entries: groups can hold millions, and each other."""

    def __init__(self) -> None:
        self.left = MOST_ENTRIES

    def spend(self, entries: int) -> None:
        self.left -= entries
        if self.left < 0:
            raise _Refused(f"more than {MOST_ENTRIES} entries")


def _datasets(
    group: "h5py.Group", prefix: str, depth: int, budget: _Budget
) -> Iterator[tuple[str, "h5py.Dataset"]]:
    import h5py

    budget.spend(len(group))
    for key in group:
        name = prefix + key
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise _Refused(f"{name!a}, a link to elsewhere")
        entry = group.get(key)
        if isinstance(entry, h5py.Dataset):
            _require_plain(name, entry)
            yield name, entry
        elif isinstance(entry, h5py.Group) and depth <= DEEPEST:
            yield from _datasets(entry, f"{name}/", depth + 1, budget)
        else:
            raise _Refused(f"{name!a}, which is neither a layer nor numbers")


def _require_plain(name: str, dataset: "h5py.Dataset") -> None:
    """Numbers in this file, all of them, as they are."""
    import h5py

    stored = dataset.id.get_create_plist()
    if not role(name):
        raise _Refused(f"{name!a}, neither kernel nor bias")
    if not isinstance(dataset.dtype, np.dtype) or dataset.dtype.kind != "f":
        raise _Refused(f"{name!a} of {dataset.dtype}, not floating point")
    if not 1 <= dataset.ndim <= LARGEST_RANK or 0 in dataset.shape:
        raise _Refused(f"{name!a} with {dataset.ndim} axes or none")
    if stored.get_layout() not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT):
        raise _Refused(f"{name!a}, which is compressed, chunked or virtual")
    if stored.get_external_count():
        raise _Refused(f"{name!a}, whose numbers lie in another file")
    if dataset.id.get_storage_size() != _num_bytes(dataset):
        raise _Refused(f"{name!a}, without all its numbers")


def _excess(datasets: dict[str, "h5py.Dataset"]) -> str:
    if not datasets:
        return "no numbers"
    total = sum(map(_num_bytes, datasets.values()))
    return f"{total:,} bytes, more than {LARGEST_BYTES:,}" if total > LARGEST_BYTES else ""


def _num_bytes(dataset: "h5py.Dataset") -> int:
    # Python's integers: numpy's product of a hostile shape would wrap around.
    total = int(dataset.dtype.itemsize)
    for side in dataset.shape:
        total *= int(side)
    return total


def _tensor(dataset: "h5py.Dataset") -> Tensor:
    numbers: np.ndarray[Any, np.dtype[np.float32]] = dataset.astype(np.float32)[()]
    return torch.from_numpy(numbers)
