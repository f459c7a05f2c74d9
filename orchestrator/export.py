"""The command `export`: write a trained model for use elsewhere, with a card that says what it is.

    open the checkpoint -> check what is asked for -> write and check each format -> write the card

Weights as safetensors, the whole program as torch.export and ONNX; a file that does not answer as
the model does is not kept. The card is written last. DRIVER.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.checkpoint_choice import Choice, chosen
from orchestrator.cluster import refuse_lost_folder
from orchestrator.config.command_line import parse, run
from orchestrator.config.errors import ConfigError
from orchestrator.config.home import Home, held
from orchestrator.config.prediction import ExportConfig
from orchestrator.config.storage import sha256_of, write_atomic, write_json
from orchestrator.environment import describe_environment
from orchestrator.predict import open_checkpoint
from orchestrator.results.model_card import (
    CARD,
    EVALUATION,
    INTENDED_USE,
    LICENCE,
    NOT_EVALUATED,
    VERSION,
    find_evaluation,
    metrics_of,
    read_evaluation,
)

if TYPE_CHECKING:
    from torch import nn

    from orchestrator.inference.model_facts import ModelFacts
    from orchestrator.inference.stored_model import StoredModel

COMMAND = "python -m orchestrator.export"
DESCRIPTION = (
    "Writes a trained model for use elsewhere: safetensors, torch.export and ONNX, each checked to "
    "answer as the model does, with a JSON card of classes, input, figures and origin."
)
EXAMPLES = (
    f"{COMMAND} checkpoint=runs/main-1a2b3c4d5e6f",
    f"{COMMAND} checkpoint=runs/paper-1a2b3c4d formats=[safetensors,torch] out=shared/fer",
)
FILES = {"safetensors": "model.safetensors", "torch": "model.pt2", "onnx": "model.onnx"}
FOLDER = "export"


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    config = parse(ExportConfig, argv, command=COMMAND, description=DESCRIPTION, examples=EXAMPLES)
    refuse_lost_folder(config.out)
    with chosen(config.checkpoint) as choice:
        _export(config, choice)
    return 0


def _export(config: ExportConfig, choice: Choice) -> None:
    _check_formats(config)
    stored, facts = open_checkpoint(choice, config.run_data)
    metrics = _metrics(config, choice.home, stored)
    given = config.out and Home(Path(config.out).expanduser().absolute())
    print(f"checkpoint   {choice.shown}\n             {choice.words}", flush=True)
    with held(given or choice.home / FOLDER, "out", print) as out:
        (out.local / CARD).unlink(missing_ok=True)
        checks = _write_formats(config.formats, stored, facts, out.local)
        card = _card(choice.home.local.name, stored, facts, metrics, checks)
        write_json(out.local / CARD, card)
        out.send_results(CARD, tuple(FILES.values()))
    print(f"export       {out.shown}  ({', '.join([*checks, CARD])})")


def _check_formats(config: ExportConfig) -> None:
    if "onnx" in config.formats:
        from orchestrator.inference.exported import check_onnx_packages

        check_onnx_packages()


def _metrics(config: ExportConfig, home: Home, stored: StoredModel) -> Mapping[str, Any] | str:
    """Figures of these very weights; another model's would be worse than none.

    Raises:
        ConfigError: the evaluation named is none, or of other weights.
    """
    if config.evaluation is None:
        for name in home.folders("evaluations/*"):
            home.fetch(f"{name}/{EVALUATION}")
        found = find_evaluation(home.local, stored.sha256)
        return metrics_of(found[1]) if found else NOT_EVALUATED
    path = Path(config.evaluation).expanduser() / EVALUATION
    content = read_evaluation(path)
    if content is None or content["checkpoint"].get("model_sha256") != stored.sha256:
        raise ConfigError(
            "evaluation: must be a folder that `evaluate` wrote for this checkpoint; got "
            f"{config.evaluation!r}. Run evaluate, or leave it out"
        )
    return metrics_of(content)


def _write_formats(
    formats: Sequence[str], stored: StoredModel, facts: ModelFacts, out: Path
) -> dict[str, dict[str, Any]]:
    """Writes each format under its name once it is checked; what was found, by file."""
    from orchestrator.inference.stored_model import build_network

    image_px = facts.image_shape[0]
    network = build_network(stored, num_classes=len(facts.classes), image_px=image_px)
    checks: dict[str, dict[str, Any]] = {}
    for format_name, name in FILES.items():
        (out / name).unlink(missing_ok=True)  # of an earlier export, maybe of another model
        if format_name not in formats:
            continue
        if format_name == "safetensors":
            write_atomic(out / name, stored.weights)
            found: dict[str, Any] = {"same_bytes_as_checkpoint": True}
        else:
            found = _traced(format_name, network, image_px, out / name)
        checks[name] = {"format": format_name, "sha256": sha256_of(out / name), **found}
        print(f"  {name:<20}{_words(found)}", flush=True)
    return checks


def _traced(format_name: str, network: nn.Module, image_px: int, path: Path) -> dict[str, Any]:
    from orchestrator.inference.exported import write_onnx, write_torch

    write = write_torch if format_name == "torch" else write_onnx
    # Exporters ask for the ending they know.
    temporary = path.with_name(f".unchecked-{path.name}")
    try:
        agreement = write(network, image_px, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return asdict(agreement)


def _words(found: Mapping[str, Any]) -> str:
    if "tolerance" not in found:
        return "the bytes of the checkpoint"
    return (
        f"answers as the model: largest difference of a probability "
        f"{found['largest_difference']:.1e} over {found['images']} images "
        f"(allowed {found['tolerance']:g})"
    )


def _card(
    name: str,
    stored: StoredModel,
    facts: ModelFacts,
    metrics: Mapping[str, Any] | str,
    checks: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    experiment, state = stored.experiment, stored.state
    last = dict(state.history[-1]) if state.history else {}
    return {
        "version": VERSION,
        "name": name,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "classes": list(facts.classes),
        "input": _input(stored, facts),
        "output": {
            "name": "logits",
            "shape": ["batch", len(facts.classes)],
            "meaning": "softmax over the last axis gives the probabilities of `classes`, in order",
        },
        "model": {"name": experiment.model.name, "width": experiment.model.width},
        "metrics": metrics,
        "validation": {
            key: last.get(key)
            for key in ("epoch", "val_macro_f1", "val_macro_f1_low", "val_macro_f1_high")
        },
        "trained_on": {
            "name": facts.dataset,
            "fingerprint": facts.dataset_fingerprint,
            "protocol": experiment.data.protocol,
        },
        "training": {
            "epoch": state.epoch,
            "seed": experiment.seed,
            "lineage": state.lineage,
            "first_weights": state.weights.get("source", experiment.model.weights),
            "experiment": state.experiment,
        },
        "weights_sha256": stored.sha256,
        "files": dict(checks),
        "licence": LICENCE,
        "intended_use": INTENDED_USE,
        "environment": describe_environment(),
    }


def _input(stored: StoredModel, facts: ModelFacts) -> dict[str, Any]:
    weights = stored.state.weights
    height, width, channels = facts.image_shape
    return {
        "name": "images",
        "shape": ["batch", channels, height, width],
        "type": "float32, RGB, 0 to 1 (bytes / 255)",
        "resize": "to the square by Pillow's bilinear filter with antialiasing, aspect not kept",
        "normalisation": {
            "where": "inside the model",
            "name": weights.get("normalisation", stored.experiment.model.normalisation),
            "mean": weights.get("mean"),
            "std": weights.get("std"),
        },
    }


if __name__ == "__main__":
    sys.exit(run(main))
