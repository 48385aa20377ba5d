"""Charts as SVG for a page that is light or dark: maps, a histogram, curves. It knows no inspection or evaluation.

Unlike the pictures of ``plots.py`` these have no colours of their own: the page's style sheet gives them by class
(``sea``, ``land``, ``dot``, ``odd``, ``bar``, ``axis``, ``curve-0`` …), so that they change with its theme.
"""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Frame:
    """The size of a chart and the room around what it shows, in its own units."""

    width: float
    height: float
    left: float = 44.0
    right: float = 10.0
    top: float = 12.0
    bottom: float = 24.0

    @property
    def floor(self) -> float:
        """Where the axis along the bottom is."""
        return self.height - self.bottom

    def across(self, share: ArrayLike) -> NDArray[np.float64]:
        """Place shares of the way from left to right: (n,) -> (n,) x."""
        return self.left + np.asarray(share, dtype=np.float64) * (self.width - self.left - self.right)

    def up(self, share: ArrayLike) -> NDArray[np.float64]:
        """Place shares of the way from bottom to top: (n,) -> (n,) y."""
        return self.floor - np.asarray(share, dtype=np.float64) * (self.floor - self.top)


WIDE = Frame(960.0, 260.0)
"""As wide as the page."""

HALF = Frame(520.0, 320.0, left=58.0, right=28.0, bottom=48.0)
"""Two stand side by side, and have room for the name of each axis."""


def places_map(points: ArrayLike, odd: ArrayLike) -> str:
    """Draw a world map in the Robinson projection with a dot where photos are, larger where there are more.

    Args:
        points: (n, 2) degrees.
        odd: (n,) photos that are drawn apart, on top, because something is wrong with them.
    """
    points, odd = np.asarray(points, dtype=np.float64).reshape(-1, 2), np.asarray(odd, dtype=bool)
    parts = [
        f'<svg class="map" viewBox="0 0 {MAP_WIDTH:g} {_MAP_HEIGHT:.0f}" role="img" '
        f'aria-label="Map of the world with {len(points):,} photos">',
        *_globe(least=0.8),
    ]
    for name, chosen in (("dot", ~odd), ("odd", odd)):
        parts += _dots(_place(points[chosen]), name, dot_sizes(len(points)))
    return "\n".join([*parts, "</svg>"])


def world_symbol() -> str:
    """Give the sea and the land once for all maps of a page that are drawn by ``answers_map``; it takes no room."""
    return "\n".join(['<svg class="symbols" aria-hidden="true"><g id="world">', *_globe(least=0.35), "</g></svg>"])


def answers_map(
    truth: ArrayLike, guesses: ArrayLike, bands: ArrayLike, *, label: str, view: ArrayLike | None = None
) -> str:
    """Draw where photos were taken, where they were placed, and the great circle between, on ``world_symbol``.

    Args:
        truth: (n, 2) degrees.
        guesses: (n, 2) degrees.
        bands: (n,) which colour each has, 0 the nearest; the nearest are on top.
        label: What the map shows, for those who do not see it.
        view: (k, 2) degrees of places that must be seen; the whole world where it is left out.
    """
    truth, guesses = (np.asarray(points, dtype=np.float64).reshape(-1, 2) for points in (truth, guesses))
    band_of = np.asarray(bands, dtype=np.int64)
    box = (0.0, 0.0, MAP_WIDTH, _MAP_HEIGHT) if view is None else _view(np.asarray(view, dtype=np.float64))
    parts = [
        f'<svg class="map" viewBox="{" ".join(f"{each:.0f}" for each in box)}" role="img" '
        f'aria-label="{html.escape(label)}"><use href="#world"/>'
    ]
    farthest_first = np.unique(band_of)[::-1].tolist()
    for band in farthest_first:
        lines = [
            _place(piece)
            for i in np.flatnonzero(band_of == band).tolist()
            for piece in robinson.great_circle(truth[i], guesses[i], step_degrees=3)
        ]
        parts.append(f'<path class="way band-{band}" d="{_path(lines, least=1.0)}"/>')
    parts += [
        f'<path class="guess band-{band}" d="{_points(_place(guesses[band_of == band]))}"/>' for band in farthest_first
    ]
    return "\n".join([*parts, f'<path class="truth" d="{_points(_place(truth))}"/></svg>'])


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
    step = (WIDE.width - WIDE.left - WIDE.right) / (len(values) + 1)
    parts = [*_open(WIDE, label), *_share_axis(WIDE, top / max(len(distance), 1))]
    for number, value in enumerate(values):
        left = WIDE.left + step * (number + (number > 0))
        tall = (WIDE.floor - WIDE.top) * value / top
        if value:
            parts.append(
                f'<rect class="bar" x="{left + 1:.1f}" y="{WIDE.floor - tall:.1f}" '
                f'width="{step - 2:.1f}" height="{tall:.1f}" rx="1.5"/>'
            )
    parts.append(_label(WIDE.left + step / 2, WIDE.floor + 16, "0", "middle"))
    for power, text in ((-1, "100 m"), (0, "1 km"), (1, "10"), (2, "100"), (3, "1,000"), (4, "10,000 km")):
        x = WIDE.left + step * (2 + (power + 2) * 5)
        parts.append(_label(x, WIDE.floor + 16, text, "middle"))
    return "\n".join([*parts, "</svg>"])


