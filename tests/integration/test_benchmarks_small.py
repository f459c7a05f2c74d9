"""Every benchmark of training that needs Ray runs to its end at small sizes, and says something."""

import itertools
import re

import pytest

from benchmarks import bench_ddp, bench_first_step, bench_gpu, bench_timm, bench_workers

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("local_ray")]


def table_rows(text: str) -> list[list[str]]:
    """Cells of all rows that hold a figure, without the heads of tables."""
    lines = text.splitlines()
    heads = {above for above, rule in itertools.pairwise(lines) if rule.startswith("|-")}
    of_tables = [line for line in lines if line.startswith("| ") and line not in heads]
    rows = [line.strip("| ").split(" | ") for line in of_tables]
    return [row for row in rows if any(re.search(r"\d", cell) for cell in row[1:])]


def test_two_workers_have_the_losses_of_one(capsys):
    assert bench_workers.main(["--small"]) == 0
    said = capsys.readouterr().out
    assert [row[0] for row in table_rows(said)] == ["1 x 2", "2 x 1"]
    difference = float(re.search(r"validation loss: (\S+)", said)[1])
    assert difference < 1e-3  # two epochs of Adam over sums in another order


def test_the_users_own_loop_and_ours_are_compared(capsys):
    assert bench_ddp.main(["--small"]) == 0
    rows = table_rows(capsys.readouterr().out)
    assert rows[0][0] == "DataLoader + DDP, as it comes"
    assert any(row[0].startswith("ours, as it comes") for row in rows)


@pytest.mark.parametrize("bench", [bench_timm, bench_first_step], ids=["timm", "first step"])
def test_the_start_of_ours_is_measured(bench, capsys):
    assert bench.main(["--small"]) == 0
    assert any(row[0].startswith("ours") for row in table_rows(capsys.readouterr().out))


def test_the_scaling_of_bench_gpu_is_tried_without_a_gpu(capsys):
    assert bench_gpu.main(["--small", "--parts", "workers"]) == 0
    assert [row[0] for row in table_rows(capsys.readouterr().out)] == ["1", "2"]
