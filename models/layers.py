"""What a model is made of, layer by layer, without computing an image. WORKER."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class LayerRow(NamedTuple):
    """One layer: its output shape without the batch dimension, and its trainable numbers."""

    name: str
    output_shape: tuple[int, ...]
    parameters: int


def table(model: nn.Module, image_size: int) -> tuple[LayerRow, ...]:
    """The layers that hold parameters or change the shape, in the order in which they run.

    Runs one image through stand-ins that have shapes but no numbers (torch's meta device), so it
    takes milliseconds at any size and leaves the model as it was.
    """
    rows: list[LayerRow] = []
    leaves = {name: layer for name, layer in model.named_modules() if not [*layer.children()]}
    hooks: list[RemovableHandle] = [
        layer.register_forward_hook(partial(_note, name, rows)) for name, layer in leaves.items()
    ]
    was_training = model.training
    try:
        image_1CHW = torch.empty(1, 3, image_size, image_size, device="meta")
        torch.func.functional_call(model.eval(), _shapes_of(model), (image_1CHW,))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return tuple(rows)


def _shapes_of(model: nn.Module) -> dict[str, Tensor]:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors}


def _note(
    name: str, rows: list[LayerRow], layer: nn.Module, inputs: tuple[object, ...], output: object
) -> None:
    if not isinstance(output, Tensor):
        return
    parameters = sum(parameter.numel() for parameter in layer.parameters())
    shapes_in = [tensor.shape for tensor in inputs if isinstance(tensor, Tensor)]
    if parameters or output.shape not in shapes_in:
        rows.append(LayerRow(name, tuple(output.shape[1:]), parameters))
