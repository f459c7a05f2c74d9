"""The command `adapt`: remedies for production, each measured before and after.

    part production -> estimate its priors -> train each remedy -> measure all on held-out groups
      -> write -> say which helped

Production is parted by whole groups; what measures is never learned from, and is not even in the
sets that are trained on. Each training goes on from the checkpoint's weights and ends after a
fixed number of epochs: no remedy is chosen by what it is measured with. The same command again
goes on where it was. Leaves adapt.json, adapt.md, adapt.html, gains.png and a run folder a
remedy. DRIVER.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.checkpoint_choice import chosen
from orchestrator.cluster import connect, nodes, refuse_lost_folder
from orchestrator.config.command_line import parse, run
from orchestrator.config.errors import ConfigError
from orchestrator.config.home import Home
from orchestrator.config.production import AdaptConfig
from orchestrator.config.storage import CHECKPOINTS, as_typed, exclusive, write_atomic, write_json
from orchestrator.nodes_to_come import nodes_to_come
from orchestrator.results.report_sources import IDENTITY
from orchestrator.shift.remedies import SAME_ROWS
from orchestrator.tuning.capacity import SlotCapacity, plan_slots

if TYPE_CHECKING:
    from torch import nn

    from orchestrator.adaptation_job import Adaptation
    from orchestrator.config.experiment import Experiment
    from orchestrator.ingest.dataset import PreparedDataset
    from orchestrator.ingest.merging import Pixels
    from orchestrator.measured_remedies import Corrections
    from orchestrator.results.adaptation_report import Outcome

COMMAND = "python -m orchestrator.adapt"
DESCRIPTION = (
    "Tries remedies for a production set that has shifted and says which helped, measured on "
    "held-out groups of it: prior correction, more data, named classes, balancing, weights."
)
EXAMPLES = (
    f"{COMMAND} checkpoint=runs/main-1a2b3c4d5e6f production=prepared/production",
    f"{COMMAND} checkpoint=runs/main-1a2b3c4d5e6f production=prepared/production since=12000 "
    "epochs=5 remedies=[since,more_data,old_data]",
)
PRIORS = "priors.json"


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    config = parse(AdaptConfig, argv, command=COMMAND, description=DESCRIPTION, examples=EXAMPLES)
    refuse_lost_folder(config.out)
    from orchestrator.adaptation_job import checked_adaptation, facts  # torch: seconds

    with chosen(config.checkpoint) as choice:
        adaptation = checked_adaptation(config, choice)
        print(*facts(adaptation), "", sep="\n", flush=True)
        with exclusive(adaptation.out, "out"):
            if _finished(adaptation):
                print(f"{as_typed(adaptation.out)} is finished already; nothing to do.\n")
                print((adaptation.out / "adapt.md").read_text())
                return 0
            with connect(config.address):
                outcome = _adapt(adaptation, shlex.join([*COMMAND.split(), *argv]))
            _write(adaptation, outcome)
    return 0


def _finished(adaptation: Adaptation) -> bool:
    """Whether all was measured already.

    Raises:
        ConfigError: the folder holds another adaptation.
    """
    from orchestrator.adaptation_job import identity
    from orchestrator.results.adaptation_report import SUMMARY

    known, wanted = adaptation.out / IDENTITY, identity(adaptation)
    if known.is_file() and json.loads(known.read_text()) != wanted:
        raise ConfigError(
            f"out: must not hold another adaptation; got {adaptation.out}, made from another "
            "checkpoint, set or setting. Choose another folder with out=FOLDER"
        )
    write_json(known, wanted)
    summary = adaptation.out / SUMMARY
    if not summary.is_file():
        return False
    measured = {one["name"] for one in json.loads(summary.read_text())["remedies"]}
    return measured == set(adaptation.remedies)


def _adapt(adaptation: Adaptation, command: str) -> Outcome:
    """Estimates, trains, measures."""
    from orchestrator.adaptation_job import record
    from orchestrator.measured_remedies import corrections, measure

    if adaptation.trained:
        _capacity(adaptation)  # before all rows are predicted
        _lay_weights(adaptation)
    found = _with_first_priors(adaptation, corrections(adaptation))
    trainings = _train_all(adaptation, found)
    networks = {name: network for name, (network, _) in trainings.items()}
    details = {name: detail for name, (_, detail) in trainings.items()}
    return measure(adaptation, found, networks, details, record(adaptation, command))


def _lay_weights(adaptation: Adaptation) -> None:
    """Where workers of all nodes see them, if they came from an object store."""
    if adaptation.job.choice.home.store is not None:
        adaptation.weights.parent.mkdir(exist_ok=True)
        write_atomic(adaptation.weights, adaptation.job.stored.weights)


def _with_first_priors(adaptation: Adaptation, found: Corrections) -> Corrections:
    """With the priors as they were estimated first, by which a training is known when it resumes.

    Where none were to be estimated there is nothing to keep.

    Estimated anew they differ in their last digits by how rows were batched.

    Raises:
        ConfigError: the file of them is damaged.
    """
    file = adaptation.out / PRIORS
    if not found.estimated:
        return found
    if not file.is_file():
        write_json(file, {"estimated": list(found.estimated)})
        return found
    try:
        kept = tuple(float(share) for share in json.loads(file.read_text())["estimated"])
    except (ValueError, TypeError, KeyError):
        kept = ()
    if len(kept) != len(found.estimated) or not all(0 <= share <= 1 for share in kept):
        raise ConfigError(
            f"out: {PRIORS} must hold one share a class, as `adapt` wrote it; got another content "
            f"of {file}. Delete it and {adaptation.out / 'runs' / 'importance'}, and type the same "
            "command again"
        )
    return dataclasses.replace(found, estimated=kept)


def _train_all(
    adaptation: Adaptation, found: Corrections
) -> dict[str, tuple[nn.Module, dict[str, Any]]]:
    """Trains each remedy that trains; one that is trained already is only opened."""
    trainings = {}
    pixels: Pixels | None = None
    for remedies in _by_rows(adaptation.trained):
        if pixels is None and len(adaptation.rows(remedies[0]).new):
            pixels = _pixels(adaptation)
        dataset = _training_set(adaptation, remedies[0], pixels)
        experiments = {
            remedy: adaptation.experiment(remedy, dataset, found.estimated) for remedy in remedies
        }
        _train(adaptation, dataset, experiments)
        for remedy, experiment in experiments.items():
            trainings[remedy] = _opened(adaptation, remedy, experiment, dataset)
    return {remedy: trainings[remedy] for remedy in adaptation.trained}


def _by_rows(remedies: Sequence[str]) -> list[list[str]]:
    """Those that train on the same rows together: they are read once, by workers that stay."""
    groups: dict[str, list[str]] = {}
    for remedy in remedies:
        groups.setdefault(SAME_ROWS.get(remedy, remedy), []).append(remedy)
    return list(groups.values())


def _pixels(adaptation: Adaptation) -> Pixels:
    """The images of all merged sets: the run's own set, and what may be learned of production."""
    from orchestrator.ingest.merging import gather_pixels
    from orchestrator.shift.parts import TRAIN, VALIDATION

    sets, rows = adaptation.job.sets, adaptation.parts.rows(TRAIN, VALIDATION)
    folder = adaptation.out / "data" / "pixels"
    return gather_pixels(sets.own, sets.measured, rows, sets.class_indices, folder)


