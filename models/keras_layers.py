"""Keras's tensors as PyTorch would have them. WORKER.

Keras keeps a convolution's kernel as (height, width, in, out) and a dense layer's as (in, out).
It flattens maps in the order (height, width, channel), PyTorch in (channel, height, width), so the
rows of the first dense layer are put in another order. Both published VGG16 conversions came from
Caffe and read BGR: the first convolution's input channels are turned around once, here, and the
model goes on reading RGB.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Literal

from torch import Tensor

from models.errors import ModelError

FIRST_CONVOLUTIONS = ("conv1_1", "block1_conv1")
LAST_CONVOLUTIONS = ("conv5_3", "block5_conv3")
FIRST_DENSE = ("fc6", "fc1")

# The last part of a name: `kernel:0` (Keras 2), `kernel` (Keras 3), `block1_conv1_W_1:0` (Keras 1).
_ROLE = re.compile(r"(?:kernel|(?P<bias>bias|.+_b(?:_\d+)?)|.+_W(?:_\d+)?)(?::0)?")


def role(name: str) -> Literal["weight", "bias", ""]:
    """What PyTorch calls the tensor of this name; "" for what is neither kernel nor bias."""
    found = _ROLE.fullmatch(re.split("[/.]", name)[-1])
    if found is None:
        return ""
    return "bias" if found["bias"] else "weight"


def is_keras(names: Iterable[str]) -> bool:
    """Whether these are Keras's names of VGG16: PyTorch knows no kernels."""
    return any(
        role(name) == "weight" and re.split("[/.]", name)[0] in FIRST_CONVOLUTIONS for name in names
    )


def in_torch_order(
    tensors: Mapping[str, Tensor], source: str
) -> tuple[dict[str, dict[str, Tensor]], dict[str, str]]:
    """Names and axes as in PyTorch, BGR turned to RGB.

    Args:
        tensors: by their names in the file, the layer's first: `conv1_1/conv1_1/kernel:0`.
        source: the file, for messages.

    Returns:
        `layers[layer]["weight" | "bias"]`, and what was done to a layer besides its axes.

    Raises:
        ModelError: names or shapes that Keras does not write in TensorFlow's order.
    """
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        layer, part = re.split("[/.]", name)[0], role(name)
        if not part or part in layers.setdefault(layer, {}):
            raise ModelError(
                "model.weights: each Keras layer must hold one kernel and one bias; "
                f"got {name!a} in {source}"
            )
        layers[layer][part] = _turned(tensor, name, source) if part == "weight" else tensor
    return layers, {**_to_rgb(layers), **_to_channels_first(layers, source)}


def _turned(kernel: Tensor, name: str, source: str) -> Tensor:
    if kernel.ndim == 2:
        return kernel.T
    if kernel.ndim == 4 and kernel.shape[0] == kernel.shape[1]:
        return kernel.permute(3, 2, 0, 1)
    raise ModelError(
        f"model.weights: Keras kernels must be in TensorFlow's order (height, width, in, out) or "
        f"(in, out); got {name!a} of {'x'.join(map(str, kernel.shape))} in {source}"
    )


def _to_rgb(layers: Mapping[str, dict[str, Tensor]]) -> dict[str, str]:
    changes = {}
    for name in FIRST_CONVOLUTIONS:
        if "weight" in layers.get(name, {}):
            layers[name]["weight"] = layers[name]["weight"].flip(1)
            changes[name] = "BGR turned to RGB"
    return changes


def _to_channels_first(layers: Mapping[str, dict[str, Tensor]], source: str) -> dict[str, str]:
    changes = {}
    for name, convolution in zip(FIRST_DENSE, LAST_CONVOLUTIONS, strict=True):
        kernel = layers.get(name, {}).get("weight")
        maps = layers.get(convolution, {}).get("weight")
        if kernel is None or kernel.ndim != 2 or maps is None:
            continue
        units, inputs = kernel.shape
        channels = len(maps)
        side = math.isqrt(inputs // max(channels, 1))
        if side * side * channels != inputs:
            raise ModelError(
                f"model.weights: {name} must read square maps of {channels} channels; "
                f"got {inputs} inputs in {source}"
            )
        # As a convolution over the whole map, which is loaded like timm's; a view, not a copy.
        layers[name]["weight"] = kernel.T.reshape(side, side, channels, units).permute(3, 2, 0, 1)
        changes[name] = "height-width-channel turned to channel-height-width"
    return changes
