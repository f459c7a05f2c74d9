"""Benchmarks of training that need no Ray run to their end at small sizes."""

import pytest

from benchmarks import bench_gpu, bench_plain_loop


def table_rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| ")]


def test_ours_is_compared_with_the_limit(capsys):
    assert bench_plain_loop.main(["--small"]) == 0
    assert [row.split(" | ")[0] for row in table_rows(capsys.readouterr().out)] == [
        "| loop",
        "| plain loop, one batch on the device",
        "| ours",
        "| ours, augmentation off",
    ]


@pytest.mark.parametrize("part", ["loop", "sweep", "paper"])
def test_what_a_gpu_is_measured_by_is_tried_without_one(part, capsys):
    """Not torch.compile: its compiler takes a minute on a CPU."""
    assert bench_gpu.main(["--small", "--parts", part]) == 0
    said = capsys.readouterr().out
    assert f"## {part}" in said
    assert len(table_rows(said)) >= 3


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit):
        bench_gpu.main(["--parts", "loop,sweeep"])
    assert "got sweeep" in capsys.readouterr().err
