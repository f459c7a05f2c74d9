"""Which weights a config may ask for, and the file that holds them. PURE: no torch.

`random`, a published name, or a file. Published files are looked for in torch's own download
cache, so a file that somebody put there by hand serves a machine without a network.
"""

import difflib
import os
import re
from pathlib import Path

RANDOM = "random"
VGGFACE = "vggface"

# Name in configs: torchvision's name (an attribute of VGG16_Weights).
IMAGENET = {
    "imagenet": "IMAGENET1K_V1",
    "IMAGENET1K_V1": "IMAGENET1K_V1",
    "IMAGENET1K_FEATURES": "IMAGENET1K_FEATURES",
}
VGGFACE_FILES = ("vgg_face_dag.safetensors", "vgg_face_dag.pth")
SUFFIXES = (".safetensors", ".pt", ".pth")
TIMM = "timm:"


def weight_problems(model: str, width: float, weights: str, sha256: str) -> list[str]:
    """Everything that can be said against `weights` without reading a tensor."""
    problems = _file_problems(weights) if is_file(weights) else _name_problems(model, weights)
    published = weights == VGGFACE or weights in IMAGENET
    if published and width != 1.0:
        problems.append(
            f"model.width: must be 1.0 with published weights; got {width} with "
            f"model.weights={weights}. Set model.width=1.0 or model.weights=random"
        )
    if sha256 and not re.fullmatch("[0-9a-f]{64}", sha256):
        problems.append(
            f"model.weights_sha256: must be 64 lower-case hexadecimal digits; got '{sha256}'"
        )
    elif sha256 and not is_file(weights) and (weights == RANDOM or model.startswith(TIMM)):
        problems.append(
            f"model.weights_sha256: needs weights from a file; got model.weights={weights}. "
            "Give the file as model.weights=<path>, or leave the digest out"
        )
    return problems


def is_file(weights: str) -> bool:
    """Whether `weights` means a file rather than a name."""
    return "/" in weights or os.sep in weights or "." in weights


def cache_folder() -> Path:
    """Where torch keeps downloaded weights (its documented rule, without importing it)."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = Path(os.environ.get("TORCH_HOME", Path(cache) / "torch")).expanduser()
    return home / "hub" / "checkpoints"


def vggface_file() -> Path | None:
    """The published PyTorch conversion of VGGFace, where somebody put it in the cache."""
    candidates = [cache_folder() / name for name in VGGFACE_FILES]
    return next((path for path in candidates if path.is_file()), None)


def _file_problems(weights: str) -> list[str]:
    path = Path(weights).expanduser()
    if path.suffix not in SUFFIXES:
        return [
            f"model.weights: a file must end in {', '.join(SUFFIXES)}; got {weights}. "
            "Convert it to safetensors with PyTorch's layer names"
        ]
    if not path.is_file():
        return [f"model.weights: no such file; got {weights}. Check the path (it is not fetched)"]
    return []


def _name_problems(model: str, weights: str) -> list[str]:
    choices = _choices(model)
    if weights not in choices:
        close = difflib.get_close_matches(weights, choices, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        return [
            f"model.weights: must be one of {', '.join(choices)} for {model}, or a file "
            f"({', '.join(SUFFIXES)}); got '{weights}'.{hint}"
        ]
    if weights == VGGFACE and vggface_file() is None:
        return [
            f"model.weights: no library ships VGGFace; got vggface without its file. Fetch "
            f"{VGGFACE_FILES[1]} (PyTorch conversion of VGG-Face, S. Albanie, Oxford VGG) and put "
            f"it in {cache_folder()}, or give its path as model.weights=<path>"
        ]
    return []


def _choices(model: str) -> tuple[str, ...]:
    if model.startswith(TIMM):
        return (RANDOM, "imagenet")
    return (RANDOM, *IMAGENET, VGGFACE)
