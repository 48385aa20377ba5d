"""Copies that do not say where they were taken: whatever a place hides in is gone, and no pixel changes."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageSequence
from PIL.PngImagePlugin import PngInfo

from geomind.errors import GPSError, OutputError, PhotoError
from geomind.outputs import scrub as scrubbing
from geomind.outputs.scrub import Scrubbed, scrub, without_metadata
from geomind.photos import NO_GPS, find_photos, open_photo, read_gps

PLACE = b"Sydney"
XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
exif:GPSLatitude="33,51.4S" exif:GPSLongitude="151,12.9E" photoshop:City="Sydney"/></rdf:RDF></x:xmpmeta>"""
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture(mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def telling_exif(orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "Sydney"
    exif[ExifTags.Base.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = b"a note of Sydney " * 5
    exif[ExifTags.IFD.GPSInfo] = {1: "S", 2: (33.0, 51.0, 24.0), 3: "E", 4: (151.0, 12.0, 54.0)}
    return exif.tobytes()


def encoded(form: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    picture(mode).save(file, form, **options)
    return file.getvalue()


def telling(form: str, orientation: int = 6, mode: str = "RGB", **options: object) -> bytes:
    """A photo that tells its place in every way that Pillow can write."""
    options = {"exif": telling_exif(orientation), "icc_profile": ICC, **options}
    if form == "PNG":
        info = PngInfo()
        info.add_text("Comment", "Sydney")
        info.add_text("City", "Sydney", zip=True)
        info.add_itxt("XML:com.adobe.xmp", XMP.decode())
        return encoded("PNG", mode, pnginfo=info, **options)
    if form == "JPEG":
        options["comment"] = PLACE
    return encoded(form, mode, xmp=XMP, **options)


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def info_of(photo: bytes) -> dict:
    with Image.open(io.BytesIO(photo)) as image:
        image.load()
        return dict(image.info)


EMPTY_XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
HARMLESS = {
    *("icc_profile", "exif", "dpi", "jfif", "jfif_version", "jfif_unit", "jfif_density", "adobe", "adobe_transform"),
    *("progressive", "progression", "transparency", "background", "default_image", "loop", "duration", "timestamp"),
    *("bbox", "blend", "disposal"),
}
"""What Pillow tells of a file that holds nothing but a picture; its EXIF is looked into."""


def assert_clean(copy: bytes, photo: bytes) -> None:
    assert PLACE not in copy
    assert np.array_equal(open_photo(copy), open_photo(photo))
    assert without_metadata(copy) == (copy, False)
    info = info_of(copy)
    assert info.pop("xmp", EMPTY_XMP).rstrip() == EMPTY_XMP  # of an AVIF, which nothing can be taken out of
    assert set(info) <= HARMLESS
    with Image.open(io.BytesIO(copy)) as image:
        assert set(image.getexif()) <= {ExifTags.Base.Orientation}


# ── formats ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_the_picture_its_colours_and_its_turn_stay_and_all_else_goes(form, orientation):
    photo = telling(form, orientation)
    copy, cut = without_metadata(photo)
    assert not cut
    assert_clean(copy, photo)
    with Image.open(io.BytesIO(copy)) as image:
        assert image.getexif().get(ExifTags.Base.Orientation, 1) == orientation
        assert image.info["icc_profile"] == ICC
        assert image.format == form


@pytest.mark.parametrize(
    "options",
    [{"progressive": True}, {"mode": "CMYK"}, {"mode": "L"}, {"restart_marker_blocks": 1}, {"subsampling": 0}],
    ids=["progressive", "cmyk", "grey", "restarts", "444"],
)
def test_every_kind_of_jpeg_is_drawn_as_before(options):
    photo = telling("JPEG", **options)
    assert_clean(without_metadata(photo)[0], photo)


def test_whatever_a_jpeg_carries_beside_its_picture_goes():
    plain = encoded("JPEG", progressive=True)
    hidden = [segment(code, b"x\0Sydney") for code in range(0xE0, 0xFF)]
    thumbnail = plain[6:18] + b"\2\1" + PLACE  # of 2 x 1 pixels
    assert plain[2:4] == b"\xff\xe0"
    thumbnails = segment(0xE0, thumbnail) + segment(0xE0, b"JFXX\0\x13Sydney")
    photo = b"\xff\xd8" + thumbnails + b"".join(hidden) + plain[20:]
    second_scan = photo.index(b"\xff\xda", photo.index(b"\xff\xda") + 2)
    tables = photo.rindex(b"\xff\xc4", 0, second_scan)
    between = photo[:tables] + b"\xff\xff" + segment(0xFE, PLACE) + b"rubbish" + photo[tables:]
    behind = b"\0\0\0\x18ftypmp42 a film of Sydney"
    copy, cut = without_metadata(between + behind)
    assert cut
    assert_clean(copy, plain)
    assert copy == without_metadata(plain)[0]


def test_further_pictures_in_a_jpeg_go():
    file = io.BytesIO()
    picture().save(file, "MPO", save_all=True, append_images=[picture().rotate(180)], exif=telling_exif())
    copy, cut = without_metadata(file.getvalue())
    assert cut
    assert_clean(copy, file.getvalue())
    with Image.open(io.BytesIO(copy)) as image:
        assert image.format == "JPEG"


def test_zeros_behind_a_picture_are_no_loss():
    copy, cut = without_metadata(telling("JPEG") + b"\0" * 100)
    assert (copy, cut) == (without_metadata(telling("JPEG"))[0], False)


def test_whatever_a_png_carries_beside_its_picture_goes():
    plain = encoded("PNG")
    end = plain.index(b"IEND") - 4
    late = chunk(b"eXIf", telling_exif(8)[6:]) + chunk(b"prVt", PLACE) + chunk(b"tIME", b"\7\xe5\5\6\7\x08\x09")
    photo = plain[:end] + late + chunk(b"caBX", PLACE) + plain[end:] + b"Sydney, cropped away"
    copy, cut = without_metadata(photo)
    assert cut
    assert_clean(copy, photo)
    assert copy[len(plain[:33]) + 4 :].startswith(b"eXIf")  # behind IHDR: every reader finds it there


def test_a_png_that_needs_a_chunk_nobody_knows_is_refused():
    plain = encoded("PNG")
    with pytest.raises(PhotoError, match="PNG chunk that is not known"):
        without_metadata(plain[:33] + chunk(b"CgBI", b"\0\0\0\0") + plain[33:])


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 60}, {"mode": "RGBA", "quality": 60}])
def test_every_kind_of_webp_is_drawn_as_before(options):
    photo = telling("WEBP", **options)
    copy, cut = without_metadata(photo + b"Sydney")
    assert cut
    assert_clean(copy, photo)
    assert struct.unpack_from("<I", copy, 4)[0] == len(copy) - 8
    assert without_metadata(encoded("WEBP")) == (encoded("WEBP"), False)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_animations_keep_their_frames(form):
    frames = [picture(), picture().rotate(90), picture().rotate(180)]
    file = io.BytesIO()
    xmp = {} if form == "PNG" else {"xmp": XMP}
    frames[0].save(file, form, save_all=True, append_images=frames[1:], duration=50, exif=telling_exif(), **xmp)
    photo = file.getvalue()
    if form == "WEBP":  # a chunk inside the first frame
        at = photo.index(b"ANMF")
        (length,) = struct.unpack_from("<I", photo, at + 4)
        hidden = b"hide" + struct.pack("<I", 6) + PLACE
        photo = photo[: at + 4] + struct.pack("<I", length + 14) + photo[at + 8 : at + 8 + length] + hidden + photo[
            at + 8 + length :
        ]  # fmt: skip
        photo = photo[:4] + struct.pack("<I", len(photo) - 8) + photo[8:]
    copy, _ = without_metadata(photo)
    assert_clean(copy, photo)
    with Image.open(io.BytesIO(copy)) as new, Image.open(io.BytesIO(photo)) as old:
        assert new.n_frames == old.n_frames == 3
        for one, other in zip(ImageSequence.Iterator(new), ImageSequence.Iterator(old), strict=True):
            assert np.array_equal(one.convert("RGB"), other.convert("RGB"))


AVIF = telling("AVIF")


def at_same_size(photo: bytes, old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new)
    assert photo.count(old) == 1
    return photo.replace(old, new)


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content


def test_an_avif_keeps_every_byte_of_its_picture_at_its_place():
    copy, cut = without_metadata(AVIF)
    assert not cut
    assert len(copy) == len(AVIF)
    assert PLACE in AVIF
    assert b"GPSLatitude" in AVIF
    changed = [n for n, (old, new) in enumerate(zip(AVIF, copy, strict=True)) if old != new]
    assert len(changed) > 300
    assert_clean(copy, AVIF)


def test_what_is_only_said_of_an_avif_goes():
    remark = AVIF.index(b"pixi") + 4
    photo = AVIF[: remark - 4] + b"udes" + PLACE + b"!!" + AVIF[remark + 8 :]
    behind = box(b"mpvd", b"a film of Sydney") + box(b"uuid", PLACE * 4) + b"Sydney"
    copy, cut = without_metadata(photo + behind)
    assert cut
    assert_clean(copy, AVIF)
    assert len(copy) == len(AVIF)
    assert without_metadata(AVIF + bytes(30)) == (without_metadata(AVIF)[0], False)


@pytest.mark.parametrize(
    ("photo", "says"),
    [
        (AVIF + box(b"moov", b"a film"), "film"),
        (at_same_size(AVIF, b"pixi", b"wxyz"), "properties of a kind"),
        (AVIF.replace(b"Exif", b"wxyz", 1), "items of a kind"),
        (at_same_size(AVIF, b"iloc", b"wxyz"), "broken"),
        (at_same_size(AVIF, b"meta\0\0\0\0", b"free\0\0\0\0"), "broken"),
        (AVIF[: AVIF.index(b"mdat") - 4], "broken"),
    ],
    ids=["film", "property", "item", "no table", "nothing", "no heap"],
)
def test_an_avif_that_cannot_be_judged_is_refused(photo, says):
    with pytest.raises(PhotoError, match=says):
        without_metadata(photo)


def test_an_avif_that_only_xmp_turns_is_refused():
    """Pillow goes by XMP where no EXIF is; a copy without it would lie on its side."""
    turned = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    with pytest.raises(PhotoError, match="how it is to be turned"):
        without_metadata(encoded("AVIF", xmp=turned))


@pytest.mark.parametrize("form", ["TIFF", "GIF", "BMP", "JPEG2000"])
def test_a_format_that_cannot_be_cleaned_is_refused(form):
    with pytest.raises(PhotoError, match="only JPEG, PNG, WebP, HEIC and AVIF"):
        without_metadata(encoded(form))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("share", [0.3, 0.8, 0.99])
def test_half_a_photo_is_refused(form, share):
    photo = telling(form)
    with pytest.raises(PhotoError):
        without_metadata(photo[: int(len(photo) * share)])


JPEG, WEBP, PNG = encoded("JPEG"), encoded("WEBP", exif=telling_exif(1)), encoded("PNG")


@given(st.integers(0xE0, 0xFE), st.binary(max_size=80), st.integers(0, 3), st.binary(max_size=40))
def test_no_segment_comes_through(marker, content, fill, behind):
    """Whatever stands in an APPn, a comment or behind the picture, the copy is the one of the photo without it."""
    known = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
    if content.startswith(known.get(marker, b"\0\0no")):
        return
    photo = JPEG[:20] + b"\xff" * fill + segment(marker, content) + JPEG[20:] + behind
    try:
        copy, _ = without_metadata(photo)
    except PhotoError as error:  # Pillow opens no photo whose EXIF or MPF is broken in some ways, and neither do we
        assert "cannot decode" in str(error) or "not an image" in str(error)
        return
    assert copy == JPEG


@given(st.from_regex(rb"[a-z][A-Za-z]{3}", fullmatch=True), st.binary(max_size=80), st.binary(max_size=40))
def test_no_private_chunk_comes_through(kind, content, behind):
    if kind in scrubbing._PNG_KEPT or kind in (b"eXIf", b"iTXt", b"zTXt", b"tEXt"):
        return
    assert without_metadata(PNG[:33] + chunk(kind, content) + PNG[33:] + behind)[0] == PNG


@given(st.data())
def test_a_broken_photo_is_refused_or_tells_nothing(data):
    photo = bytearray(telling(data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "AVIF"]))))
    for _ in range(data.draw(st.integers(1, 6))):
        photo[data.draw(st.integers(0, len(photo) - 1))] = data.draw(st.integers(0, 255))
    try:
        copy, _ = without_metadata(bytes(photo))
    except PhotoError as error:
        assert str(error)
        return
    assert b"GPSLatitude" not in copy


