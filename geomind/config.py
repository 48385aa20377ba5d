"""Settings: frozen, validated values from YAML and the command line. They open, create and download nothing else."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from geomind.devices import Device
from geomind.errors import ConfigError


class Settings(BaseModel):
    """What every group of settings is: frozen, without unknown keys, each field with its own docstring."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class BackboneConfig(Settings):
    """The image encoder and the weights it starts from."""

    name: str = "efficientnet_b0"
    """`efficientnet_b0` … `b7`, `torchvision:efficientnet_b0`, `efficientnet_v2_s`, `resnet50`, `convnext_tiny`,
    `vit_b_16`, `timm:NAME` with geomind[timm], or `scene_net`, the small network of the demo."""
    weights: str = "imagenet"
    """`imagenet` (downloaded once), `none`, or a file: a published state dict or a GeoMind checkpoint."""


class AugmentConfig(Settings):
    """Random changes of a training photo; 0 or false turns one off. A policy's name stands for all of its numbers."""

    crop_scale_min: float = Field(default=0.7, gt=0, le=1)
    """Smallest share of the photo's area that a random crop keeps; 1 cuts the central square, as inference does."""
    horizontal_flip: bool = False
    """Mirror half of the photos; this mirrors the side of the road and the script."""
    vertical_flip: bool = False
    """Turn half of the photos upside down."""
    rotation_degrees: float = Field(default=0.0, ge=0, le=180)
    """Largest turn to either side, degrees."""
    color_jitter: float = Field(default=0.2, ge=0, le=1)
    """Largest relative change of brightness, contrast and saturation."""
    hue_jitter: float = Field(default=0.0, ge=0, le=0.5)
    """Largest change of hue, as a share of the colour circle."""
    grayscale_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of photos that lose their colour."""


AUGMENT_POLICIES: Mapping[str, AugmentConfig] = MappingProxyType(
    {
        "none": AugmentConfig(crop_scale_min=1, color_jitter=0),
        "light": AugmentConfig(),
        "strong": AugmentConfig(
            crop_scale_min=0.4, rotation_degrees=5, color_jitter=0.4, hue_jitter=0.05, grayscale_probability=0.1
        ),
        "original": AugmentConfig(
            crop_scale_min=0.8,
            horizontal_flip=True,
            vertical_flip=True,
            rotation_degrees=20,
            color_jitter=0.2,
            hue_jitter=0.1,
            grayscale_probability=0.1,
        ),
    }
)
"""Augmentation by name, as in `augment: light`. Only `original`, the first project's, flips photos."""


