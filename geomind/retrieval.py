"""The gallery: what the training photos look like to an image encoder, and where they were taken. It keeps no photo.

It finds those that look most like a photo, and says how probable the place of each is. Which place follows it does not
decide.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomind.checkpoints import (
    Description,
    check_finite,
    check_regions,
    director_path,
    gallery_path,
    load_gallery,
    read_description,
    read_trunk,
)
from geomind.decoding import Candidates
from geomind.devices import Device, pick_device
from geomind.director import Director
from geomind.errors import CheckpointError
from geomind.geography.regions import RegionTable
from geomind.geography.sphere import Points
from geomind.photos import Preprocessing
from geomind.predictions import Prediction, name_places
from geomind.runtimes import Precision, Runtime

logger = logging.getLogger(__name__)

NEIGHBOURS = 10
"""Photos that a place is refined by. The temperature of a gallery is fitted for as many."""

SHARE = 0.5
"""How much of the probability the neighbours have, beside an Expert: neither is known to be the better one."""

FAISS_ROWS = 1_000_000
"""From so many rows on FAISS searches them, where it is installed; below, the matrix product is quick, and exact."""

FAISS_PROBES = 64
"""Lists of FAISS's index that are looked through, of about √rows; docs/retrieval.md tells the recall."""

_BLOCK_BYTES = 32 << 20
"""What a step of the search may hold at a time: the memory is this and not the gallery's."""

_BLOCK_PHOTOS = 512

_FAISS_SAMPLE = 64
"""Rows a list that FAISS's k-means learns from; it asks for 39 at least."""


