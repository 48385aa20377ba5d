"""Predictions as GPX 1.1 (Topografix, 2004): a waypoint a photo that has a place.

A waypoint without a position does not exist in GPX, so photos without a place are counted in a comment at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import IO

from geomind.outputs.words import describe, xml_text
from geomind.predictions import Prediction


def write(predictions: Iterable[Prediction], columns: Sequence[str], file: IO[bytes]) -> int:
    """Write waypoints, a line each; return how many photos there were, those without a place included."""
    del columns  # a waypoint has fields of its own
    file.write(
        b'<?xml version="1.0" encoding="UTF-8"?>\n'
        b'<gpx xmlns="http://www.topografix.com/GPX/1/1" version="1.1" creator="GeoMind">\n'
        b"<metadata><desc>Places of photos, estimated from their pixels.</desc></metadata>\n"
    )
    count = missing = 0
    for prediction in predictions:
        count += 1
        if prediction.place is None:
            missing += 1
        else:
            file.write(_waypoint(prediction, *prediction.place).encode())
    file.write(f"<!-- {missing} of {count} photos have no place and no waypoint. -->\n</gpx>\n".encode())
    return count


def _waypoint(prediction: Prediction, latitude: float, longitude: float) -> str:
    """Write a waypoint; the order of its elements is the schema's."""
    if longitude == 180:
        longitude = -180.0  # the same meridian, and the schema leaves 180 out
    return (
        f'<wpt lat="{latitude:.6f}" lon="{longitude:.6f}"><name>{xml_text(prediction.image_path)}</name>'
        f"<desc>{xml_text(describe(prediction))}</desc><src>GeoMind estimate</src>"
        f'<link href="{xml_text(prediction.google_maps_url or "")}"/></wpt>\n'
    )
