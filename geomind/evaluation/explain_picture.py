"""An explanation as one picture: the photo, what drove region and place, the runners-up, the map, what looks like it.

It draws what ``explain`` found, and finds nothing itself.
"""

from __future__ import annotations

import itertools
import math
import os
import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from geomind.errors import OutputError, PhotoError
from geomind.evaluation.explain import Explanation, HeatMap
from geomind.evaluation.plots import FAINT, GRID, INK, draw_globe
from geomind.files import atomic_path, refuse_existing
from geomind.geography import robinson
from geomind.geography.sphere import EARTH_RADIUS_KM, destination
from geomind.photos import open_photo, square_in

_QUARTER_KM = EARTH_RADIUS_KM * math.pi / 2

ANSWER, OTHER, NEAR = "#d1495b", "#2b6cb0", "#26323d"
"""Colours of the answer, of what came close, and of the training photos that look like the photo."""

HEAT = LinearSegmentedColormap.from_list("heat", ["#ffe08a", "#fbb13c", "#f0642f", "#c4161c"])
"""From what drove a little to what drove most; it gets darker all the way, so that it reads without its hues too."""

MOST_CHOICES = 6
"""Regions that have a bar."""

MOST_THUMBNAILS = 6
"""Training photos in a row."""

FORMATS = (".png", ".svg", ".pdf")

_WIDTH, _EDGE, _GAP = 13.0, 0.45, 0.35  # inches
_LONGEST = 640  # pixels of a photo's longer side in the picture


def draw_explanation(explanation: Explanation, path: Path | str, *, overwrite: bool = False) -> None:
    """Draw an explanation.

    Raises:
        OutputError: the picture exists, cannot be written, or its ending names no format.
        PhotoError: the photo is not there any more.
    """
    refuse_picture(path, overwrite=overwrite)
    photo = _shown(explanation.photo)
    maps = [
        (what, heat)
        for what, heat in (
            (f"what drove the {explanation.level}", explanation.choice_map),
            ("what drove the place", explanation.place_map),
        )
        if heat is not None
    ]
    thumbnails = [(each, _thumbnail(each.photo)) for each in explanation.neighbours if each.photo is not None]
    notes = [line for note in explanation.notes for line in textwrap.wrap(note, 170)]

    inside = _WIDTH - 2 * _EDGE
    panel = (inside - 2 * _GAP) / 3
    aspect = photo.shape[0] / photo.shape[1]
    tall = min(panel * aspect, 5.0)
    small = (inside - (MOST_THUMBNAILS - 1) * 0.2) / MOST_THUMBNAILS
    below = 4.1
    heights = [0.95, 0.5 + tall + 0.35, 0.35 + below, 0.5 + small + 0.65 if thumbnails else 0.0]
    height = sum(heights) + 0.2 * len(notes) + 0.35
    figure = Figure(figsize=(_WIDTH, height), dpi=120, facecolor="white")

    def axes(left: float, top: float, width: float, high: float) -> Axes:
        return figure.add_axes((left / _WIDTH, 1 - (top + high) / height, width / _WIDTH, high / height))

    def say(left: float, top: float, text: str, size: float, colour: str = INK, **more: Any) -> None:
        figure.text(
            left / _WIDTH, 1 - top / height, text, fontsize=size, color=colour, va="center", parse_math=False, **more
        )

    say(_EDGE, 0.42, explanation.place_name[:1].upper() + explanation.place_name[1:], 19, fontweight="bold")
    say(_EDGE, 0.78, _facts(explanation), 11, FAINT)
    top = heights[0]
    name = os.fsencode(explanation.photo.name).decode("utf-8", "replace")
    captions = ["bright: the square that the networks see", *(_caption(what, heat) for what, heat in maps)]
    titles = [textwrap.shorten(each, 38, placeholder="…") for each in (name, *(heat.of for _, heat in maps))]
    pictures = [_square_of(photo), *(_heated(photo, heat) for _, heat in maps)]
    for number, (title, caption, picture) in enumerate(zip(titles, captions, pictures, strict=True)):
        left = _EDGE + number * (panel + _GAP)
        say(left, top + 0.3, title, 12, fontweight="bold")
        _put(axes(left, top + 0.5, panel, tall), picture)
        say(left, top + 0.5 + tall + 0.17, caption, 9, FAINT)
    for number in range(1, len(pictures)):
        right = _EDGE + number * (panel + _GAP) + panel
        _draw_scale(axes(right - 0.9, top + 0.5 + tall + 0.11, 0.55, 0.12))
        say(right - 1.0, top + 0.5 + tall + 0.17, "0", 9, FAINT, ha="right")
        say(right, top + 0.5 + tall + 0.17, "most", 9, FAINT, ha="right")

    top += heights[1]
    bars = 4.1 if explanation.choices else 0.0
    if explanation.choices:
        say(_EDGE, top + 0.3, f"Most probable {_plural(explanation.level)}", 12, fontweight="bold")
        _draw_choices(axes(_EDGE, top + 0.55, bars, below - 0.75), explanation)
    start = _EDGE + bars + (_GAP if bars else 0)
    _draw_map(axes(start, top + 0.1, _WIDTH - _EDGE - start, below - 0.35), explanation)
    _draw_key(axes(start, top + below - 0.2, _WIDTH - _EDGE - start, 0.3), explanation)

    top += heights[2]
    if thumbnails:
        say(_EDGE, top + 0.3, "Training photos that look most like it", 12, fontweight="bold")
    for number, (each, thumbnail) in enumerate(thumbnails[:MOST_THUMBNAILS]):
        left = _EDGE + number * (small + 0.2)
        _put(axes(left, top + 0.5, small, small), thumbnail)
        say(left, top + 0.5 + small + 0.17, textwrap.shorten(each.name, 26, placeholder="…"), 9)
        say(left, top + 0.5 + small + 0.38, f"cosine {each.cosine:.2f} · {each.distance_km:,.0f} km off", 8.5, FAINT)
    top += heights[3]
    for number, note in enumerate(notes):
        say(_EDGE, top + 0.15 + 0.2 * number, note, 9, FAINT)

    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script that the font has not shows boxes
        figure.savefig(temporary)