def _augment_by_name(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value not in AUGMENT_POLICIES:
        raise ValueError(f"there is no such policy; there are {', '.join(AUGMENT_POLICIES)}")
    return AUGMENT_POLICIES[value]


Augmentation = Annotated[AugmentConfig, BeforeValidator(_augment_by_name)]
"""The numbers of an augmentation, or the name of a policy."""


class TrainingConfig(Settings):
    """What training a Director and training an Expert have in common."""

    backbone: BackboneConfig = BackboneConfig()
    """The image encoder."""
    freeze: str = Field(default="none", pattern=r"^(none|stem|blocks:[1-9][0-9]*|backbone)$")
    """What stays as it starts: `none`, the `stem`, the stem and the first N blocks (`blocks:N`), or the whole
    `backbone`, whose features of each photo are then computed once, without random changes, and kept on disk."""
    augment: Augmentation = AugmentConfig()
    """Random changes of training photos: numbers, or a policy: `none`, `light` (these), `strong`, `original`."""
    image_size: int = Field(default=224, ge=32, le=1024)
    """Side of the square that the network sees, pixels."""
    batch_size: int = Field(default=32, ge=1)
    """Photos a pass, over all devices together."""
    accumulate: int = Field(default=1, ge=1)
    """Passes whose gradients make one step: a step sees batch_size x accumulate photos."""
    max_epochs: int = Field(default=30, ge=1)
    """Times that all training photos are seen, at most."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Step size of AdamW at its highest."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Weight decay of AdamW."""
    select: Literal["loss", "accuracy", "geoscore"] = "loss"
    """Which epoch is served: the lowest val_loss, the highest accuracy (of a Director), or the highest GeoScore."""
    clip_norm: float = Field(default=0.0, ge=0)
    """Longest gradient of a step, as an L2 norm; a longer one is shortened. 0 leaves all as they are."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Numbers of the passes: `bf16` on newer CPUs and GPUs, `fp16` (scaled against underflow) on a GPU only."""
    schedule: Literal["plateau", "one_cycle"] = "plateau"
    """`plateau` lowers the rate when val_loss stalls; `one_cycle` rises and falls once over max_epochs, all of them."""
    plateau_factor: float = Field(default=0.5, gt=0, lt=1)
    """What the plateau schedule multiplies the rate by."""
    plateau_patience: int = Field(default=3, ge=0)
    """Epochs without a better val_loss before the plateau schedule lowers the rate."""
    early_stopping_patience: int = Field(default=6, ge=1)
    """Epochs without a better val_loss before training stops; not with `one_cycle`, which is best at its end."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of pooled features dropped before the head, in training."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of weights, order and augmentation: it gives the same weights again on the same CPU."""
    workers: int = Field(default=2, ge=0)
    """Processes that decode photos; 0 decodes in the training process."""
    cache_photos: bool = False
    """Decode each photo once, a quarter larger than the square, and keep it in memory: once for each worker."""
    snapshot_seconds: float = Field(default=300.0, ge=0)
    """Seconds between snapshots that `--resume` goes on from; there is one after each epoch besides."""
    tensorboard: bool = False
    """Write TensorBoard's event files into the run folder too; needs geomind[track]."""
    device: Device = "auto"
    """`cpu`, `cuda`, or `auto`, which takes a GPU where there is one."""

    @model_validator(mode="after")
    def _frozen_weights_are_learned_ones(self) -> Self:
        if self.freeze != "none" and self.backbone.weights == "none":
            raise ValueError(
                f"freeze={self.freeze} would keep random weights; give backbone.weights a file, or freeze none"
            )
        return self


class DirectorConfig(TrainingConfig):
    """Stage 1: which region a photo shows."""

    balanced_sampler: bool = False
    """Show every region equally often: photos of rare regions several times an epoch, of common ones not each time."""
    class_weights: Literal["none", "inverse", "effective_number"] = "effective_number"
    """How much a photo of a rare region weighs in the loss: the same, by 1 / photos, or by the effective number."""
    class_weight_cap: float = Field(default=10.0, ge=1)
    """No region weighs more than this many times one of average size."""
    focal_gamma: float = Field(default=0.0, ge=0, le=10)
    """Focal loss: how much less a photo counts the surer the Director is of it already; 0 is cross-entropy."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each label spread evenly over all regions."""
    label_smoothing_km: float = Field(default=0.0, ge=0)
    """Spread labels by distance: a region d km away gets exp(-d / this) of the true one's share; 0 does not."""
    mixup_alpha: float = Field(default=0.0, ge=0)
    """MixUp: blend photos in pairs, by a share drawn from Beta(alpha, alpha); 0 does not."""
    cutmix_alpha: float = Field(default=0.0, ge=0)
    """CutMix: paste a part of one photo into another, of an area drawn likewise; with MixUp, one of the two."""

    @model_validator(mode="after")
    def _nothing_contradicts(self) -> Self:
        if self.label_smoothing and self.label_smoothing_km:
            raise ValueError("label_smoothing and label_smoothing_km both smooth the labels; choose one")
        if self.freeze == "backbone" and (self.mixup_alpha or self.cutmix_alpha):
            raise ValueError("freeze=backbone learns from features, so that mixup_alpha and cutmix_alpha must be 0")
        return self


class CellsConfig(Settings):
    """Cells that places are told by: fitted to the training photos by K-means on the sphere, which are then halved."""

    min_photos: int = Field(default=10, ge=1)
    """A finest cell with fewer photos is given up, and its photos go to its neighbours."""
    label_smoothing_km: float = Field(default=100.0, ge=0)
    """Spread labels by distance: a cell d km from the true one gets exp(-d / this) of its share; 0 does not."""
    offset_weight: float = Field(default=1.0, ge=0)
    """Weight of the loss of the offset inside the true cell; 0 answers with the cells' centres."""
    focal_gamma: float = Field(default=0.0, ge=0, le=10)
    """Focal loss: how much less a photo counts the surer the network is of its cell already; 0 is cross-entropy."""


class ExpertConfig(TrainingConfig):
    """Stage 2: where in its region a photo was taken."""

    trunk: Literal["own", "director"] = "own"
    """An image encoder of its `own`, or the `director`'s, frozen: one pass answers a photo instead of two, and all
    networks together are hardly larger than one. `backbone` and `freeze` then say nothing."""
    head: Literal["box", "cells"] = "box"
    """What it answers: a point of its region's `box`, as in the original; or which of the region's `cells`, and the
    offset in it, which does not tend to the region's middle."""
    cells_count: int = Field(default=64, ge=1)
    """With head=cells: cells of the region, at most."""
    cells: CellsConfig = CellsConfig()
    """With head=cells: the cells, and the loss of places in them."""
    loss: Literal["mse", "smooth_l1", "great_circle"] = "smooth_l1"
    """With head=box: on box-normalised coordinates (`mse`, `smooth_l1`), or in thousands of km on the sphere
    (`great_circle`)."""
    routed: bool = False
    """Learn also from other regions' photos that the Director sends here, as it will at inference."""
    box_quantile: float = Field(default=0.005, ge=0, lt=0.5)
    """Share of training places left outside the box at each side, so that one island does not stretch it."""
    box_padding: float = Field(default=0.02, ge=0, le=1)
    """Share of the box's side added at each side: a sigmoid hardly reaches its ends."""

    @model_validator(mode="after")
    def _nothing_contradicts(self) -> Self:
        if self.select == "accuracy":
            raise ValueError("an Expert has no accuracy; select its best epoch by loss or geoscore")
        return self


class HierarchicalConfig(TrainingConfig):
    """The second system: one network that tells country, region, city and the place in it."""

    pooling: Literal["attention", "average"] = "attention"
    """How the encoder's map becomes features: weighed by `attention`, or its `average`."""
    tree: Literal["fitted", "administrative"] = "fitted"
    """Cells of clusters all the way down (`fitted`), or of clusters inside countries as they are (`administrative`)."""
    levels: dict[Literal["country", "region", "city"], int] = {"country": 16, "region": 64, "city": 256}
    """How many cells each level has at most, coarse to fine. An `administrative` tree has as many countries as photos
    do; its first number says nothing."""
    level_weights: dict[Literal["country", "region", "city"], float] = {"country": 0.5, "region": 0.5, "city": 1.0}
    """Weight of each level in the loss."""
    cells: CellsConfig = CellsConfig()
    """The cells, and the loss of places in them."""

    @model_validator(mode="after")
    def _nothing_contradicts(self) -> Self:
        counts = list(self.levels.values())
        if not counts or min(counts) < 1 or counts != sorted(counts):
            raise ValueError("levels needs at least one level, and each as many cells as the one above or more")
        if missing := [level for level in self.levels if level not in self.level_weights]:
            raise ValueError(f"level_weights says nothing of the level {missing[0]}")
        if not all(weight >= 0 for weight in self.level_weights.values()):
            raise ValueError("a level's weight is 0 or more")
        if self.select == "accuracy":
            raise ValueError("the hierarchical network has no one accuracy; select its best epoch by loss or geoscore")
        if self.freeze == "backbone" and self.pooling == "attention":
            raise ValueError("freeze=backbone would keep untrained attention; take pooling=average, or freeze=blocks:N")
        return self


class RegressionConfig(TrainingConfig):
    """One network that is asked for the place at once, without regions: what a cascade has to beat."""

    output: Literal["square", "vector"] = "square"
    """What stands for a place: two sigmoids in the `square` of a box around the globe, which the date line cuts, or a
    unit `vector` on the sphere."""

    @model_validator(mode="after")
    def _nothing_contradicts(self) -> Self:
        if self.select == "accuracy":
            raise ValueError("a regression has no accuracy; select its best epoch by loss or geoscore")
        return self


AnyConfig = TypeVar("AnyConfig", bound=Settings)


def load_config(kind: type[AnyConfig], path: Path | str | None = None, overrides: Sequence[str] = ()) -> AnyConfig:
    """Read settings: defaults, then the YAML file, then `key=value` of the command line; the later wins.

    Args:
        kind: The settings to build.
        path: A YAML file (1.2, so that `NO` is text and `5e-4` a number).
        overrides: `key=value` with dots between levels, as in ``backbone.weights=none``; the value is YAML.

    Raises:
        ConfigError: a key is unknown (the nearest is named), or a value is of another type or out of range.
    """
    values: dict[str, Any] = {}
    where = str(path) if path is not None else "--set"
    if path is not None:
        values = _read_yaml(Path(path))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {override}: write it as key=value, as in --set backbone.weights=none.")
        _put(values, key.strip().split("."), parse_yaml(text, where=f"--set {override}"))
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, kind, where)) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read the settings {path}: {error}.") from error
    values = parse_yaml(text, where=str(path))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no settings: it needs lines of the form `key: value`.")
    return values


