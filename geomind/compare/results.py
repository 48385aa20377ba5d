"""What one rung came to: its answers, judged, and what they cost. It trains and draws nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geomind.errors import OutputError
from geomind.evaluation.judging import Judged, Truth, judge
from geomind.files import atomic_path
from geomind.metrics import score_photos
from geomind.predictions import Prediction, extra_columns_of, read_predictions, write_predictions

ANSWERS = "answers.parquet"
"""The answers of a rung, with the truth beside them."""

RECORD = "rung.json"
"""What a rung was and what it cost; written last, so that a rung that has it is finished."""


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
        scores = score_photos(
            judged.distance_km,
            in_country=judged.country_right,
            in_region=judged.region_right,
            at_city=judged.city_right,
        ).flat()
        return {
            "method": self.key.method,
            "seed": self.key.seed,
            **{name: scores[name] for name in ("geoscore", "median_km", "mean_km")},
            **{name: value for name, value in scores.items() if name.startswith("within_")},
            **{name: scores[name] for name in ("country_accuracy", "region_accuracy", "city_accuracy")},
            "on_sea": float(judged.on_sea.mean()),
            "parameters": self.costs.parameters,
            "train_seconds": self.costs.train_seconds,
            "images_seen": self.costs.images_seen,
            "images_per_s": self.costs.images_per_s,
        }


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
