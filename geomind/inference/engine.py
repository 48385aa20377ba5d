"""The engine: a folder of photos → a row each. It decodes while the geolocator answers, and knows no models."""

from __future__ import annotations

import collections
import itertools
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geomind.cascade import REGION_MEDIAN, Geolocator
from geomind.errors import PhotoError
from geomind.photos import Preprocessing, find_photos
from geomind.predictions import Prediction, refuse_output, write_predictions
from geomind.progress import SILENT, Progress

logger = logging.getLogger(__name__)

BATCHES_AHEAD = 2
"""Batches decoded ahead of the one being answered: enough to hide a slow photo, few enough to bound the memory."""


@dataclass(frozen=True)
class Inference:
    """What an inference did."""

    photos: int
    located: int
    """Photos with a place, those with their region's median place included."""
    failed: int
    """Photos that could not be read; their rows say why."""
    fallbacks: int
    """Photos that got their region's median place, for want of an Expert."""
    output: Path


def infer(
    images_dir: Path | str,
    output: Path | str,
    geolocator: Geolocator,
    *,
    batch_size: int = 32,
    workers: int = 2,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Inference:
    """Answer every photo below a folder and write one row each, in order of their paths.

    Args:
        images_dir: The folder, walked with its subfolders.
        output: The CSV; its `image_path` is relative to ``images_dir``.
        geolocator: Who answers.
        batch_size: Photos answered at once.
        workers: Threads that decode.
        overwrite: Replace an existing output.
        progress: Shows photos done.

    Raises:
        PhotoError: there is no such folder, or no photo in it.
        OutputError: the output exists or cannot be written.
    """
    refuse_output(output, overwrite=overwrite)
    folder = Path(images_dir)
    photos = find_photos(folder)
    counts: collections.Counter[str] = collections.Counter()

    def counted() -> Iterator[Prediction]:
        with progress.track("Locating photos", len(photos)) as advance:
            names = [photo.relative_to(folder).as_posix() for photo in photos]
            answers = locate_photos(photos, names, geolocator, batch_size=batch_size, workers=workers)
            for prediction in answers:
                counts["located"] += prediction.answered
                counts["fallback"] += prediction.answered and prediction.error == REGION_MEDIAN
                advance(1)
                yield prediction

    write_predictions(counted(), output, overwrite=overwrite)
    located = counts["located"]
    return Inference(len(photos), located, len(photos) - located, counts["fallback"], Path(output))


def locate_photos(
    photos: Sequence[Path],
    names: Sequence[str],
    geolocator: Geolocator,
    *,
    batch_size: int = 32,
    workers: int = 2,
) -> Iterator[Prediction]:
    """Answer photos in order; one that cannot be read yields a prediction with its `error`.

    Memory is bounded by ``BATCHES_AHEAD`` batches, whatever the number of photos.

    Args:
        photos: The files.
        names: What each photo is called in its prediction.
        geolocator: Who answers.
        batch_size: Photos answered at once.
        workers: Threads that decode.
    """
    queue = zip(photos, names, strict=True)
    with ThreadPoolExecutor(max(workers, 1), thread_name_prefix="decode") as pool:
        waiting: collections.deque[list[tuple[str, Future[_Read]]]] = collections.deque()
        try:
            while True:
                while len(waiting) <= BATCHES_AHEAD and (chunk := list(itertools.islice(queue, batch_size))):
                    waiting.append([(name, pool.submit(_read, path, geolocator.preprocessing)) for path, name in chunk])
                if not waiting:
                    return
                yield from _locate_batch([(name, future.result()) for name, future in waiting.popleft()], geolocator)
        finally:
            pool.shutdown(cancel_futures=True)


_Read = NDArray[np.float32] | PhotoError


def _read(path: Path, preprocessing: Preprocessing) -> _Read:
    try:
        return preprocessing.read(path)
    except PhotoError as error:
        return error


def _locate_batch(batch: Sequence[tuple[str, _Read]], geolocator: Geolocator) -> Iterator[Prediction]:
    readable = [(name, pixels) for name, pixels in batch if not isinstance(pixels, PhotoError)]
    located: Iterator[Prediction] = iter(())
    if readable:
        names = [name for name, _ in readable]
        located = iter(geolocator.locate(np.stack([pixels for _, pixels in readable]), names))
    for name, pixels in batch:
        if isinstance(pixels, PhotoError):
            logger.warning("%s cannot be read: %s.", name, pixels)
            yield Prediction(image_path=name, error=str(pixels))
        else:
            yield next(located)