def parse_yaml(text: str, *, where: str) -> Any:
    """Read YAML 1.2 as plain values; ``where`` it stands is named in errors.

    Raises:
        ConfigError: it is not valid YAML.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not valid YAML: {_yaml_fault(error)}.") from error


def _yaml_fault(error: Exception) -> str:
    """Say in a few words what a YAML parser stumbled over, and where."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if problem is None:
        return " ".join(str(error).split())
    return str(problem) + (f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "")


def _put(values: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        inner = values.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {'.'.join(keys)}: '{key}' is a value, not a group of settings.")
        values = inner
    values[keys[-1]] = value


def _explain(error: ValidationError, kind: type[Settings], where: str) -> str:
    """Put the first of pydantic's complaints into one line; a misspelt key is given its nearest one."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        same_end = [name for name in _keys(kind) if name.split(".")[-1] == key.split(".")[-1]]
        near = same_end or difflib.get_close_matches(key, _keys(kind), n=1, cutoff=0.5)
        return f"Unknown setting '{key}' in {where}." + (f" Did you mean '{near[0]}'?" if near else "")
    said = first["msg"].removeprefix("Value error, ")
    if not key:  # of several settings together
        return f"The settings in {where} contradict each other: {said}."
    return f"Setting '{key}' in {where} is {first['input']!r}: {said[0].lower()}{said[1:]}."


def _keys(kind: type[Settings], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, info in kind.model_fields.items():
        keys.append(prefix + name)
        if isinstance(info.annotation, type) and issubclass(info.annotation, Settings):
            keys += _keys(info.annotation, f"{prefix}{name}.")
    return keys


def to_yaml(settings: Mapping[str, Any] | Settings) -> str:
    """Write settings as YAML, every key present."""
    import io

    from ruamel.yaml import YAML

    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(settings.model_dump() if isinstance(settings, Settings) else dict(settings), text)
    return text.getvalue()
