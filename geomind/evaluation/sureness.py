"""What the answers of an evaluation say of themselves, and whether it holds. It draws nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geomind.calibration import CONFIDENCE_KM
from geomind.evaluation.scoring import Evaluation
from geomind.geography.regions import NO_REGION
from geomind.predictions import Prediction
from geomind.uncertainty import Reliability, RiskCoverage, coverage, reliability, risk_coverage

LEVELS = (50, 90)
"""What the radii promise to hold, percent of the truths."""

IDEAL = "if it knew its errors"
"""The name of the order that no other can better."""

FEWEST = 10
"""A risk–coverage curve is drawn from so many answers on."""


@dataclass(frozen=True)
class Held:
    """How many truths the radii of some photos hold."""

    name: str
    region_id: int | None
    """Where they are those of one true region."""
    photos: int
    """Those that have both radii."""
    shares: tuple[float, ...]
    """One for each of ``LEVELS``."""
    mean_km: tuple[float, ...]
    """Mean radius, one for each of ``LEVELS``."""


@dataclass(frozen=True, eq=False)
class Sureness:
    """Calibration and selection of one evaluation; what the rows do not carry is empty."""

    reliabilities: Mapping[str, Reliability]
    """What was probable -> how often it was so: the region, and a place within ``CONFIDENCE_KM``."""
    held: tuple[Held, ...]
    """Of all photos, of those whose region is right and wrong, and of each true region."""
    risks: Mapping[str, RiskCoverage]
    """What orders the answers -> what the error comes to where only the surest are given."""
    ideal: RiskCoverage | None
    """The same where the nearest answers are the surest: what no order can better. With ``risks`` only."""
    lacking: tuple[str, ...]
    """What no row carries, a sentence each."""

    @property
    def curves(self) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Give ``risks``, and ``IDEAL``, as lines: name -> coverages, median errors in km, (k,) and (k,)."""
        known = dict(self.risks) if self.ideal is None else {**self.risks, IDEAL: self.ideal}
        # A median of fewer answers jumps from one to the next.
        begin = {name: min(FEWEST, len(each.coverage)) - 1 for name, each in known.items()}
        return {name: (each.coverage[begin[name] :], each.median_km[begin[name] :]) for name, each in known.items()}


def sureness(evaluation: Evaluation) -> Sureness:
    """Judge probabilities, confidences and radii by the truth; an answer without one is left out of its judgement."""
    answered = np.isfinite(evaluation.distance_km)
    probability, confidence = _column(evaluation, "region_probability"), _column(evaluation, "confidence")
    radius = _column(evaluation, f"radius_km_{LEVELS[-1]}")
    right, distance = evaluation.predicted_regions == evaluation.true_regions, evaluation.distance_km

    reliabilities, risks = {}, {}
    if (some := np.isfinite(probability) & (evaluation.predicted_regions != NO_REGION)).any():
        reliabilities["the region is right"] = reliability(probability[some], right[some])
    if (some := answered & np.isfinite(confidence)).any():
        reliabilities[f"within {CONFIDENCE_KM:,.0f} km"] = reliability(
            confidence[some], distance[some] <= CONFIDENCE_KM
        )
    orders = {"90% radius": radius, "confidence": 1 - confidence, "region probability": 1 - probability}
    for name, unsureness in orders.items():
        if (some := answered & np.isfinite(unsureness)).any():
            risks[name] = risk_coverage(distance[some], unsureness[some])
    ideal = risk_coverage(distance[answered], distance[answered]) if risks else None
    lacking = []
    if not np.isfinite(probability).any():
        lacking.append("No row carries a region_probability, so that it cannot be held against the truth.")
    if not np.isfinite(radius).any():
        lacking.append("No row carries radii: the models that answered are not calibrated.")
    if not risks:
        lacking.append("No row says how sure it is, so that the answers cannot be put in order.")
    return Sureness(reliabilities, _held(evaluation, right), risks, ideal, tuple(lacking))


def _held(evaluation: Evaluation, right: NDArray[np.bool_]) -> tuple[Held, ...]:
    radii = [_column(evaluation, f"radius_km_{level}") for level in LEVELS]
    some = np.isfinite(evaluation.distance_km) & np.isfinite(radii).all(axis=0)
    groups: list[tuple[str, int | None, NDArray[np.bool_]]] = [
        ("all photos", None, some),
        ("region right", None, some & right),
        ("region wrong", None, some & ~right),
        *(
            (each.region_name, each.region_id, some & (evaluation.true_regions == each.region_id))
            for each in evaluation.regions
        ),
    ]
    return tuple(
        Held(
            name=name,
            region_id=region_id,
            photos=int(chosen.sum()),
            shares=tuple(coverage(evaluation.distance_km[chosen], radius[chosen]) for radius in radii),
            mean_km=tuple(float(radius[chosen].mean()) for radius in radii),
        )
        for name, region_id, chosen in groups
        if chosen.any()
    )


def _column(evaluation: Evaluation, name: str) -> NDArray[np.float64]:
    """Give a column of the rows: (n,), NaN where a row is without it."""

    def value(row: Prediction) -> float:
        found = getattr(row, name)
        return np.nan if found is None else float(found)

    return np.array([value(each) for each in evaluation.predictions], dtype=np.float64)
