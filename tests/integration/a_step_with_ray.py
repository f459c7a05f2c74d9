"""A command that notes which Ray it is connected to."""

from pathlib import Path

from orchestrator.cluster import connect


def main(words):
    file, what = words
    with connect("local", dashboard=False) as cluster, Path(file).open("a") as notes:
        assert not cluster.started
        notes.write(f"{cluster.address}\n")
    return int(what == "fail")
