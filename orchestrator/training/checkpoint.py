"""Checkpoints: safetensors and JSON, digests, and a marker that is written last.

WORKER (the leader) writes, anyone reads. A checkpoint is a folder:

    epoch-0003/model.safetensors  optimizer.safetensors  state.json

`state.json` holds the digests of the others and of itself and is written last: without it, or
when a digest does not match, the checkpoint does not exist. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from orchestrator.config import alive
from orchestrator.config.errors import CheckpointError
from orchestrator.config.storage import (
    KEPT_FOR_RESUME,
    MARKER,
    remove_checkpoint,
    sha256_of,
    storage_error,
    to_disk,
    write_json,
)
from orchestrator.config.validate import fingerprint
from orchestrator.training.epochs import Metrics, Training
from orchestrator.training.optimizer_state import put_back
from orchestrator.training.snapshot import Snapshot

VERSION = 1
MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"


@dataclass(frozen=True)
class CheckpointState:
    """What a checkpoint says of itself.

    Attributes:
        epoch: epochs finished.
        lineage: fingerprint of what was trained; a checkpoint of another is refused.
        history: one dict of metrics an epoch, so that no finished epoch is ever lost.
        experiment: the resolved experiment.
        weights: where the first weights came from, layer by layer.
        dataset: name, fingerprint, classes and image_shape of the data set, without which outputs
            are mere numbers; empty in checkpoints that were written before it was kept.
    """

    epoch: int
    lineage: str
    history: tuple[Metrics, ...]
    experiment: dict[str, Any]
    weights: dict[str, Any]
    dataset: dict[str, Any] = field(default_factory=dict)


def epoch_folder(parent: Path, epoch: int) -> Path:
    """Where the checkpoint of an epoch lies; names sort by epoch."""
    return parent / f"epoch-{epoch:04d}"


def save_for_resume(parent: Path, snapshot: Snapshot, state: CheckpointState) -> Path:
    """Write model and optimizer, then drop all but the newest `KEPT_FOR_RESUME`."""
    folder = epoch_folder(parent, state.epoch)
    files = {MODEL: snapshot.model, OPTIMIZER: snapshot.optimizer}
    _write(folder, state, files, snapshot.plain)
    # Later epochs can only be another lineage's: they must not push this one out.
    known = sorted(old for old in parent.glob("epoch-*") if old.name <= folder.name)
    for old in known[:-KEPT_FOR_RESUME]:
        remove_checkpoint(old)
    return folder


def save_weights(parent: Path, snapshot: Snapshot, state: CheckpointState) -> Path:
    """Write the model alone: for an epoch that a leaderboard may point at."""
    folder = epoch_folder(parent, state.epoch)
    _write(folder, state, {MODEL: snapshot.model}, {})
    return folder


def keep_only(folder: Path) -> None:
    """Remove the other checkpoints beside this one."""
    for other in folder.parent.glob("epoch-*"):
        if other != folder:
            remove_checkpoint(other)


def newest_valid(
    parent: Path, lineage: str, passed_over: list[str] | None = None
) -> tuple[Path, CheckpointState] | None:
    """The newest whole checkpoint of this lineage; damaged and foreign ones are passed over.

    So are those that cannot be read, but not if there is no other: what may well be whole must not
    be trained over from the start.

    Args:
        parent: folder of the checkpoints.
        lineage: whose they must be.
        passed_over: takes what is wrong with each that is newer than the one returned.

    Raises:
        StorageError: the storage does not let it be read.
        CheckpointError: something else does not.
    """
    unread: OSError | None = None
    passed_over = [] if passed_over is None else passed_over
    for folder in sorted(parent.glob("epoch-*"), reverse=True):
        try:
            state = _checked_state(folder)
        except CheckpointError as error:
            passed_over.append(str(error))
            continue
        except OSError as error:
            unread = unread or error
            passed_over.append(str(_unreadable(folder, error)))
            continue
        if state.lineage == lineage:
            return folder, state
        passed_over.append(f"{folder}: a checkpoint of another training; it is not used")
    if unread is not None:
        raise (storage_error(unread, parent) or _unreadable(parent, unread)) from unread
    return None


def read_state(folder: Path) -> CheckpointState:
    """Check the marker and every digest, and return what the checkpoint says of itself.

    Raises:
        CheckpointError: no marker, unreadable, another version, or a digest that differs.
    """
    try:
        return _checked_state(folder)
    except OSError as error:
        raise _unreadable(folder, error) from error


def _checked_state(folder: Path) -> CheckpointState:
    content = _read_marker(folder)
    for name, digest in content["sha256"].items():
        file = folder / name
        if not file.is_file() or sha256_of(file) != digest:
            raise CheckpointError(
                f"{file}: must have the digest in {MARKER}; it is missing or damaged. "
                "Remove the folder; an older checkpoint will be used"
            )
    return CheckpointState(
        epoch=content["epoch"],
        lineage=content["lineage"],
        history=tuple(content["history"]),
        experiment=content["experiment"],
        weights=content["weights"],
        dataset=content.get("dataset", {}),
    )


def _unreadable(folder: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"{folder}: checkpoints must be readable; got: {error}. Give this user access to them, or "
        "remove them to train from the start"
    )


def restore(folder: Path, training: Training) -> None:
    """Put model, optimizer and epoch of a checked checkpoint into `training`.

    Raises:
        CheckpointError: its tensors do not fit this model or optimizer, or cannot be read.
    """
    try:
        content = _read_marker(folder)
        training.model.load_state_dict(load_file(folder / MODEL, device=str(training.device)))
        # From host memory: counts of steps stay there, where most optimizers look for them.
        put_back(training.optimizer, load_file(folder / OPTIMIZER), content["optimizer"])
    except (SafetensorError, OSError, RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{folder}: must fit the model and optimizer of its own experiment; got: {error}"
        ) from error
    training.epoch = content["epoch"]


def _write(
    folder: Path,
    state: CheckpointState,
    files: Mapping[str, Mapping[str, torch.Tensor]],
    optimizer: dict[str, object],
) -> None:
    """All of it, or nothing: what a full disk cut short is removed.

    Raises:
        StorageError: the storage does not take it.
    """
    try:
        _write_files(folder, state, files, optimizer)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        cause = error if isinstance(error, OSError) else _os_error(error)
        raise (storage_error(cause, folder) or error) from error


def _os_error(error: SafetensorError) -> OSError:
    """The system's error in the words of safetensors: `... (os error 28)`."""
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number[1]) if number else 0, str(error))


def _write_files(
    folder: Path,
    state: CheckpointState,
    files: Mapping[str, Mapping[str, torch.Tensor]],
    optimizer: dict[str, object],
) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    digests = {}
    for name, tensors in files.items():
        save_file(dict(tensors), folder / name)
        to_disk(folder / name)  # before the marker that vouches for it
        alive.step()
        digests[name] = sha256_of(folder / name)
    marker = {
        "version": VERSION,
        "epoch": state.epoch,
        "lineage": state.lineage,
        "sha256": digests,
        "optimizer": optimizer,
        "history": list(state.history),
        "experiment": state.experiment,
        "weights": state.weights,
        "dataset": state.dataset,
    }
    write_json(folder / MARKER, {**marker, "fingerprint": fingerprint(marker)})


def _read_marker(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / MARKER).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise CheckpointError(
            f"{folder / MARKER}: must be a complete JSON file; got: {error}"
        ) from error
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise CheckpointError(f"{folder / MARKER}: must be of version {VERSION}; it is another")
    if content.pop("fingerprint", "") != fingerprint(content):
        raise CheckpointError(f"{folder / MARKER}: must have its own fingerprint; it was changed")
    return content
