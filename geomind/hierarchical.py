"""The hierarchical network: pixels -> country, region, city, and the place in it. One network, and no routing.

Its countries, regions and cities are cells (``geomind.geography.cells``), whatever it was told to call them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geomind.checkpoints import load_checkpoint, load_network
from geomind.decoding import Candidates, best_places, distinct_places, spread_km
from geomind.errors import ConfigError
from geomind.geography.cell_code import CellCode
from geomind.heads import PlaceHead
from geomind.predictions import CANDIDATE_COLUMNS, CELL_COLUMNS, Prediction, candidates_text, name_places
from geomind.runtimes import Network, Precision, Runtime, open_network

if TYPE_CHECKING:
    import torch

    from geomind.networks import WithFeatures


class Hierarchical:
    """A trained hierarchical network, which answers photos as a cascade does.

    Attributes:
        regions: The table of regions whose ids its answers carry.
        preprocessing: How photos become pixels.
        extra_columns: What its predictions say beside those of others.
    """

    def __init__(self, run: Network, head: PlaceHead, *, candidates: int = 0, views: int = 1) -> None:
        """Join an encoder, which gives features, and the head that answers from them.

        Args:
            run: Pixels -> its answer, and (N, features).
            head: Features -> logits and offsets of cells.
            candidates: How many places each answer names.
            views: Squares of each photo that are looked at; 1 is the central one.
        """
        assert head.code is not None
        self.memory_mb = run.memory_mb
        self.regions = head.description.regions
        self.preprocessing = head.description.preprocessing.model_copy(update={"views": views})
        self._run, self._head, self._code, self._named = run, head, head.code, candidates
        self._levels = tuple(level.name for level in self._code.tree.levels)
        columns = tuple(name for name in CELL_COLUMNS if name.partition("_cell")[0] in self._levels)
        self.extra_columns = columns + (CANDIDATE_COLUMNS if candidates else ())

    @classmethod
    def load(
        cls,
        path: Path | str,
        device: str | torch.device = "cpu",
        *,
        runtime: Runtime = "torch",
        precision: Precision = "fp32",
        threads: int | None = None,
        candidates: int = 0,
        views: int = 1,
    ) -> Hierarchical:
        """Load a hierarchical network from its weights file.

        Args:
            path: The weights file.
            device: Where it runs.
            runtime: Who runs it.
            precision: What its encoder counts in.
            threads: Cores it uses; None for all.
            candidates: How many places each answer names.
            views: Squares of each photo that are looked at.

        Raises:
            CheckpointError: the file is missing, broken, or no hierarchical network's.
            ConfigError: the runtime cannot do this, or int8 is asked for.
            MissingExtraError: the runtime is not installed.
        """
        if precision == "int8":
            raise ConfigError("int8 is for cascades: `geomind export` makes it of a Director and Experts. Take bf16.")
        head = PlaceHead.load(path, "hierarchical")
        run = open_network(
            path,
            lambda: load_hierarchical_network(path),
            runtime=runtime,
            precision=precision,
            threads=threads,
            device=device,
        )
        return cls(run, head, candidates=candidates, views=views)

    def locate(self, pixels: NDArray[np.float32], image_paths: Sequence[str]) -> list[Prediction]:
        """Answer where photos were taken: the best place, and the cells at every level that it lies in."""
        views = self.preprocessing.views
        outputs = self._head.outputs(self._run(pixels.reshape(-1, *pixels.shape[-3:]))[1])
        of_view = self._code.probabilities(outputs)
        candidates = Candidates(of_view, self._code.places(outputs)).of_views(views)
        shares = of_view.reshape(len(pixels), views, -1).mean(axis=1)
        places, best = best_places(candidates)
        named = distinct_places(candidates, self._named)
        spread = spread_km(candidates, places)
        cells = _cells(self._code, shares, best % shares.shape[1])
        return self._with_regions(
            [
                Prediction(
                    image_path=image_path,
                    latitude=float(latitude),
                    longitude=float(longitude),
                    candidates=candidates_text(named.of_photo(photo)) if self._named else None,
                    spread_km=float(spread[photo]),
                    **cells[photo],
                )
                for photo, (image_path, (latitude, longitude)) in enumerate(zip(image_paths, places, strict=True))
            ]
        )

    def _with_regions(self, predictions: list[Prediction]) -> list[Prediction]:
        """Name the places, and say which region of the table each lies in."""
        named = name_places(predictions)
        ids = self.regions.region_ids([each.country or "" for each in named], np.array([each.place for each in named]))
        return [
            dataclasses.replace(each, region_id=region_id, region_name=self.regions[region_id].name)
            for each, region_id in zip(named, ids.tolist(), strict=True)
        ]


def _cells(code: CellCode, shares: NDArray[np.float64], best: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Give the columns of the cells that the best finest cells (N,) lie in, for each photo."""
    rows: list[dict[str, Any]] = [{} for _ in best]
    photos = np.arange(len(best))
    for number, level in enumerate(code.tree.levels):
        chosen = code.tree.chains[best, number]
        probability = code.of_level(shares, number)[photos, chosen]
        for row, cell, share in zip(rows, chosen.tolist(), probability.tolist(), strict=True):
            row[f"{level.name}_cell"] = level.names[cell] or str(cell)
            row[f"{level.name}_cell_probability"] = min(share, 1.0)
    return rows


def load_hierarchical_network(path: Path | str) -> WithFeatures:
    """Make a hierarchical network's torch module from its weights file.

    Raises:
        CheckpointError: the file is missing, broken, or no hierarchical network's.
    """
    from geomind.networks import CellsNetwork, WithFeatures

    state, description = load_checkpoint(path, "hierarchical")
    network = CellsNetwork(
        description.backbone,
        description.preprocessing.image_size,
        description.cell_code.sizes,
        pooling=description.pooling,
    )
    load_network(network, state, path)
    return WithFeatures(network)
