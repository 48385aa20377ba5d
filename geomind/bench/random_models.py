"""Models of random weights for a bench: a Director and 13 Experts that answer as trained ones would, though wrongly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from geomind.checkpoints import Description, director_path, expert_path, save_checkpoint, state_checksum
from geomind.geography.regions import default_regions
from geomind.networks import DirectorNetwork, ExpertNetwork
from geomind.photos import Preprocessing
from geomind.progress import SILENT, Progress

BOX = (-60.0, 75.0, -180.0, 180.0)
"""The box of every Expert: lat_min, lat_max, lon_min, lon_max, degrees."""

_CERTAINTY = 10.0
"""How far the logit of a photo's region is above the others: its probability is 0.999."""

Features = NDArray[np.float32]


def make_models(
    own: Path, shared: Path, backbone: str, pixels: NDArray[np.float32], *, progress: Progress = SILENT
) -> None:
    """Write a Director with the Experts of all regions, and the same Director with Experts on its trunk.

    The Director sends photo n to region n % 13, so that all Experts are asked; an Expert's answers are spread over its
    box.

    Args:
        own: The folder of models whose Experts have encoders of their own.
        shared: The folder of those on the Director's trunk.
        backbone: The image encoder.
        pixels: (N, 3, S, S), a dozen photos or more, as the networks will see them.
        progress: Shows networks made.

    Raises:
        ConfigError: no image encoder has this name, or it cannot see this size.
        OutputError: a file cannot be written.
    """
    regions, size = default_regions(), pixels.shape[-1]

    def describe(**more: Any) -> Description:
        preprocessing = Preprocessing(image_size=size)
        return Description(
            region_table=regions.to_dict(), preprocessing=preprocessing, backbone=backbone, config={}, **more
        )

    with torch.random.fork_rng(devices=[]), progress.track("Making models", 1 + len(regions)) as advance:
        torch.manual_seed(0)
        director = DirectorNetwork(backbone, size, len(regions))
        features = _settle(director.backbone, pixels)
        wanted = np.eye(len(regions))[np.arange(len(features)) % len(regions)]
        _solve(director.head[-1], features, _CERTAINTY * wanted)
        trunk = state_checksum(director.backbone.state_dict())
        medians = {region.id: (0.0, 0.0) for region in regions.regions}
        about = describe(kind="director", region_medians=medians, trunk=trunk)
        for models in (own, shared):
            save_checkpoint(director_path(models), director.state_dict(), about)
        advance(1)
        for region in regions.regions:
            expert = ExpertNetwork(backbone, size)
            _spread(expert.head[1], _settle(expert.backbone, pixels))
            about = describe(kind="expert", region_id=region.id, box=BOX)
            save_checkpoint(expert_path(own, region), expert.state_dict(), about)
            _spread(expert.head[1], features)
            head = {f"head.{name}": tensor for name, tensor in expert.head.state_dict().items()}
            save_checkpoint(expert_path(shared, region), head, about.model_copy(update={"trunk": trunk}))
            advance(1)


def _settle(encoder: nn.Module, pixels: NDArray[np.float32]) -> Features:
    """Let an encoder's normalisation know such photos, and give what it then makes of them: (N, features).

    One that knows none emits denormal numbers, which a CPU takes ten times as long for.
    """
    photos = torch.from_numpy(pixels)
    torch.optim.swa_utils.update_bn([photos], encoder)
    with torch.inference_mode():
        features: Features = encoder.eval()(photos).numpy()
    return features


def _solve(linear: nn.Module, features: Features, wanted: NDArray[np.float64]) -> None:
    """Set a linear layer to answer what is wanted of these photos, (N, outputs), by the least weights that do."""
    middle, answer = features.mean(axis=0, dtype=np.float64), wanted.mean(axis=0)
    weights = np.linalg.lstsq(features - middle, wanted - answer, rcond=None)[0].T
    _set(linear, weights, answer - weights @ middle)


def _spread(linear: nn.Module, features: Features) -> None:
    """Scale a linear layer of random weights to logits of mean 0 and deviation 1 over these photos."""
    drawn: NDArray[np.float64] = linear.weight.detach().double().numpy()  # type: ignore[operator]
    logits = features @ drawn.T
    weights = drawn / logits.std(axis=0).clip(min=1e-6)[:, None]
    _set(linear, weights, -weights @ features.mean(axis=0, dtype=np.float64))


def _set(linear: nn.Module, weights: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
    linear.load_state_dict({"weight": torch.from_numpy(weights), "bias": torch.from_numpy(bias)})
