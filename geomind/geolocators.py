"""Whoever answers, by the folder of its models: the cascade, the hierarchical network, or a one-network regression."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomind.baselines import Regression
from geomind.calibration import (
    NOT_CALIBRATED,
    OTHER_WEIGHTS,
    Calibration,
    Way,
    calibration_path,
    read_calibration,
)
from geomind.cascade import Cascade, Geolocator, expert_paths
from geomind.checkpoints import Description, director_path, expert_path, gallery_path, read_checksum, read_description
from geomind.devices import Device, pick_device_name
from geomind.errors import ConfigError
from geomind.hierarchical import Hierarchical
from geomind.predictions import Prediction
from geomind.runtimes import Precision, Runtime

HIERARCHICAL, REGRESSION = "hierarchical.safetensors", "regression.safetensors"
"""The files that make a folder of models one network's."""


@dataclass(frozen=True, kw_only=True)
class Answering:
    """How photos are answered, whoever answers."""

    runtime: Runtime = "auto"
    """Who runs the networks; `auto` takes the quickest that is installed."""
    precision: Precision = "fp32"
    """What they count in."""
    device: Device = "cpu"
    """`cpu`, `cuda`, or `auto` for a GPU where there is one."""
    threads: int | None = None
    """Cores that the networks use; None for all."""
    max_memory_mb: int | None = None
    """What the networks of a cascade may take together."""
    top_k: int = 1
    """How many regions' Experts a cascade asks about a photo; 1 is hard routing."""
    candidates: int = 0
    """How many places each answer names."""
    gallery: bool = False
    """Refine a cascade's answers by the training photos that look most like a photo."""
    views: int = 1
    """Squares of each photo that are looked at; 1 is the central one."""
    min_confidence: float | None = None
    """Abstain where the confidence is less."""
    max_radius_km: float | None = None
    """Abstain where the 90% radius is larger."""

    @property
    def way(self) -> Way:
        """What of it a calibration must have been measured with."""
        return Way(top_k=self.top_k, gallery=self.gallery, views=self.views, int8=self.precision == "int8")


class Calibrated:
    """Whoever answers, with radii and confidence where a calibration knows them.

    Attributes:
        geolocator: Who answers.
        preprocessing: How photos become the pixels that it reads.
        extra_columns: The columns that it fills beside those of every prediction.
    """

    def __init__(self, geolocator: Geolocator, calibration: Calibration | None, how: Answering, note: str = "") -> None:
        """Join whoever answers and the calibration of its models.

        Args:
            geolocator: Who answers.
            calibration: How sure it is; None where that is not known.
            how: When it abstains.
            note: Why there is no calibration.
        """
        self.geolocator = geolocator
        self.preprocessing = geolocator.preprocessing
        self.extra_columns = geolocator.extra_columns
        self._calibration, self._how, self._note = calibration, how, note

    def locate(self, pixels: NDArray[np.float32], image_paths: Sequence[str]) -> list[Prediction]:
        """Answer for each photo, in order: (N, 3, S, S) and their N names -> N predictions."""
        answers = self.geolocator.locate(pixels, image_paths)
        if self._calibration is None:
            return [dataclasses.replace(each, radius_note=self._note) for each in answers]
        return [self._abstaining(each) for each in self._calibration.fill(answers)]

    def _abstaining(self, answer: Prediction) -> Prediction:
        """Mark an answer that is less sure than was asked for."""
        how, reasons = self._how, []
        if how.min_confidence is not None and answer.confidence is not None and answer.confidence < how.min_confidence:
            reasons.append(f"confidence below {how.min_confidence:g}")
        if (
            how.max_radius_km is not None
            and answer.radius_km_90 is not None
            and answer.radius_km_90 > how.max_radius_km
        ):
            reasons.append(f"90% radius over {how.max_radius_km:g} km")
        return dataclasses.replace(answer, abstained="; ".join(reasons)) if reasons else answer


def load_geolocator(models: Path | str, how: Answering | None = None) -> Calibrated:
    """Load what a folder of models holds: a Director with Experts beside it, or the weights of one network.

    With the models' calibration, where there is one of these very weights and this way of answering; else each answer
    says why it has no radius.

    Raises:
        CheckpointError: there are no models, or they or their calibration are broken or do not fit each other.
        ConfigError: a GPU is asked for and there is none, the runtime cannot do this, one network is asked for what
            only a cascade does, or whoever answers should abstain and is not calibrated.
        MissingExtraError: the runtime is not installed.
    """
    how = how or Answering()
    calibration, note = calibration_of(models, how)
    geolocator = load_uncalibrated(models, how, 1.0 if calibration is None else calibration.temperature)
    return Calibrated(geolocator, calibration, how, note)


