"""A Keras file gives its numbers; one that does more than hold numbers is refused unread."""

import os
import sys

import h5py
import numpy as np
import pytest
import torch

import models
from models import keras_file, keras_layers

KERNEL = np.arange(216, dtype=np.float32).reshape(3, 3, 3, 8)
NAME = "conv1_1/conv1_1/kernel:0"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.h5"


def test_numbers_come_out_as_they_went_in(path):
    with h5py.File(path, "w") as file:
        file[NAME] = KERNEL
        file["conv1_1/conv1_1/bias:0"] = np.arange(8, dtype=">f8")
        file.create_group("pool1")
    tensors = keras_file.read(path)
    assert set(tensors) == {NAME, "conv1_1/conv1_1/bias:0"}
    assert torch.equal(tensors[NAME], torch.from_numpy(KERNEL))
    assert tensors["conv1_1/conv1_1/bias:0"].tolist() == list(range(8))
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


# What is refused, and by which words


def soft_link(file, _):
    file["conv1_1/kernel:0"] = h5py.SoftLink("/elsewhere")


def external_link(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["kernel:0"] = KERNEL
    file["conv1_1/kernel:0"] = h5py.ExternalLink("other.h5", "kernel:0")


def external_storage(file, folder):
    (folder / "secret").write_bytes(KERNEL.tobytes())
    storage = [(str(folder / "secret"), 0, KERNEL.nbytes)]
    file.create_dataset(NAME, KERNEL.shape, "f4", external=storage)


def virtual(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["kernel:0"] = KERNEL
    layout = h5py.VirtualLayout(KERNEL.shape, "f4")
    layout[...] = h5py.VirtualSource(str(folder / "other.h5"), "kernel:0", KERNEL.shape)
    file.create_virtual_dataset(NAME, layout)


def compressed(file, _):
    file.create_dataset(NAME, data=np.zeros((3, 3, 3, 8), "f4"), compression="gzip")


def promised(file, _):
    """A terabyte, of which nothing is there."""
    file.create_dataset(NAME, (10**6, 10**6), "f4")


def objects(file, _):
    file.create_dataset(NAME, (3,), dtype=h5py.ref_dtype)


def texts(file, _):
    file.create_dataset(NAME, data=["a", "b"], dtype=h5py.string_dtype())


def whole_numbers(file, _):
    file[NAME] = np.ones((3, 3), np.int64)


def compound(file, _):
    file[NAME] = np.zeros(3, np.dtype([("a", "f4"), ("b", "f4")]))


def no_axes(file, _):
    file[NAME] = np.float32(1)


def null_space(file, _):
    file[NAME] = h5py.Empty("f4")


def many_axes(file, _):
    file[NAME] = np.ones((1,) * 5, np.float32)


def other_name(file, _):
    file["optimizer/iterations:0"] = np.ones(1, np.float32)


def named_type(file, _):
    file["conv1_1/kernel:0"] = np.dtype("f4")


def many_entries(file, _):
    for number in range(keras_file.MOST_ENTRIES + 1):
        file.create_group(f"layer{number}")


def a_group_in_itself(file, _):
    group = file.create_group("conv1_1")
    group["again"] = group


def nothing(file, _):
    file.create_group("pool1")


REFUSED = {
    soft_link: "'conv1_1/kernel:0', a link to elsewhere",
    external_link: "'conv1_1/kernel:0', a link to elsewhere",
    external_storage: "whose numbers lie in another file",
    virtual: "compressed, chunked or virtual",
    compressed: "compressed, chunked or virtual",
    promised: "without all its numbers",
    objects: "not floating point",
    texts: "not floating point",
    whole_numbers: "int64, not floating point",
    compound: "not floating point",
    no_axes: "with 0 axes",
    null_space: "with 0 axes",
    many_axes: "with 5 axes",
    other_name: "'optimizer/iterations:0', neither kernel nor bias",
    named_type: "neither a layer nor numbers",
    many_entries: "more than 200 entries",
    a_group_in_itself: "neither a layer nor numbers",
    nothing: "no numbers",
}


@pytest.mark.parametrize("content", REFUSED, ids=lambda content: content.__name__)
def test_what_weights_do_not_need_is_refused_with_what_was_expected(content, path, tmp_path):
    with h5py.File(path, "w") as file:
        content(file, tmp_path)
    with pytest.raises(models.ModelError) as caught:
        keras_file.read(path)
    assert REFUSED[content] in str(caught.value)
    assert "must hold one group a layer with its kernel and bias" in str(caught.value)
    assert str(path) in str(caught.value)


def test_more_bytes_than_any_vgg_has_are_refused_before_they_are_read(path, monkeypatch):
    monkeypatch.setattr(keras_file, "LARGEST_BYTES", KERNEL.nbytes - 1)
    monkeypatch.setattr(keras_file, "_tensor", lambda dataset: pytest.fail("it was read"))
    with h5py.File(path, "w") as file:
        file[NAME] = KERNEL
    with pytest.raises(models.ModelError, match="got 864 bytes, more than 863 in"):
        keras_file.read(path)


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(200)])
def test_a_file_that_is_no_hdf5_is_refused(content, path):
    path.write_bytes(content)
    with pytest.raises(models.ModelError, match=r"must be a Keras \.h5 file.*damaged"):
        keras_file.read(path)


def test_a_file_that_was_cut_short_is_refused(path):
    with h5py.File(path, "w") as file:
        file[NAME] = KERNEL
    os.truncate(path, path.stat().st_size - 100)
    with pytest.raises(models.ModelError, match="damaged, cut short"):
        keras_file.read(path)


def test_names_of_any_byte_are_escaped_in_messages(path):
    with h5py.File(path, "w") as file:
        file.id.links.create_soft(b"\x1b[31m\xff", b"x")
    with pytest.raises(models.ModelError) as caught:
        keras_file.read(path)
    assert str(caught.value).isprintable()


def test_without_h5py_the_message_says_what_to_install(path, monkeypatch):
    path.touch()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(models.ModelError) as caught:
        models.check("main", image_size=96, weights=str(path))
    assert "pip install h5py, or convert the file to safetensors" in str(caught.value)


# Names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv1_1/conv1_1/kernel:0", "weight"),
        ("conv1_1/kernel", "weight"),
        ("conv1_1.kernel", "weight"),
        ("block1_conv1/block1_conv1_W_1:0", "weight"),
        ("conv1_1/conv1_1_W:0", "weight"),
        ("fc6/fc6/bias:0", "bias"),
        ("block1_conv1/block1_conv1_b_1:0", "bias"),
        ("bn/gamma:0", ""),
        ("features.0.weight", ""),
        ("kernel:0/x", ""),
    ],
)
def test_kernels_and_biases_are_told_by_the_last_part_of_their_name(name, expected):
    assert keras_layers.role(name) == expected


def test_two_kernels_of_one_layer_are_refused():
    kernel = torch.zeros(3, 3, 3, 8)
    with pytest.raises(models.ModelError, match="must hold one kernel and one bias"):
        keras_layers.in_torch_order({"conv1_1/kernel:0": kernel, "conv1_1/W/kernel:0": kernel}, "f")


def test_torchs_names_are_not_taken_for_keras():
    assert not keras_layers.is_keras(["conv1_1.weight", "conv1_1.bias", "attention.kernel"])
    assert keras_layers.is_keras(["conv1_1.bias", "conv1_1/kernel"])
