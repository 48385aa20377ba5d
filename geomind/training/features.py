"""Each photo's features under a frozen trunk: computed once, kept on disk. It knows no heads and no regions."""

from __future__ import annotations

import collections
import functools
import hashlib
import io
import itertools
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from geomind.backbones import Backbone
from geomind.checkpoints import state_checksum
from geomind.data.dataset import Batch, Draw
from geomind.devices import torch_threads_beside
from geomind.errors import OutputError, PhotoError
from geomind.files import atomic_path, make_folder
from geomind.photos import Preprocessing, read_photo_bytes
from geomind.progress import SILENT, Advance, Progress

logger = logging.getLogger(__name__)

FORMAT = "features 1: central square, float32"
"""What the numbers of a part are. Whoever changes how a photo is cut or decoded changes this."""

PART_PHOTOS = 2048
PART_SECONDS = 60.0
"""A part is written after so many photos or seconds, the sooner of the two: as much is lost by a kill."""

_PASS_PHOTOS = {"cpu": 4, "cuda": 32}
"""Photos a pass. On a CPU few are faster: a core encodes 36 photos a second by 4, 16 by 32, because the C library asks
the system for the larger maps anew at each layer (EfficientNet-B0, 224 pixels)."""

_PHOTOS_AHEAD = 64
"""Photos decoded ahead of the trunk: enough to hide a slow one, few enough to bound the memory."""

_HASH_BYTES = 16


