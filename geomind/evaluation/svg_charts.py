"""Charts as SVG for a page that is light or dark: a map of places, a histogram, curves. It knows no inspection.

Unlike the pictures of ``plots.py`` these have no colours of their own: the page's style sheet gives them by class
(``sea``, ``land``, ``dot``, ``odd``, ``bar``, ``axis``, ``curve-0`` …), so that they change with its theme.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geomind.geography import places, robinson
from geomind.geography.sphere import Points

MAP_WIDTH = 1000.0
CURVES = 6
"""Curves that differ in colour; more repeat them."""

_CELL = 4.0
"""Side of the squares of the map whose photos become one dot."""

_DOT_SIZES = ((1, 2.6), (4, 3.6), (16, 4.8), (64, 6.2), (256, 7.8), (1024, 9.6))
"""From so many photos, a dot of this diameter, in thousandths of the map's width."""

_FEW = 1_000
_LARGER = 1.8
"""A map of fewer photos than ``_FEW`` has dots so many times larger."""

_CHART_WIDTH, _CHART_HEIGHT = 960.0, 260.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 10.0, 12.0, 24.0


def places_map(points: ArrayLike, odd: ArrayLike) -> str:
    """Draw a world map in the Robinson projection with a dot where photos are, larger where there are more.

    Args:
        points: (n, 2) degrees.
        odd: (n,) photos that are drawn apart, on top, because something is wrong with them.
    """
    points, odd = np.asarray(points, dtype=np.float64).reshape(-1, 2), np.asarray(odd, dtype=bool)
    edge = robinson.outline()
    low, high = edge.min(axis=0), edge.max(axis=0)
    scale = MAP_WIDTH / (high[0] - low[0])
    height = (high[1] - low[1]) * scale

    def place(line: Points) -> NDArray[np.float64]:
        placed: NDArray[np.float64] = (robinson.project(line) - (low[0], high[1])) * (scale, -scale)
        return placed

    globe = (edge - (low[0], high[1])) * (scale, -scale)
    along = np.linspace(-1, 1, 61)
    graticule = [np.stack([np.full(61, latitude), 180 * along], axis=1) for latitude in range(-60, 61, 30)]
    graticule += [np.stack([90 * along, np.full(61, longitude)], axis=1) for longitude in range(-150, 151, 30)]
    parts = [
        f'<svg class="map" viewBox="0 0 {MAP_WIDTH:g} {height:.0f}" role="img" '
        f'aria-label="Map of the world with {len(points):,} photos">',
        f'<path class="sea" d="{_path([globe], closed=True)}"/>',
        f'<path class="graticule" d="{_path(map(place, graticule))}"/>',
        f'<path class="land" d="{_path(map(place, places.land_rings()), closed=True, least=0.8)}"/>',
        f'<path class="border" d="{_path(map(place, places.borders()), least=0.8)}"/>',
    ]
    for name, chosen in (("dot", ~odd), ("odd", odd)):
        parts += _dots(place(points[chosen]), name, dot_sizes(len(points)))
    return "\n".join([*parts, "</svg>"])


def dot_sizes(photos: int) -> Sequence[tuple[int, float]]:
    """Give the dots of a map of so many photos: from so many at one place, a diameter."""
    larger = _LARGER if photos < _FEW else 1.0
    return [(least, round(larger * diameter, 1)) for least, diameter in _DOT_SIZES if least <= photos]


def distance_histogram(distance_km: ArrayLike, *, label: str) -> str:
    """Draw how many photos have which distance, on a logarithmic axis: (n,) km, 0 included, infinite ones left out."""
    distance = np.asarray(distance_km, dtype=np.float64)
    distance = distance[np.isfinite(distance)]
    tenths = np.arange(-20, 46, 2) / 10  # 10 m to 20,000 km, five bars a decade
    counts = np.histogram(np.log10(np.clip(distance[distance > 0], 0.01, 20_000)), bins=tenths)[0]
    values = [int((distance == 0).sum()), *counts.tolist()]
    top = max(*values, 1)
    # The photos at one position with another have no logarithm; they get a bar of their own, left of the axis.
    step = (_CHART_WIDTH - _LEFT - _RIGHT) / (len(values) + 1)
    parts = [*_frame(label), *_share_axis(top / max(len(distance), 1))]
    for number, value in enumerate(values):
        left = _LEFT + step * (number + (number > 0))
        tall = (_CHART_HEIGHT - _TOP - _BOTTOM) * value / top
        if value:
            parts.append(
                f'<rect class="bar" x="{left + 1:.1f}" y="{_CHART_HEIGHT - _BOTTOM - tall:.1f}" '
                f'width="{step - 2:.1f}" height="{tall:.1f}" rx="1.5"/>'
            )
    parts.append(_label(_LEFT + step / 2, _CHART_HEIGHT - _BOTTOM + 16, "0", "middle"))
    for power, text in ((-1, "100 m"), (0, "1 km"), (1, "10"), (2, "100"), (3, "1,000"), (4, "10,000 km")):
        x = _LEFT + step * (2 + (power + 2) * 5)
        parts.append(_label(x, _CHART_HEIGHT - _BOTTOM + 16, text, "middle"))
    return "\n".join([*parts, "</svg>"])


