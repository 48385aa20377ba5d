"""Image encoders of timm (extra `timm`), by `timm:NAME`; NAME may carry the tag of its weights, as timm's own do."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from geomind.backbones.encoders import Backbone, as_wrapped, positions_of
from geomind.errors import ConfigError, MissingExtraError
from geomind.photos import Preprocessing


class TimmBackbone(Backbone):
    """A network of timm without its classifier.

    GeoMind normalises every photo in one way. Where the published weights were trained with another mean and deviation,
    the encoder converts the pixels itself; the numbers lie in buffers, so that they are saved and exported with it.
    """

    input_scale: Tensor
    input_shift: Tensor

    def __init__(self, name: str, image_size: int) -> None:
        super().__init__()
        self._name, self._image_size = name, image_size
        try:
            self.network = self.create()
            self.published: dict[str, Any] = self.network.pretrained_cfg
            """What timm says of the published weights."""
            scale, shift = _conversion(self.published)
            self.register_buffer("input_scale", scale)
            self.register_buffer("input_shift", shift)
            self.features = self._look_once()
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{name} cannot be had for image_size={image_size} ({' '.join(str(error).split())[:200]}). "
                "Choose another image_size or backbone."
            ) from error
        self.imagenet_url = self._url()

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode photos: (N, 3, S, S) -> (N, features)."""
        pooled: Tensor = self.network(pixels * self.input_scale + self.input_shift)
        return pooled

    def tokens(self, pixels: Tensor) -> Tensor:
        """Give what timm calls forward_features: (N, 3, S, S) -> (N, positions, token_features).

        Raises:
            ConfigError: it is no map of one scale.
        """
        seen = self.network.forward_features(pixels * self.input_scale + self.input_shift)
        if isinstance(seen, Tensor) and seen.ndim == 3:
            return seen[:, getattr(self.network, "num_prefix_tokens", 0) or 0 :]  # those of class, and registers
        if isinstance(seen, Tensor) and seen.ndim == 4:
            nhwc = getattr(self.network, "output_fmt", None) == "NHWC"
            return seen.flatten(1, 2) if nhwc else positions_of(seen)
        raise ConfigError(f"{self._name} gives no map of one scale to pool by attention. Pool it by average.")

    @property
    def last_map(self) -> nn.Module:
        """What the last attention of a transformer looks at, or the last map that timm says there is.

        Raises:
            ConfigError: timm does not say where it is.
        """
        try:
            if hasattr(self.network, "num_prefix_tokens"):
                layer: nn.Module = self.network.blocks[-1].norm1
            else:
                layer = self.network.get_submodule(self.network.feature_info[-1]["module"])
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise ConfigError(f"timm does not say where {self._name} has its last map.") from error
        return layer

    def over_photo(self, said: Tensor) -> Tensor:
        """Lay over the photo what that says: (N, C, H, W).

        Raises:
            ConfigError: it says nothing of positions.
        """
        if not isinstance(said, Tensor) or said.ndim not in (3, 4):
            raise ConfigError(f"The last map of {self._name} is none over the photo.")
        if said.ndim == 4 and getattr(self.network, "output_fmt", None) == "NHWC":
            return said.permute(0, 3, 1, 2)
        return super().over_photo(said[:, self.network.num_prefix_tokens :] if said.ndim == 3 else said)

    @cached_property
    def token_features(self) -> int:  # type: ignore[override]  # found when asked for: not all of timm's have tokens
        """Numbers in a token.

        Raises:
            ConfigError: this network gives no tokens.
        """
        with torch.no_grad():
            return int(self._tokens_of_a_black_photo().shape[2])

    @property
    def after_pooling(self) -> list[nn.Parameter]:
        """Its parameters that learn and that pooled features alone meet, as some have a layer norm or a convolution.

        Raises:
            ConfigError: this network gives no tokens.
        """
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        with torch.enable_grad():
            total = self._tokens_of_a_black_photo().sum()
            gradients = torch.autograd.grad(total, learning, allow_unused=True) if learning else ()
        return [parameter for parameter, gradient in zip(learning, gradients, strict=True) if gradient is None]

    def create(self, **published: Any) -> Any:
        """Make timm's network for squares of this size, with random weights or as timm is told to.

        Raises:
            ConfigError: timm has no such network.
            MissingExtraError: timm is not installed.
        """
        try:
            import timm
        except ImportError as error:
            raise MissingExtraError(f'{self._name} needs an extra: pip install "geomind[timm]".') from error
        name = self._name.removeprefix("timm:")
        known = {*timm.list_models(), *timm.list_pretrained()}
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=3)
            raise ConfigError(
                f"timm has no network '{name}'. "
                + (f"Near are {', '.join(near)}." if near else "timm.list_models() names those it has.")
            )
        # Transformers are built for one size; networks of convolutions see any, and refuse to be told one.
        if getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False):
            published["img_size"] = self._image_size
        return timm.create_model(name, num_classes=0, **published)

    @property
    def parts(self) -> list[list[nn.Parameter]]:
        """The groups that timm makes of a network's layers, the first of which is the stem.

        Raises:
            ConfigError: timm makes none of this network.
        """
        from timm.models import group_parameters

        if not hasattr(self.network, "group_matcher"):
            raise ConfigError(f"timm does not say what the parts of {self._name} are. Freeze none or backbone.")
        groups = group_parameters(self.network, self.network.group_matcher(coarse=False))
        return [[self.network.get_parameter(name) for name in groups[number]] for number in sorted(groups)]

    def from_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Leave out the classifier, name the rest as here, and add the conversion of pixels."""
        classifiers = self.published.get("classifier") or ()
        classifiers = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
        return {"input_scale": self.input_scale, "input_shift": self.input_shift, **as_wrapped(state, classifiers)}

    @torch.no_grad()
    def _look_once(self) -> int:
        """Encode one black photo and count its features: not all of timm's networks tell either what fits or how many.

        Raises:
            ValueError: they are not pooled.
        """
        self.eval()
        pooled = self(torch.zeros(1, 3, self._image_size, self._image_size))
        self.train()
        if pooled.ndim != 2:
            raise ValueError("it does not pool its features")
        return int(pooled.shape[1])

    def _tokens_of_a_black_photo(self) -> Tensor:
        learning = self.training
        tokens = self.eval().tokens(self.input_scale.new_zeros(1, 3, self._image_size, self._image_size))
        self.train(learning)
        return tokens

    def _url(self) -> str | None:
        repository: str | None = self.published.get("hf_hub_id")
        if repository is None:
            url: str | None = self.published.get("url") or None
            return url
        from huggingface_hub.constants import ENDPOINT

        return f"{ENDPOINT}/{repository}"


def _conversion(published: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Find what turns pixels as GeoMind normalises them into those that published weights want: a scale and a shift.

    With m, s of GeoMind and M, S of the weights, (x - M) / S = (x - m) / s * (s / S) + (m - M) / S.
    """
    ours = Preprocessing()
    mean, std = (torch.tensor(numbers, dtype=torch.float64) for numbers in (ours.mean, ours.std))
    wanted_mean, wanted_std = (torch.tensor(published[key], dtype=torch.float64) for key in ("mean", "std"))
    scale, shift = std / wanted_std, (mean - wanted_mean) / wanted_std
    return scale.float().reshape(3, 1, 1), shift.float().reshape(3, 1, 1)
