"""Image encoders: pixels (N, 3, S, S) -> pooled features (N, features). They know no regions and no places."""

from __future__ import annotations

import contextlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path

import torch
from torch import Tensor, nn

from geomind.checkpoints import load_pretrained
from geomind.errors import CheckpointError, ConfigError

EFFICIENTNETS = tuple(f"efficientnet_b{size}" for size in range(8))
BACKBONES = (*EFFICIENTNETS, "scene_net")

_SECONDS_TO_CONNECT = 5.0


class EfficientNetBackbone(nn.Module):
    """An EfficientNet of efficientnet-pytorch without its classifier (Tan & Le 2019)."""

    def __init__(self, name: str, image_size: int) -> None:
        from efficientnet_pytorch import EfficientNet

        super().__init__()
        # The size fixes its "same" padding; without one it is computed at every call, and no ONNX file can be made.
        self.network = EfficientNet.from_name(name.replace("_", "-"), include_top=False, image_size=image_size)
        self.features = int(self.network._conv_head.out_channels)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode photos: (N, 3, S, S) -> (N, features)."""
        pooled: Tensor = self.network(pixels).flatten(1)
        return pooled


class SceneNet(nn.Module):
    """The demo's encoder: six plain convolutions, small enough to train in a minute or two on two cores."""

    features = 384

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(3, 24, kernel=5, stride=2),
            *_convolution(24, 48, stride=2),
            *_convolution(48, 48),
            *_convolution(48, 96, stride=2),
            *_convolution(96, 96),
            *_convolution(96, self.features // 2, stride=2),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode photos: (N, 3, S, S) -> (N, 384), the mean and the maximum of each channel: a sign is small."""
        features = self.layers(pixels)
        return torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)


def _convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


Backbone = EfficientNetBackbone | SceneNet


def build_backbone(name: str, image_size: int) -> Backbone:
    """Build an encoder with random weights.

    Raises:
        ConfigError: no encoder has this name.
    """
    if name == "scene_net":
        return SceneNet()
    if name in EFFICIENTNETS:
        return EfficientNetBackbone(name, image_size)
    raise ConfigError(f"Unknown backbone '{name}'. There are {', '.join(BACKBONES)}.")


def load_backbone_weights(backbone: Backbone, name: str, weights: str) -> None:
    """Give an encoder the weights to start from.

    Args:
        backbone: The encoder, changed in place.
        name: Its name.
        weights: `none` leaves it as it is, `imagenet` downloads the published weights once, anything else is a file.

    Raises:
        CheckpointError: the weights cannot be had, or are another network's.
    """
    if weights == "none":
        return
    if weights == "imagenet":
        if not isinstance(backbone, EfficientNetBackbone):
            raise CheckpointError(
                f"There are no ImageNet weights for {name}. Use --set backbone.weights=none or a file."
            )
        state = _download_imagenet(name)
    else:
        state = load_pretrained(weights)
    target: nn.Module = backbone
    if isinstance(backbone, EfficientNetBackbone) and not any(key.startswith("network.") for key in state):
        target = backbone.network  # as published: named without our wrapper, and with a classifier for 1,000 classes
        state = {key: tensor for key, tensor in state.items() if not key.startswith("_fc.")}
    try:
        target.load_state_dict(state)
    except RuntimeError as error:
        source = "the ImageNet weights" if weights == "imagenet" else weights
        raise CheckpointError(f"{source} do not fit the backbone {name}: they are another network's.") from error


def _download_imagenet(name: str) -> dict[str, Tensor]:
    """Fetch published weights through torch's cache; without a network, say so at once and not after its retries."""
    from efficientnet_pytorch.utils import url_map

    url = url_map[name.replace("_", "-")]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    try:
        if not cached.is_file():
            _check_reachable(url)
        state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
    except (OSError, http.client.HTTPException, RuntimeError) as error:  # a hash that does not match is a RuntimeError
        raise CheckpointError(
            f"The ImageNet weights of {name} cannot be downloaded ({error}). Train without them: "
            "--set backbone.weights=none, or give a file: --set backbone.weights=PATH."
        ) from error
    return state


def _check_reachable(url: str) -> None:
    request = urllib.request.Request(url, method="HEAD")
    with contextlib.suppress(urllib.error.HTTPError):  # an answer, if not a kind one: the server is there
        urllib.request.urlopen(request, timeout=_SECONDS_TO_CONNECT).close()
