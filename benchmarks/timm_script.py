"""A training loop of timm's own parts, as its documentation puts them together (bench_timm).

timm's training script is in its repository, not in its package: this loop uses what the package
offers for it: `create_dataset`, `create_loader` with its prefetcher, `create_optimizer_v2`,
`create_scheduler_v2`. Prints one JSON line a fact, as `ddp_script.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from pathlib import Path

import torch
from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import nn

import models

UNCHANGED = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "color_jitter": 0.0}
"""The least that timm's loader can do to an image besides mirroring it."""


def main() -> None:
    """Trains and tells."""
    arguments = _parse()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(arguments.threads)
    layout = torch.channels_last if arguments.channels_last else torch.contiguous_format
    network, _ = models.build(
        "main", num_classes=6, image_size=arguments.image_px, width=arguments.width
    )
    network = network.to(device).to(memory_format=layout)
    loader = _loader(arguments, device)
    optimizer = create_optimizer_v2(network, opt="adam", lr=1e-4)
    scheduler, num_epochs = create_scheduler_v2(
        optimizer, sched="cosine", num_epochs=arguments.epochs, updates_per_epoch=len(loader)
    )
    autocast = (
        torch.autocast(device.type, dtype=torch.bfloat16)
        if arguments.precision == "bf16"
        else contextlib.nullcontext()
    )
    updates = 0
    for epoch in range(num_epochs):
        started, num_rows = time.perf_counter(), 0
        for images_BCHW, labels_B in loader:
            images_BCHW = images_BCHW.to(device, memory_format=layout)
            with autocast:
                loss = nn.functional.cross_entropy(network(images_BCHW), labels_B.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            updates += 1
            num_rows += len(labels_B)
            scheduler.step_update(num_updates=updates)
            if updates == 1:
                loss.item()
                _say(fact="first_step", seconds=time.time() - arguments.launched)
        last_loss = loss.item()  # waits for a GPU
        seconds = time.perf_counter() - started
        _say(fact="epoch", images_per_s=num_rows / seconds, loss=last_loss)
        scheduler.step(epoch + 1)


def _loader(arguments: argparse.Namespace, device: torch.device) -> torch.utils.data.DataLoader:
    dataset = create_dataset("", root=str(arguments.data), split="train", is_training=True)
    return create_loader(
        dataset,
        input_size=(3, arguments.image_px, arguments.image_px),
        batch_size=arguments.batch,
        is_training=True,
        mean=(0.0, 0.0, 0.0),  # the network has its own normalisation
        std=(1.0, 1.0, 1.0),
        num_workers=arguments.loaders,
        pin_memory=device.type == "cuda",
        device=device,
        **(UNCHANGED if arguments.least else {}),
    )


def _say(**fact: object) -> None:
    print(json.dumps(fact), flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder with train/<class>/*.png")
    parser.add_argument("--image-px", type=int, required=True)
    parser.add_argument("--width", type=float, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--loaders", type=int, required=True, help="processes that augment")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--least", action="store_true", help="only mirror images")
    parser.add_argument("--launched", type=float, required=True, help="time.time() of the launch")
    return parser.parse_args()


if __name__ == "__main__":
    main()
