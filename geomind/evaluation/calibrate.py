"""Calibration: photos whose place is known → how sure answers are. It trains no network and draws nothing.

All is measured end to end, after routing: a radius learned inside one Expert does not know that the photo may be of
another region.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geomind.calibration import (
    CONFIDENCE_KM,
    FARTHEST_KM,
    LEVELS,
    Calibration,
    Knowledge,
    Line,
    Radius,
    Traits,
    probability_of,
    read_calibration,
    write_calibration,
)
from geomind.cascade import Cascade
from geomind.data.manifest import photo_path, read_manifest
from geomind.data.splits import block_ids, tie
from geomind.errors import ConfigError, ManifestError, OutputError
from geomind.evaluation.judging import Truth
from geomind.geography.regions import NO_REGION
from geomind.geolocators import Answering, load_uncalibrated, weights_checksums
from geomind.inference.engine import locate_photos
from geomind.metrics import distances_km
from geomind.predictions import Prediction
from geomind.progress import SILENT, Progress
from geomind.uncertainty import conformal_quantile, coverage, reliability

FEWEST = 50
"""Photos with an answer; of fewer nothing can be said about the rarest tenth."""

FOLDS = 5
"""Parts of the photos; each is judged by a regression of the others."""

MOST_FITTED = 4000
"""Photos that a regression is fitted to, a linear program that takes seconds; conformal scores come from all."""

_KNOTS = np.linspace(0, 1, 6)
"""Quantiles of the photos at which the lines of spread and probability bend."""

_FEWEST_OF_REGION = 30
"""Photos answered in a region for a column of its own."""

_SHRINKAGE = 1e-3
"""Weight of the L1 penalty: a region differs from the others only where its photos say so."""


def calibrate(
    manifest_path: Path | str,
    models: Path | str,
    how: Answering | None = None,
    *,
    split: str = "calibration",
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Calibration:
    """Measure how sure the answers of a folder of models are, and write it beside them.

    Args:
        manifest_path: The manifest; its photos of the split must have been in no training.
        models: The folder.
        how: How photos are answered; the calibration holds for this way alone.
        split: The split whose photos are answered.
        levels: Shares of the photos that radii are fitted for; 0.5 and 0.9 always are.
        seed: Of the choice of photos where there are too many, and of the folds.
        overwrite: Replace a calibration that is there.
        progress: Shows the photos done.

    Raises:
        ManifestError: the manifest cannot be read, or too few photos of the split get an answer.
        ConfigError: a level is not between 0 and 1.
        CheckpointError: there are no models, or they are broken or do not fit each other.
        OutputError: there is a calibration and ``overwrite`` is false, or it cannot be written.
    """
    how = how or Answering()
    if not overwrite and (earlier := read_calibration(models)) is not None:
        raise OutputError(f"{models} is calibrated already, for {earlier.way.options()}. Replace it with --overwrite.")
    if split == "train":
        raise ConfigError(
            "Photos that a model learned from make it look surer than it is. Name a split that no training has seen."
        )
    levels = sorted({0.5, 0.9, *levels})
    if not all(0 < level < 1 for level in levels):
        raise ConfigError("A level is a share of the photos, between 0 and 1, as in --level 0.95.")
    manifest = read_manifest(manifest_path)
    manifest = manifest[manifest["split"] == split].reset_index(drop=True)
    if manifest.empty:
        raise ManifestError(
            f"{manifest_path} has no photo of the split '{split}'. Name another with --split, of photos that no "
            "training has seen; or divide the photos with `geomind split --shares 70/10/10/10`, and train again."
        )
    photos = [photo_path(manifest_path, path) for path in manifest["image_path"]]
    geolocator = load_uncalibrated(models, how)
    temperature = 1.0
    measured: dict[str, float] = {}
    if isinstance(geolocator, Cascade):
        right = Truth.of(manifest, geolocator.regions).region_ids
        temperature, measured = _fit_temperature(geolocator, photos, right, progress)
        geolocator = load_uncalibrated(models, how, temperature)
    with progress.track("Locating photos", len(photos)) as advance:
        answers = []
        for answer in locate_photos(photos, [str(number) for number in range(len(photos))], geolocator):
            answers.append(answer)
            advance(1)
    answered = [number for number, answer in enumerate(answers) if answer.answered]
    if len(answered) < FEWEST:
        raise ManifestError(
            f"{len(answered)} photos of the split '{split}' of {manifest_path} have an answer, and a calibration needs "
            f"{FEWEST} or more."
        )
    placed = [answers[number] for number in answered]
    truth = manifest[["latitude", "longitude"]].to_numpy(dtype=np.float64)[answered]
    error_km = distances_km(truth, np.array([each.place for each in placed]))
    tied = tie(block_ids(truth), manifest["group"].to_numpy(dtype=str)[answered])
    known = Knowledge.of(placed)
    traits = _traits(known)
    radii, of_radii = fit_radii(traits, known, error_km, tied, levels, seed=seed, progress=progress)
    confidence, of_confidence = _fit_confidence(traits, known, error_km, tied, seed)
    calibration = Calibration(
        weights=weights_checksums(models, gallery=how.gallery),
        way=how.way,
        photos=len(placed),
        temperature=temperature,
        traits=traits,
        radii=radii,
        confidence=confidence,
        measured={**measured, **of_radii, **of_confidence},
    )
    write_calibration(calibration, models)
    return calibration


# ── the Director's probabilities ─────────────────────────────────────────────────────────────────────────────────────


class _Listener:
    """Asks a cascade's Director alone, as the engine asks a geolocator, and keeps its probabilities."""

    extra_columns: tuple[str, ...] = ()

    def __init__(self, cascade: Cascade) -> None:
        self.preprocessing = cascade.preprocessing
        self.probabilities: dict[str, NDArray[np.float32]] = {}
        self._ask = cascade.region_probabilities

    def locate(self, pixels: NDArray[np.float32], image_paths: Sequence[str]) -> list[Prediction]:
        self.probabilities |= dict(zip(image_paths, self._ask(pixels), strict=True))
        return [Prediction(image_path=path, error="asked for its region only") for path in image_paths]


