"""Of what parts a photo's file is made: segments of a JPEG, chunks of a PNG or WebP. It knows not what is in them.

(ITU-T T.81, annex B; PNG, third edition, 5.3; RFC 9649, 2.3 for WebP.)
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from geomind.errors import PhotoError

JPEG_HEADER: Final = b"\xff\xd8"
PNG_HEADER: Final = b"\x89PNG\r\n\x1a\n"
EXIF_HEADER: Final = b"Exif\0\0"
"""What EXIF begins with in a JPEG's segment; some writers put it into WebP too."""

SOS: Final = b"\xff\xda"
EOI: Final = b"\xff\xd9"
CODED: Final = b""
"""The kind of the part of a JPEG that follows SOS: the coded picture, with the restart markers in it."""

_MARKER = re.compile(rb"\xff[^\x00\xff]")
_AFTER_CODED = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_WITHOUT_LENGTH = frozenset([b"\xff\x01", *(bytes((0xFF, code)) for code in range(0xD0, 0xD8))])


@dataclass(frozen=True)
class Part:
    """A segment or chunk: where it begins, where what it holds does, and where the next part may begin."""

    kind: bytes
    """The two bytes of a JPEG's marker, or the four of a chunk's name."""

    start: int
    content: int
    end: int
    """In a PNG the last four bytes are the checksum, in a WebP the last one may be padding."""


def jpeg_parts(photo: bytes) -> Iterator[Part]:
    """Give the parts of a JPEG up to its EOI, one after the other.

    What stands between them, fill bytes or rubbish, is passed over as libjpeg does it. The coded picture is searched
    through only when the part behind SOS is asked for.

    Raises:
        PhotoError: the file ends before its EOI, or a segment claims more than there is.
    """
    at = len(JPEG_HEADER)
    while found := _MARKER.search(photo, at):
        kind, start = found[0], found.start()
        if kind == EOI:
            yield Part(kind, start, start + 2, start + 2)
            return
        if kind in _WITHOUT_LENGTH:
            at = start + 2
            continue
        length = int.from_bytes(photo[start + 2 : start + 4], "big")
        at = start + 2 + length
        if kind == JPEG_HEADER or length < 2 or at > len(photo):
            break
        yield Part(kind, start, start + 4, at)
        if kind == SOS:
            after = _AFTER_CODED.search(photo, at)
            if after is None:
                break
            end = after.start()
            while photo[end - 1] == 0xFF:  # fill bytes
                end -= 1
            yield Part(CODED, at, at, end)
            at = end
    raise PhotoError("its JPEG segments are broken")


def jpeg_segment(kind: bytes, content: bytes) -> bytes:
    """Make a segment of at most 65,533 bytes of content."""
    return kind + struct.pack(">H", len(content) + 2) + content


def png_parts(photo: bytes) -> Iterator[Part]:
    """Give the chunks of a PNG up to its IEND, one after the other.

    Raises:
        PhotoError: the file ends before its IEND, or a chunk claims more than there is.
    """
    at = len(PNG_HEADER)
    while at + 12 <= len(photo):
        length, kind = struct.unpack_from(">I4s", photo, at)
        end = at + 12 + length
        if end > len(photo):
            break
        yield Part(kind, at, at + 8, end)
        if kind == b"IEND":
            return
        at = end
    raise PhotoError("its PNG chunks are broken")


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Make a chunk with its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def is_webp(photo: bytes) -> bool:
    """Tell a WebP by its first bytes."""
    return photo.startswith(b"RIFF") and photo[8:12] == b"WEBP"


def webp_parts(photo: bytes, start: int, end: int) -> Iterator[Part]:
    """Give the chunks that lie in a stretch of a WebP, one after the other.

    Raises:
        PhotoError: a chunk claims more than there is.
    """
    at = start
    while at < end:
        if at + 8 > end:
            raise PhotoError("its WebP chunks are broken")
        kind, length = struct.unpack_from("<4sI", photo, at)
        after = at + 8 + length + length % 2
        if after > end:
            raise PhotoError("its WebP chunks are broken")
        yield Part(kind, at, at + 8, after)
        at = after


def webp_chunk(kind: bytes, content: bytes) -> bytes:
    """Make a chunk, padded to an even number of bytes."""
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def is_heif(photo: bytes) -> bool:
    """Tell the container of HEIC and AVIF by its first bytes."""
    return photo[4:8] == b"ftyp"


def heif_boxes(photo: bytes, start: int, end: int) -> Iterator[Part]:
    """Give the boxes that lie in a stretch of a HEIC or AVIF, one after the other (ISO/IEC 14496-12, 4.2).

    Raises:
        PhotoError: a box claims more than there is.
    """
    at = start
    while at < end:
        size, kind, header = int.from_bytes(photo[at : at + 4], "big"), photo[at + 4 : at + 8], 8
        if size == 1:
            size, header = int.from_bytes(photo[at + 8 : at + 16], "big"), 16
        elif size == 0:  # up to the end
            size = end - at
        if size < header or at + size > end:
            raise PhotoError("its HEIF boxes are broken")
        yield Part(kind, at, at + header, at + size)
        at += size
