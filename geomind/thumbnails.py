"""Small pictures of photos for pages that need no network: a few KB each, inside the page, without metadata."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from geomind.errors import PhotoError
from geomind.photos import open_photo
from geomind.progress import SILENT, Progress


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


def thumbnail_urls(
    paths: Sequence[Path],
    size: tuple[int, int],
    *,
    most_bytes: int | None = None,
    what: str = "Thumbnails",
    progress: Progress = SILENT,
) -> list[str]:
    """Make the thumbnails of many photos, on all cores; "" for one that cannot be read.

    Args:
        paths: The photos.
        size: Width and height, pixels.
        most_bytes: A JPEG is made coarser where it would be larger.
        what: What the progress is called.
        progress: Shows the thumbnails made.
    """

    def make(path: Path) -> str:
        try:
            return thumbnail_url(path, size, most_bytes=most_bytes)
        except PhotoError:
            return ""

    urls = []
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress.track(what, len(paths)) as advance:
        for url in pool.map(make, paths):
            urls.append(url)
            advance()
    return urls
