"""Pooling by attention: features come from where in the photo a learned query finds them, not from all over it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geomind.backbones.encoders import Backbone

_HEADS = 8
_INNER = "inner."


class AttentionPooled(Backbone):
    """An image encoder whose tokens are pooled by multi-head attention with one learned query.

    That is the pooling with one seed of Lee et al. 2019 ("Set Transformer", section 3.2, PMA), as CLIP has it over the
    positions of a photo (Radford et al. 2021, section 2.4). Three things make it begin well, and cheap:

    - What attention finds is added to the mean of the tokens, and begins at zero, as the last layer of a residual
      branch should (Zhang et al. 2019, "Fixup Initialization"). So a network starts as one that averages, published
      weights are worth as much to it, and attention comes in where it helps.
    - A query that depends on no photo needs no projection, and takes that of the keys in: q (W x) = (q W) x. So what is
      learned is a vector of weights over the token, one a head.
    - Weights over positions add up to one, so that values may be projected after they are pooled: once a photo, not
      once a position. The linear layer after every encoder mixes the heads.

    That is features * (features + heads + 2) parameters, a quarter of those with all four projections, and 2 * heads *
    features products a position.
    """

    def __init__(self, inner: Backbone) -> None:
        super().__init__()
        self.inner = inner
        self.features = self.token_features = features = inner.token_features
        self.imagenet_url = inner.imagenet_url
        heads = math.gcd(_HEADS, features)
        for parameter in inner.after_pooling:  # gets no gradient, for which several processes would wait
            parameter.requires_grad_(False)
        self.norm = nn.LayerNorm(features)
        # Over normalised tokens these give logits of deviation 1: each head looks at something of its own at once.
        self.query = nn.Parameter(torch.randn(heads, features))
        self.value = nn.Parameter(torch.zeros(heads, features, features // heads))

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode photos: (N, 3, S, S) -> (N, features)."""
        return self.pool(self.inner.tokens(pixels))

    def tokens(self, pixels: Tensor) -> Tensor:
        """Give the inner encoder's tokens: (N, 3, S, S) -> (N, positions, features)."""
        return self.inner.tokens(pixels)

    def pool(self, tokens: Tensor) -> Tensor:
        """Pool tokens, whose order is of no account: (N, positions, features) -> (N, features)."""
        seen = self.norm(tokens)
        photos = seen.shape[0]  # len() would be a constant in an ONNX file
        queries = self.query.to(seen.dtype).expand(photos, 1, -1, -1)
        found = F.scaled_dot_product_attention(queries, seen[:, None], seen[:, None])  # (N, 1, heads, features)
        drawn = torch.matmul(found[:, 0].transpose(0, 1), self.value)  # (heads, N, features / heads)
        pooled: Tensor = tokens.mean(dim=1) + drawn.transpose(0, 1).flatten(1)
        return pooled

    @property
    def last_map(self) -> nn.Module:
        """That of the inner encoder."""
        return self.inner.last_map

    def over_photo(self, said: Tensor) -> Tensor:
        """Lay over the photo what that says, as the inner encoder does."""
        return self.inner.over_photo(said)

    @property
    def parts(self) -> list[list[nn.Parameter]]:
        """Those of the inner encoder: attention comes after its last block."""
        return self.inner.parts

    def from_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the inner encoder what is published, or was saved of one that averages; attention stays as it is.

        A state dict of this module is given back with all that it has, and nothing is added to it.
        """
        attention = state if _pools_by_attention(state) else self.state_dict()
        own = {name: tensor for name, tensor in attention.items() if not name.startswith(_INNER)}
        inner = self.inner.from_published(without_attention(state))
        return {**own, **{f"{_INNER}{name}": tensor for name, tensor in inner.items()}}


def without_attention(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the inner encoder's weights of a state dict; one of an encoder that averages is given back as it is."""
    if not _pools_by_attention(state):
        return dict(state)
    return {name.removeprefix(_INNER): tensor for name, tensor in state.items() if name.startswith(_INNER)}


def _pools_by_attention(state: Mapping[str, Tensor]) -> bool:
    return any(name.startswith(_INNER) for name in state)
