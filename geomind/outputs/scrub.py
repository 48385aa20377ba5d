"""Copies of photos that no longer say where they were taken, for people who want the opposite of GeoMind.

What a place can hide in is too much to list: GPS in EXIF and XMP, names of towns in IPTC and XMP, maker notes,
comments, a film behind the picture. So nothing is looked for: what the picture is drawn from stays, byte for byte and
without being encoded anew, and all else goes. The picture itself still tells, which is what GeoMind lives on.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from geomind.errors import GPSError, OutputError, PhotoError
from geomind.files import atomic_path, inside, make_folder
from geomind.outputs.containers import (
    CODED,
    EOI,
    EXIF_HEADER,
    JPEG_HEADER,
    PNG_HEADER,
    Part,
    is_heif,
    is_webp,
    jpeg_parts,
    jpeg_segment,
    png_chunk,
    png_parts,
    webp_chunk,
    webp_parts,
)
from geomind.outputs.heif import clean_heif
from geomind.photos import NO_GPS, iter_photos, read_gps, read_orientation, read_photo_bytes, sidecars_of
from geomind.progress import SILENT, Progress

CAN_SCRUB = "JPEG, PNG, WebP, HEIC and AVIF"
"""The formats whose metadata can be taken out without encoding the picture anew."""


@dataclass(frozen=True)
class Scrubbed:
    """What a scrub did."""

    copies: int
    """Photos copied without their metadata."""
    shortened: int
    """Copies that lost more than metadata: what stood behind the picture, such as a film or further pictures."""
    refused: Mapping[str, str]
    """Photo -> why there is no copy of it."""


def scrub(
    photos: Sequence[Path | str], output: Path | str, *, overwrite: bool = False, progress: Progress = SILENT
) -> Scrubbed:
    """Copy photos without anything that may say where they were taken; those that cannot be cleaned are not copied.

    Of a folder all photos are copied, into the same subfolders. Names stay. A copy is read back before it gets its
    name: one in which ``read_gps`` finds anything is not kept.

    Args:
        photos: photos, and folders of photos.
        output: the folder for the copies.
        overwrite: replace copies that exist.
        progress: shows photos done.

    Raises:
        PhotoError: one of ``photos`` is not there, or a folder without photos.
        OutputError: ``output`` cannot be written, or lies in a folder of the photos.
    """
    jobs = _jobs(photos, Path(output))
    folder = make_folder(output).resolve()
    made: set[Path] = set()
    shortened = 0
    refused: dict[str, str] = {}
    with progress.track("Scrubbing", len(jobs)) as advance:
        for photo, name in jobs:
            try:
                target = _target(photo, name, folder, made, overwrite=overwrite)
                content, cut = without_metadata(read_photo_bytes(photo))
                _save(content, target)
                made.add(target)
                shortened += cut
            except PhotoError as error:
                refused[str(photo)] = str(error)
            advance(1)
    return Scrubbed(len(made), shortened, refused)


def without_metadata(photo: bytes) -> tuple[bytes, bool]:
    """Take everything out of a photo's file but its picture, its colours and how it is to be turned.

    Returns:
        The file, and whether something stood behind the picture that is gone too.

    Raises:
        PhotoError: this cannot be done without encoding the picture anew; the message is the reason.
    """
    for is_it, clean in (
        (photo.startswith(JPEG_HEADER), _clean_jpeg),
        (photo.startswith(PNG_HEADER), _clean_png),
        (is_webp(photo), _clean_webp),
    ):
        if is_it:
            return clean(photo, _turned(read_orientation(photo)))
    if is_heif(photo):  # its boxes say how it is to be turned, and its metadata should not
        copy, shortened = clean_heif(photo)
        if read_orientation(copy) != read_orientation(photo):
            raise PhotoError("only its metadata say how it is to be turned")
        return copy, shortened
    raise PhotoError(f"only {CAN_SCRUB} can be cleaned without encoding the picture anew; export it as one of these")


def _holds_something(behind: bytes) -> bool:
    return bool(behind.strip(b"\0"))  # some cameras fill up with zeros


def _jobs(photos: Sequence[Path | str], output: Path) -> list[tuple[Path, str]]:
    """List what is to be copied, before the first copy is made: the photo, and the copy's name in the output folder."""
    jobs: list[tuple[Path, str]] = []
    for each in map(Path, photos):
        if each.is_dir():
            if output.resolve().is_relative_to(each.resolve()):
                raise OutputError(f"{output} lies in {each}, the folder of the photos. Choose one beside it.")
            jobs += [(each / name, name) for name in iter_photos(each)]
        elif each.exists():
            jobs.append((each, each.name))
        else:
            raise PhotoError(f"There is no photo or folder {each}. Check the spelling.")
    once = {(photo.absolute(), name): (photo, name) for photo, name in jobs}  # a photo may be given twice
    return list(once.values())


