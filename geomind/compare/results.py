"""What one rung came to: its answers photo by photo, judged, and what they cost. It trains and draws nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomind.data.manifest import read_manifest
from geomind.errors import ManifestError, OutputError
from geomind.files import atomic_path
from geomind.geography import places
from geomind.geography.regions import NO_REGION, RegionTable
from geomind.geography.sphere import Points
from geomind.metrics import Distances, distances_km, score_photos
from geomind.predictions import Prediction, extra_columns_of, read_predictions, write_predictions

Flags = NDArray[np.bool_]
"""(n,) one a photo."""

ANSWERS = "answers.parquet"
"""The answers of a rung, with the truth beside them."""

RECORD = "rung.json"
"""What a rung was and what it cost; written last, so that a rung that has it is finished."""


@dataclass(frozen=True, eq=False)
class Truth:
    """The photos that judge, in order, and what is known of where they were taken."""

    image_paths: tuple[str, ...]
    points: Points
    """(n, 2) degrees."""
    countries: NDArray[np.str_]
    region_ids: NDArray[np.int64]
    clusters: NDArray[np.int64]
    """(n,) numbers 0, 1, 2 … of what is resampled as one: photos of a group say the same thing several times."""
    grouped: bool
    """Whether the manifest has groups; each photo is a cluster of its own where it has none."""
    regions: RegionTable

    def __len__(self) -> int:
        return len(self.image_paths)

    @classmethod
    def read(cls, manifest: Path | str, regions: RegionTable, *, split: str | None = "test") -> Truth:
        """Read the photos of a split, or all where it is None.

        A country that the manifest leaves empty is that of the place, and a region that of the country.

        Raises:
            ManifestError: the manifest cannot be read, or the split has no photo.
        """
        rows = read_manifest(manifest)
        if split is not None:
            rows = rows[rows["split"] == split]
        if rows.empty:
            raise ManifestError(
                f"{manifest} has no row with split '{split}'. Split it with `geomind split {manifest}`."
            )
        points = rows[["latitude", "longitude"]].to_numpy(dtype=np.float64)
        countries = rows["country"].to_numpy(dtype=str)
        if (unnamed := countries == "").any():
            countries = countries.astype("<U2")
            countries[unnamed] = places.country_at(points[unnamed])
        region_ids = rows["region_id"].to_numpy(dtype=np.int64, na_value=NO_REGION)
        if (unknown := region_ids == NO_REGION).any():
            region_ids[unknown] = regions.region_ids(countries[unknown], points[unknown])
        clusters, grouped = _clusters(rows["group"].to_numpy(dtype=str))
        return cls(tuple(rows["image_path"]), points, countries, region_ids, clusters, grouped, regions)


@dataclass(frozen=True, eq=False)
class Judged:
    """How good answers are, photo by photo."""

    distance_km: Distances
    """(n,) km, infinite where there is no answer."""
    country_right: Flags
    region_right: Flags
    """Whether the place is in the true region, whichever region the answer names."""
    city_right: Flags
    """Whether the town nearest to the place is the one nearest to the truth."""
    on_sea: Flags
    """Whether there is an answer and it lies on the sea."""


@dataclass(frozen=True)
class RungKey:
    """What a rung is made of; one of another key is another rung."""

    method: str
    seed: int
    budget: int
    manifest_hash: str
    settings: Mapping[str, Any]

    def same_as(self, stored: object) -> bool:
        """Tell whether this is what a record says of itself."""
        return bool(json.loads(json.dumps(dataclasses.asdict(self))) == stored)


@dataclass(frozen=True)
class Costs:
    """What a rung took."""

    parameters: int
    """Numbers that were learned."""
    train_seconds: float
    images_seen: int
    """Photos that went through training, each time that they did."""
    images_per_s: float | None
    """Photos answered a second, files opened and decoded; None for a method that looks at none."""


@dataclass(frozen=True, eq=False)
class Rung:
    """One method with one seed: what it answered and what that took."""

    key: RungKey
    costs: Costs
    judged: Judged

    def flat(self) -> dict[str, Any]:
        """Give the scores and costs as flat keys, as ``table.json`` has them; what is not finite is None."""
        judged = self.judged
        scores = score_photos(judged.distance_km).flat()
        return {
            "method": self.key.method,
            "seed": self.key.seed,
            **{name: scores[name] for name in ("geoscore", "median_km", "mean_km")},
            **{name: value for name, value in scores.items() if name.startswith("within_")},
            "country_accuracy": float(judged.country_right.mean()),
            "region_accuracy": float(judged.region_right.mean()),
            "city_accuracy": float(judged.city_right.mean()),
            "on_sea": float(judged.on_sea.mean()),
            "parameters": self.costs.parameters,
            "train_seconds": self.costs.train_seconds,
            "images_seen": self.costs.images_seen,
            "images_per_s": self.costs.images_per_s,
        }


def judge(answers: Sequence[Prediction], truth: Truth) -> Judged:
    """Judge answers by the truth, photo by photo in one order; one that is missing is wrong in everything.

    Country and region are those of the answered place, so that a method that names neither is judged like the others.

    Raises:
        ManifestError: the answers are of other photos.
    """
    if [each.image_path for each in answers] != list(truth.image_paths):
        raise ManifestError(
            f"{len(answers):,} answers are not of the {len(truth):,} photos that judge, in their order."
        )
    answered = np.array([each.answered for each in answers], dtype=bool)
    guesses = np.array([each.place or (np.nan, np.nan) for each in answers], dtype=np.float64)
    there, true = guesses[answered], truth.points[answered]
    countries = places.country_at(there)
    regions = truth.regions.region_ids(countries, there)
    town, true_town = places.nearest_place(there), places.nearest_place(true)
    same_town = (
        (town.name == true_town.name)
        & (town.country == true_town.country)
        & (town.population == true_town.population)  # a country may have two of a name
    )

    def flags(of_answered: NDArray[Any]) -> Flags:
        all_photos = np.zeros(len(truth), dtype=bool)
        all_photos[answered] = of_answered
        return all_photos

    return Judged(
        distance_km=distances_km(truth.points, guesses),
        country_right=flags(countries == truth.countries[answered]),
        region_right=flags(regions == truth.region_ids[answered]),
        city_right=flags(same_town),
        on_sea=flags(~places.on_land(there)),
    )


def write_rung(folder: Path, key: RungKey, costs: Costs, answers: Sequence[Prediction], truth: Truth) -> Rung:
    """Keep a rung in its folder, the record last, and give it judged.

    Raises:
        ManifestError: the answers are of other photos.
        OutputError: the folder cannot be written.
    """
    rung = Rung(key, costs, judge(answers, truth))
    with_truth = (
        dataclasses.replace(answer, true_latitude=latitude, true_longitude=longitude)
        for answer, (latitude, longitude) in zip(answers, truth.points.tolist(), strict=True)
    )
    extra = extra_columns_of(answers)
    write_predictions(with_truth, folder / ANSWERS, overwrite=True, with_truth=True, extra_columns=extra)
    record = {"key": dataclasses.asdict(key), "costs": dataclasses.asdict(costs), "scores": rung.flat()}
    with atomic_path(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return rung


def read_rung(folder: Path, key: RungKey, truth: Truth) -> Rung | None:
    """Read a finished rung back; None where there is none, or one that was interrupted.

    Raises:
        OutputError: the folder holds a rung of another key, or a damaged one.
        ManifestError: its answers cannot be read.
    """
    if not (folder / RECORD).is_file():
        return None
    record = read_record(folder / RECORD)
    refuse_another(folder, key, record)
    return Rung(key, Costs(**record["costs"]), judge(read_predictions(folder / ANSWERS), truth))


def read_record(path: Path) -> dict[str, Any]:
    """Read a JSON record with a key.

    Raises:
        OutputError: it is damaged.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} is damaged. Remove {path.parent}, and it is done again.") from error
    if not isinstance(record, dict) or "key" not in record:
        raise OutputError(f"{path} is damaged. Remove {path.parent}, and it is done again.")
    return record


def refuse_another(folder: Path, key: RungKey, record: Mapping[str, Any]) -> None:
    """Make sure that what lies in a folder is what is asked for.

    Raises:
        OutputError: its key is another; the message says in what.
    """
    if key.same_as(stored := record["key"]):
        return
    wanted = dataclasses.asdict(key)
    other = [name for name in wanted if json.loads(json.dumps(wanted[name])) != stored.get(name)]
    raise OutputError(
        f"{folder} is of another comparison: {' and '.join(other).replace('_', ' ')} differ. Choose another --output."
    )


def manifest_hash(manifest: Path | str) -> str:
    """Hash a manifest's bytes, as run folders do."""
    return hashlib.blake2b(Path(manifest).read_bytes()).hexdigest()[:32]


def _clusters(groups: NDArray[np.str_]) -> tuple[NDArray[np.int64], bool]:
    """Number what is resampled as one: (n,) names of groups -> (n,); "" is a cluster of its own."""
    named = groups != ""
    clusters = np.arange(len(groups))
    if named.any():
        clusters[named] = len(groups) + np.unique(groups[named], return_inverse=True)[1]
    return np.unique(clusters, return_inverse=True)[1].astype(np.int64), bool(named.any())
