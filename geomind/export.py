"""Trained models for other programs: ONNX files, a description in JSON, and int8 files made from photos."""

from __future__ import annotations

import functools
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from geomind.cascade import Cascade, expert_paths
from geomind.checkpoints import director_path, read_description, read_head
from geomind.director import Director, load_director_network
from geomind.errors import MissingExtraError, PhotoError
from geomind.expert import load_expert_network
from geomind.files import atomic_path
from geomind.geography.cell_code import FURTHEST, CellCode
from geomind.geography.sphere import haversine_km
from geomind.photos import Preprocessing, find_photos
from geomind.progress import SILENT, Progress
from geomind.runtimes import can_make_onnx_files
from geomind.runtimes.int8 import quantize
from geomind.runtimes.onnx_files import find_or_make, read_difference

if TYPE_CHECKING:
    from geomind.networks import WithFeatures

logger = logging.getLogger(__name__)

CALIBRATION_PHOTOS = 200
"""At most so many photos set the ranges of int8, and as many others judge it."""

FEWEST_OF_A_REGION = 20
"""An Expert to which fewer photos are routed is quantised by photos of other regions too."""


@dataclass(frozen=True)
class Exported:
    """One network as a file."""

    file: Path
    max_difference: float | None
    """The largest difference of any of its numbers from torch's, on random pixels; None for int8."""


@dataclass(frozen=True)
class Int8Cost:
    """What whole numbers cost on photos that set no range."""

    photos: int
    same_region: float
    """Share of photos whose region stays the same."""
    median_km: float
    """Median distance between the answers in fp32 and in int8."""
    p90_km: float
    """Nine of ten photos move by less."""


def export_models(
    models: Path | str,
    output: Path | str | None = None,
    *,
    precision: Literal["fp32", "int8"] = "fp32",
    progress: Progress = SILENT,
) -> list[Exported]:
    """Make the ONNX files of the Director and of all Experts, and `models.json`, which says how they go together.

    An Expert on the Director's trunk has no file: `models.json` holds its last layer. What an Expert's numbers mean is
    said by its box, or by its cells.

    Args:
        models: The folder of models.
        output: Where copies and `models.json` go; None leaves the files beside the weights.
        precision: `int8` exports the files that ``quantize_models`` made.
        progress: Shows networks done.

    Raises:
        CheckpointError: there is no Director, or a file is broken or does not fit.
        ConfigError: there are no int8 files yet.
        MissingExtraError: a package is missing that makes the files.
        OutputError: a file cannot be written.
    """
    if not can_make_onnx_files():
        raise MissingExtraError("Writing ONNX files needs more packages: pip install 'geomind[onnx]'.")
    models, target = Path(models), Path(output or models)
    director = read_description(director_path(models), "director")
    experts = expert_paths(models, director)
    exported: list[Exported] = []

    def export(checkpoint: Path, load: Callable[[Path], WithFeatures]) -> str:
        file = find_or_make(checkpoint, functools.partial(load, checkpoint), precision)
        difference = read_difference(file) if precision == "fp32" else None
        if output is not None:
            copy = target / checkpoint.relative_to(models).with_suffix(".onnx")
            with atomic_path(copy) as temporary:
                shutil.copyfile(file, temporary)
            file = copy
        exported.append(Exported(file, difference))
        return (file.relative_to(target) if file.is_relative_to(target) else file.absolute()).as_posix()

    with progress.track("Exporting networks", 1 + len(experts)) as advance:
        about: dict[str, Any] = {
            "preprocessing": director.preprocessing.model_dump(),
            "director": {"file": export(director_path(models), load_director_network)},
            "regions": [],
        }
        advance(1)
        for region in director.regions.regions:
            expert: dict[str, Any] | None = None
            if region.id in experts:
                path = experts[region.id]
                own = read_description(path)
                expert = {"box": own.box} if own.cells is None else {"cells": _describe_cells(own.cell_code)}
                if own.trunk is None:
                    expert["file"] = export(path, load_expert_network)
                else:
                    weights, bias = read_head(path)
                    expert |= {"weights": weights.tolist(), "bias": bias.tolist()}
                advance(1)
            median = director.region_medians[region.id]
            about["regions"].append({"id": region.id, "name": region.name, "median": median, "expert": expert})
    with atomic_path(target / "models.json") as temporary:
        temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return exported


