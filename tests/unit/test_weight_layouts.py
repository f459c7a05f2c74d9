"""VGG16 in each published layout computes here what it computed where it was trained.

One small network of numpy arrays is written as each publisher writes it. What it must compute is
worked out in numpy, as plainly as can be and with that publisher's own preprocessing: Keras reads
BGR, pads with zeros after the mean is gone, and flattens height, width, channel.
"""

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.lib.stride_tricks import sliding_window_view

import models
from models import main, vgg16

BLOCKS = ((8, 8), (8, 8), (8, 8, 8), (8, 8, 8), (16, 16, 16))
HIDDEN = 16
IMAGE_PX = 64
SIDE = IMAGE_PX // 32
NAMES = [f"conv{block}_{place}" for block, sizes in enumerate(BLOCKS, 1)
         for place in range(1, len(sizes) + 1)]  # fmt: skip
TORCHVISION_NUMBERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
VGGFACE_BGR = (93.5940, 104.7624, 129.1863)
IMAGENET_BGR = (103.939, 116.779, 123.68)
VGG_FACE_DAG_RGB = (129.186279296875, 104.76238250732422, 93.59396362304688)


@pytest.fixture(autouse=True)
def narrow_network(monkeypatch):
    monkeypatch.setattr(vgg16, "BLOCKS", BLOCKS)
    monkeypatch.setattr(main, "HIDDEN_UNITS", HIDDEN)


@pytest.fixture(scope="module")
def network():
    return draw(np.random.default_rng(0), classes=2622)


@pytest.fixture(scope="module")
def pixels_HWC():
    return np.random.default_rng(1).integers(0, 256, (IMAGE_PX, IMAGE_PX, 3)).astype(np.float64)


def draw(random, classes):
    """Kernels (height, width, in, out) and biases, by the names of VGGFace."""
    layers, channels = {}, 3
    for name, size in zip(NAMES, [size for sizes in BLOCKS for size in sizes], strict=True):
        layers[name] = drawn(random, (3, 3, channels, size))
        channels = size
    layers["fc6"] = drawn(random, (SIDE * SIDE * channels, HIDDEN))
    layers["fc7"] = drawn(random, (HIDDEN, HIDDEN))
    return {**layers, "fc8": drawn(random, (HIDDEN, classes))}


def drawn(random, shape):
    fan_in = np.prod(shape[:-1])
    kernel = random.normal(0, np.sqrt(2 / fan_in), shape)
    return kernel.astype(np.float32), random.normal(0, 0.1, shape[-1]).astype(np.float32)


# What it computes, in numpy


