"""A HEIC or AVIF without its metadata, every byte of the picture at its place: no pixel is encoded anew.

These files are a table of items and a heap of bytes. The table names bytes by their place in the file, so that nothing
can be taken out of it: the copy begins as zeros, and only what the pictures need is written into it.
(ISO/IEC 23008-12 for HEIF; ISO/IEC 14496-12, 4.2 and 8.11, for its boxes.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from geomind.errors import PhotoError
from geomind.outputs.containers import EXIF_HEADER, Part, heif_boxes

_PICTURES = frozenset({b"hvc1", b"av01", b"grid", b"iden", b"iovl", b"tmap"})
_NOTES = frozenset({b"Exif", b"mime", b"uri "})
"""Kinds of items. A file with others is refused: nobody knows what they are."""

_DRAWN_WITH = frozenset(
    b"ispe hvcC lhvC av1C colr pixi irot imir clap pasp auxC clli mdcv cclv amve ndwt reve rloc lsel a1op a1lx oinf "
    b"tols".split()
)
_REMARKS = frozenset({b"udes", b"altt", b"uuid", b"crtt", b"mdft", b"free", b"skip"})
"""Properties of items: what a picture is drawn with, and what is only said of it. With others a file is refused."""

_IN_THIS_FILE = b"\0\0\0\x1cdref\0\0\0\0\0\0\0\1\0\0\0\x0curl \0\0\0\1"
_EMPTY_EXIF = b"\0\0\0\6" + EXIF_HEADER + b"MM\0*\0\0\0\x08" + bytes(6)
"""No entry; the number in front says how far it is to the TIFF structure (ISO/IEC 23008-12, annex A.2.1)."""

_EMPTY_XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'

_BROKEN = "its HEIF boxes are broken"

_Stretch = tuple[int, int]
"""From where to where in the file."""


@dataclass(frozen=True)
class _Place:
    """Where an item's bytes are: in the file, or in the heap that the table itself has."""

    in_table: bool
    stretches: tuple[_Stretch, ...]


def clean_heif(photo: bytes) -> tuple[bytes, bool]:
    """Take everything out of a HEIC or AVIF but its pictures, their colours and how they are to be turned.

    Returns:
        The file, and whether more than metadata is gone, such as a film.

    Raises:
        PhotoError: it is broken, a sequence, or holds what nobody knows; the message is the reason.
    """
    boxes: list[Part] = []
    with contextlib.suppress(PhotoError):  # something that is no box may stand behind them
        for box in heif_boxes(photo, 0, len(photo)):
            if not any(box.kind):  # zeros fill up the file
                break
            boxes.append(box)
    kinds = [box.kind for box in boxes]
    if b"moov" in kinds:
        raise PhotoError("it holds a film or a sequence of pictures, which cannot be cleaned")
    if kinds[:1] != [b"ftyp"] or kinds.count(b"meta") != 1:
        raise PhotoError(_BROKEN)
    lost = not {b"ftyp", b"meta", b"mdat", b"free", b"skip"}.issuperset(kinds) or any(photo[boxes[-1].end :])
    while boxes[-1].kind not in (b"meta", b"mdat"):
        boxes.pop()
    copy = bytearray(boxes[-1].end)
    for box in boxes:
        if box.kind == b"ftyp":
            _keep(copy, photo, (box.start, box.end))
        elif box.kind in (b"meta", b"mdat"):
            _keep(copy, photo, (box.start, box.content))
        else:
            _keep_emptied(copy, photo, box)
    heaps = [(box.content, box.end) for box in boxes if box.kind == b"mdat"]
    _clean_table(copy, photo, boxes[kinds.index(b"meta")], heaps)
    return bytes(copy), lost


def _clean_table(copy: bytearray, photo: bytes, meta: Part, heaps: list[_Stretch]) -> None:
    """Write what the pictures need, of the table of items and of the heaps of bytes, into the copy."""
    _keep(copy, photo, (meta.content, meta.content + 4))
    boxes = {box.kind: box for box in heif_boxes(photo, meta.content + 4, meta.end)}
    if not {b"iinf", b"iloc", b"iprp"} <= boxes.keys():
        raise PhotoError(_BROKEN)
    for box in heif_boxes(photo, meta.content + 4, meta.end):
        if box.kind in (b"pitm", b"iloc", b"iref", b"grpl"):
            _keep(copy, photo, (box.start, box.end))
        elif box.kind == b"hdlr":  # a name of the writer's choice stands behind its first fields
            _keep(copy, photo, (box.start, min(box.content + 24, box.end)))
        elif box.kind == b"idat":
            _keep(copy, photo, (box.start, box.content))
        elif box.kind == b"dinf" and photo[box.content : box.end] == _IN_THIS_FILE:
            _keep(copy, photo, (box.start, box.end))
        elif box.kind == b"iprp":
            _clean_properties(copy, photo, box)
        elif box.kind != b"iinf":
            _keep_emptied(copy, photo, box)
    kinds = _clean_names(copy, photo, boxes[b"iinf"])
    pictures: list[_Stretch] = []
    notes: list[tuple[bytes, tuple[_Stretch, ...]]] = []
    for item, place in _places(photo, boxes[b"iloc"]):
        if place.in_table and b"idat" not in boxes:
            raise PhotoError(_BROKEN)
        table = boxes[b"idat"] if place.in_table else None
        allowed = heaps if table is None else [(table.content, table.end)]
        start = 0 if table is None else table.content
        stretches = tuple((start + a, start + b) for a, b in place.stretches)
        if not all(any(low <= a and b <= high for low, high in allowed) for a, b in stretches):
            raise PhotoError(_BROKEN)
        if kinds.get(item) in _PICTURES:
            pictures += stretches
        else:
            notes.append((kinds.get(item, b""), stretches))
    for stretch in pictures:
        _keep(copy, photo, stretch)
    for kind, stretches in notes:
        if any(a < high and low < b for a, b in stretches for low, high in pictures):
            raise PhotoError("its pictures and its metadata share bytes")
        _write_emptied(copy, kind, stretches)


