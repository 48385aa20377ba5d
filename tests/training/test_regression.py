"""One network's regression, from a manifest to weights that answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from few_photos import TINY, edit
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from geomind.baselines import GLOBE, Regression
from geomind.checkpoints import read_description, regression_path
from geomind.config import RegressionConfig
from geomind.errors import ConfigError, ManifestError, OutputError, TrainingError
from geomind.geography.sphere import haversine_km, unit_vectors
from geomind.training import stage
from geomind.training.regression import squared_chord, train_regression

pytestmark = pytest.mark.usefixtures("no_curves")


@pytest.mark.parametrize("output", ["square", "vector"])
def test_it_learns_where_photos_were_taken(output: str, data: Path, folders: dict[str, Any]) -> None:
    config = RegressionConfig(
        **{**TINY, "max_epochs": 25, "learning_rate": 5e-3, "schedule": "one_cycle", "batch_size": 6, "dropout": 0.0},
        output=output,  # type: ignore[arg-type]
    )
    trained = train_regression(data, config, **folders)
    assert (trained.photos, trained.validation_photos, trained.epochs) == (18, 6, 25)
    about = read_description(regression_path(folders["models"]), "regression")
    box = None if output == "vector" else (-90, 90, -180, 180)
    assert (about.box, about.training_photos) == (box, 18)
    answers = _answers(data, folders["models"])
    assert np.median(haversine_km(answers, _places(data))) < 2500  # of three continents: their middle is farther


def _places(data: Path) -> np.ndarray:
    import pandas as pd

    return pd.read_csv(data, keep_default_na=False)[["latitude", "longitude"]].to_numpy()


def _answers(data: Path, models: Path) -> np.ndarray:
    import pandas as pd

    regression = Regression.load(regression_path(models), runtime="torch")
    paths = pd.read_csv(data, keep_default_na=False)["image_path"].tolist()
    pixels = np.stack([regression.preprocessing.read(data.parent / path) for path in paths])
    return np.array([answer.place for answer in regression.locate(pixels, paths)])


@pytest.fixture
def handed_over(data: Path, folders: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    def prepare(output: str) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def fit(task: Any, photos: Any, validation: Any, *_: Any, **more: Any) -> None:
            seen.update(task=task, photos=photos, validation=validation, **more)
            raise TrainingError("stop here")

        with monkeypatch.context() as patch, pytest.raises(TrainingError, match="stop here"):
            patch.setattr(stage, "fit", fit)
            train_regression(data, RegressionConfig(**TINY, output=output), **folders)  # type: ignore[arg-type]
        return seen

    return prepare


def test_targets_are_the_places(handed_over: Any, data: Path) -> None:
    square = handed_over("square")["photos"]._targets.numpy()
    vector = handed_over("vector")["photos"]._targets.numpy()
    places = _places(data)[[n for n in range(24) if n % 4 != 3]]
    np.testing.assert_allclose(GLOBE.denormalize(square), places, atol=1e-4)
    np.testing.assert_allclose(vector, unit_vectors(places), atol=1e-6)


def test_what_is_told_of_an_epoch_are_distances(handed_over: Any, data: Path) -> None:
    for output in ("square", "vector"):
        seen = handed_over(output)
        exact = seen["validation"]._targets.numpy()
        scores = seen["task"].score(exact, np.arange(6))
        assert scores["median_km"] == pytest.approx(0, abs=0.1)
        assert scores["geoscore"] == pytest.approx(5000, abs=1)


def test_what_is_there_is_not_replaced_unasked(data: Path, folders: dict[str, Any]) -> None:
    path = regression_path(folders["models"])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    with pytest.raises(OutputError, match="exists already"):
        train_regression(data, RegressionConfig(**TINY), **folders)


def test_without_validation_there_is_nothing_to_judge_by(data: Path, folders: dict[str, Any]) -> None:
    edit(data, split="train")
    with pytest.raises(ManifestError, match="no row with split 'validation'"):
        train_regression(data, RegressionConfig(**TINY), **folders)


def test_a_regression_has_no_accuracy() -> None:
    from geomind.config import load_config

    with pytest.raises(ConfigError, match="a regression has no accuracy"):
        load_config(RegressionConfig, None, ["select=accuracy"])


points = arrays.arrays(np.float64, (4, 2), elements=st.floats(-89, 89))


@given(points, points)
@settings(max_examples=50)
def test_the_squared_chord_grows_with_the_distance(a: np.ndarray, b: np.ndarray) -> None:
    loss = squared_chord(torch.from_numpy(unit_vectors(a)), torch.from_numpy(unit_vectors(b).astype(np.float32)))
    angle = haversine_km(a, b) / 6371.0088
    np.testing.assert_allclose(loss.numpy(), 2 - 2 * np.cos(angle), atol=1e-5)