class Gallery:
    """The training photos of one image encoder: n rows of an embedding, a place and a region.

    Attributes:
        embeddings: (n, features) float16, each of length 1: features × 2 bytes a photo, on the disk until looked at.
        places: (n, 2) degrees, where they were taken.
        region_ids: (n,) their regions.
        description: What the file says of itself: the encoder, the preprocessing, the regions, the temperature.
    """

    def __init__(
        self,
        embeddings: NDArray[np.float16],
        places: Points,
        region_ids: NDArray[np.int32],
        description: Description,
        encoder: Path | str = "of the encoder",
    ) -> None:
        self.embeddings = embeddings
        self.places = places
        self.region_ids = region_ids
        self.description = description
        self._encoder = encoder
        self._index: _FaissIndex | None = None
        self._said_slow = False
        self._said_empty: set[int] = set()

    @classmethod
    def load(cls, path: Path | str, weights: Path | str) -> Gallery:
        """Open a gallery for the encoder of some weights.

        Args:
            path: The gallery's file.
            weights: The Director's or Expert's, whose features will be looked up.

        Raises:
            CheckpointError: a file is missing or broken, or the gallery is of another encoder, of other pixels or of
                another table of regions.
        """
        arrays, description = load_gallery(path)
        asked = read_description(weights)
        check_regions(path, description, asked.regions)
        if description.trunk != read_trunk(weights) or description.preprocessing != asked.preprocessing:
            raise CheckpointError(
                f"{path} was made with another image encoder or other pixels than those of {weights}. Make it again "
                "with `geomind train-expert --region all --gallery`."
            )
        return cls(arrays["embeddings"], arrays["places"], arrays["region_ids"], description, weights)

    def __len__(self) -> int:
        return len(self.embeddings)

    def rows_of(self, region_id: int) -> NDArray[np.int64]:
        """Give the rows of a region, in rising order."""
        return np.flatnonzero(self.region_ids == region_id)

    def search(
        self, features: NDArray[np.float32], count: int = NEIGHBOURS, rows: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find the rows that are most like each of N photos, by cosine similarity.

        Args:
            features: (N, features) that the encoder makes of the photos, of any length.
            count: How many to find.
            rows: The only rows to look at, in rising order: those of a region or of a cell; None for all.

        Returns:
            (N, K) rows and (N, K) cosines, the most similar first and of equals the lower row; K is ``count``, or as
            many as there are.

        Raises:
            CheckpointError: a feature is no number.
        """
        check_finite(features, self._encoder)
        unit = unit_rows(features)
        looked_at = len(self) if rows is None else len(rows)
        count = min(count, looked_at)
        index = self._faiss() if looked_at >= FAISS_ROWS and len(unit) else None
        if index is None:
            found = self._scan(unit, count, rows)
        else:
            found = index.search(unit, count, rows)
            short = (found < 0).any(axis=1)  # the lists that were looked through held too few
            found[short] = self._scan(unit[short], count, rows)
        return self._in_order(unit, found)

    def weigh(
        self, rows: NDArray[np.int64], cosines: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Say how probable the place of each row found is: (N, K), (N, K) -> (N, K) that sum to 1, (N, K, 2) degrees.

        The softmax of the cosines over the temperature that was fitted on validation photos.
        """
        return softmax(cosines, self.description.temperature or 1.0), np.asarray(self.places[rows])

    def candidates(
        self, features: NDArray[np.float32], region_ids: NDArray[np.integer[Any]] | None = None, count: int = NEIGHBOURS
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Say where N photos may have been taken: the places of those most like them, with probabilities.

        Args:
            features: (N, features) that the encoder makes of them.
            region_ids: (N,) the region of each, in which alone is searched; None for the whole world.
            count: How many places, K.

        Returns:
            (N, K) probabilities and (N, K, 2) places in degrees, the most probable first. Where a region has fewer
            photos than K, the rest have probability 0 and the place of the first. Where it has none, there are no
            neighbours: all probabilities and places are 0, so that the caller keeps the answer it has.

        Raises:
            CheckpointError: a feature is no number.
        """
        if region_ids is None:
            return self.weigh(*self.search(features, count))
        count = min(count, len(self))
        probabilities = np.zeros((len(features), count))
        places = np.zeros((len(features), count, 2))
        for region_id in np.unique(region_ids).tolist():
            rows = self.rows_of(region_id)
            if len(rows) == 0:
                self._say_empty(region_id)
                continue
            here = np.flatnonzero(region_ids == region_id)
            probable, near = self.weigh(*self.search(features[here], count, rows))
            found = probable.shape[1]
            probabilities[here, :found] = probable
            places[here] = near[:, :1]
            places[here, :found] = near
        return probabilities, places

    def refine(self, guess: Candidates, features: NDArray[np.float32], region_id: int) -> Candidates:
        """Add the places of the training photos of a region that look most like some photos to what an Expert guesses.

        Half of the probability is theirs; where the region has none, the guess stays as it is.

        Raises:
            CheckpointError: a feature is no number.
        """
        probabilities, places = self.candidates(features, np.full(len(features), region_id))
        share = np.where(probabilities.any(axis=1), SHARE, 0.0)
        near = Candidates(probabilities, places).weighted(share)
        return Candidates.joined([guess.weighted(1 - share), near])

    def _scan(self, unit: NDArray[np.float32], count: int, rows: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Find the ``count`` best of the rows by matrix product: (N, features) -> (N, count), in no order."""
        best = np.full((len(unit), count), -np.inf, np.float32)
        best_rows = np.zeros((len(unit), count), np.int64)
        if best_rows.size == 0:
            return best_rows
        for numbers, block in self._blocks(rows):
            for first in range(0, len(unit), _BLOCK_PHOTOS):
                photos = slice(first, first + _BLOCK_PHOTOS)
                cosines = unit[photos] @ block.T
                # After the first blocks few rows are better than what was found; sorting all took as long as the rest.
                better = (cosines > best[photos, -1:]).any(axis=0)
                if not better.any():
                    continue
                merged = np.concatenate([best[photos], cosines[:, better]], axis=1)
                order = np.argsort(-merged, axis=1, kind="stable")[:, :count]  # stable: of equals the lower row
                best[photos] = np.take_along_axis(merged, order, axis=1)
                of = np.broadcast_to(numbers[better], (len(merged), int(better.sum())))
                both = np.concatenate([best_rows[photos], of], axis=1)
                best_rows[photos] = np.take_along_axis(both, order, axis=1)
        return best_rows

    def _blocks(self, rows: NDArray[np.int64] | None) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Read the rows block by block: their numbers (r,), and (r, features)."""
        step = max(1, _BLOCK_BYTES // (4 * self.embeddings.shape[1] + 4 * _BLOCK_PHOTOS))
        for first in range(0, len(self) if rows is None else len(rows), step):
            if rows is None:
                block = self.embeddings[first : first + step]
                yield np.arange(first, first + len(block)), block.astype(np.float32)
            else:
                numbers = rows[first : first + step]
                yield numbers, self.embeddings[numbers].astype(np.float32)

    def _in_order(
        self, unit: NDArray[np.float32], found: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Measure what was found exactly, and sort it: the same answer in blocks of any size, and from FAISS."""
        rows = np.sort(found, axis=1)
        cosines = np.zeros(rows.shape)
        step = max(1, _BLOCK_BYTES // (16 * max(rows.shape[1], 1) * self.embeddings.shape[1]))
        for first in range(0, len(rows), step):
            photos = slice(first, first + step)
            near = self.embeddings[rows[photos]].astype(np.float64)
            length = np.linalg.norm(near, axis=2)  # 1, but for the rounding to float16
            product = (near @ unit[photos, :, None].astype(np.float64))[..., 0]
            cosines[photos] = product / np.where(length > 0, length, 1)
        cosines = cosines.round(12)  # two rows that are the same are equally near, however their sum was rounded
        order = np.argsort(-cosines, axis=1, kind="stable")
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(cosines, order, axis=1)

    def _faiss(self) -> _FaissIndex | None:
        """Give FAISS's index, made when it is first needed; None where FAISS is not installed."""
        if self._index is None and importlib.util.find_spec("faiss") is not None:
            logger.info("Making FAISS's index of the gallery's %d photos, which takes minutes.", len(self))
            self._index = _FaissIndex(self.embeddings)
        elif self._index is None and not self._said_slow:
            self._said_slow = True
            logger.info(
                "The gallery's %d photos are searched by matrix product. FAISS is quicker from %d on: "
                "pip install 'geomind[faiss]'.",
                len(self), FAISS_ROWS,
            )  # fmt: skip
        return self._index

    def _say_empty(self, region_id: int) -> None:
        if region_id not in self._said_empty:
            self._said_empty.add(region_id)
            name = self.description.regions[region_id].name
            logger.warning("The gallery has no photo of region %d '%s': no neighbours there.", region_id, name)


class NearestPhoto:
    """A geolocator without any answer of its own: a photo was taken where the training photo most like it was.

    Attributes:
        regions: The table of regions.
        preprocessing: How photos become pixels.
        extra_columns: None.
    """

    extra_columns: tuple[str, ...] = ()

    def __init__(
        self, director: Callable[[NDArray[np.float32]], tuple[Any, NDArray[np.float32]]], gallery: Gallery
    ) -> None:
        """Join an encoder and its gallery.

        Args:
            director: Pixels -> its probabilities, which are not looked at, and its (N, features).
            gallery: That encoder's, of the whole world.
        """
        self._director = director
        self._gallery = gallery
        self.regions: RegionTable = gallery.description.regions
        self.preprocessing: Preprocessing = gallery.description.preprocessing

    @classmethod
    def load(
        cls,
        models: Path | str,
        *,
        runtime: Runtime = "auto",
        precision: Precision = "fp32",
        device: Device = "cpu",
        threads: int | None = None,
    ) -> NearestPhoto:
        """Load the Director of a models folder and its gallery.

        Args:
            models: The folder.
            runtime: Who runs the Director; `auto` takes the quickest that is installed.
            precision: What it counts in.
            device: `cpu`, `cuda`, or `auto` for a GPU where there is one.
            threads: Cores that it uses; None for all.

        Raises:
            CheckpointError: the Director or its gallery is missing or broken, or they do not fit.
            ConfigError: a GPU is asked for and there is none, or the runtime cannot do this.
            MissingExtraError: the runtime is not installed.
        """
        weights = director_path(models)
        gallery = Gallery.load(gallery_path(models), weights)
        where = "cpu" if device == "cpu" else pick_device(device)
        director = Director.load(weights, where, runtime=runtime, precision=precision, threads=threads)
        return cls(director.answer, gallery)

    def locate(self, pixels: NDArray[np.float32], image_paths: Sequence[str]) -> list[Prediction]:
        """Answer with the place of the nearest training photo: (N, 3, S, S) and their N names -> N predictions."""
        rows = self._gallery.search(self._director(pixels)[1], 1)[0][:, 0]
        region_ids, places = self._gallery.region_ids[rows].tolist(), self._gallery.places[rows].tolist()
        return name_places(
            [
                Prediction(
                    image_path=image_path,
                    region_id=region_id,
                    region_name=self.regions[region_id].name,
                    latitude=latitude,
                    longitude=longitude,
                )
                for image_path, region_id, (latitude, longitude) in zip(image_paths, region_ids, places, strict=True)
            ]
        )


class _FaissIndex:
    """FAISS's inverted lists over a copy of the rows in memory, float16: quick, and nearly always right.

    A plain index would count as much as the matrix product does. Here k-means puts the rows into √n lists, and a search
    looks through the nearest few (Jégou, Douze & Schmid 2011, "Product Quantization for Nearest Neighbor Search").
    """

    def __init__(self, embeddings: NDArray[np.float16]) -> None:
        import faiss

        rows, features = embeddings.shape
        lists = max(1, round(rows**0.5))
        centres = faiss.IndexFlatIP(features)
        by_residual = False  # the rows themselves are kept, as they are here
        self._rows = rows
        self._index = faiss.IndexIVFScalarQuantizer(
            centres, features, lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, by_residual
        )
        sample = np.random.default_rng(0).choice(rows, min(rows, _FAISS_SAMPLE * lists), replace=False)
        self._index.train(embeddings[np.sort(sample)].astype(np.float32))
        step = max(1, _BLOCK_BYTES // (4 * features))
        for first in range(0, rows, step):
            self._index.add(embeddings[first : first + step].astype(np.float32))

    def search(self, unit: NDArray[np.float32], count: int, rows: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Find the ``count`` best of the rows: (N, features) -> (N, count), -1 where the lists held too few."""
        import faiss

        asked = {}
        if rows is not None:
            allowed = np.zeros(self._rows, np.bool_)
            allowed[rows] = True
            asked["sel"] = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        how = faiss.SearchParametersIVF(nprobe=FAISS_PROBES, **asked)
        found: NDArray[np.int64] = self._index.search(unit, count, params=how)[1]
        return found


def unit_rows(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring each row to length 1, and leave one of zeros as it is: (n, features) -> (n, features)."""
    largest = np.abs(features).max(axis=1, keepdims=True, initial=0)
    scaled = features / np.where(largest > 0, largest, 1)  # so that no square is too large or too small
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    return (scaled / np.where(length > 0, length, 1)).astype(np.float32)


def softmax(cosines: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Turn cosines into probabilities: (N, K) -> (N, K) that sum to 1; one of -inf is no neighbour."""
    if cosines.shape[1] == 0:
        return np.zeros(cosines.shape)
    scores = np.exp((cosines - cosines.max(axis=1, keepdims=True)) / temperature)
    probabilities: NDArray[np.float64] = scores / scores.sum(axis=1, keepdims=True)
    return probabilities