def refuse_picture(path: Path | str, *, overwrite: bool) -> None:
    """Stop before work begins whose picture could not be written.

    Raises:
        OutputError: the picture exists and ``overwrite`` is false, cannot be written, or its ending names no format.
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise OutputError(f"Cannot draw {path}: choose a name that ends in .png, .svg or .pdf.")
    refuse_existing(path, overwrite=overwrite)


# ── photos ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _shown(photo: Path) -> NDArray[np.float64]:
    """Read a photo, upright, at the size at which it is drawn: (height, width, 3) in 0..1."""
    image = open_photo(photo, min_side=_LONGEST)
    scale = _LONGEST / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC), dtype=np.float64) / 255


def _thumbnail(photo: Path) -> NDArray[np.float64] | None:
    """Cut the square of a training photo that the networks saw; None where it cannot be read."""
    try:
        image = open_photo(photo, min_side=256)
    except PhotoError:
        return None
    square = image.resize((256, 256), Image.Resampling.BICUBIC, box=square_in(image.size))
    return np.asarray(square, dtype=np.float64) / 255


def _inside(photo: NDArray[np.float64]) -> tuple[slice, slice]:
    """Give the rows and columns of the square that the networks see."""
    left, top, right, bottom = (round(edge) for edge in square_in((photo.shape[1], photo.shape[0])))
    return slice(top, bottom), slice(left, right)


def _square_of(photo: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fade what the networks do not see."""
    shown, seen = _faded(photo), _inside(photo)
    shown[seen] = photo[seen]
    return shown


def _heated(photo: NDArray[np.float64], heat: HeatMap) -> NDArray[np.float64]:
    """Lay a heat map over the square, in greys under it, so that no colour is the photo's own."""
    shown, seen = _faded(photo), _inside(photo)
    grey = _grey(photo)[seen]
    size = (seen[1].stop - seen[1].start, seen[0].stop - seen[0].start)
    small = Image.fromarray(heat.values.astype(np.float32))
    values = np.clip(np.asarray(small.resize(size, Image.Resampling.BICUBIC), dtype=np.float64), 0, 1)
    cover = (0.85 * values**1.3)[..., None]
    shown[seen] = (1 - cover) * (0.15 + 0.85 * grey) + cover * np.asarray(HEAT(values))[..., :3]
    return shown


