"""From what networks say of an answer to how far off it is: radii and confidence. It fits nothing and asks no network.

A radius is made in two steps. A quantile regression gives the error that is not exceeded by the wanted share of answers
like this one: of this spread, this probability, this region. Conformal prediction then moves all of them by one factor,
so that the promise holds on photos that the regression has not seen (Romano, Patterson & Candès 2019, "Conformalized
Quantile Regression", on a logarithmic scale, where the errors of all regions are alike).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

import geomind
from geomind.config import Settings
from geomind.errors import CheckpointError, ConfigError
from geomind.files import atomic_path
from geomind.geography.sphere import EARTH_RADIUS_KM
from geomind.predictions import Prediction

CONFIDENCE_KM = 750.0
"""An answer is right, as far as `confidence` goes, where the truth is at most (``<=``) so far: a country's size (Vo,
Jacobs & Hays 2017)."""

LEVELS = (0.5, 0.75, 0.9, 0.95)
"""Shares of photos whose truth lies within a radius, that radii are fitted for unless others are asked for."""

FARTHEST_KM = EARTH_RADIUS_KM * math.pi
"""Half the Earth's girth: no two places are farther from each other, and this radius always holds."""

NOT_CALIBRATED = "these models are not calibrated; run geomind calibrate"
"""What `radius_note` says where there is no calibration."""

OTHER_WEIGHTS = "the calibration is of other weights; run geomind calibrate --overwrite"
"""What `radius_note` says where the models have changed since."""


class Way(Settings):
    """How photos are answered, as far as a calibration holds for it alone."""

    top_k: int = 1
    """Regions whose Experts are asked; 1 is hard routing."""
    gallery: bool = False
    """Whether answers are refined by training photos."""
    views: int = 1
    """Squares of each photo that are looked at."""
    int8: bool = False
    """Whether the networks count in int8; bf16 answers like fp32."""

    def options(self) -> str:
        """Give it as options of the command."""
        words = [f"--routing soft --top-k {self.top_k}"] if self.top_k > 1 else []
        words += ["--gallery"] if self.gallery else []
        words += [f"--views {self.views}"] if self.views > 1 else []
        words += ["--precision int8"] if self.int8 else []
        return " ".join(words) or "hard routing and nothing else"


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What is known of answers when they are given, which their error is told from."""

    spread_km: NDArray[np.float64]
    """(n,) how far off the truth is on average by the networks' own probabilities; NaN where they give none."""
    probability: NDArray[np.float64]
    """(n,) of the answered region; NaN where none is given."""
    region_ids: NDArray[np.int64]
    """(n,) the answered regions; -1 where none is."""

    @classmethod
    def of(cls, predictions: Sequence[Prediction]) -> Knowledge:
        """Read it from predictions with places."""
        return cls(
            np.array([each.spread_km for each in predictions], dtype=np.float64),  # None becomes NaN
            np.array([each.region_probability for each in predictions], dtype=np.float64),
            np.array([-1 if each.region_id is None else each.region_id for each in predictions], dtype=np.int64),
        )


class Traits(Settings):
    """How knowledge becomes the columns of a regression: hats over knots, and one column a region."""

    spread_knots: tuple[float, ...] = ()
    """Of log(1 + spread in km), rising; none where the networks give no spread."""
    probability_knots: tuple[float, ...] = ()
    """Of the probability, rising; none where the networks give none."""
    regions: tuple[int, ...] = ()
    """The regions that have a column."""

    @property
    def count(self) -> int:
        """How many columns."""
        return len(self.spread_knots) + len(self.probability_knots) + len(self.regions)

    def columns(self, known: Knowledge) -> NDArray[np.float64]:
        """Give the columns: (n, knots and regions). Between two knots a line is drawn, beyond the last none."""
        parts = [
            _hats(np.log1p(known.spread_km), self.spread_knots),
            _hats(known.probability, self.probability_knots),
            (known.region_ids[:, None] == np.array(self.regions, dtype=np.int64)).astype(np.float64),
        ]
        return np.concatenate(parts, axis=1)


def _hats(values: NDArray[np.float64], knots: tuple[float, ...]) -> NDArray[np.float64]:
    """Give for each knot 1 at it, 0 at its neighbours and a line between: (n,) -> (n, knots); NaN is the last knot."""
    if not knots:
        return np.empty((len(values), 0))
    filled = np.where(np.isnan(values), knots[-1], values)
    return np.stack([np.interp(filled, knots, hat) for hat in np.eye(len(knots))], axis=1)


