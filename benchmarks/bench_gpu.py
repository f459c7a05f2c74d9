"""Question: how near to its limit does training run on a GPU, and with which settings?

Prints Markdown to paste into `benchmarks/`, each line as it is measured. Parts:

    loop     ours against a plain PyTorch loop over one batch that never leaves the device
    sweep    images/s, MFU and memory by precision, batch and memory layout
    compile  torch.compile on and off, with its start-up
    paper    the paper's 20 epochs in this process: extrapolated, or run with --full
    workers  1 to N GPUs (on a CPU: workers of one core) through Ray and a slot: strong scaling,
             share of time waiting for data, the paper's 20 epochs with start and checkpoints

All but `workers` need no Ray. `--small` tries every line on a machine without a GPU.
Usage: python -m benchmarks.bench_gpu [--small] [--full] [--parts loop,sweep,...]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from benchmarks.figures import data_wait, peak_gib, phase_shares, use_of_processor
from benchmarks.gpu_sizes import FULL, SMALL, Sizes
from benchmarks.in_process import (
    NUM_CLASSES,
    Setup,
    first_rows,
    interleaved,
    new_training,
    noise,
    ratio,
    seconds_of,
)
from benchmarks.machine import describe, describe_gpus
from benchmarks.markdown import Table, say
from benchmarks.plain_loop import PlainLoop
from orchestrator.ingest.shard import Shard
from orchestrator.training.compiling import compiled as as_compiled
from orchestrator.training.epochs import Training, evaluate, train_epoch

WARM_UP_STEPS = 3
"""The first steps choose kernels and allocate; they are in no figure."""
MIN_STEPS = 4
"""Of a timed epoch of the sweep."""


def main(argv: Sequence[str]) -> int:
    """Measures the parts that are asked for; returns the exit status."""
    arguments = _parse(argv)
    if not (arguments.small or torch.cuda.is_available()):
        say("bench_gpu: there must be a CUDA device; got none. --small tries it on the CPU")
        return 2
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    sizes = SMALL if arguments.small else FULL
    say(f"{describe()}; {describe_gpus()}")
    say(f"\n`main` at width {sizes.width:g}, {sizes.image_px} px, Adam, the paper's augmentation")
    for part in arguments.parts:
        say(f"\n## {part}")
        PARTS[part](sizes, device, arguments.full)
    return 0


def _loop(sizes: Sizes, device: torch.device, full: bool) -> None:  # noqa: ARG001 - of all parts
    """Ours, ours without augmentation, and the limit, in turn."""
    setup = _setup(sizes)
    num_steps = sizes.num_train // sizes.batch_size
    rows = noise(num_steps * sizes.batch_size, sizes.image_px, device)
    ours = new_training(setup, device)
    bare = new_training(replace(setup, augmented=False), device)
    plain = PlainLoop(setup, device)
    works = {
        "plain loop, one batch on the device": lambda: plain.run(num_steps),
        "ours": lambda: train_epoch(ours, rows, NUM_CLASSES),
        "ours, augmentation off": lambda: train_epoch(bare, rows, NUM_CLASSES),
        "plain loop, cudnn.benchmark": lambda: _with_tried_kernels(plain, num_steps),
    }
    plain.run(WARM_UP_STEPS)
    _with_tried_kernels(plain, WARM_UP_STEPS)
    for training in (ours, bare):
        _warm_up(training, rows)
    seconds = interleaved(works, sizes.repeats, device)
    limit = seconds["plain loop, one batch on the device"]
    table = Table("loop", "images/s, median of " + str(sizes.repeats), "TFLOP/s, MFU", "/ limit")
    for name, own in seconds.items():
        images_per_s = rows.num_rows / statistics.median(own)
        use = use_of_processor(setup, images_per_s, device, ours.precision.name)
        table.row(name, f"{images_per_s:,.0f}", use, f"{ratio(limit, own):.3f}")
    say(f"\n{ours.precision.name}, batch {sizes.batch_size}; phases of ours: {phase_shares(ours)}")


def _with_tried_kernels(plain: PlainLoop, num_steps: int) -> None:
    """Let cuDNN try its kernels once for each shape, rather than guess the best."""
    torch.backends.cudnn.benchmark = True
    try:
        plain.run(num_steps)
    finally:
        torch.backends.cudnn.benchmark = False


def _sweep(sizes: Sizes, device: torch.device, full: bool) -> None:  # noqa: ARG001
    """Every precision, batch and layout; memory that does not suffice is a line, not the end."""
    biggest = max(sizes.num_train, MIN_STEPS * max(sizes.batches))
    rows = noise(biggest, sizes.image_px, device)
    say(f"\n{rows.images.nbytes / 2**30:.2f} GiB of the memory are the images themselves.")
    table = Table(
        "precision", "batch", "channels-last", "images/s", "TFLOP/s, MFU", "peak GiB", "data wait"
    )
    for precision in ("bf16", "tf32", "fp32") if device.type == "cuda" else ("bf16", "fp32"):
        for batch_size in sizes.batches:
            for channels_last in (True, False):
                setup = replace(
                    _setup(sizes),
                    precision=precision,
                    batch_size=batch_size,
                    channels_last=channels_last,
                )
                table.row(
                    precision, str(batch_size), _yes(channels_last), *_one(setup, rows, sizes)
                )


def _one(setup: Setup, rows: Shard, sizes: Sizes) -> tuple[str, str, str, str]:
    """images/s, use of the processor, memory and wait for data of one setting."""
    device = rows.images.device
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    try:
        training = new_training(setup, device)
        _warm_up(training, rows)
        few = first_rows(rows, WARM_UP_STEPS * setup.batch_size)
        step_s = seconds_of(lambda: train_epoch(training, few, NUM_CLASSES), device) / WARM_UP_STEPS
        num_steps = min(
            max(MIN_STEPS, int(sizes.sweep_s / step_s)), rows.num_rows // setup.batch_size
        )
        timed = first_rows(rows, num_steps * setup.batch_size)
        training.clock.read()
        works = {"": lambda: train_epoch(training, timed, NUM_CLASSES)}
        seconds = interleaved(works, 3, device)[""]
    except torch.OutOfMemoryError:
        return "out of memory", "", "", ""
    images_per_s = timed.num_rows / statistics.median(seconds)
    use = use_of_processor(setup, images_per_s, device, setup.precision)
    return f"{images_per_s:,.0f}", use, peak_gib(device), f"{data_wait(training):.1%}"


def _compile(sizes: Sizes, device: torch.device, full: bool) -> None:  # noqa: ARG001
    """Eager against compiled, in turn; and after how many images the start-up is paid back."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp(prefix="bench-inductor-")
    setup = _setup(sizes)
    rows = noise(sizes.num_train // sizes.batch_size * sizes.batch_size, sizes.image_px, device)
    eager, compiled = new_training(setup, device), new_training(setup, device)
    compiled.replica = as_compiled(compiled.replica)
    start_s = {}
    for name, training in {"eager": eager, "compiled": compiled}.items():
        start_s[name] = seconds_of(lambda training=training: _warm_up(training, rows), device)
    works = {
        "eager": lambda: train_epoch(eager, rows, NUM_CLASSES),
        "compiled": lambda: train_epoch(compiled, rows, NUM_CLASSES),
    }
    seconds = interleaved(works, sizes.repeats, device)
    table = Table("network", f"first {WARM_UP_STEPS} steps s", "images/s", "/ eager")
    for name, own in seconds.items():
        images_per_s = rows.num_rows / statistics.median(own)
        gain = ratio(seconds["eager"], own)
        table.row(name, f"{start_s[name]:.1f}", f"{images_per_s:,.0f}", f"{gain:.3f}")
    saved_s = statistics.median(seconds["eager"]) - statistics.median(seconds["compiled"])
    extra_s = start_s["compiled"] - start_s["eager"]
    epochs = f"{extra_s / saved_s:.0f} epochs" if saved_s > 0 else "never"
    say(f"\nThe start-up is paid back after: {epochs} of {rows.num_rows:,} images.")


def _paper(sizes: Sizes, device: torch.device, full: bool) -> None:
    """The whole run's training and evaluation, without start, data set and checkpoints."""
    setup = _setup(sizes)
    training = new_training(setup, device)
    train = noise(sizes.num_train, sizes.image_px, device)
    validation = noise(sizes.num_validation, sizes.image_px, device, seed=1)
    num_epochs = sizes.paper_epochs if full else sizes.epochs
    table = Table("epoch", "training s", "evaluation s", "images/s")
    seconds = []
    for epoch in range(1, num_epochs + 1):
        train_s = seconds_of(lambda: train_epoch(training, train, NUM_CLASSES), device)
        other_s = seconds_of(lambda: evaluate(training, validation, NUM_CLASSES), device)
        images_per_s = train.num_rows / train_s
        table.row(str(epoch), f"{train_s:.2f}", f"{other_s:.2f}", f"{images_per_s:,.0f}")
        seconds.append(train_s + other_s)
    rest_s = statistics.median(seconds[1:]) * (sizes.paper_epochs - num_epochs)
    kind = "run" if full else f"extrapolated from {num_epochs} epochs"
    say(f"\n{sizes.paper_epochs} epochs: {sum(seconds) + rest_s:.1f} s ({kind})")


def _workers(sizes: Sizes, device: torch.device, full: bool) -> None:
    """Through Ray: imported only here."""
    from benchmarks.slot_scaling import measure

    measure(sizes, on_gpu=device.type == "cuda", full=full)


PARTS: dict[str, Callable[[Sizes, torch.device, bool], None]] = {
    "loop": _loop,
    "sweep": _sweep,
    "compile": _compile,
    "paper": _paper,
    "workers": _workers,
}


def _setup(sizes: Sizes) -> Setup:
    return Setup(width=sizes.width, image_px=sizes.image_px, batch_size=sizes.batch_size)


def _warm_up(training: Training, rows: Shard) -> None:
    train_epoch(training, first_rows(rows, WARM_UP_STEPS * training.batch_size), NUM_CLASSES)
    training.clock.read()


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_gpu")
    parser.add_argument("--small", action="store_true", help="small sizes; runs on a CPU too")
    parser.add_argument("--full", action="store_true", help="run the paper's 20 epochs, all")
    parser.add_argument("--parts", default=",".join(PARTS), help="of: %(default)s")
    arguments = parser.parse_args(argv)
    arguments.parts = arguments.parts.split(",")
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"--parts: must be of {', '.join(PARTS)}; got {', '.join(sorted(unknown))}")
    return arguments


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
