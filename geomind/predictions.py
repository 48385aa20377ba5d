"""Predictions and their files: one photo, one row, one place or the reason why there is none. It asks no network.

The fields of ``Prediction`` are the columns of predictions.csv, in order; writers, readers, server and evaluation take
them from here. How each format holds them is told in ``geomind.outputs``, one file a format.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from geomind.errors import ManifestError, OutputError
from geomind.files import atomic_path, refuse_existing
from geomind.geography import sphere


def _number(decimals: int, low: float, high: float) -> Any:
    """Declare an optional number: the decimals it is kept and written with, and the range it must lie in."""
    return field(default=None, metadata={"decimals": decimals, "low": low, "high": high})


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Says where one photo was taken, or why that could not be said; ``None`` is an empty cell.

    ``error`` is what went wrong. Without coordinates the photo has no answer; with coordinates the answer stands in for
    a better one (the median place of the region, because its Expert is missing), and ``error`` is the mark of it, in
    the one column that a reader checks before trusting a row.

    Numbers are rounded to the precision of their column when the prediction is made, so that a row read back equals the
    prediction written. Coordinates are in degrees; 6 decimals are 0.1 m.

    Raises:
        ValueError: a number is outside its range or not finite, a place has only one coordinate, the 50% radius is
            larger than the 90% radius, there is neither a place nor an error, or the path of the photo is empty.
    """

    image_path: str
    region_id: int | None = _number(0, 0, math.inf)
    region_name: str | None = None
    region_probability: float | None = _number(6, 0, 1)
    latitude: float | None = _number(6, -90, 90)
    longitude: float | None = _number(6, -180, 180)
    google_maps_url: str | None = field(init=False, default=None)
    country: str | None = None
    city: str | None = None
    radius_km_50: float | None = _number(3, 0, math.inf)
    radius_km_90: float | None = _number(3, 0, math.inf)
    confidence: float | None = _number(6, 0, 1)
    error: str | None = None
    radius_note: str | None = None
    abstained: str | None = None
    country_cell: str | None = None
    country_cell_probability: float | None = _number(6, 0, 1)
    region_cell: str | None = None
    region_cell_probability: float | None = _number(6, 0, 1)
    city_cell: str | None = None
    city_cell_probability: float | None = _number(6, 0, 1)
    candidates: str | None = None
    true_latitude: float | None = _number(6, -90, 90)
    true_longitude: float | None = _number(6, -180, 180)
    distance_km: float | None = field(init=False, default=None)
    spread_km: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.image_path:
            raise ValueError("a prediction needs the path of its photo")
        for name in _OPTIONAL_TEXT:
            if getattr(self, name) == "":
                object.__setattr__(self, name, None)  # an empty cell has one meaning
        for name, decimals, low, high in _NUMBERS:
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, _checked(value, decimals, low, high, f"{self.image_path}: {name}"))
        for first, second in (("latitude", "longitude"), ("true_latitude", "true_longitude")):
            if (getattr(self, first) is None) != (getattr(self, second) is None):
                raise ValueError(f"{self.image_path}: {first} and {second} come together or not at all.")
        if self.radius_km_50 is not None and self.radius_km_90 is not None and self.radius_km_50 > self.radius_km_90:
            raise ValueError(f"{self.image_path}: the 50% radius {self.radius_km_50} exceeds the 90% one.")
        place, truth = self.place, self.truth
        if place is None and self.error is None:
            raise ValueError(f"{self.image_path}: a prediction has a place or an error.")
        if place is not None:
            link = f"https://www.google.com/maps?q={place[0]:.6f},{place[1]:.6f}"
            object.__setattr__(self, "google_maps_url", link)
            if truth is not None:
                object.__setattr__(self, "distance_km", round(float(sphere.haversine_km(truth, place)), 3))

    @property
    def answered(self) -> bool:
        """Whether the photo has a place, be it a fallback."""
        return self.latitude is not None

    @property
    def place(self) -> tuple[float, float] | None:
        """Latitude and longitude of the answer, or ``None``."""
        return _pair(self.latitude, self.longitude)

    @property
    def truth(self) -> tuple[float, float] | None:
        """Latitude and longitude of where the photo was taken, where that is known."""
        return _pair(self.true_latitude, self.true_longitude)


_FIELDS = tuple(each.name for each in dataclasses.fields(Prediction) if each.compare)
_FIRST_OF_CELLS = _FIELDS.index("country_cell")

COLUMNS = _FIELDS[:_FIRST_OF_CELLS]
"""The header of predictions.csv."""

REQUIRED_COLUMNS = tuple(name for name in COLUMNS if name not in ("radius_note", "abstained"))
"""Those without which a file is no predictions.csv; the others came later, and files without them are read too."""

CELL_COLUMNS = _FIELDS[_FIRST_OF_CELLS:-4]
"""The columns that follow where the hierarchical network answered: its cell at every level."""

