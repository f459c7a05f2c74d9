"""`timm:<name>`: any image model of timm with a new classifier. WORKER.

Its weights are timm's own (`imagenet`, or a tag such as `resnet18.tv_in1k`), a file in timm's layer
names, or a checkpoint of ours. Unloaded layers keep timm's own initialisation, which suits each
architecture.
"""

import difflib
from collections.abc import Callable, Mapping

import timm
import timm.data
import torch
from torch import Tensor, nn

from models import timm_weights, weight_file, weight_path, weight_source, weights
from models.errors import ModelError
from models.initialise import private_randomness
from models.normalise import Normalise, Statistics
from models.weight_report import Action, WeightRow


class TimmBackbone(nn.Module):
    """images_B3HW, RGB in [0, 1], to logits_BK."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        data = timm.data.resolve_model_data_config(backbone)
        self.normalise = Normalise(Statistics("timm", tuple(data["mean"]), tuple(data["std"])))
        self.backbone = backbone

    @property
    def classifier(self) -> nn.Module:
        """The layer behind the penultimate features."""
        layer: nn.Module = self.backbone.get_classifier()  # type: ignore[operator]
        return layer

    def features(self, images_BCHW: Tensor) -> Tensor:
        """Penultimate features_BF: pooled, before the classifier."""
        maps: Tensor = self.backbone.forward_features(self.normalise(images_BCHW))  # type: ignore[operator]
        features_BF: Tensor = self.backbone.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        return features_BF

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Logits, before softmax."""
        logits_BK: Tensor = self.backbone(self.normalise(images_BCHW))
        return logits_BK


def build_backbone(
    name: str,
    *,
    num_classes: int,
    image_size: int,
    dropout: float,
    source: str,
    sha256: str,
    seed: int,
) -> tuple[TimmBackbone, weights.Origin]:
    """Builds `timm:<name>` and loads its weights.

    Args:
        name: timm's name, with or without a weights tag (`resnet18.a1_in1k`).
        num_classes: number of logits.
        image_size: side of the images in pixels; told to models that fix it (transformers).
        dropout: timm's `drop_rate`.
        source: `random`, `imagenet`, timm's name with a tag, a URL or a file.
        sha256: digest the file must have; "" accepts any.
        seed: of what is not loaded.

    Returns:
        The model, and what became of each layer.

    Raises:
        ModelError: timm has no such model, or it cannot be built or loaded as asked.
    """
    name = weight_source.timm_name(weight_source.TIMM + name, source) or name
    create = _creator(name, num_classes, image_size, dropout, seed)
    model = TimmBackbone(create(False, None))
    _require_image_size(model, name, image_size)
    if source == weight_source.RANDOM:
        return model, weights.random_origin(model, "timm")
    stored = _stored(name, source, sha256)
    if stored is None:
        pretrained = TimmBackbone(create(True, None))
        return pretrained, weights.Origin("timm", "", "timm", _compared(model, pretrained, {}))
    if "normalise" in stored.layers:
        return model, weights.load(model, stored)
    pretrained = TimmBackbone(create(True, stored.layers))
    rows = _compared(model, pretrained, stored.layers)
    if not any(row.action == "loaded" for row in rows):
        raise ModelError(
            f"model.weights: must hold layers of timm's {name} ({_first_layers(rows)}, ...); got "
            f"{weight_file.some_names(stored.layers)} in {source}"
        )
    rows = (*rows, *_left_out(rows, stored.layers))
    return pretrained, weights.Origin(f"timm's {name}", stored.sha256, "timm", rows)


def _stored(name: str, source: str, sha256: str) -> weight_file.StoredWeights | None:
    """The weights' file, read; None where only timm knows how to read it."""
    if not weight_source.timm_name(weight_source.TIMM + name, source):
        return weight_file.read(weight_path.find(source, sha256), sha256)
    if path := timm_weights.hub_file(name):
        return weight_file.read(path, sha256)
    timm_weights.require_network(name)
    if sha256:
        raise ModelError(
            f"model.weights_sha256: needs weights from a file; got model.weights={source}, which "
            "timm fetches and reads itself. Give the file as model.weights=<path>"
        )
    return None


Create = Callable[[bool, Mapping[str, weight_file.Layer] | None], nn.Module]


