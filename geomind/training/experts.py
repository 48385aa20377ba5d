"""All Experts: one after the other or several at once, none of whose failures stops the others."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch

from geomind.checkpoints import director_path, expert_path, read_description
from geomind.config import ExpertConfig
from geomind.devices import keep_freed_memory
from geomind.errors import ConfigError, GeoMindError, TrainingError
from geomind.files import refuse_existing
from geomind.geography.regions import RegionTable
from geomind.progress import SILENT, Progress
from geomind.training.expert import (
    check_director,
    expert_run_name,
    routed_regions,
    start_network,
    train_on_region,
    with_trunk,
)
from geomind.training.photos import TrainingPhotos
from geomind.training.runs import Run
from geomind.training.stage import Trained, check_machine, origin_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Skipped:
    """A region whose Expert was not trained, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Failed:
    """A region whose Expert could not be trained, and why."""

    name: str
    reason: str


Outcome = Trained | Skipped | Failed

_Work = partial[Trained]  # the training of one region; it wants to know whom to show its progress


def train_all_experts(
    data: Path | str,
    config: ExpertConfig,
    *,
    regions: RegionTable,
    models: Path | str = "saved_models",
    runs: Path | str = "runs",
    jobs: int = 1,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> list[Outcome]:
    """Train the Expert of every region; one without photos is skipped, and so is one that is there already.

    An interrupted training of all thus goes on with the Expert that was interrupted, whose run folder is found and
    resumed, and then with those that are missing; ``overwrite`` trains all anew.

    Args:
        data: The manifest.
        config: The settings of each.
        regions: The table of regions.
        models: The folder of models.
        runs: The folder of runs.
        jobs: Experts trained at the same time, each in a process of its own with its share of the cores.
        overwrite: Replace Experts that are there.
        progress: Shows Experts done, and with one job the epochs of each.

    Returns:
        What became of each region, in the order of the table.

    Raises:
        GeoMindError: the manifest, the settings, the starting weights or the output cannot be used, or no region has an
            Expert to train.
    """
    if jobs > 1 and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("Under torchrun all processes train one Expert together: leave out --jobs.")
    refuse_existing(expert_path(models, regions[0]), overwrite=True)
    check_machine(config)  # what is wrong for all of them is said once, and not by each
    config = with_trunk(config, models)
    check_director(models, config, regions)
    photos = TrainingPhotos.read(data, regions, config.seed)
    routed = routed_regions(photos, config, models, runs, progress)
    network = start_network(config)  # what is wrong with it is wrong for all, and said once
    trunk = read_description(director_path(models)).trunk if config.trunk == "director" else None
    outcomes: dict[int, Outcome] = {}
    work: dict[int, _Work] = {}
    for region in regions.regions:
        own = photos.of_region(region, routed)
        weights = expert_path(models, region)
        if weights.is_file() and not overwrite and read_description(weights).trunk == trunk:
            outcomes[region.id] = Skipped(region.name, f"{weights} is there already; --overwrite trains it anew")
        elif not (own.train.region_ids == region.id).any():
            logger.warning("No photo of region %d '%s' for training: no Expert for it.", region.id, region.name)
            outcomes[region.id] = Skipped(region.name, "no photo for training")
        else:
            run = Run.find_unfinished(runs, origin_of(expert_run_name(region), own, regions, network), config)
            work[region.id] = partial(
                train_on_region, own, region, config, regions=regions, models=models, runs=runs,
                resume=None if run is None else run.folder,
            )  # fmt: skip
    if not work:
        raise TrainingError(
            f"No Expert to train: every region of {data} has one already, or no photos. See --overwrite."
        )
    with progress.track("Training all Experts", len(regions)) as advance:
        advance(len(outcomes))
        done = _one_by_one(work, progress) if jobs == 1 else _side_by_side(work, min(jobs, len(work)))
        for region_id, outcome in done:
            region = regions[region_id]
            outcomes[region_id] = Failed(region.name, outcome) if isinstance(outcome, str) else outcome
            if isinstance(outcome, str):
                logger.error("Expert %d '%s' failed: %s", region_id, region.name, outcome)
            advance(1, note=region.name)
    return [outcomes[region.id] for region in regions.regions]


def _one_by_one(work: dict[int, _Work], progress: Progress) -> Iterator[tuple[int, Trained | str]]:
    """Do the work here: give each region's result, or why it failed."""
    for region_id, train in work.items():
        try:
            yield region_id, train(progress=progress)
        except GeoMindError as error:
            yield region_id, str(error)
        except Exception as error:  # a bug in one is no reason to go without the others
            logger.exception("Expert %d met with a bug.", region_id)
            yield region_id, f"{type(error).__name__}: {error}"


def _side_by_side(work: dict[int, _Work], jobs: int) -> Iterator[tuple[int, Trained | str]]:
    """Do the work in processes, so many at a time: give each region's result, or why it failed, as they come.

    One process each: what one of them does to its memory, or somebody to it, is no matter of the others.
    """
    threads = max(1, torch.get_num_threads() // jobs)
    children: list[SpawnProcess] = []
    with ThreadPoolExecutor(jobs) as waiting:
        asked = {waiting.submit(_in_a_process, train, threads, children): region for region, train in work.items()}
        try:
            for answer in as_completed(asked):
                yield asked[answer], answer.result()
        finally:  # interrupted: none is begun any more, and those at work save what they have
            waiting.shutdown(wait=False, cancel_futures=True)
            while not all(waited.done() for waited in asked):
                while children:
                    children.pop().terminate()
                time.sleep(0.1)  # one may be beginning just now


def _in_a_process(train: _Work, threads: int, children: list[SpawnProcess]) -> Trained | str:
    spawning = multiprocessing.get_context("spawn")  # a forked child inherits locks that torch's threads hold
    receiver, sender = spawning.Pipe(duplex=False)
    child = spawning.Process(target=_answer, args=(train, threads, sender))
    child.start()
    children.append(child)
    sender.close()
    try:
        answer: Trained | str = receiver.recv()
    except EOFError:
        child.join()
        code = child.exitcode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        answer = f"its process {how}. See its run.log, and lower --jobs if memory ran out."
    child.join()
    return answer


def _answer(train: _Work, threads: int, sender: Connection) -> None:
    keep_freed_memory()
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        sender.send(train(progress=SILENT))
    except GeoMindError as error:
        sender.send(str(error))
    except KeyboardInterrupt:  # the parent says so
        sys.exit(128 + signal.SIGINT)


def _end_with_the_parent() -> None:
    """Save and leave when the parent is gone: whoever starts again must not find this run at work."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
