"""A network in forms that need none of our code: torch.export and ONNX, each checked.

DRIVER. float32 RGB in [0, 1] of shape (B, 3, H, W) goes in, logits (B, K) come out; the model's
own input normalisation is inside. A file is kept only if it answers as the network does, for one
image and for several, on images it was not traced with.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.config.errors import ConfigError, OrchestratorError

TOLERANCE = 1e-4
"""Largest difference of a probability: the same sums in float32, in another order."""
INPUT, OUTPUT = "images", "logits"
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TRACED_BATCH = 2  # a batch of one would be taken for a constant
CHECKED_BATCHES = (1, 3)

Answer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Agreement:
    """How far the answers of a file were from the network's.

    Attributes:
        largest_difference: of a probability, over all images tried.
        tolerance: what was allowed.
        images: how many were tried.
    """

    largest_difference: float
    tolerance: float
    images: int


def check_onnx_packages() -> None:
    """Refuse ONNX before anything is written where its packages are missing.

    Raises:
        ConfigError: names them, and how to get them.
    """
    missing = [name for name in ONNX_PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"formats: onnx needs {', '.join(missing)}, which is not installed; got onnx. Type "
            "pip install -c constraints.txt '.[export]', or leave it out: "
            "formats=[safetensors,torch]"
        )


def write_torch(network: nn.Module, image_px: int, path: Path) -> Agreement:
    """Write `torch.export`'s program (.pt2) for batches of any size.

    Raises:
        OrchestratorError: the model cannot be traced, or the file answers otherwise.
    """
    batch = torch.export.Dim("batch", min=1)
    with _told_apart("torch"):
        program = torch.export.export(
            network, (_images(TRACED_BATCH, image_px, 0),), dynamic_shapes=({0: batch},)
        )
        torch.export.save(program, path)
        loaded = torch.export.load(path).module()
    return _compare("torch", network, loaded, image_px)


def write_onnx(network: nn.Module, image_px: int, path: Path) -> Agreement:
    """Write ONNX in one file, for batches of any size, and check it through onnxruntime.

    Raises:
        ConfigError: its packages are not installed.
        OrchestratorError: the model cannot be traced, or the file answers otherwise.
    """
    check_onnx_packages()
    batch = torch.export.Dim("batch", min=1)
    with _told_apart("onnx"):
        torch.onnx.export(
            network,
            (_images(TRACED_BATCH, image_px, 0),),
            path,
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: batch},),
            external_data=False,
            verbose=False,
        )
        importlib.import_module("onnx").checker.check_model(str(path))
        runtime = importlib.import_module("onnxruntime")
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return _compare(
        "onnx",
        network,
        lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0]),
        image_px,
    )


def _compare(format_name: str, network: nn.Module, answer: Answer, image_px: int) -> Agreement:
    largest, num_images = 0.0, 0
    for seed, size in enumerate(CHECKED_BATCHES, start=1):
        images_BCHW = _images(size, image_px, seed)
        with torch.inference_mode():
            wanted = network(images_BCHW).softmax(dim=1)
            found = answer(images_BCHW).softmax(dim=1)
        difference = float((wanted - found).abs().max()) if found.shape == wanted.shape else np.inf
        largest, num_images = max(largest, difference), num_images + size
    if not largest <= TOLERANCE:
        raise OrchestratorError(
            f"formats: a file of format {format_name} must answer as the model does, to "
            f"{TOLERANCE:g} in each probability; got a difference of {largest:.3g}. It was not "
            "kept; leave that format out"
        )
    return Agreement(largest, TOLERANCE, num_images)


def _images(num_images: int, image_px: int, seed: int) -> Tensor:
    """Images of patches and noise: between them most units of a network are switched on."""
    generator = torch.Generator().manual_seed(seed)
    patches = torch.rand((num_images, 3, 4, 4), generator=generator)
    noise = torch.rand((num_images, 3, image_px, image_px), generator=generator)
    large = nn.functional.interpolate(patches, size=image_px, mode="bilinear")
    return (0.8 * large + 0.2 * noise).contiguous()


@contextmanager
def _told_apart(format_name: str) -> Iterator[None]:
    """Exporters warn of their own innards, and raise nearly anything: one line is enough."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise OrchestratorError(
            f"formats: a model must be traceable to be written as {format_name}; got: "
            f"{lines[0][:300]}. Leave that format out"
        ) from error
