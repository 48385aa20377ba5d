"""From a photo's file to pixels and to its position: the only module that opens images. It knows no model.

A ``PhotoError`` of one photo carries the reason alone, the same on every run; whoever shows it names the file. What
stands before a colon is the kind of the reason, what follows is the detail.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import functools
import heapq
import io
import itertools
import logging
import math
import os
import re
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError, _imaging
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from geomind.errors import GPSError, PhotoError
from geomind.tars import SUFFIX as TAR_SUFFIX
from geomind.tars import list_members, locate

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .png .webp .tif .tiff .bmp .gif .mpo .jp2 .j2k .avif .heic .heif".split()  # noqa: SIM905
)
"""Endings of the files that count as photos, in lower case; they match in any case."""

MAX_PIXELS = 89_478_485
"""The most pixels that are decoded, Pillow's own threshold: 358 MB of RGB, at worst 1.5 GB while a photo is converted.
A JPEG is measured after it was shrunk."""

MAX_BYTES = 2**30
"""The largest file that is opened; the decoders of HEIC and AVIF read it whole."""

MAX_XMP_BYTES = 2**24
"""The largest XMP that is read; one of a long editing history has some hundred kilobytes."""

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


def find_photos(folder: Path | str) -> list[Path]:
    """List the photos of a folder and its subfolders, in the order of their names.

    Symbolic links are followed, each real folder once. Hidden folders (``.thumbnails``, ``.Trash``) are left out, and
    so are the ``._name`` files that macOS leaves beside photos on foreign disks. Everything else with an image's ending
    is listed, readable or not. A tar is walked like a folder, in its own order: ``a.tar/b.jpg`` is a photo in it.

    Raises:
        PhotoError: there is no such folder, or no photo in it.
    """
    folder = Path(folder)
    return [folder / name for name in iter_photos(folder)]


def iter_photos(folder: Path | str) -> Iterator[str]:
    """Name what ``find_photos`` lists one after the other, relative to the folder, with "/" between the parts.

    A folder's names are held packed, so that a million photos take some 30 MB where they lie in one folder, and less
    where they lie in many.

    Raises:
        PhotoError: there is no such folder, or no photo in it.
    """
    folder = Path(folder)
    if not folder.exists():
        raise PhotoError(f"There is no folder {folder}. Check the spelling.")
    if not folder.is_dir():
        raise PhotoError(f"{folder} is a file. Name the folder that holds it.")
    photos = _walk(os.fspath(folder))
    first = next(photos, None)
    if first is None:
        endings = " ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
        raise PhotoError(f"No photo in {folder} or its subfolders. Photos end in one of: {endings}.")
    yield first
    yield from photos


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
    with _opened(path) as image:
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


class Preprocessing(BaseModel):
    """How a photo becomes a network's input; stored with the weights and used wherever they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int = Field(default=224, ge=8, le=4096)
    """Side of the square that the network sees, in pixels; 224 is EfficientNet-B0's."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Taken from each channel of [0, 1]; the default is ImageNet's."""

    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)
    """Each channel is divided by it; the default is ImageNet's."""

    resample: Literal["bilinear", "bicubic"] = "bicubic"
    """Kernel of the resize; the ImageNet weights of EfficientNet were trained with bicubic."""

    views: int = Field(default=1, ge=1, le=16)
    """Squares of a photo that are looked at: 1 is the central one; several are spread evenly over its longer side."""

    def square(self, image: Image.Image, at: float = 0.5) -> Image.Image:
        """Cut a square and resize it, in one pass: RGB of any shape -> RGB, image_size x image_size.

        It is as large as fits and lies at a share of the way along the longer side: 0.5 is the centre.
        """
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) * at, (height - side) * at
        kernel = Image.Resampling[self.resample.upper()]
        size = (self.image_size, self.image_size)
        # A gap of 2 shrinks by whole numbers first, down to twice the size: faster, and looks the same (Pillow's docs).
        return image.resize(size, kernel, box=(left, top, left + side, top + side), reducing_gap=2.0)

    def normalize(self, image: Image.Image) -> NDArray[np.float32]:
        """Turn an RGB picture into numbers: (3, height, width), (value / 255 - mean) / std."""
        std = np.asarray(self.std, dtype=np.float32)
        scale, shift = 1 / (255 * std), np.asarray(self.mean, dtype=np.float32) / std
        return np.ascontiguousarray((np.asarray(image, dtype=np.float32) * scale - shift).transpose(2, 0, 1))

    def pixels(self, image: Image.Image) -> NDArray[np.float32]:
        """Turn an RGB photo of any shape into the network's input: (3, S, S), or (views, 3, S, S) of several views."""
        if self.views == 1:
            return self.normalize(self.square(image))
        return np.stack([self.normalize(self.square(image, at)) for at in np.linspace(0, 1, self.views)])

    def read(self, path: Path | str | bytes) -> NDArray[np.float32]:
        """Read a photo, or the bytes of one, as the network's input: (3, S, S), or (views, 3, S, S) of several views.

        Raises:
            PhotoError: the photo cannot be read; the message is the reason.
        """
        return self.pixels(open_photo(path, min_side=self.image_size))


