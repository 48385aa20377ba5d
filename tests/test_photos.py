from __future__ import annotations

import csv
import os
import re
import struct
import tarfile
import warnings
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IFDRational
from pydantic import ValidationError

from geomind.errors import GPSError, PhotoError
from geomind.photos import (
    IMAGE_SUFFIXES,
    Preprocessing,
    files,
    find_photos,
    open_photo,
    position_fault,
    positions,
    read_gps,
    read_orientation,
    read_photo_bytes,
    reading,
    sidecars_of,
)

GPS_IFD = 0x8825
ORIENTATION = 0x0112


def gradient(width: int = 48, height: int = 32) -> Image.Image:
    """Give a smooth picture in which every corner and every channel differs."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [255 * x / width, 255 * y / height, 255 * (x + 2 * y) / (width + 2 * height)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def save_with_gps(path: Path, gps: Mapping[int, object]) -> Path:
    exif = Image.Exif()
    exif[GPS_IFD] = dict(gps)
    gradient().save(path, exif=exif.tobytes())
    return path


def png_header(width: int, height: int) -> bytes:
    """Give a valid PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


def write_tar(path: Path, photos: Mapping[str, Path]) -> Path:
    with tarfile.open(path, "w:", format=tarfile.GNU_FORMAT) as tar:
        for name, photo in photos.items():
            tar.add(photo, name)
    return path


