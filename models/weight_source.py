"""Which weights a config may ask for, and where their file belongs. PURE: no torch.

`random`, a published name, a URL, or a file. Published and downloaded files lie in torch's own
download cache, so a file that somebody put there by hand serves a machine without a network.
"""

import difflib
import hashlib
import importlib.util
import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

RANDOM = "random"
IMAGENET = "imagenet"
VGGFACE = "vggface"

# Names in configs, as torchvision spells them, and the member of VGG16_Weights that each means.
TORCHVISION = {
    IMAGENET: "IMAGENET1K_V1",
    "IMAGENET1K_V1": "IMAGENET1K_V1",
    "IMAGENET1K_FEATURES": "IMAGENET1K_FEATURES",
    "VGG16_Weights.DEFAULT": "IMAGENET1K_V1",
    "VGG16_Weights.IMAGENET1K_V1": "IMAGENET1K_V1",
    "VGG16_Weights.IMAGENET1K_FEATURES": "IMAGENET1K_FEATURES",
}
TIMM_VGG16 = "vgg16.tv_in1k"
VGGFACE_FILES = (
    "vgg_face_dag.safetensors",
    "vgg_face_dag.pth",
    "rcmalli_vggface_tf_vgg16.h5",
    "rcmalli_vggface_tf_notop_vgg16.h5",
)
VGGFACE_URL = "https://www.robots.ox.ac.uk/~albanie/models/pytorch-mcn/vgg_face_dag.pth"
KERAS_SUFFIX = ".h5"
SUFFIXES = (".safetensors", ".pt", ".pth", KERAS_SUFFIX)
TIMM = "timm:"
KEYS = r"sig(nature)?=|token|secret|passw|credential|accesskey|api_?key|(^|&)key="
"""In the query of a URL: it lets in whoever has it (signed URLs of object stores, tokens)."""


def weight_problems(model: str, width: float, weights: str, sha256: str) -> list[str]:
    """Everything that can be said against `weights` without reading a tensor."""
    problems = _source_problems(model, weights)
    if width != 1.0 and weights in (*TORCHVISION, TIMM_VGG16, VGGFACE):
        problems.append(
            f"model.width: must be 1.0 with published weights; got {width} with "
            f"model.weights={weights}. Set model.width=1.0 or model.weights=random"
        )
    if sha256 and not re.fullmatch("[0-9a-f]{64}", sha256):
        problems.append(
            f"model.weights_sha256: must be 64 lower-case hexadecimal digits; got '{sha256}'"
        )
    elif sha256 and weights == RANDOM:
        problems.append(
            f"model.weights_sha256: needs weights from a file; got model.weights={weights}. "
            "Give the file as model.weights=<path>, or leave the digest out"
        )
    return problems


def is_url(weights: str) -> bool:
    """Whether `weights` is to be downloaded from where it says."""
    return "://" in weights


def timm_name(model: str, weights: str) -> str:
    """What timm calls the weights that a `timm:` model asks for, with or without a tag.

    `imagenet` means the model's own tag, or timm's default; `resnet18.a1_in1k` names another.
    Empty where `weights` is something else than a name of timm.
    """
    own = model.removeprefix(TIMM)
    if weights == IMAGENET:
        return own
    named = weights.startswith(own.partition(".")[0] + ".") and not weights.endswith(SUFFIXES)
    return weights if named else ""


def cache_folder() -> Path:
    """Where torch keeps downloaded weights (its documented rule, without importing it)."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = Path(os.environ.get("TORCH_HOME", Path(cache) / "torch")).expanduser()
    return home / "hub" / "checkpoints"


def vggface_file() -> Path | None:
    """The first published conversion of VGGFace that somebody put in the cache."""
    candidates = [cache_folder() / name for name in VGGFACE_FILES]
    return next((path for path in candidates if path.is_file()), None)


def own_file(weights: str) -> Path | None:
    """The file that `weights` means and that nobody but the user puts there or replaces.

    Published names and URLs mean what their publisher has; they may be fetched later.
    """
    path = vggface_file() if weights == VGGFACE else Path(weights).expanduser()
    return path if path is not None and path.is_file() else None


def download_path(url: str) -> Path:
    """Where a URL's file is kept: a folder for each URL, as many files are called model.pth."""
    folder = hashlib.sha256(url.encode()).hexdigest()[:16]
    return cache_folder() / "by-url" / folder / _file_name(url)


