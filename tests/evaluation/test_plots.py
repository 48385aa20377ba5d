"""Pictures: written whole, right where it can be checked by their pixels, and without matplotlib's global state."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from evaluated import answered, evaluated
from matplotlib.colors import to_rgb
from PIL import Image

from geomind.errors import OutputError
from geomind.evaluation.plots import (
    BANDS,
    PICTURES,
    SERIES,
    confusion_matrix,
    draw_evaluation,
    error_band,
    error_bands,
    error_cdf,
    world_map,
)

NEAR, FAR = BANDS[0][0], BANDS[-1][0]


def size(path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def coloured(path, colour: str) -> np.ndarray:
    """Columns of the pixels of one colour, as shares of the width, within the map: its title and legend left out."""
    with Image.open(path) as opened:
        picture = np.asarray(opened.convert("RGB")).astype(int)
    height, width, _ = picture.shape
    inside = picture[int(0.1 * height) : int(0.9 * height)]
    wanted = np.array([round(255 * part) for part in to_rgb(colour)])
    return np.unique(np.nonzero(np.abs(inside - wanted).sum(axis=2) < 30)[1]) / width


def test_a_guess_has_the_colour_of_its_error(tmp_path):
    world_map([(0, 0), (0, 0)], [(0, 1), (math.nan, math.nan)], tmp_path / "near.png")
    world_map([(0, 0)], [(0, 90)], tmp_path / "far.png")
    assert coloured(tmp_path / "near.png", NEAR) == pytest.approx(0.5, abs=0.02)
    assert coloured(tmp_path / "near.png", FAR).size == 0
    assert coloured(tmp_path / "far.png", FAR).max() == pytest.approx(0.74, abs=0.01)


def test_a_line_over_the_date_line_does_not_cross_the_map(tmp_path):
    world_map([(10, 150)] * 20, [(10, -150)] * 20, tmp_path / "map.png")
    columns = coloured(tmp_path / "map.png", FAR)
    assert columns.size > 5
    assert not ((columns > 0.2) & (columns < 0.8)).any()


def test_the_same_answers_give_the_same_map(tmp_path):
    rng = np.random.default_rng(0)
    truth, guesses = (np.stack([rng.uniform(-60, 70, 1500), rng.uniform(-180, 180, 1500)], 1) for _ in range(2))
    for name in ("a.png", "b.png"):
        world_map(truth, guesses, tmp_path / name, title="The demo world")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("guess", [(math.nan, math.nan), (-90, 0), (90, 180), (0, -180), (-10, -160)])
def test_any_answer_can_be_drawn(tmp_path, guess):
    world_map([(10, 20)], [guess], tmp_path / "map.png")
    assert size(tmp_path / "map.png") == (1800, 1102)


def test_curves_of_errors(tmp_path):
    curves = {"end to end": np.array([0.0, 3.0, 700.0, math.inf]), "nobody answered": np.array([math.inf])}
    error_cdf(curves, tmp_path / "cdf.png")
    assert size(tmp_path / "cdf.png") == (1200, 780)


@pytest.mark.parametrize("methods", [1, 6, 25])
def test_curves_of_methods_over_seeds(tmp_path, methods):
    km = np.random.default_rng(0).exponential(800, size=(methods, 3, 50))
    km[0, 0, :10] = math.inf
    curves = {f"method {i}": each for i, each in enumerate(km)}
    error_bands(curves, tmp_path / "bands.png", dashed={"method 0"})
    assert size(tmp_path / "bands.png") == (1200, 780)


def test_seeds_that_differ_have_a_band(tmp_path):
    """Half of a band's colour is the page's, so that it is neither the line's nor white."""
    same, apart = np.full((2, 50), 300.0), np.stack([np.full(50, 3.0), np.full(50, 3000.0)])
    red, green, blue = (round(255 * part) for part in to_rgb(SERIES[0]))
    for name, km in (("same", same), ("apart", apart)):
        error_bands({"a": km}, tmp_path / f"{name}.png")
    shaded = []
    for name in ("same", "apart"):
        with Image.open(tmp_path / f"{name}.png") as opened:
            picture = np.asarray(opened.convert("RGB")).astype(int)
        mixed = 255 - (255 - np.array([red, green, blue])) * 0.18
        shaded.append(int((np.abs(picture - mixed).sum(axis=2) < 6).sum()))
    assert shaded[0] < 2000
    assert shaded[1] > 100_000


@pytest.mark.parametrize("regions", [2, 13, 200])
def test_a_confusion_matrix_of_any_size(tmp_path, regions):
    true = np.arange(regions).repeat(2)
    predicted = np.where(np.arange(2 * regions) % 5 == 0, -1, true[::-1])
    confusion_matrix(true, predicted, [f"Region {i}" for i in range(regions)], tmp_path / "matrix.png")
    assert 600 < size(tmp_path / "matrix.png")[0] < 3000


def test_a_distance_on_the_border_is_of_the_nearer_band():
    assert error_band(np.array([0, 200, 200.001, 750, 2500, 2500.1, math.inf])).tolist() == [0, 0, 1, 1, 2, 3, 3]


@pytest.mark.parametrize(
    ("says", "also"),
    [
        ({}, ()),
        ({"region_id": 2, "region_probability": 0.5}, ("calibration.png", "risk_coverage.png")),
        ({"radius_km_50": 5.0, "radius_km_90": 9.0}, ("calibration.png", "risk_coverage.png")),
        ({"radius_km_90": 9.0}, ("calibration.png", "risk_coverage.png")),
    ],
)
def test_pictures_of_sureness_need_rows_that_say_how_sure_they_are(tmp_path, says, also):
    rows = [answered(f"{i}.jpg", (i, 0.0), (0.0, 0.0), **says) for i in range(30)]
    (tmp_path / "calibration.png").write_text("of an earlier evaluation")
    with pytest.raises(OutputError, match="--overwrite"):
        draw_evaluation(evaluated(rows, regions=[9] * 30), tmp_path)
    drawn = draw_evaluation(evaluated(rows, regions=[9] * 30), tmp_path, overwrite=True)
    assert [picture.name for picture in drawn] == [*PICTURES[:3], *also]
    assert {picture.name for picture in tmp_path.iterdir()} == {*PICTURES[:3], *also}
    for picture in drawn:
        assert size(picture)[0] >= 900


def test_nothing_to_draw_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least one photo"):
        world_map(np.empty((0, 2)), np.empty((0, 2)), tmp_path / "map.png")
    with pytest.raises(ValueError, match="at least one photo"):
        confusion_matrix([], [], ["A"], tmp_path / "matrix.png")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        error_cdf({"a": np.array([1.0])}, tmp_path / "file" / "cdf.png")


def test_no_global_state_of_matplotlib():
    code = "import sys, geomind.evaluation.plots; print('matplotlib.pyplot' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"
