"""Curves of what the answers of an evaluation say of themselves, for its pictures and its report. It draws nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geomind.calibration import CONFIDENCE_KM
from geomind.evaluation.certainty import Radii
from geomind.evaluation.scoring import Evaluation
from geomind.uncertainty import Reliability, RiskCoverage, reliability, risk_coverage

IDEAL = "if it knew its errors"
"""The name of the order that no other can better."""

FEWEST = 10
"""A risk–coverage curve is drawn from so many answers on."""


@dataclass(frozen=True)
class Held:
    """What the radii of some photos hold."""

    name: str
    region_id: int | None
    """Where they are those of one true region."""
    radii: Radii


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
    distance, right, said = evaluation.distance_km, evaluation.photos.region_right, evaluation.photos.said
    answered = np.isfinite(distance)
    reliabilities, risks = {}, {}
    if right is not None and (some := np.isfinite(said.region_probability)).any():
        reliabilities["the region is right"] = reliability(said.region_probability[some], right[some])
    if (some := np.isfinite(said.confidence)).any():
        reliabilities[f"within {CONFIDENCE_KM:,.0f} km"] = reliability(
            said.confidence[some], distance[some] <= CONFIDENCE_KM
        )
    orders = {
        "confidence": 1 - said.confidence,
        "90% radius": said.radius_km_90,
        "region probability": 1 - said.region_probability,
    }
    for name, unsureness in orders.items():
        if (some := answered & ~np.isnan(unsureness)).any():
            risks[name] = risk_coverage(distance[some], unsureness[some])
    lacking = []
    if "the region is right" not in reliabilities:
        lacking.append(
            "No row carries a region and its region_probability, so that they cannot be held against the truth."
        )
    if evaluation.certainty.radii is None:
        lacking.append("No row carries radii: the models that answered are not calibrated.")
    if not risks:
        lacking.append("No row says how sure it is, so that the answers cannot be put in order.")
    return Sureness(
        reliabilities=reliabilities,
        held=tuple(_held(evaluation)),
        risks=risks,
        ideal=risk_coverage(distance[answered], distance[answered]) if risks else None,
        lacking=tuple(lacking),
    )


def _held(evaluation: Evaluation) -> list[Held]:
    whole = evaluation.certainty
    groups = [
        ("all photos", None, whole.radii),
        ("region right", None, whole.radii_region_right),
        ("region wrong", None, whole.radii_region_wrong),
        *((each.region_name, each.region_id, each.certainty.radii) for each in evaluation.regions),
    ]
    return [Held(name, region_id, radii) for name, region_id, radii in groups if radii is not None]