def computed(network, image_HWC):
    """The maps after the last pool, flattened as Keras does, and the second hidden layer."""
    maps_HWC = image_HWC
    for name in NAMES:
        maps_HWC = convolved(maps_HWC, *network[name])
        if name in ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"):
            height, width, channels = maps_HWC.shape
            halves = maps_HWC.reshape(height // 2, 2, width // 2, 2, channels)
            maps_HWC = halves.max((1, 3))
    hidden = maps_HWC.reshape(-1)
    for name in ("fc6", "fc7"):
        kernel, bias = network[name]
        hidden = np.maximum(hidden @ kernel + bias, 0)
    return maps_HWC, hidden


def convolved(maps_HWC, kernel, bias):
    padded = np.pad(maps_HWC, ((1, 1), (1, 1), (0, 0)))
    windows = sliding_window_view(padded, (3, 3), axis=(0, 1))
    return np.maximum(np.tensordot(windows, kernel, axes=((3, 4, 2), (0, 1, 2))) + bias, 0)


# As each publisher writes it


def keras_vggface(network, path):
    with h5py.File(path, "w") as file:
        for name, (kernel, bias) in network.items():
            file[f"{name}/{name}/kernel:0"] = kernel
            file[f"{name}/{name}/bias:0"] = bias
        # Layers without weights; two of their names lie inside another layer's group.
        for name in ("input_1", "pool1", "flatten", "fc6/relu", "fc7/relu"):
            file.require_group(name)
        file.attrs["backend"] = "tensorflow"


def keras_vggface_no_top(network, path):
    keras_vggface({name: network[name] for name in NAMES}, path)


def keras_vgg16(network, path):
    """Keras 1 wrote it, and its names are others."""
    top = {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}
    with h5py.File(path, "w") as file:
        for name, (kernel, bias) in network.items():
            theirs = top.get(name) or f"block{name[4]}_conv{name[6]}"
            if theirs == "predictions":
                kernel, bias = kernel[:, :1000], bias[:1000]
            file[f"{theirs}/{theirs}_W_1:0"] = kernel
            file[f"{theirs}/{theirs}_b_1:0"] = bias


def keras_vgg16_no_top(network, path):
    keras_vgg16({name: network[name] for name in NAMES}, path)


def keras_vggface_in_safetensors(network, path):
    tensors = {}
    for name, (kernel, bias) in network.items():
        tensors |= {f"{name}/kernel": kernel, f"{name}/bias": bias}
    safetensors.torch.save_file(
        {name: torch.from_numpy(array) for name, array in tensors.items()}, path
    )


def vgg_face_dag(network, path):
    torch.save(torch_state(network), path)


def vgg_face_dag_in_safetensors(network, path):
    safetensors.torch.save_file(torch_state(network), path)


def vgg_face_dag_by_numbers(network, path):
    numbers = {name: f"features.{at}" for name, at in zip(NAMES, TORCHVISION_NUMBERS, strict=True)}
    numbers |= {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
    state = torch_state(network)
    torch.save({f"{numbers[key[:-len(part)]]}{part}": tensor for key, tensor in state.items()
                for part in (".weight", ".bias") if key.endswith(part)}, path)  # fmt: skip


def torch_state(network):
    state = {}
    for name, (kernel, bias) in network.items():
        weight = np.moveaxis(kernel, -1, 0)
        if weight.ndim == 4:
            weight = np.moveaxis(weight, -1, 1)
        if name == "fc6":
            weight = weight[:, [keras_row(row) for row in range(weight.shape[1])]]
        state[f"{name}.weight"] = torch.from_numpy(weight.copy())
        state[f"{name}.bias"] = torch.from_numpy(bias.copy())
    return state


def keras_row(torch_row):
    """Where Keras's flattening puts what PyTorch's puts in this row."""
    channel, place = divmod(torch_row, SIDE * SIDE)
    return place * BLOCKS[-1][-1] + channel


# The layouts: writer, file name, preprocessing of RGB pixels in 0 to 255


def to_bgr_minus(mean):
    return lambda pixels_HWC: pixels_HWC[..., ::-1] - np.array(mean)


def rgb_minus(mean):
    return lambda pixels_HWC: pixels_HWC - np.array(mean)


LAYOUTS = {
    "keras-vggface": (keras_vggface, "f.h5", to_bgr_minus(VGGFACE_BGR)),
    "keras-vggface no top": (keras_vggface_no_top, "f.h5", to_bgr_minus(VGGFACE_BGR)),
    "keras-vggface converted": (
        keras_vggface_in_safetensors, "f.safetensors", to_bgr_minus(VGGFACE_BGR),
    ),
    "Keras's vgg16": (keras_vgg16, "f.h5", to_bgr_minus(IMAGENET_BGR)),
    "Keras's vgg16 no top": (keras_vgg16_no_top, "f.h5", to_bgr_minus(IMAGENET_BGR)),
    "vgg_face_dag": (vgg_face_dag, "f.pth", rgb_minus(VGG_FACE_DAG_RGB)),
    "vgg_face_dag converted": (
        vgg_face_dag_in_safetensors, "f.safetensors", rgb_minus(VGG_FACE_DAG_RGB),
    ),
    "vgg_face_dag under torchvision's names": (
        vgg_face_dag_by_numbers, "f.pth", rgb_minus(VGG_FACE_DAG_RGB),
    ),
}  # fmt: skip


def build(path, name="main", image_size=IMAGE_PX, **options):
    return models.build(name, num_classes=6, image_size=image_size, weights=str(path), **options)


def close(found, expected):
    # 15 layers of float32 sums against float64: a few rounding errors of the largest number.
    expected = torch.from_numpy(np.ascontiguousarray(expected)).float()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("layout", LAYOUTS)
@torch.no_grad()
def test_the_network_computes_what_it_computed_where_it_was_trained(
    layout, network, pixels_HWC, tmp_path
):
    write, file_name, preprocessed = LAYOUTS[layout]
    write(network, tmp_path / file_name)
    maps_HWC, hidden = computed(network, preprocessed(pixels_HWC))
    assert hidden.max() > 1  # else equal means nothing
    images_1CHW = torch.from_numpy(pixels_HWC / 255).float().permute(2, 0, 1)[None]

    model, report = build(tmp_path / file_name)
    normalised = model.eval().normalise(images_1CHW)
    close(model.trunk(normalised)[0].permute(1, 2, 0), maps_HWC)
    assert report.layout.startswith(layout.removesuffix(" no top").removesuffix(" converted"))
    if "no top" in layout:
        assert report.layers("initialised") == ("hidden.fc6", "hidden.fc7", "classifier")
    else:
        close(models.features(model, images_1CHW)[0], hidden)
        assert report.layers("initialised") == ("classifier",)
        assert report.layers("skipped") in {("fc8",), ("predictions",), ("classifier.6",)}


def test_what_was_turned_around_is_in_the_report(network, tmp_path):
    keras_vggface(network, tmp_path / "f.h5")
    _, report = build(tmp_path / "f.h5")
    changes = {row.layer: row.reason for row in report.rows if row.action == "loaded"}
    assert changes["trunk.conv1_1"] == "BGR turned to RGB"
    assert changes["hidden.fc6"] == "height-width-channel turned to channel-height-width"
    assert not any(changes[f"trunk.{name}"] for name in NAMES[1:])
    assert (report.normalisation, len(report.sha256)) == ("vggface-keras", 64)
    words = " ".join(report.table().split())
    assert "loaded trunk.conv1_1 < conv1_1 8x3x3x3 BGR turned to RGB loaded" in words


def test_at_another_image_size_the_first_hidden_layer_starts_anew(network, tmp_path):
    keras_vggface(network, tmp_path / "f.h5")
    _, report = build(tmp_path / "f.h5", image_size=96)
    reasons = {row.layer: row.reason for row in report.rows}
    assert len(report.layers("loaded")) == 13
    assert reasons["hidden.fc6"] == "the file has 16x16x2x2, needs 16x144"
    assert report.layers("skipped") == ("fc6", "fc7", "fc8")


def test_baseline_takes_the_convolutions_and_skips_the_rest(network, tmp_path):
    keras_vgg16(network, tmp_path / "f.h5")
    _, report = build(tmp_path / "f.h5", name="baseline", image_size=96)
    assert len(report.layers("loaded")) == 13
    assert report.layers("skipped") == ("fc1", "fc2", "predictions")


@pytest.mark.parametrize("layer", ["block3_conv4", "block6_conv1"])
def test_a_deeper_keras_network_is_refused_although_all_names_and_shapes_fit(
    layer, network, tmp_path
):
    keras_vgg16(network, tmp_path / "vgg19.h5")
    with h5py.File(tmp_path / "vgg19.h5", "a") as file:
        file[f"{layer}/{layer}_W_1:0"] = network["conv3_3"][0]
        file[f"{layer}/{layer}_b_1:0"] = network["conv3_3"][1]
    with pytest.raises(models.ModelError, match=f"got {layer} besides them.*deeper network"):
        build(tmp_path / "vgg19.h5")


@pytest.mark.parametrize(
    ("write", "expected"),
    [(keras_vggface, "fc8 of keras-vggface must have 2622 classes; got 7"),
     (keras_vgg16, "predictions of Keras's vgg16 must have 1000 classes; got 7")],
)  # fmt: skip
def test_keras_weights_for_other_classes_are_refused_as_their_input_is_unknown(
    write, expected, network, tmp_path
):
    kernel, bias = network["fc8"]
    write({**network, "fc8": (kernel[:, :7], bias[:7])}, tmp_path / "f.h5")
    with pytest.raises(models.ModelError, match=expected):
        build(tmp_path / "f.h5")


def test_theanos_order_of_axes_is_refused(network, tmp_path):
    turned = {
        name: (kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel, bias)
        for name, (kernel, bias) in network.items()
    }
    keras_vggface(turned, tmp_path / "th.h5")
    with pytest.raises(models.ModelError, match=r"TensorFlow's order.*conv1_1.*8x3x3x3"):
        build(tmp_path / "th.h5")


def test_maps_that_are_not_square_are_refused(network, tmp_path):
    kernel, bias = network["fc6"]
    keras_vggface({**network, "fc6": (kernel[:-16], bias)}, tmp_path / "f.h5")
    with pytest.raises(models.ModelError, match="fc6 must read square maps of 16 channels; got 48"):
        build(tmp_path / "f.h5")


def test_a_missing_keras_convolution_is_refused(network, tmp_path):
    keras_vggface({name: network[name] for name in network if name != "conv4_2"}, tmp_path / "f.h5")
    with pytest.raises(models.ModelError, match=r"trunk\.conv4_2: not in the file"):
        build(tmp_path / "f.h5")


def test_keras_files_are_refused_for_timms_models(network, tmp_path):
    keras_vggface_no_top(network, tmp_path / "f.h5")
    with pytest.raises(models.ModelError, match="Keras files fit main and baseline"):
        build(tmp_path / "f.h5", name="timm:resnet18")
