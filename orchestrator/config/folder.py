"""A folder on a disk or in an object store, handled by one set of verbs.

Runs anywhere (PURE: pyarrow only). A file appears under its name when it is whole, or not at
all: on a disk by a rename, in an object store because an upload shows when it is complete.
Credentials and endpoints come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`,
...), never from an address.

Source of the file systems: https://arrow.apache.org/docs/python/filesystems.html
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
from pyarrow import fs

from orchestrator.config import alive
from orchestrator.config.address import absolute_address
from orchestrator.config.errors import ConfigError
from orchestrator.config.storage import CHUNK_BYTES, to_disk

T = TypeVar("T")

UPLOAD_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Folder:
    """A folder by its address: an absolute path, or `s3://bucket/prefix`; make it with `folder`."""

    address: str

    def __str__(self) -> str:
        return self.address

    @property
    def local(self) -> Path | None:
        """Its path on this machine; None in an object store."""
        return None if "://" in self.address else Path(self.address)

    @property
    def name(self) -> str:
        """The last part of its address."""
        return self.address.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> Folder:
        """The folder that holds it; itself for a bucket or the root."""
        above = self.address.rstrip("/").rpartition("/")[0]
        return Folder(above) if above and not above.endswith("/") else self

    @property
    def filesystem(self) -> fs.FileSystem:
        """What reads and writes it; built once a process, as it cannot travel cheaply."""
        scheme, found, rest = self.address.partition("://")
        return _filesystem(scheme, rest.partition("/")[0]) if found else _filesystem("", "")

    def __truediv__(self, name: str) -> Folder:
        return Folder(f"{self.address.rstrip('/')}/{name}")

    def path(self, name: str = "") -> str:
        """A file's path as the file system wants it."""
        inside = self.address.partition("://")[2] or self.address
        return f"{inside.rstrip('/')}/{name}" if name else inside

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where there is no such file."""
        info = self.filesystem.get_file_info(self.path(name))
        return info.size if info.type == fs.FileType.File else None

    def exists(self) -> bool:
        """Whether there is anything of that name."""
        return self.filesystem.get_file_info(self.path()).type != fs.FileType.NotFound

    def files(self) -> dict[str, int]:
        """Names and sizes of the files that lie directly in it; none where it is not there."""
        selector = fs.FileSelector(self.path(), allow_not_found=True)
        found = self.filesystem.get_file_info(selector)
        return {info.base_name: info.size for info in found if info.type == fs.FileType.File}

    def is_empty(self) -> bool:
        """Whether nothing lies in it, files or folders."""
        return not self.filesystem.get_file_info(fs.FileSelector(self.path(), allow_not_found=True))

    def open(self, name: str) -> pa.NativeFile:
        """Opens a file for reading at any place."""
        return self.filesystem.open_input_file(self.path(name))

    def read(self, name: str) -> bytes:
        """All bytes of a file."""
        with self.open(name) as file:
            return bytes(file.read())

    def sha256(self, name: str) -> str:
        """Digest of a file's content, hexadecimal."""
        digest = hashlib.sha256()
        with self.open(name) as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    def put(self, name: str, write: Callable[[Path], T], *, durable: bool = True) -> T:
        """Lets a file appear under its name once it is whole.

        Args:
            name: Of the file.
            write: Writes it, at a path of this machine; what it returns is returned.
            durable: Whether to wait until the disk has it. A file that is not is whole for every
                process, but may be torn after a failure of power: its reader must check it.
        """
        if self.local is None:
            with tempfile.TemporaryDirectory() as scratch:
                written = write(Path(scratch) / name)
                self.upload(Path(scratch) / name, name)
            return written
        self.local.mkdir(parents=True, exist_ok=True)
        temporary = self.local / f".{name}.{os.getpid()}.tmp"
        try:
            written = write(temporary)
            if durable:
                to_disk(temporary)
            temporary.replace(self.local / name)
        finally:
            temporary.unlink(missing_ok=True)
        return written

    def put_bytes(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """Lets a small file appear under its name."""
        self.put(name, lambda path: path.write_bytes(content), durable=durable)

    def remove(self, name: str) -> None:
        """Removes a file that is there."""
        self.filesystem.delete_file(self.path(name))

    def remove_all(self) -> None:
        """Removes the folder with all that is in it."""
        self.filesystem.delete_dir(self.path())

    def upload(self, local: Path, name: str) -> None:
        """Copies a file of this machine to an object; one that is cut short does not stay."""
        out = self.filesystem.open_output_stream(self.path(name))
        try:
            with local.open("rb") as source:
                alive.copy(source, out, UPLOAD_BYTES)
        except BaseException:
            # Closing makes what is there so far an object: it must not stay.
            with suppress(OSError):
                out.close()
            with suppress(OSError):
                self.remove(name)
            raise
        out.close()


def folder(address: str | Path, field: str = "out") -> Folder:
    """Makes a folder from what a user typed: relative paths become absolute.

    Raises:
        ConfigError: An address of an unknown kind, or one that carries a password.
    """
    try:
        return Folder(absolute_address(str(address)))
    except ValueError as error:
        raise ConfigError(f"{field}: {error}") from None


@lru_cache(maxsize=8)
def _filesystem(scheme: str, bucket: str) -> fs.FileSystem:
    if not scheme:
        return fs.LocalFileSystem()
    return _s3(bucket) if scheme == "s3" else fs.GcsFileSystem()


def _s3(bucket: str) -> fs.FileSystem:
    """AWS, or another server that speaks S3 where the usual variables name one."""
    named = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return fs.S3FileSystem(
        region=region or (None if named else fs.resolve_s3_region(bucket)),
        endpoint_override=named,
        connect_timeout=10,
        request_timeout=60,
        background_writes=False,
    )
