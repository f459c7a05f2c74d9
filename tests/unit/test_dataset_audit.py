"""The audit of a finished set as files."""

import json
import shutil

import pytest
from PIL import Image
from prepared_set import CLASSES, rewrite_manifest, write_set

from orchestrator.config.errors import DatasetError
from orchestrator.ingest.dataset import open_dataset
from orchestrator.ingest.pixels import fingerprints
from orchestrator.results import dataset_audit
from orchestrator.results.dataset_audit import write_audit
from orchestrator.results.dataset_tables import summary


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    dataset = open_dataset(write_set(tmp_path_factory.mktemp("data") / "faces", rows=60))
    write_audit(dataset, None)
    return dataset


def test_the_audit_is_that_of_the_manifest(made):
    content = json.loads((made.root / "audit").read("audit.json"))
    assert content["audit"] == made.manifest["audit"]
    assert content["pairs"] == []


def test_there_is_a_page_a_figure_a_protocol_and_a_sheet_a_class(made):
    folder = made.root / "audit"
    names = {"audit.json", "index.html"}
    names |= {f"class_distribution-{protocol}.png" for protocol in made.protocols}
    names |= {f"sheet-{at}-{name}.png" for at, name in enumerate(CLASSES)}
    assert set(folder.files()) == names
    for name in names:
        if name.endswith(".png"):
            with Image.open(folder.local / name) as image:
                assert len(image.convert("L").getcolors()) > 10
    page = folder.read("index.html").decode()
    assert "Audit of faces" in page
    assert page.count("<img") == len(CLASSES) + len(made.protocols)


def test_the_summary_names_the_page(made, tmp_path):
    assert f"audit        {made.root}/audit/index.html" in summary(made)
    without = shutil.copytree(made.root.local, tmp_path / "faces")
    shutil.rmtree(without / "audit")
    assert "index.html" not in summary(open_dataset(without))


def test_fingerprints_at_hand_give_the_same_audit(made, tmp_path):
    copy = open_dataset(shutil.copytree(made.root.local, tmp_path / "faces"))
    shutil.rmtree(copy.root.local / "audit")
    write_audit(copy, fingerprints(made))
    for name in ("audit.json", "index.html"):
        assert (copy.root / "audit").read(name) == (made.root / "audit").read(name)


def test_a_class_name_does_not_lead_out_of_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_audit, "_compare", lambda *_: None)  # a forger can satisfy it
    root = write_set(tmp_path / "faces", rows=60)
    odd = "../../<b>fear"

    def rename(manifest):
        text = json.dumps(manifest).replace('"fear"', json.dumps(odd))
        manifest.clear()
        manifest.update(json.loads(text))

    rewrite_manifest(root, rename)
    dataset = open_dataset(root)
    write_audit(dataset, None)
    assert "sheet-1--b-fear.png" in (dataset.root / "audit").files()
    assert {path.name for path in tmp_path.iterdir()} == {"faces"}
    assert b"<b>fear" not in (dataset.root / "audit").read("index.html")


def test_a_manifest_that_claims_another_audit_is_refused(tmp_path):
    root = write_set(tmp_path / "faces", rows=60)
    rewrite_manifest(root, lambda m: m["audit"]["leaks"]["random"].update(held_out_same_group=0))
    with pytest.raises(DatasetError, match="the manifest must say what the images and rows say"):
        write_audit(open_dataset(root), None)


def test_an_audit_folder_that_is_a_link_is_not_written_to(tmp_path):
    root = write_set(tmp_path / "faces", rows=60)
    (tmp_path / "victim").mkdir()
    (root / "audit").symlink_to(tmp_path / "victim")
    with pytest.raises(DatasetError, match="must be no link"):
        write_audit(open_dataset(root), None)
    assert list((tmp_path / "victim").iterdir()) == []


def test_copies_are_shown_as_pairs_with_their_sources(tmp_path):
    def twins(images):
        images[7] = images[0]
        images[41] = images[12]

    dataset = open_dataset(write_set(tmp_path / "faces", rows=60, change=twins))
    write_audit(dataset, None)
    content = json.loads((dataset.root / "audit").read("audit.json"))
    assert sorted(pair["row_ids"] for pair in content["pairs"]) == [[0, 7], [12, 41]]
    assert ["0.png", "7.png"] in [pair["sources"] for pair in content["pairs"]]
    assert content["audit"]["duplicate_rows"] == 4
    assert {pair["distance"] for pair in content["pairs"]} == {0}
