"""Evaluations for tests, made of answers whose truth and true region are known."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from geomind.data.manifest import write_manifest
from geomind.evaluation.scoring import Evaluation, evaluate
from geomind.geography.regions import default_regions
from geomind.predictions import Prediction, write_predictions


def answered(path: str, place: tuple[float, float], truth: tuple[float, float], **more: Any) -> Prediction:
    """Answer a photo whose truth is known; a region is named as the table names it."""
    if "region_id" in more:
        more = {"region_name": default_regions()[more["region_id"]].name, **more}
    return Prediction(
        image_path=path, latitude=place[0], longitude=place[1], true_latitude=truth[0], true_longitude=truth[1], **more
    )


def evaluated(rows: Sequence[Prediction], *, regions: Sequence[int], folder: Path | None = None) -> Evaluation:
    """Evaluate answers by their own truth; the photos, and the two tables, are in the folder, or nowhere any more."""
    with contextlib.ExitStack() as stack:
        home = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        manifest = pd.DataFrame(
            {"image_path": [each.image_path for each in rows], "latitude": [each.true_latitude for each in rows],
             "longitude": [each.true_longitude for each in rows], "country": "", "region_id": list(regions),
             "group": "", "split": "test", "source": "test"}
        )  # fmt: skip
        write_manifest(manifest, home / "manifest.csv", overwrite=True)
        blind = [dataclasses.replace(each, true_latitude=None, true_longitude=None) for each in rows]
        write_predictions(blind, home / "predictions.csv", overwrite=True)
        return evaluate(home / "predictions.csv", home / "manifest.csv")
