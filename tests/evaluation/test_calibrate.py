"""Calibration on errors that are known, and of tiny models end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from few_photos import REGIONS

from geomind.calibration import NOT_CALIBRATED, OTHER_WEIGHTS, Calibration, Knowledge, calibration_path
from geomind.cascade import Cascade
from geomind.checkpoints import expert_path, gallery_path
from geomind.data.manifest import read_manifest, write_manifest
from geomind.errors import ConfigError, ManifestError, OutputError
from geomind.evaluation.calibrate import (
    FEWEST,
    _fit_confidence,
    _fit_temperature,
    _traits,
    calibrate,
    fit_radii,
    temperature_of,
)
from geomind.geography.regions import NO_REGION
from geomind.geolocators import Answering, calibration_of, load_geolocator, load_uncalibrated, weights_checksums
from geomind.inference.engine import locate_photos
from geomind.progress import SILENT
from geomind.uncertainty import coverage, reliability


def drawn(count: int, seed: int) -> tuple[Knowledge, np.ndarray]:
    """Draw answers whose error is log-normal around their spread, twice as large in region 1."""
    rng = np.random.default_rng(seed)
    spread, region = rng.uniform(10, 3000, count), rng.integers(0, 3, count)
    error = spread * np.where(region == 1, 2, 1) * np.exp(0.5 * rng.standard_normal(count))
    return Knowledge(spread, np.full(count, np.nan), region), error


def made(known: Knowledge, error_km: np.ndarray) -> tuple[Calibration, dict[str, float]]:
    traits = _traits(known)
    radii, measured = fit_radii(traits, known, error_km, np.arange(len(error_km)), [0.5, 0.9])
    confidence = {"intercept": 0.0, "weights": [0.0] * traits.columns(known).shape[1]}
    return Calibration(weights="", photos=len(error_km), traits=traits, radii=radii, confidence=confidence), measured


def test_radii_hold_what_they_promise_for_photos_not_seen() -> None:
    calibration, measured = made(*drawn(1500, seed=0))
    known, error = drawn(4000, seed=1)
    for level in (0.5, 0.9):
        radius = calibration.radii_km(known, level)
        assert coverage(error, radius) == pytest.approx(level, abs=0.03)
        assert measured[f"coverage_{100 * level:g}"] == pytest.approx(level, abs=0.02)
        for easy in (known.spread_km < 800, known.spread_km > 2000, known.region_ids == 1):
            assert coverage(error[easy], radius[easy]) == pytest.approx(level, abs=0.06)
    assert measured["mean_radius_km_90"] < 0.8 * measured["global_radius_km_90"]


def test_the_promise_holds_whatever_the_regression_is_worth() -> None:
    """Knowledge that says nothing of the error leaves the radius the same for all, and as often right."""
    rng = np.random.default_rng(3)
    known = Knowledge(rng.uniform(10, 3000, 600), rng.uniform(0, 1, 600), rng.integers(0, 3, 600))
    calibration, _ = made(known, rng.exponential(1000, 600))
    later = Knowledge(rng.uniform(10, 3000, 3000), rng.uniform(0, 1, 3000), rng.integers(0, 3, 3000))
    radius = calibration.radii_km(later, 0.9)
    assert coverage(rng.exponential(1000, 3000), radius) == pytest.approx(0.9, abs=0.03)


def test_photos_of_one_group_are_left_out_together() -> None:
    """Bursts of one place share their error: judged by each other, they would look surer than new places are."""
    rng = np.random.default_rng(0)
    places = 30
    error = np.repeat(rng.exponential(1000, places), 20)
    region = np.repeat(np.arange(places), 20)
    known = Knowledge(np.full(600, np.nan), np.full(600, np.nan), region)
    traits = _traits(known).model_copy(update={"regions": tuple(range(places))})
    apart, _ = fit_radii(traits, known, error, np.arange(600), [0.9])
    tied, _ = fit_radii(traits, known, error, region, [0.9])
    assert tied[0].log_km.intercept > apart[0].log_km.intercept + 0.2


def test_without_any_knowledge_all_have_one_radius() -> None:
    """A regression says nothing of itself: scikit-learn refused to fit a quantile to no columns."""
    rng = np.random.default_rng(3)
    nothing = Knowledge(np.full(400, np.nan), np.full(400, np.nan), np.full(400, -1))
    error = rng.exponential(1000, 400)
    calibration, _ = made(nothing, error)
    assert len(set(calibration.radii_km(nothing, 0.9))) == 1
    assert coverage(error, calibration.radii_km(nothing, 0.9)) == pytest.approx(0.9, abs=0.02)
    confidence, _ = _fit_confidence(_traits(nothing), nothing, error, np.arange(400), 0)
    assert 1 / (1 + np.exp(-confidence.intercept)) == pytest.approx(np.mean(error <= 750), abs=0.01)


def test_the_temperature_undoes_what_sharpened_the_logits() -> None:
    rng = np.random.default_rng(0)
    for views in (1, 3):  # whose probabilities are averaged
        logits = rng.standard_normal((4000, views, 5)) * 2
        chances = (np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)).mean(axis=1)
        right = np.array([rng.choice(5, p=row) for row in chances])
        assert temperature_of(3 * logits, right) == pytest.approx(3, rel=0.1)
        assert temperature_of(logits / 2, right) == pytest.approx(0.5, rel=0.1)
        assert reliability(chances.max(axis=1), chances.argmax(axis=1) == right).ece < 0.03


@pytest.fixture
def to_calibrate(data: Path, tmp_path: Path) -> Path:
    """A manifest of many photos to calibrate with: the few there are, over and over."""
    rows = read_manifest(data)
    rows["image_path"] = [str((data.parent / path).resolve()) for path in rows["image_path"]]
    many = rows.iloc[np.arange(FEWEST + 10) % len(rows)].assign(split="calibration", group="")
    write_manifest(many, tmp_path / "many.csv")
    return tmp_path / "many.csv"


HOW = Answering(runtime="torch")


def test_answers_have_radii_once_calibrated(models: Path, to_calibrate: Path) -> None:
    photos = sorted(set(read_manifest(to_calibrate)["image_path"]))[:3]
    before = list(locate_photos(photos, photos, load_geolocator(models, HOW)))
    assert all(each.radius_km_90 is None and each.radius_note == NOT_CALIBRATED for each in before)
    made = calibrate(to_calibrate, models, HOW)
    assert made.photos == FEWEST + 10
    assert {"ece", "ece_before", "ece_confidence", "coverage_50", "coverage_90", "coverage_95"} <= set(made.measured)
    after = list(locate_photos(photos, photos, load_geolocator(models, HOW)))
    assert [each.place for each in after] == [each.place for each in before]
    for each in after:
        assert each.radius_note is None
        assert each.confidence is not None
        assert 0 <= each.radius_km_50 <= each.radius_km_90  # type: ignore[operator]
    with pytest.raises(OutputError, match="calibrated already, for hard routing and nothing else"):
        calibrate(to_calibrate, models, HOW)
    assert calibrate(to_calibrate, models, HOW, overwrite=True, levels=[0.8]).radii[1].level == 0.8


def test_a_calibration_holds_for_its_weights_and_its_way_alone(models: Path, to_calibrate: Path) -> None:
    calibrate(to_calibrate, models, HOW)
    assert calibration_of(models, HOW)[0] is not None
    assert calibration_of(models, Answering(runtime="torch", precision="bf16"))[0] is not None
    _, note = calibration_of(models, Answering(runtime="torch", top_k=2))
    assert note.startswith("calibrated for hard routing and nothing else; run geomind calibrate --overwrite")
    expert_path(models, REGIONS[5]).unlink()
    assert calibration_of(models, HOW) == (None, OTHER_WEIGHTS)
    with pytest.raises(ConfigError, match="the calibration is of other weights"):
        load_geolocator(models, Answering(runtime="torch", min_confidence=0.5))


def test_another_gallery_makes_other_answers(models: Path, tmp_path: Path) -> None:
    without, before = weights_checksums(models), weights_checksums(models, gallery=True)
    gallery = gallery_path(models)
    gallery.write_bytes(expert_path(models, REGIONS[2]).read_bytes())
    assert weights_checksums(models, gallery=True) != before
    assert weights_checksums(models) == without


def test_photos_in_no_region_do_not_count_for_the_temperature(models: Path, to_calibrate: Path) -> None:
    photos = [Path(path) for path in read_manifest(to_calibrate)["image_path"][:12]]
    cascade = load_uncalibrated(models, HOW)
    assert isinstance(cascade, Cascade)
    regions = np.array([2, 5] * 6)
    alone = _fit_temperature(cascade, photos[:8], regions[:8], SILENT)
    nowhere = np.where(np.arange(12) < 8, regions, NO_REGION)
    assert _fit_temperature(cascade, photos, nowhere, SILENT) == alone


def test_answers_less_sure_than_asked_for_abstain_and_keep_their_place(models: Path, to_calibrate: Path) -> None:
    photos = sorted(set(read_manifest(to_calibrate)["image_path"]))[:3]
    with pytest.raises(ConfigError, match="are not calibrated"):
        load_geolocator(models, Answering(runtime="torch", max_radius_km=100))
    calibrate(to_calibrate, models, HOW)
    all_of_them = list(locate_photos(photos, photos, load_geolocator(models, HOW)))
    limit = sorted(each.radius_km_90 for each in all_of_them if each.radius_km_90 is not None)[0]
    how = Answering(runtime="torch", max_radius_km=limit + 0.001, min_confidence=0)
    told = list(locate_photos(photos, photos, load_geolocator(models, how)))
    for each, answer in zip(told, all_of_them, strict=True):
        assert each.place == answer.place
        assert (each.abstained is None) == (answer.radius_km_90 <= limit + 0.001)  # type: ignore[operator]
    strict = Answering(runtime="torch", min_confidence=1, max_radius_km=0)
    for each in locate_photos(photos, photos, load_geolocator(models, strict)):
        assert each.abstained == "confidence below 1; 90% radius over 0 km"


def test_what_cannot_be_calibrated(models: Path, to_calibrate: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no photo of the split 'test'"):
        calibrate(to_calibrate, models, HOW, split="test")
    with pytest.raises(ConfigError, match="look surer than it is"):
        calibrate(to_calibrate, models, HOW, split="train")
    with pytest.raises(ConfigError, match="between 0 and 1"):
        calibrate(to_calibrate, models, HOW, levels=[90])
    few = read_manifest(to_calibrate).iloc[: FEWEST - 1]
    write_manifest(few, tmp_path / "few.csv")
    with pytest.raises(ManifestError, match=f"{FEWEST - 1} photos .* needs {FEWEST} or more"):
        calibrate(tmp_path / "few.csv", models, HOW)
    write_manifest(read_manifest(to_calibrate).assign(group="one"), tmp_path / "one.csv")
    with pytest.raises(ManifestError, match="of 1 places or groups"):
        calibrate(tmp_path / "one.csv", models, HOW)
    assert not calibration_path(models).exists()