def calibration_of(models: Path | str, how: Answering) -> tuple[Calibration | None, str]:
    """Find the calibration that holds for a way of answering; or None, and why there is none.

    Raises:
        CheckpointError: there are no models, or they or their calibration are broken.
        ConfigError: whoever answers should abstain, and there is no calibration to tell when.
    """
    calibration, note = read_calibration(models), ""
    if calibration is None:
        note = NOT_CALIBRATED
    elif calibration.weights != weights_checksums(models, gallery=calibration.way.gallery):
        calibration, note = None, OTHER_WEIGHTS
    elif calibration.way != how.way:
        note = f"calibrated for {calibration.way.options()}; run geomind calibrate --overwrite with your options"
        calibration = None
    if calibration is None and (how.min_confidence is not None or how.max_radius_km is not None):
        raise ConfigError(f"To abstain, an answer must know how sure it is, and {models} does not: {note}.")
    return calibration, note


def load_uncalibrated(
    models: Path | str, how: Answering | None = None, temperature: float = 1.0
) -> Cascade | Hierarchical | Regression:
    """Load the same without radii.

    Args:
        models: The folder.
        how: How photos are answered.
        temperature: What the logits of a cascade's Director are divided by.

    Raises:
        CheckpointError, ConfigError, MissingExtraError: as ``load_geolocator`` does.
    """
    how = how or Answering()
    single = _one_network(models)
    if single is None:
        options = {name: value for name, value in vars(how).items() if name not in ("min_confidence", "max_radius_km")}
        return Cascade.load(models, temperature=temperature, **options)
    if how.top_k > 1:
        raise ConfigError(f"{models} holds one network, which routes to no Experts: leave out --routing and --top-k.")
    if how.gallery:
        raise ConfigError(f"{models} holds one network, and galleries are of a cascade's Experts: leave out --gallery.")
    run: dict[str, Any] = {"runtime": how.runtime, "precision": how.precision, "threads": how.threads}
    run["device"] = pick_device_name(how.device)
    if single.name == HIERARCHICAL:
        return Hierarchical.load(single, candidates=how.candidates, views=how.views, **run)
    if how.candidates or how.views > 1:
        raise ConfigError(
            f"{models} holds a regression, which knows one place for each photo: leave out --candidates and --views."
        )
    return Regression.load(single, **run)


def check_models(models: Path | str) -> Description:
    """Make sure that models fit each other, and read what the Director, or the one network, says of itself.

    Raises:
        CheckpointError: there are no models, or they are broken or do not fit each other.
    """
    if (single := _one_network(models)) is not None:
        return read_description(single, single.stem)
    director = read_description(director_path(models), "director")
    expert_paths(Path(models), director)
    return director


def checksums(models: Path | str, *, gallery: bool = False) -> str:
    """Tell the weights of a folder of models, their calibration, and with ``gallery`` its galleries, from any others.

    Raises:
        CheckpointError: there are no models, or they are broken.
    """
    weights, calibration = weights_checksums(models, gallery=gallery), calibration_path(models)
    if not calibration.is_file():
        return weights
    return f"{weights} calibration {hashlib.blake2b(calibration.read_bytes(), digest_size=16).hexdigest()}"


def weights_checksums(models: Path | str, *, gallery: bool = False) -> str:
    """Tell the weights of a folder of models, and with ``gallery`` its galleries, from any others.

    Raises:
        CheckpointError: there are no models, or they are broken.
    """
    if (single := _one_network(models)) is not None:
        return read_checksum(single)
    director = director_path(models)
    regions = read_description(director).regions.regions
    paths = [director, *(expert_path(models, region) for region in regions)]
    if gallery:
        paths += [gallery_path(models), *(gallery_path(models, region) for region in regions)]
    return " ".join(read_checksum(path) if path.is_file() else "-" for path in paths)


def weights_of(models: Path | str) -> list[Path]:
    """List the weights that answer in a folder of models.

    Raises:
        CheckpointError: there are no models, or they are broken.
    """
    if (single := _one_network(models)) is not None:
        return [single]
    director = director_path(models)
    return [director, *expert_paths(Path(models), read_description(director, "director")).values()]


def _one_network(models: Path | str) -> Path | None:
    """Find the weights of a folder that is one network's; None where it is a cascade's."""
    files = [Path(models) / name for name in (HIERARCHICAL, REGRESSION)]
    return next((file for file in files if file.is_file()), None)