class TestPhotosInTars:
    def test_they_are_found_in_the_order_of_their_tar(self, tmp_path: Path) -> None:
        photo = tmp_path / "a.jpg"
        gradient().save(photo)
        (tmp_path / "sub").mkdir()
        names = ("z.JPG", "b/y.png", "b/y.json", "./x.jpg", ".trash/t.jpg", "._z.jpg", "../out.jpg", "z.JPG")
        with tarfile.open(tmp_path / "sub" / "b.tar", "w:") as tar:
            for name in names:
                tar.add(photo, name)
        (tmp_path / "c.tar").write_bytes(b"no tar")
        (tmp_path / "gone.tar").symlink_to(tmp_path / "nothing")
        (tmp_path / ".b.123.partial.tar").write_bytes((tmp_path / "sub" / "b.tar").read_bytes())
        (tmp_path / "z.jpg").touch()
        found = [path.relative_to(tmp_path).as_posix() for path in find_photos(tmp_path)]
        assert found == ["a.jpg", "sub/b.tar/z.JPG", "sub/b.tar/b/y.png", "sub/b.tar/x.jpg", "z.jpg"]

    def test_they_are_read_like_any_other(self, tmp_path: Path) -> None:
        gps = {1: "N", 2: (48.0, 30.0, 0.0), 3: "W", 4: (2.0, 0.0, 0.0)}
        photo = save_with_gps(tmp_path / "a.jpg", gps)
        inside = write_tar(tmp_path / "t.tar", {"b/a.jpg": photo}) / "b" / "a.jpg"
        assert np.array_equal(open_photo(inside, min_side=8), open_photo(photo, min_side=8))
        assert read_gps(inside) == read_gps(photo) == (48.5, -2.0)
        assert read_photo_bytes(inside) == read_photo_bytes(photo) == photo.read_bytes()
        assert np.array_equal(Preprocessing(image_size=16).read(inside), Preprocessing(image_size=16).read(photo))

    def test_what_cannot_be_read_says_why(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        gradient().save(tmp_path / "a.jpg")
        (tmp_path / "empty.jpg").touch()
        tar = write_tar(tmp_path / "t.tar", {"empty.jpg": tmp_path / "empty.jpg", "a.jpg": tmp_path / "a.jpg"})
        cut = tmp_path / "cut.tar"
        cut.write_bytes(tar.read_bytes()[:1100])
        (tmp_path / "text.tar").write_text("no tar", encoding="utf-8")
        for path, reason in (
            (tar / "b.jpg", "no such file in its tar"),
            (tar / ".." / "t.tar" / ".." / "a.jpg", "no such file in its tar"),
            (tar / "empty.jpg", "empty file"),
            (tar / "nul\0.jpg", "no such file in its tar"),
            (cut / "a.jpg", "its tar is cut off"),
            (tmp_path / "text.tar" / "a.jpg", "not a tar, or broken at its beginning"),
            (tmp_path / "gone.tar" / "a.jpg", "no such file or directory"),
            (tmp_path / "gone\0.tar" / "a.jpg", "cannot decode: embedded null byte"),
        ):
            for read in (open_photo, read_gps, read_photo_bytes):
                with pytest.raises(PhotoError, match=f"^{re.escape(reason)}$"):
                    read(path)
        monkeypatch.setattr(reading, "MAX_BYTES", 100)
        with pytest.raises(PhotoError, match=r"^too many bytes"):
            open_photo(tar / "a.jpg")


class TestFindPhotos:
    def test_walks_subfolders_in_order_and_takes_endings_in_any_case(self, tmp_path: Path) -> None:
        for name in ("b.JPG", "a/z.HeIc", "a/c.jpeg", "B.tif", "notes.txt", "a.jpg.txt", "jpg"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / "album.jpg").mkdir()
        (tmp_path / "album.jpg" / 'é, "1"\n.png').touch()
        found = [path.relative_to(tmp_path).as_posix() for path in find_photos(tmp_path)]
        assert found == ["B.tif", "a/c.jpeg", "a/z.HeIc", 'album.jpg/é, "1"\n.png', "b.JPG"]

    def test_every_suffix_counts(self, tmp_path: Path) -> None:
        for suffix in IMAGE_SUFFIXES:
            (tmp_path / f"x{suffix.upper()}").touch()
        assert len(find_photos(tmp_path)) == len(IMAGE_SUFFIXES) == 14

    def test_leaves_out_hidden_folders_and_resource_forks(self, tmp_path: Path) -> None:
        home = tmp_path / ".hidden" / "photos"  # a folder that was named is walked, whatever lies above it
        (home / ".thumbnails").mkdir(parents=True)
        for name in (".thumbnails/a.jpg", "._b.jpg", ".c.jpg", "d.jpg"):
            (home / name).touch()
        assert [path.name for path in find_photos(home)] == [".c.jpg", "d.jpg"]
        assert len(find_photos(home / ".thumbnails")) == 1

    def test_link_loops_end_and_broken_links_keep_their_row(self, tmp_path: Path) -> None:
        (tmp_path / "album").mkdir()
        (tmp_path / "album" / "a.jpg").touch()
        (tmp_path / "album" / "loop").symlink_to(tmp_path)
        (tmp_path / "again").symlink_to(tmp_path / "album")
        (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
        (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing")
        found = [path.relative_to(tmp_path).as_posix() for path in find_photos(tmp_path)]
        assert found == ["again/a.jpg", "gone.jpg", "self.jpg"]

    def test_errors_say_what_and_where(self, tmp_path: Path) -> None:
        with pytest.raises(PhotoError, match=r"There is no folder .*missing"):
            find_photos(tmp_path / "missing")
        (tmp_path / "a.jpg").touch()
        with pytest.raises(PhotoError, match=r"a\.jpg is a file"):
            find_photos(tmp_path / "a.jpg")
        (tmp_path / "empty").mkdir()
        with pytest.raises(PhotoError, match=r"No photo in .*empty.* avif bmp"):
            find_photos(tmp_path / "empty")


class TestOpenPhoto:
    @pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "avif"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_applies_every_orientation(self, tmp_path: Path, orientation: int, suffix: str) -> None:
        """Where row 0 and column 0 of the stored picture lie in the visual one is EXIF's definition of the tag."""
        v = np.asarray(gradient())
        straight = {1: v, 2: v[:, ::-1], 3: v[::-1, ::-1], 4: v[::-1]}
        turned = {5: v, 6: v[:, ::-1], 7: v[::-1, ::-1], 8: v[::-1]}
        stored = (straight | {tag: picture.transpose(1, 0, 2) for tag, picture in turned.items()})[orientation]
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        path = tmp_path / f"photo.{suffix}"
        Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=95)
        photo = open_photo(path)
        assert photo.size == (48, 32)
        assert np.abs(np.asarray(photo).astype(int) - v).mean() < 4
        assert ORIENTATION not in photo.getexif()

    def test_reads_a_photo_whose_exif_is_broken(self, tmp_path: Path) -> None:
        gradient().save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
        assert open_photo(tmp_path / "a.jpg").size == (48, 32)

    @pytest.mark.parametrize(
        ("min_side", "size"),
        [(None, (1600, 1200)), (1, (200, 150)), (150, (200, 150)), (151, (400, 300)), (5000, (1600, 1200))],
    )
    def test_shrinks_a_jpeg_but_not_below_min_side(
        self, tmp_path: Path, min_side: int | None, size: tuple[int, int]
    ) -> None:
        gradient(1600, 1200).save(tmp_path / "a.jpg", quality=95)
        photo = open_photo(tmp_path / "a.jpg", min_side=min_side)
        assert photo.size == size
        assert photo.getpixel((size[0] - 1, size[1] - 1)) == pytest.approx((254, 254, 254), abs=6)

    @pytest.mark.parametrize(
        "name",
        [
            "L.png",
            "LA.png",
            "P.png",
            "RGB.png",
            "RGBA.png",
            "P.gif",
            "CMYK.tif",
            "YCbCr.tif",
            "RGBX.tif",
            "CMYK.jpg",
            "L.jpg",
            "L.jp2",
            "RGBA.webp",
            "RGB.avif",
            "RGB.bmp",
        ],
    )
    def test_turns_every_mode_into_rgb(self, tmp_path: Path, name: str) -> None:
        gradient().convert(name.partition(".")[0]).save(tmp_path / name)
        photo = open_photo(tmp_path / name)
        assert (photo.mode, photo.size) == ("RGB", (48, 32))
        luminance, expected = (np.asarray(picture.convert("L")).astype(int) for picture in (photo, gradient()))
        assert np.abs(luminance - expected).mean() < 12

    def test_turns_black_and_white_into_rgb(self, tmp_path: Path) -> None:
        for name in ("a.png", "a.tif", "a.bmp"):
            gradient().convert("1").save(tmp_path / name)
            assert {colour for _, colour in open_photo(tmp_path / name).getcolors() or ()} == {
                (0, 0, 0),
                (255, 255, 255),
            }

    def test_turns_lab_into_srgb(self, tmp_path: Path) -> None:
        """Pillow opens a CIELAB TIFF and cannot convert it without a colour profile."""
        Image.new("LAB", (4, 4), (136, 208, 195)).save(tmp_path / "a.tif")  # L* 53, a* 80, b* 67: the red of sRGB
        assert open_photo(tmp_path / "a.tif").getpixel((1, 1)) == pytest.approx((255, 0, 0), abs=12)

    def test_lays_transparency_over_white(self, tmp_path: Path) -> None:
        clear = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
        clear.putpixel((1, 0), (0, 0, 0, 0))
        clear.save(tmp_path / "rgba.png")
        clear.convert("LA").save(tmp_path / "la.png")
        clear.quantize(2).save(tmp_path / "palette.png")
        keyed = Image.new("RGB", (2, 1), (255, 0, 0))
        keyed.putpixel((1, 0), (1, 2, 3))
        keyed.save(tmp_path / "keyed.png", transparency=(1, 2, 3))
        for name in ("rgba", "la", "palette", "keyed"):
            photo = open_photo(tmp_path / f"{name}.png")
            assert photo.getpixel((1, 0)) == (255, 255, 255), name
            assert photo.getpixel((0, 0)) != (255, 255, 255), name

    @pytest.mark.parametrize("brightest", [255, 4095, 16383, 65535])
    @pytest.mark.parametrize("suffix", ["png", "tif"])
    def test_scales_16_bits_by_depth(self, tmp_path: Path, brightest: int, suffix: str) -> None:
        """Pillow's own conversion clips every value above 255 to white."""
        ramp = np.linspace(0, brightest, 256).round().astype(np.uint16).reshape(16, 16)
        Image.fromarray(ramp).save(tmp_path / f"a.{suffix}")
        grey = np.asarray(open_photo(tmp_path / f"a.{suffix}"))[..., 0]
        np.testing.assert_allclose(grey, np.arange(256).reshape(16, 16), atol=1)

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            (np.array([0, 0.5, 1], np.float32), [0, 128, 255]),
            (np.array([-1, 0, 1], np.float32), [0, 128, 255]),
            (np.array([0, np.nan, 1e30], np.float32), [0, 0, 255]),
            (np.array([0, 0, 0], np.float32), [0, 0, 0]),
            (np.array([0, 2**20 - 1, 2**19], np.int32), [0, 255, 128]),
            (np.array([-100, 0, 100], np.int32), [0, 128, 255]),
        ],
    )
    def test_scales_wide_greys_by_their_range(
        self, tmp_path: Path, values: np.ndarray[tuple[int], np.dtype[np.generic]], expected: list[int]
    ) -> None:
        Image.fromarray(values[None]).save(tmp_path / "a.tif")
        assert np.asarray(open_photo(tmp_path / "a.tif"))[0, :, 0].tolist() == pytest.approx(expected, abs=1)

    def test_takes_the_first_frame(self, tmp_path: Path) -> None:
        frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
        for name in ("a.gif", "a.png", "a.webp", "a.tif", "a.mpo", "a.avif"):
            frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
            assert open_photo(tmp_path / name).getpixel((8, 8)) == pytest.approx((255, 0, 0), abs=4), name

    def test_recognises_a_photo_by_content(self, tmp_path: Path) -> None:
        gradient().save(tmp_path / "a.png")
        (tmp_path / "a.png").rename(tmp_path / "a.jpg")
        assert open_photo(tmp_path / "a.jpg").size == (48, 32)

    def test_does_not_run_formats_that_are_no_photographs(self, tmp_path: Path) -> None:
        gradient().save(tmp_path / "a.eps")
        (tmp_path / "a.eps").rename(tmp_path / "a.jpg")
        with pytest.raises(PhotoError, match="not an image"):
            open_photo(tmp_path / "a.jpg")

    @pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "avif", "gif", "jp2"])
    def test_refuses_a_truncated_file_with_the_same_words_twice(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a.{suffix}"
        gradient(300, 200).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        reasons = set()
        for _ in range(2):
            with pytest.raises(PhotoError) as caught:
                open_photo(path, min_side=64)
            reasons.add(str(caught.value))
        (reason,) = reasons
        assert reason
        assert " at 0x" not in reason
        assert str(path) not in reason

    def test_names_the_reason_of_what_is_no_photo(self, tmp_path: Path) -> None:
        (tmp_path / "empty.jpg").touch()
        (tmp_path / "text.jpg").write_text("not an image, a text")
        (tmp_path / "folder.jpg").mkdir()
        os.mkfifo(tmp_path / "pipe.jpg")
        for name, reason in {
            "empty.jpg": "empty file",
            "text.jpg": "not an image, or broken at its beginning",
            "folder.jpg": "not a file",
            "pipe.jpg": "not a file",
            "missing.jpg": "no such file or directory",
            "nul\0.jpg": "cannot decode: embedded null byte",
        }.items():
            with pytest.raises(PhotoError, match=rf"^{re.escape(reason)}$"):
                open_photo(tmp_path / name)
            with pytest.raises(PhotoError, match=rf"^{re.escape(reason)}$"):
                read_gps(tmp_path / name)

    @pytest.mark.parametrize("size", [(10_000, 9_000), (14_000, 12_000), (100_000, 100_000)])
    def test_refuses_decompression_bombs_whatever_the_warning_filters(
        self, tmp_path: Path, size: tuple[int, int]
    ) -> None:
        (tmp_path / "bomb.png").write_bytes(png_header(*size))
        for action in ("error", "always"):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter(action)
                with pytest.raises(PhotoError, match=r"^too many pixels"):
                    open_photo(tmp_path / "bomb.png")
            assert not caught

    def test_measures_a_jpeg_after_shrinking_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        gradient(640, 480).save(tmp_path / "a.jpg")
        monkeypatch.setattr(reading, "MAX_PIXELS", 640 * 480 // 10)
        with pytest.raises(PhotoError, match=r"^too many pixels: 640 x 480$"):
            open_photo(tmp_path / "a.jpg")
        assert open_photo(tmp_path / "a.jpg", min_side=60).size == (80, 60)

    def test_refuses_files_that_would_fill_the_memory(self, tmp_path: Path) -> None:
        with (tmp_path / "huge.avif").open("wb") as file:
            file.truncate(reading.MAX_BYTES + 1)
        with pytest.raises(PhotoError, match=r"^too many bytes"):
            open_photo(tmp_path / "huge.avif")

    def test_translates_whatever_a_codec_throws(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        gradient().save(tmp_path / "a.jpg")
        for error, reason in (
            (MemoryError(), "not enough memory to decode it"),
            (struct.error("unpack requires 4 bytes"), "cannot decode: unpack requires 4 bytes"),
            (UnidentifiedImageError("cannot identify <_io.BytesIO object at 0x7f>"), "not an image"),
            (OSError("bad <_io.BytesIO object at 0x7f>\nsecond line"), "cannot decode: bad$"),
            (AssertionError(), "cannot decode: AssertionError"),
        ):

            def fail(*_: object, error: Exception = error, **__: object) -> None:
                raise error

            monkeypatch.setattr(Image, "open", fail)
            with pytest.raises(PhotoError, match=f"^{reason}") as caught:
                open_photo(tmp_path / "a.jpg")
            assert caught.value.__cause__ is error

    def test_says_how_to_read_heic_without_its_extra(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64)
        monkeypatch.setattr(reading, "_register_heif", lambda: False)
        with pytest.raises(PhotoError, match=r'pip install "geomind\[heic\]"'):
            open_photo(tmp_path / "a.jpg")

    def test_decodes_on_many_threads_without_a_warning(self, tmp_path: Path) -> None:
        gradient(400, 300).save(tmp_path / "good.jpg")
        odd = Image.Exif()
        odd[ORIENTATION] = 6
        gradient().save(tmp_path / "odd.tif", exif=odd, compression="tiff_deflate")
        broken = (tmp_path / "odd.tif").read_bytes()
        (tmp_path / "broken.tif").write_bytes(broken[:8] + broken[-40:] + broken[8:])

        def read(name: str) -> str:
            try:
                return str(open_photo(tmp_path / name, min_side=50).size)
            except PhotoError as error:
                return str(error)

        names = ["good.jpg", "odd.tif", "broken.tif"] * 40
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with ThreadPoolExecutor(8) as pool:
                results = list(pool.map(read, names))
        assert not caught
        assert results[:3] * 40 == results
        assert results[:2] == ["(100, 75)", "(32, 48)"]


class TestPreprocessing:
    @given(width=st.integers(1, 90), height=st.integers(1, 90), side=st.integers(8, 40))
    def test_any_shape_gives_a_square_of_its_centre(self, width: int, height: int, side: int) -> None:
        preprocessing = Preprocessing(image_size=side)
        flat = Image.new("RGB", (width, height), (124, 116, 104))
        pixels = preprocessing.pixels(flat)
        assert pixels.shape == (3, side, side)
        assert pixels.dtype == np.float32
        np.testing.assert_allclose(pixels, 0, atol=0.02)  # ImageNet's mean colour

    def test_centre_crop_keeps_the_middle(self) -> None:
        wide = Image.new("RGB", (300, 100), "blue")
        wide.paste(Image.new("RGB", (100, 100), "white"), (100, 0))
        for photo in (wide, wide.transpose(Image.Transpose.ROTATE_90)):
            square = np.asarray(Preprocessing(image_size=50).square(photo))
            assert (square[2:-2, 2:-2] == 255).all()  # the kernel reaches over the border, as it should

    def test_one_pass_equals_crop_then_resize(self) -> None:
        photo = gradient(330, 220)
        cropped = photo.crop((55, 0, 275, 220)).resize((64, 64), Image.Resampling.BICUBIC)
        square = Preprocessing(image_size=64).square(photo)
        assert np.abs(np.asarray(square).astype(int) - np.asarray(cropped)).max() <= 2

    def test_normalizes_as_torchvision_does(self) -> None:
        pixels = Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.1)).normalize(
            Image.new("RGB", (9, 8), (255, 0, 51))
        )
        assert pixels.shape == (3, 8, 9)
        assert pixels.flags["C_CONTIGUOUS"]
        np.testing.assert_allclose(pixels[:, 0, 0], [2.5, -1.6, -1.0], rtol=1e-5)

    def test_read_is_open_and_pixels(self, tmp_path: Path) -> None:
        gradient(900, 700).save(tmp_path / "a.jpg")
        preprocessing = Preprocessing(image_size=64)
        expected = preprocessing.pixels(open_photo(tmp_path / "a.jpg", min_side=64))
        np.testing.assert_array_equal(preprocessing.read(tmp_path / "a.jpg"), expected)

    def test_is_stored_and_read_back(self) -> None:
        preprocessing = Preprocessing(image_size=64, resample="bilinear")
        assert Preprocessing.model_validate_json(preprocessing.model_dump_json()) == preprocessing
        with pytest.raises(ValidationError):
            Preprocessing(image_sise=64)  # type: ignore[call-arg]
        with pytest.raises(ValidationError):
            Preprocessing(image_size=0)
        with pytest.raises(ValidationError):
            Preprocessing(std=(0.2, 0.0, 0.2))


degrees = st.floats(allow_subnormal=False) | st.sampled_from([-180.0, -90.0, 0.0, 90.0, 180.0])
GOOD = {1: "N", 2: (48.0, 51.0, 29.6), 3: "W", 4: (2.0, 17.0, 40.2)}


class TestReadGps:
    @pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "avif"])
    def test_reads_every_format(self, tmp_path: Path, suffix: str) -> None:
        path = save_with_gps(tmp_path / f"a.{suffix}", GOOD)
        assert read_gps(path) == pytest.approx((48 + 51 / 60 + 29.6 / 3600, -(2 + 17 / 60 + 40.2 / 3600)), abs=1e-6)

    def test_reads_an_exif_chunk_behind_the_pixels_of_a_png(self, tmp_path: Path) -> None:
        """Pillow finds an eXIf chunk behind IDAT only by decoding the picture, however large it is."""
        data = save_with_gps(tmp_path / "a.png", GOOD).read_bytes()
        start = data.index(b"eXIf") - 4
        end = start + 12 + struct.unpack(">I", data[start : start + 4])[0]
        (tmp_path / "a.png").write_bytes(data[:start] + data[end:-12] + data[start:end] + data[-12:])
        assert read_gps(tmp_path / "a.png")[0] == pytest.approx(48.858222, abs=1e-6)

    @given(
        latitude=st.floats(-90, 90, allow_subnormal=False).filter(lambda degrees: abs(degrees) > 1e-3),
        longitude=st.floats(-180, 180, allow_subnormal=False),
        parts=st.integers(1, 3),
    )
    def test_degrees_come_as_one_two_or_three_numbers(
        self, tmp_path_factory: pytest.TempPathFactory, latitude: float, longitude: float, parts: int
    ) -> None:
        def split(degrees: float) -> tuple[IFDRational, ...]:
            micro = round(abs(degrees) * 3_600_000)  # thousandths of a second
            if parts == 1:
                return (IFDRational(micro, 3_600_000),)
            if parts == 2:
                return IFDRational(micro // 3_600_000, 1), IFDRational(micro % 3_600_000, 60_000)
            minutes, rest = divmod(micro % 3_600_000, 60_000)
            return IFDRational(micro // 3_600_000, 1), IFDRational(minutes, 1), IFDRational(rest, 1000)

        folder = tmp_path_factory.getbasetemp()
        gps = {
            1: "S" if latitude < 0 else "N",
            2: split(latitude),
            3: "W" if longitude < 0 else "E",
            4: split(longitude),
        }
        assert read_gps(save_with_gps(folder / "a.jpg", gps)) == pytest.approx((latitude, longitude), abs=1e-6)

    @pytest.mark.parametrize("ref", ["n", "N\0", " N", b"N", b"n\0\0"])
    def test_hemispheres_come_padded_and_in_lower_case(self, tmp_path: Path, ref: str | bytes) -> None:
        assert read_gps(save_with_gps(tmp_path / "a.tif", GOOD | {1: ref}))[0] > 0

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({1: None}, "GPSLatitudeRef missing"),
            ({3: None}, "GPSLongitudeRef missing"),
            ({1: "\0"}, "GPSLatitudeRef missing"),
            ({1: "E"}, "GPSLatitudeRef is neither N nor S: 'E'"),
            ({2: None}, "GPSLatitude missing"),
            ({4: None}, "GPSLongitude missing"),
            ({2: None, 4: None}, "no EXIF GPS"),
            ({2: (48.0, IFDRational(1, 0), 0.0)}, "GPSLatitude has a zero denominator"),
            ({2: (48.0, IFDRational(0, 0), 0.0)}, "GPSLatitude has a zero denominator"),
            ({2: (97.0, 18.0, 0.0)}, "latitude is out of range: 97.3"),
            ({4: (180.0, 0.0, 1.0)}, "longitude is out of range: -180.0002778"),
            ({2: (48.0, 75.0, 0.0)}, "GPSLatitude has minutes or seconds above 60: 75"),
            ({2: (48.0, 1.0, 2.0, 3.0)}, "GPSLatitude is not 1 to 3 numbers"),
            ({2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)}, "latitude and longitude are both 0"),
        ],
    )
    def test_refuses_what_makes_no_sense(self, tmp_path: Path, change: dict[int, object], reason: str) -> None:
        gps = {tag: value for tag, value in (GOOD | change).items() if value is not None}
        with pytest.raises(GPSError) as caught:
            read_gps(save_with_gps(tmp_path / "a.jpg", gps))
        assert str(caught.value) == reason

    @pytest.mark.parametrize(
        "value", ["48.5", b"48", None, (None,), ("x", "y"), (float("nan"),), (-48.0,), (float("inf"), 1.0)]
    )
    def test_refuses_wrong_types(self, value: object) -> None:
        """What a writer of broken EXIF can store and Pillow's own writer will not."""
        with pytest.raises(GPSError, match=r"^GPSLatitude is"):
            positions._signed_degrees({1: "N", 2: value}, ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef, "NS")

    def test_a_photo_without_exif_says_so(self, tmp_path: Path) -> None:
        for name in ("a.jpg", "a.png", "a.gif", "a.bmp", "a.tif", "a.webp"):
            gradient().save(tmp_path / name)
            with pytest.raises(GPSError, match=r"^no EXIF GPS$"):
                read_gps(tmp_path / name)

    @given(latitude=degrees, longitude=degrees)
    def test_position_fault_allows_exactly_the_globe(self, latitude: float, longitude: float) -> None:
        possible = -90 <= latitude <= 90 and -180 <= longitude <= 180 and (latitude, longitude) != (0, 0)
        assert (position_fault(latitude, longitude) == "") == possible


