from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from conftest import describe
from efficientnet_pytorch import EfficientNet
from efficientnet_pytorch.utils import url_map
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import get_model

from geomind.backbones import AttentionPooled, Backbone, build_backbone, load_backbone_weights
from geomind.checkpoints import director_path, load_pretrained, save_checkpoint
from geomind.errors import CheckpointError, ConfigError
from geomind.geography.regions import RegionTable
from geomind.networks import EncoderWithHead, WithFeatures
from geomind.photos import Preprocessing
from geomind.runtimes import open_onnx_file
from geomind.runtimes.onnx_files import find_or_make

SIZE = 64
OWN = {"query", "value", "norm.weight", "norm.bias"}


def pooled_by_attention(name: str, size: int = SIZE) -> AttentionPooled:
    backbone = build_backbone(name, size, "attention")
    assert isinstance(backbone, AttentionPooled)
    return backbone


def awake(name: str, size: int = SIZE) -> AttentionPooled:
    """Make one whose attention has learned something, and whose batch normalisation knows what it sees."""
    torch.manual_seed(0)
    backbone = pooled_by_attention(name, size)
    nn.init.normal_(backbone.value, std=0.05)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        backbone.train()(torch.randn(4, 3, size, size))
    return backbone.eval()


@pytest.mark.parametrize("name", ["scene_net", "efficientnet_b0", "timm:test_vit"])
def test_it_starts_as_the_mean_of_the_tokens(name: str) -> None:
    backbone, pixels = awake(name), torch.randn(3, 3, SIZE, SIZE)
    with torch.no_grad():
        tokens = backbone.tokens(pixels)
        assert tokens.shape == (3, 16 if name != "efficientnet_b0" else 4, backbone.features)
        mean = tokens.mean(dim=1)
        assert backbone(pixels).shape == mean.shape
        assert not torch.allclose(backbone(pixels), mean, atol=1e-3)
        nn.init.zeros_(backbone.value)  # as it is built
        torch.testing.assert_close(backbone(pixels), mean)
    assert not pooled_by_attention(name).value.any()


def test_it_has_as_many_parameters_as_it_says() -> None:
    backbone = pooled_by_attention("scene_net")
    own = [parameter for name, parameter in backbone.named_parameters() if name in OWN]
    assert sum(parameter.numel() for parameter in own) == 192 * (192 + 8 + 2)
    assert list(map(len, backbone.parts)) == list(map(len, backbone.inner.parts))
    assert backbone.parts[0][0] is backbone.inner.parts[0][0]


def test_the_query_learns_from_the_second_step_on() -> None:
    """At the first, the values that it would choose among are all zero."""
    torch.manual_seed(0)
    backbone = pooled_by_attention("scene_net").train()
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=1e-3)
    pixels, wanted = torch.randn(4, 3, SIZE, SIZE), torch.randn(4, backbone.features)
    reached, losses = [], []
    for _ in range(10):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(backbone(pixels), wanted)
        loss.backward()  # type: ignore[no-untyped-call]
        assert backbone.query.grad is not None
        assert backbone.value.grad is not None
        assert backbone.value.grad.any()
        reached.append(bool(backbone.query.grad.any()))
        losses.append(loss.item())
        optimizer.step()
    assert reached == [False] + [True] * 9
    assert losses[-1] < losses[0]


def test_it_finds_one_position_among_many() -> None:
    """What averages cannot: the sign of the one token that is marked, among fifteen others that shout louder."""
    torch.manual_seed(0)
    backbone = pooled_by_attention("scene_net")
    head = nn.Linear(192, 1)
    optimizer = torch.optim.AdamW([*backbone.parameters(), *head.parameters()], lr=1e-3)

    def draw(photos: int) -> tuple[Tensor, Tensor]:
        tokens, marked = torch.randn(photos, 16, 192), torch.randint(16, (photos,))
        tokens[torch.arange(photos), marked, 1] += 15
        return tokens, (tokens[torch.arange(photos), marked, 0] > 0).float()

    for _ in range(400):
        tokens, positive = draw(64)
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(head(backbone.pool(tokens))[:, 0], positive)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    tokens, positive = draw(2000)
    with torch.no_grad():
        right = (head(backbone.pool(tokens))[:, 0] > 0).float().eq(positive).float().mean()
    # The mean of 16 such numbers has the sign of one of them in 1/2 + arcsin(1/4)/π = 58% of draws.
    assert right > 0.8


shapes = st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(0, 2**31))


