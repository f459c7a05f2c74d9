"""Commands that read a run or a study which an object store keeps; no Ray, a real S3 server."""

import json
import re

import pytest
from fake_study import scored
from PIL import Image
from prepared_set import write_set
from trained_run import write_run

from orchestrator import export, predict, report
from orchestrator.adaptation_job import checked_adaptation
from orchestrator.checkpoint_choice import chosen
from orchestrator.config.command_line import run
from orchestrator.config.errors import ConfigError
from orchestrator.config.evaluation import EvaluateConfig
from orchestrator.config.folder import folder
from orchestrator.config.home import Home, open_home
from orchestrator.config.object_store import Store
from orchestrator.config.production import AdaptConfig
from orchestrator.config.storage import MARKER
from orchestrator.config.validate import read_yaml
from orchestrator.evaluation_job import checked_job, facts
from orchestrator.ingest.dataset import open_dataset
from orchestrator.results.evaluation_report import SUMMARY
from orchestrator.results.report_sources import bring, find_sources
from orchestrator.tuning.ledger import MAX_RECORD_BYTES, Ledger

LINKED = ("s/ledger.jsonl", "small/metrics.jsonl", "small/config.yaml")
BEST = "checkpoints/best/epoch-0002"
WON = "lineages/abc/milestones/epoch-0002"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_set(tmp_path_factory.mktemp("data") / "faces", image_px=32))


@pytest.fixture
def runs(faulty_s3, tmp_path) -> Store:
    return Store(folder(f"s3://faulty/{tmp_path.name}/runs"))


@pytest.fixture
def stored_run(runs, dataset, tmp_path) -> Store:
    """A run that lies in the store alone."""
    return sent(runs, write_run(tmp_path / "here" / "small", dataset))


def sent(runs: Store, here) -> Store:
    Home(here.parent, runs).send_folder(here.name)
    return runs / here.name


def study(runs: Store, tmp_path, records: list[dict]) -> Store:
    with Ledger(Home(tmp_path / "driver", runs / "s"), print) as ledger:
        for record in records:
            ledger.append(record)
    return runs / "s"


def won_with(place: str) -> list[dict]:
    records = scored([0.3, 0.4])
    return [
        {**record, "checkpoint": place} if record["record"] == "end" else record
        for record in records
    ]


def test_a_run_means_its_best_and_only_that_is_brought(stored_run, runs):
    (stored_run / "checkpoints/last/epoch-0009").put(MARKER, b"{}")
    with chosen(str(stored_run)) as choice:
        assert choice.name == BEST
        assert (choice.folder / MARKER).is_file()
        assert not (choice.home.local / "checkpoints/last").exists()
        assert str(choice.shown) == str(choice.kept) == f"{stored_run}/{BEST}"
        assert choice.place_of("embedded") == f"{runs}/embedded"
        assert choice.place_of("s3://bucket/faces") == "s3://bucket/faces"
        here = choice.home.local
    assert not here.exists()


def test_a_study_means_its_winner(runs, tmp_path):
    there = study(runs, tmp_path, won_with(WON))
    (there / WON).put(MARKER, b"{}")
    with chosen(str(there)) as choice:
        assert (choice.name, choice.label) == (WON, "")
        assert choice.words.startswith("the winner of study quickstart-1a2b3c4d: trial 1")
        assert (choice.folder / MARKER).is_file()


@pytest.mark.parametrize("place", ["../outside", "/etc", "", "lineages/gone"])
def test_a_ledger_cannot_lead_to_a_checkpoint_elsewhere(place, runs, tmp_path):
    there = study(runs, tmp_path, won_with(place))
    (runs / "outside").put(MARKER, b"{}")
    with (
        pytest.raises(ConfigError, match=rf"must have its checkpoint in {there}; got"),
        chosen(str(there)),
    ):
        pass


def test_a_checkpoint_named_knows_its_run_or_study(stored_run, runs, tmp_path):
    with chosen(f"{stored_run}/{BEST}") as choice:
        assert choice.label == "best-epoch-0002"
        assert str(choice.home.kept) == str(stored_run)
        assert (choice.folder / "model.safetensors").is_file()
    there = study(runs, tmp_path, scored([0.3]))
    (there / WON).put(MARKER, b"{}")
    with chosen(f"{there}/{WON}") as choice:
        assert str(choice.home.kept) == str(there)
    (runs / "alone/epoch-0001").put(MARKER, b"{}")
    with chosen(f"{runs}/alone/epoch-0001") as choice:
        assert str(choice.home.kept) == f"{runs}/alone"


