"""How published files name the layers of VGG16, and which input their weights want. WORKER.

The network is told by its layer names, its training by the number of its classes: 1000 of
ImageNet, 2622 identities of VGGFace. vgg_face_dag takes RGB (it came from MatConvNet, which reads
RGB). Keras's conversions take BGR; `keras_layers` has turned their first convolution around.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from models.errors import ModelError
from models.normalise import (
    IMAGENET,
    IMAGENET_CAFFE,
    IMAGENET_KERAS,
    VGGFACE,
    VGGFACE_KERAS,
    Statistics,
)
from models.vgg16 import CONVOLUTIONS
from models.weight_file import Layer, StoredWeights, finite, some_names

TORCHVISION_CONVOLUTIONS = dict(
    zip(CONVOLUTIONS, (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), strict=True)
)
VGGFACE_IDENTITIES = 2622
IMAGENET_CLASSES = 1000
# torchvision names its files by their digest; this one is IMAGENET1K_FEATURES.
IMAGENET_FEATURES_DIGEST = "88682ab5"
_CONVOLUTION = re.compile(r"(?:block\d+_)?conv\d+(?:_\d+)?")


@dataclass(frozen=True)
class Layout:
    """How a file names the layers of VGG16, and the input that it was trained on.

    Attributes:
        name: whose layout it is.
        file_layers: our layer's name to the file's; None when the file uses our own names.
        statistics: native normalisation; None when the file carries its own.
    """

    name: str
    file_layers: Mapping[str, str] | None
    statistics: Statistics | None


def recognise(stored: StoredWeights) -> Layout:
    """Tells by the layer names whose layout this is.

    Raises:
        ModelError: none that is known, with what was looked for and what was found.
    """
    layers = stored.layers
    if "normalise" in layers:
        return Layout("a checkpoint of ours", None, None)
    if "features.0" in layers:
        return _timm(layers) or _torchvision(stored)
    if "block1_conv1" in layers and stored.keras:
        return _keras_vgg16(stored)
    if "conv1_1" in layers:
        return _vgg_face(stored)
    raise ModelError(
        "model.weights: must hold VGG16 under the layer names of torchvision or timm "
        "(features.0), of vgg_face_dag or keras-vggface (conv1_1), of Keras (block1_conv1), or be "
        f"a checkpoint of ours (normalise); got {some_names(layers)} in {stored.source}"
    )


def _timm(layers: Mapping[str, Layer]) -> Layout | None:
    if not layers.keys() & {"pre_logits.fc1", "head.fc"}:
        return None
    hidden = {"hidden.fc6": "pre_logits.fc1", "hidden.fc7": "pre_logits.fc2"}
    return Layout("timm's vgg16", {**_numbered(), **hidden, "classifier": "head.fc"}, IMAGENET)


def _torchvision(stored: StoredWeights) -> Layout:
    top = [tensor for name, layer in stored.layers.items() if name.startswith("classifier.")
           for tensor in layer.values()]  # fmt: skip
    hidden = {"hidden.fc6": "classifier.0", "hidden.fc7": "classifier.3"}
    file_layers = {**_numbered(), **hidden, "classifier": "classifier.6"}
    if _num_classes(stored, "classifier.6") == VGGFACE_IDENTITIES:
        return Layout("vgg_face_dag under torchvision's names", file_layers, VGGFACE)
    # IMAGENET1K_FEATURES fills its classifier with NaN and wants another input.
    features_only = stored.sha256.startswith(IMAGENET_FEATURES_DIGEST) or not finite(top)
    return Layout("torchvision's vgg16", file_layers, IMAGENET_CAFFE if features_only else IMAGENET)


def _vgg_face(stored: StoredWeights) -> Layout:
    layout = "keras-vggface" if stored.keras else "vgg_face_dag"
    _require_classes(stored, layout, "fc8", VGGFACE_IDENTITIES)
    convolutions = {f"trunk.{name}": name for name in CONVOLUTIONS}
    _refuse_deeper(stored, layout, convolutions)
    hidden = {"hidden.fc6": "fc6", "hidden.fc7": "fc7"}
    statistics = VGGFACE_KERAS if stored.keras else VGGFACE
    return Layout(layout, {**convolutions, **hidden, "classifier": "fc8"}, statistics)


def _keras_vgg16(stored: StoredWeights) -> Layout:
    layout = "Keras's vgg16"
    _require_classes(stored, layout, "predictions", IMAGENET_CLASSES)
    convolutions = {
        f"trunk.{name}": name.replace("conv", "block").replace("_", "_conv")
        for name in CONVOLUTIONS
    }
    _refuse_deeper(stored, layout, convolutions)
    hidden = {"hidden.fc6": "fc1", "hidden.fc7": "fc2"}
    return Layout(layout, {**convolutions, **hidden, "classifier": "predictions"}, IMAGENET_KERAS)


def _numbered() -> dict[str, str]:
    return {f"trunk.{name}": f"features.{at}" for name, at in TORCHVISION_CONVOLUTIONS.items()}


def _num_classes(stored: StoredWeights, layer: str) -> int | None:
    top = stored.layers.get(layer, {}).get("weight")
    return len(top) if top is not None and top.ndim else None


def _require_classes(stored: StoredWeights, layout: str, layer: str, expected: int) -> None:
    found = _num_classes(stored, layer)
    if found not in (None, expected):
        raise ModelError(
            f"model.weights: {layer} of {layout} must have {expected} classes; got {found} in "
            f"{stored.source}. These weights were trained on something else, so their input "
            "normalisation is unknown"
        )


def _refuse_deeper(stored: StoredWeights, layout: str, convolutions: Mapping[str, str]) -> None:
    """VGG19 has all of VGG16's layer names, with the same shapes, and three more."""
    extra = [name for name in stored.layers if _CONVOLUTION.fullmatch(name)]
    extra = sorted(set(extra) - set(convolutions.values()))
    if extra:
        raise ModelError(
            f"model.weights: {layout} must have VGG16's 13 convolutions; got {', '.join(extra)} "
            f"besides them in {stored.source}. It is a deeper network"
        )
