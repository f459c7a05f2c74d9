"""`main`: VGG16 with its two hidden layers and a new classifier, the paper's main model. WORKER.

50,399,046 parameters at 96 px, 6 classes and width 1.0.
"""

from collections import OrderedDict

from torch import Tensor, nn

from models.normalise import Normalise
from models.vgg16 import flattened_features, scaled, trunk

HIDDEN_UNITS = 4096


def build(
    num_classes: int, image_size: int, *, width: float = 1.0, dropout: float = 0.0
) -> nn.Module:
    """13 convolutions, FC 4096, FC 4096, FC num_classes.

    Args:
        num_classes: number of logits.
        image_size: side of the square images, in pixels; at least 32.
        width: factor on channels and hidden units; 1.0 is the paper's.
        dropout: probability after each hidden layer. The paper's table lists none.
    """
    return Main(num_classes, image_size, width, dropout)


class Main(nn.Module):
    """images_B3HW, RGB in [0, 1], to logits_BK."""

    def __init__(self, num_classes: int, image_size: int, width: float, dropout: float) -> None:
        super().__init__()
        hidden = scaled(HIDDEN_UNITS, width)
        self.normalise = Normalise()
        self.trunk = trunk(width)
        self.flatten = nn.Flatten()
        self.hidden = nn.Sequential(
            OrderedDict[str, nn.Module](
                fc6=nn.Linear(flattened_features(image_size, width), hidden),
                relu6=nn.ReLU(inplace=True),
                dropout6=nn.Dropout(dropout),
                fc7=nn.Linear(hidden, hidden),
                relu7=nn.ReLU(inplace=True),
                dropout7=nn.Dropout(dropout),
            )
        )
        self.classifier = nn.Linear(hidden, num_classes)

    def features(self, images_BCHW: Tensor) -> Tensor:
        """Penultimate features_BF: the output of the second hidden layer."""
        features_BF: Tensor = self.hidden(self.flatten(self.trunk(self.normalise(images_BCHW))))
        return features_BF

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Logits, before softmax."""
        logits_BK: Tensor = self.classifier(self.features(images_BCHW))
        return logits_BK
