"""Pictures of answers and regions: world maps, error distribution, confusion matrix. It judges nothing.

Each function draws one picture with matplotlib's objects, never its global state, and writes it whole or not at all.
The path's ending chooses the format: png, svg or pdf.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import shorten

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, Polygon
from matplotlib.path import Path as Outline
from numpy.typing import ArrayLike, NDArray

from geomind.evaluation.scoring import Evaluation
from geomind.evaluation.sureness import Held, Sureness, sureness
from geomind.files import atomic_path, refuse_existing
from geomind.geography import places, robinson
from geomind.geography.boxes import Box
from geomind.geography.regions import RegionTable
from geomind.geography.sphere import Points, geodesic_median, haversine_km, km_per_degree_east
from geomind.metrics import THRESHOLDS_KM, Distances, distances_km, geoscore, share_within
from geomind.uncertainty import Reliability

INK = "#26323d"
FAINT = "#8895a0"
GRID = "#e3e8ec"
SEA = "#eef2f5"
LAND = "#d9dcd5"
BANDS = (("#1a9e8f", 200.0), ("#7fb35a", 750.0), ("#e3a63b", 2500.0), ("#d1495b", math.inf))
"""Colour of an error up to so many km: right region, country, continent, and the rest."""
SERIES = ("#2b6cb0", "#d1495b", "#1a9e8f", "#e3a63b", "#7d5ba6", "#8895a0")
SHARES = LinearSegmentedColormap.from_list("shares", ["#ffffff", "#cfe3ea", "#5fa3bd", "#1f5f83", "#0f3450"])

PICTURES = ("map.png", "errors.png", "regions.png", "calibration.png", "risk_coverage.png")
"""What ``draw_evaluation`` makes: truth and guess, how far off, which region was taken for which; and where the rows
say how sure they are, whether that holds, and the error where only the surest answer.
"""

MOST_LINES = 800
"""More photos than this are drawn as a random sample, so that the map stays a map."""

MOST_DOTS = 20_000
"""The same for a map of regions, where a photo is one small dot."""

MOST_NAMES, NAMES_A_ROW = 40, 4
"""A map of more regions than this has colours only: their numbers and names would hide it."""


def draw_evaluation(evaluation: Evaluation, folder: Path | str, *, overwrite: bool = False) -> list[Path]:
    """Draw everything there is to see of an evaluation into a folder, each picture under its name of ``PICTURES``.

    Returns:
        The pictures. The last two need rows that say how sure they are, and are missing where none does;
        ``sureness(evaluation).lacking`` says what they lack.

    Raises:
        OutputError: a picture exists already and ``overwrite`` is false, or cannot be written.
    """
    pictures = [Path(folder) / name for name in PICTURES]
    for picture in pictures:
        refuse_existing(picture, overwrite=overwrite)
    world_map(evaluation.truth, evaluation.guesses, pictures[0])
    curves = {"end to end": evaluation.distance_km, "true region's middle": evaluation.floor_km}
    if evaluation.oracle_km is not None:
        curves["true region given"] = evaluation.oracle_km
    error_cdf(curves, pictures[1])
    confusion_matrix(evaluation.true_regions, evaluation.predicted_regions, evaluation.table.names, pictures[2])
    sure = sureness(evaluation)
    for picture in pictures[3:]:
        picture.unlink(missing_ok=True)  # that of an earlier evaluation would be taken for this one's
    if sure.reliabilities or sure.held:
        calibration(sure.reliabilities, sure.held, pictures[3])
    if sure.risks:
        risk_coverage_curves(sure, pictures[4])
    return [picture for picture in pictures if picture.exists()]


def error_band(distance_km: Distances) -> NDArray[np.int64]:
    """Find the colour of each distance: (n,) km -> (n,) numbers of ``BANDS``."""
    return np.searchsorted([up_to for _, up_to in BANDS], distance_km, side="left").astype(np.int64)


def world_map(truth: ArrayLike, guesses: ArrayLike, path: Path | str, *, title: str | None = None) -> None:
    """Draw where photos were taken, where they were placed, and the great circle between.

    Args:
        truth: (n, 2) degrees.
        guesses: (n, 2) degrees; NaN where there is no answer.
        path: where the picture goes.
        title: what the map shows; the number of photos, the median and GeoScore follow on a second line.

    Raises:
        ValueError: there are no photos.
        OutputError: the picture cannot be written.
    """
    truth, guesses = np.asarray(truth, dtype=np.float64), np.asarray(guesses, dtype=np.float64)
    distance = distances_km(truth, guesses)
    if not len(distance):
        raise ValueError("a map needs at least one photo")
    figure = Figure(figsize=(12, 7.35), dpi=150, facecolor="white")
    axes = figure.add_axes((0.02, 0.085, 0.96, 0.815))
    draw_globe(axes)

    answered = np.flatnonzero(np.isfinite(distance))
    drawn = np.sort(np.random.default_rng(0).permutation(answered)[:MOST_LINES])
    drawn = drawn[np.argsort(-distance[drawn], kind="stable")]  # short lines last, on top of long ones
    colours = [BANDS[band][0] for band in error_band(distance[drawn]).tolist()]
    lines, line_colours = [], []
    for i, colour in zip(drawn, colours, strict=True):
        pieces = [robinson.project(piece) for piece in robinson.great_circle(truth[i], guesses[i])]
        lines += pieces
        line_colours += [colour] * len(pieces)
    crowd = min(1.0, 250 / max(len(drawn), 1))
    axes.add_collection(
        LineCollection(lines, colors=line_colours, linewidths=0.5 + 0.4 * crowd, alpha=0.2 + 0.25 * crowd, zorder=4)
    )
    dots = 9 + 15 * crowd
    placed, taken = robinson.project(guesses[drawn]), robinson.project(truth[drawn])
    axes.scatter(placed[:, 0], placed[:, 1], s=dots, c=colours, linewidths=0.4, edgecolors="white", zorder=5)
    axes.scatter(taken[:, 0], taken[:, 1], s=dots * 0.55, c=INK, linewidths=0.4, edgecolors="white", zorder=6)

    _map_title(figure, title, distance, drawn=len(drawn))
    _map_legend(figure, distance)
    _save(figure, path)


def regions_map(
    table: RegionTable,
    path: Path | str,
    *,
    points: ArrayLike | None = None,
    boxes: Mapping[int, Box] | None = None,
    overwrite: bool = False,
) -> None:
    """Draw the land of each region in its colour, with its number at its middle.

    Args:
        table: the regions; land in none of them is grey.
        path: where the picture goes.
        points: (n, 2) degrees of photos, drawn as dots; a random sample of many.
        boxes: region id -> its box, drawn as an outline.
        overwrite: replace an existing picture.

    Raises:
        OutputError: the picture exists or cannot be written.
    """
    refuse_existing(path, overwrite=overwrite)
    listed = len(table) if len(table) <= MOST_NAMES else 0
    rows = math.ceil(listed / NAMES_A_ROW)
    height = 6.7 + 0.22 * rows
    figure = Figure(figsize=(12, height), dpi=150, facecolor="white")
    axes = figure.add_axes((0.02, (0.25 + 0.22 * rows) / height, 0.96, 5.93 / height))
    land = draw_globe(axes)
    colours = [_region_colour(region.id) for region in table.regions]

    step = 0.5  # degrees: two pixels
    edges = np.meshgrid(np.arange(-90, 90 + step, step), np.arange(-180, 180 + step, step), indexing="ij")
    corners = robinson.project(np.stack(edges, axis=-1))
    middles = np.stack([edges[0][:-1, :-1], edges[1][:-1, :-1]], axis=-1) + step / 2
    flat = middles.reshape(-1, 2)
    ids = table.region_ids(places.country_at(flat), flat)
    shown = np.ma.masked_less(ids.reshape(middles.shape[:2]), 0)
    filled = axes.pcolormesh(
        corners[..., 0],
        corners[..., 1],
        shown,
        cmap=ListedColormap(colours),
        vmin=-0.5,
        vmax=len(table) - 0.5,
        zorder=3,
    )
    filled.set_clip_path(land)
    borders = [robinson.project(line) for line in places.borders()]
    axes.add_collection(LineCollection(borders, colors="white", linewidths=0.4, zorder=3.5))

    land_here = flat[places.on_land(flat) & (flat[:, 0] > -60)]  # Antarctica is nobody's middle
    middles_of = dict(_middle_places(table, land_here, weights=km_per_degree_east(land_here[:, 0])))
    if points is not None:
        drawn = np.random.default_rng(0).permutation(np.asarray(points, dtype=np.float64))[:MOST_DOTS]
        dots = robinson.project(drawn)
        axes.scatter(dots[:, 0], dots[:, 1], s=1.2, c=INK, alpha=0.35, linewidths=0, zorder=4)
        middles_of |= dict(_middle_places(table, drawn))
    for region_id, box in (boxes or {}).items():
        lines = [robinson.project(side) for side in _box_sides(box)]
        axes.add_collection(LineCollection(lines, colors=[_darker(colours[region_id])], linewidths=1.1, zorder=5))
    for region_id, middle in middles_of.items() if listed else ():
        x, y = robinson.project(middle)
        axes.text(
            x, y, str(region_id), ha="center", va="center", fontsize=9, fontweight="bold", color=INK, zorder=6,
            bbox={"boxstyle": "round,pad=0.18", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )  # fmt: skip
    heading = f"{len(table)} regions: {table.name}"
    figure.text(0.5, 1 - 0.28 / height, heading, ha="center", va="center", fontsize=15, fontweight="bold", color=INK)
    handles = [
        Line2D(
            [], [], marker="s", linestyle="", markersize=7, color=colours[region.id], label=f"{region.id} {region.name}"
        )
        for region in table.regions[:listed]
    ]
    if handles:
        figure.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 0.01), ncols=NAMES_A_ROW, frameon=False,
                      fontsize=8.5, labelcolor=INK, handletextpad=0.3, columnspacing=1.4)  # fmt: skip
    _save(figure, path)


def error_cdf(
    curves: Mapping[str, Distances], path: Path | str, *, title: str = "Share of photos within a distance"
) -> None:
    """Draw which share of the photos is within each distance, one curve a name: name -> (n,) km, infinite for misses.

    Raises:
        OutputError: the picture cannot be written.
    """
    figure, axes = _distance_axes(title)
    for (name, distance), colour in zip(curves.items(), SERIES * len(curves), strict=False):
        x = np.sort(np.clip(distance[np.isfinite(distance)], _NEAREST, None))
        share = np.arange(1, len(x) + 1) / len(distance)
        median = float(np.median(distance))
        steps = np.array([(_NEAREST, 0.0), *zip(x, share, strict=True), (_FARTHEST, len(x) / len(distance))])
        axes.step(*steps.T, where="post", color=colour, linewidth=2, zorder=3, label=f"{name}: median {_km(median)}")
        if math.isfinite(median):
            axes.plot(max(median, _NEAREST), 0.5, "o", color=colour, markersize=5, markeredgecolor="white", zorder=4)
    axes.legend(loc="upper left", frameon=False, fontsize=9, labelcolor=INK)
    _save(figure, path)


def error_bands(
    curves: Mapping[str, NDArray[np.float64]],
    path: Path | str,
    *,
    dashed: Collection[str] = (),
    title: str = "Share of photos within a distance",
) -> None:
    """Draw the same for methods that were trained several times: the mean over seeds, and a band from least to most.

    Args:
        curves: name -> (seeds, n) km, infinite for misses.
        path: where the picture goes.
        dashed: names of those that are told something of the truth.
        title: what the picture shows.

    Raises:
        OutputError: the picture cannot be written.
    """
    figure, axes = _distance_axes(title)
    x = np.geomspace(_NEAREST, _FARTHEST, 400)
    colours = matplotlib.colormaps["tab20"].colors if len(curves) > len(SERIES) else SERIES  # type: ignore[attr-defined]
    for (name, distance), colour in zip(curves.items(), tuple(colours) * len(curves), strict=False):
        shares = np.stack([np.searchsorted(np.sort(row), x, side="right") / len(row) for row in distance])
        median = _km(float(np.median(distance, axis=1).mean()))
        style = "--" if name in dashed else "-"
        axes.plot(
            x, shares.mean(axis=0), style, color=colour, linewidth=1.7, zorder=3, label=f"{name}: median {median}"
        )
        axes.fill_between(x, shares.min(axis=0), shares.max(axis=0), color=colour, alpha=0.18, linewidth=0, zorder=2)
    axes.legend(loc="upper left", frameon=False, fontsize=8, labelcolor=INK)
    _save(figure, path)


_NEAREST, _FARTHEST = 0.5, 20_100.0
"""The ends of the axis of distances, km; what is nearer is drawn at its beginning."""


def _distance_axes(title: str) -> tuple[Figure, Axes]:
    """Make a picture with distances along a logarithmic axis and shares of photos up."""
    figure = Figure(figsize=(8, 5.2), dpi=150, facecolor="white")
    axes = figure.add_axes((0.085, 0.115, 0.89, 0.735))
    for threshold, name in zip(THRESHOLDS_KM, ("street", "city", "region", "country", "continent"), strict=True):
        axes.axvline(threshold, color=GRID, linewidth=1, zorder=1)
        axes.annotate(
            f"{name}\n{threshold:,} km", (threshold, 1.0), (0, 4), "data", "offset points",
            ha="center", va="bottom", fontsize=8, color=FAINT, linespacing=1.3,
        )  # fmt: skip
    axes.set(xscale="log", xlim=(_NEAREST, _FARTHEST), ylim=(0, 1), xlabel="distance to the truth, km")
    axes.set_xticks([1, 10, 100, 1000, 10_000], ["1", "10", "100", "1,000", "10,000"])
    _share_ticks(axes.set_yticks)
    axes.minorticks_off()
    _rest(axes)
    figure.text(0.085, 0.955, title, fontsize=12, fontweight="bold", color=INK, va="center")
    return figure, axes


def confusion_matrix(
    true: ArrayLike, predicted: ArrayLike, names: Sequence[str], path: Path | str, *, title: str = "Director"
) -> None:
    """Draw which region photos of each region were taken for; a row is a true region and adds up to 100%.

    Args:
        true: (n,) region ids.
        predicted: (n,) region ids, negative where there is no answer.
        names: the regions' names by id; regions without a photo are left out of the rows.
        path: where the picture goes.
        title: whose decisions they are; the share that is right follows.

    Raises:
        ValueError: there are no photos.
        OutputError: the picture cannot be written.
    """
    true, predicted = np.asarray(true), np.asarray(predicted)
    if not len(true):
        raise ValueError("a confusion matrix needs at least one photo")
    columns = [*names, *(["no answer"] if (predicted < 0).any() else [])]
    counts = np.zeros((len(names), len(columns)), dtype=np.int64)
    np.add.at(counts, (true, np.where(predicted < 0, len(names), predicted)), 1)
    rows = np.flatnonzero(counts.sum(axis=1))
    shares = counts[rows] / counts[rows].sum(axis=1, keepdims=True)

    cell = min(0.5, 16 / len(columns))  # inches; a matrix of a thousand regions still fits a page
    width, height = 3.4 + cell * len(columns), 2.75 + cell * len(rows)
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    axes = figure.add_axes((2.75 / width, 1.9 / height, cell * len(columns) / width, cell * len(rows) / height))
    axes.imshow(shares, cmap=SHARES, vmin=0, vmax=1, aspect="auto")
    if cell > 0.3:  # smaller cells hold no digits
        for row, column in np.argwhere(shares >= 0.005):
            share = shares[row, column]
            axes.text(
                column, row, f"{share:.0%}".rstrip("%"), ha="center", va="center", fontsize=8,
                color="white" if share > 0.45 else INK,
            )  # fmt: skip
        axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
    every = math.ceil(0.14 / cell)  # where rows are lower than a line of text, some of them are named
    columns_named, rows_named = range(0, len(columns), every), range(0, len(rows), every)
    names_of_rows = [f"{names[int(rows[i])]}  {counts[rows[i]].sum():,}" for i in rows_named]
    axes.set_xticks(columns_named, [columns[i] for i in columns_named], rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(rows_named, names_of_rows)
    axes.tick_params(which="both", length=0, labelcolor=INK, labelsize=8)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("answered", color=FAINT, fontsize=9)
    axes.set_ylabel("true region, photos", color=FAINT, fontsize=9)
    heading = f"{title}: {np.mean(true == predicted):.1%} of {len(true):,} photos in the right region"
    figure.text(0.3 / width, 1 - 0.35 / height, heading, fontsize=11, fontweight="bold", color=INK, va="center")
    figure.text(0.3 / width, 1 - 0.62 / height, "% of the true region's photos", fontsize=9, color=FAINT, va="center")
    _save(figure, path)


def calibration(reliabilities: Mapping[str, Reliability], held: Sequence[Held], path: Path | str) -> None:
    """Draw how often answers are right by the probability they give themselves, and what their radii hold.

    Args:
        reliabilities: what was probable -> how often it was so; larger dots are more answers.
        held: what the radii hold, of some groups of photos, those of all first; the lines are the promises. Of more
            than ``MOST_NAMES`` groups, those with the most photos are drawn.
        path: where the picture goes.

    Raises:
        OutputError: the picture cannot be written.
    """
    largest = sorted(held, key=lambda each: -each.radii.count)[:MOST_NAMES]
    held = [each for each in held if each in largest]
    rows = len(held)
    height = max(5.4, 1.9 + 0.27 * rows)
    figure = Figure(figsize=(12 if rows else 6, height), dpi=150, facecolor="white")
    width = 0.4 if rows else 0.84
    axes = figure.add_axes((0.055 if rows else 0.11, 0.6 / height, width, (height - 1.35) / height))
    axes.plot([0, 1], [0, 1], "--", color=FAINT, linewidth=1, zorder=1)
    for (name, each), colour in zip(reliabilities.items(), SERIES * len(reliabilities), strict=False):
        label = f"{name}: expected calibration error {each.ece:.3f}"
        axes.plot(each.confidence, each.accuracy, color=colour, linewidth=1.6, zorder=3, label=label)
        sizes = 12 + 160 * each.count / each.count.max()
        axes.scatter(
            each.confidence, each.accuracy, s=sizes, color=colour, linewidths=0.6, edgecolors="white", zorder=4
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="probability given", ylabel="share that was so")
    _share_ticks(axes.set_xticks, axes.set_yticks)
    _rest(axes, grid=True)
    if reliabilities:
        axes.legend(loc="upper left", frameon=False, fontsize=8.5, labelcolor=INK)
    figure.text(0.055 if rows else 0.11, 1 - 0.35 / height, "Calibration", fontsize=12, fontweight="bold", color=INK,
                va="center")  # fmt: skip
    if rows:
        _draw_held(figure, held, height)
    _save(figure, path)


def _draw_held(figure: Figure, held: Sequence[Held], height: float) -> None:
    """Draw a line for each group of photos, with a dot for the share that each radius holds."""
    axes = figure.add_axes((0.68, 0.6 / height, 0.29, (height - 1.35) / height))
    up = np.arange(len(held))[::-1]
    for number, level in enumerate((50, 90)):
        axes.axvline(level / 100, color=SERIES[number], linewidth=1, linestyle="--", alpha=0.6, zorder=1)
        shares = np.array([getattr(each.radii, f"coverage_{level}") for each in held], dtype=np.float64)
        axes.scatter(shares, up, s=34, color=SERIES[number], label=f"{level}% radius", linewidths=0, zorder=3)
    axes.hlines(up, 0, 1, color=GRID, linewidth=1, zorder=0)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.7, len(held) - 0.3), xlabel="share of the truths within it")
    _share_ticks(axes.set_xticks)
    axes.set_yticks(up, [f"{shorten(each.name, 28, placeholder=' …')}  {each.radii.count:,}" for each in held])
    _rest(axes)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.spines[["left"]].set_visible(False)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False, fontsize=8.5, labelcolor=INK)
    figure.text(0.52, 1 - 0.35 / height, "What the radii hold", fontsize=12, fontweight="bold", color=INK, va="center")


def risk_coverage_curves(sure: Sureness, path: Path | str) -> None:
    """Draw the median error where only the surest answers are given, by each order, and what no order can better.

    Raises:
        OutputError: the picture cannot be written.
    """
    figure = Figure(figsize=(8, 5.2), dpi=150, facecolor="white")
    axes = figure.add_axes((0.1, 0.115, 0.875, 0.77))
    colours = dict(zip(sure.risks, SERIES * len(sure.risks), strict=False))
    for name, (share, km) in sure.curves.items():
        known = sure.risks.get(name, sure.ideal)
        area = "" if known is None else f": {_km(known.area_km)} on average"
        style = {"color": colours[name], "linewidth": 2.0} if name in colours else {"color": FAINT, "linestyle": "--"}
        axes.plot(share, km, label=f"{name if name not in colours else 'by ' + name}{area}", zorder=3, **style)
    axes.set(xlim=(0, 1), xlabel="share of the answers that are given, the surest first", ylabel="median distance, km")
    axes.set_ylim(bottom=0)
    _share_ticks(axes.set_xticks)
    axes.yaxis.set_major_formatter("{x:,.4g}")
    _rest(axes, grid=True)
    axes.legend(loc="lower right", frameon=False, fontsize=9, labelcolor=INK)
    figure.text(0.1, 0.955, "Answering only the surest", fontsize=12, fontweight="bold", color=INK, va="center")
    _save(figure, path)


def _share_ticks(*set_ticks: Callable[[ArrayLike, list[str]], object]) -> None:
    for each in set_ticks:
        each(np.linspace(0, 1, 5), ["0%", "25%", "50%", "75%", "100%"])


# ── parts of the map ─────────────────────────────────────────────────────────────────────────────────────────────────


def draw_globe(axes: Axes) -> PathPatch:
    """Draw sea, graticule and land, and hide the axes; give the land."""
    edge = robinson.outline()
    globe = Polygon(edge, facecolor=SEA, edgecolor="none", zorder=1)
    axes.add_patch(globe)
    along = np.linspace(-1, 1, 181)
    parallels = [np.stack([np.full(181, latitude), 180 * along], 1) for latitude in range(-60, 61, 30)]
    meridians = [np.stack([90 * along, np.full(181, longitude)], 1) for longitude in range(-150, 151, 30)]
    graticule = [robinson.project(line) for line in (*parallels, *meridians)]
    axes.add_collection(LineCollection(graticule, colors="white", linewidths=0.7, zorder=2))
    # One path of all rings: the fill leaves lakes out, whose rings turn the other way.
    land = Outline.make_compound_path(*(Outline(robinson.project(ring), closed=True) for ring in places.land_rings()))
    drawn = PathPatch(land, facecolor=LAND, edgecolor="none", zorder=3)
    axes.add_patch(drawn)
    lines = [robinson.project(line) for line in places.borders()]
    axes.add_collection(LineCollection(lines, colors="white", linewidths=0.4, zorder=3))
    axes.set(xlim=(edge[:, 0].min(), edge[:, 0].max()), ylim=(edge[:, 1].min(), edge[:, 1].max()), aspect="equal")
    axes.set_axis_off()
    return drawn


def _box_sides(box: Box) -> Iterator[Points]:
    """Give the outline of a box as lines of (k, 2) degrees on the map, cut at the date line."""
    for turn in (0.0, -360.0):  # what lies past 180 is drawn at the west end of the map
        west, east = box.lon_min + turn, box.lon_max + turn
        left, right = max(west, -180.0), min(east, 180.0)
        if left >= right:
            continue
        along, up = np.linspace(left, right, 181), np.linspace(box.lat_min, box.lat_max, 91)
        for latitude in (box.lat_min, box.lat_max):
            yield np.stack([np.full(181, latitude), along], axis=1)
        for longitude in (west, east):
            if -180 <= longitude <= 180:
                yield np.stack([up, np.full(91, longitude)], axis=1)


def _middle_places(
    table: RegionTable, points: Points, weights: NDArray[np.float64] | None = None
) -> Iterator[tuple[int, Points]]:
    """Find for each region the place that is nearest to the median of its places: (n, 2) -> region id, (2,) degrees."""
    ids = table.region_ids(places.country_at(points), points)
    for region_id in np.unique(ids[ids >= 0]).tolist():
        here = np.random.default_rng(0).permutation(np.flatnonzero(ids == region_id))[:1000]
        median = geodesic_median(points[here], None if weights is None else weights[here])
        yield region_id, points[here][np.argmin(haversine_km(points[here], median))]


def _region_colour(region_id: int) -> tuple[float, float, float]:
    """Give a region a colour unlike its neighbours' in the table: hues a golden section apart, in three tones."""
    saturation, value = ((0.42, 0.86), (0.55, 0.72), (0.30, 0.92))[region_id % 3]
    return colorsys.hsv_to_rgb((0.56 + region_id * 0.618034) % 1, saturation, value)


