"""Input normalisation as the first layer of every model. WORKER.

Weights only make sense on the input they were trained on, so the model owns this step and a
checkpoint carries it: callers always pass RGB in [0, 1], whatever the weights want. Padding of
the first convolution then happens on normalised pixels, as it did where the weights were trained.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Statistics:
    """What is subtracted from, and what divides, RGB in [0, 1]."""

    name: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


UNIT = Statistics("unit", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

# For weights that were never trained: centred, and of about unit variance for faces (the standard
# deviation of a face crop is near 0.25), which is the input that He initialisation assumes.
CENTRED = Statistics("centred", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

IMAGENET = Statistics("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# torchvision's IMAGENET1K_FEATURES: the original VGG training subtracted a mean on the 0-255 scale.
IMAGENET_CAFFE = Statistics("imagenet-caffe", (0.48235, 0.45882, 0.40784), (1 / 255,) * 3)

# VGGFace (Parkhi et al. 2015): RGB on the 0-255 scale minus the training set's mean face colour.
VGGFACE = Statistics(
    "vggface",
    (129.186279296875 / 255, 104.76238250732422 / 255, 93.59396362304688 / 255),
    (1 / 255,) * 3,
)

# The same in keras-vggface, with its digits. It and Keras's own VGG16 read BGR; `keras_layers`
# turns their first convolution around, so that the means stand in RGB order here.
VGGFACE_KERAS = Statistics(
    "vggface-keras", (129.1863 / 255, 104.7624 / 255, 93.5940 / 255), (1 / 255,) * 3
)
IMAGENET_KERAS = Statistics(
    "imagenet-keras", (123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3
)


class Normalise(nn.Module):
    """(images - mean) / std per channel; the two are persistent buffers, never trained."""

    mean: Tensor
    std: Tensor

    def __init__(self, statistics: Statistics = CENTRED) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(statistics.mean))
        self.register_buffer("std", torch.tensor(statistics.std))

    def set(self, statistics: Statistics) -> None:
        """Replaces the statistics in place."""
        self.mean.copy_(torch.tensor(statistics.mean))
        self.std.copy_(torch.tensor(statistics.std))

    def statistics(self) -> Statistics:
        """The present values."""
        red, green, blue = self.mean.tolist()
        red_std, green_std, blue_std = self.std.tolist()
        return Statistics("", (red, green, blue), (red_std, green_std, blue_std))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Normalises float RGB in [0, 1]."""
        return (images_BCHW - self.mean.view(3, 1, 1)) / self.std.view(3, 1, 1)