def _creator(name: str, num_classes: int, image_size: int, dropout: float, seed: int) -> Create:
    """A function that builds the same backbone each time: random, timm's weights, or a file's."""
    if not timm.is_model(name.partition(".")[0]):
        raise ModelError(_unknown(name))
    options: dict[str, object] = {"drop_rate": dropout} if dropout else {}
    if timm_weights.config(name).fixed_input_size:
        options["img_size"] = image_size

    def create(pretrained: bool, layers: Mapping[str, weight_file.Layer] | None) -> nn.Module:
        overlay = {"state_dict": _flat(layers)} if layers is not None else None
        with private_randomness(seed):
            try:
                backbone: nn.Module = timm.create_model(
                    name,
                    pretrained=pretrained,
                    pretrained_cfg_overlay=overlay,
                    num_classes=num_classes,
                    **options,
                )
            # timm and its download client raise whatever they come across.
            except Exception as error:
                raise ModelError(_failure(name, image_size, pretrained, layers, error)) from error
        return backbone

    return create


@torch.no_grad()
def _require_image_size(model: TimmBackbone, name: str, image_size: int) -> None:
    """Tries one black image: many architectures find out about a size only when they run."""
    try:
        model.eval()(torch.zeros(1, 3, image_size, image_size))
    # Each architecture has its own way to fail.
    except Exception as error:
        raise ModelError(_failure(name, image_size, False, None, error)) from error
    model.train()


def _unknown(name: str) -> str:
    architecture = name.partition(".")[0]
    close = difflib.get_close_matches(architecture, timm.list_models(), n=3)
    hint = f"Did you mean {' or '.join(f'timm:{match}' for match in close)}?" if close else ""
    return f"model.name: timm must know it; got 'timm:{name}'. {hint or 'See timm.list_models()'}"


def _failure(
    name: str,
    image_size: int,
    pretrained: bool,
    layers: Mapping[str, weight_file.Layer] | None,
    error: Exception,
) -> str:
    detail = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
    if not pretrained:
        return f"model.name: timm:{name} cannot be built at {image_size} px; got '{detail}'"
    if layers is not None:
        return f"model.weights: the file must fit timm:{name}; got '{detail}'"
    return timm_weights.not_fetched(name, timm_weights.config(name).url, error)


def _flat(layers: Mapping[str, weight_file.Layer]) -> dict[str, Tensor]:
    return {
        f"{layer}.{name}" if layer else name: tensor
        for layer, tensors in layers.items()
        for name, tensor in tensors.items()
    }


def _compared(
    initial: nn.Module, loaded: nn.Module, layers: Mapping[str, weight_file.Layer]
) -> tuple[WeightRow, ...]:
    """What timm loaded, told by what changed: both models started from the same draws.

    timm loads leniently when the number of classes differs and only logs what it left out. A layer
    that holds what the file has under its name was loaded, too, though a scale of 1 is no change.
    """
    before = weight_file.group(dict(initial.named_parameters()))
    rows = []
    for name, layer in weight_file.group(dict(loaded.named_parameters())).items():
        taken = not _same(layer, before[name]) or _same(
            layer, layers.get(name.removeprefix("backbone."), {})
        )
        action: Action = "loaded" if taken else "initialised"
        reason = "" if taken else "not loaded by timm"
        rows.append(WeightRow(name, action, weights.shapes(layer), reason))
    return tuple(rows)


def _same(layer: weight_file.Layer, other: weight_file.Layer) -> bool:
    return all(
        name in other and tensor.shape == other[name].shape and bool((tensor == other[name]).all())
        for name, tensor in layer.items()
    )


def _left_out(
    rows: tuple[WeightRow, ...], layers: Mapping[str, weight_file.Layer]
) -> tuple[WeightRow, ...]:
    """The file's layers that timm did not take, unless timm renamed layers while it loaded."""
    loaded = {row.layer.removeprefix("backbone.") for row in rows if row.action == "loaded"}
    if not loaded <= layers.keys():
        return ()
    return tuple(
        WeightRow("", "skipped", weights.shapes(layers[name]), "not loaded by timm", name)
        for name in layers
        if name not in loaded
    )


def _first_layers(rows: tuple[WeightRow, ...]) -> str:
    return ", ".join(row.layer.removeprefix("backbone.") for row in rows[:4])