class Line(Settings):
    """A linear function of traits."""

    intercept: float
    weights: tuple[float, ...]

    def at(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give its values: (n, columns) -> (n,)."""
        return columns @ np.array(self.weights, dtype=np.float64) + self.intercept


class Radius(Settings):
    """The radii of one level."""

    level: float = Field(gt=0, lt=1)
    """Share of the photos whose truth is promised to be within the radius."""
    log_km: Line
    """The logarithm of the radius in km, the conformal factor in it."""


class Calibration(Settings):
    """How sure the answers of a folder of models are; ``calibration.json`` beside them."""

    format_version: Literal[1] = 1
    geomind_version: str = geomind.__version__
    weights: str
    """Checksums of the weights that it was measured with."""
    way: Way = Way()
    photos: int
    """Photos that it was measured on."""
    temperature: float = Field(default=1.0, gt=0)
    """What the Director's logits are divided by (Guo et al. 2017); 1 where there is no Director."""
    traits: Traits
    radii: tuple[Radius, ...]
    """By rising level."""
    confidence: Line
    """The log-odds of a truth within 750 km."""
    measured: Mapping[str, float] = Field(default_factory=dict)
    """What it came to on these photos: radii and confidence judged by photos of other places, the Director's
    calibration error (`ece`) by the photos that its temperature was fitted to."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        levels, columns = [radius.level for radius in self.radii], self.traits.count
        if levels != sorted(set(levels)) or not {0.5, 0.9} <= set(levels):
            raise ValueError("radii need the levels 0.5 and 0.9, and a rising order")
        if any(len(line.weights) != columns for line in (self.confidence, *(radius.log_km for radius in self.radii))):
            raise ValueError(f"a line needs {columns} weights, one for each column")
        return self

    def radii_km(self, known: Knowledge, level: float) -> NDArray[np.float64]:
        """Give the radii that hold the truth for a share of the photos: (n,) km, never smaller than a lower level's.

        Raises:
            ConfigError: the level is none of those that were fitted.
        """
        if level not in [radius.level for radius in self.radii]:
            fitted = ", ".join(f"{radius.level:g}" for radius in self.radii)
            raise ConfigError(f"There is no radius of the level {level:g}; there are {fitted}. Fit it with --level.")
        return self._radii_at(self.traits.columns(known), level)

    def _radii_at(self, columns: NDArray[np.float64], level: float) -> NDArray[np.float64]:
        upto = [np.exp(np.minimum(each.log_km.at(columns), 50)) for each in self.radii if each.level <= level]
        radii: NDArray[np.float64] = np.minimum(np.max(upto, axis=0), FARTHEST_KM)
        return radii

    def confidences(self, known: Knowledge) -> NDArray[np.float64]:
        """Give the probabilities that the truths are within ``CONFIDENCE_KM``: (n,)."""
        return probability_of(self.confidence.at(self.traits.columns(known)))

    def fill(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Give predictions their radii and confidence; those without a place stay as they are."""
        filled = list(predictions)
        placed = [i for i, each in enumerate(filled) if each.answered]
        if not placed:
            return filled
        columns = self.traits.columns(Knowledge.of([filled[i] for i in placed]))
        rows = zip(
            placed,
            self._radii_at(columns, 0.5).tolist(),
            self._radii_at(columns, 0.9).tolist(),
            probability_of(self.confidence.at(columns)).tolist(),
            strict=True,
        )
        for i, half, most, confidence in rows:
            filled[i] = dataclasses.replace(
                filled[i], radius_km_50=half, radius_km_90=most, confidence=confidence, radius_note=None
            )
        return filled


def probability_of(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the probabilities that log-odds stand for: (n,) -> (n,)."""
    probabilities: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(log_odds, -50, 50)))
    return probabilities


def calibration_path(models: Path | str) -> Path:
    """Say where a folder of models keeps its calibration."""
    return Path(models) / "calibration.json"


def read_calibration(models: Path | str) -> Calibration | None:
    """Read the calibration of a folder of models; None where there is none.

    Raises:
        CheckpointError: the file is broken, or of a newer format.
    """
    path = calibration_path(models)
    try:
        return Calibration.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise CheckpointError(
            f"{path} is no calibration of this version of GeoMind. Make it anew with `geomind calibrate --overwrite`."
        ) from error


def write_calibration(calibration: Calibration, models: Path | str) -> Path:
    """Write a calibration beside the weights it is of, whole or not at all, and return its path.

    Raises:
        OutputError: the file cannot be written.
    """
    path = calibration_path(models)
    with atomic_path(path) as temporary:
        temporary.write_text(calibration.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return path