@given(shape=shapes)
def test_the_order_and_the_number_of_tokens_are_of_no_account(shape: tuple[int, int, int]) -> None:
    photos, positions, seed = shape
    torch.manual_seed(seed)
    backbone = _SIGHTED
    tokens = torch.randn(photos, positions, 192)
    with torch.no_grad():
        pooled = backbone.pool(tokens)
        torch.testing.assert_close(backbone.pool(tokens[:, torch.randperm(positions)]), pooled, rtol=0, atol=1e-5)
        torch.testing.assert_close(backbone.pool(tokens.repeat(1, 2, 1)), pooled, rtol=0, atol=1e-5)
        for number in range(photos):  # nor is what else is in the batch
            torch.testing.assert_close(backbone.pool(tokens[[number]]), pooled[[number]], rtol=0, atol=1e-5)


@given(shape=shapes)
def test_it_is_attention_with_projected_values(shape: tuple[int, int, int]) -> None:
    """As it is written in papers: keys, values of every position, softmax, one head after the other."""
    photos, positions, seed = shape
    torch.manual_seed(seed)
    tokens = torch.randn(photos, positions, 192)
    heads = []
    with torch.no_grad():
        seen = _SIGHTED.norm(tokens)
        for query, value in zip(_SIGHTED.query, _SIGHTED.value, strict=True):
            weights = (seen @ query / 192**0.5).softmax(dim=1)
            heads.append((weights[..., None] * (seen @ value)).sum(dim=1))
        expected = tokens.mean(dim=1) + torch.cat(heads, dim=1)
        torch.testing.assert_close(_SIGHTED.pool(tokens), expected, rtol=0, atol=1e-5)


def _sighted() -> AttentionPooled:
    torch.manual_seed(0)
    backbone = pooled_by_attention("scene_net")
    for parameter in (backbone.value, backbone.norm.weight, backbone.norm.bias):
        nn.init.normal_(parameter, std=0.3)
    return backbone


_SIGHTED = _sighted()


