from __future__ import annotations

import os
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomind.data.manifest import COLUMNS
from geomind.errors import ManifestError, PhotoError
from geomind.inference.photo_list import FolderOfPhotos, ListOfPhotos, Photos


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.jpg").touch()
    (tmp_path / "c.jpg").touch()
    photos = FolderOfPhotos(tmp_path)
    assert isinstance(photos, Photos)
    assert list(photos.names()) == ["c.jpg", "sub/b.jpg"]
    assert Path(photos.path("sub/b.jpg")).samefile(tmp_path / "sub" / "b.jpg")
    with pytest.raises(PhotoError, match="no folder"):
        next(FolderOfPhotos(tmp_path / "none").names())


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("column", ["image_path", "filename", "path", "file"])
def test_a_table(tmp_path: Path, ending: str, column: str) -> None:
    frame = pd.DataFrame({"split": ["x", "y", "z"], column: ["b.jpg", "=a.jpg", "NA"]})
    path = tmp_path / f"list.{ending}"
    if ending == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    assert list(ListOfPhotos(path).names()) == ["b.jpg", "=a.jpg", "NA"]


def test_a_manifest_names_photos_by_image_path(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(",".join(("file", *COLUMNS)) + "\nother,a.jpg,1,2,FR,3,,,x\n")
    photos = ListOfPhotos(tmp_path / "m.csv")
    assert list(photos.names()) == ["a.jpg"]
    assert photos.path("a.jpg") == os.path.join(tmp_path, "a.jpg")  # noqa: PTH118
    assert photos.path("/far/b.jpg") == "/far/b.jpg"


@pytest.mark.skipif(sys.platform == "win32", reason="names are bytes")
@given(st.lists(st.binary(min_size=1).filter(lambda name: not set(name) & set(b"\0\r\n"))))
def test_any_name_can_be_listed(names: list[bytes]) -> None:
    import tempfile

    names = [b"first", *names]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list"
        path.write_bytes(b"\xef\xbb\xbf" + b"\r\n\n".join(names))
        assert [os.fsencode(name) for name in ListOfPhotos(path).names()] == names


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.txt", None, "Cannot read .*none.txt: no such file"),
        ("empty.txt", b"\n\n", "names no photo"),
        ("picture.txt", b"\x89PNG\0\n", "line 1: no text"),
        ("a.csv", b"place,country\nx,y\n", "no column of photos"),
        ("b.csv", b"path\n", "names no photo"),
        ("c.parquet", b"PAR1", "Cannot read"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError, match=said):
        list(ListOfPhotos(tmp_path / name).names())
