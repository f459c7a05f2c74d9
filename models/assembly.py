"""A model with its first weights: construct, load, initialise the rest, settle the input. WORKER."""

import importlib

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from models import weight_file, weight_path, weights
from models.initialise import initialise, private_randomness
from models.normalise import CENTRED, UNIT, Normalise
from models.request import Request
from models.weight_report import WeightReport
from models.weight_source import RANDOM, TIMM


def assemble(request: Request) -> tuple[nn.Module, WeightReport]:
    """Carries out a request that has no problems."""
    model, origin = _timm(request) if request.name.startswith(TIMM) else _own(request)
    normalise = model.get_submodule("normalise")
    assert isinstance(normalise, Normalise), "every model owns its input normalisation"
    if request.normalisation == "unit":
        normalise.set(UNIT)
    statistics = normalise.statistics()
    report = WeightReport(
        model=request.name,
        source=request.weights,
        layout=origin.layout,
        sha256=origin.sha256,
        pinned=bool(request.weights_sha256),
        normalisation="unit" if request.normalisation == "unit" else origin.normalisation,
        mean=statistics.mean,
        std=statistics.std,
        rows=origin.rows,
    )
    return model, report


def _own(request: Request) -> tuple[nn.Module, weights.Origin]:
    module = importlib.import_module(f"models.{request.name}")
    # Layers draw default weights while they are built; initialise() replaces those.
    with private_randomness(request.seed):
        model: nn.Module = module.build(
            request.num_classes, request.image_size, width=request.width, dropout=request.dropout
        )
    if request.weights == RANDOM:
        origin = weights.random_origin(model, CENTRED.name)
    else:
        path = weight_path.find(request.weights, request.weights_sha256)
        origin = weights.load(model, weight_file.read(path, request.weights_sha256))
    loaded = {row.layer for row in origin.rows if row.action == "loaded"}
    initialise(model, request.seed, keep=loaded)
    return model, origin


def _timm(request: Request) -> tuple[nn.Module, weights.Origin]:
    from models.timm_backbone import build_backbone  # timm takes a second to import

    return build_backbone(
        request.name.removeprefix(TIMM),
        num_classes=request.num_classes,
        image_size=request.image_size,
        dropout=request.dropout,
        source=request.weights,
        sha256=request.weights_sha256,
        seed=request.seed,
    )


def parameter_count(request: Request) -> int:
    """Trainable numbers of the model that a request without problems asks for."""
    return sum(parameter.numel() for parameter in _without_numbers(request).parameters())


def averages_over_a_batch(request: Request) -> bool:
    """Whether the model that a request without problems asks for has batch norm."""
    return any(isinstance(module, _BatchNorm) for module in _without_numbers(request).modules())


def _without_numbers(request: Request) -> nn.Module:
    """The model on torch's meta device."""
    with torch.device("meta"):
        if request.name.startswith(TIMM):
            import timm

            model: nn.Module = timm.create_model(
                request.name.removeprefix(TIMM), pretrained=False, num_classes=request.num_classes
            )
        else:
            module = importlib.import_module(f"models.{request.name}")
            model = module.build(request.num_classes, request.image_size, width=request.width)
    return model