@pytest.mark.parametrize("what", ["nothing", "s3", "begun"])
def test_what_has_no_checkpoint_is_refused(what, runs, capsys):
    (runs / "begun").put("config.yaml", b"")
    place = "s3://faulty" if what == "s3" else f"{runs}/{what}"
    assert run(predict.main, [f"checkpoint={place}", "source=x.png"]) == 2
    wanted = "the run must have a finished epoch" if what == "begun" else "must be a checkpoint"
    assert f"checkpoint: {wanted}" in capsys.readouterr().err


def test_results_are_to_lie_in_the_store_beside_those_of_other_sets(stored_run, dataset):
    config = EvaluateConfig(checkpoint=str(stored_run))
    with chosen(str(stored_run)) as choice:
        job = checked_job(config, choice)
        assert str(job.out.kept) == f"{stored_run}/evaluations/faces-group-test"
        assert f"checkpoint   {stored_run}/{BEST}" in facts(job)
    said = json.dumps({"data": {"fingerprint": "of another"}}).encode()
    (stored_run / "evaluations/faces-group-test").put(SUMMARY, said)
    with chosen(str(stored_run)) as choice:
        other = checked_job(config, choice).out
        assert str(other.kept).endswith(f"faces-group-test-{dataset.fingerprint[:8]}")


def test_predict_and_export_take_a_run_from_the_store(stored_run, tmp_path, capsys):
    Image.new("RGB", (40, 40)).save(tmp_path / "face.png")
    out = tmp_path / "labels.csv"
    words = [f"source={tmp_path / 'face.png'}", f"out={out}"]
    assert run(predict.main, [f"checkpoint={stored_run}", *words]) == 0
    assert len(out.read_text().splitlines()) == 2
    (stored_run / "export").put("model.pt2", b"of an earlier export")
    (stored_run / "export").put("model.trt", b"the user's own")
    assert run(export.main, [f"checkpoint={stored_run}", "formats=safetensors"]) == 0
    told = capsys.readouterr().out
    assert f"export       {stored_run}/export  (model.safetensors, card.json)" in told
    assert set((stored_run / "export").files()) == {"model.safetensors", "card.json", "model.trt"}


def test_results_that_could_not_all_be_sent_are_not_taken_for_whole(
    stored_run, faulty_s3, impatient, capsys
):
    words = [f"checkpoint={stored_run}", "formats=safetensors"]
    assert run(export.main, words) == 0
    faulty_s3.fail(
        lambda method, path: method != "GET" and "export/model.safetensors" in path,
        status=503,
        code="SlowDown",
    )
    assert run(export.main, words) == 1
    assert capsys.readouterr().err.startswith(f"error: storage: {stored_run}/export must be")
    assert (stored_run / "export").files().keys() == {"model.safetensors"}
    faulty_s3.mend()
    assert run(export.main, words) == 0


def test_messages_name_what_is_kept(stored_run, runs, tmp_path, capsys):
    (stored_run / BEST).put("model.safetensors", b"damaged")
    there = study(runs, tmp_path, scored([0.3]))
    (there / "ledger").put("000000002-0a0a0a0a.json", b"not json\n")
    Image.new("RGB", (40, 40)).save(tmp_path / "face.png")
    for place, named in ((stored_run, f"{stored_run}/{BEST}"), (there, f"{there}/ledger.jsonl")):
        assert run(predict.main, [f"checkpoint={place}", f"source={tmp_path}/face.png"]) != 0
        told = capsys.readouterr().err
        assert named in told
        assert "fer-runs-" not in told


