"""Manifests for the tests of inspections: rows with what matters, the rest filled in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from geomind.data.inspection import Finding, Inspection, inspect_manifest
from geomind.data.manifest import write_manifest
from geomind.geography.regions import default_regions

PARIS, LYON, TOKYO, NAIROBI = (48.8566, 2.3522), (45.7640, 4.8357), (35.6762, 139.6503), (-1.2921, 36.8219)


def frame(*rows: dict[str, object]) -> pd.DataFrame:
    """Fill in what the rows of a manifest leave out."""
    blank = {"country": "", "region_id": pd.NA, "group": "", "split": "", "source": "test"}
    filled = [{"image_path": f"{number}.jpg"} | blank | row for number, row in enumerate(rows)]
    return pd.DataFrame(filled).astype({"latitude": float, "longitude": float, "region_id": "Int64"})


def at(place: tuple[float, float], **more: object) -> dict[str, object]:
    return {"latitude": place[0], "longitude": place[1], **more}


def inspected(path: Path, *rows: dict[str, object], open_files: bool = False, **options: object) -> Inspection:
    """Write a manifest and inspect it."""
    write_manifest(frame(*rows), path, overwrite=True)
    return inspect_manifest(path, regions=default_regions(), open_files=open_files, **options)  # type: ignore[arg-type]


def found(inspection: Inspection, check: str) -> Finding:
    return next(each for each in inspection.findings if each.check == check)


def scene(path: Path, seed: int, *, size: tuple[int, int] = (320, 240), quality: int = 90) -> Path:
    """Save a picture of soft patches of colour, another one for each seed."""
    patches = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(patches).resize((640, 480), Image.Resampling.BICUBIC).resize(size).save(path, quality=quality)
    return path
