"""The photos of an evaluation that are worth a look: placed farthest off, and nearest. It writes figures, no page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geomind.evaluation import plots
from geomind.evaluation.html_page import cut_text, km_text, plain_text
from geomind.evaluation.scoring import Evaluation, RegionMetrics
from geomind.geography import places
from geomind.geography.sphere import Points
from geomind.progress import SILENT, Progress
from geomind.thumbnails import thumbnail_urls

SHOWN, SHOWN_A_REGION = 12, 6
"""Worst photos, and best photos, of the whole and of a region."""

MOST_THUMBNAILS = 400
THUMBNAIL_SIZE = (240, 160)
THUMBNAIL_BYTES = 10_000
"""No thumbnail is larger; one of noise is made coarser until it fits."""

LONGEST_PATH = 60


@dataclass(frozen=True)
class Extremes:
    """The photos of a page: those that were placed farthest off, the farthest first, and the nearest."""

    worst: list[int]
    best: list[int]


def choose_extremes(evaluation: Evaluation, paged: Sequence[RegionMetrics]) -> dict[int | None, Extremes]:
    """Choose answered photos for each page: region id, or ``None`` for the whole -> photos."""
    answered = np.isfinite(evaluation.distance_km)
    each = min(SHOWN_A_REGION, max((MOST_THUMBNAILS - 2 * SHOWN) // (2 * max(len(paged), 1)), 1))
    chosen: dict[int | None, Extremes] = {None: _extremes(evaluation, answered, SHOWN)}
    for region in paged:
        chosen[region.region_id] = _extremes(evaluation, answered & (evaluation.true_regions == region.region_id), each)
    return chosen


def _extremes(evaluation: Evaluation, chosen: NDArray[np.bool_], most: int) -> Extremes:
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(evaluation.distance_km[rows], kind="stable")]
    half = len(rows) // 2  # no photo is one of the best and of the worst
    return Extremes(worst=rows[::-1][: min(most, half)].tolist(), best=rows[: min(most, len(rows) - half)].tolist())


def photo_figures(
    evaluation: Evaluation,
    extremes: Mapping[int | None, Extremes],
    images_dir: Path | str | None,
    progress: Progress = SILENT,
) -> dict[int, str]:
    """Make the figure of every photo that some page shows: row -> HTML.

    Args:
        evaluation: What was measured.
        extremes: The photos of each page.
        images_dir: The folder that the predictions name photos in; without it, or where a photo is not there, the
            manifest says where it is.
        progress: Shows the thumbnails made.
    """
    rows = sorted({row for each in extremes.values() for row in (*each.worst, *each.best)})
    files = [_photo_file(evaluation, row, images_dir) for row in rows]
    urls = thumbnail_urls(files, THUMBNAIL_SIZE, most_bytes=THUMBNAIL_BYTES, progress=progress)
    taken, placed = _place_names(evaluation.truth[rows]), _place_names(evaluation.guesses[rows])
    bands = plots.error_band(evaluation.distance_km[rows])
    figures = {}
    for number, row in enumerate(rows):
        photo = evaluation.predictions[row]
        shown = (
            f'<img decoding="async" alt="" src="{urls[number]}">'
            if urls[number]
            else '<div class="blank">no picture</div>'
        )
        facts = [("taken", taken[number]), ("placed", placed[number])]
        if photo.region_name is not None and photo.region_probability is not None:
            facts.append(("region", f"{cut_text(photo.region_name)}, {photo.region_probability:.0%}"))
        if photo.radius_km_90 is not None:
            facts.append(("90% radius", km_text(photo.radius_km_90)))
        if photo.abstained is not None:
            facts.append(("abstains", cut_text(photo.abstained)))
        lines = "".join(f"<dt>{name}</dt><dd>{plain_text(said)}</dd>" for name, said in facts)
        figures[row] = (
            f'<figure>{shown}<figcaption><b class="band-{bands[number]}">{km_text(evaluation.distance_km[row])}</b>'
            f"<bdi>{plain_text(cut_text(photo.image_path, LONGEST_PATH))}</bdi>"
            f"<dl>{lines}</dl></figcaption></figure>"
        )
    return figures


def photo_sections(gallery: Mapping[int, str], shown: Extremes) -> str:
    """Write the figures of a page, those farthest off first: HTML."""
    parts = []
    for title, rows in (("Farthest off", shown.worst), ("Nearest", shown.best)):
        if rows:
            parts.append(f'<h2>{title}</h2><div class="photos">{"".join(gallery[row] for row in rows)}</div>')
    return "\n".join(parts)


def _photo_file(evaluation: Evaluation, row: int, images_dir: Path | str | None) -> Path:
    if images_dir is not None:
        named = Path(images_dir) / evaluation.predictions[row].image_path
        if os.path.isfile(named):  # noqa: PTH113  Path.is_file raises where a name is too long
            return named
    return evaluation.files[row]


def _place_names(points: Points) -> list[str]:
    """Name places by the nearest town and the country: (n, 2) degrees -> n."""
    if not len(points):
        return []
    codes = places.country_at(points)
    names = []
    for code, city in zip(codes.tolist(), places.city_at(points, codes).tolist(), strict=True):
        country = places.country_name(code) if code else "at sea"
        names.append(f"{city}, {country}" if city else country)
    return names
