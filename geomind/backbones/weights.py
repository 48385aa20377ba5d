"""The weights that an image encoder starts from: published ones, downloaded once, or a file."""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.request
from pathlib import Path

import torch
from torch import Tensor

from geomind.backbones.attention import AttentionPooled, without_attention
from geomind.backbones.encoders import Backbone
from geomind.backbones.timm_network import TimmBackbone
from geomind.checkpoints import load_pretrained
from geomind.errors import CheckpointError

_SECONDS_TO_CONNECT = 5.0


def load_backbone_weights(backbone: Backbone, name: str, weights: str) -> None:
    """Give an encoder the weights to start from.

    How theirs was pooled does not matter: one that pools by attention keeps its own where a file has none, and one that
    averages leaves a file's attention out.

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
        state = _download(backbone.inner if isinstance(backbone, AttentionPooled) else backbone, name)
    else:
        state = load_pretrained(weights)
    if not isinstance(backbone, AttentionPooled):
        state = without_attention(state)
    try:
        backbone.load_state_dict(backbone.from_published(state))
    except (RuntimeError, ValueError) as error:  # a ValueError is of position embeddings that are no square
        source = "the ImageNet weights" if weights == "imagenet" else weights
        raise CheckpointError(f"{source} do not fit the backbone {name}: they are another network's.") from error


def _download(backbone: Backbone, name: str) -> dict[str, Tensor]:
    """Fetch published weights, or find them where an earlier fetch left them.

    Raises:
        CheckpointError: there are none, or they cannot be had.
    """
    url = backbone.imagenet_url
    if url is None:
        raise CheckpointError(f"There are no ImageNet weights for {name}. Use --set backbone.weights=none or a file.")
    try:
        if isinstance(backbone, TimmBackbone):
            return _through_timm(backbone, url)
        if not _kept(url).is_file():
            _check_reachable(url)
        state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
    except Exception as error:  # of sockets, of HTTP, RuntimeError for a wrong hash; timm's hub has its own beside them
        raise CheckpointError(
            f"The ImageNet weights of {name} cannot be downloaded ({' '.join(str(error).split())[:200]}). Train "
            "without them: --set backbone.weights=none, or give a file: --set backbone.weights=PATH."
        ) from error
    return state


def _through_timm(backbone: TimmBackbone, url: str) -> dict[str, Tensor]:
    """Let timm fetch and convert its weights.

    Without a network its hub tries for 46 seconds to no avail, and for half as long where it has the file already; so
    that is looked for here, and the network tried.
    """
    from huggingface_hub import try_to_load_from_cache

    found = None
    if repository := backbone.published.get("hf_hub_id"):
        found = try_to_load_from_cache(repository, backbone.published.get("hf_hub_filename") or "model.safetensors")
    if not isinstance(found, str) and not _kept(url).is_file():
        _check_reachable(url)
    overlay = {"file": found} if isinstance(found, str) else None
    state: dict[str, Tensor] = backbone.create(pretrained=True, pretrained_cfg_overlay=overlay).state_dict()
    return state


def _kept(url: str) -> Path:
    """Say where torch keeps what it downloads."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name


def _check_reachable(url: str) -> None:
    """Make sure that a server answers; the libraries retry a dead network for a minute before they say so."""
    request = urllib.request.Request(url, method="HEAD")
    with contextlib.suppress(urllib.error.HTTPError):  # an answer, if not a kind one: the server is there
        urllib.request.urlopen(request, timeout=_SECONDS_TO_CONNECT).close()
