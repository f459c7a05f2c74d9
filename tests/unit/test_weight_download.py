"""Weights from a URL: bounded, complete or absent, kept in torch's cache; quick without a network."""

import hashlib
import http.server
import socket
import threading

import pytest
import safetensors.torch
import torch

import models
from models import download, vgg16, weight_source
from models.vgg16 import trunk

CONTENT = b"0123456789" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends what the test put on the server, as the path says."""

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path.startswith("/missing"):
            return self.send_error(404)
        content = self.server.content
        self.send_response(200)
        if not self.path.startswith("/unsized"):
            longer = 1000 if self.path.startswith("/short") else 0
            self.send_header("Content-Length", str(len(content) + longer))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.asked = CONTENT, []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def weights(server, tmp_path, monkeypatch):
    """A narrow network on the server, and an empty cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(vgg16, "BLOCKS", ((8, 8), (8, 8), (8, 8, 8), (8, 8, 8), (8, 8, 8)))
    state = {f"{key}": tensor for key, tensor in trunk().state_dict().items()}
    server.content = safetensors.torch.save(state)
    return server


def build(url, **options):
    return models.build("baseline", num_classes=6, image_size=32, weights=url, **options)


# One file


@pytest.mark.parametrize("path", ["/whole", "/unsized"])
def test_a_file_arrives_whole_in_a_folder_that_is_made(path, server, tmp_path):
    wanted = tmp_path / "a" / "b" / "file"
    download.fetch(server.url + path, wanted, sha256_prefix=DIGEST[:8])
    assert wanted.read_bytes() == CONTENT
    assert [*wanted.parent.iterdir()] == [wanted]


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("/whole", {"sha256_prefix": "0" * 64}, f"must begin with {'0' * 64}, .* is {DIGEST}"),
        ("/whole", {"largest": 9_999}, "larger than 9,999 bytes"),
        ("/unsized", {"largest": 9_999}, "larger than 9,999 bytes"),
        ("/short", {}, "cut short: 10,000 of 11,000 bytes"),
        ("/missing", {}, "404"),
    ],
)
def test_a_file_that_is_not_as_it_must_be_leaves_nothing(path, options, message, server, tmp_path):
    with pytest.raises(OSError, match=message):
        download.fetch(server.url + path, tmp_path / "file", **options)
    assert not [*tmp_path.iterdir()]


def test_an_answer_that_is_not_http_is_an_os_error(tmp_path, server):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            for _ in range(2):  # the try whether it can be reached, and the request
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(b"220 mail.example.org ESMTP\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(OSError, match=r"not HTTP|reset"):
            download.fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/x", tmp_path / "x")
        thread.join()


def test_a_host_that_nobody_knows_or_that_refuses_fails_at_once(server, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    with pytest.raises(OSError, match=r"127\.0\.0\.1 does not answer: .*refused"):
        download.require_reachable(f"http://127.0.0.1:{closed}/x")
    with pytest.raises(OSError, match="is not found"):
        download.require_reachable(f"http://{'a' * 64}.example.org/x")


def test_addresses_that_swallow_packets_are_given_up_together(server, monkeypatch):
    """Each of a thousand addresses would take the whole time that one may take."""
    clock, tried = [0.0], []

    class Deaf:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def settimeout(self, seconds):
            self.timeout_s = seconds

        def connect(self, address):
            tried.append(address)
            clock[0] += self.timeout_s
            raise TimeoutError("timed out")

    many = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"10.0.0.{n}", 443)) for n in range(99)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: many)
    monkeypatch.setattr(socket, "socket", Deaf)
    monkeypatch.setattr(download.time, "monotonic", lambda: clock[0])
    with pytest.raises(OSError, match="timed out"):
        download.require_reachable("https://example.org/x")
    assert clock[0] == download.GIVE_UP_S
    assert len(tried) == 3


def test_behind_a_proxy_nothing_is_tried(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("it was tried"))
    download.require_reachable("https://example.org/x")


# As weights of a model


def test_weights_of_a_url_are_fetched_once_and_told_apart_by_their_url(weights):
    first, report = build(f"{weights.url}/one/model.safetensors")
    again, _ = build(f"{weights.url}/one/model.safetensors")
    build(f"{weights.url}/two/model.safetensors?download=true")
    assert len(report.layers("loaded")) == 13
    assert torch.equal(first.trunk.conv1_1.weight, again.trunk.conv1_1.weight)
    assert weights.asked == ["/one/model.safetensors", "/two/model.safetensors?download=true"]
    kept = [path for path in weight_source.cache_folder().rglob("*") if path.is_file()]
    assert [path.name for path in kept] == ["model.safetensors"] * 2


def test_the_report_says_whether_a_urls_weights_are_pinned(weights):
    url = f"{weights.url}/model.safetensors"
    digest = hashlib.sha256(weights.content).hexdigest()
    _, loose = build(url)
    _, pinned = build(url, weights_sha256=digest)
    assert (loose.source, loose.sha256, loose.pinned) == (url, digest, False)
    assert loose.table().splitlines()[0].endswith(f"sha256 {digest}, not pinned)")
    assert pinned.pinned
    assert "not pinned" not in pinned.table()


def test_another_digest_than_the_pinned_one_keeps_nothing(weights):
    with pytest.raises(models.ModelError, match="sha256 must begin with 000"):
        build(f"{weights.url}/model.safetensors", weights_sha256="0" * 64)
    assert not [path for path in weight_source.cache_folder().rglob("*") if path.is_file()]


def test_without_a_network_a_url_says_what_to_fetch_and_where_to_put_it(weights, monkeypatch):
    def offline(*_, **__):
        raise socket.gaierror("no route")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    url = "https://example.org/model.safetensors"
    with pytest.raises(models.ModelError) as caught:
        build(url)
    for part in (
        "no route",
        f"Fetch {url}",
        f"put it in {weight_source.download_path(url).parent}",
    ):
        assert part in str(caught.value)
    weight_source.download_path(url).parent.mkdir(parents=True, exist_ok=True)
    weight_source.download_path(url).write_bytes(weights.content)
    assert len(build(url)[1].layers("loaded")) == 13


def test_torchvisions_file_is_checked_by_the_digest_in_its_name(weights, monkeypatch):
    from torchvision.models import VGG16_Weights

    name = f"vgg16-{DIGEST[:8]}.pth"
    asked = []
    monkeypatch.setattr(
        download, "fetch", lambda url, path, *, sha256_prefix: asked.append((url, sha256_prefix))
    )
    with pytest.raises(models.ModelError, match="must be a readable file"):  # nothing was fetched
        build("VGG16_Weights.IMAGENET1K_V1")
    assert asked == [(VGG16_Weights.IMAGENET1K_V1.url, "397923af")]
    assert name not in str(asked)