CANDIDATE_COLUMNS = ("candidates",)
"""The column that follows where several places were asked for: JSON that ``candidates_text`` wrote."""

TRUTH_COLUMNS = _FIELDS[-3:]
"""The columns that follow where the truth is known."""

_NUMBERS = tuple(
    (each.name, each.metadata["decimals"], each.metadata["low"], each.metadata["high"])
    for each in dataclasses.fields(Prediction)
    if each.metadata
)
DECIMALS = {name: decimals for name, decimals, _, _ in _NUMBERS} | {"distance_km": 3}
"""The columns that hold numbers, and the decimals they are written with."""

_OPTIONAL_TEXT = (
    "region_name",
    "country",
    "city",
    "error",
    "radius_note",
    "abstained",
    "country_cell",
    "region_cell",
    "city_cell",
    "candidates",
)


def candidates_text(candidates: Iterable[tuple[float, float, float]]) -> str:
    """Write places where a photo may have been taken as JSON: latitude, longitude and probability of each."""
    rows = [
        {"latitude": round(latitude, 6), "longitude": round(longitude, 6), "probability": round(probability, 6)}
        for latitude, longitude, probability in candidates
    ]
    return json.dumps(rows, separators=(",", ":"))


def candidates_of(text: str) -> list[tuple[float, float, float]]:
    """Read what ``candidates_text`` wrote: latitude, longitude and probability of each place.

    Raises:
        ValueError: it is no such JSON, a number is outside its range, or the probabilities add up to more than 1.
    """
    try:
        rows = [(row["latitude"], row["longitude"], row["probability"]) for row in json.loads(text)]
        places = [tuple(float(value) for value in row) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"candidates are no JSON list of latitude, longitude, probability: {text[:60]}") from error
    for latitude, longitude, probability in places:
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180 and 0 <= probability <= 1):
            raise ValueError(f"a candidate is out of range: {latitude}, {longitude}, probability {probability}")
    if (total := sum(probability for *_, probability in places)) > 1 + 1e-6 * max(len(places), 1):  # rounded each
        raise ValueError(f"the probabilities of the candidates add up to {total:.6f}, which is more than 1")
    return [(latitude, longitude, probability) for latitude, longitude, probability in places]


def _pair(latitude: float | None, longitude: float | None) -> tuple[float, float] | None:
    return None if latitude is None or longitude is None else (latitude, longitude)


def _checked(value: float, decimals: int, low: float, high: float, what: str) -> float:
    """Round a number to its column's precision; whole numbers stay ``int`` and NumPy's become Python's."""
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{what} {value} is outside {low} to {high}.")
    if decimals == 0 and int(value) != value:
        raise ValueError(f"{what} {value} is not a whole number.")
    return round(float(value), decimals) + 0.0 if decimals else int(value)  # + 0.0: no cell reads -0.000000


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────

FileFormat = Literal["csv", "parquet", "geojson", "kml", "gpx"]
"""The formats that predictions are written in; CSV and Parquet are read back."""

_FORMAT_OF_ENDING: dict[str, FileFormat] = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".geojson": "geojson",
    ".kml": "kml",
    ".gpx": "gpx",
}


def write_predictions(
    predictions: Iterable[Prediction],
    path: Path | str,
    *,
    overwrite: bool = False,
    with_truth: bool | None = None,
    extra_columns: Sequence[str] | None = None,
    format: FileFormat | None = None,  # noqa: A002  the option is called so
) -> int:
    """Write predictions as they come, in order, in the format of the path's ending; return how many.

    The file appears whole at the end or not at all. Memory does not grow with the number of rows.

    Args:
        predictions: any iterable; it is read once.
        path: where to; .csv, .parquet, .geojson, .kml or .gpx.
        overwrite: replace an existing file.
        with_truth: write the columns of the truth; ``None`` decides by the first prediction.
        extra_columns: those of ``CELL_COLUMNS`` and ``CANDIDATE_COLUMNS`` to write besides; ``None`` decides by the
            first prediction too, and ``extra_columns_of`` by all.
        format: the format, whatever the ending.

    Raises:
        OutputError: the path exists, cannot be written, or has another ending.
        ValueError: a prediction knows its truth, its cells or candidates where the columns for it are not there.
    """
    path = Path(path)
    refuse_output(path, overwrite=overwrite, format=format)
    rows = iter(predictions)
    first = next(rows, None)
    if with_truth is None:
        with_truth = first is not None and first.truth is not None
    if extra_columns is None:
        extra_columns = extra_columns_of(() if first is None else (first,))
    if first is not None:
        rows = itertools.chain([first], rows)
    columns = (*COLUMNS, *extra_columns, *(TRUTH_COLUMNS if with_truth else ()))
    write = _writer(format or _FORMAT_OF_ENDING[path.suffix.lower()])
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        return write(_nothing_left_out(rows, columns), columns, file)