def _target(photo: Path, name: str, folder: Path, made: set[Path], *, overwrite: bool) -> Path:
    """Choose where the copy of a photo goes.

    Raises:
        PhotoError: it may not go there; the message is the reason.
    """
    target = inside(folder, name)
    if target is None:
        raise PhotoError("its copy would lie outside the folder for copies")
    if target in made:
        raise PhotoError("the copy of another photo has its name; give it a folder for copies of its own")
    if target.is_dir():
        raise PhotoError("a folder stands where its copy goes")
    if target.exists() and photo.exists() and target.samefile(photo):
        raise PhotoError("its copy would be the photo itself")
    if target.exists() and not overwrite:
        raise PhotoError("its copy exists already; --overwrite replaces it")
    if any(True for _ in sidecars_of(target)):
        raise PhotoError("a sidecar stands where its copy goes, which would be read as the copy's own; remove it")
    return target


def _save(content: bytes, path: Path) -> None:
    """Write a copy that says nothing of a place, whole or not at all. Rights and times are those of a new file.

    Raises:
        PhotoError: it still says something.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
        try:
            read_gps(temporary)
        except GPSError as error:
            if str(error) == NO_GPS:
                return
        raise PhotoError("its copy would still tell a place, which is a fault of GeoMind; please report it")


def _turned(orientation: int) -> bytes:
    """Make an EXIF that says how the picture is to be turned and nothing else; none where it is upright."""
    if orientation == 1:
        return b""
    # One directory of one entry: Orientation, a SHORT (TIFF 6.0, section 2; EXIF 2.32, 4.6.4 A).
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


# ── JPEG ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

_DRAWN_FROM = frozenset(
    [CODED, EOI, *(bytes((0xFF, code)) for code in (*range(0xC0, 0xC8), *range(0xC9, 0xD0), *range(0xDA, 0xE0)))]
)
"""Frames, tables, scans, restart intervals (ITU-T T.81, table B.1)."""


def _clean_jpeg(photo: bytes, exif: bytes) -> tuple[bytes, bool]:
    """Keep what a JPEG is drawn from, its density, its colour profile and how its colours are coded."""
    head, kept, end = b"", [], 0
    for part in jpeg_parts(photo):
        end = part.end
        if part.kind in _DRAWN_FROM:
            kept.append(photo[part.start : part.end])
            continue
        content = photo[part.content : part.end]
        if part.kind == b"\xff\xe0" and content.startswith(b"JFIF\0") and len(content) >= 14 and not head:
            head = jpeg_segment(part.kind, content[:12] + b"\0\0")  # its thumbnail, 0 x 0 now, stood behind
        elif part.kind == b"\xff\xe2" and content.startswith(b"ICC_PROFILE\0"):
            kept.append(photo[part.start : part.end])
        elif part.kind == b"\xff\xee" and content.startswith(b"Adobe") and len(content) >= 12:
            kept.append(jpeg_segment(part.kind, content[:12]))
    if exif:
        head += jpeg_segment(b"\xff\xe1", EXIF_HEADER + exif)
    return JPEG_HEADER + head + b"".join(kept), _holds_something(photo[end:])


# ── PNG ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

_PNG_KEPT = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI bKGD pHYs acTL fcTL fdAT".split()
)
"""The picture, its colours and its frames (PNG, third edition, 5.6)."""


def _clean_png(photo: bytes, exif: bytes) -> tuple[bytes, bool]:
    kept, end = [PNG_HEADER], 0
    for part in png_parts(photo):
        end = part.end
        if part.kind in _PNG_KEPT:
            kept.append(photo[part.start : part.end])
        elif part.kind[:1].isupper():  # without it nobody may draw the picture
            raise PhotoError("it has a PNG chunk that is not known and cannot be left out")
        if part.kind == b"IHDR" and exif:
            kept.append(png_chunk(b"eXIf", exif))
    return b"".join(kept), _holds_something(photo[end:])


# ── WebP ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

_WEBP_KEPT = frozenset({b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ICCP"})
_HAS_EXIF, _HAS_XMP = 0x08, 0x04
_FRAME_HEADER = 16


def _clean_webp(photo: bytes, exif: bytes) -> tuple[bytes, bool]:
    """Keep the picture, its transparency, its frames and its colour profile (RFC 9649, 2.7)."""
    (size,) = struct.unpack_from("<I", photo, 4)
    end = 8 + size
    if end > len(photo):
        raise PhotoError("its WebP chunks are broken")
    kept = [b"WEBP"]
    for part in webp_parts(photo, 12, end):
        if part.kind == b"VP8X":
            flags = photo[part.content] & ~(_HAS_EXIF | _HAS_XMP) | (_HAS_EXIF if exif else 0)
            kept.append(webp_chunk(b"VP8X", bytes([flags]) + photo[part.content + 1 : part.content + 10]))
        elif part.kind == b"ANMF":
            kept.append(webp_chunk(b"ANMF", _clean_frame(photo, part)))
        elif part.kind in _WEBP_KEPT:
            kept.append(photo[part.start : part.end])
    if exif:
        kept.append(webp_chunk(b"EXIF", exif))
    content = b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(content)) + content, _holds_something(photo[end:])


def _clean_frame(photo: bytes, frame: Part) -> bytes:
    """Keep the header of an animation's frame and the picture in it."""
    header_end = frame.content + _FRAME_HEADER
    parts = webp_parts(photo, header_end, frame.end)
    kept = (photo[part.start : part.end] for part in parts if part.kind in _WEBP_KEPT)
    return photo[frame.content : header_end] + b"".join(kept)
