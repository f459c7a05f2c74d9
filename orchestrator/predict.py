"""The command `predict`: label images, folders of images or the frames of a video.

    open the checkpoint -> list the files -> decode as `prepare` does -> predict -> write -> say

A table with a row an image: its probabilities, the likeliest class, its confidence. Files that
cannot be read are in a table of their own, each with the reason: files in = rows + quarantined.
No Ray: one process with all cores, or a GPU where there is one, so that few images take seconds.
For what takes a cluster there are `prepare` and `evaluate`. DRIVER.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.checkpoint_choice import Choice, chosen
from orchestrator.cluster import refuse_lost_folder
from orchestrator.config.command_line import parse, run
from orchestrator.config.errors import ConfigError, OrchestratorError
from orchestrator.config.prediction import PredictConfig
from orchestrator.config.storage import as_typed

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from orchestrator.inference.model_facts import ModelFacts
    from orchestrator.inference.stored_model import StoredModel
    from orchestrator.ingest.loose_images import LooseImage

COMMAND = "python -m orchestrator.predict"
DESCRIPTION = (
    "Labels images, folders of images or a folder of a video's frames with a trained model: "
    "probabilities, label and confidence of each, as CSV or Parquet."
)
EXAMPLES = (
    f"{COMMAND} checkpoint=runs/main-1a2b3c4d5e6f source=faces",
    f"{COMMAND} checkpoint=runs/paper-1a2b3c4d source=[a.jpg,videos/12/frames] out=labels.parquet",
)
AT_ONCE = 1024
"""Images in memory: 28 MB at 96 px."""
OUT_OF_BOUNDS = 1


@dataclass(frozen=True, eq=False)
class _Found:
    """What became of the files, in their order."""

    names: list[str]
    probabilities_NK: npt.NDArray[np.float32]
    bad: list[tuple[str, str]]


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    config = parse(PredictConfig, argv, command=COMMAND, description=DESCRIPTION, examples=EXAMPLES)
    refuse_lost_folder(config.out)
    from orchestrator.ingest.loose_images import list_images

    with chosen(config.checkpoint) as choice:
        files = list_images(config.source)
        stored, facts = open_checkpoint(choice, config.run_data)
    print(f"checkpoint   {choice.shown}\n             {choice.words}")
    print(f"images       {len(files):,} files, to {facts.image_shape[0]} px", flush=True)
    started = time.monotonic()
    found = _predict(config, stored, facts, files)
    seconds = time.monotonic() - started
    print(f"             {len(files) / seconds:,.0f} files/s; {seconds:.1f} s\n")
    return _write(config, found, facts)


def open_checkpoint(choice: Choice, run_data: str | None) -> tuple[StoredModel, ModelFacts]:
    """The checked checkpoint, and what its outputs and inputs are.

    Raises:
        CheckpointError: it is damaged.
        DatasetError: it does not name its classes, and the set that it was trained on is gone.
    """
    from orchestrator.inference.model_facts import model_facts
    from orchestrator.inference.stored_model import open_model

    stored = open_model(choice.folder)
    return stored, model_facts(stored, choice.place_of(run_data or stored.experiment.data.path))


def _predict(
    config: PredictConfig, stored: StoredModel, facts: ModelFacts, files: Sequence[LooseImage]
) -> _Found:
    """Decodes and predicts a piece at a time; memory holds one piece and the results."""
    import numpy as np
    import torch

    from orchestrator.inference.forward import probabilities
    from orchestrator.inference.stored_model import build_network
    from orchestrator.ingest.loose_images import decode_in_turn
    from orchestrator.training.precision import choose_precision

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = choose_precision(stored.experiment.precision, device)
    network = build_network(stored, num_classes=len(facts.classes), image_px=facts.image_shape[0])
    network = network.to(device).to(memory_format=precision.memory_format)
    names, bad = [], []
    outputs = [np.empty((0, len(facts.classes)), np.float32)]
    pieces = decode_in_turn(
        files, image_px=facts.image_shape[0], max_pixels=config.max_pixels, at_once=AT_ONCE
    )
    for piece in pieces:
        names += [file.name for file in piece.files]
        bad += [(file.name, reason) for file, reason in piece.bad]
        for start in range(0, len(piece.images), config.batch_size):
            batch = piece.images[start : start + config.batch_size]
            outputs.append(probabilities(network, batch, precision, device))
    return _Found(names, _finite(np.concatenate(outputs), stored), bad)


def _finite(
    probabilities_NK: npt.NDArray[np.float32], stored: StoredModel
) -> npt.NDArray[np.float32]:
    import numpy as np

    if not np.isfinite(probabilities_NK).all():
        raise OrchestratorError(
            f"checkpoint: its outputs must be finite; got NaN or infinity from {stored.folder}. "
            "Take another epoch"
        )
    return probabilities_NK


def _write(config: PredictConfig, found: _Found, facts: ModelFacts) -> int:
    """Writes both tables, says what was found, and judges the share of bad files."""
    from orchestrator.results.prediction_table import (
        prediction_table,
        quarantine_path,
        write_predictions,
        write_quarantine,
    )

    out = Path(config.out).expanduser().absolute()
    table = prediction_table(found.names, found.probabilities_NK, facts.classes)
    try:
        write_predictions(table, out)
        write_quarantine(found.bad, quarantine_path(out))
    except OSError as error:
        raise ConfigError(
            f"out: must be a file that can be written; got {out}: {error.strerror}"
        ) from error
    print(*_summary(found, facts), sep="\n")
    print(f"predictions  {as_typed(out)}")
    if not found.bad:
        return 0
    total = len(found.names) + len(found.bad)
    print(f"quarantine   {as_typed(quarantine_path(out))}: {len(found.bad):,} of {total:,} files")
    if len(found.bad) <= config.max_bad * total:
        return 0
    print(
        f"max_bad: at most {config.max_bad:.2%} of the files may be unreadable; "
        f"got {len(found.bad) / total:.2%}",
        file=sys.stderr,
    )
    return OUT_OF_BOUNDS


def _summary(found: _Found, facts: ModelFacts) -> list[str]:
    """How often each class was the likeliest, and with what mean confidence."""
    from orchestrator.results.printable import one_line

    likeliest = found.probabilities_NK.argmax(axis=1)
    lines = []
    for index, name in enumerate(facts.classes):
        mine = found.probabilities_NK[likeliest == index, index]
        sure = f"  mean confidence {mine.mean():.2f}" if len(mine) else ""
        lines.append(f"  {one_line(name, 24):<24} {len(mine):>8,}{sure}")
    return lines


if __name__ == "__main__":
    sys.exit(run(main))
