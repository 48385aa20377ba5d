"""What every image encoder is, and those of efficientnet-pytorch, of torchvision and of the demo."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from geomind.errors import ConfigError

EFFICIENTNETS = tuple(f"efficientnet_b{size}" for size in range(8))

TORCHVISION = {
    "torchvision:efficientnet_b0": ("classifier", 1280),
    "efficientnet_v2_s": ("classifier", 1280),
    "resnet50": ("fc", 2048),
    "convnext_tiny": ("classifier.2", 768),  # a normalisation stands before it, and stays
    "vit_b_16": ("heads", 768),
}
"""Encoders of torchvision: name -> its classifier, which is left out, and how many features went into it."""


class Backbone(nn.Module, abc.ABC):
    """An image encoder: pixels (N, 3, S, S) -> pooled features (N, features), or the tokens that are pooled.

    A token is what it says of one position of the photo, and they lie over it row by row. A transformer's class token
    has no position and is none of them: so every weight over tokens is one over the photo, and can be drawn on it.

    What is frozen in it rests: in training too, a module whose parameters all need no gradient uses the running
    statistics of its normalisation, leaves them as they are, and drops nothing.
    """

    features: int
    token_features: int
    """Numbers in a token."""
    imagenet_url: str | None = None
    """Where its published weights are; None if there are none."""

    @abc.abstractmethod
    def tokens(self, pixels: Tensor) -> Tensor:
        """Encode photos without pooling: (N, 3, S, S) -> (N, positions, token_features)."""

    @property
    @abc.abstractmethod
    def last_map(self) -> nn.Module:
        """The last layer that says something of each position and that the features are made from everywhere."""

    def over_photo(self, said: Tensor) -> Tensor:
        """Lay over the photo what ``last_map`` says: (N, C, H, W) as it is, (N, more + H * W, C) -> (N, C, H, W)."""
        if said.ndim == 4:
            return said
        side = math.isqrt(said.shape[1])  # a class token and registers, which have no position, come first
        return said[:, said.shape[1] - side * side :].transpose(1, 2).reshape(len(said), -1, side, side)

    @property
    @abc.abstractmethod
    def parts(self) -> list[list[nn.Parameter]]:
        """Its parameters in the order in which a photo meets them: of the stem, then of each block.

        What comes after the last block is in none.
        """

    @property
    def after_pooling(self) -> list[nn.Parameter]:
        """Its parameters that pooled features alone meet: tokens do not depend on them."""
        return []

    def from_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Turn a state dict as published into one of this module; one of this module is given back as it is."""
        return dict(state)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all that is not frozen."""
        super().train(mode)
        if mode:
            for module in self.modules():
                parameters = list(module.parameters())
                if parameters and not any(parameter.requires_grad for parameter in parameters):
                    module.eval()
        return self


class EfficientNetBackbone(Backbone):
    """An EfficientNet of efficientnet-pytorch without its classifier (Tan & Le 2019)."""

    def __init__(self, name: str, image_size: int) -> None:
        from efficientnet_pytorch import EfficientNet
        from efficientnet_pytorch.utils import url_map

        super().__init__()
        name = name.replace("_", "-")
        # The size fixes its "same" padding; without one it is computed at every call, and no ONNX file can be made.
        self.network = EfficientNet.from_name(name, include_top=False, image_size=image_size)
        self.features = self.token_features = int(self.network._conv_head.out_channels)
        self.imagenet_url = url_map[name]

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode photos: (N, 3, S, S) -> (N, features)."""
        pooled: Tensor = self.network(pixels).flatten(1)
        return pooled

    def tokens(self, pixels: Tensor) -> Tensor:
        """Give what the last convolution says of each position: (N, 3, S, S) -> (N, positions, features)."""
        return positions_of(self.network.extract_features(pixels))

    @property
    def last_map(self) -> nn.Module:
        """The activation after the last convolution."""
        activation: nn.Module = self.network._swish
        return activation

    @property
    def parts(self) -> list[list[nn.Parameter]]:
        """The first convolution, then each MBConv block."""
        stem = parameters_of(self.network._conv_stem, self.network._bn0)
        return [stem, *map(parameters_of, self.network._blocks)]

    def from_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Leave out the classifier, and name the rest as here."""
        return as_wrapped(state, classifiers=("_fc",))


class TorchvisionBackbone(Backbone):
    """A network of torchvision without its classifier."""

    def __init__(self, name: str, image_size: int) -> None:
        from torchvision.models import get_model, get_model_weights

        super().__init__()
        sized = {}
        if name == "vit_b_16":
            if image_size % 16:
                below = image_size - image_size % 16
                raise ConfigError(
                    f"{name} cuts a photo into squares of 16 pixels, and {image_size} is no multiple of it. "
                    f"Take --set image_size={max(below, 32)} or {below + 16}."
                )
            sized = {"image_size": image_size}
        architecture = name.removeprefix("torchvision:")
        self.network = get_model(architecture, weights=None, **sized)
        self._classifier, self.features = TORCHVISION[name]
        self.token_features = self.features
        self.network.set_submodule(self._classifier, nn.Identity())
        self.imagenet_url = get_model_weights(architecture).DEFAULT.url

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode photos: (N, 3, S, S) -> (N, features)."""
        pooled: Tensor = self.network(pixels)
        return pooled

    def tokens(self, pixels: Tensor) -> Tensor:
        """Give what the last layer says of each position: (N, 3, S, S) -> (N, positions, features).

        What a ConvNeXt normalises after pooling is normalised here at each position, as those of a transformer are.
        """
        from torchvision.models import ConvNeXt, ResNet, VisionTransformer

        network = self.network
        if isinstance(network, VisionTransformer):
            patches = network._process_input(pixels)
            class_token = network.class_token.expand(patches.shape[0], -1, -1)
            encoded: Tensor = network.encoder(torch.cat([class_token, patches], dim=1))
            return encoded[:, 1:]
        if isinstance(network, ResNet):
            seen = network.maxpool(network.relu(network.bn1(network.conv1(pixels))))
            return positions_of(network.layer4(network.layer3(network.layer2(network.layer1(seen)))))
        seen = network.features(pixels)
        return positions_of(network.classifier[0](seen) if isinstance(network, ConvNeXt) else seen)

    @property
    def last_map(self) -> nn.Module:
        """The last map before pooling, or what the last attention of a transformer looks at.

        After that, its class token depends on no other.
        """
        from torchvision.models import ResNet, VisionTransformer

        network = self.network
        layer: nn.Module
        if isinstance(network, VisionTransformer):
            layer = network.encoder.layers[-1].ln_1
        else:
            layer = network.layer4 if isinstance(network, ResNet) else network.features
        return layer

    @property
    def parts(self) -> list[list[nn.Parameter]]:
        """The stem, then each residual block, each transformer layer; what shrinks the map goes with what follows."""
        from torchvision.models import ConvNeXt, ResNet, VisionTransformer

        network = self.network
        if isinstance(network, VisionTransformer):
            stem = [*network.conv_proj.parameters(), network.class_token, network.encoder.pos_embedding]
            return [stem, *map(parameters_of, network.encoder.layers)]
        if isinstance(network, ResNet):
            stages = (network.layer1, network.layer2, network.layer3, network.layer4)
            return [
                parameters_of(network.conv1, network.bn1),
                *(parameters_of(block) for stage in stages for block in stage),
            ]
        if isinstance(network, ConvNeXt):
            stem, *shrinking = map(parameters_of, network.features[::2])
            blocks = [list(map(parameters_of, stage)) for stage in network.features[1::2]]
            for shrink, stage in zip(shrinking, blocks[1:], strict=True):
                stage[0] = shrink + stage[0]
            return [stem, *(block for stage in blocks for block in stage)]
        first, *stages, _ = network.features  # an EfficientNet; the last is the convolution before pooling
        return [parameters_of(first), *(parameters_of(block) for stage in stages for block in stage)]

    def from_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Leave out the classifier, name the rest as here, and fit the position embeddings to the image size."""
        from torchvision.models import VisionTransformer
        from torchvision.models.vision_transformer import interpolate_embeddings

        ours = as_wrapped(state, classifiers=(self._classifier,))
        key, name = "encoder.pos_embedding", "network.encoder.pos_embedding"
        if isinstance(self.network, VisionTransformer) and name in ours:
            resized = interpolate_embeddings(self.network.image_size, self.network.patch_size, {key: ours[name]})
            ours[name] = resized[key]
        return ours


class SceneNet(Backbone):
    """The demo's encoder: six plain convolutions, small enough to train in a minute or two on two cores."""

    features = 384
    token_features = 192

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(3, 24, kernel=5, stride=2),
            *_convolution(24, 48, stride=2),
            *_convolution(48, 48),
            *_convolution(48, 96, stride=2),
            *_convolution(96, 96),
            *_convolution(96, self.token_features, stride=2),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode photos: (N, 3, S, S) -> (N, 384), the mean and the maximum of each channel: a sign is small."""
        features = self.layers(pixels)
        return torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)

    def tokens(self, pixels: Tensor) -> Tensor:
        """Give what the last convolution says of each position: (N, 3, S, S) -> (N, positions, 192)."""
        return positions_of(self.layers(pixels))

    @property
    def last_map(self) -> nn.Module:
        """All its convolutions."""
        return self.layers

    @property
    def parts(self) -> list[list[nn.Parameter]]:
        """The first convolution, then each other."""
        return [parameters_of(*self.layers[start : start + 3]) for start in range(0, len(self.layers), 3)]


def _convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def positions_of(maps: Tensor) -> Tensor:
    """Take maps of channels as tokens, row by row: (N, C, H, W) -> (N, H * W, C)."""
    return maps.flatten(2).transpose(1, 2)


def parameters_of(*modules: nn.Module) -> list[nn.Parameter]:
    """List the parameters of some modules."""
    return [parameter for module in modules for parameter in module.parameters()]


def as_wrapped(state: Mapping[str, Tensor], classifiers: tuple[str, ...]) -> dict[str, Tensor]:
    """Name the tensors of a published network as those of an encoder that holds it, its classifier left out."""
    if any(key.startswith("network.") for key in state):  # of an encoder already
        return dict(state)
    dropped = tuple(f"{classifier}." for classifier in classifiers)
    return {f"network.{key}": tensor for key, tensor in state.items() if not key.startswith(dropped)}
