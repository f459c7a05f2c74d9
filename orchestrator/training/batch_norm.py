"""Batch norm that has nothing to average: one image whose features are one value a channel.

WORKER. torch refuses it in the middle of an epoch, on the one worker that has such a part of a
batch, while the others wait for its gradients. So it is known before the first epoch: which models
would refuse is found without computing anything, and which part of a batch is whose does not
depend on the epoch (`ingest/order.py`: a row's place changes, the places of a worker do not).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from orchestrator.config.errors import TrainingError
from orchestrator.ingest.order import batch_bounds
from orchestrator.ingest.shard import Shard
from orchestrator.training.exchange import num_workers, sum_over_workers


def needs_two_rows(model: nn.Module, image_size: int) -> bool:
    """Whether the model cannot train on a single image of this size.

    Args:
        model: neither its weights nor its buffers are read or written.
        image_size: side of the square images, pixels.
    """
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return False
    shapes = {
        name: torch.empty_like(tensor, device="meta")
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }
    image = torch.empty(1, 3, image_size, image_size, device="meta")
    try:
        torch.func.functional_call(model, shapes, (image,))
    except ValueError:
        return True
    except (NotImplementedError, RuntimeError):  # it cannot be traced without data
        return False
    return False


def refuse_single_rows(shard: Shard, batch_size: int, device: torch.device) -> None:
    """Make sure that no worker's part of any batch is exactly one row; all of them ask together.

    Raises:
        TrainingError: one is; the same on all workers.
    """
    bounds = batch_bounds(np.sort(shard.ranks), shard.num_rows, batch_size)
    single = torch.from_numpy((np.diff(bounds) == 1).astype(np.int64))
    found = np.flatnonzero(sum_over_workers(single.to(device)).cpu().numpy())
    if not len(found):
        return
    batch = int(found[0])
    raise TrainingError(
        "batch_size: must leave each worker none or at least two rows of every batch, as this "
        "model's batch norm averages single values; got a single row in batch "
        f"{batch + 1} of {len(single)} with batch_size={batch_size}, {shard.num_rows} rows and "
        f"{num_workers()} workers. Choose another batch_size or resources.workers",
        final=False,
    )
