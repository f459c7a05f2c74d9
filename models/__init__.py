"""The networks: one file a model, its name is the name in configs.

To add one, write `models/<name>.py` with

    def build(num_classes: int, image_size: int, *, width: float, dropout: float) -> nn.Module

whose module takes float32 images_B3HW (RGB in [0, 1]) to logits_BK and has three parts:
`normalise` (a `models.normalise.Normalise`, applied first), `features(images)` (penultimate
features_BF) and `classifier` (the last layer). It then trains, loads and is tested like the others
(`tests/conformance/test_every_model.py`). `timm:<name>` is any model of timm.

Importing this package, listing names and checking a config load no torch; building does (WORKER).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.errors import ModelError
from models.request import Request, names, problems
from models.weight_report import WeightReport, WeightRow
from models.weight_source import own_file

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.layers import LayerRow

__all__ = [
    "ModelError",
    "WeightReport",
    "WeightRow",
    "build",
    "check",
    "features",
    "layer_table",
    "names",
    "own_file",
]


def check(
    name: str,
    *,
    image_size: int,
    num_classes: int = 2,
    width: float = 1.0,
    dropout: float = 0.0,
    normalisation: str = "native",
    weights: str = "random",
    weights_sha256: str = "",
) -> None:
    """Refuses what `build` would refuse, as far as that shows without torch or reading weights.

    Raises:
        ModelError: all problems at once. Whether timm knows a name shows in `build` only.
    """
    request = Request(
        name, image_size, num_classes, width, dropout, normalisation, weights, weights_sha256
    )
    if found := problems(request):
        raise ModelError(*found)


def build(
    name: str,
    *,
    num_classes: int,
    image_size: int,
    width: float = 1.0,
    dropout: float = 0.0,
    normalisation: str = "native",
    weights: str = "random",
    weights_sha256: str = "",
    seed: int = 0,
) -> tuple[nn.Module, WeightReport]:
    """Builds a model on the CPU, with its first weights in it.

    The same arguments give the same bits, and no random number of the caller's is used up.

    Args:
        name: one of `names()`, or `timm:<name>`.
        num_classes: number of logits.
        image_size: side of the square images, in pixels; at least 32.
        width: factor on channels and hidden units; 1.0 is the paper's.
        dropout: probability of dropout before the classifier and between hidden layers.
        normalisation: `native` (what the weights were trained on; random ones: mean 0.5,
            divisor 0.25) or `unit` ([0, 1] straight in, as the study did).
        weights: `random`, `imagenet`, `vggface`, a name of torchvision's (IMAGENET1K_FEATURES)
            or timm's (vgg16.tv_in1k), or a file or URL (.safetensors, .pt, .pth, .h5).
        weights_sha256: digest that the file must have; "" accepts any.
        seed: of every weight that is not loaded.

    Returns:
        The module (images_B3HW, RGB in [0, 1], to logits_BK) and what became of each layer.

    Raises:
        ModelError: unknown name, impossible size, or weights that are absent or do not fit.
    """
    request = Request(
        name, image_size, num_classes, width, dropout, normalisation, weights, weights_sha256, seed
    )
    if found := problems(request):
        raise ModelError(*found)
    from models.assembly import assemble  # torch is wanted from here on only

    return assemble(request)


def features(model: nn.Module, images_BCHW: Tensor) -> Tensor:
    """Penultimate features_BF of a model built here, also when DDP or compile wrap it.

    Gradients and train or eval mode are the caller's choice.
    """
    while not hasattr(model, "features"):
        model = model.module if hasattr(model, "module") else model._orig_mod  # type: ignore[assignment]
    features_BF: Tensor = model.features(images_BCHW)  # type: ignore[operator]
    return features_BF


def layer_table(model: nn.Module, image_size: int) -> tuple[LayerRow, ...]:
    """(name, output shape, parameters) of each layer that has parameters or changes the shape."""
    from models import layers

    return layers.table(model, image_size)


def count_parameters(name: str, *, num_classes: int, image_size: int, width: float = 1.0) -> int:
    """Trainable numbers of a model, without making them (torch's meta device).

    Raises:
        ModelError: the model cannot be built.
    """
    from models.assembly import parameter_count

    check(name, image_size=image_size, num_classes=num_classes, width=width)
    return parameter_count(Request(name, image_size, num_classes, width))


def has_batch_norm(name: str, *, image_size: int) -> bool:
    """Whether what a model says of an image in training depends on the others of its batch.

    Raises:
        ModelError: the model cannot be built.
    """
    from models.assembly import averages_over_a_batch

    check(name, image_size=image_size)
    return averages_over_a_batch(Request(name, image_size, 2, 1.0))
