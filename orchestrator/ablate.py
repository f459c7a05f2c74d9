"""The command `ablate`: train the trials of a search space and rank them by macro-F1.

    check everything -> find or draw the data -> say the plan -> train in warm slots -> rank

Running the same command again goes on where it was; with a longer space it trains only what is
new. DRIVER.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets import EMOTIONS
from orchestrator.clean_up import clean_up
from orchestrator.cluster import Cluster, connect, is_private, nodes
from orchestrator.config.command_line import INTERRUPTED, parse, run
from orchestrator.config.commands import AblateConfig
from orchestrator.config.errors import ConfigError, OrchestratorError
from orchestrator.config.experiment import EMBEDDED, Experiment
from orchestrator.config.space import Space
from orchestrator.config.stop_rule import StopRule
from orchestrator.config.storage import as_typed
from orchestrator.config.validate import fingerprint, given, to_dict, validate
from orchestrator.dashboard.page import write_page
from orchestrator.dashboard.surfaces import shown_in_ray
from orchestrator.dashboard.tab import Tab, open_page, page_line, serving
from orchestrator.embedded import (
    IMAGE_PX,
    check_embedded_protocol,
    embedded_dataset,
    find_dataset,
)
from orchestrator.environment import describe_environment
from orchestrator.ingest.dataset import PreparedDataset, check_protocol
from orchestrator.results.effects_report import effect_lines, write_effects
from orchestrator.results.leaderboard_tables import text_table, write_all
from orchestrator.results.live import LiveBoard, closing_lines
from orchestrator.results.main_effects import effects_of
from orchestrator.results.optuna_journal import OptunaJournal
from orchestrator.results.pareto import front_lines
from orchestrator.results.phase_table import Stopwatch, phase_table, summed
from orchestrator.results.printable import one_line, without_home
from orchestrator.results.sample_grid import StudySamples
from orchestrator.results.study_screen import StudyScreen
from orchestrator.results.study_view import StudyView
from orchestrator.results.tensorboard import TensorBoard
from orchestrator.stopping import go_on, stop_on_signals
from orchestrator.tuning.capacity import Node, SlotCapacity, plan_slots, this_machine
from orchestrator.tuning.forecast import forecast, plan_lines, used_counts
from orchestrator.tuning.judge import Judge
from orchestrator.tuning.ledger import LEDGER, VERSION, Ledger, read_records
from orchestrator.tuning.lineages import StudyState
from orchestrator.tuning.plan import (
    Resolver,
    check_space,
    listed_spaces,
    load_space,
    value_at,
    whole_paths,
    with_num_seeds,
)
from orchestrator.tuning.proposals import Proposals, distributions
from orchestrator.tuning.samplers import directions
from orchestrator.tuning.seeds import Repeats, by_configuration, with_seeds
from orchestrator.tuning.study import FAILURES, Study, past_trials, resume
from orchestrator.tuning.watchdog import watching

COMMAND = "python -m orchestrator.ablate"
DESCRIPTION = (
    "Trains every trial of a search space at once and ranks them by validation macro-F1. "
    "Without arguments: a small study on drawn faces that needs no download."
)
EXAMPLES = (
    f"{COMMAND} --space factorial --data.path prepared/affwild2 --model.weights vggface.pth",
    f"{COMMAND} --space my_space.yaml data.path=prepared/fer2013 data.protocol=official --dry-run",
)
ABOUT_EMBEDDED = (
    "These are drawn faces: they show that the pipeline works here and say nothing about real",
    "ones. The paper's study on real data (see README):",
    "  python -m orchestrator.prepare dataset=folder source=FACES out=prepared/faces",
    f"  {COMMAND} --space paper data.path=prepared/faces model.weights=VGGFACE_FILE",
)
FAILED = 1


@dataclass(frozen=True)
class _Job:
    """A checked command: what to study, on what, where."""

    config: AblateConfig
    space: Space
    stopping: StopRule
    experiments: tuple[Experiment, ...]
    resolver: Resolver
    dataset: PreparedDataset
    folder: Path
    argv: tuple[str, ...]

    def state(self) -> StudyState:
        """A state that knows at which epochs trials may end, and nothing yet of any trial."""
        if self.space.num_listed():
            return StudyState(())
        return StudyState(
            self.space.epochs_choices(self.config.epochs),
            self.space.patience_choices(self.config.early_stop),
        )

    def judge(self) -> Judge:
        """Who says which trials are to be stopped."""
        return Judge(self.stopping, max(self.space.epochs_choices(self.config.epochs)))

    def stops(self) -> bool:
        """Whether any trial can be stopped."""
        return self.stopping.rule != "none"


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    config = parse(
        AblateConfig,
        argv,
        command=COMMAND,
        description=f"{DESCRIPTION} Spaces here: {listed_spaces()}.",
        examples=EXAMPLES,
    )
    space = with_num_seeds(load_space(config.space), config.seeds)
    config = _over_base(config, space)
    if is_private(config.address):  # before the data set is read, which can take a while
        plan_slots([this_machine()], config.resources, 1)
    dataset = find_dataset(config.data.path, config.out)
    _stop_rule(config, space)
    experiments = _check(config, space, dataset)
    if config.dry_run and dataset is not None and is_private(config.address):
        _say_plan(_job(config, space, experiments, dataset, argv), [this_machine()])
        return 0
    has_tab = is_private(config.address) and not config.dry_run
    with (
        serving(Path(config.out), wanted=has_tab) as tab,
        connect(config.address, proxy_server_url=tab.server_url) as cluster,
    ):
        dataset = dataset or embedded_dataset(config.out)
        job = _job(config, space, experiments, dataset, argv)
        _show_page(job, tab, cluster)
        return _ablate(job, cluster)


def _job(
    config: AblateConfig,
    space: Space,
    experiments: tuple[Experiment, ...],
    dataset: PreparedDataset,
    argv: Sequence[str],
) -> _Job:
    folder = Path(config.out).absolute() / (config.study or _study_name(config, dataset))
    resolver = Resolver(config.space, _given(config), dataset.fingerprint)
    stopping = _stop_rule(config, space)
    return _Job(config, space, stopping, experiments, resolver, dataset, folder, tuple(argv))


def _show_page(job: _Job, tab: Tab, cluster: Cluster) -> None:
    """Says where the leaderboard is in the dashboard, and opens it for who sits before it."""
    if line := page_line(tab, cluster.dashboard_url, job.folder.name):
        print(line)
    if job.config.open_page:
        open_page(tab.link(cluster.dashboard_url, job.folder.name, ticket=1))


def _ablate(job: _Job, cluster: Cluster) -> int:
    """Plans, trains and ranks; returns the exit status."""
    capacity = _say_plan(job, nodes())
    if job.config.dry_run:
        return 0
    tensorboard = TensorBoard(job.folder, print)
    journal = OptunaJournal(job.folder, print)
    in_ray = shown_in_ray(job.folder, cluster.logs)
    with (
        Ledger(job.folder) as ledger,
        LiveBoard(sys.stdout) as board,
        tensorboard,
        journal,
        in_ray,
    ):
        samples = StudySamples(tensorboard, job.dataset)
        others = (journal.show,)
        screen = StudyScreen(board, tensorboard, samples, job.resolver.experiment, others)
        times = _study(job, ledger, screen, journal, capacity, cluster)
        times += _clean_up(job, ledger, screen)
        view = screen.view()
        tensorboard.show(view)
    write_all(view, job.folder)
    effects = effects_of(view)
    write_effects(effects, view, job.folder)
    closing = (
        *_closing(job, view, cluster),
        *tensorboard.closing_lines(),
        *journal.closing_lines(),
    )
    board_lines = (without_home(text_table(view)), *effect_lines(effects))
    print("", *board_lines, "", *times, *closing, sep="\n")
    try:
        write_page(job.folder)
    except (OrchestratorError, OSError) as error:  # the study is whole without it
        print(f"page        not written: {one_line(str(error), 200)}")
    return _exit_status(view)


def _clean_up(job: _Job, ledger: Ledger, screen: StudyScreen) -> tuple[str, ...]:
    """Removes the weights that `keep` does not want; says how much that was."""
    freed = clean_up(
        screen.view(),
        job.folder,
        job.config.keep,
        lambda record: screen.show(ledger.append(record)),
    )
    return (f"keep        {job.config.keep}: {freed / 1e6:,.0f} MB removed",) if freed else ()


def _study(
    job: _Job,
    ledger: Ledger,
    screen: StudyScreen,
    journal: OptunaJournal,
    capacity: SlotCapacity,
    cluster: Cluster,
) -> tuple[str, ...]:
    """Trains what the ledger does not have yet; returns where the time went, as lines."""
    records = list(read_records(job.folder / LEDGER))
    past = past_trials(records, stopping=job.stops())
    whole = whole_paths(job.space, job.resolver)
    tried = [trial.values for trial in past]
    journal.begin(distributions(job.space, whole, tried), directions(job.space.kind), tried)
    screen.begin(records, ledger.append(_study_record(job, capacity)))
    state = job.state()
    reopened = resume(records, state, job.resolver.trial, stopping=job.stops())
    configurations = Proposals(
        job.space,
        seed=job.config.seed,
        whole=whole,
        past=by_configuration(past, job.space, job.config.seed),
    )
    repeats = Repeats(configurations, job.space, job.config.seed, past)
    num_slots = capacity.slots + capacity.missing
    judge = job.judge()
    for record in records:
        judge.take(record)
    study = Study(
        job.folder, ledger, state, repeats, job.resolver.trial, screen.show, num_slots, judge
    )
    study.reopen(reopened)
    study.end_stopped()
    if job.space.num_listed():
        study.open_all()
    if study.broken is not None:
        raise study.broken
    if study.complete():
        return ()
    watch = _train(job, study, capacity, cluster)
    # All slots wait for the data that is read once for them.
    ingest = {"ingest": watch.seconds["ingest"] * capacity.slots}
    seconds = summed([ingest, screen.trained_s()])
    ledger.append(screen.utilisation.record())
    table = phase_table(seconds, watch.wall_s(), num_slots=capacity.slots)
    return (*table, *screen.utilisation.lines(), "")


def _train(job: _Job, study: Study, capacity: SlotCapacity, cluster: Cluster) -> Stopwatch:
    """Reads the data once and lets Tune run the slots, watched over; see `stopping`."""
    from orchestrator.slots import ready_slots
    from orchestrator.tuning.growth import Growth
    from orchestrator.tuning.stall_report import free_amounts, stall_report
    from orchestrator.tuning.tune_run import run_study, study_signs

    watch, resources = Stopwatch(), job.config.resources
    logs = (cluster.logs, str(job.folder / FAILURES))

    def report() -> Sequence[str]:
        return stall_report(study.last_record, logs)

    with stop_on_signals(at_once=True) as stop:
        with watching(free_amounts, report, stop.abort, stall_s=resources.stall_s):
            plan, datasets = ready_slots(
                job.dataset, job.config.data, capacity, resources, job.folder
            )
        watch.lap("ingest")
        stop.gently()
        with watching(lambda: study_signs(study), report, stop.abort, stall_s=resources.stall_s):
            run_study(
                study,
                plan,
                datasets,
                growth=Growth(job.folder.name, capacity, nodes),
                restarts=resources.restarts,
                asked_to_stop=stop.asked,
            )
    return watch


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
    if dataset is None:
        check_embedded_protocol(config.data.protocol)
        return check_space(space, resolver, image_size=IMAGE_PX, num_classes=len(EMOTIONS))
    check_protocol(dataset, config.data.protocol)
    return check_space(
        space, resolver, image_size=dataset.image_shape[0], num_classes=len(dataset.classes)
    )


def _study_name(config: AblateConfig, dataset: PreparedDataset) -> str:
    """The same for the same name of a space, fixed values and data: so a study is found again."""
    parts = {"given": _given(config), "dataset": dataset.fingerprint}
    return f"{Path(config.space).stem}-{fingerprint(parts)[:8]}"


def _say_plan(job: _Job, cluster_nodes: Sequence[Node]) -> SlotCapacity:
    """Prints what will be done; refuses what does not fit the cluster."""
    state = job.state()
    resume(read_records(job.folder / LEDGER), state, job.resolver.trial, stopping=job.stops())
    experiments = with_seeds(job.experiments, job.space.seeds)
    lineages = [job.resolver.lineage(experiment) for experiment in experiments]
    expected = forecast(job.space, experiments, lineages, state, job.dataset, stops=job.stops())
    capacity = plan_slots(cluster_nodes, job.config.resources, expected.num_lineages)
    lines = plan_lines(job.space, job.dataset, job.config.data, expected, capacity, job.folder)
    if words := job.stopping.words():
        lines = (*lines, f"stopping    {words}")
    print(*lines, "", sep="\n")
    return capacity


def _study_record(job: _Job, capacity: SlotCapacity) -> dict[str, object]:
    dataset = job.dataset
    return {
        "record": "study",
        "version": VERSION,
        "study": job.folder.name,
        "command": shlex.join([*COMMAND.split(), *job.argv]),
        "space": {"name": Path(job.config.space).stem, **to_dict(job.space)},
        "stop": to_dict(job.stopping),
        "experiment": to_dict(job.resolver.experiment({})),
        "dataset": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "root": str(dataset.root),
            "protocol": job.config.data.protocol,
            "classes": list(dataset.classes),
            "counts": used_counts(dataset, job.config.data),
        },
        "resources": {
            "slots": capacity.slots,
            "workers": capacity.workers,
            "cpus_per_worker": capacity.cpus_per_worker,
            "gpus_per_worker": capacity.gpus_per_worker,
        },
        "environment": describe_environment(),
    }


def _closing(job: _Job, view: StudyView, cluster: Cluster) -> tuple[str, ...]:
    folder = as_typed(job.folder)
    more = f"python -m orchestrator.leaderboard study={folder}"
    if _exit_status(view) == INTERRUPTED:
        more = go_on(COMMAND, job.argv)
    lines = closing_lines(view, folder, more)
    if job.config.data.path == EMBEDDED:
        lines = (*ABOUT_EMBEDDED, "", *lines)
    if job.space.kind == "nsga2":
        lines = (*front_lines(view), *lines)
    if view.count("failed") and not cluster.started:
        lines = (*lines, f"logs        {cluster.logs} on the head node")
    return lines


def _exit_status(view: StudyView) -> int:
    if view.count("queued") + view.count("running"):
        return INTERRUPTED
    return FAILED if view.count("failed") else 0


if __name__ == "__main__":
    sys.exit(run(main))
