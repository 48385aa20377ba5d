"""A position into the EXIF of a JPEG, PNG or TIFF without touching anything else: no pixel is encoded anew.

What EXIF holds already stays where it is, byte for byte, because maker notes point at places in it. The new GPS
directory goes to its end, and so does a copy of the first directory with one entry more, to which the header then
points. (TIFF 6.0, section 2; EXIF 2.32, 4.5 and 4.6.6; PNG, third edition, 11.3.4.7; CIPA DC-007 for MPF.)
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from PIL.ExifTags import GPS, IFD

from geomind.errors import PhotoError
from geomind.outputs.containers import (
    EXIF_HEADER,
    JPEG_HEADER,
    PNG_HEADER,
    SOS,
    jpeg_parts,
    jpeg_segment,
    png_chunk,
    png_parts,
)
from geomind.photos import ESTIMATE_MARK
from geomind.predictions import Prediction

CAN_HOLD = "JPEG, PNG and TIFF"
"""The formats that a position can be put in; the others get an XMP sidecar."""

_BYTE, _ASCII, _LONG, _RATIONAL, _UNDEFINED = 1, 2, 4, 5, 7
_ENTRY = 12
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_EMPTY_TIFF = b"MM\0*\0\0\0\x08" + b"\0\0" + b"\0\0\0\0"
_MOST_IN_SEGMENT = 65_533
_MOST_METRES = 2**32 - 1


@dataclass(frozen=True)
class _Value:
    """A value of a directory, not yet in any byte order."""

    kind: int
    numbers: tuple[int, ...] = ()
    raw: bytes = b""


def with_position(photo: bytes, prediction: Prediction) -> bytes:
    """Give a photo's file with the place of a prediction in its EXIF, marked as an estimate.

    Raises:
        PhotoError: the photo's format or its EXIF takes no position; the message is the reason.
        ValueError: the prediction has no place.
    """
    values = _gps_values(prediction)
    try:
        if photo.startswith(JPEG_HEADER):
            return _in_jpeg(photo, values)
        if photo.startswith(PNG_HEADER):
            return _in_png(photo, values)
        if photo[:4] in _ORDERS:
            return _in_tiff(photo, values)
    except (struct.error, IndexError) as error:
        raise PhotoError("its EXIF is broken") from error
    raise PhotoError(f"only {CAN_HOLD} can hold EXIF that is added without encoding the picture anew")


def micro_degrees(degrees: float) -> int:
    """Give the size of a coordinate as a whole number of millionths of a degree, what a row's 6 decimals hold."""
    return abs(round(degrees * 1_000_000))


def _gps_values(prediction: Prediction) -> dict[int, _Value]:
    if prediction.place is None:
        raise ValueError(f"{prediction.image_path} has no place")
    latitude, longitude = prediction.place
    values: dict[int, _Value] = {
        GPS.GPSVersionID: _Value(_BYTE, raw=bytes((2, 3, 0, 0))),
        GPS.GPSLatitudeRef: _Value(_ASCII, raw=b"S\0" if latitude < 0 else b"N\0"),
        GPS.GPSLatitude: _sexagesimal(latitude),
        GPS.GPSLongitudeRef: _Value(_ASCII, raw=b"W\0" if longitude < 0 else b"E\0"),
        GPS.GPSLongitude: _sexagesimal(longitude),
        GPS.GPSMapDatum: _Value(_ASCII, raw=b"WGS-84\0"),
        GPS.GPSProcessingMethod: _Value(_UNDEFINED, raw=b"ASCII\0\0\0" + ESTIMATE_MARK.encode()),
    }
    if prediction.radius_km_90 is not None:
        metres = min(round(prediction.radius_km_90 * 1000), _MOST_METRES)
        values[GPS.GPSHPositioningError] = _Value(_RATIONAL, (metres, 1))
    return values


def _sexagesimal(degrees: float) -> _Value:
    """Write degrees, minutes and seconds as three rationals, exactly."""
    whole, rest = divmod(micro_degrees(degrees), 1_000_000)
    minutes, rest = divmod(rest * 60, 1_000_000)
    return _Value(_RATIONAL, (whole, 1, minutes, 1, rest * 60, 1_000_000))


# ── TIFF, which EXIF is ──────────────────────────────────────────────────────────────────────────────────────────────


