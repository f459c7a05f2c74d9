"""A study that is checked and planned: what it is, and its training from the ledger on.

    plan -> what the ledger knows -> proposals, judge, state -> warm slots under a watchdog

DRIVER. `ablate` is the command around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.cluster import nodes
from orchestrator.config.commands import AblateConfig
from orchestrator.config.experiment import Experiment
from orchestrator.config.home import Home
from orchestrator.config.space import Space
from orchestrator.config.stop_rule import StopRule
from orchestrator.config.validate import to_dict
from orchestrator.environment import describe_environment
from orchestrator.ingest.dataset import PreparedDataset
from orchestrator.machine import free_disk_bytes
from orchestrator.results.optuna_journal import OptunaJournal
from orchestrator.results.phase_table import Stopwatch, phase_table, summed
from orchestrator.results.study_screen import StudyScreen
from orchestrator.stopping import stop_on_signals
from orchestrator.tuning.capacity import Node, SlotCapacity, plan_slots
from orchestrator.tuning.forecast import forecast, plan_lines, used_counts
from orchestrator.tuning.judge import Judge
from orchestrator.tuning.ledger import LEDGER, VERSION, Ledger, Record, fetch_ledger, read_records
from orchestrator.tuning.lineages import StudyState
from orchestrator.tuning.plan import Resolver, checked, whole_paths
from orchestrator.tuning.proposals import Proposals, distributions
from orchestrator.tuning.samplers import directions
from orchestrator.tuning.seeds import Repeats, by_configuration, with_seeds
from orchestrator.tuning.study import FAILURES, Study, past_trials, resume
from orchestrator.tuning.taking_up import TakenUp, left_lines, take_up
from orchestrator.tuning.watchdog import watching


@dataclass(frozen=True)
class StudyJob:
    """A checked command: what to study, on what, where.

    Attributes:
        config: of the command, over the space's base.
        space: with the number of seeds that was asked for.
        stopping: the rule by which trials are stopped early.
        experiments: those that are known before the start, of one seed each.
        resolver: makes an experiment of a trial's values.
        dataset: checked.
        home: of the study.
        command: that runs it again.
    """

    config: AblateConfig
    space: Space
    stopping: StopRule
    experiments: tuple[Experiment, ...]
    resolver: Resolver
    dataset: PreparedDataset
    home: Home
    command: str

    @property
    def folder(self) -> Path:
        """Where this process works on the study."""
        return self.home.local

    def state(self) -> StudyState:
        """A state that knows at which epochs trials may end, and nothing yet of any trial."""
        if self.space.num_listed():
            return StudyState(())
        whole = whole_paths(self.space, self.resolver)
        if self.space.draws_once(whole):
            return StudyState(self.space.ends_of_points(self.config.epochs, whole))
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


@dataclass(frozen=True)
class Trained:
    """What a command has done for its study.

    Attributes:
        complete: whether every trial has ended and none is to come: of a sampled space those that
            are not drawn yet are in no ledger, so that its view cannot tell.
        said: where the time went and what else there is to say, in lines; none where there was
            nothing to train.
    """

    complete: bool
    said: tuple[str, ...] = ()


def plan(
    job: StudyJob, cluster_nodes: Sequence[Node], largest: Sequence[Node] = ()
) -> tuple[SlotCapacity, tuple[str, ...]]:
    """How many slots there will be, and what will be done, in lines.

    Args:
        job: what to train.
        cluster_nodes: that are up.
        largest: the cluster as its autoscaler may make it; () where none is known.

    Raises:
        ConfigError: a trial does not fit the cluster, or the ledger is of another experiment.
        StorageError: the object store that keeps the study does not answer.
    """
    fetch_ledger(job.home)
    state, records = job.state(), list(read_records(job.folder / LEDGER))
    resume(records, state, job.resolver.trial, stopping=job.stops())
    experiments = with_seeds(job.experiments, job.space.seeds)
    lineages = [job.resolver.lineage(experiment) for experiment in experiments]
    expected = forecast(
        job.space,
        experiments,
        lineages,
        state,
        job.dataset,
        longest=max(job.space.epochs_choices(job.config.epochs)),
        stops=job.stops(),
    )
    capacity = plan_slots(cluster_nodes, job.config.resources, expected.num_lineages, largest)
    shown = job.home.shown
    # What a study that goes on has written already is no longer free.
    free = None if job.home.store or records else free_disk_bytes(job.folder)
    lines = plan_lines(job.space, job.dataset, job.config.data, expected, capacity, shown, free)
    if words := job.stopping.words():
        lines = (*lines, f"stopping    {words}")
    return capacity, (*lines, *left_lines(_taken_up(job, records).left))


def train_study(
    job: StudyJob,
    ledger: Ledger,
    screen: StudyScreen,
    journal: OptunaJournal,
    capacity: SlotCapacity,
    ray_logs: str,
) -> Trained:
    """Trains what the ledger does not have yet; Ray must be initialised.

    Args:
        job: what to train.
        ledger: of its folder, held.
        screen: is shown each record.
        journal: Optuna's, which shows the study.
        capacity: as planned.
        ray_logs: where Ray's logs lie, for reports of what went wrong.

    Returns:
        Whether it is complete now, and where the time went.

    Raises:
        StorageError: the study cannot be written.
        StalledError: nothing moved for `resources.stall_s`.
    """
    records = list(read_records(job.folder / LEDGER))
    taken_up = _taken_up(job, records)
    records += [ledger.append(record) for record in taken_up.news]
    whole = whole_paths(job.space, job.resolver)
    tried = [trial.values for trial in past_trials(records, stopping=job.stops())]
    journal.begin(distributions(job.space, whole, tried), directions(job.space.kind), tried)
    screen.begin(records, ledger.append(_study_record(job, capacity)))
    study = _resumed(job, ledger, screen, capacity, records, taken_up, whole)
    if study.broken is not None:
        raise study.broken
    if study.complete():
        return Trained(complete=True)
    watch = _train(job, study, capacity, ray_logs)
    # All slots wait for the data that is read once for them.
    num_slots = max(capacity.slots, screen.utilisation.num_slots())
    ingest = {"ingest": watch.seconds["ingest"] * num_slots}
    seconds = summed([ingest, screen.trained_s()])
    ledger.append(screen.utilisation.record())
    table = phase_table(seconds, watch.wall_s(), num_slots=num_slots)
    speed = screen.speed_lines()
    said = (*screen.note_lines(), *table, *speed, *screen.utilisation.lines(), "")
    return Trained(study.complete(), said)


def _taken_up(job: StudyJob, records: Sequence[Record]) -> TakenUp:
    """What the ledger knows, in the terms of the space as it is now."""
    past = past_trials(records, stopping=job.stops())
    return take_up(records, past, job.space, job.config.seed, job.resolver.trial)


def _resumed(
    job: StudyJob,
    ledger: Ledger,
    screen: StudyScreen,
    capacity: SlotCapacity,
    records: Sequence[Record],
    taken_up: TakenUp,
    whole: frozenset[str],
) -> Study:
    """The study as the ledger left it, with all that can be proposed at once."""
    state = job.state()
    reopened = resume(records, state, job.resolver.trial, stopping=job.stops())
    for number in taken_up.left:
        state.end_trial(number)
    configurations = Proposals(
        job.space,
        seed=job.config.seed,
        whole=whole,
        past=by_configuration(taken_up.past, job.space, job.config.seed),
    )
    repeats = Repeats(configurations, job.space, job.config.seed, taken_up.past)
    num_slots = capacity.slots + capacity.missing
    judge = job.judge()
    for record in records:
        judge.take(record)
    image_size, num_classes = job.dataset.image_shape[0], len(job.dataset.classes)
    resolve = checked(job.resolver, image_size=image_size, num_classes=num_classes)
    if job.space.num_listed():
        resolve = job.resolver.trial  # all were checked before the start
    study = Study(ledger.home, ledger, state, repeats, resolve, screen.show, num_slots, judge)
    study.reopen(number for number in reopened if number not in taken_up.left)
    study.end_stopped()
    if job.space.num_listed():
        study.open_all()
    else:
        study.open_repeats()
    return study


def _train(job: StudyJob, study: Study, capacity: SlotCapacity, ray_logs: str) -> Stopwatch:
    """Reads the data once and lets Tune run the slots, watched over; see `stopping`."""
    from orchestrator.slots import ready_slots
    from orchestrator.tuning.growth import Growth
    from orchestrator.tuning.stall_report import free_amounts, stall_report
    from orchestrator.tuning.tune_run import run_study, study_signs

    watch, resources = Stopwatch(), job.config.resources
    logs = (ray_logs, f"{job.home.kept}/{FAILURES}")

    def report() -> Sequence[str]:
        return stall_report(study.last_record, logs)

    with stop_on_signals(at_once=True) as stop:
        with watching(free_amounts, report, stop.abort, stall_s=resources.stall_s):
            plan, datasets = ready_slots(
                job.dataset, job.config.data, capacity, resources, job.home
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


def _study_record(job: StudyJob, capacity: SlotCapacity) -> dict[str, object]:
    dataset = job.dataset
    return {
        "record": "study",
        "version": VERSION,
        "study": job.folder.name,
        "command": job.command,
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
            "slots": capacity.slots + capacity.missing,
            "workers": capacity.workers,
            "cpus_per_worker": capacity.cpus_per_worker,
            "gpus_per_worker": capacity.gpus_per_worker,
        },
        "environment": describe_environment(),
    }
