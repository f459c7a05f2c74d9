"""Where the processes of a private Ray listen, printed a line each.

python -m tests.integration.private_ray

A process of its own: what Ray reads as it is imported is set before.
"""

import os
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

from orchestrator.cluster import connect
from tests.integration.ray_nodes import family

LISTENS = "0A"


def main() -> None:
    with connect("local"):
        import ray

        @ray.remote
        def answer() -> int:
            return os.getpid()

        assert ray.get(answer.remote()) > 0
        time.sleep(3)  # agents open their ports a moment later
        sockets = {inode for pid in family(os.getpid()) for inode in _sockets(pid)}
        for address, inode in _listening():
            if inode in sockets:
                sys.stdout.write(f"{address}\n")


def _sockets(pid: int) -> list[str]:
    found = []
    with suppress(OSError):
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.append(str(handle.readlink()).removeprefix("socket:[").removesuffix("]"))
    return found


def _listening() -> list[tuple[str, str]]:
    """(address, inode) of each listening socket of this machine."""
    found = []
    for file, size in (("/proc/net/tcp", 8), ("/proc/net/tcp6", 32)):
        with suppress(OSError):
            for line in Path(file).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENS:
                    found.append((_address(fields[1][:size]), fields[9]))
    return found


def _address(digits: str) -> str:
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, packed)


if __name__ == "__main__":
    main()