class FeatureCache:
    """The features of photos under one trunk, in a folder.

    A photo goes by the hash of its bytes, in a folder that goes by the hash of the trunk's weights and of the
    preprocessing. So a photo that was edited, another size and other weights are computed anew, and nothing is ever
    stale. Several processes may share the folder.
    """

    def __init__(self, folder: Path | str, name: str, trunk: Backbone, preprocessing: Preprocessing) -> None:
        """Take the trunk; it is put into eval mode, as a frozen one is, and computes on the device where it is.

        Args:
            folder: Where features are kept, those of other trunks too.
            name: The trunk's name, as in the settings.
            trunk: The image encoder.
            preprocessing: How a photo becomes its input.
        """
        self._folder = Path(folder)
        self._name = name
        self._trunk = trunk.eval()
        self._preprocessing = preprocessing
        self._warned: set[Path] = set()

    def features(
        self, paths: Sequence[Path], *, workers: int = 2, progress: Progress = SILENT
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Give the features of photos, in their order; those that are not kept yet are computed.

        Args:
            paths: The n photos; each is read, to be sure that it is the one that is known.
            workers: Threads that read and decode.
            progress: Shows photos done.

        Returns:
            (n, features), and (n,) whether a photo could be read; the features of one that could not are 0.

        Raises:
            OutputError: the folder cannot be written.
        """
        parts = _Parts(self._folder / self._fingerprint(), self._trunk.features)
        with progress.track("Computing features", len(paths)) as advance:
            keys = self._add_missing(parts, paths, workers, advance)
        return parts.rows(keys)

    def _fingerprint(self) -> str:
        """Hash all that a photo's features depend on besides its bytes."""
        told = (FORMAT, self._name, state_checksum(self._trunk.state_dict()), self._preprocessing.model_dump_json())
        return _hash("\n".join(told).encode()).hex()

    def _add_missing(self, parts: _Parts, paths: Sequence[Path], workers: int, advance: Advance) -> list[bytes | None]:
        """Compute and keep what is missing; give the key of each photo, None for one that cannot be read."""
        device = self._device().type
        # A pass is one thread's: several that share one wait for each other in a busy loop, which takes the core from
        # those that decode.
        passes = torch.get_num_threads() if device == "cpu" else 2
        keys: list[bytes | None] = []
        seen = parts.keys()
        with (
            torch_threads_beside(os.cpu_count() or 1),
            ThreadPoolExecutor(max(workers, 1), thread_name_prefix="decode") as readers,
            ThreadPoolExecutor(passes, thread_name_prefix="encode") as encoders,
        ):
            read = functools.partial(_read, preprocessing=self._preprocessing, seen=seen)
            photos = zip(paths, _mapped(readers, read, paths, ahead=_PHOTOS_AHEAD), strict=True)
            new = self._unseen(photos, seen, keys, advance)
            for rows in _mapped(encoders, self._encode, _batches(new, _PASS_PHOTOS[device]), ahead=2 * passes):
                parts.add(rows)
        parts.flush()
        return keys

    def _unseen(
        self, photos: Iterable[tuple[Path, _Photo]], seen: set[bytes], keys: list[bytes | None], advance: Advance
    ) -> Iterator[tuple[bytes, NDArray[np.float32]]]:
        """Pass on the pixels of photos not ``seen`` before, and fill ``seen`` and ``keys`` on the way."""
        started = time.monotonic()
        for path, photo in photos:
            if isinstance(photo, PhotoError):
                keys.append(None)
                self._warn(path, photo)
            else:
                key, pixels = photo
                keys.append(key)
                if pixels is not None and key not in seen:
                    seen.add(key)
                    yield key, pixels
            advance(1, note=f"{len(keys) / max(time.monotonic() - started, 1e-9):.0f} photos/s")

    def _warn(self, path: Path, error: PhotoError) -> None:
        if path not in self._warned:
            self._warned.add(path)
            logger.warning("%s is left out: %s.", path, error)

    @torch.inference_mode()
    def _encode(self, photos: Sequence[tuple[bytes, NDArray[np.float32]]]) -> NDArray[np.void]:
        pixels = torch.from_numpy(np.stack([pixels for _, pixels in photos]))
        pixels = pixels.to(self._device()).contiguous(memory_format=torch.channels_last)
        rows = np.empty(len(photos), _row_type(self._trunk.features))
        rows["key"] = np.frombuffer(b"".join(key for key, _ in photos), f"V{_HASH_BYTES}")
        rows["features"] = self._trunk(pixels).float().cpu().numpy()
        return rows

    def _device(self) -> torch.device:
        return next(self._trunk.parameters()).device


class FeatureDataset(Dataset[Batch]):
    """Features in place of photos, and their targets: it makes whole batches, without those that could not be read."""

    ready = True

    def __init__(
        self,
        paths: Sequence[Path],
        targets: NDArray[np.generic],
        features: NDArray[np.float32],
        read: NDArray[np.bool_],
    ) -> None:
        self.paths = list(paths)
        self._targets = torch.from_numpy(np.ascontiguousarray(targets))
        self._features = torch.from_numpy(features)
        self._read = torch.from_numpy(read)

    def __len__(self) -> int:
        return len(self.paths)

    def blank(self) -> Batch:
        """Give a batch of one photo without features."""
        return Batch(torch.zeros_like(self._features[:1]), self._targets[:1], torch.tensor([0]))

    def __getitems__(self, draws: Sequence[Draw]) -> Batch:
        """Make the batch of some draws; nothing about it is random."""
        indices = torch.tensor([draw.photo for draw in draws], dtype=torch.int64)
        indices = indices[self._read[indices]]
        return Batch(self._features[indices], self._targets[indices], indices)


class _Parts:
    """Files of keys and features: ``part-<hash of its bytes>-<any>.npy``, so that damage shows and no two collide."""

    def __init__(self, folder: Path, features: int) -> None:
        self._folder = make_folder(folder)
        self._features = features
        self._fresh: list[NDArray[np.void]] = []
        self._written = time.monotonic()

    def keys(self) -> set[bytes]:
        """Give the keys of all photos whose features are here."""
        return {key for part in self._sound(warn=True) for key in _keys(part)}

    def add(self, rows: NDArray[np.void]) -> None:
        """Keep rows, in a part that is written when it is due."""
        self._fresh.append(rows)
        due = time.monotonic() - self._written > PART_SECONDS
        if due or sum(map(len, self._fresh)) >= PART_PHOTOS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are in no part yet."""
        if self._fresh:
            data = io.BytesIO()
            np.save(data, np.concatenate(self._fresh), allow_pickle=False)
            name = f"part-{_hash(data.getbuffer()).hex()}-{secrets.token_hex(4)}.npy"
            with atomic_path(self._folder / name) as temporary:
                temporary.write_bytes(data.getbuffer())
            self._fresh.clear()
        self._written = time.monotonic()

    def rows(self, keys: Sequence[bytes | None]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Give the features of keys, in their order, and which of them are none; no more than one part in memory."""
        wanted: dict[bytes, list[int]] = collections.defaultdict(list)
        for number, key in enumerate(keys):
            if key is not None:
                wanted[key].append(number)
        features = np.zeros((len(keys), self._features), np.float32)
        for part in self._sound():
            for row, key in enumerate(_keys(part)):
                features[wanted.pop(key, [])] = part["features"][row]
        if wanted:
            raise OutputError(f"Features in {self._folder} vanished while they were used. Start again.")
        return features, np.array([key is not None for key in keys], np.bool_)

    def _sound(self, *, warn: bool = False) -> Iterator[NDArray[np.void]]:
        """Read one part after the other, without those whose bytes are not what their names say."""
        for path in sorted(self._folder.glob("part-*.npy")):
            try:
                data = path.read_bytes()
            except OSError:
                data = b""
            if path.stem.split("-")[1] == _hash(data).hex():
                yield np.load(io.BytesIO(data), allow_pickle=False)
            elif warn:
                logger.warning("%s is damaged; the features in it are computed again. Delete it.", path)


_Photo = tuple[bytes, NDArray[np.float32] | None] | PhotoError
"""The key of a photo, and its pixels where they are needed; or why it cannot be read."""


def _read(path: Path, preprocessing: Preprocessing, seen: set[bytes]) -> _Photo:
    """Read a photo's bytes once, so that what is decoded is what the key was made of."""
    try:
        data = read_photo_bytes(path)
        key = _hash(data)
        return key, None if key in seen else preprocessing.read(data)
    except PhotoError as error:
        return error


def _hash(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=_HASH_BYTES).digest()


def _row_type(features: int) -> np.dtype[np.void]:
    return np.dtype([("key", f"V{_HASH_BYTES}"), ("features", "<f4", (features,))])


def _keys(part: NDArray[np.void]) -> list[bytes]:
    return [key.tobytes() for key in part["key"]]


_In = TypeVar("_In")
_Out = TypeVar("_Out")


def _mapped(
    pool: ThreadPoolExecutor, function: Callable[[_In], _Out], items: Iterable[_In], *, ahead: int
) -> Iterator[_Out]:
    """Map in threads and in order, so many items ahead of who asks; ``Executor.map`` takes all items at once."""
    waiting: collections.deque[Future[_Out]] = collections.deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _batches(items: Iterable[_In], size: int) -> Iterator[list[_In]]:
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch
