"""The files behind timm's own weights. WORKER: imports timm, which takes a second.

Nearly all lie on the Hugging Face hub. Its client tries for 47 s where there is no network (5
times for each of two names), and asks it even for what lies in the cache; so the cache is looked
at first, and then whether the hub can be reached.
"""

from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
import timm
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from timm.models import PretrainedCfg

from models import download, weight_source
from models.errors import ModelError

# As timm asks for them: safetensors, or where there are none, the older format.
HUB_FILES = ("model.safetensors", "pytorch_model.bin")


def config(name: str) -> Any:
    """What timm knows of a model's weights (untrained models have a record, too).

    Raises:
        ModelError: timm knows the model but not the tag.
    """
    try:
        return timm.get_pretrained_cfg(name) or PretrainedCfg()
    except RuntimeError as error:
        architecture = name.partition(".")[0]
        tags = timm.list_models(f"{architecture}.*", pretrained=True)
        raise ModelError(
            f"model.weights: must be a tag that timm has for {architecture}; got {name}. "
            f"Choose one of {', '.join(tags) or 'none'}"
        ) from error


def hub_file(name: str) -> Path | None:
    """The weights that timm has for a model, from the hub's cache or the hub.

    Args:
        name: timm's name, with or without a tag.

    Returns:
        The file; None where the weights are not on the hub.

    Raises:
        ModelError: it is not here and cannot be fetched; says which file to fetch.
    """
    hub_id = config(name).hf_hub_id
    if not hub_id:
        return None
    repository, _, branch = hub_id.partition("@")
    revision = branch or None
    for file in HUB_FILES:
        cached = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
    url = huggingface_hub.hf_hub_url(repository, HUB_FILES[0], revision=revision)
    try:
        download.require_reachable(url)
        return _from_hub(repository, revision)
    # The hub's client raises whatever it comes across.
    except Exception as error:
        raise ModelError(not_fetched(name, url, error)) from error


def require_network(name: str) -> None:
    """Fails at once where timm would have to fetch weights that are not on the hub, and cannot.

    Raises:
        ModelError: timm has no weights for this model, or their host cannot be reached.
    """
    url = config(name).url
    if not url:
        raise ModelError(
            f"model.weights: timm has no weights for timm:{name}. Use model.weights=random or a "
            "file"
        )
    cached = weight_source.cache_folder() / PurePosixPath(urlsplit(url).path).name
    try:
        if not cached.is_file():
            download.require_reachable(url)
    except OSError as error:
        raise ModelError(not_fetched(name, url, error)) from error


def not_fetched(name: str, url: str, error: Exception) -> str:
    """The message for weights that did not come."""
    detail = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
    return (
        f"model.weights: the weights of timm:{name} could not be fetched; got '{detail}'. Fetch "
        f"{url} on a machine with a network, put it where every worker sees it and give its path "
        "as model.weights=<path>"
    )


def _from_hub(repository: str, revision: str | None) -> Path:
    safe, older = HUB_FILES
    try:
        return Path(huggingface_hub.hf_hub_download(repository, safe, revision=revision))
    except LocalEntryNotFoundError:
        raise  # a kind of the next one, but it means that the hub did not answer
    except EntryNotFoundError:
        return Path(huggingface_hub.hf_hub_download(repository, older, revision=revision))
