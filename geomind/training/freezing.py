"""Partial freezing: parts of an image encoder that stay as they start. What is frozen rests, as `Backbone` says."""

from __future__ import annotations

from geomind.backbones import Backbone
from geomind.errors import ConfigError


def freeze(backbone: Backbone, what: str) -> None:
    """Keep the parameters of an encoder's first parts, and the statistics of their batch normalisation, as they are.

    Args:
        backbone: The encoder, changed in place.
        what: As in the settings: `none`, `stem`, `blocks:N` (the stem and the first N blocks) or `backbone`.

    Raises:
        ConfigError: the encoder has fewer blocks.
    """
    if what == "none":
        return
    if what == "backbone":
        backbone.requires_grad_(False)
    else:
        blocks = 0 if what == "stem" else int(what.removeprefix("blocks:"))
        parts = backbone.parts
        if blocks >= len(parts):
            raise ConfigError(
                f"freeze={what}: this backbone has {len(parts) - 1} blocks. Freeze fewer, or all with freeze=backbone."
            )
        for part in parts[: blocks + 1]:
            for parameter in part:
                parameter.requires_grad_(False)
    backbone.train(backbone.training)  # what is frozen rests from now on
