"""A file of weights as named tensors, read without running code from it. WORKER.

safetensors, Keras's .h5, or a torch state dict under `weights_only=True`; nothing else is ever
unpickled. What comes out is plain: dense tensors with printable names, PyTorch's order of axes.
"""

import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from models import keras_file, keras_layers
from models.errors import ModelError
from models.weight_source import KERAS_SUFFIX

Layer = dict[str, Tensor]

# Keys under which training scripts nest a state dict, and prefixes that wrappers put before names.
NESTING_KEYS = ("state_dict", "model", "model_state_dict")
WRAPPER_PREFIXES = ("module.", "_orig_mod.")
LONGEST_NAME = 200


@dataclass(frozen=True)
class StoredWeights:
    """A file's tensors.

    Attributes:
        source: the file.
        sha256: its digest.
        layers: `layers[layer][tensor]`; names as in the file, but tensors named as in PyTorch.
        keras: whether Keras wrote them.
        changes: what was done to a layer to make PyTorch compute the same with it.
    """

    source: str
    sha256: str
    layers: Mapping[str, Layer]
    keras: bool = False
    changes: Mapping[str, str] = field(default_factory=dict)


def read(path: Path, sha256: str = "") -> StoredWeights:
    """Reads a file's tensors; runs no code from it.

    Args:
        path: .safetensors, .h5, or a torch state dict (any other name).
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
    tensors = _plain(_tensors(path), path)
    if path.suffix == KERAS_SUFFIX or keras_layers.is_keras(tensors):
        layers, changes = keras_layers.in_torch_order(tensors, str(path))
        return StoredWeights(str(path), digest, layers, keras=True, changes=changes)
    return StoredWeights(str(path), digest, group(tensors))


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


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"model.weights: must be a readable file; got {path} ({error.strerror}). "
            "Every machine that trains needs it at this path"
        ) from error


def _tensors(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == KERAS_SUFFIX:
        return keras_file.read(path)
    return _unwrapped(_safetensors(path) if path.suffix == ".safetensors" else _state_dict(path))


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
        _require_uncompressed(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    # A damaged or hostile file can make the unpickler raise anything.
    except Exception as error:
        raise ModelError(
            f"model.weights: must be a torch state dict of plain tensors; got {path} "
            f"({_first_line(error)}). It is damaged, or holds objects whose loading could run "
            "code: save its state_dict() as safetensors where you trust it"
        ) from error


def _require_uncompressed(path: Path) -> None:
    """torch.save compresses nothing, so a zip that promises more than its own size is a trap."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            promised = sum(entry.file_size for entry in archive.infolist())
        if promised > path.stat().st_size:
            raise ValueError(f"it would unpack to {promised:,} bytes")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:120]


def _unwrapped(content: object) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        for key in NESTING_KEYS:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
    items = content.items() if isinstance(content, Mapping) else ()
    return {_unprefixed(str(key)): value for key, value in items if isinstance(value, Tensor)}


def _unprefixed(key: str) -> str:
    for prefix in WRAPPER_PREFIXES:
        key = key.removeprefix(prefix)
    return key


def _plain(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    if not tensors:
        raise ModelError(
            f"model.weights: must hold named tensors; got {path} with none. "
            "Save a model's state_dict()"
        )
    for name, tensor in tensors.items():
        if not name.isprintable() or len(name) > LONGEST_NAME:
            raise ModelError(
                f"model.weights: names must be printable and of at most {LONGEST_NAME} "
                f"characters; got {name[:LONGEST_NAME]!a} in {path}"
            )
        if not _is_dense(tensor):
            raise ModelError(
                f"model.weights: must hold dense tensors with all their numbers; got {name} of "
                f"{tuple(tensor.shape)} in {path}. Save a model's state_dict()"
            )
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _is_dense(tensor: Tensor) -> bool:
    """Neither sparse nor quantised nor without storage, nor a few numbers that pose as many."""
    if tensor.layout is not torch.strided or tensor.device.type != "cpu":
        return False
    if tensor.is_quantized or tensor.is_nested:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