def distance_curves(curves: Mapping[str, NDArray[np.float64]], *, label: str, marks_km: Sequence[float] = ()) -> str:
    """Draw which share of the photos is within each distance, one curve a name: name -> (n,) km.

    Args:
        curves: The distances; the first ones are told apart by colour, in the order of ``curve-0``, ``curve-1`` …
        label: What the chart shows, for those who do not see it.
        marks_km: Distances with a line of their own.
    """
    low, high = math.log10(0.01), math.log10(20_000)

    def across(distance_km: NDArray[np.float64] | float) -> NDArray[np.float64]:
        share = (np.log10(np.clip(distance_km, 0.01, 20_000)) - low) / (high - low)
        return np.asarray(_LEFT + share * (_CHART_WIDTH - _LEFT - _RIGHT))

    def up(share: NDArray[np.float64]) -> NDArray[np.float64]:
        return _CHART_HEIGHT - _BOTTOM - share * (_CHART_HEIGHT - _TOP - _BOTTOM)

    parts = [*_frame(label), *_share_axis(1.0)]
    parts += [
        f'<path class="mark" d="M{float(across(mark)):.1f} {_TOP:g}V{_CHART_HEIGHT - _BOTTOM:g}"/>' for mark in marks_km
    ]
    for number, distance in enumerate(curves.values()):
        shares = np.linspace(0, 1, 201)
        x = across(np.quantile(distance, shares, method="inverted_cdf"))  # the distances themselves, as steps
        line = np.stack([x, up(shares)], axis=1)
        parts.append(f'<path class="curve curve-{number % CURVES}" d="{_path([line])}"/>')
    for power, text in ((-1, "100 m"), (0, "1 km"), (1, "10"), (2, "100"), (3, "1,000"), (4, "10,000 km")):
        parts.append(_label(float(across(10.0**power)), _CHART_HEIGHT - _BOTTOM + 16, text, "middle"))
    return "\n".join([*parts, "</svg>"])


def _dots(at: NDArray[np.float64], name: str, dots: Sequence[tuple[int, float]]) -> list[str]:
    """Draw points of the map as dots, those of one square as one: (n, 2)."""
    if len(at) == 0:
        return []
    _, member, photos = np.unique(np.floor(at / _CELL), axis=0, return_inverse=True, return_counts=True)
    middles = np.stack([np.bincount(member.ravel(), at[:, axis]) / photos for axis in (0, 1)], axis=1)
    parts = []
    sizes = np.searchsorted([least for least, _ in dots], photos, side="right") - 1
    for number in np.unique(sizes).tolist():
        drawn = middles[sizes == number]
        # A line of no length with round ends is a dot, in a quarter of a circle's characters.
        way = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in drawn.tolist())
        parts.append(f'<path class="{name}" stroke-width="{dots[number][1]:g}" d="{way}"/>')
    return parts


def _path(lines: Iterable[NDArray[np.float64]], *, closed: bool = False, least: float = 0.0) -> str:
    """Write lines as the data of one path; corners nearer than ``least`` to the one before are left out."""
    parts = []
    for line in lines:
        if least:
            if closed and np.ptp(line, axis=0).max() < least:
                continue
            line = line[_thinned(line, least)]
        if len(line) > 1:
            corners = "L".join(f"{x:.1f} {y:.1f}" for x, y in line.tolist())
            parts.append(f"M{corners}{'Z' if closed else ''}")
    return "".join(parts)


def _thinned(line: NDArray[np.float64], least: float) -> list[int]:
    kept = [0]
    for number in range(1, len(line)):
        if np.abs(line[number] - line[kept[-1]]).max() >= least or number == len(line) - 1:
            kept.append(number)
    return kept


def _frame(label: str) -> list[str]:
    box = f"0 0 {_CHART_WIDTH:g} {_CHART_HEIGHT:g}"
    return [f'<svg class="chart" viewBox="{box}" role="img" aria-label="{html.escape(label)}">']


def _share_axis(top: float) -> list[str]:
    """Draw four lines of equal share up to the top one."""
    parts = []
    for quarter in range(5):
        y = _CHART_HEIGHT - _BOTTOM - (_CHART_HEIGHT - _TOP - _BOTTOM) * quarter / 4
        parts.append(f'<path class="axis" d="M{_LEFT:g} {y:.1f}H{_CHART_WIDTH - _RIGHT:g}"/>')
        share = top * quarter / 4
        parts.append(_label(_LEFT - 6, y + 4, f"{share:.0%}" if share >= 0.1 or not quarter else f"{share:.1%}", "end"))
    return parts


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'
