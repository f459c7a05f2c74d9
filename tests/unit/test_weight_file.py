"""Files that are damaged or hostile are refused, and nothing in them is run."""

import pickle
import zipfile

import pytest
import torch

import models


def build(path, **options):
    return models.build("baseline", num_classes=6, image_size=64, weights=str(path), **options)


class Hostile:
    """Unpickled without care, this would write a file."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (type(self.trace).touch, (self.trace,))


@pytest.mark.parametrize(
    "save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))]
)
def test_code_in_a_pickle_is_refused_and_never_run(save, tmp_path):
    trace = tmp_path / "it_ran"
    path = tmp_path / "hostile.pth"
    save({"features.0.weight": torch.zeros(2), "x": Hostile(trace)}, path)
    with pytest.raises(models.ModelError, match="could run code"):
        build(path)
    assert not trace.exists()


def test_a_zip_that_unpacks_to_more_than_itself_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(10**6))
    with pytest.raises(models.ModelError, match="it would unpack to 1,000,000 bytes"):
        build(path)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**6, 10**6),
        torch.eye(3).to_sparse(),
        torch.zeros(3, device="meta"),
    ],
    ids=["expanded", "sparse", "meta"],
)
@pytest.mark.filterwarnings("ignore:Validating sparse tensor")  # torch says that it takes time
def test_tensors_without_their_own_numbers_are_refused(tensor, tmp_path):
    path = tmp_path / "thin.pth"
    torch.save({"features.0.weight": torch.zeros(2), "classifier.0.weight": tensor}, path)
    with pytest.raises(models.ModelError, match=r"dense tensors.*got classifier\.0\.weight of"):
        build(path)


@pytest.mark.parametrize("name", ["\x1b[31mfeatures.0.weight", "\udcff", "a" * 201])
def test_names_that_a_terminal_or_a_report_cannot_show_are_refused(name, tmp_path):
    path = tmp_path / "names.pth"
    torch.save({name: torch.zeros(2)}, path)
    with pytest.raises(models.ModelError, match="names must be printable") as caught:
        build(path)
    assert str(caught.value).isprintable()


def test_parameters_that_track_gradients_are_loaded_as_plain_numbers(tmp_path):
    trained, _ = build("random", width=0.125, seed=5)
    path = tmp_path / "parameters.pt"
    torch.save({**trained.state_dict(), **dict(trained.named_parameters())}, path)
    model, _ = build(path, width=0.125)
    assert all(parameter.is_leaf for parameter in model.parameters())
    assert torch.equal(model.trunk.conv1_1.weight, trained.trunk.conv1_1.weight)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"\x80\x02\x95" + bytes(40)])
def test_a_damaged_file_is_refused(suffix, content, tmp_path):
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    with pytest.raises(models.ModelError, match="damaged"):
        build(path)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(2)], torch.zeros(2)])
def test_a_file_without_named_tensors_is_refused(content, tmp_path):
    path = tmp_path / "empty.pt"
    torch.save(content, path)
    with pytest.raises(models.ModelError, match="must hold named tensors"):
        build(path)
