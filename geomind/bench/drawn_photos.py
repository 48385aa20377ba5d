"""Photos drawn for a bench: JPEGs that cost as much to read as photographs do. It knows not what is measured."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geomind.errors import OutputError
from geomind.files import make_folder
from geomind.progress import SILENT, Progress

_JPEG_QUALITY = 90

_AT_ONCE = 4
"""Photos drawn at the same time: one of 12 megapixels takes half a gigabyte while it is drawn."""


def size_of(megapixels: float) -> tuple[int, int]:
    """Give width and height of a photo of 4:3, the width a multiple of 16: 12 -> (4000, 3000)."""
    width = max(16, 16 * round((megapixels * 1e6 * 4 / 3) ** 0.5 / 16))
    return width, width * 3 // 4


def draw_photos(folder: Path, count: int, size: tuple[int, int], *, progress: Progress = SILENT) -> list[Path]:
    """Draw JPEGs of ``size`` (width, height), some 0.3 bytes a pixel, no two the same.

    Raises:
        OutputError: they cannot be written.
    """
    make_folder(folder)
    paths = [folder / f"{number:06d}.jpg" for number in range(count)]
    at_once = min(os.cpu_count() or 1, _AT_ONCE)
    with progress.track("Drawing photos", count) as advance, ThreadPoolExecutor(at_once) as pool:
        for _ in pool.map(_draw, paths, range(count), [size] * count):
            advance(1)
    return paths


def _draw(path: Path, seed: int, size: tuple[int, int]) -> None:
    """Draw wide gradients, small blotches and the noise of a sensor."""
    rng = np.random.default_rng(seed)
    width, height = size

    def blotches(side: int) -> NDArray[np.float32]:
        grid = rng.integers(0, 256, (height // side, width // side, 3), dtype=np.uint8)
        return np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC), dtype=np.float32) - 128

    pixels = 0.8 * blotches(height // 4)
    pixels += 0.25 * blotches(8)
    pixels += 5 * rng.standard_normal((height, width, 1), dtype=np.float32)
    pixels += 128
    try:
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, "JPEG", quality=_JPEG_QUALITY)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}. Free the disk.") from error
