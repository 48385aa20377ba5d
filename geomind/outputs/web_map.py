"""The map as one HTML page that asks nothing of any network: every photo, where it was placed, and the truth if known.

The page holds its style, its script and the outlines of the land; its content security policy forbids loading anything.
Its size is bounded, whatever the number of photos: there are most photos, thumbnails and lines, and names are cut.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import math
import random
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomind import __version__
from geomind.errors import PhotoError
from geomind.files import atomic_path, refuse_existing
from geomind.geography import places, robinson
from geomind.geography.sphere import Points
from geomind.outputs.words import unicode_text
from geomind.predictions import Prediction
from geomind.thumbnails import thumbnail_url

MOST_PHOTOS = 100_000
"""Of more photos, a random sample is on the page: some 10 MB, and a browser still moves the map smoothly."""

MOST_LINES = 2_000
"""So many photos with a known truth have a line to it."""

MOST_THUMBNAILS = 500
THUMBNAIL_SIZE = (300, 200)

LONGEST_TEXT = 160

BANDS_KM = (200, 750, 2500, None)
"""Where the colours of a distance to the truth end: right region, country, continent, and the rest."""

WIDTH = 100_000
"""Width of the map in the page's own units of 400 m at the equator."""


def write_map(
    predictions: Iterable[Prediction],
    path: Path | str,
    *,
    images_dir: Path | str | None = None,
    thumbnails: int = 0,
    title: str | None = None,
    overwrite: bool = False,
) -> int:
    """Write one HTML page with a map of the predictions; return how many there were.

    Args:
        predictions: read once; of more than ``MOST_PHOTOS``, a random sample is shown, the same one each time.
        path: the page.
        images_dir: where the photos are, for thumbnails.
        thumbnails: how many photos get one, up to ``MOST_THUMBNAILS``. Everybody who gets the page sees them.
        title: what the page is called.
        overwrite: replace an existing file.

    Raises:
        OutputError: the path exists or cannot be written.
    """
    refuse_existing(path, overwrite=overwrite)
    shown, total = _sample(predictions, MOST_PHOTOS)
    data = _data(shown)
    data["thumbnails"] = _thumbnails(shown, images_dir, min(thumbnails, MOST_THUMBNAILS))
    page = _page(title or f"{total:,} photo{'' if total == 1 else 's'}", _summary(shown, total), data)
    with atomic_path(path) as temporary:
        temporary.write_bytes(page.encode())
    return total


def _sample(predictions: Iterable[Prediction], most: int) -> tuple[list[Prediction], int]:
    """Take a random sample of an iterable, in its order (algorithm R: Vitter 1985), and count it."""
    chosen: list[tuple[int, Prediction]] = []
    draw, total = random.Random(0), 0
    for total, prediction in enumerate(predictions, start=1):
        if len(chosen) < most:
            chosen.append((total, prediction))
        elif (place := draw.randrange(total)) < most:
            chosen[place] = (total, prediction)
    return [prediction for _, prediction in sorted(chosen, key=lambda each: each[0])], total


def _summary(shown: Sequence[Prediction], total: int) -> str:
    located = sum(each.answered for each in shown)
    parts = [
        f"{located:,} on the map",
        *([f"{len(shown) - located:,} without a place"] if located < len(shown) else []),
    ]
    if len(shown) < total:
        parts.append(f"a random sample of {len(shown):,}")
    distances = [each.distance_km for each in shown if each.distance_km is not None]
    if distances:
        parts.append(f"median {np.median(distances):,.0f} km from the truth")
    return ", ".join(parts)


# ── data ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _data(shown: Sequence[Prediction]) -> dict[str, Any]:
    """Give everything that the script draws and lists, in columns."""
    regions = sorted({each.region_name for each in shown if each.region_name is not None})
    region_number = {name: number for number, name in enumerate(regions)}
    codes = sorted({each.country for each in shown if each.country is not None})
    code_number = {code: number for number, code in enumerate(codes)}
    x, y = _columns([each.place for each in shown])
    with_truth = any(each.truth is not None for each in shown)
    true_x, true_y = _columns([each.truth for each in shown]) if with_truth else (None, None)
    return {
        "width": WIDTH,
        "height": round(_HEIGHT),
        "edge": _flat(robinson.outline(61)),
        "graticule": [_flat(robinson.project(line)) for line in _graticule()],
        "land": [_flat(robinson.project(ring)) for ring in places.land_rings()],
        "borders": [_flat(robinson.project(line)) for line in places.borders()],
        "bands": BANDS_KM,
        "regions": [_text(name) for name in regions],
        "countries": [_text(_country(code)) for code in codes],
        "lines": _lines(shown),
        "photos": {
            "name": [_text(each.image_path) for each in shown],
            "x": x,
            "y": y,
            "latitude": [each.latitude for each in shown],
            "longitude": [each.longitude for each in shown],
            "region": [None if each.region_name is None else region_number[each.region_name] for each in shown],
            "probability": [_short(each.region_probability, 3) for each in shown],
            "country": [None if each.country is None else code_number[each.country] for each in shown],
            "city": [_text(each.city or "") for each in shown],
            "radius": [_short(each.radius_km_90, 1) for each in shown],
            "error": [_text(_note(each)) for each in shown],
            "distance": [_short(each.distance_km, 1) for each in shown] if with_truth else None,
            "trueX": true_x,
            "trueY": true_y,
        },
    }


