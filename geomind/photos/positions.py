"""Where a photo says that it was taken: GPS in EXIF, in XMP and in sidecars. It decodes no pixels."""

from __future__ import annotations

import codecs
import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.parsers import expat

from PIL import ExifTags

from geomind.errors import GPSError
from geomind.photos.reading import exif_of, in_words, opened, reason_of

MAX_XMP_BYTES = 2**24
"""The largest XMP that is read; one of a long editing history has some hundred kilobytes."""

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
    with opened(path) as image:
        inside = image.info.get("xmp")
        try:
            gps = exif_of(image).get_ifd(ExifTags.IFD.GPSInfo)
        except Exception as error:  # noqa: BLE001  Pillow throws nearly every type on broken EXIF
            gps, fault = {}, f"EXIF cannot be read: {in_words(error)}"
    if any(tag in gps for tag in _POSITION_TAGS):
        _refuse_estimate(gps)
        return _position(gps)
    embedded = [inside] if isinstance(inside, str | bytes) else []
    for xmp in itertools.chain(_read_sidecars(Path(path)), embedded):
        if gps := _xmp_gps(xmp):
            _refuse_estimate(gps)
            try:
                return _position(gps)
            except GPSError as error:
                raise GPSError(f"XMP {error}") from error
    raise GPSError(fault)


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


def sidecars_of(photo: Path) -> Iterator[Path]:
    """Name the XMP files that stand beside a photo, the one that counts first."""
    for name in (f"{photo.name}.xmp", f"{photo.name}.XMP", f"{photo.stem}.xmp", f"{photo.stem}.XMP"):
        sidecar = photo.with_name(name)
        if sidecar.is_file():
            yield sidecar


def _read_sidecars(photo: Path) -> Iterator[bytes]:
    """Read the XMP files that stand beside a photo.

    Raises:
        GPSError: one cannot be read.
    """
    for sidecar in sidecars_of(photo):
        try:
            with sidecar.open("rb") as file:
                yield file.read(MAX_XMP_BYTES + 1)
        except OSError as error:
            raise GPSError(f"XMP cannot be read: {reason_of(error)}") from error


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
