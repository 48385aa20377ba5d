"""The boxes of a HEIC: pictures stay at their place, notes go, and what nobody knows is refused."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomind.errors import PhotoError
from geomind.outputs.heif import clean_heif

PLACE = b"Sydney"


def box(kind: bytes, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return struct.pack(">I", len(content) + 8) + kind + content


def full(kind: bytes, version: int, *contents: bytes) -> bytes:
    return box(kind, bytes([version, 0, 0, 0]), *contents)


@dataclass(frozen=True)
class Item:
    kind: bytes
    pieces: tuple[bytes, ...]
    in_table: bool = False
    name: bytes = PLACE
    protected: int = 0


def heic(items: list[Item], *, iloc: int = 1, infe: int = 2, more: bytes = b"", properties: bytes = b"") -> bytes:
    """Make a file of items, whose pictures nobody can draw."""
    wide = ">I" if iloc == 2 else ">H"
    names = []
    for number, item in enumerate(items, 1):
        texts = item.name + b"\0" + (b"application/rdf+xml\0" if item.kind == b"mime" else b"")
        ident = struct.pack(">I" if infe == 3 else ">H", number)
        names.append(full(b"infe", infe, ident, struct.pack(">H", item.protected), item.kind, texts))
    in_table = b"".join(piece for item in items if item.in_table for piece in item.pieces)
    in_heap = b"".join(piece for item in items if not item.in_table for piece in item.pieces)

    def table(heap: int) -> bytes:
        ats = {True: 0, False: heap}
        rows = []
        for number, item in enumerate(items, 1):
            extents = []
            for piece in item.pieces:
                extents.append(struct.pack(">II", ats[item.in_table], len(piece)))
                ats[item.in_table] += len(piece)
            method = struct.pack(">H", item.in_table) if iloc else b""
            rows.append(struct.pack(wide, number) + method + struct.pack(">HH", 0, len(extents)) + b"".join(extents))
        return box(
            b"meta",
            bytes(4),
            full(b"hdlr", 0, bytes(4), b"pict", bytes(12), b"from Sydney\0"),
            full(b"pitm", 0, b"\0\1"),
            full(b"iinf", 0, struct.pack(">H", len(items)), *names),
            box(b"iprp", box(b"ipco", box(b"ispe", bytes(12)), properties), full(b"ipma", 0, bytes(4))),
            full(b"iloc", iloc, b"\x44\0", struct.pack(wide, len(items)), *rows),
            box(b"idat", in_table),
            more,
        )

    ftyp = box(b"ftyp", b"heic\0\0\0\0mif1heic")
    heap = len(ftyp) + len(table(0)) + 8
    return ftyp + table(heap) + box(b"mdat", in_heap, PLACE)


pieces = st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=3).map(tuple)


@given(
    st.lists(st.builds(Item, st.sampled_from([b"hvc1", b"av01", b"grid"]), pieces, st.booleans()), min_size=1),
    st.lists(st.sampled_from([b"Exif", b"mime", b"uri "]), max_size=3),
    st.sampled_from([1, 2]),
    st.sampled_from([2, 3]),
)
def test_pictures_stay_at_their_place_and_nothing_else_does(pictures, notes, iloc, infe):
    items = [*pictures, *(Item(kind, (b"a day in Sydney ", b"and more of Sydney" * 3)) for kind in notes)]
    photo = heic(items, iloc=iloc, infe=infe, more=full(b"udta", 0, PLACE), properties=box(b"udes", PLACE))
    copy, lost = clean_heif(photo)
    assert not lost
    assert len(copy) == len(photo)
    for place in range(len(photo)):
        if photo.startswith(PLACE, place):
            assert not copy.startswith(PLACE, place)
    heap = sum(len(piece) for item in pictures if not item.in_table for piece in item.pieces)
    start = len(photo) - len(PLACE) - 70 * len(notes) - heap
    assert copy[start : start + heap] == photo[start : start + heap]
    assert clean_heif(copy) == (copy, False)


def test_metadata_that_says_nothing_stands_where_some_stood():
    exif, xmp = b"\0\0\0\6Exif\0\0MM\0* of Sydney" * 3, b"<x:xmpmeta>in Sydney</x:xmpmeta>" * 2
    copy, _ = clean_heif(heic([Item(b"hvc1", (b"picture",)), Item(b"Exif", (exif,)), Item(b"mime", (xmp,))]))
    assert b"\0\0\0\6Exif\0\0MM\0*\0\0\0\x08\0\0" in copy
    assert b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>   ' in copy
    assert b"application/rdf+xml" in copy
    assert clean_heif(heic([Item(b"hvc1", (b"picture",)), Item(b"Exif", (b"ab",))]))[0].endswith(b"picture" + bytes(8))


@pytest.mark.parametrize("iloc", [0, 1, 2])
def test_the_older_table_of_places_is_read(iloc):
    photo = heic([Item(b"hvc1", (b"one", b"two"))], iloc=iloc)
    assert b"onetwo" in clean_heif(photo)[0]


PICTURE = Item(b"hvc1", (b"picture",))


@pytest.mark.parametrize(
    ("photo", "says"),
    [
        (heic([PICTURE, Item(b"wxyz", (b"?",))]), "items of a kind"),
        (heic([Item(b"hvc1", (b"picture",), protected=1)]), "encrypted"),
        (heic([PICTURE], infe=1), "items of a kind"),
        (heic([PICTURE], properties=box(b"wxyz", b"?")), "properties of a kind"),
        (heic([PICTURE, Item(b"hvc1", (b"",))]), "broken"),
        (heic([PICTURE])[:-8], "broken"),
        (heic([PICTURE]).replace(b"iinf", b"wxyz"), "broken"),
        (heic([PICTURE])[24:], "broken"),
        (heic([PICTURE]) + box(b"moov"), "film"),
        (heic([PICTURE]).replace(b"\x44\0\0\1\0\1\0\0\0\0", b"\x44\0\0\1\0\1\0\0\0\1"), "elsewhere"),
        (heic([PICTURE]).replace(b"\x44\0\0\1\0\1\0\0", b"\x44\0\0\1\0\1\0\2"), "elsewhere"),
        (b"", "broken"),
        (bytes(40), "broken"),
    ],
)
def test_what_cannot_be_judged_is_refused(photo, says):
    with pytest.raises(PhotoError, match=says):
        clean_heif(photo)


def test_metadata_within_a_picture_is_refused():
    photo = heic([Item(b"hvc1", (b"picture",)), Item(b"Exif", (b"Sydney",))])
    at = photo.index(b"picture")
    shared = photo.replace(struct.pack(">II", at, 7), struct.pack(">II", at, 13))
    with pytest.raises(PhotoError, match="share bytes"):
        clean_heif(shared)


def test_what_stands_behind_the_picture_goes():
    photo = heic([PICTURE])
    clean, lost = clean_heif(photo)
    assert not lost
    for behind in (box(b"mpvd", b"a film of Sydney"), b"Sydney", box(b"uuid", PLACE * 3) + b"\0\0\0\3abc"):
        assert clean_heif(photo + behind) == (clean, True)
    for behind in (box(b"free", PLACE), bytes(50), box(b"skip") + bytes(3)):
        assert clean_heif(photo + behind) == (clean, False)
