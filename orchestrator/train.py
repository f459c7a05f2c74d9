"""The command `train`: train one experiment and leave a run folder.

    check everything -> find or draw the data -> train by warm workers -> plot and say

`run_folder.py` says what it leaves. The same command again goes on where it was. DRIVER.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from datasets import EMOTIONS
from orchestrator.cluster import connect, is_private, nodes, refuse_lost_folder
from orchestrator.config.command_line import parse, run
from orchestrator.config.commands import TrainConfig
from orchestrator.config.errors import ConfigError
from orchestrator.config.experiment import Experiment, Resources
from orchestrator.config.home import Home, held, open_home
from orchestrator.embedded import (
    IMAGE_PX,
    check_embedded_protocol,
    embedded_dataset,
    find_dataset,
)
from orchestrator.ingest.dataset import PreparedDataset, check_protocol
from orchestrator.nodes_to_come import nodes_to_come
from orchestrator.run_folder import TRAIN as COMMAND
from orchestrator.run_folder import write_facts
from orchestrator.stopping import go_on
from orchestrator.tuning.capacity import plan_slots, this_machine
from orchestrator.tuning.lineages import lineage_key
from orchestrator.tuning.plan import (
    model_problems,
    training_problems,
    with_absolute_paths,
    worker_problems,
)
from orchestrator.warm_training import Trained, warm_training

DESCRIPTION = "Trains one experiment and leaves a run folder with checkpoints and curves."
EXAMPLES = (
    f"{COMMAND} data.path=prepared/fer2013 model.name=baseline model.weights=vgg16.safetensors "
    "optimizer.lr=1e-3",
    f"{COMMAND} --config orchestrator/presets/main.yaml data.path=prepared/faces",
    f"{COMMAND} --config runs/main-1a2b3c4d5e6f/config.yaml --epochs 30",
    f"{COMMAND} data.path=s3://bucket/faces out=s3://bucket/runs",
)


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    config = parse(TrainConfig, argv, command=COMMAND, description=DESCRIPTION, examples=EXAMPLES)
    refuse_lost_folder(config.out)
    if is_private(config.address):  # before the data set is read, which can take a while
        plan_slots([this_machine()], config.resources, 1)
    experiment = with_absolute_paths(
        Experiment.model_validate({name: getattr(config, name) for name in Experiment.model_fields})
    )
    dataset = find_dataset(config.data.path, config.out)
    _check(experiment, dataset, config.resources)
    with open_home(config.out) as runs, connect(config.address):
        dataset = dataset or embedded_dataset(config.out)
        key = lineage_key(experiment, dataset.fingerprint)
        name = config.name or f"{experiment.model.name.replace(':', '-')}-{key}"
        with held(runs / name, "name", print) as home:
            trained = _train(config, experiment, dataset, home)
            return trained.finish(go_on(COMMAND, argv))


def _train(
    config: TrainConfig, experiment: Experiment, dataset: PreparedDataset, home: Home
) -> Trained:
    resources = config.resources
    capacity = plan_slots(nodes(), resources, 1, nodes_to_come(config.address))
    write_facts(home, experiment)
    print(f"run         {home.shown}", flush=True)
    with warm_training(dataset, experiment.data, resources, capacity, home) as warm:
        return warm.train(experiment, home)


def _check(experiment: Experiment, dataset: PreparedDataset | None, resources: Resources) -> None:
    image_px, num_classes = IMAGE_PX, len(EMOTIONS)
    if dataset is None:
        check_embedded_protocol(experiment.data.protocol)
    else:
        check_protocol(dataset, experiment.data.protocol)
        image_px, num_classes = dataset.image_shape[0], len(dataset.classes)
    problems = (
        *model_problems(experiment, image_px, num_classes),
        *training_problems(experiment),
    )
    if problems := problems or worker_problems([experiment], resources, image_px):
        raise ConfigError(*problems)


if __name__ == "__main__":
    sys.exit(run(main))