def xmp(latitude: str | None, longitude: str | None, *, as_elements: bool = False, wrapped: bool = True) -> str:
    """Write a packet as Adobe's tools do (attributes) or as exiftool does (elements)."""
    named = {"GPSLatitude": latitude, "GPSLongitude": longitude, "GPSVersionID": "2.3.0.0"}
    pairs = [(name, text) for name, text in named.items() if text is not None]
    attributes = "".join(f' exif:{name}="{text}"' for name, text in pairs if not as_elements)
    elements = "".join(f"<exif:{name}>{text}</exif:{name}>" for name, text in pairs if as_elements)
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/"{attributes}>{elements}'
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    begin = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    return f'{begin}\n{packet}\n{" " * 200}<?xpacket end="w"?>\0' if wrapped else packet


PARIS_XMP = xmp("48,51.4933N", "2,20,5.5E")
PARIS = (48 + 51.4933 / 60, 2 + 20 / 60 + 5.5 / 3600)


class TestXmp:
    @pytest.mark.parametrize("name", ["a.jpg.xmp", "a.xmp", "a.jpg.XMP", "a.XMP"])
    @pytest.mark.parametrize("as_elements", [False, True])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    def test_a_sidecar_says_where_a_photo_without_gps_was_taken(
        self, tmp_path: Path, name: str, as_elements: bool, encoding: str
    ) -> None:
        gradient().save(tmp_path / "a.jpg")
        packet = xmp("48,51.4933N", "2,20,5.5E", as_elements=as_elements)
        (tmp_path / name).write_text(packet.rstrip("\0"), encoding=encoding)
        assert read_gps(tmp_path / "a.jpg") == pytest.approx(PARIS, abs=1e-9)

    @pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "avif"])
    def test_so_does_the_xmp_inside_it(self, tmp_path: Path, suffix: str) -> None:
        options = {"xmp": PARIS_XMP.encode()}
        if suffix == "png":
            info = PngInfo()
            info.add_itxt("XML:com.adobe.xmp", PARIS_XMP)
            options = {"pnginfo": info}
        elif suffix == "tif":
            options = {"tiffinfo": {700: PARIS_XMP.encode()}}
        gradient().save(tmp_path / f"a.{suffix}", **options)
        assert read_gps(tmp_path / f"a.{suffix}") == pytest.approx(PARIS, abs=1e-9)

    def test_the_first_that_holds_a_position_counts(self, tmp_path: Path) -> None:
        """EXIF, then photo.jpg.xmp, then photo.xmp, then the XMP inside."""
        inside, stem, whole = (xmp(f"{degrees},0N", "1,0E") for degrees in (10, 20, 30))
        gradient().save(tmp_path / "a.jpg", xmp=inside.encode())
        assert read_gps(tmp_path / "a.jpg")[0] == 10
        (tmp_path / "a.xmp").write_text(stem, encoding="utf-8")
        assert read_gps(tmp_path / "a.jpg")[0] == 20
        (tmp_path / "a.jpg.xmp").write_text(xmp(None, None), encoding="utf-8")  # holds none
        assert read_gps(tmp_path / "a.jpg")[0] == 20
        (tmp_path / "a.jpg.xmp").write_text(whole, encoding="utf-8")
        assert read_gps(tmp_path / "a.jpg")[0] == 30
        save_with_gps(tmp_path / "a.jpg", GOOD)
        assert read_gps(tmp_path / "a.jpg")[0] == pytest.approx(48.858222, abs=1e-6)
        save_with_gps(tmp_path / "a.jpg", GOOD | {1: "X"})  # a position that makes no sense is not passed over
        with pytest.raises(GPSError, match="GPSLatitudeRef is neither N nor S"):
            read_gps(tmp_path / "a.jpg")

    def test_a_sidecar_helps_a_photo_whose_exif_is_broken(self, tmp_path: Path) -> None:
        gradient().save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
        (tmp_path / "a.xmp").write_text(PARIS_XMP, encoding="utf-8")
        assert read_gps(tmp_path / "a.jpg") == pytest.approx(PARIS, abs=1e-9)

    @given(
        latitude=st.floats(0, 90, allow_subnormal=False),
        longitude=st.floats(0, 180, allow_subnormal=False),
        north=st.sampled_from("NS"),
        east=st.sampled_from("EW"),
        form=st.sampled_from(["minutes", "seconds", "degrees"]),
    )
    def test_reads_the_degrees_that_were_written(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        latitude: float,
        longitude: float,
        north: str,
        east: str,
        form: str,
    ) -> None:
        def text(degrees: float, hemisphere: str) -> str:
            if form == "degrees":
                return f"{degrees:.9f}{hemisphere}"
            minutes = round(degrees * 60, 7)
            if form == "minutes":
                return f"{int(minutes // 60)},{minutes % 60:.7f}{hemisphere}"
            seconds = round(degrees * 3600)
            return f"{seconds // 3600},{seconds // 60 % 60},{seconds % 60}{hemisphere}"

        folder = tmp_path_factory.getbasetemp() / "xmp"
        folder.mkdir(exist_ok=True)
        gradient().save(folder / "a.jpg")
        (folder / "a.xmp").write_text(xmp(text(latitude, north), text(longitude, east)), encoding="utf-8")
        expected = (latitude if north == "N" else -latitude, longitude if east == "E" else -longitude)
        if max(latitude, longitude) < 2e-4:
            return  # rounded to the place that stands for "unknown"
        precision = 1.5e-4 if form == "seconds" else 1e-8
        assert read_gps(folder / "a.jpg") == pytest.approx(expected, abs=precision)

    @pytest.mark.parametrize(
        ("packet", "reason"),
        [
            (xmp("48.8566", "2.35"), "XMP GPSLatitude is not of the form 48,51.5N: '48.8566'"),
            (xmp("48,51.5N", "2,20.1"), "XMP GPSLongitude is not of the form"),
            (xmp("48,51.5E", "2,20.1E"), "XMP GPSLatitudeRef is neither N nor S: 'E'"),
            (xmp("48,61.5N", "2,20.1E"), "XMP GPSLatitude has minutes or seconds above 60"),
            (xmp("4.8.5,1N", "2,20.1E"), "XMP GPSLatitude is not 1 to 3 numbers"),
            (xmp("91,0N", "2,20.1E"), "XMP latitude is out of range: 91"),
            (xmp("48,51.5N", None), "XMP GPSLongitude missing"),
            (xmp("0,0.000000N", "0,0.000000E"), "XMP latitude and longitude are both 0"),  # what darktable writes
            (PARIS_XMP[:300], "XMP cannot be read: "),
            ("no XML", "XMP cannot be read: syntax error"),
            ('<?xml version="1.0" encoding="klingon"?><a/>', "XMP cannot be read: "),
        ],
    )
    def test_what_makes_no_sense_is_the_reason(self, tmp_path: Path, packet: str, reason: str) -> None:
        gradient().save(tmp_path / "a.jpg")
        (tmp_path / "a.xmp").write_text(packet, encoding="utf-8")
        with pytest.raises(GPSError) as caught:
            read_gps(tmp_path / "a.jpg")
        assert str(caught.value).startswith(reason)

    @pytest.mark.parametrize("empty", ["", "\0\0", xmp(None, None), xmp("", "")])
    def test_xmp_without_a_position_says_nothing(self, tmp_path: Path, empty: str) -> None:
        gradient().save(tmp_path / "a.jpg")
        (tmp_path / "a.xmp").write_text(empty, encoding="utf-8")
        with pytest.raises(GPSError, match=r"^no EXIF GPS$"):
            read_gps(tmp_path / "a.jpg")

    def test_entities_are_refused(self, tmp_path: Path) -> None:
        """They name files of the reader's machine, and a kilobyte of them grows to gigabytes."""
        (tmp_path / "secret").write_text("48,51.5N", encoding="utf-8")
        bomb = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
        declared = {
            "external": f'<!DOCTYPE x [<!ENTITY e SYSTEM "{(tmp_path / "secret").as_uri()}">]>',
            "bomb": f'<!DOCTYPE x [<!ENTITY l0 "lol">{bomb}<!ENTITY e "&l11;">]>',
            "harmless": "<!DOCTYPE x>",
        }
        gradient().save(tmp_path / "a.jpg")
        for document_type in declared.values():
            packet = xmp("&e;", "2,20.1E", as_elements=True, wrapped=False)
            (tmp_path / "a.xmp").write_text(document_type + packet, encoding="utf-8")
            with pytest.raises(GPSError, match="XMP cannot be read: it has a document type"):
                read_gps(tmp_path / "a.jpg")

    def test_endless_xmp_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(positions, "MAX_XMP_BYTES", 400)
        gradient().save(tmp_path / "a.jpg")
        (tmp_path / "a.xmp").write_text(PARIS_XMP, encoding="utf-8")
        with pytest.raises(GPSError, match="XMP cannot be read: more than 16 MiB"):
            read_gps(tmp_path / "a.jpg")