NO_GPS = "no EXIF GPS"
"""The reason of ``read_gps`` where nobody has said anything of a position."""

ESTIMATE = "its position is an estimate of GeoMind"
"""The reason of ``read_gps`` where GeoMind has."""

ESTIMATE_MARK = "GeoMind estimate"
"""What GeoMind writes into a photo's metadata beside a position of its own: a truth to nobody."""


def read_gps(path: Path | str) -> tuple[float, float]:
    """Read latitude and longitude in degrees from a photo's metadata, without decoding its pixels.

    Asked in this order, the first that holds a position counts, even one that makes no sense: the photo's EXIF; a
    sidecar ``photo.jpg.xmp`` (darktable, digiKam) or else ``photo.xmp`` (Adobe); the XMP inside the photo. A position
    that GeoMind itself estimated and wrote there is refused: nothing may be trained or judged with it.

    Raises:
        GPSError: the photo holds no usable position; the message is the reason.
        PhotoError: the file is no photo.
    """
    fault = NO_GPS
    with _opened(path) as image:
        inside = image.info.get("xmp")
        try:
            gps = _exif(image).get_ifd(ExifTags.IFD.GPSInfo)
        except Exception as error:  # noqa: BLE001  Pillow throws nearly every type on broken EXIF
            gps, fault = {}, f"EXIF cannot be read: {_words(error)}"
    if any(tag in gps for tag in _POSITION_TAGS):
        _refuse_estimate(gps)
        return _position(gps)
    embedded = [inside] if isinstance(inside, str | bytes) else []
    for xmp in itertools.chain(_sidecars(Path(path)), embedded):
        if gps := _xmp_gps(xmp):
            _refuse_estimate(gps)
            try:
                return _position(gps)
            except GPSError as error:
                raise GPSError(f"XMP {error}") from error
    raise GPSError(fault)


def read_photo_bytes(path: Path | str) -> bytes:
    """Read a photo's file as it is, be it on the disk or in a tar.

    Raises:
        PhotoError: it cannot be read, is empty or larger than ``MAX_BYTES``; the message is the reason.
    """
    try:
        with _file(path) as file:
            return file.read()
    except (OSError, ValueError) as error:  # a ValueError is of a NUL in the path
        raise PhotoError(_reason(error)) from error


def position_fault(latitude: float, longitude: float) -> str:
    """Say why degrees cannot be where a photo was taken; "" where they can."""
    for name, value, limit in (("latitude", latitude, 90), ("longitude", longitude, 180)):
        if not math.isfinite(value):
            return f"{name} is not a finite number"
        if abs(value) > limit:
            return f"{name} is out of range: {value:.10g}"
    if latitude == longitude == 0:
        return "latitude and longitude are both 0"  # what cameras and tables write for "unknown"
    return ""


def _walk(root: str) -> Iterator[str]:
    """Name the photos below a folder depth first, names sorted, whatever loops its links make."""
    visited: set[tuple[int, int]] = set()
    waiting = [("", _entries(root, visited))]
    while waiting:
        above, entries = waiting[-1]
        entry = next(entries, None)
        if entry is None:
            waiting.pop()
            continue
        name, is_folder = entry
        path = above + name
        if is_folder:
            waiting.append((f"{path}/", _entries(os.path.join(root, path), visited)))  # noqa: PTH118  strings
        elif _is_photo(name):
            yield path
        else:
            yield from (f"{path}/{member}" for member in _photos_in_tar(os.path.join(root, path)))  # noqa: PTH118


_SORTED_AT_ONCE = 20_000


def _entries(folder: str, visited: set[tuple[int, int]]) -> Iterator[tuple[str, bool]]:
    """Give the photos, tars and folders right in a folder, sorted by name, and whether each is a folder.

    Blocks of names are sorted and packed as they come, and merged as they are asked for: a million strings would take
    100 MB. A record is the name, a NUL, which sorts before all else, and one byte for the kind.
    """
    blocks: list[bytes] = []
    block: list[bytes] = []
    try:
        status = os.stat(folder)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in visited:
            return
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                name, is_folder = entry.name, _is_folder(entry)
                if _is_skipped(name, is_folder):
                    continue
                block.append(name.encode("utf-8", "surrogatepass") + (b"\0d" if is_folder else b"\0f"))
                if len(block) == _SORTED_AT_ONCE:
                    blocks.append(b"".join(sorted(block)))
                    block.clear()
    except OSError as error:
        logger.warning("The folder %s is left out: %s.", folder, _reason(error))
        return
    blocks.append(b"".join(sorted(block)))
    block.clear()
    for record in heapq.merge(*map(_records, blocks)):
        yield record[:-2].decode("utf-8", "surrogatepass"), record.endswith(b"d")


