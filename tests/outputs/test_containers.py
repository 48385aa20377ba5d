"""Parts of files: together they are the file."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geomind.errors import PhotoError
from geomind.outputs.containers import (
    CODED,
    EOI,
    SOS,
    Part,
    heif_boxes,
    jpeg_parts,
    jpeg_segment,
    png_chunk,
    png_parts,
    webp_chunk,
    webp_parts,
)


def encoded(form: str, **options: object) -> bytes:
    file = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
    Image.fromarray(values).save(file, form, **options)
    return file.getvalue()


def parts_of(form: str, photo: bytes) -> Iterator[Part]:
    if form == "JPEG":
        return jpeg_parts(photo)
    if form == "PNG":
        return png_parts(photo)
    return webp_parts(photo, 12, len(photo)) if form == "WEBP" else heif_boxes(photo, 0, len(photo))


@pytest.mark.parametrize(
    ("form", "head"), [("JPEG", b"\xff\xd8"), ("PNG", b"\x89PNG\r\n\x1a\n"), ("WEBP", None), ("AVIF", b"")]
)
def test_the_parts_are_the_file(form, head):
    photo = encoded(form, exif=Image.Exif())
    head = photo[:12] if head is None else head
    parts = list(parts_of(form, photo))
    assert len(parts) >= 1
    assert head + b"".join(photo[part.start : part.end] for part in parts) == photo
    assert all(part.start <= part.content <= part.end for part in parts)
    for end in (len(photo) - 1, len(photo) // 2):
        with pytest.raises(PhotoError, match="broken"):
            list(parts_of(form, photo[:end]))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
def test_a_coded_picture_is_one_part_whatever_looks_like_a_marker_in_it(options):
    photo = encoded("JPEG", quality=100, **options)
    assert b"\xff\x00" in photo  # an FF of the picture's
    kinds = [part.kind for part in jpeg_parts(photo)]
    assert kinds.count(CODED) == kinds.count(SOS) == (10 if "progressive" in options else 1)
    assert kinds[-2:] == [CODED, EOI]


def test_rubbish_and_fill_bytes_between_segments_are_passed_over():
    photo = encoded("JPEG")
    strange = photo[:20] + b"\0rubbish\xff\0\xff\xff\xff" + photo[20:-2] + b"\xff\xff" + photo[-2:] + b"behind"
    assert b"".join(strange[part.start : part.end] for part in jpeg_parts(strange)) == photo[2:]


def test_what_is_made_reads_back():
    (part, *_) = jpeg_parts(b"\xff\xd8" + jpeg_segment(b"\xff\xe7", b"abc") + EOI)
    assert (part.kind, part.start, part.content, part.end) == (b"\xff\xe7", 2, 6, 9)
    png = b"\x89PNG\r\n\x1a\n" + png_chunk(b"abCd", b"xyz") + png_chunk(b"IEND", b"")
    assert [part.kind for part in png_parts(png)] == [b"abCd", b"IEND"]
    webp = webp_chunk(b"odd ", b"xyz") + webp_chunk(b"even", b"xy")
    assert [(part.kind, part.end) for part in webp_parts(webp, 0, len(webp))] == [(b"odd ", 12), (b"even", 22)]


def test_a_box_may_be_long_or_reach_to_the_end():
    long = b"\0\0\0\1mdat" + (20).to_bytes(8, "big") + b"abcd"
    last = b"\0\0\0\0free" + b"xyz"
    boxes = list(heif_boxes(long + last, 0, 31))
    assert [(box.kind, box.content, box.end) for box in boxes] == [(b"mdat", 16, 20), (b"free", 28, 31)]
    for size in (1, 7):
        with pytest.raises(PhotoError, match="broken"):
            list(heif_boxes(size.to_bytes(4, "big") + b"mdat" + bytes(8), 0, 16))


def test_real_photos_are_their_parts(shared: Path):
    for path in sorted((shared / "photos").rglob("*.jpg"))[::8]:
        photo = path.read_bytes()
        parts = list(jpeg_parts(photo))
        assert parts[-1].kind == EOI
        assert all(one.end <= other.start for one, other in itertools.pairwise(parts))
