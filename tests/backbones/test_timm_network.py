from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from geomind.backbones import build_backbone, load_backbone_weights
from geomind.backbones.timm_network import _conversion
from geomind.errors import CheckpointError, ConfigError, MissingExtraError
from geomind.photos import Preprocessing


def test_an_unknown_network_is_refused_with_near_ones() -> None:
    with pytest.raises(ConfigError, match=r"no network 'resnet5O'\. Near are .*resnet50"):
        build_backbone("timm:resnet5O", 32)
    with pytest.raises(ConfigError, match=r"timm\.list_models\(\)"):
        build_backbone("timm:hf-hub:somebody/something", 32)  # would be a download


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=re.escape('pip install "geomind[timm]"')):
        build_backbone("timm:test_resnet", 32)


def test_a_size_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^timm:test_vit cannot be had for image_size=40 \(.*\)\. Choose") as caught:
        build_backbone("timm:test_vit", 40)
    assert "\n" not in str(caught.value)


def test_a_network_without_parts_says_so() -> None:
    backbone = build_backbone("timm:test_resnet", 32)
    backbone.network = torch.nn.Identity()
    with pytest.raises(ConfigError, match="Freeze none or backbone"):
        _ = backbone.parts


numbers = st.tuples(*[st.floats(0.1, 0.9)] * 3)


@given(mean=numbers, std=numbers, photo=numbers)
def test_pixels_are_converted_to_what_the_weights_were_trained_with(
    mean: tuple[float, ...], std: tuple[float, ...], photo: tuple[float, ...]
) -> None:
    ours = Preprocessing()
    normalised = (torch.tensor(photo) - torch.tensor(ours.mean)) / torch.tensor(ours.std)
    scale, shift = _conversion({"mean": mean, "std": std})
    wanted = (torch.tensor(photo) - torch.tensor(mean)) / torch.tensor(std)
    torch.testing.assert_close(normalised * scale.flatten() + shift.flatten(), wanted, rtol=1e-4, atol=1e-4)


def test_the_encoder_answers_as_timm_does_on_its_own_pixels() -> None:
    """`test_vit` is published with a mean and deviation of 0.5."""
    torch.manual_seed(0)
    backbone = build_backbone("timm:test_vit", 64).eval()
    photo, ours = torch.rand(2, 3, 64, 64), Preprocessing()
    mean, std = (torch.tensor(part).reshape(3, 1, 1) for part in (ours.mean, ours.std))
    with torch.no_grad():
        torch.testing.assert_close(backbone((photo - mean) / std), backbone.network((photo - 0.5) / 0.5))  # type: ignore[operator]


def test_imagenet_normalisation_is_left_as_it_is() -> None:
    backbone = build_backbone("timm:test_efficientnet", 32)
    assert backbone.input_scale.eq(1).all()  # type: ignore[union-attr, operator]
    assert backbone.input_shift.eq(0).all()  # type: ignore[union-attr, operator]


def test_published_weights_from_a_file(tmp_path: Path) -> None:
    published = timm.create_model("test_resnet")  # with its classifier
    file = tmp_path / "published.safetensors"
    save_file(published.state_dict(), file)
    backbone = build_backbone("timm:test_resnet", 32)
    load_backbone_weights(backbone, "timm:test_resnet", str(file))
    assert torch.equal(backbone.network.conv1[0].weight, published.conv1[0].weight)  # type: ignore[union-attr, operator, index]
    with pytest.raises(CheckpointError, match="do not fit the backbone timm:test_vit"):
        load_backbone_weights(build_backbone("timm:test_vit", 32), "timm:test_vit", str(file))


def test_weights_in_the_hubs_cache_need_no_network_and_fit_another_size(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, loopback_only: None
) -> None:
    published = timm.create_model("test_vit")  # for 160 pixels, 10 x 10 positions
    snapshot = tmp_path / "models--timm--test_vit.r160_in1k" / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    save_file(published.state_dict(), snapshot / "model.safetensors")
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("0123abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    backbone = build_backbone("timm:test_vit", 64)
    load_backbone_weights(backbone, "timm:test_vit", "imagenet")
    assert torch.equal(backbone.network.patch_embed.proj.weight, published.patch_embed.proj.weight)  # type: ignore[union-attr, operator]
    assert backbone.network.pos_embed.shape[1] == 1 + 4 * 4  # type: ignore[union-attr, operator, index]


def test_no_network_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """timm's hub retried a dead network for 46 seconds."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    backbone = build_backbone("timm:test_resnet", 32)
    started = time.monotonic()
    with pytest.raises(CheckpointError, match=r"Network is unreachable.*backbone\.weights=none") as caught:
        load_backbone_weights(backbone, "timm:test_resnet", "imagenet")
    assert time.monotonic() - started < 5
    assert "\n" not in str(caught.value)


def test_a_network_whose_weights_nobody_published() -> None:
    name = next(
        name for name in timm.list_models("test_*") + timm.list_models("resnet*") if not timm.is_model_pretrained(name)
    )
    with pytest.raises(CheckpointError, match=f"no ImageNet weights for timm:{name}"):
        load_backbone_weights(build_backbone(f"timm:{name}", 64), f"timm:{name}", "imagenet")
