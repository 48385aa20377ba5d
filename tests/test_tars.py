from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomind import tars
from geomind.tars import list_members, locate, member_key


def write_tar(path: Path, files: dict[str, bytes], *, form: int = tarfile.GNU_FORMAT) -> Path:
    with tarfile.open(path, "w:", format=form) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def read(path: Path | str) -> bytes:
    with locate(path).open() as file:
        return file.read()


def test_a_file_is_read_from_the_disk_or_from_a_tar(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"./b/c.jpg": b"inside", "empty.jpg": b""})
    (tmp_path / "c.jpg").write_bytes(b"loose")
    assert read(tmp_path / "c.jpg") == b"loose"
    assert read(tmp_path / "a.tar" / "b" / "c.jpg") == b"inside"
    assert locate(tmp_path / "a.tar" / "b" / "c.jpg").size == 6
    assert locate(tmp_path / "a.tar" / "empty.jpg").size == 0
    assert not locate(tmp_path / "a.tar").in_tar  # a path that ends in a tar means the tar


def test_a_folder_called_tar_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x.tar").mkdir()
    write_tar(tmp_path / "x.tar" / "Y.TAR", {"a.jpg": b"1"})
    (tmp_path / "x.tar" / "a.jpg").write_bytes(b"2")
    assert read(tmp_path / "x.tar" / "Y.TAR" / "a.jpg") == b"1"
    assert read(tmp_path / "x.tar" / "a.jpg") == b"2"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar_is_read(tmp_path: Path, form: int) -> None:
    files = {"a.jpg": b"1" * 513, f"{'long/' * 24}ü.jpg": b"2" * 512, "c.jpg": b"3"}
    tar = write_tar(tmp_path / "a.tar", files, form=form)
    assert list_members(tar) == list(files)
    assert {name: read(tar / name) for name in files} == files


def test_what_is_missing_or_no_file_says_so(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", {"a.jpg": b"1"})
    os.mkfifo(tmp_path / "pipe.tar")
    (tmp_path / "text.tar").write_text("not a tar" * 100, encoding="utf-8")
    (tmp_path / "empty.tar").touch()
    for path, kind, reason in (
        (tar / "b.jpg", FileNotFoundError, "no such file in its tar"),
        (tar / "000000-00000000.jpg", FileNotFoundError, "no such file in its tar"),
        (tar / "000000-99999999.jpg", FileNotFoundError, "no such file in its tar"),
        (tmp_path / "gone.tar" / "a.jpg", FileNotFoundError, "No such file"),
        (tmp_path / "pipe.tar" / "a.jpg", OSError, "not a file"),
        (tmp_path / "text.tar" / "a.jpg", OSError, "not a tar"),
        (tmp_path / "empty.tar" / "a.jpg", OSError, "not a tar"),
        (tmp_path, OSError, "not a file"),
    ):
        with pytest.raises(kind, match=reason):
            locate(path)


def test_names_that_lead_out_of_a_tar_and_links_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    tar = write_tar(tmp_path / "a.tar", {"../secret.jpg": b"1", "/abs.jpg": b"2", "b/../../c.jpg": b"3", "d.jpg": b"4"})
    with tarfile.open(tar, "a:") as file:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"link{kind.decode()}.jpg")
            info.type, info.linkname = kind, "../secret.jpg"
            file.addfile(info)
    assert list_members(tar) == ["d.jpg"]
    for name in ("../secret.jpg", "../../secret.jpg", "//abs.jpg", "link2.jpg", "link1.jpg"):
        with pytest.raises(FileNotFoundError):
            locate(f"{tar}/{name}")


def test_a_tar_that_is_cut_off_gives_what_is_whole(tmp_path: Path, heard: pytest.LogCaptureFixture) -> None:
    tar = write_tar(tmp_path / "a.tar", {"a.jpg": b"1" * 600, "b.jpg": b"2" * 600, "c.jpg": b"3"})
    tar.write_bytes(tar.read_bytes()[: 512 * 3 + 512 + 100])
    assert list_members(tar) == ["a.jpg", "b.jpg"]
    assert "is damaged: 2 files" in heard.text
    assert read(tar / "a.jpg") == b"1" * 600
    with pytest.raises(OSError, match="its tar is cut off"):
        locate(tar / "b.jpg")


def test_a_forged_negative_size_does_not_read_in_circles(tmp_path: Path) -> None:
    """Python's tarfile goes back and forth for ever in such a tar (CVE-2025-8194)."""
    tar = write_tar(tmp_path / "a.tar", {"a.jpg": b"1", "b.jpg": b"2"})
    data = bytearray(tar.read_bytes())
    header = tarfile.TarInfo("b.jpg")
    header.size = -1024
    data[1024:1536] = header.tobuf(tarfile.GNU_FORMAT)
    tar.write_bytes(data)
    assert list_members(tar) == ["a.jpg"]


@given(junk=st.binary(max_size=1600), at=st.integers(0, 2600))
def test_damage_never_gives_more_than_an_os_error(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int
) -> None:
    folder = tmp_path_factory.mktemp("tar")
    tar = write_tar(folder / "a.tar", {"a.jpg": b"1" * 600, "b" * 120 + ".jpg": b"2"}, form=tarfile.PAX_FORMAT)
    data = bytearray(tar.read_bytes())
    data[at : at + len(junk)] = junk
    tar.write_bytes(data)
    for path in (tar / "a.jpg", tar / "000000-00000000.jpg", tar / "000000-00000001.jpg"):
        with contextlib.suppress(OSError):
            assert len(read(path)) == locate(path).size


def test_a_file_named_by_its_block_needs_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = f"{member_key(7, 0)}.jpg", f"{member_key(7, 1024)}.png"
    assert (first, second) == ("000007-00000000.jpg", "000007-00000002.png")
    tar = write_tar(tmp_path / "a.tar", {first: b"1", second: b"22"}, form=tarfile.USTAR_FORMAT)
    moved = write_tar(tmp_path / "moved.tar", {second: b"4" * 600, first: b"3" * 600}, form=tarfile.USTAR_FORMAT)
    assert (read(moved / first), read(moved / second)) == (b"3" * 600, b"4" * 600)
    monkeypatch.delattr(tars, "_index")
    assert (read(tar / first), read(tar / second)) == (b"1", b"22")


def test_a_tar_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", {"a.jpg": b"1", "b.jpg": b"2"})
    assert read(tar / "b.jpg") == b"2"
    write_tar(tmp_path / "new", {"x.jpg": b"0" * 9000, "b.jpg": b"3"}).replace(tar)
    assert read(tar / "b.jpg") == b"3"


def test_many_threads_and_forked_processes_read_one_tar(tmp_path: Path) -> None:
    files = {f"{number}.jpg": bytes([number]) * (number * 50 + 1) for number in range(64)}
    tar = write_tar(tmp_path / "a.tar", files)
    paths = [f"{tar}/{name}" for name in files] * 4
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, paths)) == list(files.values()) * 4
    if sys.platform == "linux":
        script = (
            "import multiprocessing as m, sys; from geomind.tars import locate\n"
            "def size(path): return len(locate(path).open().read())\n"
            "paths = [f'{sys.argv[1]}/{n}.jpg' for n in range(64)]; size(paths[0])\n"
            "with m.get_context('fork').Pool(2) as pool: print(sum(pool.map(size, paths)))\n"
        )
        said = subprocess.run([sys.executable, "-c", script, tar], capture_output=True, text=True, check=True)
        assert int(said.stdout) == sum(map(len, files.values()))
