"""Which region the trained Director sends each training photo to, and so which photos an Expert may meet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from geomind.director import Director
from geomind.progress import SILENT, Progress
from geomind.training.features import FeatureCache

UNREADABLE = -1
"""In place of a region id, where a photo cannot be read."""


def route(
    director: Director,
    paths: Sequence[Path],
    features: Path | str,
    *,
    workers: int = 2,
    progress: Progress = SILENT,
) -> NDArray[np.int64]:
    """Ask the Director for the most probable region of each photo: (n,) region ids, or ``UNREADABLE``.

    Photos go through the Director's trunk once, however many Experts are trained one after the other.

    Args:
        director: The trained one.
        paths: The n photos.
        features: The folder that keeps features.
        workers: Threads that read and decode.
        progress: Shows photos done.

    Raises:
        OutputError: the folder cannot be written.
    """
    about, network = director.description, director.network
    cache = FeatureCache(features, about.backbone, network.backbone, about.preprocessing)
    rows, read = cache.features(paths, workers=workers, progress=progress)
    with torch.inference_mode():
        device = next(network.head.parameters()).device
        regions = network.head(torch.from_numpy(rows).to(device)).argmax(dim=1).cpu().numpy()
    return np.where(read, regions, UNREADABLE)


def rows_of_expert(region_ids: NDArray[np.int64], routed: NDArray[np.int64], region_id: int) -> NDArray[np.bool_]:
    """Say which photos an Expert learns from: its region's, and others that the Director sends to it.

    Args:
        region_ids: (n,) the region where each photo was taken.
        routed: (n,) the region where the Director sends it.
        region_id: The Expert's.
    """
    rows: NDArray[np.bool_] = (region_ids == region_id) | (routed == region_id)
    return rows
