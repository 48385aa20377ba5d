"""Small pictures of photos for pages that need no network: a few KB each, inside the page, without metadata."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from geomind.photos import open_photo


def thumbnail_url(path: Path | str, size: tuple[int, int], *, most_bytes: int | None = None) -> str:
    """Make a JPEG that fits into a width and height, as a data URL.

    Args:
        path: The photo.
        size: Width and height, pixels.
        most_bytes: The JPEG is made coarser where it would be larger.

    Raises:
        PhotoError: the photo cannot be read.
    """
    image = open_photo(path, min_side=min(size))
    image.thumbnail(size)
    for quality in (60, 35, 15):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True)
        if most_bytes is None or file.tell() <= most_bytes:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
