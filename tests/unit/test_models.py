"""Names, checks, the paper's tables, initialisation."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import models
from models import baseline, main
from models.initialise import CLASSIFIER_STD, initialise, layer_seed
from models.vgg16 import scaled

ROOT = Path(models.__file__).parents[1]

# The paper's layer tables at 96 px and 6 classes: output shape (channels, height, width), parameters.
TRUNK = [
    ((64, 96, 96), 1792),
    ((64, 96, 96), 36928),
    ((64, 48, 48), 0),
    ((128, 48, 48), 73856),
    ((128, 48, 48), 147584),
    ((128, 24, 24), 0),
    ((256, 24, 24), 295168),
    ((256, 24, 24), 590080),
    ((256, 24, 24), 590080),
    ((256, 12, 12), 0),
    ((512, 12, 12), 1180160),
    ((512, 12, 12), 2359808),
    ((512, 12, 12), 2359808),
    ((512, 6, 6), 0),
    ((512, 6, 6), 2359808),
    ((512, 6, 6), 2359808),
    ((512, 6, 6), 2359808),
    ((512, 3, 3), 0),
    ((4608,), 0),
]
MAIN = [*TRUNK, ((4096,), 18878464), ((4096,), 16781312), ((6,), 24582)]
BASELINE = [*TRUNK, ((6,), 27654)]


def on_meta(module, num_classes: int = 6, image_size: int = 96, **options: float) -> nn.Module:
    with torch.device("meta"):
        return module.build(num_classes, image_size, **options)


@pytest.mark.parametrize(
    ("module", "table", "total"), [(main, MAIN, 50_399_046), (baseline, BASELINE, 14_742_342)]
)
def test_every_layer_has_the_papers_output_shape_and_parameter_count(module, table, total):
    model = on_meta(module)
    assert [row[1:] for row in models.layer_table(model, 96)] == table
    assert sum(parameter.numel() for parameter in model.parameters()) == total


@pytest.mark.parametrize("module", [main, baseline])
@pytest.mark.parametrize("image_size", [32, 33, 48, 100, 128])
def test_any_image_size_from_32_px_gives_logits(module, image_size):
    model = on_meta(module, num_classes=3, image_size=image_size, width=0.125)
    assert models.layer_table(model, image_size)[-1].output_shape == (3,)


@pytest.mark.parametrize(
    ("size", "width", "expected"),
    [
        (64, 1.0, 64),
        (64, 0.125, 8),
        (64, 0.01, 8),
        (512, 0.25, 128),
        (4096, 0.3, 1232),
        (64, 2, 128),
    ],
)
def test_width_scales_to_multiples_of_eight_and_at_least_eight(size, width, expected):
    assert scaled(size, width) == expected


def test_names_are_the_files_that_define_build():
    assert models.names() == ("baseline", "main")


def test_naming_and_checking_models_imports_no_torch():
    code = (
        "import sys, models; models.names(); models.check('main', image_size=96);"
        "models.check('timm:resnet18', image_size=96, weights='imagenet');"
        "sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"name": "mainn"}, "must be one of baseline, main or timm:<name>; got 'mainn'. Did you mean 'main'?"),
        ({"name": "weights"}, "got 'weights'"),
        ({"name": "timm:"}, "needs timm's name"),
        ({"image_size": 31}, "image_size: must be at least 32 px (five 2x2 pools); got 31"),
        ({"num_classes": 1}, "num_classes: must be at least 2; got 1"),
        ({"width": 0.0}, "model.width: must be above 0 and at most 4; got 0.0"),
        ({"width": float("nan")}, "model.width: must be above 0 and at most 4; got nan"),
        ({"name": "timm:resnet18", "width": 0.5}, "model.width: must be 1.0 for timm:resnet18"),
        ({"dropout": 1.0}, "model.dropout: must be at least 0 and below 1; got 1.0"),
        ({"normalisation": "zscore"}, "model.normalisation: must be native or unit"),
        ({"weights": "imagnet"}, "Did you mean 'imagenet'?"),
        ({"weights": "IMAGENET"}, "got 'IMAGENET'"),
        ({"weights": "imagenet", "width": 0.5}, "model.width: must be 1.0 with published weights"),
        ({"name": "timm:resnet18", "weights": "vggface"}, "must be one of random, imagenet for"),
        ({"weights": "nowhere/x.safetensors"}, "no such file; got nowhere/x.safetensors"),
        ({"weights": "x.onnx"}, "a file must end in .safetensors"),
        ({"weights_sha256": "abc"}, "must be 64 lower-case hexadecimal digits; got 'abc'"),
        ({"weights_sha256": "0" * 64}, "needs weights from a file; got model.weights=random"),
    ],
)  # fmt: skip
def test_a_bad_request_is_refused_with_rule_value_and_remedy(request_, message):
    with pytest.raises(models.ModelError) as caught:
        models.check(**{"name": "main", "image_size": 96, **request_})
    assert message in str(caught.value)
    assert len(caught.value.problems) == 1


def test_all_problems_of_a_request_are_told_at_once():
    with pytest.raises(models.ModelError) as caught:
        models.build("mainn", num_classes=0, image_size=8, width=-1, weights="none")
    assert len(caught.value.problems) == 5
    assert str(caught.value).count("\n") == 4


def test_a_model_error_survives_pickling():
    error = pickle.loads(pickle.dumps(models.ModelError("one", "two")))
    assert (error.problems, str(error)) == (("one", "two"), "one\ntwo")


def test_an_unknown_timm_model_is_refused_with_near_names():
    with pytest.raises(models.ModelError, match=r"got 'timm:resnet19'\. Did you mean timm:resnet"):
        models.build("timm:resnet19", num_classes=6, image_size=96)


def test_an_image_size_that_a_timm_model_cannot_take_is_refused():
    with pytest.raises(models.ModelError, match="timm:test_vit cannot be built at 50 px"):
        models.build("timm:test_vit", num_classes=6, image_size=50)


def test_hidden_layers_start_as_he_normal_and_the_classifier_near_zero():
    model, _ = models.build("main", num_classes=6, image_size=96, width=0.25)
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan_in = layer.weight[0].numel()
            expected = CLASSIFIER_STD if name == "classifier" else (2 / fan_in) ** 0.5
            # 6,144 numbers in the smallest hidden tensor but one: 5 % is over four sigmas.
            tolerance = 0.15 if layer.weight.numel() < 5000 else 0.05
            assert float(layer.weight.detach().std()) == pytest.approx(expected, rel=tolerance), (
                name
            )
            assert not layer.bias.any()


def test_a_layers_first_weights_do_not_depend_on_the_other_layers():
    with_hidden, _ = models.build("main", num_classes=6, image_size=48, width=0.125, seed=3)
    without, _ = models.build("baseline", num_classes=6, image_size=48, width=0.125, seed=3)
    ours = without.trunk.state_dict()
    assert all(
        torch.equal(ours[key], value) for key, value in with_hidden.trunk.state_dict().items()
    )
    assert not torch.equal(without.trunk.conv5_2.weight, without.trunk.conv5_3.weight)


def test_layers_that_are_kept_are_not_drawn_again():
    model = on_meta(baseline, width=0.125).to_empty(device="cpu")
    nn.init.constant_(model.trunk.conv1_1.weight, 5.0)
    initialise(model, seed=0, keep={"trunk.conv1_1"})
    assert (model.trunk.conv1_1.weight == 5.0).all()
    assert not (model.trunk.conv1_2.weight == 5.0).any()


def test_seeds_of_layers_differ_by_seed_and_by_name():
    seeds = {layer_seed(seed, name) for seed in (0, 1) for name in ("a", "b", "1:a")}
    assert len(seeds) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_features_reach_through_wrappers():
    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    model, _ = models.build("baseline", num_classes=6, image_size=32, width=0.125)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(models.features(Wrapper(model), images), models.features(model, images))


def test_a_classifier_on_loaded_layers_starts_smaller_than_one_on_drawn_layers():
    layers = torch.nn.Sequential()
    layers.add_module("trunk", nn.Linear(64, 512))
    layers.add_module("classifier", nn.Linear(512, 64))
    initialise(layers, seed=0)
    drawn = layers.classifier.weight.std().item()
    initialise(layers, seed=0, keep={"trunk"})
    assert layers.classifier.weight.std().item() == pytest.approx(drawn / 10, rel=1e-5)