def _in_tiff(tiff: bytes, values: Mapping[int, _Value]) -> bytes:
    """Add GPS values to a TIFF structure by appending to it; only the header's pointer or one entry changes."""
    order = _ORDERS.get(tiff[:4])
    if order is None:
        raise PhotoError("its EXIF is broken")
    (first,) = struct.unpack_from(order + "I", tiff, 4)
    entries, after = _directory(tiff, first, order)
    grown = bytearray(tiff)
    pointer = entries.get(IFD.GPSInfo)
    kept = _directory(tiff, struct.unpack(order + "I", pointer[8:])[0], order)[0] if pointer is not None else {}
    at = _append_gps(grown, order, kept, values)
    entry = struct.pack(order + "HHII", IFD.GPSInfo, _LONG, 1, at)
    if pointer is not None:
        place = first + 2 + list(entries).index(IFD.GPSInfo) * _ENTRY
        grown[place : place + _ENTRY] = entry
        return bytes(grown)
    entries[IFD.GPSInfo] = entry
    _pad(grown)
    struct.pack_into(order + "I", grown, 4, len(grown))
    grown += struct.pack(order + "H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + after
    return bytes(grown)


def _directory(tiff: bytes, start: int, order: str) -> tuple[dict[int, bytes], bytes]:
    """Read a directory: its entries by tag, in the order they stand, and the pointer to the next one."""
    (count,) = struct.unpack_from(order + "H", tiff, start)
    end = start + 2 + count * _ENTRY
    if start < 8 or end > len(tiff):
        raise PhotoError("its EXIF is broken")
    entries = {}
    for at in range(start + 2, end, _ENTRY):
        (tag,) = struct.unpack_from(order + "H", tiff, at)
        if tag in entries:
            raise PhotoError("its EXIF is broken")
        entries[tag] = tiff[at : at + _ENTRY]
    return entries, tiff[end : end + 4].ljust(4, b"\0")  # some writers leave the last pointer out


def _append_gps(grown: bytearray, order: str, kept: Mapping[int, bytes], values: Mapping[int, _Value]) -> int:
    """Append a directory of what is kept and what is new, and give where it begins."""
    entries = dict(kept)
    for tag, value in values.items():
        raw = value.raw or struct.pack(f"{order}{len(value.numbers)}I", *value.numbers)
        count = len(raw) // 8 if value.kind == _RATIONAL else len(raw)
        if len(raw) <= 4:
            held = raw.ljust(4, b"\0")
        else:
            _pad(grown)
            held = struct.pack(order + "I", len(grown))
            grown += raw
        entries[tag] = struct.pack(order + "HHI", tag, value.kind, count) + held
    _pad(grown)
    at = len(grown)
    grown += struct.pack(order + "H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + b"\0" * 4
    return at


def _pad(grown: bytearray) -> None:
    grown += b"\0" * (len(grown) % 2)  # a directory and its values begin on an even byte


# ── JPEG ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _in_jpeg(photo: bytes, values: Mapping[int, _Value]) -> bytes:
    """Change the EXIF segment of a JPEG, or put one behind SOI and JFIF."""
    place, exif, multi_picture = 2, None, None
    for part in jpeg_parts(photo):
        if part.kind == SOS:
            break
        if part.kind == b"\xff\xe0" and part.start == place:
            place = part.end
        if part.kind == b"\xff\xe1" and photo.startswith(EXIF_HEADER, part.content):
            if exif is not None:
                raise PhotoError("its EXIF is in several segments")
            exif = (part.start, part.end)
        if part.kind == b"\xff\xe2" and photo.startswith(b"MPF\0", part.content) and multi_picture is None:
            multi_picture = part.content + 4
    start, end = exif or (place, place)
    tiff = _in_tiff(photo[start + 10 : end] if exif else _EMPTY_TIFF, values)
    if len(EXIF_HEADER + tiff) > _MOST_IN_SEGMENT:
        raise PhotoError("its EXIF has no room for a position")
    segment = jpeg_segment(b"\xff\xe1", EXIF_HEADER + tiff)
    rest = bytearray(photo[end:])
    if multi_picture is not None:
        if multi_picture < end:
            raise PhotoError("it holds several pictures, whose places would move")
        _lengthen_first_picture(rest, multi_picture - end, len(segment) - (end - start))
    return photo[:start] + segment + bytes(rest)


def _lengthen_first_picture(rest: bytearray, mpf: int, by: int) -> None:
    """Tell the index of a JPEG of several pictures (MPF) that its first one has grown.

    The others are found from the index on, which moves along with them.
    """
    index = bytes(rest[mpf:])
    order = _ORDERS.get(index[:4])
    if order is None:
        raise PhotoError("its index of several pictures is broken")
    (first,) = struct.unpack_from(order + "I", index, 4)
    entries, _ = _directory(index, first, order)
    if 0xB002 not in entries:
        return
    (at,) = struct.unpack(order + "I", entries[0xB002][8:])
    _, size, offset = struct.unpack_from(order + "III", index, at)
    if offset == 0 and size:
        struct.pack_into(order + "I", rest, mpf + at + 4, size + by)


# ── PNG ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _in_png(photo: bytes, values: Mapping[int, _Value]) -> bytes:
    """Change the eXIf chunk of a PNG, or put one behind IHDR, which comes first."""
    after_header = 0
    for part in png_parts(photo):
        if part.kind == b"eXIf":
            tiff = _in_tiff(photo[part.content : part.end - 4], values)
            return photo[: part.start] + png_chunk(b"eXIf", tiff) + photo[part.end :]
        after_header = after_header or part.end
    return photo[:after_header] + png_chunk(b"eXIf", _in_tiff(_EMPTY_TIFF, values)) + photo[after_header:]