def _fit_temperature(
    cascade: Cascade, photos: Sequence[Path], true_regions: NDArray[np.int64], progress: Progress
) -> tuple[float, dict[str, float]]:
    """Find the temperature of a cascade's Director, and measure its calibration error before and after."""
    listener = _Listener(cascade)
    names = [str(number) for number in range(len(photos))]
    with progress.track("Asking the Director", len(photos)) as advance:
        for _ in locate_photos(photos, names, listener):
            advance(1)
    known = true_regions != NO_REGION
    heard = [number for number, name in enumerate(names) if known[number] and name in listener.probabilities]
    if not heard:
        return 1.0, {}
    logits = np.log(np.maximum(np.stack([listener.probabilities[names[number]] for number in heard]), 1e-37))
    right = true_regions[heard]
    temperature = temperature_of(logits, right)

    def ece(logits: NDArray[np.float64]) -> float:
        probabilities = _softmax(logits).mean(axis=1)
        return reliability(np.minimum(probabilities.max(axis=1), 1), probabilities.argmax(axis=1) == right).ece

    return temperature, {"ece_before": ece(logits), "ece": ece(logits / temperature)}


def temperature_of(logits: NDArray[np.floating], right: NDArray[np.int64]) -> float:
    """Find what logits must be divided by for the truth to be most likely: (n, views, classes) and (n,) -> above 0.

    Of several views the probabilities are averaged, as the cascade does. Between 1/20 and 20 (Guo, Pleiss, Sun &
    Weinberger 2017, "On Calibration of Modern Neural Networks", section 4.2).
    """
    from scipy.optimize import minimize_scalar

    rows, logits = np.arange(len(right)), np.asarray(logits, dtype=np.float64)

    def loss(log_temperature: float) -> float:
        of_truth = _softmax(logits / np.exp(log_temperature)).mean(axis=1)[rows, right]
        return float(-np.mean(np.log(np.maximum(of_truth, 1e-300))))

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def _softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


# ── radii and confidence ─────────────────────────────────────────────────────────────────────────────────────────────


def _traits(known: Knowledge) -> Traits:
    """Choose where the lines bend, and which regions have a column."""

    def knots(values: NDArray[np.float64]) -> tuple[float, ...]:
        given = values[~np.isnan(values)]
        if not len(given):
            return ()
        return tuple(np.unique(np.quantile(given, _KNOTS)).tolist())

    regions, counts = np.unique(known.region_ids[known.region_ids >= 0], return_counts=True)
    return Traits(
        spread_knots=knots(np.log1p(known.spread_km)),
        probability_knots=knots(known.probability),
        regions=tuple(regions[counts >= _FEWEST_OF_REGION].tolist()),
    )