def _records(block: bytes) -> Iterator[bytes]:
    start = 0
    while (nul := block.find(b"\0", start)) >= 0:
        yield block[start : nul + 2]
        start = nul + 2


def _photos_in_tar(tar: str) -> Iterator[str]:
    try:
        names = list_members(tar)
    except OSError as error:
        logger.warning("The tar %s is left out: %s.", tar, _reason(error))
        return
    for name in names:
        *folders, last = name.split("/")
        if _is_photo(last) and not any(folder.startswith(".") for folder in folders):
            yield name


def _is_skipped(name: str, is_folder: bool) -> bool:
    if is_folder:
        return name.startswith(".")
    return not (_is_photo(name) or (_suffix(name) == TAR_SUFFIX and not _is_leftover(name)))


def _is_photo(name: str) -> bool:
    return _suffix(name) in IMAGE_SUFFIXES and not _is_leftover(name)


def _suffix(name: str) -> str:
    """Give the ending of a name in lower case, as ``Path.suffix`` takes it, which is slow for a million."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def _is_leftover(name: str) -> bool:
    """Tell what macOS leaves beside photos on foreign disks, and what a killed download of ours leaves."""
    return name.startswith("._") or (name.startswith(".") and ".partial." in name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell folders from photos; what may not even be looked at counts as a photo, whose row will say so."""
    try:
        return entry.is_dir()
    except OSError:
        return False


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
def _opened(path: Path | str | bytes) -> Iterator[ImageFile]:
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
        raise PhotoError(_reason(error)) from error


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
    orientation = None
    with contextlib.suppress(Exception):
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    method = _TURN_UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


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


def _exif(image: ImageFile) -> Image.Exif:
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


_POSITION_TAGS = (ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLongitude)


def _position(gps: dict[int, Any]) -> tuple[float, float]:
    """Read latitude and longitude in degrees from the tags of EXIF.

    Raises:
        GPSError: a part is missing or makes no sense.
    """
    latitude = _signed_degrees(gps, ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef, "NS")
    longitude = _signed_degrees(gps, ExifTags.GPS.GPSLongitude, ExifTags.GPS.GPSLongitudeRef, "EW")
    if fault := position_fault(latitude, longitude):
        raise GPSError(fault)
    return latitude, longitude


def _refuse_estimate(gps: dict[int, Any]) -> None:
    if _says_estimate(gps.get(ExifTags.GPS.GPSProcessingMethod)):
        raise GPSError(ESTIMATE)


def _says_estimate(method: object) -> bool:
    """Tell our mark; EXIF puts eight bytes that name the encoding before it (EXIF 2.32, 4.6.6)."""
    if isinstance(method, bytes):
        return method.removeprefix(b"ASCII\0\0\0").startswith(ESTIMATE_MARK.encode())
    return isinstance(method, str) and method.startswith(ESTIMATE_MARK)


def _signed_degrees(gps: dict[int, Any], tag: ExifTags.GPS, ref_tag: ExifTags.GPS, hemispheres: str) -> float:
    """Read one coordinate: degrees, or degrees and minutes, or degrees, minutes and seconds, and its hemisphere.

    Raises:
        GPSError: a part is missing or makes no sense; the message names the tag.
    """
    name = tag.name
    if tag not in gps:
        raise GPSError(f"{name} missing")
    ref = gps.get(ref_tag)
    if isinstance(ref, bytes):
        ref = ref.decode("latin-1")
    ref = str(ref or "").strip("\0 \t").upper()
    if not ref:
        raise GPSError(f"{ref_tag.name} missing")
    if ref not in tuple(hemispheres):
        raise GPSError(f"{ref_tag.name} is neither {hemispheres[0]} nor {hemispheres[1]}: {ref[:8]!r}")
    value = gps[tag]
    parts = tuple(value) if isinstance(value, tuple | list) else (value,)
    if not 1 <= len(parts) <= 3 or isinstance(value, str | bytes):
        raise GPSError(f"{name} is not 1 to 3 numbers")
    degrees = 0.0
    for part, unit in zip(parts, (1, 60, 3600), strict=False):
        if getattr(part, "denominator", 1) == 0:
            raise GPSError(f"{name} has a zero denominator")
        try:
            number = float(part)
        except (TypeError, ValueError, OverflowError) as error:
            raise GPSError(f"{name} is not 1 to 3 numbers") from error
        if not math.isfinite(number):
            raise GPSError(f"{name} is not a finite number")
        if number < 0:
            raise GPSError(f"{name} is negative: {number:g}")
        if unit > 1 and number > 60:
            raise GPSError(f"{name} has minutes or seconds above 60: {number:g}")
        degrees += number / unit
    return -degrees if ref == hemispheres[1] else degrees


