"""Predictions as KML 2.2 (OGC 07-147r2), which Google Earth and most map programs open: a placemark a photo."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import IO

from geomind.outputs.words import describe, xml_text
from geomind.predictions import DECIMALS, Prediction


def write(predictions: Iterable[Prediction], columns: Sequence[str], file: IO[bytes]) -> int:
    """Write one document, a line a photo; return how many. A photo without a place has no geometry."""
    file.write(
        b'<?xml version="1.0" encoding="UTF-8"?>\n<kml xmlns="http://www.opengis.net/kml/2.2"><Document>\n'
        b"<name>GeoMind</name><description>Places of photos, estimated from their pixels.</description>\n"
    )
    count = 0
    for prediction in predictions:
        file.write(_placemark(prediction, columns).encode())
        count += 1
    file.write(b"</Document></kml>\n")
    return count


def _placemark(prediction: Prediction, columns: Sequence[str]) -> str:
    """Write a placemark; the order of its elements is the schema's."""
    data = "".join(
        f'<Data name="{name}"><value>{_text(name, getattr(prediction, name))}</value></Data>'
        for name in columns
        if getattr(prediction, name) is not None
    )
    place = prediction.place
    point = "" if place is None else f"<Point><coordinates>{place[1]:.6f},{place[0]:.6f}</coordinates></Point>"
    return (
        f"<Placemark><name>{xml_text(prediction.image_path)}</name>"
        f"<description>{xml_text(describe(prediction))}</description>"
        f"<ExtendedData>{data}</ExtendedData>{point}</Placemark>\n"
    )


def _text(name: str, value: str | float) -> str:
    return xml_text(value) if isinstance(value, str) else f"{value:.{DECIMALS[name]}f}"