def _source_problems(model: str, weights: str) -> list[str]:
    if is_url(weights):
        return _url_problems(model, weights)
    if model.startswith(TIMM) and timm_name(model, weights):
        return _tag_problems(model, weights)
    named = weights == TIMM_VGG16 or weights.startswith("VGG16_Weights.")
    if re.search(r"[./\\]", weights) and not named:
        return _file_problems(model, weights)
    return _name_problems(model, weights)


def _url_problems(model: str, url: str) -> list[str]:
    try:
        parts = urlsplit(url)
        web = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or host that is none
        web = False
    if not web or re.search(r"[^!-~]", url):
        return [f"model.weights: a URL must begin with https://<host>/; got {url!a}"]
    if parts.username or parts.password:
        return [
            "model.weights: a URL must hold no password, it is saved with each run; got one for "
            f"{parts.hostname}. Fetch the file yourself and give its path"
        ]
    if re.search(KEYS, parts.query, re.IGNORECASE) or parts.fragment:
        return [
            "model.weights: a URL must hold no key, it is saved with each run; got what looks like one "
            f"for {parts.hostname}. Fetch the file yourself and give its path"
        ]
    name = _file_name(url)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}", name):
        return [f"model.weights: a URL must end in a plain file name; got {name!a} in {url}"]
    return _suffix_problems(model, name)


def _file_name(url: str) -> str:
    return PurePosixPath(unquote(urlsplit(url).path)).name


def _tag_problems(model: str, weights: str) -> list[str]:
    _, tag, own = model.partition(".")
    if not tag or weights in (IMAGENET, model.removeprefix(TIMM)):
        return []
    return [
        f"model.weights: must be the tag that model.name has ({own}); got {weights} with "
        f"model.name={model}. Leave the tag out of one of them"
    ]


def _file_problems(model: str, weights: str) -> list[str]:
    path = Path(weights).expanduser()
    if problems := _suffix_problems(model, weights):
        return problems
    if not path.is_file():
        return [f"model.weights: no such file; got {weights}. Check the path (it is not fetched)"]
    return []


def _suffix_problems(model: str, name: str) -> list[str]:
    suffix = PurePosixPath(name).suffix
    if suffix not in SUFFIXES:
        return [
            f"model.weights: a file must end in {', '.join(SUFFIXES)}; got {name}. "
            "Convert it to safetensors with PyTorch's layer names"
        ]
    if suffix == KERAS_SUFFIX and model.startswith(TIMM):
        return [
            f"model.weights: Keras files fit main and baseline; got {name} for {model}. "
            "Use timm's own weights (imagenet) or a file in timm's layer names"
        ]
    if suffix == KERAS_SUFFIX and importlib.util.find_spec("h5py") is None:
        return [
            f"model.weights: reading {KERAS_SUFFIX} needs h5py; got {name} where it is not "
            "installed. Run pip install h5py, or convert the file to safetensors"
        ]
    return []


def _name_problems(model: str, weights: str) -> list[str]:
    choices = _choices(model)
    if weights not in choices:
        close = difflib.get_close_matches(weights, choices, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        return [
            f"model.weights: must be one of {', '.join(choices)} for {model}, or a file or URL "
            f"({', '.join(SUFFIXES)}); got '{weights}'.{hint}"
        ]
    if weights == VGGFACE and vggface_file() is None:
        return [
            f"model.weights: no library ships VGGFace; got vggface without its file. Fetch "
            f"{VGGFACE_URL} (PyTorch conversion, S. Albanie) or {VGGFACE_FILES[2]} (Keras "
            f"conversion, rcmalli/keras-vggface v2.0) and put it in {cache_folder()}, or give its "
            "path or URL as model.weights"
        ]
    return []


def _choices(model: str) -> tuple[str, ...]:
    if model.startswith(TIMM):
        return (RANDOM, IMAGENET)
    return (RANDOM, *TORCHVISION, TIMM_VGG16, VGGFACE)
