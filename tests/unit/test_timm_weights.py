"""timm's own weights: by tag, from the hub's cache, and a quick answer without a network."""

import socket
from types import SimpleNamespace

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

import models
from models import timm_weights, vgg16, weight_source
from models.layouts import TORCHVISION_CONVOLUTIONS
from models.vgg16 import trunk

REPOSITORY = "timm/test_resnet.r160_in1k"


@pytest.fixture(autouse=True)
def hub_cache(tmp_path, monkeypatch):
    """An empty cache, no network, and a client that must not be asked for nothing."""

    def offline(*_, **__):
        raise socket.gaierror("no route")

    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *_, **__: pytest.fail("47 seconds of tries")
    )
    return tmp_path


@pytest.fixture
def cached(hub_cache):
    """timm's test_resnet as the hub's client keeps it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        theirs = timm.create_model("test_resnet", num_classes=1000)
    put(hub_cache, REPOSITORY, theirs.state_dict())
    return theirs


def put(cache, repository, state):
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    safetensors.torch.save_file(state, snapshot / "model.safetensors")


def build(name="timm:test_resnet", weights="imagenet", **options):
    return models.build(name, num_classes=6, image_size=64, weights=weights, **options)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("timm:test_resnet", "imagenet"),
        ("timm:test_resnet", "test_resnet.r160_in1k"),
        ("timm:test_resnet.r160_in1k", "imagenet"),
        ("timm:test_resnet.r160_in1k", "test_resnet.r160_in1k"),
    ],
)
def test_what_lies_in_the_hubs_cache_is_loaded_without_a_network(name, weights, cached):
    model, report = build(name, weights)
    assert torch.equal(model.backbone.conv1[0].weight, cached.conv1[0].weight)
    assert report.layers("initialised")[-1] == "backbone.fc"
    assert report.layers("skipped") == ("fc",)
    assert (len(report.sha256), report.pinned, report.normalisation) == (64, False, "timm")


def test_the_digest_pins_timms_weights(cached):
    _, report = build()
    assert build(weights_sha256=report.sha256)[1].pinned
    with pytest.raises(models.ModelError, match=f"got {'0' * 64}, the file has {report.sha256}"):
        build(weights_sha256="0" * 64)


def test_without_a_network_the_message_says_what_to_fetch_and_no_client_tries():
    with pytest.raises(models.ModelError) as caught:
        build()
    url = "https://huggingface.co/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"
    for part in ("no route", f"Fetch {url}", "put it where every worker sees it", "<path>"):
        assert part in str(caught.value)


def test_where_the_hub_answers_its_client_fetches_the_safer_file_first(monkeypatch, tmp_path):
    asked = []

    def client(repository, name, *, revision):
        asked.append((repository, name, revision))
        if name == "model.safetensors":
            raise EntryNotFoundError("404")
        return str(tmp_path / name)

    monkeypatch.setattr(timm_weights.download, "require_reachable", lambda url: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", client)
    assert timm_weights.hub_file("test_resnet") == tmp_path / "pytorch_model.bin"
    assert asked == [(REPOSITORY, name, None) for name in timm_weights.HUB_FILES]


def test_a_hub_that_falls_silent_is_not_asked_for_a_second_file(monkeypatch):
    asked = []

    def client(repository, name, *, revision):
        asked.append(name)
        raise LocalEntryNotFoundError("connection lost")

    monkeypatch.setattr(timm_weights.download, "require_reachable", lambda url: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", client)
    with pytest.raises(models.ModelError, match="connection lost"):
        build()
    assert asked == ["model.safetensors"]


def test_an_unknown_tag_is_refused_with_the_tags_there_are():
    with pytest.raises(models.ModelError, match=r"got resnet18\.tv.*resnet18\.tv_in1k"):
        build("timm:resnet18", "resnet18.tv")


def test_another_tag_than_the_names_own_is_refused():
    with pytest.raises(models.ModelError, match=r"got resnet18\.tv_in1k with model\.name=timm:res"):
        models.check("timm:resnet18.a1_in1k", image_size=64, weights="resnet18.tv_in1k")


def test_a_tag_brings_its_own_normalisation(hub_cache):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        theirs = timm.create_model("test_vit", num_classes=1000)
    config = timm.get_pretrained_cfg("test_vit")
    put(hub_cache, config.hf_hub_id, theirs.state_dict())
    _, report = models.build(
        "timm:test_vit", num_classes=6, image_size=160, weights=f"test_vit.{config.tag}"
    )
    assert report.mean == pytest.approx(config.mean)
    assert report.std == pytest.approx(config.std)


def test_timms_vgg16_is_loaded_into_our_own_models(hub_cache, monkeypatch):
    monkeypatch.setattr(vgg16, "BLOCKS", ((8, 8), (8, 8), (8, 8, 8), (8, 8, 8), (8, 8, 8)))
    state = trunk().state_dict()
    renamed = {f"features.{at}.{part}": state[f"{name}.{part}"] for part in ("weight", "bias")
               for name, at in TORCHVISION_CONVOLUTIONS.items()}  # fmt: skip
    put(hub_cache, "timm/vgg16.tv_in1k", {**renamed, "head.fc.bias": torch.zeros(1000)})
    _, report = build("baseline", "vgg16.tv_in1k")
    assert len(report.layers("loaded")) == 13
    assert (report.layout, report.normalisation) == ("timm's vgg16", "imagenet")


def test_weights_outside_the_hub_need_a_network_or_torchs_cache(monkeypatch, tmp_path):
    url = "https://example.org/x/model.pth.tar"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(timm_weights, "config", lambda name: SimpleNamespace(url=url))
    with pytest.raises(models.ModelError, match=f"no route.*Fetch {url}"):
        timm_weights.require_network("x")
    weight_source.cache_folder().mkdir(parents=True)
    (weight_source.cache_folder() / "model.pth.tar").touch()
    timm_weights.require_network("x")


def test_a_model_without_weights_says_so():
    untrained = next(
        name for name in timm.list_models() if not timm.get_pretrained_cfg(name).has_weights
    )
    with pytest.raises(models.ModelError, match=f"timm has no weights for timm:{untrained}"):
        timm_weights.require_network(untrained)
    assert timm_weights.hub_file(untrained) is None
