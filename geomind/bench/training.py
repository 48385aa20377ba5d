"""How much of the bare speed of a network our training keeps, on photos that are drawn for it. It prints nothing."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from geomind.bench.drawn_photos import draw_photos
from geomind.bench.frozen import measure_frozen
from geomind.bench.timing import Compared, Spread, StepClock, StepsDone, interleave, legs, machine
from geomind.config import DirectorConfig
from geomind.data.dataset import Batch, Draw, PhotoDataset
from geomind.devices import pick_device
from geomind.networks import DirectorNetwork
from geomind.photos import Preprocessing
from geomind.progress import SILENT, Progress
from geomind.training.augment import build_augment
from geomind.training.fit import Photos, Task, fit
from geomind.training.losses import director_loss, plain_cross_entropy
from geomind.training.processes import start_fabric
from geomind.training.runs import Run

REGIONS = 13
"""What the networks answer."""

PHOTO_SIZE = (640, 480)
"""Width and height of the drawn photos, pixels; each is some 95 KB."""

LEAST_PHOTOS = 60
"""Fewer places cannot be split into photos to learn from and to be judged by."""

_WARM_UP = 2
"""Steps before those that are timed: memory is taken, and workers have decoded as far ahead as they may."""

_DECODED = 60
"""Photos a stretch of decoding."""

GPU_BATCH = 256
"""A GPU is not filled by less."""

_GPU_STEPS = 50


@dataclass(frozen=True)
class TrainingFigures:
    """What was measured, each share and ratio within neighbouring stretches of time."""

    bare_images_per_s: Spread
    """Forward, backward and optimiser step on tensors in memory."""
    fit_images_per_s: Spread
    """The same network in our training, from JPEGs on disk."""
    ratio_to_bare: Spread
    decode_images_per_s: Spread
    """Reading and augmenting JPEGs, on one core."""
    limit_to_bare: Spread
    """What the ratio would be if no core ever waited, those that decode being the same ones."""
    loop_share: Spread
    """Share of a step that our loop and the library under it cost, from tensors in memory."""
    lightning_share: Spread
    """Share of a step that the library costs alone."""
    embedding_seconds: Spread | None
    """One pass of all photos through the trunk."""
    frozen_seconds: Spread | None
    """A Director and the Experts of all regions trained on that trunk."""
    frozen_ratio: Spread | None
    gpu_images_per_s: Spread | None
    """Bare steps on a GPU, in bf16."""
    gpu_loader_share: Spread | None
    """Share of that which training from JPEGs reaches, with a worker on each core."""
    settings: dict[str, Any]
    machine: dict[str, Any]


def bench_training(
    config: DirectorConfig,
    *,
    rounds: int = 5,
    steps: int = 6,
    photos: int = 300,
    frozen: bool = False,
    progress: Progress = SILENT,
) -> TrainingFigures:
    """Measure training on this machine, with random weights and drawn photos that are deleted in the end.

    Args:
        config: Network, size, batch and workers; the steps are measured on the CPU whatever its device is.
        rounds: How often each figure is measured.
        steps: Training steps timed in each stretch.
        photos: Photos drawn, ``LEAST_PHOTOS`` or more.
        frozen: Measure also a Director and Experts on a frozen trunk, against one pass of all photos through it.
        progress: Shows how far it is.

    Raises:
        ConfigError: no image encoder has this name, or it cannot see this size.
        OutputError: the photos cannot be written.
    """
    config = config.model_copy(update={"device": "cpu"})
    _network(config)  # a name that is none is refused before photos are drawn
    with tempfile.TemporaryDirectory(prefix="geomind-bench-") as name, _quiet():
        folder = Path(name)
        paths = draw_photos(folder / "photos", photos, PHOTO_SIZE, progress=progress)
        bare, compared = _measure_steps(config, paths, folder, rounds, steps, progress)
        embedding, training = (
            measure_frozen(config, _network(config), paths, folder, rounds, progress) if frozen else ([], [])
        )
        gpu, on_gpu = (
            _measure_gpu(gpu_config(config), paths, folder, rounds, progress) if torch.cuda.is_available() else ([], [])
        )
    return TrainingFigures(
        bare_images_per_s=Spread.of(bare),
        fit_images_per_s=Spread.of([each.figure for each in compared["fit"]]),
        ratio_to_bare=Spread.of([each.ratio for each in compared["fit"]]),
        decode_images_per_s=Spread.of([each.figure for each in compared["decoding"]]),
        limit_to_bare=Spread.of([_limit(each.figure, bare=each.reference) for each in compared["decoding"]]),
        loop_share=Spread.of([1 - each.ratio for each in compared["loop"]]),
        lightning_share=Spread.of([1 - each.ratio for each in compared["lightning"]]),
        embedding_seconds=Spread.of(embedding) if embedding else None,
        frozen_seconds=Spread.of([each.figure for each in training]) if training else None,
        frozen_ratio=Spread.of([each.ratio for each in training]) if training else None,
        gpu_images_per_s=Spread.of(gpu) if gpu else None,
        gpu_loader_share=Spread.of([each.ratio for each in on_gpu]) if on_gpu else None,
        settings={
            "backbone": config.backbone.name,
            "image_size": config.image_size,
            "batch_size": config.batch_size,
            "workers": config.workers,
            "rounds": rounds,
            "steps": steps,
            "photos": photos,
        },
        machine=machine(),
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what training advises about regions of few photos and runs to resume: these are nobody's."""
    logger = logging.getLogger("geomind.training")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


