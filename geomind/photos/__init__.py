"""From a photo's file to pixels and to its position. It knows no model."""

from __future__ import annotations

from geomind.photos.files import IMAGE_SUFFIXES, find_photos, iter_photos
from geomind.photos.positions import ESTIMATE, ESTIMATE_MARK, NO_GPS, position_fault, read_gps, sidecars_of
from geomind.photos.preprocessing import Preprocessing, square_in
from geomind.photos.reading import open_photo, read_orientation, read_photo_bytes

__all__ = [
    "ESTIMATE",
    "ESTIMATE_MARK",
    "IMAGE_SUFFIXES",
    "NO_GPS",
    "Preprocessing",
    "find_photos",
    "iter_photos",
    "open_photo",
    "position_fault",
    "read_gps",
    "read_orientation",
    "read_photo_bytes",
    "sidecars_of",
    "square_in",
]
