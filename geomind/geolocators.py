"""Whoever answers, by the folder of its models: the cascade, the hierarchical network, or a one-network regression."""

from __future__ import annotations

from pathlib import Path

from geomind.baselines import Regression
from geomind.cascade import Cascade, expert_paths
from geomind.checkpoints import Description, director_path, expert_path, read_checksum, read_description
from geomind.devices import Device, pick_device_name
from geomind.errors import ConfigError
from geomind.hierarchical import Hierarchical
from geomind.runtimes import Precision, Runtime

HIERARCHICAL, REGRESSION = "hierarchical.safetensors", "regression.safetensors"
"""The files that make a folder of models one network's."""


def load_geolocator(
    models: Path | str,
    *,
    runtime: Runtime = "auto",
    precision: Precision = "fp32",
    device: Device = "cpu",
    threads: int | None = None,
    max_memory_mb: int | None = None,
    top_k: int = 1,
    candidates: int = 0,
    gallery: bool = False,
    views: int = 1,
) -> Cascade | Hierarchical | Regression:
    """Load what a folder of models holds.

    Args:
        models: The folder: with a Director, and Experts beside it; or with the weights of a hierarchical network.
        runtime: Who runs the networks; `auto` takes the quickest that is installed.
        precision: What they count in.
        device: `cpu`, `cuda`, or `auto` for a GPU where there is one.
        threads: Cores that they use; None for all.
        max_memory_mb: What the networks of a cascade may take together.
        top_k: How many regions' Experts a cascade asks about a photo.
        candidates: How many places each answer names.
        gallery: Refine a cascade's answers by the training photos that look most like a photo.
        views: Squares of each photo that are looked at; 1 is the central one.

    Raises:
        CheckpointError: there are no models, or they are broken or do not fit each other.
        ConfigError: a GPU is asked for and there is none, the runtime cannot do this, or one network is asked to route.
        MissingExtraError: the runtime is not installed.
    """
    single = _one_network(models)
    if single is None:
        return Cascade.load(
            models, runtime=runtime, precision=precision, device=device, threads=threads, max_memory_mb=max_memory_mb,
            top_k=top_k, candidates=candidates, gallery=gallery, views=views,
        )  # fmt: skip
    if top_k > 1:
        raise ConfigError(f"{models} holds one network, which routes to no Experts: leave out --routing and --top-k.")
    if gallery:
        raise ConfigError(f"{models} holds one network, and galleries are of a cascade's Experts: leave out --gallery.")
    where = pick_device_name(device)
    if single.name == HIERARCHICAL:
        return Hierarchical.load(
            single, where, runtime=runtime, precision=precision, threads=threads, candidates=candidates, views=views
        )
    if candidates or views > 1:
        raise ConfigError(
            f"{models} holds a regression, which knows one place for each photo: leave out --candidates and --views."
        )
    return Regression.load(single, runtime=runtime, precision=precision, device=where, threads=threads)


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
