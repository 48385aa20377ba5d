"""The engine: photos → rows. It finds, decodes, asks a geolocator and writes, all at once, and knows no networks.

Photos are answered in windows, of fixed photos whatever the speed of each, so that an inference that was stopped and
gone on with gives the bytes of one that was not. Windows may be answered out of their order; rows never leave it.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geomind.cascade import REGION_MEDIAN, Geolocator
from geomind.devices import cores
from geomind.errors import PhotoError
from geomind.inference.partial import Partial, open_partial
from geomind.inference.photo_list import FolderOfPhotos, Photos
from geomind.photos import Preprocessing
from geomind.predictions import FileFormat, Prediction, refuse_output, write_predictions
from geomind.progress import SILENT, Progress

logger = logging.getLogger(__name__)

WINDOW = 64
"""Photos answered at once. As many share the passes through the Experts of their regions; their pixels, at 224 a side,
are 39 MB."""

DECODED_WINDOWS = 3
"""Windows whose pixels are in memory: one being answered, one complete, one being filled."""

WAITING_WINDOWS = 64
"""Windows that may be begun while the first waits for a slow photo: their rows are small."""

SLOW_SECONDS = 60.0
"""How long nothing comes before the log names the photos that are waited for."""


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
    abstained: int
    """Photos whose answer is less sure than was asked for."""
    output: Path


def infer(
    photos: Photos | Path | str,
    output: Path | str,
    geolocator: Geolocator,
    *,
    batch_size: int = WINDOW,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    format: FileFormat | None = None,  # noqa: A002  the option is called so
    made_with: Mapping[str, str] | None = None,
    also: Sequence[Callable[[Iterator[Prediction]], object]] = (),
    progress: Progress = SILENT,
) -> Inference:
    """Answer every photo of a folder or a list and write one row each, in order.

    The rows so far are kept in ``OUTPUT.unfinished`` until the output is whole, so that a run that was killed, or whose
    disk was full, can be gone on with.

    Args:
        photos: The folder, walked with its subfolders, or a list; the rows name each photo as that names it.
        output: The file; its ending chooses the format.
        geolocator: Who answers.
        batch_size: Photos answered at once.
        workers: Threads that decode; one a core if left out.
        resume: Go on with an unfinished inference of the same photos, if there is one.
        overwrite: Replace an existing output, or an unfinished one.
        format: The format, whatever the ending.
        made_with: What else the answers depend on (models, precision …), in words; an inference that was begun with
            something else is not gone on with.
        also: What else becomes of the rows; each is given all of them, before the output is written.
        progress: Shows photos done.

    Raises:
        PhotoError: there is no such folder, or no photo in it.
        ManifestError: the list cannot be read.
        OutputError: the output exists or cannot be written, or the unfinished inference is another one.
    """
    refuse_output(output, overwrite=overwrite, format=format)
    if not isinstance(photos, Photos):
        photos = FolderOfPhotos(Path(photos))
    arguments = {
        "set of photos": photos.described,
        "preprocessing": geolocator.preprocessing.model_dump_json(),
        **(made_with or {}),
    }
    columns = geolocator.extra_columns
    with open_partial(output, photos.names, arguments, columns, resume=resume, overwrite=overwrite) as partial:
        _answer_the_rest(partial, photos, geolocator, batch_size, workers, progress)
        for write in also:
            write(partial.rows())
        counts: collections.Counter[str] = collections.Counter()
        with progress.track("Writing the output", partial.total) as advance:

            def counted() -> Iterator[Prediction]:
                for prediction in partial.rows():
                    counts["located"] += prediction.answered
                    counts["fallback"] += prediction.answered and prediction.error == REGION_MEDIAN
                    counts["abstained"] += prediction.abstained is not None
                    advance(1)
                    yield prediction

            write_predictions(
                counted(), output, overwrite=overwrite, with_truth=False, extra_columns=columns, format=format
            )
    located = counts["located"]
    failed = partial.total - located
    return Inference(partial.total, located, failed, counts["fallback"], counts["abstained"], Path(output))


def _answer_the_rest(
    partial: Partial, photos: Photos, geolocator: Geolocator, batch_size: int, workers: int | None, progress: Progress
) -> None:
    """Answer the photos that have no row yet."""
    names = partial.names_to_do()
    windows = _locate_windows(((photos.path(name), name) for name in names), geolocator, batch_size, workers)
    with progress.track("Locating photos", partial.total - partial.done) as advance, contextlib.closing(windows):
        began, done = time.monotonic(), 0
        for rows in windows:
            partial.add(rows)
            done += len(rows)
            advance(len(rows), note=f"{done / max(time.monotonic() - began, 1e-9):.1f} photos/s")


def locate_photos(
    photos: Iterable[Path | str],
    names: Iterable[str],
    geolocator: Geolocator,
    *,
    batch_size: int = WINDOW,
    workers: int | None = None,
) -> Iterator[Prediction]:
    """Answer photos in order; one that cannot be read yields a prediction with its `error`.

    Memory is bounded by the pixels of ``DECODED_WINDOWS`` batches, whatever the number of photos.

    Args:
        photos: The files.
        names: What each photo is called in its prediction.
        geolocator: Who answers.
        batch_size: Photos answered at once.
        workers: Threads that decode; one a core if left out.
    """
    named = zip(photos, names, strict=True)
    with contextlib.closing(_locate_windows(named, geolocator, batch_size, workers)) as windows:
        for rows in windows:
            yield from rows


def _locate_windows(
    photos: Iterable[tuple[Path | str, str]], geolocator: Geolocator, batch_size: int, workers: int | None
) -> Generator[list[Prediction], None, None]:
    """Answer photos window by window, in order: (path, name) of each -> the rows of each window.

    A photo that takes long holds up its own window and the rows behind it; the others are decoded and answered up to
    ``WAITING_WINDOWS`` further on.
    """
    waiting = iter(photos)
    held: dict[int, list[Prediction]] = {}
    begun = answered = given = 0
    with _Decoders(workers or cores(), geolocator.preprocessing) as decoders:
        while True:
            while begun - answered < DECODED_WINDOWS and begun - given < WAITING_WINDOWS:
                chunk = list(itertools.islice(waiting, batch_size))
                if not chunk:
                    break
                decoders.decode(_Window(begun, chunk))
                begun += 1
            if given == begun:
                return
            window = decoders.next_window()
            held[window.number] = _locate_window(window, geolocator)
            del window  # its pixels
            answered += 1
            while given in held:
                yield held.pop(given)
                given += 1


class _Window:
    """Photos that are answered together, while they are being decoded."""

    def __init__(self, number: int, photos: list[tuple[Path | str, str]]) -> None:
        self.number = number
        self.photos = photos
        self.faults: dict[int, str] = {}
        self.pixels: NDArray[np.float32] | None = None
        self._missing = len(photos)
        self._lock = threading.Lock()

    def put(self, index: int, pixels: NDArray[np.float32] | PhotoError) -> bool:
        """Take what became of one photo, (3, S, S), and say whether it was the last."""
        with self._lock:
            if isinstance(pixels, PhotoError):
                self.faults[index] = str(pixels)
            elif self.pixels is None:
                self.pixels = np.empty((len(self.photos), *pixels.shape), dtype=np.float32)
        if self.pixels is not None and not isinstance(pixels, PhotoError):
            self.pixels[index] = pixels
        with self._lock:
            self._missing -= 1
            return self._missing == 0


def _locate_window(window: _Window, geolocator: Geolocator) -> list[Prediction]:
    names = [name for _, name in window.photos]
    located: Iterator[Prediction] = iter(())
    if window.pixels is not None:
        readable = [index for index in range(len(names)) if index not in window.faults]
        pixels = window.pixels[readable] if window.faults else window.pixels
        located = iter(geolocator.locate(pixels, [names[index] for index in readable]))
    rows = []
    for index, name in enumerate(names):
        if index in window.faults:
            logger.warning("%s cannot be read: %s.", name, window.faults[index])
            rows.append(Prediction(image_path=name, error=window.faults[index]))
        else:
            rows.append(next(located))
    return rows


class _Decoders:
    """Threads that decode the photos of windows, in order.

    They are daemons: a read that hangs (a network disk that went away) must not keep the program from ending.
    """

    def __init__(self, workers: int, preprocessing: Preprocessing) -> None:
        self._preprocessing = preprocessing
        self._tasks: queue.SimpleQueue[tuple[_Window, int] | None] = queue.SimpleQueue()
        self._complete: queue.SimpleQueue[_Window | BaseException] = queue.SimpleQueue()
        self._stopped = False
        self._reading: dict[int, str] = {}
        self._threads = [
            threading.Thread(target=self._work, name=f"decode-{number}", daemon=True) for number in range(workers)
        ]

    def __enter__(self) -> _Decoders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        for _thread in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join(timeout=2)

    def decode(self, window: _Window) -> None:
        """Begin the photos of a window, behind those begun before."""
        for index in range(len(window.photos)):
            self._tasks.put((window, index))

    def next_window(self) -> _Window:
        """Wait for a window whose photos are all decoded, and say in the log when a photo takes very long."""
        told: set[str] = set()
        while True:
            try:
                window = self._complete.get(timeout=SLOW_SECONDS)
            except queue.Empty:
                for path in set(self._reading.values()) - told:
                    logger.warning("%s takes more than %.0f s to read; the others wait for it.", path, SLOW_SECONDS)
                    told.add(path)
                continue
            if isinstance(window, BaseException):
                raise window
            return window

    def _work(self) -> None:
        me = threading.get_ident()
        while (task := self._tasks.get()) is not None and not self._stopped:
            window, index = task
            path = window.photos[index][0]
            self._reading[me] = str(path)
            try:
                if window.put(index, _read(path, self._preprocessing)):
                    self._complete.put(window)
            except BaseException as error:  # noqa: BLE001  a bug must show itself where it is waited for
                self._complete.put(error)
            self._reading.pop(me, None)
            del window, task  # its pixels


def _read(path: Path | str, preprocessing: Preprocessing) -> NDArray[np.float32] | PhotoError:
    try:
        return preprocessing.read(path)
    except PhotoError as error:
        return error
