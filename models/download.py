"""One file from the network, where every wait and every size is bounded. WORKER.

`torch.hub.download_url_to_file` waits without limit for a server that does not answer and writes
as much as it sends; timm's client tries for 47 s where there is no network. Training should say at
once which file is missing.
"""

import hashlib
import http.client
import socket
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CONNECT_S = 3.0  # one address of a host, of which there may be many
GIVE_UP_S = 9.0  # all of them
STALL_S = 30.0  # between two pieces of a file
LARGEST_BYTES = 4 * 1024**3  # VGG16 with its hidden layers has 0.6
PIECE_BYTES = 1 << 20


def fetch(url: str, path: Path, *, sha256_prefix: str = "", largest: int = LARGEST_BYTES) -> None:
    """Downloads a file; `path` appears when it is complete, and never otherwise.

    Args:
        url: http or https.
        path: where it goes; folders are made.
        sha256_prefix: first digits that its sha256 must have; "" accepts any.
        largest: most bytes to accept.

    Raises:
        OSError: no network, the server refuses, too large, cut short, or another digest.
    """
    require_reachable(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        partial = Path(folder) / path.name
        digest = _stream(url, partial, largest)
        if not digest.startswith(sha256_prefix):
            raise OSError(f"its sha256 must begin with {sha256_prefix}, the server's is {digest}")
        partial.replace(path)


def require_reachable(url: str) -> None:
    """Fails within seconds where no connection to the URL's host can be made.

    Behind a proxy nothing is tried: there only the proxy knows.

    Raises:
        OSError: no such host, or none of its addresses answers.
    """
    if urllib.request.getproxies().keys() & {"http", "https", "all"}:
        return
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    give_up = time.monotonic() + GIVE_UP_S
    failure: OSError | None = None
    for family, kind, protocol, _, address in _addresses(parts.hostname or "", port):
        left_s = give_up - time.monotonic()
        if left_s <= 0:
            break
        try:
            with socket.socket(family, kind, protocol) as connection:
                connection.settimeout(min(CONNECT_S, left_s))
                connection.connect(address)
                return
        except OSError as error:
            failure = error
    raise OSError(f"{parts.hostname} does not answer: {failure}")


def _addresses(host: str, port: int) -> list[Any]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # a label of over 63 characters is no host name
        raise OSError(f"{host} is not found: {error}") from error


def _stream(url: str, path: Path, largest: int) -> str:
    """Writes the file and returns its sha256."""
    digest = hashlib.sha256()
    size = 0
    request = urllib.request.Request(url, headers={"User-Agent": "fer-orchestrator"})
    try:
        with urllib.request.urlopen(request, timeout=STALL_S) as answer, path.open("wb") as file:
            stated = int(answer.headers.get("Content-Length") or -1)
            while piece := answer.read(PIECE_BYTES):
                size += len(piece)
                if max(size, stated) > largest:
                    raise OSError(f"it is larger than {largest:,} bytes")
                digest.update(piece)
                file.write(piece)
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"the server's answer is not HTTP: {error}") from error
    if stated >= 0 and size != stated:
        raise OSError(f"it was cut short: {size:,} of {stated:,} bytes")
    return digest.hexdigest()
