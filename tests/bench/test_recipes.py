from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Run
from few_photos import DIRECTOR, REGIONS, edit, write_photos

from geomind.bench import recipes
from geomind.bench.recipes import bench_recipes
from geomind.config import DirectorConfig, to_yaml
from geomind.errors import ManifestError

FASTER = DIRECTOR.model_copy(update={"learning_rate": 3e-3, "max_epochs": 2})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    manifest = write_photos(tmp_path)
    edit(manifest, split=["train", "validation", "test", "train"] * 6)
    return manifest


def test_each_recipe_is_trained_with_each_seed_and_judged_by_photos_held_out(data: Path) -> None:
    scores = bench_recipes({"slow": DIRECTOR, "fast": FASTER}, regions=REGIONS, seeds=2, data=data)
    assert [score.recipe for score in scores] == ["slow", "fast"]
    for score in scores:
        assert len(score.accuracies) == 2
        assert all(
            0 <= accuracy <= 1 and accuracy * 6 == pytest.approx(round(accuracy * 6)) for accuracy in score.accuracies
        )
        assert score.flat()["accuracy_least"] <= score.mean <= score.flat()["accuracy_most"]
    assert [score.epochs for score in scores] == [(1, 1), (2, 2)]


def test_a_director_that_is_right_scores_1_and_an_unreadable_photo_is_wrong(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def right(_: object, paths: list[Path], __: object) -> object:
        import numpy as np

        return np.array([-1 if path.name == "2-2.png" else int(path.name.split("-")[0]) for path in paths])

    monkeypatch.setattr(recipes, "route", right)
    (score,) = bench_recipes({"any": DIRECTOR}, regions=REGIONS, seeds=1, data=data)
    assert score.accuracies == (pytest.approx(5 / 6),)


def test_without_photos_held_out_there_is_nothing_to_judge_by(data: Path) -> None:
    edit(data, split=["train", "validation", "train", "train"] * 6)
    with pytest.raises(ManifestError, match="no row with split 'test'"):
        bench_recipes({"any": DIRECTOR}, regions=REGIONS, seeds=1, data=data)


def test_the_command_varies_the_first_recipe(data: Path, geomind: Run) -> None:
    Path("mine.yaml").write_text(to_yaml(DirectorConfig.model_validate(FASTER.model_dump())))
    code, said, complaint = geomind(
        "bench", "recipes", "mine.yaml", "--vary", "class_weights=none,focal_gamma=2", "--seeds", 1, "--data", data,
        "--set", "max_epochs=1", "--json", "out.json",
    )  # fmt: skip
    assert code == 0, complaint
    rows = json.loads(Path("out.json").read_text())
    assert [row["recipe"] for row in rows] == ["mine", "mine, class_weights=none,focal_gamma=2"]
    assert all(row["epochs"] == 1 for row in rows)
    assert f"{rows[0]['accuracy']:.1%}" in said
    code, _, complaint = geomind("bench", "recipes", "mine.yaml", "--vary", "class_weight=none", "--data", data)
    assert code == 1
    assert "Did you mean" in complaint
