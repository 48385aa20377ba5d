"""From probable places to one: the place with the highest expected GeoScore. It knows no networks and no regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geomind.geography.sphere import Points, chord_to_km, from_unit_vectors, haversine_km, unit_vectors
from geomind.metrics import geoscore

NEAR_KM = 100.0
"""Places this near the best one are blended with it; further off, a mean would lie where nobody guessed, as often as
not in the sea."""

MOST_WEIGHED = 64
"""The most probable places of a photo, which are weighed against each other; the rest hardly counts."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Where photos may have been taken: K places for each of N photos, and how probable each place is."""

    probabilities: NDArray[np.float64]
    """(N, K), each row of at most 1 in all; 0 is no candidate."""
    places: Points
    """(N, K, 2) degrees."""

    @classmethod
    def certain(cls, places: Points) -> Candidates:
        """Take places as the only candidates: (N, 2) degrees."""
        return cls(np.ones((len(places), 1)), np.asarray(places, dtype=np.float64)[:, None])

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Candidates:
        """Put the candidates of the same photos side by side; their probabilities stay as they are."""
        return cls(
            np.concatenate([part.probabilities for part in parts], axis=1),
            np.concatenate([part.places for part in parts], axis=1),
        )

    def __len__(self) -> int:
        return len(self.probabilities)

    def of_photo(self, photo: int) -> tuple[tuple[float, float, float], ...]:
        """Give the candidates of one photo that are probable at all: latitude, longitude and probability of each."""
        rows = zip(self.places[photo].tolist(), self.probabilities[photo].tolist(), strict=True)
        return tuple((latitude, longitude, share) for (latitude, longitude), share in rows if share > 0)

    def weighted(self, shares: NDArray[np.floating]) -> Candidates:
        """Multiply the probabilities of each photo's candidates: (N,)."""
        return Candidates(self.probabilities * np.asarray(shares, dtype=np.float64)[:, None], self.places)

    def of_views(self, views: int) -> Candidates:
        """Take rows of so many views each as photos, whose views count the same: (N x views, K) -> (N, views x K)."""
        photos = len(self) // views
        return Candidates(self.probabilities.reshape(photos, -1) / views, self.places.reshape(photos, -1, 2))

    def most_probable(self, count: int) -> tuple[Candidates, NDArray[np.int64]]:
        """Keep so many candidates of each photo, the most probable first; of equals, the one that came first.

        Returns:
            They, and which of all they are, (N, count).
        """
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :count]
        probabilities = np.take_along_axis(self.probabilities, order, axis=1)
        return Candidates(probabilities, np.take_along_axis(self.places, order[..., None], axis=1)), order


def best_places(candidates: Candidates, *, near_km: float = NEAR_KM) -> tuple[Points, NDArray[np.int64]]:
    """Choose one place for each photo.

    The expected GeoScore of a candidate is Σ_k p_k · 5000 · exp(-d_k / 1492.7 km) over the candidates k, d_k km away.
    The candidate with the highest is blended with those within ``near_km`` of it, each by its probability, on the
    sphere. So the answer stays where a candidate is, and does not fall between two continents.

    Args:
        candidates: K places each, at least one of which is probable.
        near_km: How far from the best one a place may be to be blended with it.

    Returns:
        The places, (N, 2) degrees, and which candidate was the best, (N,).

    Raises:
        ValueError: no candidate of a photo has a probability above 0.
    """
    kept, order = candidates.most_probable(MOST_WEIGHED)
    probable = kept.probabilities > 0
    if not probable.any(axis=1).all():
        raise ValueError("a photo has no candidate with a probability above 0")
    distance_km = _between(kept.places)
    expected = (geoscore(distance_km) @ kept.probabilities[..., None])[..., 0]
    photos, best = np.arange(len(kept)), np.where(probable, expected, -np.inf).argmax(axis=1)
    near = distance_km[photos, best] <= near_km
    near[photos, best] = True  # its distance to itself is only almost 0
    weights = kept.probabilities * near
    blended = from_unit_vectors((weights[:, None] @ unit_vectors(kept.places))[:, 0])
    alone = (weights > 0).sum(axis=1) == 1
    return np.where(alone[:, None], kept.places[photos, best], blended), order[photos, best]


def distinct_places(candidates: Candidates, count: int, *, near_km: float = NEAR_KM) -> Candidates:
    """Choose several places for each photo: -> (N, count).

    The first is that of ``best_places``. With those near it, whose probabilities are added to its own, it is then taken
    out, and so on; where nothing is left, the probability is 0. So the best candidates of any two are further than
    ``near_km`` from each other. What comes first has the highest expected GeoScore, and not always the highest
    probability: it counts what lies around it.
    """
    if count == 0:
        return Candidates(np.zeros((len(candidates), 0)), np.zeros((len(candidates), 0, 2)))
    left = candidates.most_probable(MOST_WEIGHED)[0]
    photos, distance_km = np.arange(len(left)), _between(left.places)
    shares, places = np.zeros((len(left), count)), np.zeros((len(left), count, 2))
    for number in range(count):
        some = left.probabilities.sum(axis=1) > 0
        if not some.any():
            break
        rest = Candidates(left.probabilities[some], left.places[some])
        places[some, number], best = best_places(rest, near_km=near_km)
        near = distance_km[photos[some], best] <= near_km
        near[np.arange(len(best)), best] = True
        shares[some, number] = (rest.probabilities * near).sum(axis=1)
        remaining = left.probabilities.copy()
        remaining[some] *= ~near
        left = Candidates(remaining, left.places)
    return Candidates(shares, places)


def spread_km(candidates: Candidates, places: Points) -> NDArray[np.float64]:
    """Measure how far the truth is from the chosen places on average, by the candidates' own probabilities.

    Σ_k p_k · d_k / Σ_k p_k, with d_k the distance of candidate k: (N, K) and (N, 2) degrees -> (N,) km.
    """
    distance_km = haversine_km(candidates.places, places[:, None])
    spread: NDArray[np.float64] = np.einsum("nk,nk->n", candidates.probabilities, distance_km)
    spread /= candidates.probabilities.sum(axis=1)
    return spread


def _between(places: Points) -> NDArray[np.float64]:
    """Measure the distances among the candidates of each photo: (N, K, 2) degrees -> (N, K, K) km."""
    vectors = unit_vectors(places)
    return chord_to_km(np.sqrt(np.clip(2 - 2 * vectors @ vectors.swapaxes(1, 2), 0, 4)))