def _note(prediction: Prediction) -> str:
    abstained = None if prediction.abstained is None else f"abstained: {prediction.abstained}"
    return "; ".join(part for part in (prediction.error, abstained) if part is not None)


def _text(text: str) -> str:
    text = unicode_text(text)
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[: LONGEST_TEXT // 3]} … {text[-(LONGEST_TEXT - LONGEST_TEXT // 3) :]}"


def _short(value: float | None, decimals: int) -> float | None:
    return None if value is None else round(value, decimals)


def _country(code: str) -> str:
    return places.country_name(code) if code in places.countries() else code


_LOW, _HIGH = robinson.outline().min(axis=0), robinson.outline().max(axis=0)
_SCALE = WIDTH / float(_HIGH[0] - _LOW[0])
_HEIGHT = float(_HIGH[1] - _LOW[1]) * _SCALE


def _on_page(projected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn coordinates of the projection into the page's: x to the right, y down, from the upper left corner."""
    placed: NDArray[np.float64] = (projected - (_LOW[0], _HIGH[1])) * (_SCALE, -_SCALE)
    return placed


def _flat(projected: NDArray[np.float64]) -> list[int]:
    flat: list[int] = np.rint(_on_page(projected)).astype(int).ravel().tolist()
    return flat


def _columns(points: Sequence[tuple[float, float] | None]) -> tuple[list[float | None], list[float | None]]:
    """Place points on the page: its x and its y, ``None`` where there is no point."""
    known = np.array([point or (math.nan, math.nan) for point in points], dtype=np.float64).reshape(-1, 2)
    placed = np.round(_on_page(robinson.project(known)), 2).T.tolist()
    x, y = ([None if math.isnan(value) else value for value in column] for column in placed)
    return x, y


def _graticule() -> list[Points]:
    along = np.linspace(-1, 1, 61)
    parallels = [np.stack([np.full(61, latitude), 180 * along], axis=1) for latitude in range(-60, 61, 30)]
    return parallels + [np.stack([90 * along, np.full(61, longitude)], axis=1) for longitude in range(-150, 151, 30)]


def _lines(shown: Sequence[Prediction]) -> dict[int, list[list[int]]]:
    """Draw the great circle from truth to place: number of the photo -> pieces."""
    lines: dict[int, list[list[int]]] = {}
    for number, each in enumerate(shown):
        if len(lines) == MOST_LINES:
            break
        if each.truth is not None and each.place is not None:
            ways = robinson.great_circle(each.truth, each.place, step_degrees=3)
            lines[number] = [_flat(robinson.project(way)) for way in ways]
    return lines


def _thumbnails(shown: Sequence[Prediction], images_dir: Path | str | None, most: int) -> dict[int, str]:
    """Make small pictures without metadata of the first photos that can be read: number of the photo -> data URL."""
    made: dict[int, str] = {}
    for number, each in enumerate(shown if images_dir is not None else ()):
        if len(made) >= most:
            break
        with contextlib.suppress(PhotoError):
            made[number] = thumbnail_url(Path(images_dir or "") / each.image_path, THUMBNAIL_SIZE)
    return made


# ── page ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _page(title: str, summary: str, data: dict[str, Any]) -> str:
    folder = resources.files("geomind.outputs")
    style = (folder / "web_map.css").read_text(encoding="utf-8")
    script = (folder / "web_map.js").read_text(encoding="utf-8")
    # In a script element only "<" could end it or open a comment.
    content = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{html.escape(unicode_text(title))} · GeoMind</title>
<style>{style}</style>
</head>
<body>
<main>
<canvas id="map" tabindex="0" role="application" aria-label="Map of the world. Arrow keys move it, plus and minus \
zoom, 0 shows the whole world. The list beside it holds the same photos."></canvas>
<div class="zoom"><button id="in" type="button" aria-label="Zoom in">+</button>\
<button id="out" type="button" aria-label="Zoom out">−</button>\
<button id="home" type="button" aria-label="Whole world">⌂</button></div>
{_legend(data)}
</main>
<aside>
<header>
<div class="brand">GeoMind {__version__}</div>
<h1>{html.escape(unicode_text(title))}</h1>
<p>{html.escape(summary)}. Places are estimated from the pixels alone.</p>
<input id="search" type="search" placeholder="Find a photo or a place" aria-label="Find a photo or a place">
</header>
<section id="details" aria-live="polite" hidden></section>
<ul id="list"></ul>
</aside>
<script type="application/json" id="data">{content}</script>
<script>{script}</script>
</body>
</html>
"""


def _legend(data: dict[str, Any]) -> str:
    """Explain the colours, where there is a truth to measure a distance from."""
    if data["photos"]["distance"] is None:
        return ""
    names = [f"≤ {limit:,} km" if limit else "farther" for limit in BANDS_KM]
    items = "".join(f'<span><i class="band-{number}"></i>{name}</span>' for number, name in enumerate(names))
    checked = " checked" if len(data["lines"]) <= 400 else ""
    lines = f'<label><input id="lines" type="checkbox"{checked}> lines to the truth</label>'
    return f'<div class="legend">{items}{lines}</div>'


def _hash(text: str) -> str:
    """Name a style or a script to the content security policy (W3C, CSP Level 3, 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
