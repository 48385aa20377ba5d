"""What answers say of how sure they are, and whether it holds: probabilities, radii, abstention, candidates.

What an answer does not say is not measured: ``None``. Rows that say nothing while others do are counted and told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geomind.evaluation.density import LogLoss
from geomind.evaluation.judging import Flags
from geomind.metrics import THRESHOLDS_KM, Distances, Flat, Metrics, finite, score_photos
from geomind.predictions import Prediction
from geomind.uncertainty import RiskCoverage, brier, coverage, reliability, risk_coverage

CONFIDENT_KM = 750
"""`confidence` is the probability that the truth is at most (``<=``) so far."""

SUREST = 0.7
"""Share of the answers that is left where the least sure 30% abstain."""

Numbers = NDArray[np.float64]
"""(n,) NaN where a row does not say it."""


@dataclass(frozen=True, eq=False)
class Said:
    """What answers say of themselves, photo by photo."""

    region_probability: Numbers
    confidence: Numbers
    radius_km_50: Numbers
    radius_km_90: Numbers
    abstained: Flags

    @classmethod
    def by(cls, predictions: Sequence[Prediction]) -> Said:
        """Take it from answers."""
        columns = {
            name: np.array([getattr(each, name) for each in predictions], dtype=np.float64)  # None becomes NaN
            for name in ("region_probability", "confidence", "radius_km_50", "radius_km_90")
        }
        return cls(**columns, abstained=np.array([each.abstained is not None for each in predictions], dtype=bool))

    def of(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Said:
        """Keep some photos."""
        return Said(**{name: column[chosen] for name, column in vars(self).items()})

    @property
    def unsureness(self) -> tuple[str, Numbers] | None:
        """What orders answers, the surest lowest, and the column it comes from: the first of these that any row has."""
        for name, column in (
            ("confidence", 1 - self.confidence),
            ("radius_km_90", self.radius_km_90),
            ("region_probability", 1 - self.region_probability),
        ):
            if not np.isnan(column).all():
                return name, column
        return None


@dataclass(frozen=True)
class Radii:
    """How well radii hold among the photos that have them."""

    count: int
    """Photos with a 90% radius."""
    coverage_50: float | None
    """Share whose truth is within (``<=``) the 50% radius."""
    coverage_90: float
    """The same of the 90% radius."""
    mean_radius_km_90: float
    global_radius_km_90: float
    """The smallest radius that, the same for all these photos, covers 90% of them: the quantile of their distances."""


@dataclass(frozen=True, eq=False)
class Certainty:
    """Whether what answers say of themselves holds; ``None`` is what they do not say."""

    radii: Radii | None
    radii_region_right: Radii | None
    """Of the photos whose region was right."""
    radii_region_wrong: Radii | None
    """Of the photos whose region was wrong, where a radius is needed most."""
    ece: float | None
    """Expected calibration error of ``region_probability``, against the region answered being the true one."""
    brier: float | None
    """Brier score of the same."""
    confidence_ece: float | None
    """Expected calibration error of ``confidence``, against the truth being within ``CONFIDENT_KM``."""
    risk: RiskCoverage | None
    """Of the answered photos, the surest first by ``Said.unsureness``."""
    abstained: int
    """Answers that abstain."""
    kept: Metrics | None
    """Scores of the photos that do not abstain, misses included; None where all do, or none does."""
    log_loss: float | None
    """Mean negative log-likelihood of the truth, nats per km²; see ``geomind.evaluation.density``."""
    kernel_km: float | None
    """Width of the kernels it was measured with."""

    @property
    def median_km_surest(self) -> float | None:
        """Median error where the least sure 30% of the answers abstain."""
        return None if self.risk is None else self.risk.median_at(SUREST)

    def flat(self) -> Flat:
        """Give the scores as flat keys for JSON."""
        radii = self.radii
        given = {"region_right": self.radii_region_right, "region_wrong": self.radii_region_wrong}
        kept_names = ("median_km", "mean_km", "geoscore", *(f"within_{threshold}_km" for threshold in THRESHOLDS_KM))
        return finite(
            {
                "coverage_50": _part(radii, "coverage_50"),
                "coverage_90": _part(radii, "coverage_90"),
                "mean_radius_km_90": _part(radii, "mean_radius_km_90"),
                "global_radius_km_90": _part(radii, "global_radius_km_90"),
                "ece": self.ece,
                "brier": self.brier,
                "confidence_ece": self.confidence_ece,
                "with_radius": radii.count if radii else 0,
                **{
                    f"{name}_{which}": _part(own, name)
                    for which, own in given.items()
                    for name in ("coverage_50", "coverage_90", "mean_radius_km_90")
                },
                "risk_coverage_area_km": _part(self.risk, "area_km"),
                "risk_coverage_best_km": _part(self.risk, "best_area_km"),
                "median_km_surest_70": self.median_km_surest,
                "abstained": self.abstained,
                **{f"kept_{name}": _part(self.kept, name) for name in kept_names},
                "log_loss": self.log_loss,
                "kernel_km": self.kernel_km,
            }
        )


def score_certainty(
    distance_km: Distances, said: Said, *, region_right: Flags | None, loss: LogLoss | None = None
) -> Certainty:
    """Score what answers say of themselves.

    Args:
        distance_km: (n,) km, infinite for a photo without an answer.
        said: of the same photos.
        region_right: (n,) whether the region answered is the true one; None where no answer names one.
        loss: of the same photos.
    """
    unsure = said.unsureness
    ranked = np.zeros(len(distance_km), bool) if unsure is None else np.isfinite(distance_km) & ~np.isnan(unsure[1])
    judged = np.zeros(len(distance_km), bool) if region_right is None else ~np.isnan(said.region_probability)
    confident = ~np.isnan(said.confidence)
    within = distance_km <= CONFIDENT_KM
    kept = ~said.abstained
    given, right = said.region_probability[judged], None if region_right is None else region_right[judged]
    return Certainty(
        radii=score_radii(distance_km, said),
        radii_region_right=None if region_right is None else score_radii(distance_km, said, region_right),
        radii_region_wrong=None if region_right is None else score_radii(distance_km, said, ~region_right),
        ece=reliability(given, right).ece if right is not None and right.size else None,
        brier=brier(given, right) if right is not None and right.size else None,
        confidence_ece=reliability(said.confidence[confident], within[confident]).ece if confident.any() else None,
        risk=risk_coverage(distance_km[ranked], unsure[1][ranked]) if unsure is not None and ranked.any() else None,
        abstained=int(said.abstained.sum()),
        kept=score_photos(distance_km[kept]) if kept.any() and not kept.all() else None,
        log_loss=None if loss is None else float(loss.nats.mean()),
        kernel_km=None if loss is None else loss.width_km,
    )


def score_radii(distance_km: Distances, said: Said, chosen: Flags | None = None) -> Radii | None:
    """Score the radii of those photos that have one, among some or all; None where none has."""
    among = np.ones(len(distance_km), dtype=bool) if chosen is None else chosen
    wide, narrow = among & ~np.isnan(said.radius_km_90), among & ~np.isnan(said.radius_km_50)
    if not wide.any():
        return None
    return Radii(
        count=int(wide.sum()),
        coverage_50=coverage(distance_km[narrow], said.radius_km_50[narrow]) if narrow.any() else None,
        coverage_90=coverage(distance_km[wide], said.radius_km_90[wide]),
        mean_radius_km_90=float(said.radius_km_90[wide].mean()),
        # Not interpolated: between an infinity and a number there is no third value.
        global_radius_km_90=float(np.quantile(distance_km[wide], 0.9, method="inverted_cdf")),
    )


def certainty_notes(predictions: Sequence[Prediction], said: Said, loss: LogLoss | None) -> list[str]:
    """Say what was measured on fewer photos than there are, and how, one sentence each."""
    answered = np.array([each.answered for each in predictions], dtype=bool)
    notes = []
    for column, name in (
        (said.radius_km_90, "radius"),
        (said.confidence, "confidence"),
        (said.region_probability, "region_probability"),
    ):
        if (without := int((answered & np.isnan(column)).sum())) and not np.isnan(column).all():
            notes.append(f"{without:,} of {answered.sum():,} answers have no {name}, which is measured on the others.")
            if name == "radius":
                notes[-1] += _most_given_reason(predictions)
    if unsure := said.unsureness:
        notes.append(f"The surest answers are those with the {_ORDER[unsure[0]]}.")
    if count := int(said.abstained.sum()):
        notes.append(f"{count:,} photos abstain; they count in all scores but those of the others alone.")
    if loss is not None:
        notes.append(
            f"Log loss: kernels of {loss.width_km:,.0f} km, the width with the highest likelihood of these photos. A "
            "photo without candidates could be anywhere on Earth."
        )
    return notes


_ORDER = {
    "confidence": "highest confidence",
    "radius_km_90": "smallest 90% radius",
    "region_probability": "highest region_probability",
}


def _part(scores: object | None, name: str) -> float | None:
    """Give one of some scores, None where none was measured."""
    return None if scores is None else getattr(scores, name)


def _most_given_reason(predictions: Sequence[Prediction]) -> str:
    """Give the reason that most answers without a radius name."""
    reasons = Counter(each.radius_note for each in predictions if each.radius_note and each.radius_km_90 is None)
    return f" Most often: {reasons.most_common(1)[0][0].rstrip('.')}." if reasons else ""
