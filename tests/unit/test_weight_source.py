"""What a config may name as weights, and what is said against the rest, without torch."""

import pytest

import models
from models import weight_source

URL = "https://example.org/models/vgg16.pth"


def problems(weights, name="main", **options):
    return weight_source.weight_problems(name, options.get("width", 1.0), weights, "")


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        ("random", "main"),
        ("imagenet", "main"),
        ("IMAGENET1K_V1", "baseline"),
        ("IMAGENET1K_FEATURES", "main"),
        ("VGG16_Weights.IMAGENET1K_V1", "main"),
        ("VGG16_Weights.IMAGENET1K_FEATURES", "main"),
        ("VGG16_Weights.DEFAULT", "main"),
        ("vgg16.tv_in1k", "main"),
        (URL, "main"),
        (URL + "?download=true", "timm:resnet18"),
        ("http://127.0.0.1:8000/faces.h5", "main"),
        ("imagenet", "timm:resnet18"),
        ("resnet18.a1_in1k", "timm:resnet18"),
        ("resnet18.a1_in1k", "timm:resnet18.a1_in1k"),
    ],
)
def test_names_of_torchvision_and_timm_and_urls_are_accepted(weights, name):
    assert problems(weights, name) == []


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("VGG16_Weights.IMAGENET1K_V2", "Did you mean 'VGG16_Weights.IMAGENET1K_V1'?"),
        ("vgg16.tv_in1k.x", "a file must end in .safetensors"),
        ("resnet18.a1_in1k", "a file must end in .safetensors"),
        ("ftp://example.org/a.pth", "must begin with https://"),
        ("file:///a.pth", "must begin with https://"),
        ("https:///a.pth", "must begin with https://"),
        ("https://example.org:99999/a.pth", "must begin with https://"),
        ("https://example.org/a b.pth", "must begin with https://"),
        ("https://example.org/\x1b.pth", r"got 'https://example.org/\x1b.pth'"),
        ("https://me:secret@example.org/a.pth", "must hold no password"),
        ("https://example.org/a.pth?X-Amz-Signature=ab", "must hold no key, it is saved"),
        ("https://example.org/a.pth?se=1&sig=ab", "must hold no key"),
        ("https://example.org/a.pth?access_token=ab", "must hold no key"),
        ("https://example.org/a.pth#ab", "must hold no key"),
        ("https://example.org/", "must end in a plain file name; got ''"),
        ("https://example.org/a/..", "must end in a plain file name; got '..'"),
        ("https://example.org/%2Fetc%2Fx%00.pth", r"got 'x\x00.pth'"),
        ("https://example.org/.pth", "must end in a plain file name; got '.pth'"),
        ("https://example.org/a.zip", "a file must end in .safetensors, .pt, .pth, .h5; got a.zip"),
    ],
)
def test_other_names_and_urls_are_refused(weights, message):
    (problem,) = problems(weights)
    assert message in problem
    assert "secret" not in problem


@pytest.mark.parametrize("weights", ["imagenet", "VGG16_Weights.DEFAULT", "vgg16.tv_in1k"])
def test_published_weights_need_the_published_width(weights):
    (problem,) = problems(weights, width=0.5)
    assert "model.width: must be 1.0 with published weights; got 0.5" in problem


def test_a_keras_url_is_refused_for_timms_models():
    (problem,) = problems("https://example.org/a.h5", "timm:resnet18")
    assert "Keras files fit main and baseline; got a.h5" in problem


def test_every_url_has_a_folder_of_its_own_inside_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    urls = [URL, URL + "?version=2", URL.replace("https", "http"), "https://b.org/vgg16.pth"]
    paths = [weight_source.download_path(url) for url in urls]
    assert len(set(paths)) == len(urls)
    assert {path.name for path in paths} == {"vgg16.pth"}
    assert all(path.is_relative_to(tmp_path / "hub" / "checkpoints") for path in paths)


@pytest.mark.parametrize("file", weight_source.VGGFACE_FILES)
def test_vggface_is_any_of_its_published_files(file, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(models.ModelError) as caught:
        models.check("main", image_size=96, weights="vggface")
    for part in (weight_source.VGGFACE_URL, "keras-vggface", str(weight_source.cache_folder())):
        assert part in str(caught.value)
    weight_source.cache_folder().mkdir(parents=True)
    (weight_source.cache_folder() / file).touch()
    models.check("main", image_size=96, weights="vggface")
    assert weight_source.vggface_file() == weight_source.cache_folder() / file
