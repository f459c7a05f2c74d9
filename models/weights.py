"""Pretrained and saved weights into a model of ours, layer by layer. WORKER.

Each layer is taken over by name and verified by shape. All convolutions must fit, or the file is
refused; hidden layers and the classifier may differ (other image size, other classes) and are then
initialised, and the report says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from models.errors import ModelError
from models.layouts import Layout, recognise
from models.normalise import Normalise
from models.weight_file import Layer, StoredWeights, finite, group, some_names
from models.weight_report import Shapes, WeightRow


@dataclass(frozen=True)
class Origin:
    """Where a model's weights came from; see WeightReport."""

    layout: str
    sha256: str
    normalisation: str
    rows: tuple[WeightRow, ...]


def random_origin(model: nn.Module, normalisation: str) -> Origin:
    """Nothing was loaded."""
    layers = group(dict(model.named_parameters()))
    rows = [WeightRow(name, "initialised", shapes(layers[name]), "random") for name in layers]
    return Origin("", "", normalisation, tuple(rows))


def load(model: nn.Module, stored: StoredWeights) -> Origin:
    """Copies every layer that fits and says what became of each.

    The input normalisation becomes the one that the weights were trained with. Layers listed as
    initialised are left as they are.

    Raises:
        ModelError: unknown layer names, or a convolution of the model is missing in the file or
            has another shape.
    """
    layout = recognise(stored)
    ours = group(model.state_dict())
    file_layers = layout.file_layers or {name: name for name in ours}
    fates = _fates(model, ours, stored.layers, file_layers, foreign=layout.statistics is not None)
    _require_convolutions(model, stored, layout, fates)
    for name, reason in fates.items():
        if not reason:
            _copy(stored.layers[file_layers[name]], ours[name])
    _take_statistics(model, stored, layout)
    normalisation = layout.statistics.name if layout.statistics else "as in the checkpoint"
    rows = _rows(ours, stored, file_layers, fates)
    return Origin(layout.name, stored.sha256, normalisation, rows)


def shapes(layer: Layer) -> Shapes:
    """Shape of each tensor of a layer."""
    return {name: tuple(tensor.shape) for name, tensor in layer.items()}


def _fates(
    model: nn.Module,
    ours: Mapping[str, Layer],
    theirs: Mapping[str, Layer],
    file_layers: Mapping[str, str],
    *,
    foreign: bool,
) -> dict[str, str]:
    """Per layer of the model, why it is not loaded; "" where it is."""
    fates: dict[str, str] = {}
    new_units = ""
    for name, layer in ours.items():
        if name == "normalise":
            continue
        reason = _misfit(layer, theirs.get(file_layers.get(name, "")))
        if name == "classifier" and foreign and not reason.startswith("not in"):
            reason = "trained for other classes"
        if isinstance(model.get_submodule(name), nn.Linear):
            # Weights of a layer mean nothing on units that are freshly drawn.
            reason = reason or new_units
            new_units = new_units or (f"its input {name} is not loaded" if reason else "")
        fates[name] = reason
    return fates


def _misfit(ours: Layer, theirs: Layer | None) -> str:
    if theirs is None:
        return "not in the file"
    for name, tensor in ours.items():
        found = theirs.get(name)
        if found is None:
            return f"the file has no {name}"
        if _fitted(found, tensor) is None:
            return f"the file has {_by(found)}, needs {_by(tensor)}"
    if not finite(theirs.values()):
        return "the file has NaN or infinite values"
    return ""


def _fitted(found: Tensor, wanted: Tensor) -> Tensor | None:
    if found.is_floating_point() != wanted.is_floating_point():
        return None
    if wanted.ndim == 2 and found.ndim == 4 and found.shape[1:].numel() == wanted.shape[1]:
        # timm keeps VGG's hidden layers as convolutions: the same numbers in the same order.
        found = found.flatten(1)
    return found if found.shape == wanted.shape else None


def _require_convolutions(
    model: nn.Module, stored: StoredWeights, layout: Layout, fates: Mapping[str, str]
) -> None:
    targets = (layout.file_layers or fates).keys()
    convolutions = [name for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)]
    if layout.file_layers and not targets & set(convolutions):
        raise ModelError(
            f"model.weights: {layout.name} fits models on VGG16's 13 convolutions; got a "
            f"{type(model).__name__} without them. Use model.weights=random"
        )
    misfits = [f"{name}: {fates[name]}" for name in convolutions if fates[name]]
    if misfits:
        more = f" and {len(misfits) - 3} more" if len(misfits) > 3 else ""
        raise ModelError(
            f"model.weights: every convolution must be in the file and fit ({layout.name}); got "
            f"{'; '.join(misfits[:3])}{more} in {stored.source} with {some_names(stored.layers)}. "
            "Check that it is the same network, and model.width (1.0 for published weights)"
        )


def _copy(theirs: Layer, ours: Layer) -> None:
    for name, tensor in ours.items():
        fitted = _fitted(theirs[name], tensor)
        assert fitted is not None, "only layers that fit are copied"
        tensor.copy_(fitted)  # state_dict() shares memory with the model and tracks no gradient


def _take_statistics(model: nn.Module, stored: StoredWeights, layout: Layout) -> None:
    normalise = model.get_submodule("normalise")
    assert isinstance(normalise, Normalise)
    if layout.statistics is not None:
        normalise.set(layout.statistics)
        return
    carried = stored.layers["normalise"]
    if shapes(carried) != {"mean": (3,), "std": (3,)} or not finite(carried.values()):
        raise ModelError(
            f"model.weights: a checkpoint of ours must hold normalise.mean and normalise.std of "
            f"3 finite numbers; got {shapes(carried)} in {stored.source}"
        )
    _copy(carried, group(model.state_dict())["normalise"])


def _rows(
    ours: Mapping[str, Layer],
    stored: StoredWeights,
    file_layers: Mapping[str, str],
    fates: Mapping[str, str],
) -> tuple[WeightRow, ...]:
    rows: list[WeightRow] = []
    used = {"normalise"}
    for name, reason in fates.items():
        file_layer = file_layers.get(name, "")
        if not reason:
            used.add(file_layer)
            change = stored.changes.get(file_layer, "")
            rows.append(WeightRow(name, "loaded", shapes(ours[name]), change, file_layer))
        else:
            rows.append(WeightRow(name, "initialised", shapes(ours[name]), reason))
    wanted = {file_layers[name]: reason for name, reason in fates.items() if name in file_layers}
    for file_layer, layer in stored.layers.items():
        if file_layer not in used:
            reason = wanted.get(file_layer, "no such layer in the model")
            rows.append(WeightRow("", "skipped", shapes(layer), reason, file_layer))
    return tuple(rows)


def _by(tensor: Tensor) -> str:
    kind = "" if tensor.is_floating_point() else f" {tensor.dtype}"
    return "x".join(map(str, tensor.shape)) + kind