class _Director(EncoderWithHead):
    """A Director whose encoder pools by attention."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(nn.Dropout(0), nn.Linear(backbone.features, 2))


@pytest.mark.parametrize("name", ["scene_net", "efficientnet_b0", "vit_b_16", "timm:test_mambaout"])
def test_it_learns_comes_back_from_its_file_and_exports(
    name: str, tmp_path: Path, two_regions: RegionTable, short_transformer: None
) -> None:
    network, pixels = _Director(awake(name)), torch.randn(5, 3, SIZE, SIZE)
    loss = nn.functional.cross_entropy(network.train()(pixels), torch.tensor([0, 1, 1, 0, 1]))
    loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters() if parameter.requires_grad)
    torch.optim.AdamW(network.parameters(), lr=1e-4).step()
    with torch.no_grad():
        network(pixels)
        expected = network.eval()(pixels)

    weights = tmp_path / "director.safetensors"
    own = {"backbone": name, "preprocessing": Preprocessing(image_size=SIZE)}
    save_checkpoint(weights, network.state_dict(), describe("director", two_regions).model_copy(update=own))
    torch.manual_seed(1)
    again = pooled_by_attention(name)
    load_backbone_weights(again, name, str(weights))
    assert again.state_dict().keys() == network.backbone.state_dict().keys()
    for key, tensor in network.backbone.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor), key
    network.backbone = again

    run = open_onnx_file(find_or_make(weights, lambda: WithFeatures(network)), runtime="onnx")
    for photos in (pixels, pixels[:1]):
        logits, features = run(photos.numpy())
        np.testing.assert_allclose(logits, expected[: len(photos)].numpy(), rtol=0, atol=1e-4)
        assert features.shape == (len(photos), network.backbone.features)


@pytest.mark.parametrize("name", ["scene_net", "efficientnet_b0", "timm:test_vit"])
def test_it_pools_as_well_in_half_precision_and_with_channels_last(name: str) -> None:
    backbone = awake(name).to(memory_format=torch.channels_last)
    pixels = torch.randn(3, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        tokens = backbone.tokens(pixels)
        pooled = backbone(pixels)
    assert tokens.dtype == torch.bfloat16 or name == "timm:test_vit"  # whose last layer norm answers in float32
    with torch.no_grad():
        expected = backbone.pool(tokens.float())
    torch.testing.assert_close(pooled.float(), expected, rtol=0.02, atol=0.02 * float(expected.std()))
    pooled.float().sum().backward()
    assert backbone.query.grad is not None
    assert backbone.query.grad.isfinite().all()
    assert backbone.query.grad.any()


@pytest.mark.parametrize("name", ["timm:test_convnext", "timm:mobilenetv3_small_050", "timm:test_vit2"])
def test_what_comes_after_pooling_rests_and_all_else_learns(name: str) -> None:
    """A parameter that gets no gradient stops a training of several processes."""
    backbone, average = awake(name), build_backbone(name, SIZE)
    backbone.train()(torch.randn(2, 3, SIZE, SIZE)).sum().backward()
    resting = {key for key, parameter in backbone.named_parameters() if not parameter.requires_grad}
    assert resting == {key for key, parameter in backbone.named_parameters() if parameter.grad is None}
    assert {key.split(".")[2] for key in resting} <= {"head", "conv_head", "fc_norm"}
    assert resting or name == "timm:test_vit2"
    assert all(parameter.requires_grad for parameter in average.parameters())
    with torch.no_grad():
        again = pooled_by_attention(name)
    assert {key for key, parameter in again.named_parameters() if not parameter.requires_grad} == resting


def test_a_network_without_one_map_is_refused() -> None:
    backbone = build_backbone("timm:test_resnet", SIZE)
    maps = [torch.zeros(1, 8, 4, 4), torch.zeros(1, 16, 2, 2)]  # of several scales, as CrossViT gives
    backbone.network.forward_features = lambda pixels: maps  # type: ignore[union-attr, assignment]
    with pytest.raises(ConfigError, match=r"^timm:test_resnet gives no map of one scale .*Pool it by average\.$"):
        AttentionPooled(backbone)


def test_weights_of_a_director_that_averages(models: Path) -> None:
    backbone = pooled_by_attention("scene_net", 32)
    start = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    load_backbone_weights(backbone, "scene_net", str(director_path(models)))
    theirs = load_pretrained(director_path(models))
    for name, tensor in backbone.state_dict().items():
        expected = start[name] if name in OWN else theirs[name.removeprefix("inner.")]
        assert torch.equal(tensor, expected), name
    with pytest.raises(CheckpointError, match="do not fit the backbone resnet50"):
        load_backbone_weights(pooled_by_attention("resnet50", 32), "resnet50", str(director_path(models)))


def test_an_encoder_that_averages_leaves_attention_out(tmp_path: Path) -> None:
    theirs, ours = _sighted(), build_backbone("scene_net", 32)
    save_file(theirs.state_dict(), tmp_path / "pooled.safetensors")
    load_backbone_weights(ours, "scene_net", str(tmp_path / "pooled.safetensors"))
    for name, tensor in theirs.inner.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor), name


@pytest.mark.parametrize("missing", ["query", "norm.bias", "inner.layers.0.weight", "layers.0.weight"])
def test_a_file_that_lacks_a_part_is_refused(missing: str, tmp_path: Path) -> None:
    whole = _sighted() if not missing.startswith("layers") else build_backbone("scene_net", SIZE)
    state = whole.state_dict()
    del state[missing]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(CheckpointError, match="do not fit the backbone scene_net"):
        load_backbone_weights(pooled_by_attention("scene_net"), "scene_net", str(tmp_path / "part.safetensors"))


def test_its_own_state_dict_is_given_back() -> None:
    for name in ("scene_net", "timm:test_vit", "efficientnet_b0"):
        backbone = pooled_by_attention(name)
        state = {key: torch.full_like(tensor, 7) for key, tensor in backbone.state_dict().items()}
        again = backbone.from_published(state)
        assert again.keys() == state.keys()
        assert all(again[key] is state[key] for key in state)


def test_published_weights_from_torchs_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, loopback_only: None
) -> None:
    published = EfficientNet.from_name("efficientnet-b0")  # with its classifier
    file = tmp_path / "checkpoints" / Path(url_map["efficientnet-b0"]).name
    file.parent.mkdir()
    torch.save(published.state_dict(), file)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    backbone = pooled_by_attention("efficientnet_b0")
    load_backbone_weights(backbone, "efficientnet_b0", "imagenet")
    _expect_published(backbone, published)


def test_published_weights_from_the_hubs_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, loopback_only: None
) -> None:
    published = timm.create_model("test_vit")
    snapshot = tmp_path / "models--timm--test_vit.r160_in1k" / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    save_file(published.state_dict(), snapshot / "model.safetensors")
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("0123abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    backbone = pooled_by_attention("timm:test_vit", 160)
    load_backbone_weights(backbone, "timm:test_vit", "imagenet")
    _expect_published(backbone, published)


def test_published_weights_from_a_file_whose_names_are_like_ours(tmp_path: Path, short_transformer: None) -> None:
    """A transformer of torchvision has an `encoder` of its own; and its positions are stretched, as ever."""
    torch.save(get_model("vit_b_16", weights=None, image_size=32).state_dict(), tmp_path / "vit.pth")
    backbone = pooled_by_attention("vit_b_16")
    load_backbone_weights(backbone, "vit_b_16", str(tmp_path / "vit.pth"))
    assert backbone.state_dict()["inner.network.encoder.pos_embedding"].shape == (1, 1 + 16, 768)
    assert not backbone.value.any()


def _expect_published(backbone: AttentionPooled, published: nn.Module) -> None:
    theirs = published.state_dict()
    for key, tensor in backbone.inner.state_dict().items():
        if key.startswith("network."):
            assert torch.equal(tensor, theirs[key.removeprefix("network.")]), key
    assert not backbone.value.any()
