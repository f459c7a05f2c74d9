"""What the workers of one training exchange besides gradients.

WORKER. With one worker there is no process group and nothing is exchanged.
"""

from __future__ import annotations

import torch
import torch.distributed as dist


def num_workers() -> int:
    """Workers that train together; 1 where there is no process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This worker's place among them; 0 is the leader."""
    return dist.get_rank() if dist.is_initialized() else 0


def sum_over_workers(tensor: torch.Tensor) -> torch.Tensor:
    """Add up, in place, what each worker has; returns the tensor."""
    if num_workers() > 1:
        dist.all_reduce(tensor)
    return tensor