def distance_curves(
    curves: Mapping[str, NDArray[np.float64]],
    *,
    label: str,
    marks_km: Sequence[float] = (),
    least_km: float = 0.01,
    frame: Frame = WIDE,
    across_title: str = "",
) -> str:
    """Draw which share of the photos is within each distance, one curve a name: name -> (n,) km, infinite for misses.

    Args:
        curves: The distances; the first ones are told apart by colour, in the order of ``curve-0``, ``curve-1`` …
        label: What the chart shows, for those who do not see it.
        marks_km: Distances with a line of their own.
        least_km: Where the axis begins; what is nearer is drawn there.
        frame: The size.
        across_title: What the distances are, below the axis; ``HALF`` has room for it.
    """
    low, high = math.log10(least_km), math.log10(20_000)

    def across(distance_km: ArrayLike) -> NDArray[np.float64]:
        return frame.across((np.log10(np.clip(distance_km, least_km, 20_000)) - low) / (high - low))

    parts = [*_open(frame, label), *_share_axis(frame, 1.0)]
    parts += [f'<path class="mark" d="M{float(across(mark)):.1f} {frame.top:g}V{frame.floor:g}"/>' for mark in marks_km]
    for number, distance in enumerate(curves.values()):
        known = distance[np.isfinite(distance)]
        if not len(known):
            continue
        shares = np.linspace(0, 1, 201)
        x = across(np.quantile(known, shares, method="inverted_cdf"))  # the distances themselves, as steps
        line = np.stack([x, frame.up(shares * len(known) / len(distance))], axis=1)
        line = np.vstack([line, [frame.width - frame.right, line[-1, 1]]])
        parts.append(f'<path class="curve curve-{number % CURVES}" d="{_path([line])}"/>')
    for power, text in ((-1, "100 m"), (0, "1 km"), (1, "10"), (2, "100"), (3, "1,000"), (4, "10,000 km")):
        if 10.0**power >= least_km:
            parts.append(_label(float(across(10.0**power)), frame.floor + 17, text, "middle"))
    if across_title:
        parts.append(_label(frame.width - frame.right, frame.height - 5, across_title, "end"))
    return "\n".join([*parts, "</svg>"])


