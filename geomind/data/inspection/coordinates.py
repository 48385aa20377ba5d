"""Which positions look wrong: at 0, 0, swapped, at sea, in another country, filled in. It opens no photo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geomind.data.inspection.findings import EXAMPLES, Finding, counted, judge, percent
from geomind.geography import places
from geomind.geography.boxes import Box
from geomind.geography.sphere import Points, destination, from_unit_vectors, haversine_km, unit_vectors

BORDER_KM = 10.0
"""A position this near to the country it is said to be in is right: borders are drawn to about 1 km, and phones and
maps of other origin disagree by some more."""

COAST_KM = 5.0
"""A photo farther than this from land is at sea; piers, bridges and ferries in harbour are nearer."""

ISLET_KM = 10.0
"""Off land but this near to a town is on land: the town's islet is too small to be drawn."""

REPEATED_SHARE, REPEATED_LEAST = 0.001, 10
"""A position is one of very many photos if it has this share of them, and so many. The most of 100,000 photos of the
web that share one are 37."""

CENTRE_LEAST, CENTRE_SHARE = 5, 0.03
"""A position of so many photos is a country's centre within this share of the diagonal of the country's box."""

_STREET_WORDS = ("street", "mapillary", "osv", "kartaview", "panoramax")
_STREET_COLUMNS = ("pano_id", "heading")


@dataclass(frozen=True, eq=False)
class Places:
    """Where the rows of a manifest are said to be, and what is there."""

    points: Points
    """(n, 2) degrees."""
    given: NDArray[np.object_]
    """(n,) country of the manifest, "" where it says none."""
    country: NDArray[np.str_]
    """(n,) country of the position."""
    near_given: NDArray[np.bool_]
    """(n,) the position is in the given country or within ``BORDER_KM`` of it, or none is given."""

    @classmethod
    def look_up(cls, rows: pd.DataFrame) -> Places:
        """Find the country of every position of a manifest."""
        points = rows[["latitude", "longitude"]].to_numpy(dtype=np.float64)
        given = rows["country"].str.strip().to_numpy(dtype=object)
        country = places.country_at(points)
        near = (given == country) | (given == "")
        known = np.isin(given, list(places.countries()))
        apart = np.flatnonzero(~near & known)
        near[apart] = (places.country_at(_around(points[apart], BORDER_KM)) == given[apart, None]).any(axis=1)
        return cls(points, given, country, near)

    def __len__(self) -> int:
        return len(self.points)


def check_coordinates(rows: pd.DataFrame, there: Places) -> list[Finding]:
    """Report the positions that look wrong; one that contradicts its country is not called at sea as well."""
    zero = np.asarray(~there.points.any(axis=1))
    contradicts = ~there.near_given & ~zero
    swapped = contradicts & _lies_in_given(there, contradicts, [_swap])
    mirrored = contradicts & ~swapped & _lies_in_given(there, contradicts & ~swapped, _MIRRORS)
    wrong = contradicts & ~swapped & ~mirrored
    return [
        judge("zero_coordinates", np.flatnonzero(zero), of=len(rows)),
        judge("swapped_coordinates", np.flatnonzero(swapped), of=len(rows), notes=_contradictions(there, swapped)),
        judge("mirrored_coordinates", np.flatnonzero(mirrored), of=len(rows), notes=_contradictions(there, mirrored)),
        judge("wrong_country", np.flatnonzero(wrong), of=len(rows), notes=_contradictions(there, wrong)),
        *_check_sea(rows, there, ~zero & ~contradicts),
        *_check_repeated(rows, there, ~zero),
        _check_decimals(there.points, ~zero),
    ]


# ── the country ──────────────────────────────────────────────────────────────────────────────────────────────────────


Change = Callable[[Points], Points]


def _swap(points: Points) -> Points:
    return points[:, ::-1]


_MIRRORS = [lambda points, signs=signs: points * signs for signs in ((-1, 1), (1, -1), (-1, -1))]


def _lies_in_given(there: Places, chosen: NDArray[np.bool_], changes: Sequence[Change]) -> NDArray[np.bool_]:
    """Tell which rows would be on land of their given country if their positions were changed in one of some ways."""
    rows = np.flatnonzero(chosen)
    found = np.zeros(len(there), dtype=bool)
    for change in changes:
        points = change(there.points[rows])
        possible = np.abs(points[:, 0]) <= 90
        tried, points = rows[possible], points[possible]
        found[tried] |= (places.country_at(points) == there.given[tried]) & places.on_land(points)
    return found


def _contradictions(there: Places, chosen: NDArray[np.bool_]) -> list[str]:
    known = places.countries()
    notes = []
    for row in np.flatnonzero(chosen)[:EXAMPLES]:
        given = str(there.given[row])
        name = places.country_name(given) if given in known else f"'{given[:20]}', which is no ISO 3166-1 code"
        notes.append(f"given {name}, position {_country(str(there.country[row]))}")
    return notes


def _country(code: str) -> str:
    return f"in {places.country_name(code)}" if code else "on the high seas"


