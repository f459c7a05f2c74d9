"""`baseline`: VGG16's convolutions and one softmax layer, the paper's baseline. WORKER.

14,742,342 parameters at 96 px, 6 classes and width 1.0.
"""

from torch import Tensor, nn

from models.normalise import Normalise
from models.vgg16 import flattened_features, trunk


def build(
    num_classes: int, image_size: int, *, width: float = 1.0, dropout: float = 0.0
) -> nn.Module:
    """13 convolutions and FC num_classes on the flattened maps.

    Args:
        num_classes: number of logits.
        image_size: side of the square images, in pixels; at least 32.
        width: factor on channels; 1.0 is the paper's.
        dropout: probability before the classifier. The paper's table lists none.
    """
    return Baseline(num_classes, image_size, width, dropout)


class Baseline(nn.Module):
    """images_B3HW, RGB in [0, 1], to logits_BK."""

    def __init__(self, num_classes: int, image_size: int, width: float, dropout: float) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.trunk = trunk(width)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(flattened_features(image_size, width), num_classes)

    def features(self, images_BCHW: Tensor) -> Tensor:
        """Penultimate features_BF: the flattened maps of the last pool."""
        features_BF: Tensor = self.flatten(self.trunk(self.normalise(images_BCHW)))
        return features_BF

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Logits, before softmax."""
        logits_BK: Tensor = self.classifier(self.dropout(self.features(images_BCHW)))
        return logits_BK
