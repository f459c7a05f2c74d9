"""How published files name the layers of VGG16, and which input their weights want. WORKER.

Every layout known here takes RGB, on one scale or another (so does vgg_face_dag: it came from
MatConvNet, which reads RGB). One that wants BGR, as Caffe and Keras conversions do, is to be met
by turning the input channels of its first convolution around when it is read, not at run time.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from models.errors import ModelError
from models.normalise import IMAGENET, IMAGENET_CAFFE, VGGFACE, Statistics
from models.vgg16 import CONVOLUTIONS
from models.weight_file import Layer, StoredWeights, finite, some_names

TORCHVISION_CONVOLUTIONS = dict(
    zip(CONVOLUTIONS, (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), strict=True)
)
VGGFACE_IDENTITIES = 2622
# torchvision names its files by their digest; this one is IMAGENET1K_FEATURES.
IMAGENET_FEATURES_DIGEST = "88682ab5"


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
    if "conv1_1" in layers:
        return _vgg_face_dag(stored)
    raise ModelError(
        f"model.weights: must hold VGG16 under the layer names of torchvision or timm "
        f"(features.0), of vgg_face_dag (conv1_1), or be a checkpoint of ours (normalise); "
        f"got {some_names(layers)} in {stored.source}"
    )


def _timm(layers: Mapping[str, Layer]) -> Layout | None:
    if not layers.keys() & {"pre_logits.fc1", "head.fc"}:
        return None
    hidden = {"hidden.fc6": "pre_logits.fc1", "hidden.fc7": "pre_logits.fc2"}
    return Layout("timm's vgg16", {**_numbered(), **hidden, "classifier": "head.fc"}, IMAGENET)


def _torchvision(stored: StoredWeights) -> Layout:
    top = [tensor for name, layer in stored.layers.items() if name.startswith("classifier.")
           for tensor in layer.values()]  # fmt: skip
    # IMAGENET1K_FEATURES fills its classifier with NaN and wants another input.
    features_only = stored.sha256.startswith(IMAGENET_FEATURES_DIGEST) or not finite(top)
    hidden = {"hidden.fc6": "classifier.0", "hidden.fc7": "classifier.3"}
    return Layout(
        "torchvision's vgg16",
        {**_numbered(), **hidden, "classifier": "classifier.6"},
        IMAGENET_CAFFE if features_only else IMAGENET,
    )


def _vgg_face_dag(stored: StoredWeights) -> Layout:
    top = stored.layers.get("fc8", {}).get("weight")
    if top is not None and len(top) != VGGFACE_IDENTITIES:
        raise ModelError(
            f"model.weights: fc8 of vgg_face_dag must have {VGGFACE_IDENTITIES} identities; got "
            f"{len(top)} in {stored.source}. These weights were trained on something else, so "
            "their input normalisation is unknown"
        )
    hidden = {"hidden.fc6": "fc6", "hidden.fc7": "fc7"}
    convolutions = {f"trunk.{name}": name for name in CONVOLUTIONS}
    return Layout("vgg_face_dag", {**convolutions, **hidden, "classifier": "fc8"}, VGGFACE)


def _numbered() -> dict[str, str]:
    return {f"trunk.{name}": f"features.{at}" for name, at in TORCHVISION_CONVOLUTIONS.items()}