def _sidecars(photo: Path) -> Iterator[bytes]:
    """Read the XMP files that stand beside a photo.

    Raises:
        GPSError: one cannot be read.
    """
    for name in (f"{photo.name}.xmp", f"{photo.name}.XMP", f"{photo.stem}.xmp", f"{photo.stem}.XMP"):
        sidecar = photo.with_name(name)
        if sidecar.is_file():
            try:
                with sidecar.open("rb") as file:
                    yield file.read(MAX_XMP_BYTES + 1)
            except OSError as error:
                raise GPSError(f"XMP cannot be read: {_reason(error)}") from error


_XMP_TAGS = {
    f"http://ns.adobe.com/exif/1.0/ {tag.name}": (tag, ref_tag)
    for tag, ref_tag in zip(_POSITION_TAGS, (ExifTags.GPS.GPSLatitudeRef, ExifTags.GPS.GPSLongitudeRef), strict=True)
}
"""Full name of a property of XMP -> the tags of EXIF that it stands for."""

_XMP_METHOD = "http://ns.adobe.com/exif/1.0/ GPSProcessingMethod"
_XMP_KEYWORDS = "http://purl.org/dc/elements/1.1/ subject"

_XMP_COORDINATE = re.compile(r"([\d.]+)(?:,([\d.]+))?(?:,([\d.]+))?([NSEW])", re.ASCII)
"""48,51.4937N or 48,51,29N (XMP specification, part 2, GPSCoordinate); some write 48.858N."""


def _xmp_gps(packet: bytes | str) -> dict[int, Any]:
    """Find the position of an XMP packet, be it in attributes or in elements, as the tags of EXIF.

    A packet needs no document type, so one that has it is refused: this is where XML names other files and lets short
    entities grow without bound.

    Raises:
        GPSError: the packet is too long, is no XML or has a document type, or a coordinate is in no known form.
    """
    if len(packet) > MAX_XMP_BYTES:
        raise GPSError("XMP cannot be read: more than 16 MiB")
    wanted = {*_XMP_TAGS, _XMP_METHOD, _XMP_KEYWORDS}
    texts: dict[str, str] = {}
    inside: list[str] = []

    def begin(name: str, attributes: dict[str, str]) -> None:
        inside.append(name)
        for each in attributes.keys() & wanted:
            texts.setdefault(each, attributes[each])

    def read(text: str) -> None:
        # A keyword stands in an item of a bag; programs that rewrite a sidecar keep keywords and drop the method.
        name = _XMP_KEYWORDS if _XMP_KEYWORDS in inside[-3:] else inside[-1]
        if name in wanted:
            texts[name] = texts.get(name, "") + text

    def refuse(*_: object) -> None:
        raise GPSError("XMP cannot be read: it has a document type")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = begin, lambda _: inside.pop()
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = read, refuse
    try:
        if isinstance(packet, bytes) and packet.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            packet = packet.decode("utf-16")
        # Writers fill up with zeros, which are no XML; the text may be empty.
        packet = packet.strip("\0 \t\r\n") if isinstance(packet, str) else packet.strip(b"\0 \t\r\n")
        if packet:
            parser.Parse(packet, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two for an encoding that is not known
        raise GPSError(f"XMP cannot be read: {error}") from error
    gps: dict[int, Any] = {}
    for name, (tag, ref_tag) in _XMP_TAGS.items():
        if text := texts.get(name, "").strip():
            match = _XMP_COORDINATE.fullmatch(text)
            if match is None:
                raise GPSError(f"XMP {tag.name} is not of the form 48,51.5N: {text[:24]!r}")
            gps[tag], gps[ref_tag] = tuple(part for part in match.groups()[:3] if part is not None), match[4]
    if gps and (_says_estimate(texts.get(_XMP_METHOD)) or ESTIMATE_MARK in texts.get(_XMP_KEYWORDS, "")):
        gps[ExifTags.GPS.GPSProcessingMethod] = ESTIMATE_MARK
    return gps


def _reason(error: Exception) -> str:
    """Say in a few words what went wrong, without what differs from run to run."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or broken at its beginning"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "too many pixels"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"cannot decode: {_words(error)}"


def _words(error: Exception) -> str:
    first_line = str(error).partition("\n")[0]
    text = re.sub(r"<[^>]*>|\bat 0x[0-9a-fA-F]+| \(\d+ bytes not processed\)", "", first_line)
    return " ".join(text.split())[:120] or type(error).__name__
