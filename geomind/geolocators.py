"""Whoever answers, by the folder of its models: the cascade, the hierarchical network, or a one-network regression."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geomind.baselines import Regression
from geomind.cascade import Cascade, expert_paths
from geomind.checkpoints import Description, director_path, expert_path, read_checksum, read_description
from geomind.devices import Device, pick_device_name
from geomind.errors import ConfigError
from geomind.hierarchical import Hierarchical
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


def load_geolocator(models: Path | str, how: Answering | None = None) -> Cascade | Hierarchical | Regression:
    """Load what a folder of models holds: a Director with Experts beside it, or the weights of one network.

    Raises:
        CheckpointError: there are no models, or they are broken or do not fit each other.
        ConfigError: a GPU is asked for and there is none, the runtime cannot do this, or one network is asked for what
            only a cascade does.
        MissingExtraError: the runtime is not installed.
    """
    how = how or Answering()
    single = _one_network(models)
    if single is None:
        return Cascade.load(models, **vars(how))
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


def checksums(models: Path | str) -> str:
    """Tell the weights of a folder of models from any others.

    Raises:
        CheckpointError: there are no models, or they are broken.
    """
    if (single := _one_network(models)) is not None:
        return read_checksum(single)
    director = director_path(models)
    experts = [expert_path(models, region) for region in read_description(director).regions.regions]
    return " ".join(read_checksum(path) if path.is_file() else "-" for path in (director, *experts))


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
