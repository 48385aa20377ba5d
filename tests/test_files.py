from __future__ import annotations

import os
from pathlib import Path

import pytest

from geomind.errors import OutputError
from geomind.files import atomic_path, inside, make_folder, refuse_existing


def test_the_file_appears_whole_at_the_end(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "a.csv"
    with atomic_path(final) as temporary:
        temporary.write_text("x")
        assert temporary.suffix == ".csv"
        assert not final.exists()
    assert final.read_text() == "x"
    assert list(final.parent.iterdir()) == [final]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    final = tmp_path / "a.csv"
    final.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(final) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert final.read_text() == "old"
    assert list(tmp_path.iterdir()) == [final]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot make the folder"):
        make_folder(tmp_path / "file" / "sub")
    with pytest.raises(OutputError), atomic_path(tmp_path / "file" / "sub" / "a.csv") as temporary:
        temporary.write_text("")


def test_long_names_that_begin_alike_are_written_at_once(tmp_path: Path) -> None:
    """`<long stem>.csv` and `<long stem>.rejected.csv` shared one temporary file, cut to the same 40 characters."""
    first, second = tmp_path / ("x" * 50 + ".csv"), tmp_path / ("x" * 50 + ".rejected.csv")
    with atomic_path(first) as one, atomic_path(second) as other:
        one.write_text("1")
        other.write_text("2")
    assert (first.read_text(), second.read_text()) == ("1", "2")
    longest = tmp_path / ("é" * 125 + ".csv")  # 254 bytes
    with atomic_path(longest) as temporary:
        temporary.write_text("3")
    assert longest.read_text() == "3"


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no space left"), atomic_path(tmp_path / "a.csv"):
        raise OSError(28, "No space left on device")


def test_existing_files_are_refused_before_work(tmp_path: Path) -> None:
    final = tmp_path / "a.csv"
    refuse_existing(final, overwrite=False)
    final.write_text("")
    with pytest.raises(OutputError, match="--overwrite"):
        refuse_existing(final, overwrite=False)
    refuse_existing(final, overwrite=True)
    with pytest.raises(OutputError, match="is a folder"):
        refuse_existing(tmp_path, overwrite=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission denied"):
        refuse_existing(tmp_path / "a.csv", overwrite=False)


def test_names_and_links_that_lead_out_of_a_folder_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "out").symlink_to(tmp_path)
    (folder / "in").symlink_to(folder / "sub")
    assert inside(folder, "sub/../a.jpg") == folder.resolve() / "a.jpg"
    assert inside(folder, "in/a.jpg") == folder.resolve() / "sub" / "a.jpg"
    for name in ("../a.jpg", "out/a.jpg", "/a.jpg", "a\0.jpg"):
        assert inside(folder, name) is None