# ── folders ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(telling("JPEG"))
    (folder / "sub/a.jpg").write_bytes(telling("JPEG", 3) + b"a film")
    (folder / "sub/b.webp").write_bytes(telling("WEBP"))
    (folder / "a.jpg.xmp").write_bytes(XMP)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def test_copies_keep_folders_and_names_and_the_photos_stay(photos, tmp_path):
    (photos / "c.tif").write_bytes(encoded("TIFF"))
    (photos / "d.jpg").write_bytes(b"no photo")
    before = contents(photos)
    out = tmp_path / "out"
    done = scrub([photos], out)
    assert done.copies == 3
    assert done.shortened == 1
    assert list(done.refused) == [str(photos / "c.tif"), str(photos / "d.jpg")]
    assert set(contents(out)) == {"a.jpg", "sub/a.jpg", "sub/b.webp"}  # no sidecar, and no photo that was refused
    assert contents(photos) == before
    for photo in find_photos(out):
        with pytest.raises(GPSError, match=f"^{NO_GPS}$"):
            read_gps(photo)
        assert_clean(photo.read_bytes(), (photos / photo.relative_to(out)).read_bytes())


def test_the_copy_has_not_the_times_of_the_photo(photos, tmp_path):
    os.utime(photos / "a.jpg", (1e9, 1e9))
    scrub([photos / "a.jpg"], tmp_path / "out")
    assert (tmp_path / "out/a.jpg").stat().st_mtime > 1.5e9