def _describe_cells(code: CellCode) -> dict[str, Any]:
    """Say all that it takes to read an Expert's numbers as places, and nothing of how the cells came about."""
    return {
        "chains": code.tree.chains.tolist(),
        "centres": code.tree.levels[-1].centres.tolist(),
        "scale_km": code.scale_km.tolist(),
        "furthest": FURTHEST,
    }


def quantize_models(models: Path | str, photos: Path | str, *, seed: int = 0, progress: Progress = SILENT) -> Int8Cost:
    """Make the int8 files of the Director and of all Experts from photos, and measure what they cost on others.

    Args:
        models: The folder of models.
        photos: A folder of photos like those to be answered: half of what is drawn sets the ranges, half judges.
        seed: Draws them.
        progress: Shows photos and networks done.

    Raises:
        CheckpointError: there is no Director, or a file is broken or does not fit.
        MissingExtraError: a package is missing.
        PhotoError: the folder is missing or holds fewer than two photos that can be read.
    """
    models = Path(models)
    director = read_description(director_path(models), "director")
    pixels = _draw(Path(photos), director.preprocessing, seed, progress)
    ranges, judges = pixels[::2], pixels[1::2]
    experts = {i: path for i, path in expert_paths(models, director).items() if read_description(path).trunk is None}
    with progress.track("Quantising networks", 1 + len(experts)) as advance:
        routed = Director.load(director_path(models), runtime="onnx").probabilities(ranges).argmax(axis=1)
        _quantize(director_path(models), load_director_network, ranges)
        advance(1)
        for region_id, path in experts.items():
            own = ranges[routed == region_id]
            others = ranges[routed != region_id][: max(0, FEWEST_OF_A_REGION - len(own))]
            _quantize(path, load_expert_network, np.concatenate([own, others]))
            advance(1)
    return _judge(models, judges)


def _quantize(checkpoint: Path, load: Callable[[Path], WithFeatures], pixels: NDArray[np.float32]) -> None:
    quantize(checkpoint, find_or_make(checkpoint, functools.partial(load, checkpoint)), pixels)


def _draw(folder: Path, preprocessing: Preprocessing, seed: int, progress: Progress) -> NDArray[np.float32]:
    """Read photos in a random order until there are enough; those that cannot be read are left out."""
    paths = find_photos(folder)
    read: list[NDArray[np.float32]] = []
    wanted = min(len(paths), 2 * CALIBRATION_PHOTOS)
    with progress.track("Reading photos", wanted) as advance:
        for number in np.random.default_rng(seed).permutation(len(paths)):
            if len(read) == wanted:
                break
            try:
                read.append(preprocessing.read(paths[number]))
                advance(1)
            except PhotoError as error:
                logger.warning("%s cannot be read: %s.", paths[number], error)
    if len(read) < 2:
        raise PhotoError(f"{folder} holds fewer than two photos that can be read. int8 wants some hundreds.")
    return np.stack(read)


def _judge(models: Path, pixels: NDArray[np.float32]) -> Int8Cost:
    names = [str(number) for number in range(len(pixels))]
    exact = Cascade.load(models).locate(pixels, names)
    rounded = Cascade.load(models, precision="int8").locate(pixels, names)
    same = [one.region_id == other.region_id for one, other in zip(exact, rounded, strict=True)]
    places = [np.array([(p.latitude, p.longitude) for p in found], dtype=np.float64) for found in (exact, rounded)]
    km = haversine_km(*places)
    return Int8Cost(len(pixels), float(np.mean(same)), float(np.median(km)), float(np.quantile(km, 0.9)))
