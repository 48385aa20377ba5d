"""One table of all rungs: for programs (CSV, JSON), for a page (Markdown), for a screen, and as a picture."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomind.compare.results import Rung
from geomind.evaluation.intervals import Difference, Interval, Resamples, difference, drawn_from
from geomind.evaluation.judging import Truth
from geomind.evaluation.plots import error_bands
from geomind.files import atomic_path
from geomind.metrics import THRESHOLDS_KM, geoscore

FILES = ("table.csv", "table.json", "intervals.csv", "differences.csv", "table.md", "errors.png")
"""What ``write_table`` leaves in the folder."""

SHARES = (
    *(f"within_{threshold}_km" for threshold in THRESHOLDS_KM),
    "country_accuracy",
    "region_accuracy",
    "city_accuracy",
    "on_sea",
)
"""Scores that are shares of all photos."""

MEASURES = ("geoscore", "median_km", "mean_km", *SHARES)
"""Scores with an interval."""

HEADINGS = {
    "geoscore": "GeoScore",
    "median_km": "median km",
    "mean_km": "mean km",
    **{f"within_{threshold}_km": f"< {threshold:,} km" for threshold in THRESHOLDS_KM},
    "country_accuracy": "country",
    "region_accuracy": "region",
    "city_accuracy": "town",
    "on_sea": "on the sea",
    "images_per_s": "photos/s",
    "parameters": "parameters",
    "train_seconds": "training s",
    "images_seen": "photos seen",
}
"""Key -> what a reader calls it."""


@dataclass(frozen=True)
class Summary:
    """One method over its seeds."""

    method: str
    seeds: int
    told_truth: bool
    scores: Mapping[str, Interval]
    """By the names of ``MEASURES``."""
    images_per_s: float | None
    parameters: int
    train_seconds: float
    images_seen: float


@dataclass(frozen=True)
class Pair:
    """Two methods on the same photos and the seeds that both have."""

    better: str
    other: str
    seeds: int
    gain: Difference


@dataclass(frozen=True)
class Comparison:
    """The whole table."""

    summaries: tuple[Summary, ...]
    pairs: tuple[Pair, ...]
    """Every two methods, the one of the higher GeoScore first."""
    photos: int
    note: str
    """How the intervals were made."""


def compare(rungs: Sequence[Rung], told: Collection[str], truth: Truth) -> Comparison:
    """Sum rungs up: one summary a method in the order of the rungs, and what each gains on each other.

    Args:
        rungs: All of the photos of ``truth``.
        told: Methods that are told something of the truth.
        truth: The photos.
    """
    of_method: dict[str, dict[int, Rung]] = {}
    for rung in rungs:
        of_method.setdefault(rung.key.method, {})[rung.key.seed] = rung
    resamples = Resamples(truth.clusters)
    summaries = [_sum_up(name, list(own.values()), name in told, resamples) for name, own in of_method.items()]
    ranked = sorted(summaries, key=lambda summary: -summary.scores["geoscore"].estimate)
    pairs = []
    for better, other in combinations((summary.method for summary in ranked), 2):
        if seeds := sorted(of_method[better].keys() & of_method[other].keys()):
            a, b = (_stack([of_method[name][seed] for seed in seeds], _distance) for name in (better, other))
            pairs.append(Pair(better, other, len(seeds), difference(a, b, resamples)))
    note = f"{drawn_from(truth.clusters, grouped=truth.grouped)}, and of the seeds."
    return Comparison(tuple(summaries), tuple(pairs), len(truth), note)


def write_table(rungs: Sequence[Rung], told: Collection[str], truth: Truth, folder: Path) -> Comparison:
    """Write the table in all its forms into a folder, replacing those that are there.

    Raises:
        OutputError: a file cannot be written.
    """
    comparison = compare(rungs, told, truth)
    rows = [rung.flat() for rung in rungs]
    _write_csv(folder / "table.csv", rows)
    with atomic_path(folder / "table.json") as temporary:
        temporary.write_text(json.dumps(rows, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    _write_csv(folder / "intervals.csv", [_flat_summary(summary) for summary in comparison.summaries])
    if comparison.pairs:
        _write_csv(folder / "differences.csv", [_flat_pair(pair) for pair in comparison.pairs])
    with atomic_path(folder / "table.md") as temporary:
        temporary.write_text(to_markdown(comparison), encoding="utf-8")
    curves = {
        summary.method: _stack([rung for rung in rungs if rung.key.method == summary.method], _distance)
        for summary in comparison.summaries
    }
    error_bands(curves, folder / "errors.png", dashed=told)
    return comparison


def to_markdown(comparison: Comparison) -> str:
    """Write the table and the differences from the best method as Markdown."""
    columns = ["method", "seeds", *HEADINGS.values()]
    lines = [f"{comparison.photos:,} test photos. {comparison.note}", "", *_markdown_head(columns)]
    lines += [_markdown_row(cells_of(summary)) for summary in comparison.summaries]
    if any(summary.told_truth for summary in comparison.summaries):
        lines += ["", "\\* is told something of the truth: a floor, and no competitor."]
    if best := gains_of_the_best(comparison):
        lines += ["", f"What {best[0].better} gains in GeoScore, photo by photo:", ""]
        lines += _markdown_head(["over", "mean", "median of the photos"])
        lines += [_markdown_row(gain_cells(pair)) for pair in best]
    return "\n".join(lines) + "\n"


def gains_of_the_best(comparison: Comparison) -> list[Pair]:
    """Give the differences of the best method that is told nothing from every other."""
    told = {summary.method for summary in comparison.summaries if summary.told_truth}
    fair = [summary for summary in comparison.summaries if not summary.told_truth]
    if not fair:
        return []
    best = max(fair, key=lambda summary: summary.scores["geoscore"].estimate).method
    return [pair for pair in comparison.pairs if pair.better == best and pair.other not in told]


def cells_of(summary: Summary) -> list[str]:
    """Write a summary as the cells of a row: the method, its seeds, and one for each of ``HEADINGS``."""
    scores = [_with_interval(name, summary.scores[name]) for name in MEASURES]
    speed = "" if summary.images_per_s is None else f"{summary.images_per_s:,.0f}"
    costs = [speed, f"{summary.parameters:,}", f"{summary.train_seconds:,.0f}", f"{summary.images_seen:,.0f}"]
    return [summary.method + " *" * summary.told_truth, str(summary.seeds), *scores, *costs]


def gain_cells(pair: Pair) -> list[str]:
    """Write what one method gains on another: the other, the mean and the median."""
    cells = (
        f"{each.estimate:+,.0f} ({each.low:+,.0f} … {each.high:+,.0f})" for each in (pair.gain.mean, pair.gain.median)
    )
    return [pair.other, *cells]


def _sum_up(name: str, rungs: Sequence[Rung], told_truth: bool, resamples: Resamples) -> Summary:
    distance = _stack(rungs, _distance)
    answered = np.isfinite(distance)
    scores = {
        "geoscore": resamples.mean(geoscore(distance)),
        "median_km": resamples.median(distance),
        "mean_km": resamples.ratio(np.where(answered, distance, 0.0), answered.astype(np.float64)),
    }
    for threshold in THRESHOLDS_KM:
        scores[f"within_{threshold}_km"] = resamples.mean((distance <= threshold).astype(np.float64))
    for key, flags in (
        ("country_accuracy", [rung.judged.country_right for rung in rungs]),
        ("region_accuracy", [rung.judged.region_right for rung in rungs]),
        ("city_accuracy", [rung.judged.city_right for rung in rungs]),
        ("on_sea", [rung.judged.on_sea for rung in rungs]),
    ):
        scores[key] = resamples.mean(np.stack(flags).astype(np.float64))
    speeds = [rung.costs.images_per_s for rung in rungs if rung.costs.images_per_s is not None]
    return Summary(
        method=name,
        seeds=len(rungs),
        told_truth=told_truth,
        scores=scores,
        images_per_s=float(np.mean(speeds)) if speeds else None,
        parameters=rungs[0].costs.parameters,
        train_seconds=float(np.mean([rung.costs.train_seconds for rung in rungs])),
        images_seen=float(np.mean([rung.costs.images_seen for rung in rungs])),
    )


def _distance(rung: Rung) -> NDArray[np.float64]:
    return rung.judged.distance_km


def _stack(rungs: Sequence[Rung], values: Callable[[Rung], NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.stack([values(rung) for rung in rungs])


def _flat_summary(summary: Summary) -> dict[str, Any]:
    row: dict[str, Any] = {"method": summary.method, "seeds": summary.seeds, "told_truth": summary.told_truth}
    for name in MEASURES:
        row |= _flat_interval(name, summary.scores[name])
    for name in ("images_per_s", "parameters", "train_seconds", "images_seen"):
        row[name] = getattr(summary, name)
    return row


def _flat_pair(pair: Pair) -> dict[str, Any]:
    row: dict[str, Any] = {"better": pair.better, "other": pair.other, "seeds": pair.seeds}
    return row | _flat_interval("mean", pair.gain.mean) | _flat_interval("median", pair.gain.median)


def _flat_interval(name: str, interval: Interval) -> dict[str, float | None]:
    values = {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _with_interval(name: str, interval: Interval) -> str:
    def write(value: float) -> str:
        if math.isinf(value):
            return "none"
        return f"{100 * value:.1f}" if name in SHARES else f"{value:,.0f}"

    low, high = write(interval.low), write(interval.high)
    estimate = write(interval.estimate) + "%" * (name in SHARES and math.isfinite(interval.estimate))
    return f"{estimate} ({low} … {high})"


def _markdown_head(columns: Sequence[str]) -> list[str]:
    return [_markdown_row(columns), _markdown_row(["---", *["---:"] * (len(columns) - 1)])]


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
