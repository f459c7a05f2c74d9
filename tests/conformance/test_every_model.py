"""Every model, ours and timm's, keeps the promises that training and evaluation rely on."""

import random

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import models
from models.normalise import Normalise

IMAGE_PX = 32
NUM_CLASSES = 5
# Two of timm's own miniature test models: a convolutional one and one with a fixed input size.
NAMES = (*models.names(), "timm:test_resnet", "timm:test_vit")


def small(name: str, seed: int = 0, **options: object) -> nn.Module:
    width = 1.0 if name.startswith("timm:") else 0.125
    arguments = {"num_classes": NUM_CLASSES, "image_size": IMAGE_PX, "width": width, **options}
    return models.build(name, seed=seed, **arguments)[0]


def faces(count: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, IMAGE_PX, IMAGE_PX, generator=torch.Generator().manual_seed(1))


pytestmark = pytest.mark.parametrize("name", NAMES)


def test_logits_have_one_column_a_class_and_are_finite(name):
    logits_BK = small(name).eval()(faces())
    assert logits_BK.shape == (3, NUM_CLASSES)
    assert logits_BK.isfinite().all()


def test_a_gradient_reaches_every_parameter(name):
    model = small(name).train()
    nn.functional.cross_entropy(model(faces()), torch.tensor([0, 1, 2])).backward()
    without = [key for key, weight in model.named_parameters() if weight.grad is None]
    assert without == []


def test_a_few_steps_lower_the_loss(name):
    model = small(name).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(model(faces()), torch.tensor([0, 1, 2]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(name):
    first, again, other = (small(name, seed).state_dict() for seed in (7, 7, 8))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_building_uses_up_no_random_number_of_the_caller(name):
    torch.rand(3), np.random.random(), random.random()  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    small(name)
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_initial_weights_do_not_depend_on_the_state_of_the_global_generator(name):
    torch.manual_seed(1)
    first = small(name).state_dict()
    torch.manual_seed(2)
    second = small(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_checkpoint_brings_back_the_same_function(name, tmp_path):
    trained = small(name, seed=1, normalisation="unit").eval()
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(trained.state_dict(), path)
    bare = small(name, seed=2).eval()
    bare.load_state_dict(safetensors.torch.load_file(path))
    built = small(name, seed=3, weights=str(path)).eval()
    assert torch.equal(trained(faces()), bare(faces()))
    assert torch.equal(trained(faces()), built(faces()))


def test_features_are_what_the_classifier_sees(name):
    model = small(name).eval()
    features_BF = models.features(model, faces())
    assert features_BF.ndim == 2
    torch.testing.assert_close(model.classifier(features_BF), model(faces()))


def test_the_model_owns_its_normalisation_and_does_not_train_it(name):
    model = small(name)
    assert isinstance(model.normalise, Normalise)
    assert {"normalise.mean", "normalise.std"} <= model.state_dict().keys()
    assert not [key for key, _ in model.named_parameters() if key.startswith("normalise")]


def test_unit_normalisation_hands_the_pixels_on_unchanged(name):
    assert torch.equal(small(name, normalisation="unit").normalise(faces()), faces())


def test_dropout_acts_in_training_only(name):
    model = small(name, dropout=0.5)
    assert torch.equal(model.eval()(faces()), model.eval()(faces()))
    features_BF = models.features(model.eval(), faces())
    assert torch.equal(features_BF, models.features(model.eval(), faces()))
    # Batch statistics aside, two training passes differ by their dropout masks alone.
    assert not torch.equal(model.train()(faces()), model.train()(faces()))


def test_channels_last_and_autocast_give_the_same_logits_up_to_bfloat16(name):
    model = small(name).eval()
    expected = model(faces())
    last = model.to(memory_format=torch.channels_last)
    images = faces().to(memory_format=torch.channels_last)
    torch.testing.assert_close(last(images), expected, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        # bfloat16 keeps 8 bits: each layer rounds to about 0.4 %, and errors add up over layers.
        torch.testing.assert_close(
            last(images).float(),
            expected,
            rtol=0.1,
            atol=0.1 * float(expected.detach().abs().max()),
        )


def test_the_graph_compiles_without_a_break(name):
    model = small(name).eval()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(faces()), model(faces()))
    torch.testing.assert_close(models.features(compiled, faces()), models.features(model, faces()))


def test_the_layer_table_counts_every_parameter_and_leaves_the_model_alone(name):
    model = small(name).train()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    rows = models.layer_table(model, IMAGE_PX)
    direct = {
        id(weight)
        for layer in model.modules()
        if [*layer.children()]
        for weight in layer.parameters(recurse=False)
    }
    counted = [weight for weight in model.parameters() if id(weight) not in direct]
    assert sum(row.parameters for row in rows) == sum(weight.numel() for weight in counted)
    assert rows[-1].output_shape == (NUM_CLASSES,)
    assert model.training
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


def test_every_layer_is_listed_in_the_report(name):
    width = 1.0 if name.startswith("timm:") else 0.125
    model, report = models.build(name, num_classes=NUM_CLASSES, image_size=IMAGE_PX, width=width)
    owners = {key.rpartition(".")[0] for key, _ in model.named_parameters()}
    assert set(report.layers("initialised")) == owners
    assert report.layers("loaded") == ()
    assert report.source == "random"