def test_no_copy_is_replaced_unless_asked(photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.jpg").write_bytes(b"mine")
    done = scrub([photos], out)
    assert done.copies == 2
    assert "--overwrite" in done.refused[str(photos / "a.jpg")]
    assert (out / "a.jpg").read_bytes() == b"mine"
    assert scrub([photos], out, overwrite=True) == Scrubbed(3, 1, {})


def test_two_photos_of_one_name_do_not_replace_each_other(photos, tmp_path):
    done = scrub([photos / "a.jpg", photos / "sub/a.jpg"], tmp_path / "out", overwrite=True)
    assert done.copies == 1
    assert "has its name" in done.refused[str(photos / "sub/a.jpg")]
    assert (tmp_path / "out/a.jpg").read_bytes() == without_metadata((photos / "a.jpg").read_bytes())[0]


@pytest.mark.parametrize("output", ["photos", "photos/clean", "photos/sub/../x"])
def test_copies_do_not_go_among_the_photos(photos, tmp_path, output):
    before = contents(photos)
    with pytest.raises(OutputError, match="folder of the photos"):
        scrub([photos], tmp_path / output, overwrite=True)
    assert contents(photos) == before


def test_a_photo_is_never_its_own_copy(photos):
    before = contents(photos)
    done = scrub([photos / "a.jpg"], photos, overwrite=True)
    assert (done.copies, list(done.refused.values())) == (0, ["its copy would be the photo itself"])
    assert contents(photos) == before


def test_nothing_is_written_through_a_link_that_leads_out(photos, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/sub").symlink_to(tmp_path / "elsewhere")
    assert scrub([photos], tmp_path / "out").copies == 1
    assert not list((tmp_path / "elsewhere").iterdir())
    (photos / "link.jpg").symlink_to(tmp_path / "photos/a.jpg")
    assert scrub([photos / "link.jpg"], tmp_path / "more").copies == 1
    assert not (tmp_path / "more/link.jpg").is_symlink()


def test_a_sidecar_beside_the_copy_would_tell_for_it(photos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.xmp").write_bytes(XMP)
    done = scrub([photos / "a.jpg"], tmp_path / "out")
    assert "sidecar" in done.refused[str(photos / "a.jpg")]
    assert set(contents(tmp_path / "out")) == {"a.xmp"}


def test_photos_in_a_tar_are_copied_out_of_it(photos, tmp_path):
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars/t.tar", "w") as tar:
        tar.add(photos / "a.jpg", "x/b.jpg")
    assert scrub([tmp_path / "tars"], tmp_path / "out").copies == 1
    assert_clean((tmp_path / "out/t.tar/x/b.jpg").read_bytes(), telling("JPEG"))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("way", ["exif", "xmp"])
def test_a_copy_that_still_tells_is_not_kept(photos, tmp_path, monkeypatch, form, way):
    """The copy is read back, so that a fault of the cleaning cannot hand out a place."""
    faulty = encoded(form, exif=telling_exif()) if way == "exif" or form == "PNG" else encoded(form, xmp=XMP)
    monkeypatch.setattr(scrubbing, "without_metadata", lambda photo: (faulty, False))
    done = scrub([photos / "a.jpg"], tmp_path / "out")
    assert "would still tell" in done.refused[str(photos / "a.jpg")]
    assert not list((tmp_path / "out").iterdir())


def test_what_is_not_there_is_said_before_anything_is_copied(photos, tmp_path):
    with pytest.raises(PhotoError, match="no photo or folder"):
        scrub([photos, tmp_path / "gone.jpg"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_real_photos_keep_their_pixels_and_lose_their_places(shared: Path, tmp_path: Path):
    done = scrub([shared / "photos"], tmp_path / "out")
    assert done.copies >= 60
    assert {Path(photo).suffix for photo in done.refused} <= {".tif", ".tiff"}, done.refused
    for number, copy in enumerate(find_photos(tmp_path / "out")):
        content = copy.read_bytes()
        assert b"GPS" not in content.split(b"\xff\xda")[0]
        if not number % 6:
            photo = shared / "photos" / copy.relative_to(tmp_path / "out")
            assert np.array_equal(open_photo(copy), open_photo(photo)), photo


def test_a_photo_given_twice_is_copied_once(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.jpg")
    done = scrub([folder, folder, folder / "a.jpg"], tmp_path / "clean")
    assert (done.copies, done.refused) == (1, {})
