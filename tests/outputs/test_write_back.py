"""Places written back: into EXIF and sidecars, never over a position, never into what was not asked for."""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import struct
import tarfile
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from geomind.errors import GPSError, OutputError, PhotoError
from geomind.outputs.exif import with_position
from geomind.outputs.write_back import WrittenBack, write_back
from geomind.outputs.xmp import sidecar, sidecar_path
from geomind.photos import ESTIMATE, ESTIMATE_MARK, find_photos, read_gps
from geomind.predictions import Prediction

SYDNEY = Prediction(image_path="a.jpg", latitude=-33.856812, longitude=151.215198, radius_km_90=250.5)
NOTE = b"maker\0note that points at 0x1234 " * 9

places = st.tuples(st.integers(-90_000_000, 90_000_000), st.integers(-180_000_000, 180_000_000))


def picture(mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def encoded(form: str, exif: Image.Exif | None = None) -> bytes:
    file = io.BytesIO()
    options = {} if exif is None else {"exif": exif.tobytes()}
    picture().save(file, form, **options)
    return file.getvalue()


def some_exif(gps: dict | None = None) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Camera & Co"
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = NOTE
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2021:05:06 07:08:09"
    if gps is not None:
        exif[ExifTags.IFD.GPSInfo] = gps
    return exif


def gps_of(photo: bytes) -> dict:
    return dict(Image.open(io.BytesIO(photo)).getexif().get_ifd(ExifTags.IFD.GPSInfo))


def position_of(gps: dict) -> tuple[float, float]:
    degrees = [float(d) + float(m) / 60 + float(s) / 3600 for d, m, s in (gps[2], gps[4])]
    return degrees[0] * (-1 if gps[1] == "S" else 1), degrees[1] * (-1 if gps[3] == "W" else 1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(encoded("JPEG", some_exif()))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


# ── EXIF ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "MPO"])
@pytest.mark.parametrize("exif", [None, some_exif(), some_exif({29: "2021:05:06"})], ids=["none", "some", "clock"])
def test_the_place_is_added_and_everything_else_stays(form, exif):
    before = encoded(form, exif)
    after = with_position(before, SYDNEY)
    old, new = Image.open(io.BytesIO(before)), Image.open(io.BytesIO(after))
    assert np.array_equal(np.asarray(old), np.asarray(new))
    old_tags, new_tags = dict(old.getexif()), dict(new.getexif())
    assert new_tags.pop(ExifTags.IFD.GPSInfo)
    old_tags.pop(ExifTags.IFD.GPSInfo, None)
    assert new_tags == old_tags
    assert dict(new.getexif().get_ifd(ExifTags.IFD.Exif)) == dict(old.getexif().get_ifd(ExifTags.IFD.Exif))
    gps = gps_of(after)
    assert position_of(gps) == pytest.approx(SYDNEY.place, abs=1e-9)
    assert gps[ExifTags.GPS.GPSVersionID] == b"\2\3\0\0"
    assert gps[ExifTags.GPS.GPSMapDatum] == "WGS-84"
    assert gps[ExifTags.GPS.GPSProcessingMethod] == b"ASCII\0\0\0GeoMind estimate"
    assert gps[ExifTags.GPS.GPSHPositioningError] == 250_500
    if exif is not None and ExifTags.IFD.GPSInfo in exif:
        assert gps[29] == "2021:05:06"


def test_maker_notes_stay_at_their_place_to_the_byte():
    """Their offsets count from the beginning of the EXIF; writers that build it anew break them."""
    before = encoded("JPEG", some_exif())
    after = with_position(before, SYDNEY)
    start = before.index(b"Exif\0\0")
    assert after.index(b"Exif\0\0") == start
    assert after.index(NOTE) == before.index(NOTE)
    length = struct.unpack_from(">H", before, start - 2)[0]
    tiff = start + 6
    header = slice(tiff + 8, start - 2 + length)  # all of the EXIF behind its pointer to the first directory
    assert after[header] == before[header]
    assert after.endswith(before[start - 2 + length :])


@given(places, st.none() | st.floats(0, 1e8, allow_subnormal=False))
def test_any_place_reads_back_exactly_from_exif_and_xmp(place, radius):
    latitude, longitude = (micro / 1_000_000 for micro in place)
    prediction = Prediction(image_path="a.jpg", latitude=latitude, longitude=longitude, radius_km_90=radius)
    gps = gps_of(with_position(PLAIN, prediction))
    assert position_of(gps) == pytest.approx(prediction.place, abs=1e-9)
    assert (ExifTags.GPS.GPSHPositioningError in gps) == (radius is not None)
    attributes = description(sidecar(prediction)).attrib
    for name, value in (("GPSLatitude", latitude), ("GPSLongitude", longitude)):
        text = attributes["{http://ns.adobe.com/exif/1.0/}" + name]
        degrees, minutes = text[:-1].split(",")
        assert float(minutes) < 60
        assert (int(degrees) + float(minutes) / 60) * (-1 if text[-1] in "SW" else 1) == pytest.approx(value, abs=1e-9)


PLAIN = encoded("JPEG")


def test_a_jpeg_without_exif_keeps_jfif_in_front():
    after = with_position(PLAIN, SYDNEY)
    assert after[2:4] == b"\xff\xe0"
    assert after[20:22] == b"\xff\xe1"
    assert after.replace(after[20 : 22 + struct.unpack_from(">H", after, 22)[0]], b"", 1) == PLAIN


def test_several_pictures_in_one_jpeg_are_found_again():
    """Its index (MPF) tells the first one's length, which grows."""
    file = io.BytesIO()
    picture().save(file, "MPO", save_all=True, append_images=[picture().rotate(180)])
    after = Image.open(io.BytesIO(with_position(file.getvalue(), SYDNEY)))
    assert after.n_frames == 2
    first = after.mpinfo[0xB002][0]
    after.seek(1)
    before = Image.open(io.BytesIO(file.getvalue()))
    old_first = before.mpinfo[0xB002][0]["Size"]
    assert first["Size"] - old_first == len(with_position(file.getvalue(), SYDNEY)) - len(file.getvalue())
    before.seek(1)
    assert np.array_equal(np.asarray(after), np.asarray(before))


def test_exif_without_room_is_refused():
    exif = some_exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = b"x" * 65_200
    with pytest.raises(PhotoError, match="no room"):
        with_position(encoded("JPEG", exif), SYDNEY)


@given(st.data())
def test_a_broken_photo_is_refused_with_a_reason_or_still_marked(data):
    photo = bytearray(encoded(data.draw(st.sampled_from(["JPEG", "PNG", "TIFF"])), some_exif({29: "2021:05:06"})))
    for _ in range(data.draw(st.integers(1, 6))):
        photo[data.draw(st.integers(0, min(len(photo), 900) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(photo[: data.draw(st.integers(0, len(photo)))])
    try:
        assert ESTIMATE_MARK.encode() in with_position(cut, SYDNEY)
    except PhotoError as error:
        assert str(error)


# ── sidecars ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def description(document: str) -> ElementTree.Element:
    (rdf,) = ElementTree.fromstring(document)
    (only,) = rdf
    return only


def test_a_sidecar_says_twice_that_it_is_an_estimate():
    made = description(sidecar(SYDNEY))
    exif, dc, rdf = (
        f"{{{name}}}"
        for name in (
            "http://ns.adobe.com/exif/1.0/",
            "http://purl.org/dc/elements/1.1/",
            "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
        )
    )
    assert made.get(exif + "GPSLatitude") == "33,51.408720S"
    assert made.get(exif + "GPSLongitude") == "151,12.911880E"
    assert made.get(exif + "GPSHPositioningError") == "250500/1"
    assert made.get(exif + "GPSProcessingMethod") == "GeoMind estimate"
    assert made.findtext(f"{dc}subject/{rdf}Bag/{rdf}li") == "GeoMind estimate"


def test_sidecars_are_named_as_their_readers_want(tmp_path):
    assert sidecar_path(Path("f/a.b.jpg"), "darktable") == Path("f/a.b.jpg.xmp")
    assert sidecar_path(Path("f/a.b.jpg"), "adobe") == Path("f/a.b.xmp")


@pytest.mark.parametrize("mark", ["method", "keyword"])
def test_an_estimate_is_no_truth_while_either_mark_is_there(tmp_path, mark):
    """darktable drops the method when it writes a sidecar anew, and keeps the keyword."""
    photo = tmp_path / "a.jpg"
    photo.write_bytes(PLAIN)
    document = sidecar(SYDNEY)
    if mark == "method":
        document = document.replace(f"<rdf:li>{ESTIMATE_MARK}</rdf:li>", "<rdf:li>boats</rdf:li>")
    else:
        document = document.replace(f'exif:GPSProcessingMethod="{ESTIMATE_MARK}"', "")
    (tmp_path / "a.jpg.xmp").write_text(document, "utf-8")
    with pytest.raises(GPSError, match=f"^{ESTIMATE}$"):
        read_gps(photo)


def test_another_method_and_another_keyword_are_a_truth(tmp_path):
    photo = tmp_path / "a.jpg"
    photo.write_bytes(PLAIN)
    (tmp_path / "a.jpg.xmp").write_text(sidecar(SYDNEY).replace(ESTIMATE_MARK, "GPS"), "utf-8")
    assert read_gps(photo) == pytest.approx(SYDNEY.place, abs=1e-8)


# ── folders ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_copies_get_the_place_and_the_photos_stay(photos, tmp_path):
    before = contents(photos)
    os.utime(photos / "a.jpg", (1e9, 1e9))
    done = write_back([SYDNEY], photos, "copies", copies_dir=tmp_path / "out")
    assert done == WrittenBack(exif=1, sidecars=0, left_alone={})
    assert contents(photos) == before
    assert (tmp_path / "out/a.jpg").stat().st_mtime == 1e9
    with pytest.raises(GPSError, match=f"^{ESTIMATE}$"):
        read_gps(tmp_path / "out/a.jpg")
    again = write_back([SYDNEY], photos, "copies", copies_dir=tmp_path / "out")
    assert again.left_alone == {"its copy exists already; --overwrite replaces it": 1}
    assert write_back([SYDNEY], photos, "copies", copies_dir=tmp_path / "out", overwrite=True).exif == 1


def test_what_cannot_hold_it_gets_a_sidecar_beside_its_copy(photos, tmp_path):
    (photos / "sub").mkdir()
    picture().save(photos / "sub/b.webp")
    webp = dataclasses.replace(SYDNEY, image_path="sub/b.webp")
    out = tmp_path / "out"
    done = write_back([webp], photos, "copies", copies_dir=out)
    assert (done.exif, done.sidecars) == (0, 1)
    assert (out / "sub/b.webp").read_bytes() == (photos / "sub/b.webp").read_bytes()
    with pytest.raises(GPSError, match=ESTIMATE):
        read_gps(out / "sub/b.webp")
    (out / "sub/b.webp").unlink()  # as a run that was stopped between the two leaves it
    assert write_back([webp], photos, "copies", copies_dir=out).sidecars == 1
    assert (out / "sub/b.webp").exists()


def test_in_place_is_in_the_photo_and_nowhere_else(photos):
    assert write_back([SYDNEY], photos, "in_place").exif == 1
    assert [each.name for each in photos.iterdir()] == ["a.jpg"]
    with pytest.raises(GPSError, match=ESTIMATE):
        read_gps(photos / "a.jpg")
    again = write_back([SYDNEY], photos, "in_place")
    assert again.left_alone == {f"it keeps what it has: {ESTIMATE}": 1}


@pytest.mark.parametrize(("names", "name"), [("darktable", "a.jpg.xmp"), ("adobe", "a.xmp")])
def test_sidecars_leave_the_photo_as_it_is(photos, names, name):
    before = contents(photos)
    assert write_back([SYDNEY], photos, "sidecars", sidecar_names=names).sidecars == 1
    assert contents(photos) == before | {name: sidecar(SYDNEY).encode()}


@pytest.mark.parametrize("way", ["copies", "in_place", "sidecars"])
@pytest.mark.parametrize(
    "gps",
    [
        {1: "N", 2: (48.0, 51.0, 29.0), 3: "E", 4: (2.0, 20.0, 5.0)},
        {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)},
        {2: (48.0, 51.0, 29.0)},
    ],
    ids=["there", "zeros", "half"],
)
def test_a_position_that_is_there_is_never_replaced(photos, tmp_path, way, gps):
    (photos / "a.jpg").write_bytes(encoded("JPEG", some_exif(gps)))
    before = contents(photos)
    done = write_back([SYDNEY], photos, way, copies_dir=tmp_path / "out" if way == "copies" else None)
    assert (done.exif, done.sidecars, sum(done.left_alone.values())) == (0, 0, 1)
    assert contents(photos) == before
    assert not list((tmp_path / "out").rglob("*"))


@pytest.mark.parametrize("position", ["", 'exif:GPSLatitude="48,51.5N" exif:GPSLongitude="2,20.1E"'])
@pytest.mark.parametrize("name", ["a.jpg.xmp", "a.xmp"])
def test_a_sidecar_that_is_there_is_never_changed(photos, name, position):
    names = "darktable" if name == "a.jpg.xmp" else "adobe"
    mine = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
        <rdf:Description xmlns:exif="http://ns.adobe.com/exif/1.0/" {position}/></rdf:RDF></x:xmpmeta>"""
    (photos / name).write_text(mine, "utf-8")
    done = write_back([SYDNEY], photos, "sidecars", sidecar_names=names)
    assert (done.sidecars, sum(done.left_alone.values())) == (0, 1)
    assert (photos / name).read_text("utf-8") == mine


def test_photos_without_a_place_of_their_own_get_none(photos, tmp_path):
    median = dataclasses.replace(SYDNEY, error="no Expert for this region")
    missing = Prediction(image_path="a.jpg", error="broken")
    gone = dataclasses.replace(SYDNEY, image_path="gone.jpg")
    done = write_back([median, missing, gone], photos, "copies", copies_dir=tmp_path / "out")
    assert done == WrittenBack(
        exif=0,
        sidecars=0,
        left_alone={
            "its place stands in for a better one: no Expert for this region": 1,
            "it has no place": 1,
            "no such file or directory": 1,
        },
    )


def test_nothing_leads_out_of_the_folders(photos, tmp_path):
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(PLAIN)
    (photos / "link.jpg").symlink_to(outside)
    (photos / "inside.jpg").symlink_to(photos / "a.jpg")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/sub").symlink_to(tmp_path / "elsewhere")
    (photos / "sub").mkdir()
    (photos / "sub/c.jpg").write_bytes(PLAIN)

    def named(name: str) -> Prediction:
        return dataclasses.replace(SYDNEY, image_path=name)

    wrong = [named("../outside.jpg"), named(str(outside)), named("a/../../outside.jpg")]
    for way in ("in_place", "sidecars"):
        done = write_back([*wrong, named("link.jpg"), named("bad\0.jpg")], photos, way)
        assert done.left_alone == {"its path leads out of the folder": 5}
    done = write_back([*wrong, named("sub/c.jpg")], photos, "copies", copies_dir=tmp_path / "out")
    assert done.left_alone == {"its path leads out of the folder": 4}
    assert not list((tmp_path / "elsewhere").iterdir())
    assert outside.read_bytes() == PLAIN
    assert not list(tmp_path.glob("*.xmp"))
    assert write_back([named("link.jpg")], photos, "copies", copies_dir=tmp_path / "out").exif == 1  # it is only read
    assert outside.read_bytes() == PLAIN
    assert write_back([named("inside.jpg")], photos, "in_place").exif == 1
    assert (photos / "inside.jpg").is_symlink()


def test_a_photo_in_a_tar_can_be_copied_and_no_more(photos, tmp_path):
    with tarfile.open(photos / "t.tar", "w") as tar:
        tar.add(photos / "a.jpg", "x/b.jpg")
    inside = dataclasses.replace(SYDNEY, image_path="t.tar/x/b.jpg")
    before = contents(photos)
    for way in ("in_place", "sidecars"):
        assert write_back([inside], photos, way).left_alone == {"it is in a tar, which is not written": 1}
    assert write_back([inside], photos, "copies", copies_dir=tmp_path / "out").exif == 1
    assert contents(photos) == before
    assert (tmp_path / "out/t.tar/x/b.jpg").exists()


def test_a_read_only_photo_is_copied(photos, tmp_path):
    """The copy had its rights before it was flushed to the disk, which then failed for everybody but root."""
    (photos / "a.jpg").chmod(0o444)
    assert write_back([SYDNEY], photos, "copies", copies_dir=tmp_path / "out").exif == 1
    assert (tmp_path / "out/a.jpg").stat().st_mode & 0o777 == 0o644


def test_folders_that_cannot_be_used(photos, tmp_path):
    with pytest.raises(OutputError, match="--images-dir"):
        write_back([SYDNEY], tmp_path / "none", "in_place")
    with pytest.raises(OutputError, match="is the folder of the photos"):
        write_back([SYDNEY], photos, "copies", copies_dir=tmp_path / "photos/../photos")


def test_a_full_disk_leaves_the_photo(photos, monkeypatch):
    before = contents(photos)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="no space left"):
        write_back([SYDNEY], photos, "in_place")
    assert contents(photos) == before


def test_real_photos_keep_their_tags_and_their_pixels(shared: Path):
    tried = 0
    for photo in find_photos(shared / "photos"):
        before = photo.read_bytes()
        try:
            after = with_position(before, SYDNEY)
        except PhotoError:
            continue
        tried += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            old, new = Image.open(io.BytesIO(before)), Image.open(io.BytesIO(after))
            tags, new_tags = ({**image.getexif(), ExifTags.IFD.GPSInfo: 0} for image in (old, new))
            assert str(new_tags) == str(tags), photo
            assert str(new.getexif().get_ifd(ExifTags.IFD.Exif)) == str(old.getexif().get_ifd(ExifTags.IFD.Exif)), photo
            if not tried % 10:
                assert np.array_equal(np.asarray(old), np.asarray(new))
        old_gps, gps = gps_of(before), gps_of(after)
        assert position_of(gps) == pytest.approx(SYDNEY.place, abs=1e-9)
        assert set(old_gps) <= set(gps)
        exif = before.find(b"Exif\0\0")
        if before.startswith(b"\xff\xd8") and exif > 0 and b"MPF\0" not in before:
            behind = exif - 2 + struct.unpack_from(">H", before, exif - 2)[0]
            assert after.endswith(before[behind:]), photo
    assert tried >= 20