class TestSharedPhotos:
    def test_every_real_position_is_read(self, shared: Path) -> None:
        root = shared / "photos"
        with (root / "manifest.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 72
        for row in rows:
            expected = float(row["latitude"]), float(row["longitude"])
            assert read_gps(root / row["image_path"]) == pytest.approx(expected, abs=1e-4), row["image_path"]
            assert min(open_photo(root / row["image_path"], min_side=64).size) >= 64

    def test_xmp_says_of_real_photos_what_exif_says(self, shared: Path, tmp_path: Path) -> None:
        """As sidecars of a photo without GPS; written by Photoshop in attributes, and by exiftool in elements."""
        gradient().save(tmp_path / "a.jpg")
        for name in (
            "exifr__test_fixtures_iptc-agency-photographer-example.jpg",
            "exifr__test_fixtures_issue-exif-js-124.tiff",
        ):
            with Image.open(shared / "odd" / name) as image:
                (tmp_path / "a.jpg.xmp").write_bytes(image.info["xmp"])
            assert read_gps(tmp_path / "a.jpg") == pytest.approx(read_gps(shared / "odd" / name), abs=1e-5)

    def test_every_odd_file_opens_or_says_why(self, shared: Path) -> None:
        """All that Pillow loads at the first attempt is loaded.

        Two files that the list calls "ok" were loaded only by asking a second time for pixels that had failed to arrive
        the first: an animated PNG without its frames, and a PNG whose data breaks off in its lower third.
        """
        second_attempt = {
            "Pillow__Tests_images_apng_chunk_no_fctl.png",
            "Pillow__Tests_images_broken_data_stream.png",
        }
        root = shared / "odd"
        with (root / "manifest.csv").open(newline="", encoding="utf-8") as file:
            loads = {row["file"]: row["pillow_loads"] == "ok" for row in csv.DictReader(file)}
        found = find_photos(root)
        assert {path.name for path in found} == set(loads)
        for path in found:
            for min_side in (None, 64):
                fault = self.fault(path, min_side)
                assert " at 0x" not in fault
                assert (fault == "") == (loads[path.name] and path.name not in second_attempt), path.name

    @staticmethod
    def fault(path: Path, min_side: int | None) -> str:
        try:
            return "" if open_photo(path, min_side=min_side).mode == "RGB" else "not RGB"
        except PhotoError as error:
            return str(error)


@given(names=st.lists(st.text("ab.-\ud800\uffff\U0001f600", min_size=1, max_size=4), unique=True, max_size=30))
def test_a_large_folder_is_sorted_in_blocks_as_a_small_one(names: list[str]) -> None:
    """The blocks are merged as UTF-8; surrogates sort before what stands behind them in Unicode, as in Python."""
    from unittest import mock

    entries = []
    for name in names:
        entry = mock.Mock(is_dir=lambda: False)
        entry.name = f"{name}.jpg"
        entries.append(entry)
    listed = mock.MagicMock()
    listed.__enter__.return_value = entries
    with (
        mock.patch.object(files, "_SORTED_AT_ONCE", 3),
        mock.patch.object(files.os, "scandir", return_value=listed),
        mock.patch.object(files.os, "stat"),
    ):
        found = [name for name, _ in files._entries("folder", set())]
    assert found == sorted(f"{name}.jpg" for name in names if not f"{name}.jpg".startswith("._"))


@pytest.mark.parametrize("upright", [False, True])
def test_several_views_are_spread_over_the_longer_side(upright: bool) -> None:
    stripes = np.zeros((20, 60, 3), np.uint8)
    for third in range(3):
        stripes[:, 20 * third : 20 * third + 20] = 100 * third
    photo = Image.fromarray(stripes.transpose(1, 0, 2) if upright else stripes)
    preprocessing = Preprocessing(image_size=8, mean=(0, 0, 0), std=(1, 1, 1), views=3)
    views = preprocessing.pixels(photo)
    assert views.shape == (3, 3, 8, 8)
    np.testing.assert_allclose(views[:, :, 2:-2, 2:-2].mean(axis=(1, 2, 3)), np.array([0, 100, 200]) / 255, atol=1e-6)
    one = preprocessing.model_copy(update={"views": 1}).pixels(photo)
    np.testing.assert_array_equal(views[1], one)  # the middle one is what one view sees


def test_the_orientation_is_told_without_decoding(tmp_path: Path) -> None:
    for orientation, told in [*((each, each) for each in range(1, 9)), (0, 1), (9, 1), (300, 1)]:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        for name in ("a.jpg", "a.png", "a.webp"):
            gradient().save(tmp_path / name, exif=exif.tobytes())
            assert read_orientation(tmp_path / name) == read_orientation((tmp_path / name).read_bytes()) == told
    gradient().save(tmp_path / "b.jpg", exif=b"Exif\0\0broken")
    assert read_orientation(tmp_path / "b.jpg") == 1
    with pytest.raises(PhotoError, match="not an image"):
        read_orientation(b"no photo")


def test_sidecars_are_named_in_the_order_in_which_they_count(tmp_path: Path) -> None:
    for name in ("a.xmp", "a.jpg.xmp", "b.xmp"):
        (tmp_path / name).touch()
    assert [each.name for each in sidecars_of(tmp_path / "a.jpg")] == ["a.jpg.xmp", "a.xmp"]
    assert not list(sidecars_of(tmp_path / "c.jpg"))
