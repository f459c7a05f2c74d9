"""Which checkpoint a folder means, and that a study's ledger cannot lead out of its folder."""

import json

import pytest
from fake_study import scored

from orchestrator.checkpoint_choice import choose
from orchestrator.config.errors import ConfigError


def checkpoint(folder):
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("{}")
    return folder


def study(folder, records):
    folder.mkdir(exist_ok=True)
    (folder / "ledger.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return folder


def won_with(place):
    """Records of a study whose winner says that its checkpoint lies at `place`."""
    records = scored([0.3, 0.6])
    return [r | {"checkpoint": place} if r["record"] == "end" else r for r in records]


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "main-1a2b"
    folder.mkdir()
    (folder / "config.yaml").write_text("")
    return folder


def test_a_run_means_its_best_epoch(run):
    best = checkpoint(run / "checkpoints" / "best" / "epoch-0003")
    checkpoint(run / "checkpoints" / "last" / "epoch-0009")
    choice = choose(str(run))
    assert (choice.folder, choice.home.local, choice.label) == (best, run, "")
    assert choice.words == "the best of run main-1a2b"


def test_a_run_without_a_best_means_its_newest_whole_epoch(run):
    last = checkpoint(run / "checkpoints" / "last" / "epoch-0009")
    (run / "checkpoints" / "last" / "epoch-0010").mkdir()
    assert choose(str(run)).folder == last
    assert "the last of run" in choose(str(run)).words


def test_a_study_means_the_winner_of_its_leaderboard(tmp_path):
    place = "lineages/abc/milestones/epoch-0002"
    folder = study(tmp_path / "s", won_with(place))
    won = checkpoint(folder / place)
    choice = choose(str(folder))
    assert (choice.folder, choice.home.local, choice.label) == (won, folder, "")
    assert choice.words.startswith("the winner of study quickstart-1a2b3c4d: trial 1 (lr 0.2")


def test_a_checkpoint_means_itself_and_knows_its_run_or_study(run, tmp_path):
    best = checkpoint(run / "checkpoints" / "best" / "epoch-0003")
    choice = choose(str(best))
    assert (choice.folder, choice.home.local, choice.label) == (best, run, "best-epoch-0003")
    folder = study(tmp_path / "s", scored([0.3]))
    other = checkpoint(folder / "lineages" / "abc" / "milestones" / "epoch-0002")
    assert choose(str(other)).home.local == folder
    assert choose(str(other)).label == "lineages-abc-milestones-epoch-0002"
    alone = checkpoint(tmp_path / "alone" / "epoch-0001")
    assert choose(str(alone)).home.local == tmp_path / "alone"


@pytest.mark.parametrize("place", ["../outside", "/etc", "", "lineages/gone"])
def test_a_ledger_cannot_lead_to_a_checkpoint_elsewhere(place, tmp_path):
    checkpoint(tmp_path / "outside")
    folder = study(tmp_path / "s", won_with(place))
    with pytest.raises(ConfigError, match="the winner, trial 1, must have its checkpoint in"):
        choose(str(folder))


def test_a_link_out_of_the_study_is_not_followed(tmp_path):
    checkpoint(tmp_path / "outside")
    folder = study(tmp_path / "s", won_with("inside"))
    (folder / "inside").symlink_to(tmp_path / "outside")
    with pytest.raises(ConfigError, match="must have its checkpoint in"):
        choose(str(folder))


def test_what_has_no_checkpoint_is_refused_with_what_would_do(run, tmp_path):
    with pytest.raises(ConfigError, match=r"checkpoint: must be a checkpoint .* got"):
        choose(str(tmp_path / "nothing"))
    (run / "checkpoints").mkdir()
    with pytest.raises(ConfigError, match="must have a finished epoch"):
        choose(str(run))
    with pytest.raises(ConfigError, match="must have a finished trial"):
        choose(str(study(tmp_path / "s", scored([]))))