def test_a_checkpoint_that_is_removed_while_it_is_brought_is_named(stored_run, monkeypatch):
    def removed(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(Store, "download", removed)
    named = re.escape(f"{stored_run}/{BEST} was removed")
    with pytest.raises(ConfigError, match=named), chosen(str(stored_run)):
        pass


def test_keys_that_are_no_paths_of_a_run_are_none_of_ours(runs, stored_run, faulty_s3, tmp_path):
    prefix = runs.folder.path().partition("/")[2]
    odd = (
        "/x/y.json",
        f"small/{BEST}//tmp/evil",
        "s/ledger//000000001-0a.json",
        f"{'x' * 300}/a.json",
    )
    for name in (*odd, f"small/{BEST}/state.json/inside"):
        faulty_s3.put("faulty", f"{prefix}/{name}", b"x")
    ours = {f"small/{name}" for name in stored_run.files()}
    assert set(runs.files()) == ours
    assert f"small/{BEST}/state.json/inside" in ours
    with open_home(str(runs)) as home:
        assert bring(home) == []


def test_a_checkpoint_that_a_training_removes_costs_a_report_nothing(stored_run, runs, monkeypatch):
    stored_run.put("metrics.jsonl", b'{"epoch": 1, "val_macro_f1": 0.5}\n')
    download = Store.download

    def removed(store: Store, name: str, path) -> None:
        if name.endswith(MARKER):
            raise FileNotFoundError
        download(store, name, path)

    monkeypatch.setattr(Store, "download", removed)
    assert run(report.main, [f"study={runs}"]) == 0


def test_an_address_that_is_no_path_here_is_refused(runs, capsys):
    assert run(predict.main, [f"checkpoint={runs}/{'x' * 300}", "source=x.png"]) == 2
    assert "must be an address whose parts can be names of folders" in capsys.readouterr().err


def test_the_password_of_an_address_is_not_shown(capsys):
    with pytest.raises(ConfigError) as refused:
        read_yaml("s3://key:secret@bucket/x.yaml")
    assert "secret" not in str(refused.value)


def test_a_report_lies_in_the_store_beside_what_it_is_made_from(stored_run, runs, tmp_path, capsys):
    study(runs, tmp_path, scored([0.3, 0.4]))
    stored_run.put("metrics.jsonl", b'{"epoch": 1, "val_macro_f1": 0.5}\n')
    (stored_run / "lineages").put("odd.json", b"not read")
    assert run(report.main, [f"study={runs}"]) == 0
    told = capsys.readouterr().out
    assert "found        1 studies, 1 runs" in told
    assert f"report       {runs}/report/report.html" in told
    page = runs.folder.read("report/report.html").decode()
    assert "fer-runs-" not in page
    links = set(re.findall(r'href="(\.\./[^"]+)"', page))
    assert links == {f"../{name}" for name in LINKED}
    assert f"--config {runs}/small/config.yaml out={runs} name=small" in page
    stored_run.put("config.yaml", b"epochs: 7\n")
    assert read_yaml(f"{stored_run}/config.yaml") == {"epochs": 7}
    with pytest.raises(ConfigError, match="it does not exist"):
        read_yaml(f"{stored_run}/none.yaml")


def test_a_report_names_what_it_could_not_read_by_where_it_is_kept(
    stored_run, runs, tmp_path, capsys
):
    study(runs, tmp_path, scored([0.3, 0.4]))
    (runs / "other").put("evaluation.json", b"damaged")
    (runs / "long/ledger").put("000000001-0a0a0a0a.json", b"x" * (MAX_RECORD_BYTES + 1))
    assert run(report.main, [f"study={runs}/s", f"also=[{runs}/other,{runs}/long]"]) == 1
    told = capsys.readouterr()
    assert f"not read     {runs}/other/evaluation.json: " in told.err
    assert f"not read     {runs}/long/ledger.jsonl: {runs}/long/ledger/000000001" in told.err
    assert "fer-runs-" not in told.err + told.out


def test_a_report_brings_what_it_reads_and_no_weights(stored_run, runs, tmp_path):
    study(runs, tmp_path, scored([0.3]))
    (runs / "s" / WON).put(MARKER, b"{}")
    (runs / "s" / WON).put("model.safetensors", b"many bytes")
    with open_home(str(runs)) as home:
        bring(home)
        brought = {str(p.relative_to(home.local)) for p in home.local.rglob("*") if p.is_file()}
        found = find_sources([home.local])
    assert len(found.studies) == 1
    assert {name for name in brought if "/ledger/" not in name} == {
        "s/ledger.jsonl",
        "small/config.yaml",
        f"small/{BEST}/state.json",
    }


@pytest.mark.parametrize(
    "words",
    [
        ["study=s3://faulty/runs", "out=here"],
        ["study=s3://faulty/runs", "also=[here]"],
        ["study=here", "also=[s3://faulty/runs]"],
        ["study=s3://faulty/runs", "also=[s3://other/runs]"],
    ],
)
def test_a_report_whose_links_would_lead_nowhere_is_refused(words, capsys):
    assert run(report.main, words) == 2
    assert "study, also: must be in one bucket" in capsys.readouterr().err


def test_remedies_are_trained_where_all_nodes_see_them(stored_run, tmp_path):
    production = write_set(tmp_path / "street", rows=300, image_px=32)
    given = {
        "checkpoint": str(stored_run),
        "production": str(production),
        "remedies": ("old_data",),
    }
    with chosen(str(stored_run)) as choice:
        with pytest.raises(ConfigError, match="out: must be a folder that all nodes see"):
            checked_adaptation(AdaptConfig(**given), choice)
        found = checked_adaptation(AdaptConfig(**given, out=str(tmp_path / "out")), choice)
    assert found.weights == tmp_path / "out" / "checkpoint" / "model.safetensors"
