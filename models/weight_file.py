"""A file of weights as named tensors, read without running code from it. WORKER.

safetensors, or a torch state dict under `weights_only=True`; nothing else is ever unpickled.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from models import weight_source
from models.errors import ModelError

Layer = dict[str, Tensor]

# Keys under which training scripts nest a state dict, and prefixes that wrappers put before names.
NESTING_KEYS = ("state_dict", "model", "model_state_dict")
WRAPPER_PREFIXES = ("module.", "_orig_mod.")


@dataclass(frozen=True)
class StoredWeights:
    """A file's tensors: `layers[layer][tensor]`, names as in the file."""

    source: str
    sha256: str
    layers: Mapping[str, Layer]


def find(weights: str) -> Path:
    """The file behind a name or path in a config, downloaded by torch if need be.

    Raises:
        ModelError: it is not here and cannot be fetched; says which file goes where.
    """
    if weights_name := weight_source.IMAGENET.get(weights):
        return _torchvision_file(weights_name)
    if weights == weight_source.VGGFACE:
        path = weight_source.vggface_file()
        assert path is not None, "weight_problems() refuses vggface without its file"
        return path
    return Path(weights).expanduser()


def read(path: Path, sha256: str = "") -> StoredWeights:
    """Reads a file's tensors; runs no code from it.

    Args:
        path: a .safetensors, .pt or .pth file.
        sha256: digest that the file must have; "" accepts any.

    Raises:
        ModelError: another digest, not such a file, or more in it than tensors.
    """
    digest = _digest(path)
    if sha256 and digest != sha256:
        raise ModelError(
            f"model.weights_sha256: must be the digest of {path}; got {sha256}, the file has "
            f"{digest}. Use the file that was meant, or update the digest"
        )
    content = _safetensors(path) if path.suffix == ".safetensors" else _state_dict(path)
    return StoredWeights(str(path), digest, group(_unwrapped(content, path)))


def group(tensors: Mapping[str, Tensor]) -> dict[str, Layer]:
    """`{"a.b.weight": t}` to `{"a.b": {"weight": t}}`, order kept."""
    layers: dict[str, Layer] = {}
    for key, tensor in tensors.items():
        layer, _, name = key.rpartition(".")
        layers.setdefault(layer, {})[name] = tensor
    return layers


def finite(tensors: Iterable[Tensor]) -> bool:
    """No NaN and no infinity in any of them."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def some_names(layers: Mapping[str, Layer]) -> str:
    """The first few layer names, for a message."""
    names = list(layers)
    more = f", ... ({len(names)} layers)" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def _torchvision_file(weights_name: str) -> Path:
    from torchvision.models import VGG16_Weights

    url: str = VGG16_Weights[weights_name].url
    path = weight_source.cache_folder() / url.rpartition("/")[2]
    if path.is_file():
        return path
    prefix = path.stem.rpartition("-")[2]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=False)
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"model.weights: {weights_name} needs {path.name}, which could not be fetched; got "
            f"'{error}'. Fetch {url} on a machine with a network and put it in {path.parent}, or "
            "give its path as model.weights=<path>"
        ) from error
    return path


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"model.weights: must be a readable file; got {path} ({error.strerror}). "
            "Every machine that trains needs it at this path"
        ) from error


def _safetensors(path: Path) -> object:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise ModelError(
            f"model.weights: must be a safetensors file; got {path} ({error}). "
            "It is damaged, cut short, or another format"
        ) from error


def _state_dict(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # A damaged or hostile file can make the unpickler raise anything.
    except Exception as error:
        raise ModelError(
            f"model.weights: must be a torch state dict of plain tensors; got {path} "
            f"({_first_line(error)}). It is damaged, or holds objects whose loading could run "
            "code: save its state_dict() as safetensors where you trust it"
        ) from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:120]


def _unwrapped(content: object, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        for key in NESTING_KEYS:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
    items = content.items() if isinstance(content, Mapping) else ()
    tensors = {_unprefixed(str(key)): value for key, value in items if isinstance(value, Tensor)}
    if not tensors:
        raise ModelError(
            f"model.weights: must hold named tensors; got {path} with none. "
            "Save a model's state_dict()"
        )
    return tensors


def _unprefixed(key: str) -> str:
    for prefix in WRAPPER_PREFIXES:
        key = key.removeprefix(prefix)
    return key
