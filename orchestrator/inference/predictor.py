"""A process that holds the model: batches of pixels in, probabilities out.

WORKER. Ray Data starts it (`batch_run`) and hands it batches.
"""

from __future__ import annotations

import pyarrow as pa
import ray
import torch
from torch import nn

from orchestrator.config.errors import OrchestratorError
from orchestrator.inference.forward import probabilities
from orchestrator.ingest.shard import pixels_of
from orchestrator.training.precision import choose_precision

KEYS = ("request", "row_id")
"""Columns that tell whose row a batch's row is; they go through as they came."""


class Predictor:
    """Called with a batch (request, row_id, image); answers with (request, row_id, p0, p1, ...)."""

    def __init__(
        self,
        network: ray.ObjectRef[nn.Module],
        *,
        precision: str,
        image_shape: tuple[int, int, int],
        threads: int,
        on_gpu: bool,
    ) -> None:
        """Take a copy of the network to this process's device.

        Args:
            network: in Ray's object store.
            precision: as the experiment asks for it: auto, fp32 or bf16.
            image_shape: (H, W, C).
            threads: to compute with on a CPU.
            on_gpu: whether this process was given a GPU.
        """
        torch.set_num_threads(threads)
        self._device = torch.device("cuda" if on_gpu else "cpu")
        self._precision = choose_precision(precision, self._device)
        self._image_shape = image_shape
        copy: nn.Module = ray.get(network)
        layout = self._precision.memory_format
        self._network = copy.to(self._device).to(memory_format=layout).eval()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Predict one batch.

        Raises:
            OrchestratorError: it does not fit the device's memory.
        """
        images = pixels_of(batch, self._image_shape)
        try:
            found_BK = probabilities(self._network, images, self._precision, self._device)
        except torch.OutOfMemoryError as error:
            first_line = str(error).splitlines()[0]
            raise OrchestratorError(
                f"batch_size: must fit the device's memory; got {len(images)}: {first_line}. "
                "Lower batch_size"
            ) from error
        keys = {name: batch.column(name) for name in KEYS}
        return pa.table(keys | {f"p{k}": column for k, column in enumerate(found_BK.T)})