def _darker(colour: tuple[float, float, float]) -> tuple[float, ...]:
    return tuple(0.6 * part for part in colour)


def _map_title(figure: Figure, title: str | None, distance: Distances, *, drawn: int) -> None:
    misses = int(np.isinf(distance).sum())
    facts = [
        f"{len(distance):,} photos",
        f"median {_km(float(np.median(distance)))}",
        f"GeoScore {geoscore(distance).mean():,.0f} of 5,000",
    ]
    facts += [f"{misses:,} without an answer"] if misses else []
    facts += [f"{drawn:,} drawn"] if drawn < len(distance) - misses else []
    heading = title or "Where the photos were taken, and where they were placed"
    figure.text(0.5, 0.962, heading, ha="center", va="center", fontsize=15, fontweight="bold", color=INK)
    figure.text(0.5, 0.922, "  ·  ".join(facts), ha="center", va="center", fontsize=10.5, color=FAINT)


def _map_legend(figure: Figure, distance: Distances) -> None:
    handles = [Line2D([], [], marker="o", color=INK, linestyle="", markersize=4.5, label="truth")]
    below = 0.0
    for colour, up_to in BANDS:
        share = share_within(distance, up_to) - below
        below += share
        if math.isinf(up_to):
            share, name = float(np.mean(np.isfinite(distance) & (distance > BANDS[-2][1]))), "farther"
        else:
            name = f"guess within {up_to:,.0f} km"
        label = f"{name}  {share:.0%}"
        handles.append(Line2D([], [], marker="o", color=colour, linewidth=1.4, markersize=5.5, label=label))
    figure.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 0.012), ncols=len(handles), frameon=False,
                  fontsize=9.5, labelcolor=INK, handletextpad=0.6, columnspacing=2.2)  # fmt: skip


# ── parts of every picture ───────────────────────────────────────────────────────────────────────────────────────────


def _rest(axes: Axes, *, grid: bool = False) -> None:
    """Take away what a reader does not need."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(color=GRID, labelcolor=FAINT, labelsize=8.5)
    axes.xaxis.label.set(color=FAINT, fontsize=9)
    axes.yaxis.label.set(color=FAINT, fontsize=9)
    if grid:
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)


def _km(distance_km: float) -> str:
    if math.isinf(distance_km):
        return "no answer"
    return f"{distance_km:.1f} km" if distance_km < 10 else f"{distance_km:,.0f} km"


def _save(figure: Figure, path: Path | str) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
