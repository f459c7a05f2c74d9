"""Same weights, same activations as torchvision's VGG16, layer by layer."""

import pytest
import safetensors.torch
import torch
from torch import nn
from torchvision.models import vgg

import models

IMAGE_PX = 64
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@pytest.fixture(scope="module")
def torchvision_features() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return vgg.make_layers(vgg.cfgs["D"]).eval()


@pytest.fixture(scope="module")
def weights_file(torchvision_features, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "vgg16.safetensors"
    state = {f"features.{key}": value for key, value in torchvision_features.state_dict().items()}
    safetensors.torch.save_file(state, path)
    return path


def outputs(layers: nn.Sequential, images_BCHW: torch.Tensor) -> list[torch.Tensor]:
    found = []
    for layer in layers:
        images_BCHW = layer(images_BCHW)
        if not isinstance(layer, nn.Conv2d):  # ReLU works in place on a convolution's output
            found.append(images_BCHW)
    return found


@pytest.mark.parametrize("name", ["main", "baseline"])
@torch.no_grad()
def test_every_activation_of_the_trunk_equals_torchvisions(
    name, torchvision_features, weights_file
):
    model, report = models.build(
        name, num_classes=6, image_size=IMAGE_PX, weights=str(weights_file)
    )
    images_BCHW = torch.rand(2, 3, IMAGE_PX, IMAGE_PX, generator=torch.Generator().manual_seed(1))
    ours = outputs(model.trunk, model.normalise(images_BCHW))
    theirs = outputs(torchvision_features, (images_BCHW - MEAN) / STD)
    assert len(report.layers("loaded")) == 13
    assert len(ours) == len(theirs) == 18  # 13 ReLU, 5 pools
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)  # the same operations in the same order: no tolerance
