"""Evaluations for tests, made of answers without a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geomind.evaluation.scoring import Evaluation, RegionMetrics
from geomind.geography.regions import NO_REGION, default_regions
from geomind.metrics import distances_km, score_photos
from geomind.predictions import Prediction


def answered(path: str, place: tuple[float, float], truth: tuple[float, float], **more: Any) -> Prediction:
    """Answer a photo whose truth is known; a region is named as the table names it."""
    if "region_id" in more:
        more = {"region_name": default_regions()[more["region_id"]].name, **more}
    return Prediction(
        image_path=path, latitude=place[0], longitude=place[1], true_latitude=truth[0], true_longitude=truth[1], **more
    )


def evaluated(rows: Sequence[Prediction], *, regions: Sequence[int], folder: Path | str = "nowhere") -> Evaluation:
    """Score answers whose true regions are known; a photo is in the folder, and its region's middle is the truth."""
    true = np.array(regions, dtype=np.int64)
    truth = np.array([each.truth for each in rows], dtype=np.float64)
    guesses = np.array([each.place or (np.nan, np.nan) for each in rows], dtype=np.float64)
    distance, floor = distances_km(truth, guesses), np.zeros(len(rows))
    routed = np.array([NO_REGION if each.region_id is None else each.region_id for each in rows])
    table = default_regions()

    def score(chosen: np.ndarray) -> Any:
        right = (routed == true)[chosen] if (routed != NO_REGION).any() else None
        return score_photos(distance[chosen], region_right=right, floor_km=floor[chosen])

    return Evaluation(
        metrics=score(np.ones(len(rows), dtype=bool)),
        regions=tuple(
            RegionMetrics(region_id, table[region_id].name, score(true == region_id))
            for region_id in np.unique(true).tolist()
        ),
        predictions=tuple(rows),
        distance_km=distance,
        oracle_km=None,
        floor_km=floor,
        true_regions=true,
        table=table,
        notes=("Region medians: made up.",),
        photos=tuple(Path(folder) / each.image_path for each in rows),
    )