def agreement_chart(
    curves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]],
    *,
    label: str,
    across: str,
    up: str,
) -> str:
    """Draw what was promised against what came: on the diagonal both are the same.

    Args:
        curves: Name -> promised shares, shares that came, and how many answers each stands for: (n,), (n,), (n,).
        label: What the chart shows, for those who do not see it.
        across: What the promise is of, below the axis.
        up: What came, above the axis.
    """
    parts = [*_open(HALF, label), *_share_axis(HALF, 1.0), *_shares_below(HALF, across), _above(HALF, up)]
    left, right = HALF.across([0.0, 1.0]).tolist()
    parts.append(f'<path class="mark" d="M{left:.1f} {HALF.floor:.1f}L{right:.1f} {HALF.top:.1f}"/>')
    for number, (promised, came, count) in enumerate(curves.values()):
        at = np.stack([HALF.across(promised), HALF.up(came)], axis=1)
        parts.append(f'<path class="curve curve-{number % CURVES}" d="{_path([at])}"/>')
        sizes = 5 + 15 * np.sqrt(count / max(count.max(), 1))  # the area is as the number of answers
        parts += [
            f'<path class="bin curve-{number % CURVES}" stroke-width="{size:.1f}" d="M{x:.1f} {y:.1f}h0"/>'
            for (x, y), size in zip(at.tolist(), sizes.tolist(), strict=True)
        ]
    return "\n".join([*parts, "</svg>"])


def falling_chart(
    curves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    *,
    label: str,
    across: str,
    up: str,
    dashed: Collection[str] = (),
) -> str:
    """Draw distances over shares, one curve a name, on axes that begin at 0.

    Args:
        curves: Name -> shares, rising, and the distance at each: (n,), (n,) km. At most 200 points of each are drawn.
        label: What the chart shows, for those who do not see it.
        across: What the shares are of, below the axis.
        up: What the distances are, above the axis.
        dashed: Names of those that nobody can reach.
    """
    most = max((float(km.max()) for _, km in curves.values() if len(km)), default=0.0) or 1.0
    step = _round_step(most / 4)
    top = step * math.ceil(most / step - 1e-9)
    parts = [*_open(HALF, label), *_shares_below(HALF, across), _above(HALF, up)]
    for number in range(round(top / step) + 1):
        y = float(HALF.up(number * step / top))
        parts += [f'<path class="axis" d="M{HALF.left:g} {y:.1f}H{HALF.width - HALF.right:g}"/>']
        parts.append(
            _label(HALF.left - 6, y + 4, f"{number * step:,.4g}" if step < 1 else f"{number * step:,.0f}", "end")
        )
    for number, (name, (share, km)) in enumerate(curves.items()):
        drawn = np.unique(np.linspace(0, len(share) - 1, min(len(share), 200)).round().astype(np.int64))
        line = np.stack([HALF.across(share[drawn]), HALF.up(km[drawn] / top)], axis=1)
        kind = "curve ideal" if name in dashed else f"curve curve-{number % CURVES}"
        parts.append(f'<path class="{kind}" d="{_path([line])}"/>')
    return "\n".join([*parts, "</svg>"])


def promise_strip(shares: Sequence[float | None], promised: Sequence[float]) -> str:
    """Draw shares, if known, as dots on a line from 0 to 1, each with the share that was promised as a mark."""
    parts = ['<svg class="strip" viewBox="0 0 200 16" role="img" aria-hidden="true"><path class="axis" d="M5 8H195"/>']
    for number, (share, promise) in enumerate(zip(shares, promised, strict=True)):
        colour = number % CURVES
        parts.append(f'<path class="promise curve-{colour}" d="M{5 + 190 * promise:.1f} 1V15"/>')
        if share is not None:
            parts.append(f'<path class="bin curve-{colour}" stroke-width="9" d="M{5 + 190 * share:.1f} 8h0"/>')
    return "".join([*parts, "</svg>"])


_EDGE = robinson.outline()
_LOW, _HIGH = _EDGE.min(axis=0), _EDGE.max(axis=0)
_MAP_SCALE = MAP_WIDTH / float(_HIGH[0] - _LOW[0])
_MAP_HEIGHT = float(_HIGH[1] - _LOW[1]) * _MAP_SCALE


def _place(line: Points) -> NDArray[np.float64]:
    """Place points on the map: (..., 2) degrees -> (..., 2) x to the right, y down, from the upper left corner."""
    placed: NDArray[np.float64] = (robinson.project(line) - (_LOW[0], _HIGH[1])) * (_MAP_SCALE, -_MAP_SCALE)
    return placed