def _clean_names(copy: bytearray, photo: bytes, iinf: Part) -> dict[int, bytes]:
    """Keep what kinds the items are, without their names: item -> kind."""
    head = 8 if photo[iinf.content] else 6  # version, flags and a count of two or four bytes
    _keep(copy, photo, (iinf.start, iinf.content + head))
    kinds: dict[int, bytes] = {}
    for infe in heif_boxes(photo, iinf.content + head, iinf.end):
        version = photo[infe.content]
        if infe.kind != b"infe" or version not in (2, 3):
            raise PhotoError("it has items of a kind that is not known")
        width = 2 if version == 2 else 4
        at = infe.content + 4 + width + 2
        kind = photo[at : at + 4]
        if kind not in _PICTURES | _NOTES:
            raise PhotoError("it has items of a kind that is not known")
        _keep(copy, photo, (infe.start, at + 4))
        if kind == b"mime":  # its name and its type, two texts; readers want the type
            name_end = photo.find(b"\0", at + 4, infe.end)
            if name_end < 0:
                raise PhotoError(_BROKEN)
            copy[at + 4 : name_end] = b" " * (name_end - at - 4)
            _keep(copy, photo, (name_end, infe.end))
        kinds[int.from_bytes(photo[infe.content + 4 : infe.content + 4 + width], "big")] = kind
    return kinds


def _clean_properties(copy: bytearray, photo: bytes, iprp: Part) -> None:
    _keep(copy, photo, (iprp.start, iprp.content))
    for box in heif_boxes(photo, iprp.content, iprp.end):
        if box.kind == b"ipma":
            _keep(copy, photo, (box.start, box.end))
        elif box.kind == b"ipco":
            _keep(copy, photo, (box.start, box.content))
            for each in heif_boxes(photo, box.content, box.end):
                if each.kind in _DRAWN_WITH:
                    _keep(copy, photo, (each.start, each.end))
                elif each.kind in _REMARKS:
                    _keep_emptied(copy, photo, each)
                else:
                    raise PhotoError("it has properties of a kind that is not known")
        else:
            _keep_emptied(copy, photo, box)


def _places(photo: bytes, iloc: Part) -> Iterator[tuple[int, _Place]]:
    """Read where the bytes of each item are (ISO/IEC 14496-12, 8.11.3)."""
    at = iloc.content

    def number(width: int) -> int:
        nonlocal at
        at += width
        if at > iloc.end:
            raise PhotoError(_BROKEN)
        return int.from_bytes(photo[at - width : at], "big")

    version = number(1)
    number(3)
    widths = number(2)
    offset_width, length_width, base_width, index_width = (widths >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(number(4 if version == 2 else 2)):
        item = number(4 if version == 2 else 2)
        method = number(2) & 15 if version else 0
        if method > 1 or number(2):  # made of other items, or in another file
            raise PhotoError("it has items whose bytes are elsewhere")
        base = number(base_width)
        stretches = []
        for _ in range(number(2)):
            number(index_width if version else 0)
            start = base + number(offset_width)
            stretches.append((start, start + number(length_width)))
        if any(end == start for start, end in stretches):  # it would be all of the file
            raise PhotoError(_BROKEN)
        yield item, _Place(method == 1, tuple(stretches))


def _keep(copy: bytearray, photo: bytes, stretch: _Stretch) -> None:
    start, end = stretch
    if not start <= end <= len(copy):
        raise PhotoError(_BROKEN)
    copy[start:end] = photo[start:end]


def _keep_emptied(copy: bytearray, photo: bytes, box: Part) -> None:
    """Leave a box of zeros as large, which readers pass over."""
    _keep(copy, photo, (box.start, box.content))
    copy[box.start + 4 : box.start + 8] = b"free"


def _write_emptied(copy: bytearray, kind: bytes, stretches: Sequence[_Stretch]) -> None:
    """Write metadata that says nothing where some stood, if there is room for it."""
    size = sum(end - start for start, end in stretches)
    nothing = {b"Exif": _EMPTY_EXIF, b"mime": _EMPTY_XMP}.get(kind, b"")
    nothing = (nothing if len(nothing) <= size else b"").ljust(size, b" " if kind == b"mime" else b"\0")
    at = 0
    for start, end in stretches:
        copy[start:end] = nothing[at : at + end - start]
        at += end - start