# ── the sea ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _check_sea(rows: pd.DataFrame, there: Places, chosen: NDArray[np.bool_]) -> list[Finding]:
    """Report photos at sea, apart for sources that only photograph streets."""
    points = there.points
    off = np.flatnonzero(chosen & ~places.on_land(points))
    for radius in (COAST_KM / 2, COAST_KM):
        off = off[~places.on_land(_around(points[off], radius)).any(axis=1)]
    off = off[places.nearest_place(points[off]).distance_km > ISLET_KM]
    of_street = [rows["source"].str.lower().str.contains("|".join(_STREET_WORDS))]
    of_street += [rows[column] != "" for column in _STREET_COLUMNS if column in rows]
    street = np.any([column.to_numpy(dtype=bool) for column in of_street], axis=0)
    swapped = points[off][:, ::-1]
    possible = np.abs(swapped[:, 0]) <= 90
    would_be = int(places.on_land(swapped[possible]).sum())
    photos = off[~street[off]]
    share = percent(len(photos) / len(rows))
    detail = f"{len(photos):,} of {len(rows):,} photos ({share}) are over {COAST_KM:g} km from land."
    if would_be > len(off) / 2:  # the land is 29% of the Earth
        detail += f" {would_be:,} of {len(off):,} would be on land with latitude and longitude swapped."
    return [
        judge("street_photos_at_sea", off[street[off]], of=int(street.sum()), what="street-level photos"),
        judge("photos_at_sea", photos, of=len(rows), detail=detail),
    ]


# ── positions that nobody measured ───────────────────────────────────────────────────────────────────────────────────


def _check_repeated(rows: pd.DataFrame, there: Places, chosen: NDArray[np.bool_]) -> list[Finding]:
    """Report positions that many photos share exactly, other than one group's: a burst or a panorama is one group."""
    considered = np.flatnonzero(chosen)
    _, first, position, times = np.unique(
        there.points[considered], axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    position, first = position.ravel(), considered[first]  # (n,) of each row; (k,) the first row of each position
    groups = rows["group"].to_numpy(dtype=object)
    one_group = pd.Series(groups[considered]).groupby(position).nunique().to_numpy() == 1
    one_group &= groups[first] != ""
    often = np.flatnonzero((times >= CENTRE_LEAST) & ~one_group)
    at_centre = _at_country_centre(there.points[first[often]], there.country[first[often]])
    very_often = times[often] >= max(REPEATED_LEAST, REPEATED_SHARE * len(rows))
    findings = []
    for check, found in (
        ("country_centres", often[at_centre]),
        ("repeated_coordinates", often[very_often & ~at_centre]),
    ):
        found = found[np.argsort(-times[found], kind="stable")]
        here = considered[np.isin(position, found)]
        # One photo of each position stands first, as its example.
        photos = np.concatenate([first[found], np.setdiff1d(here, first[found])])
        share = percent(len(photos) / len(rows))
        detail = f"{len(photos):,} of {len(rows):,} photos ({share}) at {counted(len(found), 'position')}."
        notes = [
            f"{times[number]:,} photos at one position {_country(str(there.country[first[number]]))}"
            for number in found[:EXAMPLES]
        ]
        findings.append(judge(check, photos, of=len(rows), detail=detail, notes=notes))
    return findings


def _at_country_centre(points: Points, countries: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Tell which points are at the centre of their country: (n, 2), (n,) -> (n,).

    Geocoders disagree on where that is: the mean of the country's land, its median and the middle of its box all count,
    near enough. That finds the answers of one large geocoder for 18 of 30 countries; some of its centres are in none.
    """
    found = np.zeros(len(points), dtype=bool)
    for code in np.unique(countries[countries != ""]).tolist():
        # Towns say where the country is, apart from islands far away; its land reaches beyond them.
        around = Box.fit(places.cities().points[places.cities().country == code], quantile=0.02, padding=1.0)
        land = _land_within(around, code)
        if len(land) < 10:  # a country smaller than the grid
            continue
        box = Box.fit(land, quantile=0)
        land = _land_within(box, code)
        centres = np.stack(
            [
                from_unit_vectors(unit_vectors(land).mean(axis=0)),
                box.denormalize(np.median(box.normalize(land), axis=0)),
                box.denormalize(np.array([0.5, 0.5])),
            ]
        )
        south_west, north_east = box.denormalize(np.array([(0, 0), (1, 1)]))
        here = np.flatnonzero(countries == code)
        nearest_km = haversine_km(points[here, None], centres).min(axis=1)
        found[here] = nearest_km <= CENTRE_SHARE * haversine_km(south_west, north_east)
    return found


def _land_within(box: Box, country: str) -> Points:
    """Give the points of a grid over a box that are on land of a country: (k, 2) degrees."""
    steps = np.linspace(0, 1, 33)
    grid = box.denormalize(np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2))
    inside: NDArray[np.bool_] = (places.country_at(grid) == country) & places.on_land(grid)
    return grid[inside]


def _check_decimals(points: Points, chosen: NDArray[np.bool_]) -> Finding:
    tenths, whole = (
        chosen & (np.abs(points * scale - np.round(points * scale)) < 1e-7).all(axis=1) for scale in (10, 1)
    )
    detail = f"{tenths.sum():,} of {len(points):,} photos ({percent(float(tenths.mean()))})"
    detail += f", {whole.sum():,} of them at whole degrees." if whole.any() else "."
    return judge("coarse_coordinates", np.flatnonzero(tenths), of=len(points), detail=detail)


def _around(points: Points, radius_km: float) -> Points:
    """Give eight points on the circle around each: (n, 2) -> (n, 8, 2)."""
    return destination(points[:, None], np.arange(0, 360, 45), radius_km)
