"""A process that holds the model: batches of pixels in, probabilities out, and features if asked.

WORKER. Ray Data starts it (`batch_run`) and hands it batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
import torch
from torch import nn

from orchestrator.config.errors import OrchestratorError
from orchestrator.inference.each_row_once import FEATURES
from orchestrator.inference.forward import probabilities
from orchestrator.inference.projection import Projection
from orchestrator.ingest.shard import pixels_of
from orchestrator.training.precision import choose_precision

KEYS = ("request", "row_id")
"""Columns that tell whose row a batch's row is; they go through as they came."""


class Predictor:
    """Called with a batch (request, row_id, image); answers with (request, row_id, p0, p1, ...).

    With a projection also with `features`, a list of float32 a row.
    """

    def __init__(
        self,
        network: ray.ObjectRef[nn.Module],
        *,
        precision: str,
        image_shape: tuple[int, int, int],
        threads: int,
        on_gpu: bool,
        projection: Projection | None = None,
    ) -> None:
        """Take a copy of the network to this process's device.

        Args:
            network: in Ray's object store.
            precision: as the experiment asks for it: auto, fp32 or bf16.
            image_shape: (H, W, C).
            threads: to compute with on a CPU.
            on_gpu: whether this process was given a GPU.
            projection: what penultimate features are reduced to; None = none are wanted.
        """
        torch.set_num_threads(threads)
        self._device = torch.device("cuda" if on_gpu else "cpu")
        self._precision = choose_precision(precision, self._device)
        self._image_shape = image_shape
        copy: nn.Module = ray.get(network)
        layout = self._precision.memory_format
        self._network = copy.to(self._device).to(memory_format=layout).eval()
        self._projection = projection

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Predict one batch.

        Raises:
            OrchestratorError: it does not fit the device's memory.
        """
        images = pixels_of([batch], self._image_shape)
        try:
            found = self._predicted(images)
        except torch.OutOfMemoryError as error:
            first_line = str(error).splitlines()[0]
            raise OrchestratorError(
                f"batch_size: must fit the device's memory; got {len(images)}: {first_line}. "
                "Lower batch_size"
            ) from error
        return pa.table({name: batch.column(name) for name in KEYS} | found)

    def _predicted(self, images_BHWC: npt.NDArray[np.uint8]) -> dict[str, pa.Array]:
        with _penultimate(self._network, wanted=self._projection is not None) as seen:
            found_BK = probabilities(self._network, images_BHWC, self._precision, self._device)
        columns = {f"p{k}": pa.array(column) for k, column in enumerate(found_BK.T)}
        if self._projection is not None:
            features_BD = self._projection.of(seen[0])
            values = pa.array(features_BD.ravel(), pa.float32())
            columns[FEATURES] = pa.FixedSizeListArray.from_arrays(values, features_BD.shape[1])
        return columns


@contextmanager
def _penultimate(network: nn.Module, *, wanted: bool) -> Iterator[list[torch.Tensor]]:
    """What the network's classifier is fed with while the context lasts, a tensor a batch."""
    seen: list[torch.Tensor] = []
    if not wanted:
        yield seen
        return
    # Every model of ours has its last layer under this name (models/).
    classifier: nn.Module = network.classifier  # type: ignore[assignment]
    hook = classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        hook.remove()