def _training_set(adaptation: Adaptation, remedy: str, pixels: Pixels | None) -> PreparedDataset:
    """The run's own set where a remedy learns from nothing else, or a merged one."""
    from orchestrator.ingest.merging import without_rows, write_merged
    from orchestrator.shift.parts import UNUSED

    rows, own = adaptation.rows(remedy), adaptation.job.sets.own
    if not len(rows.new) or pixels is None:
        return own
    name = SAME_ROWS.get(remedy, remedy)
    splits = adaptation.splits(rows)
    used = splits != UNUSED
    if not used.all():
        pixels = without_rows(pixels, used, adaptation.out / "data" / f"pixels-{name}")
    return write_merged(
        pixels,
        splits[used],
        adaptation.job.stored.experiment.data.protocol,
        name=f"{own.name[:60]}+{adaptation.job.sets.measured.name[:60]} {name}",
        settings={"rows_of": name, "old_rows": len(rows.old), "new_rows": len(rows.new)},
        out=adaptation.out / "data" / name,
    )


def _train(
    adaptation: Adaptation, dataset: PreparedDataset, experiments: Mapping[str, Experiment]
) -> None:
    """Trains what is not trained yet, as `train` does; what that says lies beside each run."""
    from orchestrator.run_folder import write_facts
    from orchestrator.warm_training import warm_training

    left = {
        remedy: experiment
        for remedy, experiment in experiments.items()
        if not _is_trained(adaptation.run_folder(remedy), experiment, dataset)
    }
    if not left:
        return
    resources = adaptation.config.resources
    capacity = _capacity(adaptation)
    data = next(iter(left.values())).data
    homes = {remedy: Home(adaptation.run_folder(remedy)) for remedy in left}
    for remedy, experiment in left.items():
        homes[remedy].local.mkdir(parents=True, exist_ok=True)
        write_facts(homes[remedy], experiment)
    stopped = False
    with warm_training(dataset, data, resources, capacity, homes[next(iter(left))]) as warm:
        for remedy, experiment in left.items():
            log = homes[remedy].local / "train.log"
            with log.open("w") as said, contextlib.redirect_stdout(said):
                trained = warm.train(experiment, homes[remedy])
                stopped = trained.finish("the same `adapt` command") != 0
            if stopped:  # Ctrl-C; its epochs so far are kept
                break
    if stopped:
        raise KeyboardInterrupt


