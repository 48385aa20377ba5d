"""A HEIC or AVIF without its metadata, every byte of the picture at its place: no pixel is encoded anew.

These files are a table of items and a heap of bytes. The table names bytes by their place in the file, so that nothing
can be taken out of it: the copy begins as zeros, and only what the pictures need is written into it.
(ISO/IEC 23008-12 for HEIF; ISO/IEC 14496-12, 4.2 and 8.11, for its boxes.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

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
    try:
        _clean_table(copy, photo, boxes[kinds.index(b"meta")], heaps)
    except IndexError as error:
        raise PhotoError(_BROKEN) from error
    return bytes(copy), lost


def _clean_table(copy: bytearray, photo: bytes, meta: Part, heaps: Sequence[_Stretch]) -> None:
    """Write what the pictures need, of the table of items and of the heaps of bytes, into the copy."""
    _keep(copy, photo, (meta.content, meta.content + 4))
    boxes = list(heif_boxes(photo, meta.content + 4, meta.end))
    by_kind = {box.kind: box for box in boxes}
    if {b"iinf", b"iloc", b"iprp"} - by_kind.keys() or any(
        box != by_kind[box.kind] for box in boxes if box.kind in (b"iinf", b"iloc", b"iprp", b"idat")
    ):
        raise PhotoError(_BROKEN)
    for box in boxes:
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
    kinds = _clean_names(copy, photo, by_kind[b"iinf"])
    _fill_heaps(copy, photo, kinds, list(_places(photo, by_kind[b"iloc"], by_kind.get(b"idat"), heaps)))


def _fill_heaps(
    copy: bytearray, photo: bytes, kinds: Mapping[int, bytes], places: Sequence[tuple[int, list[_Stretch]]]
) -> None:
    """Write the bytes of pictures into the copy, and something that says nothing for those of metadata."""
    pictures = [stretch for item, stretches in places if kinds.get(item) in _PICTURES for stretch in stretches]
    for stretch in pictures:
        _keep(copy, photo, stretch)
    for item, stretches in places:
        kind = kinds.get(item, b"")
        if kind in _PICTURES:
            continue
        if any(start < other_end and other < end for start, end in stretches for other, other_end in pictures):
            raise PhotoError("its pictures and its metadata share bytes")
        size = sum(end - start for start, end in stretches)
        nothing = {b"Exif": _EMPTY_EXIF, b"mime": _EMPTY_XMP}.get(kind, b"")
        nothing = (nothing if len(nothing) <= size else b"").ljust(size, b" " if kind == b"mime" else b"\0")
        at = 0
        for start, end in stretches:
            copy[start:end] = nothing[at : at + end - start]
            at += end - start


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
        if any(photo[at - 2 : at]):
            raise PhotoError("it has items that are encrypted")
        _keep(copy, photo, (infe.start, at + 4))
        if kind == b"mime":  # its name and its type, two texts; readers want the type
            name_end = photo.find(b"\0", at + 4, infe.end)
            if name_end < 0:
                raise PhotoError(_BROKEN)
            copy[at + 4 : name_end] = b" " * (name_end - at - 4)
            _keep(copy, photo, (name_end, infe.end))
        item = int.from_bytes(photo[infe.content + 4 : infe.content + 4 + width], "big")
        if item in kinds:
            raise PhotoError(_BROKEN)
        kinds[item] = kind
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


def _places(
    photo: bytes, iloc: Part, idat: Part | None, heaps: Sequence[_Stretch]
) -> Iterator[tuple[int, list[_Stretch]]]:
    """Read where the bytes of each item are (ISO/IEC 14496-12, 8.11.3): in a heap, or in the table's own."""
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
        within = heaps if method == 0 else [(idat.content, idat.end)] if idat is not None else []
        base = number(base_width) + (within[0][0] if method and within else 0)
        stretches = []
        for _ in range(number(2)):
            number(index_width if version else 0)
            start = base + number(offset_width)
            end = start + number(length_width)
            if start == end or not any(low <= start and end <= high for low, high in within):
                raise PhotoError(_BROKEN)  # an extent of no length would be all of the file
            stretches.append((start, end))
        yield item, stretches


def _keep(copy: bytearray, photo: bytes, stretch: _Stretch) -> None:
    start, end = stretch
    if not start <= end <= len(copy):
        raise PhotoError(_BROKEN)
    copy[start:end] = photo[start:end]


def _keep_emptied(copy: bytearray, photo: bytes, box: Part) -> None:
    """Leave a box of zeros as large, which readers pass over."""
    _keep(copy, photo, (box.start, box.content))
    copy[box.start + 4 : box.start + 8] = b"free"
