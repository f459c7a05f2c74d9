"""What users write without us: DataLoader, torchvision, DDP. Started by torchrun (bench_ddp).

Prints one JSON line a fact: `first_step` with the seconds since --launched, then `epoch` with its
images/s. Reads `images.npy` (uint8, N, H, W, 3, memory-mapped) and `labels.npy`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from torchvision.transforms import InterpolationMode, v2

import models


class Faces(Dataset[tuple[torch.Tensor, int]]):
    """A memory map, augmented an image at a time by the loader's processes."""

    def __init__(self, folder: Path) -> None:
        self._images = np.load(folder / "images.npy", mmap_mode="r")
        self._labels = np.load(folder / "labels.npy")
        turned = v2.RandomAffine(20, scale=(0.9, 1.1), interpolation=InterpolationMode.BILINEAR)
        changed = v2.RandomApply([v2.RandomHorizontalFlip(), turned], p=0.5)
        self._transform = v2.Compose([changed, v2.ToDtype(torch.float32, scale=True)])

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image_CHW = torch.from_numpy(self._images[index].copy()).permute(2, 0, 1)
        return self._transform(image_CHW), int(self._labels[index])


def main() -> None:
    """Trains and tells."""
    arguments = _parse()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if device.type == "cuda":
        device = torch.device("cuda", dist.get_rank() % torch.cuda.device_count())
    torch.set_num_threads(arguments.threads)
    layout = torch.channels_last if arguments.channels_last else torch.contiguous_format
    model = DistributedDataParallel(_model(arguments).to(device).to(memory_format=layout))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    autocast = (
        torch.autocast(device.type, dtype=torch.bfloat16)
        if arguments.precision == "bf16"
        else contextlib.nullcontext()
    )
    loader = _loader(arguments)
    for epoch in range(1, arguments.epochs + 1):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        started = time.perf_counter()
        for step, (images_BCHW, labels_B) in enumerate(loader):
            images_BCHW = images_BCHW.to(device, memory_format=layout, non_blocking=True)
            labels_B = labels_B.to(device, non_blocking=True)
            optimizer.zero_grad()
            with autocast:
                loss = nn.functional.cross_entropy(model(images_BCHW), labels_B)
            loss.backward()
            optimizer.step()
            if epoch == 1 and step == 0:
                loss.item()
                _say(fact="first_step", seconds=time.time() - arguments.launched)
        last_loss = loss.item()  # waits for a GPU
        seconds = time.perf_counter() - started
        _say(fact="epoch", images_per_s=len(loader.dataset) / seconds, loss=last_loss)  # type: ignore[arg-type]
    dist.destroy_process_group()


def _model(arguments: argparse.Namespace) -> nn.Module:
    image_px = int(np.load(arguments.data / "images.npy", mmap_mode="r").shape[1])
    model, _ = models.build("main", num_classes=6, image_size=image_px, width=arguments.width)
    return model


def _loader(arguments: argparse.Namespace) -> DataLoader[tuple[torch.Tensor, int]]:
    faces = Faces(arguments.data)
    return DataLoader(
        faces,
        batch_size=arguments.batch // dist.get_world_size(),
        sampler=DistributedSampler(faces),
        num_workers=arguments.loaders,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=True,
    )


def _say(**fact: object) -> None:
    if dist.get_rank() == 0:
        print(json.dumps(fact), flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--width", type=float, required=True)
    parser.add_argument("--batch", type=int, required=True, help="over all processes")
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--loaders", type=int, required=True, help="processes that augment")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--launched", type=float, required=True, help="time.time() of the launch")
    return parser.parse_args()


if __name__ == "__main__":
    main()