def fit_radii(
    traits: Traits,
    known: Knowledge,
    error_km: NDArray[np.float64],
    tied: NDArray[np.int64],
    levels: Sequence[float],
    *,
    seed: int = 0,
    progress: Progress = SILENT,
) -> tuple[tuple[Radius, ...], dict[str, float]]:
    """Fit the radii of answers, and measure them on photos that were left out.

    Args:
        traits: The columns of the regression.
        known: What was known of the answers (n).
        error_km: (n,) how far off they were.
        tied: (n,) numbers of the sets of photos that are left out together: of one place or one group.
        levels: Shares of the photos, rising.
        seed: Of the folds, and of the photos chosen where there are too many.
        progress: Shows the regressions done.

    Returns:
        The radii, and the coverage and mean width that they come to.
    """
    columns, log_km = traits.columns(known), np.log(np.maximum(error_km, 1e-3))
    fold_of = _folds(tied, seed)
    radii, measured = [], {}
    with progress.track("Fitting radii", len(levels) * (FOLDS + 1)) as advance:
        for level in levels:

            def fit(rows: NDArray[np.int64], level: float = level) -> Line:
                line = _quantile_line(columns[rows], log_km[rows], level, seed)
                advance(1)
                return line

            left_out = _left_out(fit, columns, fold_of)
            scores = log_km - left_out
            factor = conformal_quantile(scores, level)
            whole = fit(np.arange(len(log_km)))
            log_radius = whole.intercept + min(factor, np.log(FARTHEST_KM))
            radii.append(Radius(level=level, log_km=whole.model_copy(update={"intercept": float(log_radius)})))
            # Each fold with the factor of the others, as a new photo would have it.
            moved = np.array([conformal_quantile(scores[fold_of != fold], level) for fold in range(FOLDS)])[fold_of]
            radius_km = np.minimum(np.exp(np.minimum(left_out + moved, 50)), FARTHEST_KM)
            percent = f"{100 * level:g}"
            measured[f"coverage_{percent}"] = coverage(error_km, radius_km)
            measured[f"mean_radius_km_{percent}"] = float(radius_km.mean())
            measured[f"global_radius_km_{percent}"] = min(conformal_quantile(error_km, level), FARTHEST_KM)
    return tuple(radii), measured


def _fit_confidence(
    traits: Traits, known: Knowledge, error_km: NDArray[np.float64], tied: NDArray[np.int64], seed: int
) -> tuple[Line, dict[str, float]]:
    """Fit the log-odds of a truth within ``CONFIDENCE_KM``, and measure them on photos that were left out."""
    columns, right = traits.columns(known), error_km <= CONFIDENCE_KM

    def fit(rows: NDArray[np.int64]) -> Line:
        return _odds_line(columns[rows], right[rows])

    odds = _left_out(fit, columns, _folds(tied, seed))
    return fit(np.arange(len(right))), {"ece_confidence": reliability(probability_of(odds), right).ece}


def _folds(tied: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Deal sets of photos into folds, photos of one number into the same: (n,) -> (n,).

    Raises:
        ManifestError: there are fewer sets than folds.
    """
    _, set_of = np.unique(tied, return_inverse=True)
    count = int(set_of.max()) + 1
    if count < FOLDS:
        raise ManifestError(
            f"The photos to calibrate with are of {count} places or groups, and those of one must be judged by others: "
            f"{FOLDS} or more are needed."
        )
    dealt = np.empty(count, dtype=np.int64)
    dealt[np.random.default_rng(seed).permutation(count)] = np.arange(count) % FOLDS
    return dealt[set_of]


def _left_out(
    fit: Callable[[NDArray[np.int64]], Line], columns: NDArray[np.float64], fold_of: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Judge each fold by a line of the others: -> (n,)."""
    values = np.empty(len(columns))
    for fold in range(FOLDS):
        inside = fold_of == fold
        values[inside] = fit(np.flatnonzero(~inside)).at(columns[inside])
    return values


def _quantile_line(columns: NDArray[np.float64], log_km: NDArray[np.float64], level: float, seed: int) -> Line:
    """Fit a quantile by linear programming (Koenker & Bassett 1978), with an L1 penalty."""
    from sklearn.linear_model import QuantileRegressor

    if columns.shape[1] == 0:  # whoever answers says nothing of itself: one radius for all
        return Line(intercept=float(np.quantile(log_km, level)), weights=())
    rows = np.random.default_rng(seed).permutation(len(log_km))[:MOST_FITTED]
    fitted = QuantileRegressor(quantile=level, alpha=_SHRINKAGE, solver="highs").fit(columns[rows], log_km[rows])
    return Line(intercept=float(fitted.intercept_), weights=tuple(fitted.coef_.tolist()))


def _odds_line(columns: NDArray[np.float64], right: NDArray[np.bool_]) -> Line:
    """Fit log-odds; where nothing tells right from wrong, they are those of one more of each (Laplace's rule)."""
    from sklearn.linear_model import LogisticRegression

    if columns.shape[1] == 0 or right.all() or not right.any():
        odds = (right.sum() + 1) / ((~right).sum() + 1)
        return Line(intercept=float(np.log(odds)), weights=(0.0,) * columns.shape[1])
    fitted = LogisticRegression(max_iter=1000).fit(columns, right)
    return Line(intercept=float(fitted.intercept_[0]), weights=tuple(fitted.coef_[0].tolist()))
