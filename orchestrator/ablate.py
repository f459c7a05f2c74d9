"""The command `ablate`: train the trials of a search space and rank them by macro-F1.

    check everything -> find or draw the data -> say the plan -> train in warm slots -> rank

Running the same command again goes on where it was; with a longer space it trains only what is
new. DRIVER.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets import EMOTIONS
from orchestrator.clean_up import clean_up
from orchestrator.cluster import Cluster, connect, is_private, nodes, refuse_lost_folder
from orchestrator.config.command_line import INTERRUPTED, parse, run
from orchestrator.config.commands import AblateConfig
from orchestrator.config.errors import ConfigError, OrchestratorError
from orchestrator.config.experiment import EMBEDDED, Experiment
from orchestrator.config.home import Home, open_home
from orchestrator.config.space import Space
from orchestrator.config.stop_rule import StopRule
from orchestrator.config.validate import fingerprint, given, to_dict, validate
from orchestrator.dashboard.page import write_page
from orchestrator.dashboard.surfaces import shown_in_ray
from orchestrator.dashboard.tab import Tab, cluster_line, open_page, page_line, serving
from orchestrator.embedded import (
    IMAGE_PX,
    check_embedded_protocol,
    embedded_dataset,
    find_dataset,
)
from orchestrator.ingest.dataset import PreparedDataset, check_protocol
from orchestrator.nodes_to_come import nodes_to_come
from orchestrator.results.effects_report import effect_lines, write_effects
from orchestrator.results.leaderboard_tables import text_table, write_all
from orchestrator.results.live import LiveBoard, closing_lines
from orchestrator.results.main_effects import effects_of
from orchestrator.results.optuna_journal import OptunaJournal
from orchestrator.results.pareto import front_lines
from orchestrator.results.printable import one_line, without_home
from orchestrator.results.sample_grid import StudySamples
from orchestrator.results.study_screen import StudyScreen
from orchestrator.results.study_view import StudyView
from orchestrator.results.tensorboard import TensorBoard
from orchestrator.run_folder import send_results
from orchestrator.stopping import go_on
from orchestrator.study_job import StudyJob, Trained, plan, train_study
from orchestrator.tuning.capacity import Node, SlotCapacity, plan_slots, this_machine
from orchestrator.tuning.ledger import Ledger
from orchestrator.tuning.plan import (
    Resolver,
    check_space,
    listed_spaces,
    load_space,
    value_at,
    with_num_seeds,
    worker_problems,
)

COMMAND = "python -m orchestrator.ablate"
DESCRIPTION = (
    "Trains every trial of a search space at once and ranks them by validation macro-F1. "
    "Without arguments: a small study on drawn faces that needs no download."
)
EXAMPLES = (
    f"{COMMAND} --space factorial --data.path prepared/affwild2 --model.weights vggface.pth",
    f"{COMMAND} --space my_space.yaml data.path=prepared/fer2013 data.protocol=official --dry-run",
    f"{COMMAND} --space factorial data.path=s3://bucket/faces out=s3://bucket/runs",
)
ABOUT_EMBEDDED = (
    "These are drawn faces: they show that the pipeline works here and say nothing about real",
    "ones. The paper's study on real data (see README):",
    "  python -m orchestrator.prepare dataset=folder source=FACES out=prepared/faces",
    f"  {COMMAND} --space paper data.path=prepared/faces model.weights=VGGFACE_FILE",
)
FAILED = 1


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    config = parse(
        AblateConfig,
        argv,
        command=COMMAND,
        description=f"{DESCRIPTION} Spaces here: {listed_spaces()}.",
        examples=EXAMPLES,
    )
    refuse_lost_folder(config.out)
    space = with_num_seeds(load_space(config.space), config.seeds)
    config = _over_base(config, space)
    if is_private(config.address):  # before the data set is read, which can take a while
        plan_slots([this_machine()], config.resources, 1)
    dataset = find_dataset(config.data.path, config.out)
    _stop_rule(config, space)
    experiments = _check(config, space, dataset)
    if config.dry_run and dataset is not None and is_private(config.address):
        with open_home(config.out) as runs:
            _plan(_job(config, runs, space, experiments, dataset, argv), [this_machine()])
        return 0
    has_tab = is_private(config.address) and not config.dry_run
    with (
        open_home(config.out) as runs,
        serving(runs.local, wanted=has_tab) as tab,
        connect(config.address, proxy_server_url=tab.server_url) as cluster,
    ):
        dataset = dataset or embedded_dataset(config.out)
        job = _job(config, runs, space, experiments, dataset, argv)
        _show_page(job, tab, cluster)
        return _ablate(job, cluster)


def _job(
    config: AblateConfig,
    runs: Home,
    space: Space,
    experiments: tuple[Experiment, ...],
    dataset: PreparedDataset,
    argv: Sequence[str],
) -> StudyJob:
    home = runs / (config.study or _study_name(config, dataset))
    resolver = Resolver(config.space, _given(config), dataset.fingerprint)
    stopping = _stop_rule(config, space)
    again = go_on(COMMAND, argv)
    return StudyJob(config, space, stopping, experiments, resolver, dataset, home, again)


def _show_page(job: StudyJob, tab: Tab, cluster: Cluster) -> None:
    """Says where the leaderboard is in the dashboard, and opens it for who sits before it."""
    url, study = cluster.dashboard_url, job.folder.name
    line = page_line(tab, url, study)
    if not cluster.started and not job.config.dry_run:
        line = cluster_line(url, study)
    if line:
        print(line)
    if job.config.open_page:
        open_page(tab.link(url, study, ticket=1))


def _ablate(job: StudyJob, cluster: Cluster) -> int:
    """Plans, trains and ranks; returns the exit status."""
    capacity = _plan(job, nodes(), nodes_to_come(job.config.address))
    if job.config.dry_run:
        return 0
    with Ledger(job.home) as ledger:  # held until all is written: nobody has newer tables
        trained, view, boards = _train(job, cluster, ledger, capacity)
        effects = effects_of(view)
        write_all(view, job.folder)
        write_effects(effects, view, job.folder)
        closing = (*_closing(job, view, cluster, complete=trained.complete), *boards)
        board_lines = (without_home(text_table(view)), *effect_lines(effects))
        print("", *board_lines, "", *trained.said, *closing, sep="\n")
        try:
            write_page(job.folder)
        except (OrchestratorError, OSError) as error:  # the study is whole without it
            print(f"page        not written: {one_line(str(error), 200)}")
        for line in send_results(ledger.home):
            print(line)
    return _exit_status(view, complete=trained.complete)


def _train(
    job: StudyJob, cluster: Cluster, ledger: Ledger, capacity: SlotCapacity
) -> tuple[Trained, StudyView, tuple[str, ...]]:
    """Trains what is left, shown live; the study then, and what TensorBoard and Optuna say of it."""
    tensorboard = TensorBoard(job.folder, print)
    journal = OptunaJournal(job.folder, print)
    in_ray = shown_in_ray(job.folder, cluster.logs)
    with LiveBoard(sys.stdout) as board, tensorboard, journal, in_ray:
        samples = StudySamples(tensorboard, job.dataset)
        others = (journal.show,)
        screen = StudyScreen(board, tensorboard, samples, job.resolver.experiment, others)
        trained = train_study(job, ledger, screen, journal, capacity, cluster.logs)
        if trained.complete:
            trained = replace(trained, said=(*trained.said, *_clean_up(job, ledger, screen)))
        view = screen.view()
        tensorboard.show(view)
    boards = (*tensorboard.closing_lines(job.home), *journal.closing_lines(job.home))
    return trained, view, boards


def _plan(
    job: StudyJob, cluster_nodes: Sequence[Node], largest: Sequence[Node] = ()
) -> SlotCapacity:
    """Prints what will be done; refuses what does not fit the cluster."""
    capacity, lines = plan(job, cluster_nodes, largest)
    print(*lines, "", sep="\n")
    return capacity


def _clean_up(job: StudyJob, ledger: Ledger, screen: StudyScreen) -> tuple[str, ...]:
    """Removes the weights of a complete study that `keep` does not want; says how much that was."""
    freed = clean_up(
        screen.view(),
        ledger.home,
        job.config.keep,
        lambda record: screen.show(ledger.append(record)),
    )
    return (f"keep        {job.config.keep}: {freed / 1e6:,.0f} MB removed",) if freed else ()


def _over_base(config: AblateConfig, space: Space) -> AblateConfig:
    """The command's values over the space's `base`; what the space varies must not be fixed."""
    given_values = given(config)
    untouched = given(AblateConfig())  # the kind of optimizer is named even where nobody did
    fixed = [
        path
        for path in space.paths()
        if value_at(given_values, path) not in (None, value_at(untouched, path))
    ]
    if fixed:
        raise ConfigError(
            *(
                f"{path}: is varied by space {config.space!r}; got a fixed value for it. "
                "Remove it, or write a space of your own"
                for path in fixed
            )
        )
    return validate(AblateConfig, ("the space's base", space.base), ("the command", given_values))


def _stop_rule(config: AblateConfig, space: Space) -> StopRule:
    """The command's rule over the space's.

    Raises:
        ConfigError: the kind of the space allows none.
    """
    rule = validate(
        StopRule, ("the space's stop", given(space.stop)), ("the command", given(config.stop))
    )
    validate(Space, ("the space", {**given(space), "stop": to_dict(rule)}))
    return rule


def _given(config: AblateConfig) -> dict[str, object]:
    """What was set for the experiment, without defaults and without where it runs."""
    return {key: value for key, value in given(config).items() if key in Experiment.model_fields}


def _check(
    config: AblateConfig, space: Space, dataset: PreparedDataset | None
) -> tuple[Experiment, ...]:
    """Everything that can be wrong with the command and shows without training."""
    resolver = Resolver(config.space, _given(config), dataset_fingerprint="")
    image_px, num_classes = IMAGE_PX, len(EMOTIONS)
    if dataset is None:
        check_embedded_protocol(config.data.protocol)
    else:
        check_protocol(dataset, config.data.protocol)
        image_px, num_classes = dataset.image_shape[0], len(dataset.classes)
    experiments = check_space(space, resolver, image_size=image_px, num_classes=num_classes)
    if problems := worker_problems(experiments, config.resources, image_px):
        raise ConfigError(*problems)
    return experiments


def _study_name(config: AblateConfig, dataset: PreparedDataset) -> str:
    """The same for the same name of a space, fixed values and data: so a study is found again."""
    parts = {"given": _given(config), "dataset": dataset.fingerprint}
    return f"{Path(config.space).stem}-{fingerprint(parts)[:8]}"


def _closing(
    job: StudyJob, view: StudyView, cluster: Cluster, *, complete: bool
) -> tuple[str, ...]:
    folder = job.home.shown
    more = f"python -m orchestrator.leaderboard study={folder}" if complete else job.command
    lines = closing_lines(view, folder, more, complete=complete)
    if job.config.data.path == EMBEDDED:
        lines = (*ABOUT_EMBEDDED, "", *lines)
    if job.space.kind == "nsga2":
        lines = (*front_lines(view), *lines)
    if view.count("failed") and not cluster.started:
        lines = (*lines, f"logs        {cluster.logs} on this driver's node")
    return lines


def _exit_status(view: StudyView, *, complete: bool) -> int:
    if not complete:
        return INTERRUPTED
    return FAILED if view.count("failed") else 0


if __name__ == "__main__":
    sys.exit(run(main))
