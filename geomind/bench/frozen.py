"""How long a Director and all Experts take on a frozen trunk, against one pass of all photos. It prints nothing."""

from __future__ import annotations

import functools
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from geomind.bench.timing import Compared, interleave, legs
from geomind.checkpoints import Description, save_checkpoint
from geomind.config import DirectorConfig, ExpertConfig
from geomind.data.manifest import write_manifest
from geomind.data.splits import split_by_place
from geomind.data.world import sample_places
from geomind.devices import torch_threads_beside
from geomind.errors import TrainingError
from geomind.geography.regions import default_regions
from geomind.networks import DirectorNetwork
from geomind.photos import Preprocessing
from geomind.progress import SILENT, Progress
from geomind.training.director import train_director
from geomind.training.experts import train_all_experts
from geomind.training.stage import Trained

_PASS_PHOTOS = 4
"""Photos that a core embeds at a time; the maps of more do not fit into its caches."""


def measure_frozen(
    config: DirectorConfig,
    network: DirectorNetwork,
    paths: Sequence[Path],
    folder: Path,
    rounds: int,
    progress: Progress,
) -> tuple[list[float], list[Compared]]:
    """Time one pass of all photos through a network's trunk, and trainings on it: seconds, and seconds compared.

    Args:
        config: The settings of the trainings.
        network: A network of random weights, which is settled on the photos.
        paths: The photos, which get places over the world.
        folder: Where their manifest and the weights go.
        rounds: How often each is timed.
        progress: Shows how far it is.
    """
    manifest = write_places(paths, folder / "manifest.csv")
    trunk = folder / "trunk.safetensors"
    settle(network, config, paths)
    save_trunk(network, config, trunk)
    others = {"training": functools.partial(frozen_seconds, config, manifest, trunk, progress)}
    with progress.track("Frozen trunk", legs(rounds, len(others))) as advance:
        embedding, compared = interleave(
            functools.partial(embedding_seconds, config, network, paths, progress), others, rounds=rounds,
            advance=advance,
        )  # fmt: skip
    return embedding, compared["training"]


def embedding_seconds(
    config: DirectorConfig, network: DirectorNetwork, paths: Sequence[Path], progress: Progress = SILENT
) -> float:
    """Decode all photos and send them through the trunk once, and do nothing else: -> seconds.

    Each core does both for a few photos of its own, so that none waits for another.
    """
    trunk = network.backbone.eval()
    preprocessing = Preprocessing(image_size=config.image_size)

    @torch.inference_mode()
    def embed(few: Sequence[Path]) -> int:
        pixels = torch.from_numpy(np.stack([preprocessing.read(path) for path in few]))
        trunk(pixels.contiguous(memory_format=torch.channels_last))
        return len(few)

    few = [paths[first : first + _PASS_PHOTOS] for first in range(0, len(paths), _PASS_PHOTOS)]
    threads = torch.get_num_threads()
    started = time.perf_counter()
    with (
        torch_threads_beside(os.cpu_count() or 1),
        ThreadPoolExecutor(threads) as pool,
        progress.track("One pass of all photos", len(paths)) as advance,
    ):
        for done in pool.map(embed, few):
            advance(done)
    return time.perf_counter() - started


def frozen_seconds(config: DirectorConfig, manifest: Path, trunk: Path, progress: Progress = SILENT) -> float:
    """Train a Director and the Expert of each region on a frozen trunk, from no features at all: -> seconds.

    Raises:
        TrainingError: an Expert could not be trained.
    """
    shared = {
        "backbone": {"name": config.backbone.name, "weights": str(trunk)},
        "freeze": "backbone",
        **config.model_dump(include={"image_size", "batch_size", "workers", "device", "seed"}),
    }
    director, expert = DirectorConfig.model_validate(shared), ExpertConfig.model_validate(shared)
    regions = default_regions()
    with tempfile.TemporaryDirectory(dir=manifest.parent) as name:
        models, runs = Path(name) / "saved_models", Path(name) / "runs"
        started = time.perf_counter()
        train_director(manifest, director, regions=regions, models=models, runs=runs, progress=progress)
        outcomes = train_all_experts(manifest, expert, regions=regions, models=models, runs=runs, progress=progress)
        seconds = time.perf_counter() - started
    for outcome in outcomes:
        if not isinstance(outcome, Trained):
            raise TrainingError(f"The Expert '{outcome.name}' was not trained: {outcome.reason}. Draw more --photos.")
    return seconds


def write_places(paths: Sequence[Path], manifest: Path) -> Path:
    """Give photos places over the world, as the demo's are spread, a tenth of which are to be judged by."""
    places = sample_places(len(paths), seed=0)
    split = split_by_place(
        places[["latitude", "longitude"]].to_numpy(),
        shares={"train": 0.9, "validation": 0.1},
        groups=places["group"].to_numpy(),
        strata=places["region_id"].to_numpy(),
    )
    image_paths = [path.relative_to(manifest.parent).as_posix() for path in paths]
    write_manifest(places.assign(image_path=image_paths, split=split, source="geomind bench"), manifest)
    return manifest


def settle(network: DirectorNetwork, config: DirectorConfig, paths: Sequence[Path]) -> None:
    """Let a network's normalisation know such photos.

    One that knows none emits denormal numbers, which a CPU takes ten times as long for.
    """
    preprocessing = Preprocessing(image_size=config.image_size)
    pixels = torch.from_numpy(np.stack([preprocessing.read(path) for path in paths[: config.batch_size]]))
    torch.optim.swa_utils.update_bn([pixels], network)


def save_trunk(network: DirectorNetwork, config: DirectorConfig, path: Path) -> None:
    """Write a network as a Director whose encoder can be started from."""
    description = Description(
        kind="director",
        region_table=default_regions().to_dict(),
        preprocessing=Preprocessing(image_size=config.image_size),
        backbone=config.backbone.name,
        config={},
    )
    save_checkpoint(path, network.state_dict(), description)