def _grey(photo: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.repeat(photo.mean(axis=2, keepdims=True), 3, axis=2)


def _faded(photo: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.72 + 0.28 * _grey(photo)


def _put(axes: Axes, picture: NDArray[np.float64] | None) -> None:
    axes.set_axis_off()
    if picture is None:
        axes.add_patch(Rectangle((0, 0), 1, 1, color=GRID))
        return
    axes.imshow(picture, interpolation="antialiased", aspect="equal")
    axes.set_anchor("NW")


# ── words, bars and the map ──────────────────────────────────────────────────────────────────────────────────────────


def _facts(explanation: Explanation) -> str:
    answer = explanation.answer
    assert answer.place is not None
    facts = [f"{answer.place[0]:.4f}, {answer.place[1]:.4f}"]
    if answer.region_name:
        sure = "" if answer.region_probability is None else f" {answer.region_probability:.0%}"
        facts.append(f"{answer.region_name}{sure}")
    if answer.radius_km_90 is not None:
        facts.append(f"90% within {answer.radius_km_90:,.0f} km")
    elif answer.radius_note:
        facts.append("no radius")
    return "  ·  ".join(facts)


def _caption(what: str, heat: HeatMap) -> str:
    rows, columns = heat.positions
    return f"{what}: nothing" if heat.empty else f"{what}  ·  {rows} × {columns} positions"


def _draw_scale(axes: Axes) -> None:
    """Draw what the colours of a heat map mean, from nothing to most."""
    values = np.linspace(0, 1, 64)[None]
    cover = (0.85 * values**1.3)[..., None]
    axes.imshow((1 - cover) * 0.7 + cover * np.asarray(HEAT(values))[..., :3], aspect="auto")
    axes.set_axis_off()


def _plural(level: str) -> str:
    return {"country": "countries", "city": "cities"}.get(level, f"{level}s")


def _draw_choices(axes: Axes, explanation: Explanation) -> None:
    """Draw a bar for each of the most probable regions, its name above it."""
    shown = explanation.choices[:MOST_CHOICES]
    chosen = explanation.choice_map.of if explanation.choice_map is not None else explanation.answer.region_name
    for number, (name, share) in enumerate(shown):
        colour = ANSWER if name == chosen else OTHER
        axes.add_patch(Rectangle((0, number + 0.5), 1, 0.28, color=GRID, linewidth=0))
        axes.add_patch(Rectangle((0, number + 0.5), share, 0.28, color=colour, linewidth=0))
        axes.text(
            0, number + 0.27, textwrap.shorten(name, 44, placeholder="…"), fontsize=10, color=INK, va="center",
            fontweight="bold" if name == chosen else "normal", parse_math=False,
        )  # fmt: skip
        axes.text(1, number + 0.27, f"{share:.1%}", fontsize=10, color=FAINT, va="center", ha="right")
    axes.set(xlim=(0, 1), ylim=(max(len(shown), MOST_CHOICES), 0))
    axes.set_axis_off()


def _circle_km(explanation: Explanation) -> float | None:
    """Give the radius of the circle to draw: past a quarter of the Earth it would close around what is *not* inside."""
    radius_km = explanation.answer.radius_km_90
    return radius_km if radius_km is not None and radius_km < _QUARTER_KM else None


def _draw_map(axes: Axes, explanation: Explanation) -> None:
    """Draw the answer on the world, what came close to it, and where photos like it were taken."""
    draw_globe(axes)
    answer = explanation.answer
    assert answer.place is not None
    if (radius_km := _circle_km(explanation)) is not None:
        edge = destination(np.array(answer.place), np.linspace(0, 360, 91), radius_km)
        pieces = [
            robinson.project(piece)
            for start, end in itertools.pairwise(edge)
            for piece in robinson.great_circle(start, end)
        ]
        axes.add_collection(LineCollection(pieces, colors=ANSWER, linewidths=1.1, zorder=4))
    if explanation.neighbours:
        near = robinson.project([(each.latitude, each.longitude) for each in explanation.neighbours])
        axes.scatter(
            near[:, 0], near[:, 1], s=26, marker="s", facecolor="white", edgecolor=NEAR, linewidths=1.1, zorder=5
        )
    others = explanation.candidates[1:]
    if others:
        places = robinson.project([(each.latitude, each.longitude) for each in others])
        sizes = [30 + 260 * each.probability for each in others]
        axes.scatter(
            places[:, 0], places[:, 1], s=sizes, color=OTHER, alpha=0.75, edgecolor="white", linewidths=0.8, zorder=6
        )
    x, y = robinson.project(answer.place)
    axes.scatter([x], [y], s=340, marker="*", color=ANSWER, edgecolor="white", linewidths=1.1, zorder=7)


def _draw_key(axes: Axes, explanation: Explanation) -> None:
    """Say under the map what its marks are."""
    marks = [("*", ANSWER, ANSWER, 13.0, "the answer")]
    marks += [("o", OTHER, OTHER, 7.0, "other candidates")] if len(explanation.candidates) > 1 else []
    marks += [("s", "white", NEAR, 6.0, "training photos that look like it")] if explanation.neighbours else []
    for marker, face, edge, size, label in marks:
        axes.plot(
            [], [], linestyle="", marker=marker, markerfacecolor=face, markeredgecolor=edge, markersize=size,
            label=label,
        )  # fmt: skip
    if _circle_km(explanation) is not None:
        axes.plot([], [], color=ANSWER, linewidth=1.1, label="90% radius")
    axes.legend(loc="center", ncols=len(marks) + 1, frameon=False, fontsize=9.5, labelcolor=INK)
    axes.set_axis_off()