def _globe(*, least: float) -> list[str]:
    """Draw sea, graticule, land and borders, without the corners that are nearer than ``least`` to the one before."""
    along = np.linspace(-1, 1, 61)
    graticule = [np.stack([np.full(61, latitude), 180 * along], axis=1) for latitude in range(-60, 61, 30)]
    graticule += [np.stack([90 * along, np.full(61, longitude)], axis=1) for longitude in range(-150, 151, 30)]
    globe = (_EDGE - (_LOW[0], _HIGH[1])) * (_MAP_SCALE, -_MAP_SCALE)
    return [
        f'<path class="sea" d="{_path([globe], closed=True)}"/>',
        f'<path class="graticule" d="{_path(map(_place, graticule))}"/>',
        f'<path class="land" d="{_path(map(_place, places.land_rings()), closed=True, least=least)}"/>',
        f'<path class="border" d="{_path(map(_place, places.borders()), least=least)}"/>',
    ]


_LEAST_VIEW, _VIEW_SHAPE = 120.0, 1.9
"""The least width of a part of the map, and how much wider than high it is."""


def _view(points: Points) -> tuple[float, float, float, float]:
    """Choose the part of the map that shows points: left, top, width, height."""
    placed = _place(points)
    low, high = placed.min(axis=0), placed.max(axis=0)
    wide, tall = (high - low) * 1.2
    width = min(max(wide, tall * _VIEW_SHAPE, _LEAST_VIEW), MAP_WIDTH)
    height = min(width / _VIEW_SHAPE, _MAP_HEIGHT)
    middle = (low + high) / 2
    left = min(max(float(middle[0]) - width / 2, 0.0), MAP_WIDTH - width)
    top = min(max(float(middle[1]) - height / 2, 0.0), _MAP_HEIGHT - height)
    return left, top, width, height


def _points(at: NDArray[np.float64]) -> str:
    """Write points as lines of no length, whose round ends are dots in a quarter of a circle's characters: (n, 2)."""
    return "".join(f"M{x:.1f} {y:.1f}h0" for x, y in np.unique(at.round(1), axis=0).tolist())


def _round_step(least: float) -> float:
    """Give the first of 1, 2, 5, 10, 20 … that is not below a number."""
    ten = 10.0 ** math.floor(math.log10(least))
    return next(ten * each for each in (1, 2, 5, 10) if ten * each >= least * (1 - 1e-9))


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
        parts.append(f'<path class="{name}" stroke-width="{dots[number][1]:g}" d="{_points(drawn)}"/>')
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


def _open(frame: Frame, label: str) -> list[str]:
    box = f"0 0 {frame.width:g} {frame.height:g}"
    return [f'<svg class="chart" viewBox="{box}" role="img" aria-label="{html.escape(label)}">']


def _share_axis(frame: Frame, top: float) -> list[str]:
    """Draw lines of equal share up to the top one."""
    parts = []
    for quarter in range(5):
        y = float(frame.up(quarter / 4))
        parts.append(f'<path class="axis" d="M{frame.left:g} {y:.1f}H{frame.width - frame.right:g}"/>')
        share = top * quarter / 4
        parts.append(
            _label(frame.left - 6, y + 4, f"{share:.0%}" if share >= 0.1 or not quarter else f"{share:.1%}", "end")
        )
    return parts


def _shares_below(frame: Frame, said: str) -> list[str]:
    """Write the shares along the bottom, and what they are of; the 0 stands at the other axis already."""
    parts = [
        _label(float(frame.across(quarter / 4)), frame.floor + 17, f"{quarter / 4:.0%}", "middle")
        for quarter in range(1, 5)
    ]
    return [*parts, _label(frame.width - frame.right, frame.height - 5, said, "end")]


def _above(frame: Frame, said: str) -> str:
    return _label(frame.left + 5, frame.top + 12, said, "start")


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'