def _capacity(adaptation: Adaptation) -> SlotCapacity:
    """Of the workers that train; refuses what does not fit the cluster."""
    config = adaptation.config
    return plan_slots(nodes(), config.resources, 1, nodes_to_come(config.address))


def _is_trained(folder: Path, experiment: Experiment, dataset: PreparedDataset) -> bool:
    from orchestrator.training.checkpoint import newest_valid
    from orchestrator.tuning.lineages import lineage_key

    last = folder / CHECKPOINTS / "last"
    key = lineage_key(experiment, dataset.fingerprint)
    newest = newest_valid(last, key) if last.is_dir() else None
    return newest is not None and newest[1].epoch >= experiment.epochs


def _opened(
    adaptation: Adaptation, remedy: str, experiment: Experiment, dataset: PreparedDataset
) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a remedy after its last epoch, and what was done to get it."""
    from orchestrator.inference.stored_model import build_network, open_model
    from orchestrator.training.checkpoint import epoch_folder

    last = adaptation.run_folder(remedy) / CHECKPOINTS / "last"
    stored = open_model(epoch_folder(last, experiment.epochs))
    own, rows = adaptation.job.sets.own, adaptation.rows(remedy)
    network = build_network(stored, num_classes=len(own.classes), image_px=own.image_shape[0])
    epochs = stored.state.history
    print(
        f"{remedy:12} {len(rows.old):,} old and {len(rows.new):,} new rows, {experiment.epochs} "
        f"epochs: training loss {epochs[-1]['train_loss']:.4f}",
        flush=True,
    )
    return network, {
        "data": {"rows_old": len(rows.old), "rows_new": len(rows.new), "root": str(dataset.root)},
        "checkpoint": str(stored.folder),
        "epochs": experiment.epochs,
    }


def _write(adaptation: Adaptation, outcome: Outcome) -> None:
    from orchestrator.results.adaptation_report import markdown, write_adaptation

    write_adaptation(outcome, adaptation.out)
    print("", markdown(outcome), sep="\n")
    files = "adapt.html, adapt.md, adapt.json, gains.png, runs"
    print(f"results      {as_typed(adaptation.out)}  ({files})")


if __name__ == "__main__":
    sys.exit(run(main))
