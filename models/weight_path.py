"""From what a config says to a file on this machine, downloaded where need be. WORKER.

Names and addresses are torchvision's and timm's own; `timm_weights` finds the files of timm's
models. Several workers of a machine may fetch the same file at once: each writes its own copy and
the last one stays, complete either way.
"""

from pathlib import Path

from models import download, weight_source
from models.errors import ModelError


def find(weights: str, sha256: str = "") -> Path:
    """The file behind a name, URL or path in a config.

    Args:
        weights: anything that `weight_problems` accepts, but `random` and timm's other names.
        sha256: digest that a download must have; "" accepts any.

    Raises:
        ModelError: it is not here and cannot be fetched; says which file goes where.
    """
    if weight_source.is_url(weights):
        return _fetched(weights, weight_source.download_path(weights), weights, sha256)
    if member := weight_source.TORCHVISION.get(weights):
        return _torchvision_file(member)
    if weights == weight_source.TIMM_VGG16:
        from models.timm_weights import hub_file  # timm takes a second to import

        path = hub_file(weights)
        assert path is not None, "timm keeps its VGG16 on the hub"
        return path
    if weights == weight_source.VGGFACE:
        path = weight_source.vggface_file()
        assert path is not None, "weight_problems() refuses vggface without its file"
        return path
    return Path(weights).expanduser()


def _fetched(url: str, path: Path, weights: str, sha256_prefix: str) -> Path:
    if path.is_file():
        return path
    try:
        download.fetch(url, path, sha256_prefix=sha256_prefix)
    except OSError as error:
        raise ModelError(
            f"model.weights: {weights} needs {path.name}, which could not be fetched; got "
            f"'{error}'. Fetch {url} on a machine with a network and put it in {path.parent}, or "
            "give its path as model.weights=<path>"
        ) from error
    return path


def _torchvision_file(member: str) -> Path:
    from torchvision.models import VGG16_Weights

    url: str = VGG16_Weights[member].url
    path = weight_source.cache_folder() / url.rpartition("/")[2]
    # torchvision's file names end in the first digits of their digest: vgg16-397923af.pth
    return _fetched(url, path, member, path.stem.rpartition("-")[2])