def extra_columns_of(predictions: Iterable[Prediction]) -> tuple[str, ...]:
    """Say which columns predictions need beside those of every one: all of a group of which one is needed."""
    groups = [CELL_COLUMNS, CANDIDATE_COLUMNS]
    needed: list[tuple[str, ...]] = []
    for prediction in predictions:
        for group in [group for group in groups if any(getattr(prediction, name) is not None for name in group)]:
            groups.remove(group)
            needed.append(group)
        if not groups:
            break
    return tuple(name for group in (CELL_COLUMNS, CANDIDATE_COLUMNS) if group in needed for name in group)


def refuse_output(path: Path | str, *, overwrite: bool, format: FileFormat | None = None) -> None:  # noqa: A002
    """Stop before work begins whose predictions could not be written to ``path``.

    Raises:
        OutputError: the path exists and ``overwrite`` is false, cannot be written, or its ending names no format.
    """
    if format is None and Path(path).suffix.lower() not in _FORMAT_OF_ENDING:
        *most, last = _FORMAT_OF_ENDING
        raise OutputError(
            f"Cannot write {path}: its ending names no format. Choose a name that ends in {', '.join(most)} or {last}."
        )
    refuse_existing(path, overwrite=overwrite)


def _writer(format: FileFormat) -> Callable[[Iterable[Prediction], Sequence[str], IO[bytes]], int]:  # noqa: A002
    """Give the function that writes a format: predictions, columns, file -> how many."""
    if format == "parquet":
        from geomind.outputs import parquet  # loads pyarrow, which the others need not

        return parquet.write
    from geomind.outputs import csv_rows, geojson, gpx, kml

    return {"csv": csv_rows.write, "geojson": geojson.write, "kml": kml.write, "gpx": gpx.write}[format]


def _nothing_left_out(predictions: Iterable[Prediction], columns: Sequence[str]) -> Iterator[Prediction]:
    no_truth = TRUTH_COLUMNS[0] not in columns
    absent = [name for name in CELL_COLUMNS + CANDIDATE_COLUMNS if name not in columns]
    for prediction in predictions:
        if no_truth and prediction.truth is not None:
            raise ValueError(f"{prediction.image_path} knows its truth and the first row did not: say with_truth=True.")
        for name in absent:
            if getattr(prediction, name) is not None:
                raise ValueError(f"{prediction.image_path} has a {name} and no column for it: say extra_columns=….")
        yield prediction


def read_predictions(path: Path | str) -> list[Prediction]:
    """Read a CSV or Parquet of predictions back: the same predictions in the same order.

    Columns may stand in any order and others beside them are left alone. The link and the distance are not read but
    derived again from the coordinates.

    Raises:
        ManifestError: the file cannot be read, a column is missing, or a row is not a valid prediction.
    """
    return list(iter_predictions(path))


def iter_predictions(path: Path | str) -> Iterator[Prediction]:
    """Read a CSV or Parquet of predictions row by row, as ``read_predictions`` does, for those too many to be kept.

    Raises:
        ManifestError: the file cannot be read, a column is missing, or a row is not a valid prediction.
    """
    path = Path(path)
    if path.suffix.lower() == ".parquet":
        from geomind.outputs.parquet import read
    else:
        from geomind.outputs.csv_rows import read
    for where, values in read(path):
        try:
            yield Prediction(**values)
        except (TypeError, ValueError) as error:
            raise ManifestError(f"{path}, {where}: {error}") from error


def readable_columns(header: Sequence[str], path: Path) -> list[str]:
    """Give the columns of a file that a ``Prediction`` is made from.

    Raises:
        ManifestError: the header is not that of predictions.
    """
    if missing := [name for name in REQUIRED_COLUMNS if name not in header]:
        raise ManifestError(
            f"{path} is not a predictions.csv: it has no column {', '.join(missing)}. Write one with `geomind infer`."
        )
    return [each.name for each in dataclasses.fields(Prediction) if each.init and each.compare and each.name in header]


# ── names of places ──────────────────────────────────────────────────────────────────────────────────────────────────


def name_places(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Fill in the country (ISO 3166-1 alpha-2) and the nearest town of every place, all in one search.

    A place on the high seas has no country; ``places.city_at`` says when a town is near enough.
    """
    from geomind.geography import places  # reads its tables through pyarrow and shapely, which reading a CSV needs not

    named = list(predictions)
    found = [(i, each.place) for i, each in enumerate(named) if each.place is not None]
    if not found:
        return named
    points = [place for _, place in found]
    countries = places.country_at(points)
    cities = places.city_at(points, countries)
    for (i, _), country, city in zip(found, countries.tolist(), cities.tolist(), strict=True):
        named[i] = dataclasses.replace(named[i], country=country, city=city)
    return named
