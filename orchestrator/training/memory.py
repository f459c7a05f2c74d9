"""What to say where memory does not suffice for a batch: the device's, or the node's.

WORKER, and the slot that hears how a worker died. Torch raises an error of its own for a device;
for the node's memory a plain RuntimeError, which only its words tell from any other.
"""

from __future__ import annotations

import torch

OF_THE_NODE = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough")
"""In the message of torch's allocator, on Linux and elsewhere."""
LOWER_ON_NODE = "Lower batch_size, resources.slots or resources.device_budget_gib"


def batch_words(batch_size: int, num_workers: int) -> str:
    """A batch as a message names it: over all workers, and of each."""
    if num_workers == 1:
        return f"batch_size={batch_size}, all of it on one worker"
    # A worker owns some rows of the data set for good: of a batch it has its share, more or less.
    each = -(-batch_size // num_workers)
    return f"batch_size={batch_size}, about {each} on each of {num_workers} workers"


def no_memory(error: BaseException, batch: str) -> str:
    """What to do about a batch that found no memory; "" where the error is about something else.

    Args:
        error: of a worker.
        batch: in the words of `batch_words`; "" before an experiment has begun.
    """
    got = "; ".join(filter(None, (f"got {batch}" if batch else "", _first_line(error))))
    if isinstance(error, torch.OutOfMemoryError):
        return f"batch_size: must fit the device's memory; {got}. Lower batch_size"
    if isinstance(error, MemoryError) or any(words in str(error) for words in OF_THE_NODE):
        return f"batch_size: must fit the node's memory; {got}. {LOWER_ON_NODE}"
    return ""


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