# ── one step after the other ─────────────────────────────────────────────────────────────────────────────────────────


def _measure_steps(
    config: DirectorConfig, paths: Sequence[Path], folder: Path, rounds: int, steps: int, progress: Progress
) -> tuple[list[float], dict[str, list[Compared]]]:
    others = {
        "fit": functools.partial(fit_rate, config, paths, folder, steps),
        "decoding": functools.partial(decode_rate, config, paths),
        "loop": functools.partial(loop_rate, config, folder, steps),
        "lightning": functools.partial(lightning_rate, config, steps),
    }
    with progress.track("Training steps", legs(rounds, len(others))) as advance:
        return interleave(functools.partial(bare_rate, config, steps), others, rounds=rounds, advance=advance)


def bare_rate(config: DirectorConfig, steps: int) -> float:
    """Train on tensors in memory, by torch alone: -> images a second."""
    device = pick_device(config.device)
    network = _network(config).to(device)
    return _step_rate(config, steps, network, _optimizer(config, network), Tensor.backward)


def lightning_rate(config: DirectorConfig, steps: int) -> float:
    """Do the bare step through Lightning Fabric: -> images a second."""
    fabric = start_fabric(config)
    network = _network(config)
    wrapped, optimizer = fabric.setup(network, _optimizer(config, network))
    return _step_rate(config, steps, wrapped, optimizer, fabric.backward)


def loop_rate(config: DirectorConfig, folder: Path, steps: int) -> float:
    """Train on tensors in memory in our loop: -> images a second."""
    photos = _ReadyBatches(config, batches=_WARM_UP + steps + 1)
    return _fit_rate(config.model_copy(update={"workers": 0}), photos, folder, steps, _WARM_UP)


def fit_rate(config: DirectorConfig, paths: Sequence[Path], folder: Path, steps: int, warm_up: int = _WARM_UP) -> float:
    """Train on JPEGs in our loop: -> images a second."""
    # More batches than are timed: workers must not have come to the end while the clock runs.
    batches = warm_up + steps + 2 * config.workers + 1
    wanted = list(itertools.islice(itertools.cycle(paths), batches * config.batch_size))
    return _fit_rate(config, _dataset(config, wanted), folder, steps, warm_up)


def decode_rate(config: DirectorConfig, paths: Sequence[Path]) -> float:
    """Read and augment JPEGs as a worker does: -> images a second of one core."""
    photos = _dataset(config, paths[:_DECODED])
    started = time.thread_time()
    for number in range(len(photos)):
        photos[Draw(number, seed=number)]
    return len(photos) / (time.thread_time() - started)


def _dataset(config: DirectorConfig, paths: Sequence[Path]) -> PhotoDataset:
    preprocessing = Preprocessing(image_size=config.image_size)
    return PhotoDataset(paths, _labels(len(paths)), preprocessing, augment=build_augment(config.augment, preprocessing))


