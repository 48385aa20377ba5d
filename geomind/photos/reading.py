"""From a photo's file to an upright RGB picture: the only module that opens images.

A ``PhotoError`` of one photo carries the reason alone, the same on every run; whoever shows it names the file. What
stands before a colon is the kind of the reason, what follows is the detail.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import logging
import os
import re
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError, _imaging
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from geomind.errors import PhotoError
from geomind.tars import locate

logger = logging.getLogger(__name__)

MAX_PIXELS = 89_478_485
"""The most pixels that are decoded, Pillow's own threshold: 358 MB of RGB, at worst 1.5 GB while a photo is converted.
A JPEG is measured after it was shrunk."""

MAX_BYTES = 2**30
"""The largest file that is opened; the decoders of HEIC and AVIF read it whole."""

_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "AVIF")
"""What Pillow may take a file for, whatever its ending says; JPEG covers MPO. Its other formats, one of
which runs Ghostscript, are not formats of photographs."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")

_TURN_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF 2.32, 4.6.4 A, tag Orientation: what brings a stored picture upright."""


def open_photo(path: Path | str | bytes, *, min_side: int | None = None) -> Image.Image:
    """Decode a photo: RGB, upright, without metadata.

    Transparency is laid over white, an animation gives its first frame, 16-bit and float greys are scaled to 8 bits by
    their own range. Colour profiles are not applied. A truncated file is refused: its grey rest would be learned from.

    Args:
        path: Any format of ``IMAGE_SUFFIXES``, recognised by content; it may lead through a tar: ``a.tar/b.jpg``. The
            bytes of a photo will do too.
        min_side: A JPEG larger than this is shrunk by 2, 4 or 8 while it is decoded, its shorter side staying at least
            this long: about four times faster for a phone's photo, and what the network sees differs by 1.4 of 255.

    Raises:
        PhotoError: the photo cannot be read; the message is the reason.
    """
    with opened(path) as image:
        if min_side is not None and isinstance(image, JpegImageFile):
            image.draft(None, (min_side, min_side))
        width, height = image.size
        if not width * height:
            raise PhotoError("no pixels")
        if width * height > MAX_PIXELS:
            raise PhotoError(f"too many pixels: {width} x {height}")
        image.load()
        upright = _upright(image)
        rgb = _to_rgb(upright)
        if rgb is image:
            rgb = image.copy()
    rgb.info.clear()  # an orientation left there would be applied again by the next reader
    return rgb


def read_photo_bytes(path: Path | str) -> bytes:
    """Read a photo's file as it is, be it on the disk or in a tar.

    Raises:
        PhotoError: it cannot be read, is empty or larger than ``MAX_BYTES``; the message is the reason.
    """
    try:
        with _file(path) as file:
            return file.read()
    except (OSError, ValueError) as error:  # a ValueError is of a NUL in the path
        raise PhotoError(reason_of(error)) from error


def _file(path: Path | str) -> IO[bytes]:
    """Open the bytes of a photo, in a tar too.

    Raises:
        PhotoError: there is no byte, or too many to be decoded.
        OSError: there is no such file, or it cannot be opened.
    """
    place = locate(path)
    if not place.size:
        raise PhotoError("empty file")
    if place.size > MAX_BYTES:
        raise PhotoError("too many bytes: more than 1 GiB")
    return place.open()


@contextlib.contextmanager
def opened(path: Path | str | bytes) -> Iterator[ImageFile]:
    """Open an image without decoding it, and translate whatever Pillow and its codecs throw inside the block.

    Raises:
        PhotoError: the reason, in words that do not change from run to run.
    """
    try:
        with io.BytesIO(path) if isinstance(path, bytes) else _file(path) as file:
            _quiet_pillow()
            yield _identify(file)
    except PhotoError:
        raise
    except Exception as error:  # codecs throw nearly every type on broken data, and one photo must not end a run
        raise PhotoError(reason_of(error)) from error


def _identify(file: IO[bytes]) -> ImageFile:
    """Recognise an image by its content, HEIC included where pi-heif is installed."""
    header = file.read(12)
    if header[4:8] != b"ftyp" or header[8:12] not in _HEIF_BRANDS:
        return Image.open(file, formats=_FORMATS)
    if _register_heif():
        return Image.open(file, formats=(*_FORMATS, "HEIF"))
    try:
        return Image.open(file, formats=_FORMATS)  # an AVIF may carry HEIF's general brand
    except UnidentifiedImageError as error:
        raise PhotoError('HEIC needs an extra: pip install "geomind[heic]"') from error


@functools.cache
def _register_heif() -> bool:
    try:
        import pi_heif
    except ImportError:
        return False
    pi_heif.register_heif_opener()
    return True


_PILLOW_WARNINGS = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


def _quiet_pillow() -> None:
    """Silence what Pillow and libtiff say about odd files beside their errors, which become reasons.

    A filter is put in once and stays: ``warnings.catch_warnings`` around a decode is not safe among threads.
    """
    if _PILLOW_WARNINGS not in warnings.filters:
        warnings.filterwarnings("ignore", module=_PILLOW_WARNINGS[3].pattern)
    _quiet_libtiff()


@functools.cache
def _quiet_libtiff() -> None:
    # libtiff prints to stderr from C, hundreds of lines for one fuzzed file. Where it is linked into Pillow's module
    # (Windows), its functions are not to be found there and it goes on printing.
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL(_imaging.__file__)
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)


def _upright(image: Image.Image) -> Image.Image:
    """Turn a decoded picture as its EXIF says; one whose EXIF cannot be read stays as it is."""
    orientation = 1
    with contextlib.suppress(Exception):
        orientation = _orientation(image.getexif())
    return image if orientation == 1 else image.transpose(_TURN_UPRIGHT[orientation])


def read_orientation(photo: Path | str | bytes) -> int:
    """Tell how a photo is stored, without decoding it: EXIF's 1 to 8, which is 1 where nothing else can be read.

    Raises:
        PhotoError: the photo cannot be opened; the message is the reason.
    """
    with opened(photo) as image:
        with contextlib.suppress(Exception):
            return _orientation(exif_of(image))
        return 1


def _orientation(exif: Image.Exif) -> int:
    orientation = exif.get(ExifTags.Base.Orientation)
    return orientation if isinstance(orientation, int) and orientation in _TURN_UPRIGHT else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _grey_to_8_bits(image).convert("RGB")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None  # None is for a change in place
        return converted
    if image.has_transparency_data:
        if image.mode == "La":
            image = image.convert("LA")
        rgba = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(rgba, mask=rgba)
        return canvas
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey_to_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and float greys to 0..255 without clipping, black staying black.

    Integers are scaled by the bit depth that holds the brightest value (a 12-bit sensor's picture in a 16-bit file is
    not dark), floats, which have no depth, by their largest value; negative ones move the black point.
    """
    values = np.asarray(image)
    whole = values.dtype.kind in "iu"
    scaled = values.astype(np.float32)
    if not whole:
        np.nan_to_num(scaled, copy=False, nan=0, posinf=0, neginf=0)
    low, high = min(0.0, float(scaled.min())), float(scaled.max())
    if whole and low == 0:
        high = 2 ** max(8, int(values.max()).bit_length()) - 1
    scaled -= np.float32(low)
    scaled *= np.float32(255 / (high - low) if high > low else 0)
    return Image.fromarray(np.rint(scaled, out=scaled).astype(np.uint8))


def exif_of(image: ImageFile) -> Image.Exif:
    """Give the EXIF of an image that is open and not decoded."""
    exif = Image.Image.getexif(image)  # PngImageFile's own decodes the picture first, to reach an eXIf behind it
    if not exif and image.format == "PNG" and image.fp is not None:
        exif.load(_png_exif(image.fp))
    return exif


def _png_exif(file: IO[bytes]) -> bytes:
    """Find the eXIf chunk of a PNG wherever it stands (PNG, third edition, 5.3 and 11.3.4.7)."""
    file.seek(8)
    while len(header := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        if kind == b"eXIf":
            return file.read(length)
        file.seek(length + 4, os.SEEK_CUR)
    return b""


def reason_of(error: Exception) -> str:
    """Say in a few words what went wrong, without what differs from run to run."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or broken at its beginning"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "too many pixels"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"cannot decode: {in_words(error)}"


def in_words(error: Exception) -> str:
    """Put the first line of an error into words that are the same on every run."""
    first_line = str(error).partition("\n")[0]
    text = re.sub(r"<[^>]*>|\bat 0x[0-9a-fA-F]+| \(\d+ bytes not processed\)", "", first_line)
    return " ".join(text.split())[:120] or type(error).__name__
