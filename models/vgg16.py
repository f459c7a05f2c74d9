"""The 13 convolutions of VGG16 (Simonyan & Zisserman 2014, configuration D). WORKER.

Five blocks of 3x3 convolutions with ReLU, each followed by a 2x2 max pool. At 96 px the sides go
96 > 48 > 24 > 12 > 6 > 3; an odd side loses its last row, so 48 px ends at 1.
"""

from collections import OrderedDict

from torch import nn

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
CONVOLUTIONS = tuple(
    f"conv{block}_{place}"
    for block, channels in enumerate(BLOCKS, start=1)
    for place in range(1, len(channels) + 1)
)


def trunk(width: float = 1.0) -> nn.Sequential:
    """The convolutional part: images_B3HW to maps of `trunk_channels(width)` channels.

    Args:
        width: factor on every number of channels; 1.0 is VGG16.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels_in = 3
    for block, sizes in enumerate(BLOCKS, start=1):
        for place, size in enumerate(sizes, start=1):
            channels_out = scaled(size, width)
            layers[f"conv{block}_{place}"] = nn.Conv2d(channels_in, channels_out, 3, padding=1)
            layers[f"relu{block}_{place}"] = nn.ReLU(inplace=True)
            channels_in = channels_out
        layers[f"pool{block}"] = nn.MaxPool2d(2)
    return nn.Sequential(layers)


def scaled(size: int, width: float) -> int:
    """A layer's size at this width: a multiple of 8, at least 8 (what vector units like)."""
    return max(8, int(size * width / 8 + 0.5) * 8)


def flattened_features(image_size: int, width: float) -> int:
    """Numbers per image after the trunk: 3 * 3 * 512 = 4608 at 96 px."""
    side = image_size // (1 << len(BLOCKS))
    return side * side * scaled(BLOCKS[-1][-1], width)