def _limit(decode_rate: float, *, bare: float) -> float:
    """Give the share of bare steps left when the cores that take them decode as well.

    A photo then takes 1 / bare of all cores, and 1 / decode_rate of one of them.
    """
    return 1 / (1 + bare / (decode_rate * (os.cpu_count() or 1)))


def _fit_rate(config: DirectorConfig, photos: Photos, folder: Path, steps: int, warm_up: int) -> float:
    network = _network(config)
    task = Task(
        title="the bench",
        network=network,
        whole=network,
        loss=director_loss(config, _labels(len(photos)), REGIONS),
        validation_loss=plain_cross_entropy,
        score=_not_reached,
        shown="accuracy",
    )
    clock = StepClock(steps, warm_up=warm_up)
    with contextlib.suppress(StepsDone):
        fit(task, photos, photos, config, Run(folder), _not_reached, fabric=start_fabric(config), progress=clock)
    return config.batch_size * steps / clock.seconds


def _step_rate(
    config: DirectorConfig,
    steps: int,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    backward: Callable[[Tensor], None],
) -> float:
    device = pick_device(config.device)
    batch = _ready_batch(config)
    pixels = batch.inputs.to(device).contiguous(memory_format=torch.channels_last)
    labels = batch.targets.to(device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=config.precision == "bf16"):
            loss = F.cross_entropy(network(pixels), labels)
        backward(loss)
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(_WARM_UP):
        step()
    _finish(device)
    started = time.perf_counter()
    for _ in range(steps):
        step()
    _finish(device)
    return config.batch_size * steps / (time.perf_counter() - started)


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


class _ReadyBatches:
    """The same batch again and again, as if photos were decoded at no cost."""

    ready = True

    def __init__(self, config: DirectorConfig, *, batches: int) -> None:
        self._batch = _ready_batch(config)
        self.paths = [Path("in-memory")] * (batches * config.batch_size)

    def __len__(self) -> int:
        return len(self.paths)

    def blank(self) -> Batch:
        return Batch(*(part[:1] for part in self._batch))

    def __getitems__(self, draws: Sequence[Draw]) -> Batch:
        del draws
        return self._batch


def _ready_batch(config: DirectorConfig) -> Batch:
    random = torch.Generator().manual_seed(config.seed)
    pixels = torch.randn(config.batch_size, 3, config.image_size, config.image_size, generator=random)
    return Batch(pixels, torch.from_numpy(_labels(config.batch_size)), torch.arange(config.batch_size))


def _labels(count: int) -> NDArray[np.int64]:
    return np.arange(count, dtype=np.int64) % REGIONS


def _network(config: DirectorConfig) -> DirectorNetwork:
    torch.manual_seed(config.seed)
    network = DirectorNetwork(config.backbone.name, config.image_size, REGIONS, config.dropout)
    return network.to(memory_format=torch.channels_last).train()


def _optimizer(config: DirectorConfig, network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)


def _not_reached(*_: object) -> Any:
    raise AssertionError("the clock stops a training before its first epoch ends")


# ── on a GPU ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def gpu_config(config: DirectorConfig) -> DirectorConfig:
    """Give the settings that a GPU is measured with: bf16, large batches, a decoding worker on each core."""
    return config.model_copy(
        update={"device": "cuda", "precision": "bf16", "batch_size": GPU_BATCH, "workers": os.cpu_count() or 1}
    )


def _measure_gpu(
    config: DirectorConfig, paths: Sequence[Path], folder: Path, rounds: int, progress: Progress
) -> tuple[list[float], list[Compared]]:
    # Workers that are slower than the GPU deliver in bursts, a batch of each: several bursts are timed.
    burst = max(config.workers, 1)
    others = {"fit": functools.partial(fit_rate, config, paths, folder, 4 * burst, warm_up=2 * burst)}
    with progress.track("Training steps on the GPU", legs(rounds, len(others))) as advance:
        bare, compared = interleave(
            functools.partial(bare_rate, config, _GPU_STEPS), others, rounds=rounds, advance=advance
        )
    return bare, compared["fit"]
