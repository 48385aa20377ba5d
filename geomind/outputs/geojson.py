"""Predictions as GeoJSON (RFC 7946): a feature a photo, its columns as properties."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import IO, Any

from geomind.outputs.words import unicode_text
from geomind.predictions import Prediction


def write(predictions: Iterable[Prediction], columns: Sequence[str], file: IO[bytes]) -> int:
    """Write one FeatureCollection, a line a photo; return how many. A photo without a place has a null geometry."""
    file.write(b'{"type":"FeatureCollection","features":[')
    count = 0
    for prediction in predictions:
        line = json.dumps(_feature(prediction, columns), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        file.write((b",\n" if count else b"\n") + line.encode())
        count += 1
    file.write(b"\n]}\n")
    return count


def _feature(prediction: Prediction, columns: Sequence[str]) -> dict[str, Any]:
    place = prediction.place
    values = {name: getattr(prediction, name) for name in columns}
    return {
        "type": "Feature",
        # RFC 7946, 3.1.1: longitude before latitude.
        "geometry": None if place is None else {"type": "Point", "coordinates": [place[1], place[0]]},
        "properties": {
            name: unicode_text(value) if isinstance(value, str) else value for name, value in values.items()
        },
    }
