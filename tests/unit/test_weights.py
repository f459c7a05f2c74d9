"""Every published layout, partial loads, refusals; no file here was trained by anyone.

The networks are VGG16 in layout and depth but narrow, which is all that loading depends on; the
real sizes are compared with torchvision in `tests/parity`.
"""

import hashlib
import json
import pickle
from collections import OrderedDict
from dataclasses import replace

import pytest
import safetensors.torch
import timm
import torch
from torch import nn
from torchvision.models import vgg

import models
from models import download, layouts, main, vgg16, weight_source
from models.vgg16 import CONVOLUTIONS

HIDDEN = 16
BLOCKS = ((16, 16), (32, 32), (48, 48, 48), (64, 64, 64), (64, 64, 64))
NARROW_VGG16 = [size for block in BLOCKS for size in (*block, "M")]
NARROW_VGG19 = [size for block in BLOCKS for size in (*block, *block[2:], "M")]
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
FACE_MEAN_255 = torch.tensor([129.186279296875, 104.76238250732422, 93.59396362304688])


@pytest.fixture(autouse=True)
def narrow_network(monkeypatch):
    monkeypatch.setattr(vgg16, "BLOCKS", BLOCKS)
    monkeypatch.setattr(main, "HIDDEN_UNITS", HIDDEN)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """VGG16 as torchvision builds it for 224 px, but narrow; lively activations."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            OrderedDict(
                features=vgg.make_layers(NARROW_VGG16),
                flatten=nn.Flatten(),
                classifier=nn.Sequential(
                    nn.Linear(64 * 7 * 7, HIDDEN),
                    nn.ReLU(),
                    nn.Dropout(),
                    nn.Linear(HIDDEN, HIDDEN),
                    nn.ReLU(),
                    nn.Dropout(),
                    nn.Linear(HIDDEN, 1000),
                ),
            )
        )
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
                nn.init.normal_(layer.bias, std=0.1)
    return network.eval()


@pytest.fixture(scope="module")
def state(network):
    return network.state_dict()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def convolutions_file(state, folder):
    path = folder / "convolutions.safetensors"
    safetensors.torch.save_file(only(state, "features."), path)
    return path


@pytest.fixture(scope="module")
def full_file(state, folder):
    path = folder / "full.pth"
    torch.save(state, path)
    return path


def only(state, prefix: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state.items() if key.startswith(prefix)}


def face_state(state, identities: int = 2622) -> dict[str, torch.Tensor]:
    """The same network under the names of vgg_face_dag."""
    numbers = layouts.TORCHVISION_CONVOLUTIONS.values()
    source = {
        **{name: f"features.{at}" for name, at in zip(CONVOLUTIONS, numbers, strict=True)},
        **{"fc6": "classifier.0", "fc7": "classifier.3"},
    }
    renamed = {
        f"{name}.{part}": state[f"{old}.{part}"]
        for name, old in source.items()
        for part in ("weight", "bias")
    }
    top = {"fc8.weight": torch.zeros(identities, HIDDEN), "fc8.bias": torch.zeros(identities)}
    return {**renamed, **top}


def image(side: int) -> torch.Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))


def build(name="main", image_size=96, path="random", **options):
    options = {"num_classes": 6, "image_size": image_size, "weights": str(path), **options}
    return models.build(name, **options)


def penultimate(network, images_BCHW):
    return network.classifier[:5](network.flatten(network.features(images_BCHW)))


def close(found, expected):
    # Scales near 1; normalising in another order of operations costs a few float32 roundings.
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


# What is computed: as where the weights were trained


@torch.no_grad()
def test_torchvisions_weights_compute_what_they_compute_there(network, full_file):
    model, report = build(image_size=224, path=full_file)
    close(
        models.features(model.eval(), image(224)), penultimate(network, (image(224) - MEAN) / STD)
    )
    assert report.layout == "torchvision's vgg16"
    assert report.normalisation == "imagenet"
    assert report.layers("initialised") == ("classifier",)


@torch.no_grad()
def test_timms_weights_compute_what_they_compute_there(folder, monkeypatch):
    monkeypatch.setattr(main, "HIDDEN_UNITS", 4096)  # timm's are not adjustable
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        theirs = timm.models.VGG(NARROW_VGG16).eval()
    path = folder / "timm.safetensors"
    safetensors.torch.save_file(theirs.state_dict(), path)
    model, report = build(image_size=224, path=path)
    maps = theirs.forward_features((image(224) - MEAN) / STD)
    expected = theirs.forward_head(maps, pre_logits=True)
    close(models.features(model.eval(), image(224)), expected)
    assert expected.abs().max() > 0
    assert (report.layout, report.normalisation) == ("timm's vgg16", "imagenet")


@torch.no_grad()
def test_vggface_weights_compute_what_they_compute_there(network, state, folder):
    path = folder / "vgg_face_dag.pth"
    torch.save(face_state(state), path)
    model, report = build(image_size=224, path=path)
    pixels = image(224) * 255 - FACE_MEAN_255.view(3, 1, 1)
    close(models.features(model.eval(), image(224)), penultimate(network, pixels))
    assert (report.layout, report.normalisation) == ("vgg_face_dag", "vggface")


@torch.no_grad()
def test_imagenet1k_features_is_told_by_its_empty_classifier(network, state, folder):
    path = folder / "features.pth"
    empty = {key: value * float("nan") for key, value in only(state, "classifier.").items()}
    torch.save({**state, **empty}, path)
    model, report = build("baseline", image_size=64, path=path)
    mean = torch.tensor([0.48235, 0.45882, 0.40784]).view(3, 1, 1)
    expected = network.features((image(64) - mean) * 255).flatten(1)
    close(models.features(model, image(64)), expected)
    assert report.normalisation == "imagenet-caffe"


def test_unit_normalisation_overrides_the_weights_own(convolutions_file):
    model, report = build("baseline", path=convolutions_file, normalisation="unit")
    assert torch.equal(model.normalise(image(96)), image(96))
    assert (report.normalisation, report.mean, report.std) == ("unit", (0, 0, 0), (1, 1, 1))


# What is loaded, skipped, initialised


def test_at_another_image_size_hidden_layers_start_anew_and_the_report_says_why(full_file):
    _, report = build(image_size=96, path=full_file)
    reasons = {row.layer or row.file_layer: row.reason for row in report.rows}
    assert len(report.layers("loaded")) == 13
    assert report.layers("initialised") == ("hidden.fc6", "hidden.fc7", "classifier")
    assert report.layers("skipped") == ("classifier.0", "classifier.3", "classifier.6")
    assert reasons["hidden.fc6"] == "the file has 16x3136, needs 16x576"
    assert reasons["hidden.fc7"] == "its input hidden.fc6 is not loaded"
    assert reasons["classifier"] == "trained for other classes"


def test_what_is_not_loaded_is_initialised_by_the_seed(convolutions_file):
    (first, _), (again, _), (other, _) = (
        build("baseline", path=convolutions_file, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert torch.equal(first.trunk.conv3_2.weight, other.trunk.conv3_2.weight)


def test_layers_that_the_model_lacks_are_listed_as_skipped(full_file):
    _, report = build("baseline", path=full_file)
    reasons = {row.file_layer: row.reason for row in report.rows if row.action == "skipped"}
    assert reasons == {
        "classifier.0": "no such layer in the model",
        "classifier.3": "no such layer in the model",
        "classifier.6": "trained for other classes",
    }


def test_a_checkpoint_of_main_gives_baseline_its_trunk_and_input(tmp_path):
    trained, _ = build(width=0.125, seed=5, normalisation="unit")
    path = tmp_path / "ours.safetensors"
    safetensors.torch.save_file(trained.state_dict(), path)
    model, report = build("baseline", path=path, width=0.125)
    assert torch.equal(model.trunk.conv5_3.weight, trained.trunk.conv5_3.weight)
    assert torch.equal(model.normalise.mean, torch.zeros(3))
    assert report.layout == "a checkpoint of ours"
    assert report.layers("initialised") == ("classifier",)
    assert report.layers("skipped") == ("classifier", "hidden.fc6", "hidden.fc7")


def test_a_checkpoint_for_other_classes_gives_all_but_the_classifier(tmp_path):
    trained, _ = build(width=0.125, num_classes=7)
    path = tmp_path / "ours.safetensors"
    safetensors.torch.save_file(trained.state_dict(), path)
    _, report = build(path=path, width=0.125)
    assert report.layers("initialised") == ("classifier",)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("nest", ["state_dict", "model", None])
def test_wrappers_of_training_scripts_are_taken_off(prefix, nest, tmp_path):
    trained, _ = build("baseline", width=0.125, seed=5)
    wrapped = {prefix + key: value for key, value in trained.state_dict().items()}
    path = tmp_path / "wrapped.pt"
    torch.save({nest: wrapped, "epoch": 3} if nest else wrapped, path)
    model, _ = build("baseline", path=path, width=0.125)
    assert all(
        torch.equal(model.state_dict()[key], value) for key, value in trained.state_dict().items()
    )


def test_a_file_for_a_timm_model_goes_through_timm(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        theirs = timm.create_model("test_resnet", num_classes=1000)
    path = tmp_path / "theirs.safetensors"
    safetensors.torch.save_file(theirs.state_dict(), path)
    model, report = build("timm:test_resnet", path=path)
    assert torch.equal(model.backbone.conv1[0].weight, theirs.conv1[0].weight)
    assert report.layers("initialised")[-1] == "backbone.fc"
    assert "backbone.conv1.0" in report.layers("loaded")


def test_a_file_of_another_network_is_refused_for_a_timm_model(convolutions_file):
    with pytest.raises(models.ModelError, match="must hold layers of timm's test_resnet"):
        build("timm:test_resnet", path=convolutions_file)


# Refusals


def test_a_file_with_other_layer_names_is_refused_with_expected_and_found(tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"layer1.0.conv1.weight": torch.zeros(2)}, path)
    with pytest.raises(models.ModelError, match=r"features\.0.*conv1_1.*got layer1\.0\.conv1 in"):
        build(path=path)


def test_a_deeper_vgg_is_refused_although_its_names_overlap(tmp_path):
    deeper = vgg.make_layers(NARROW_VGG19).state_dict()
    path = tmp_path / "vgg19.safetensors"
    safetensors.torch.save_file({f"features.{key}": value for key, value in deeper.items()}, path)
    with pytest.raises(models.ModelError, match=r"trunk\.conv4_1: not in the file.*model\.width"):
        build("baseline", path=path)


def test_a_missing_convolution_is_refused(state, tmp_path):
    path = tmp_path / "short.safetensors"
    kept = {key: value for key, value in only(state, "features.").items() if "28" not in key}
    safetensors.torch.save_file(kept, path)
    with pytest.raises(models.ModelError, match=r"got trunk\.conv5_3: not in the file in"):
        build("baseline", path=path)


def test_a_convolution_with_nan_is_refused(state, tmp_path):
    path = tmp_path / "nan.safetensors"
    broken = {**only(state, "features."), "features.0.bias": torch.full((16,), float("nan"))}
    safetensors.torch.save_file(broken, path)
    with pytest.raises(models.ModelError, match="NaN or infinite"):
        build("baseline", path=path)


def test_published_weights_in_a_narrower_model_are_refused(convolutions_file):
    with pytest.raises(models.ModelError, match="the file has 16x3x3x3, needs 8x3x3x3"):
        build("baseline", path=convolutions_file, width=0.5)


def test_a_checkpoint_of_another_width_is_refused(tmp_path):
    trained, _ = build("baseline", width=0.25)
    path = tmp_path / "ours.safetensors"
    safetensors.torch.save_file(trained.state_dict(), path)
    with pytest.raises(models.ModelError, match="every convolution must be in the file and fit"):
        build("baseline", path=path, width=0.125)


def test_face_weights_for_another_number_of_identities_are_refused(state, folder):
    path = folder / "other_faces.pth"
    torch.save(face_state(state, identities=1000), path)
    with pytest.raises(models.ModelError, match="must have 2622 classes; got 1000"):
        build("baseline", path=path)


def test_the_digest_pins_the_file(convolutions_file):
    digest = hashlib.sha256(convolutions_file.read_bytes()).hexdigest()
    _, report = build("baseline", path=convolutions_file, weights_sha256=digest)
    assert report.sha256 == digest
    with pytest.raises(models.ModelError, match=f"got {'0' * 64}, the file has {digest}"):
        build("baseline", path=convolutions_file, weights_sha256="0" * 64)


# Published names and the cache


def test_imagenet_is_taken_from_torchs_cache(convolutions_file, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = weight_source.cache_folder() / "vgg16-397923af.pth"
    cached.parent.mkdir(parents=True)
    torch.save(safetensors.torch.load_file(convolutions_file), cached)
    _, report = build("baseline", path="imagenet")
    assert report.source == "imagenet"
    assert len(report.layers("loaded")) == 13


def test_imagenet_without_a_network_says_what_to_fetch_and_where_to_put_it(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(download, "fetch", offline)
    with pytest.raises(models.ModelError) as caught:
        build(path="imagenet")
    for part in (
        "vgg16-397923af.pth",
        "no route",
        "https://",
        str(tmp_path),
        "model.weights=<path>",
    ):
        assert part in str(caught.value)


def test_vggface_is_taken_from_torchs_cache_or_says_what_to_fetch(state, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(models.ModelError) as caught:
        models.check("main", image_size=96, weights="vggface")
    assert "vgg_face_dag.pth" in str(caught.value)
    assert str(weight_source.cache_folder()) in str(caught.value)
    weight_source.cache_folder().mkdir(parents=True)
    torch.save(face_state(state), weight_source.cache_folder() / "vgg_face_dag.pth")
    _, report = build("baseline", path="vggface")
    assert report.normalisation == "vggface"


def test_the_cache_folder_is_the_one_that_torch_uses(monkeypatch, tmp_path):
    for name, value in {"TORCH_HOME": tmp_path, "XDG_CACHE_HOME": tmp_path / "xdg"}.items():
        assert str(weight_source.cache_folder().parent) == torch.hub.get_dir()
        monkeypatch.setenv(name, str(value))
    assert str(weight_source.cache_folder().parent) == torch.hub.get_dir()


# The report


def test_the_table_lists_each_layer_once_with_shape_and_reason(full_file):
    _, report = build(path=full_file)
    table = report.table()
    lines = table.splitlines()
    assert len(lines) == 1 + 13 + 3 + 3 + 1
    assert report.sha256 in lines[0]
    assert "  loaded       trunk.conv1_1 < features.0   16x3x3x3" in lines
    assert "the file has 16x3136, needs 16x576" in table
    assert lines[-1].startswith("  input: imagenet (mean 0.485, 0.456, 0.406;")


def test_a_layer_whose_name_moves_the_cursor_is_shown_harmless(full_file):
    _, report = build(path=full_file)
    hostile = replace(report.rows[0], file_layer="\x1b[2Jgone\nwinner  trial 7")
    table = replace(report, rows=(hostile,)).table()
    assert "\x1b" not in table
    assert len(table.splitlines()) == 3


def test_long_listings_are_summed_up():
    _, report = build("timm:test_resnet")
    assert len(report.table().splitlines()) == 3
    assert "layers" in report.table()


def test_the_report_is_plain_json(convolutions_file):
    _, report = build("baseline", path=convolutions_file)
    read = json.loads(report.to_json())
    assert read["rows"][0] == {
        "layer": "trunk.conv1_1",
        "action": "loaded",
        "shapes": {"weight": [16, 3, 3, 3], "bias": [16]},
        "reason": "",
        "file_layer": "features.0",
    }
    assert read["pinned"] is False
    assert pickle.loads(pickle.dumps(report)) == report
