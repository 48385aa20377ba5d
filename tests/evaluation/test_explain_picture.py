"""The picture of an explanation: heat lies where it belongs, and whatever there is can be drawn."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from geomind.errors import OutputError, PhotoError
from geomind.evaluation.explain import Explanation, HeatMap, Neighbour, Place
from geomind.evaluation.explain_picture import _EDGE, _GAP, _WIDTH, draw_explanation
from geomind.photos import Preprocessing
from geomind.predictions import Prediction

PANEL = (_WIDTH - 2 * _EDGE - 2 * _GAP) / 3
HOT = np.zeros((32, 32))
HOT[:16, 16:] = 1
"""All heat in the top right quarter of the square."""


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A black photo three times as wide as high, stored lying on its side."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (60, 180)).save(tmp_path / "photo.png", exif=exif)
    return tmp_path / "photo.png"


def told(photo: Path, **more: object) -> Explanation:
    answer = Prediction(
        image_path="photo.png", region_id=5, region_name="Russia", region_probability=0.6, latitude=56.0, longitude=38.0
    )
    bare = Explanation(photo, answer, Preprocessing(image_size=32), "region", (("Russia", 0.6), ("Africa", 0.4)))
    return dataclasses.replace(bare, **more)  # type: ignore[arg-type]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def red_in_panel(picture: np.ndarray, panel: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the red pixels of a panel: rows, and columns from its left edge in inches."""
    per_inch = picture.shape[1] / _WIDTH
    left = _EDGE + panel * (PANEL + _GAP)
    inside = picture[int(1.4 * per_inch) : int((1.5 + PANEL / 3) * per_inch), int(left * per_inch) :][
        :, : int(PANEL * per_inch)
    ]
    rows, columns = np.nonzero(inside[..., 0] - inside[..., 1] > 90)
    return rows / per_inch, columns / per_inch


def test_heat_lies_on_the_upright_photo_in_the_square_that_was_seen(photo: Path, tmp_path: Path) -> None:
    draw_explanation(told(photo, choice_map=HeatMap("Russia", HOT, (2, 2))), tmp_path / "a.png")
    picture = pixels(tmp_path / "a.png")
    rows, columns = red_in_panel(picture, 1)
    assert len(rows) > 100
    square = PANEL / 3  # the photo is as wide as the panel, and its square a third of it, in the middle
    assert columns.min() == pytest.approx(1.5 * square, abs=0.12)
    assert columns.max() == pytest.approx(2 * square, abs=0.05)
    assert np.ptp(rows) == pytest.approx(square / 2, abs=0.12)
    assert len(red_in_panel(picture, 0)[0]) == 0


def test_an_empty_map_has_no_heat(photo: Path, tmp_path: Path) -> None:
    draw_explanation(told(photo, choice_map=HeatMap("Russia", np.zeros((32, 32)), (2, 2))), tmp_path / "a.png")
    assert len(red_in_panel(pixels(tmp_path / "a.png"), 1)[0]) == 0


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_all_that_there_may_be_is_drawn(photo: Path, tmp_path: Path, ending: str) -> None:
    heat = HeatMap("$a^{名 & so on", HOT, (7, 7))
    near = [Neighbour(56.0, 170.0 + i, f"Town {i}", 0.9, 1234.0, photo if i % 2 else None) for i in range(9)]
    near.append(Neighbour(56.0, 0.0, "Gone", 0.9, 1.0, tmp_path / "gone.png"))
    everything = told(
        photo,
        answer=Prediction(
            image_path="p",
            latitude=70.0,
            longitude=179.0,
            radius_km_50=500.0,
            radius_km_90=4000.0,
            region_name="Russia",
        ),
        choices=tuple((f"region ${i} with rather a long name indeed, for a name", 0.1) for i in range(10)),
        candidates=tuple(Place(10.0 * i, 20.0 * i, f"place {i}", 0.2) for i in range(5)),
        choice_map=heat,
        place_map=heat,
        neighbours=tuple(near),
        notes=("A note " * 60, "another $ one"),
    )
    draw_explanation(everything, tmp_path / f"a.{ending}")
    assert (tmp_path / f"a.{ending}").stat().st_size > 10_000


def test_little_is_drawn_too_and_lower(photo: Path, tmp_path: Path) -> None:
    answer = Prediction(image_path="p", latitude=-80.0, longitude=-180.0)
    bare = told(photo, answer=answer, level="", choices=(), place_map=HeatMap("the place", HOT, (2, 2)))
    draw_explanation(bare, tmp_path / "a.png")
    draw_explanation(told(photo, notes=("x",) * 9), tmp_path / "b.png")
    assert pixels(tmp_path / "a.png").shape[0] < pixels(tmp_path / "b.png").shape[0]


def test_what_cannot_be_written_is_refused(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        draw_explanation(told(photo), tmp_path / "a.png")
    with pytest.raises(OutputError, match=r"\.png, \.svg or \.pdf"):
        draw_explanation(told(photo), tmp_path / "a.gif")
    draw_explanation(told(photo), tmp_path / "a.png", overwrite=True)
    assert pixels(tmp_path / "a.png").size
    with pytest.raises(PhotoError):
        draw_explanation(told(tmp_path / "gone.png"), tmp_path / "b.png")
    assert not list(tmp_path.glob("*b.png*"))
