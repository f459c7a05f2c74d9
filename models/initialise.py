"""Initial weights as a pure function of (seed, layer name). WORKER.

Two things follow from one generator per layer: the same seed gives the same bits whatever the
caller drew before, and a layer's weights do not depend on which other layers exist or were loaded
(main and baseline start from the same trunk).
"""

import contextlib
import hashlib
from collections.abc import Collection, Iterator

import torch
from torch import nn

# Where nothing is loaded: a network without batch norm leaves its first plateau sooner (measured:
# three epochs against five or six on the embedded faces).
CLASSIFIER_STD = 0.01
# On loaded layers: ImageNet's VGG16 hands 4,608 features of norm about 500 to a softmax layer. At
# 0.01 the first loss is 6.6 instead of ln 6, and its gradients wreck the loaded weights.
CLASSIFIER_STD_ON_LOADED = 0.001


def initialise(model: nn.Module, seed: int, keep: Collection[str] = ()) -> None:
    """Draws every convolution and linear layer of `model` except those named in `keep`.

    Convolutions and hidden layers: He normal, fan in, for ReLU (He et al. 2015). The layer called
    `classifier`: normal with a small standard deviation, smaller still where others were loaded.
    Biases: zero.
    """
    classifier_std = CLASSIFIER_STD_ON_LOADED if keep else CLASSIFIER_STD
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear) or name in keep:
            continue
        draws = torch.Generator().manual_seed(layer_seed(seed, name))
        if name == "classifier":
            nn.init.normal_(layer.weight, std=classifier_std, generator=draws)
        else:
            nn.init.kaiming_normal_(
                layer.weight, mode="fan_in", nonlinearity="relu", generator=draws
            )
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def layer_seed(seed: int, name: str) -> int:
    """A 63-bit seed of its own for each layer."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextlib.contextmanager
def private_randomness(seed: int) -> Iterator[None]:
    """Lets constructors draw from the process-wide CPU generator without a trace.

    torch's layers and timm's models offer no generator argument: they draw from the global one.
    Here it is set to `seed` and given back as it was, so that what they draw depends on the seed
    alone and the caller's own random numbers do not move. Models are built on the CPU, so the
    generators of GPUs stay untouched (`torch.manual_seed` would reset them too).
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
