"""GeoMind tells where a photograph was taken, from its pixels alone."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from geomind.cascade import Cascade
    from geomind.errors import GeoMindError
    from geomind.geography.boxes import Box
    from geomind.geography.regions import Region, RegionTable, default_regions
    from geomind.geography.sphere import geodesic_median, haversine_km
    from geomind.photos import Preprocessing, find_photos, open_photo, read_gps
    from geomind.predictions import Prediction, read_predictions, write_predictions

# Public name -> its module. Imported when first asked for, so that `import geomind` costs nothing.
_HOME = {
    "Box": "geomind.geography.boxes",
    "Cascade": "geomind.cascade",
    "GeoMindError": "geomind.errors",
    "Prediction": "geomind.predictions",
    "Preprocessing": "geomind.photos",
    "Region": "geomind.geography.regions",
    "RegionTable": "geomind.geography.regions",
    "default_regions": "geomind.geography.regions",
    "find_photos": "geomind.photos",
    "geodesic_median": "geomind.geography.sphere",
    "haversine_km": "geomind.geography.sphere",
    "open_photo": "geomind.photos",
    "read_gps": "geomind.photos",
    "read_predictions": "geomind.predictions",
    "write_predictions": "geomind.predictions",
}

__all__ = [
    "Box",
    "Cascade",
    "GeoMindError",
    "Prediction",
    "Preprocessing",
    "Region",
    "RegionTable",
    "__version__",
    "default_regions",
    "find_photos",
    "geodesic_median",
    "haversine_km",
    "open_photo",
    "read_gps",
    "read_predictions",
    "write_predictions",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'geomind' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
