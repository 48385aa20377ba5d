from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomind.bench.drawn_photos import draw_photos, size_of
from geomind.errors import OutputError
from geomind.photos import open_photo


def test_drawn_photos_are_of_the_size_of_photographs(tmp_path: Path) -> None:
    assert size_of(12) == (4000, 3000)
    paths = draw_photos(tmp_path / "photos", 3, size_of(0.3))
    assert {open_photo(path).size for path in paths} == {size_of(0.3)}
    # 3 to 5 MB for 12 megapixels
    assert all(0.25 < path.stat().st_size / 300_000 < 0.42 for path in paths)
    assert len({path.read_bytes() for path in paths}) == 3


@given(st.floats(0.1, 80))
def test_drawn_photos_are_as_large_as_asked_for(megapixels: float) -> None:
    width, height = size_of(megapixels)
    assert width % 16 == 0
    assert width * 3 == height * 4
    assert width * height == pytest.approx(megapixels * 1e6, rel=0.05)


def test_photos_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "photos" / "000000.jpg").mkdir(parents=True)
    with pytest.raises(OutputError, match="Free the disk"):
        draw_photos(tmp_path / "photos", 1, size_of(0.1))
