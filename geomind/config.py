"""Settings: frozen, validated values from YAML and the command line. They open, create and download nothing else."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geomind.devices import Device
from geomind.errors import ConfigError


class Settings(BaseModel):
    """What every group of settings is: frozen, without unknown keys, each field with its own docstring."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class BackboneConfig(Settings):
    """The image encoder and the weights it starts from."""

    name: str = "efficientnet_b0"
    """`efficientnet_b0` … `efficientnet_b7`, or `scene_net`, the small network of the demo."""
    weights: str = "imagenet"
    """`imagenet` (downloaded once), `none`, or a file: a published state dict or a GeoMind checkpoint."""


class AugmentConfig(Settings):
    """Random changes of a training photo; 0 or false turns one off."""

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
    hue_jitter: float = Field(default=0.02, ge=0, le=0.5)
    """Largest change of hue, as a share of the colour circle."""
    grayscale_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of photos that lose their colour."""


class TrainingConfig(Settings):
    """What training a Director and training an Expert have in common."""

    backbone: BackboneConfig = BackboneConfig()
    """The image encoder."""
    augment: AugmentConfig = AugmentConfig()
    """Random changes of training photos."""
    image_size: int = Field(default=224, ge=32, le=1024)
    """Side of the square that the network sees, pixels."""
    batch_size: int = Field(default=32, ge=1)
    """Photos a step."""
    max_epochs: int = Field(default=30, ge=1)
    """Passes over the training photos, at most."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Step size of AdamW at its highest."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Weight decay of AdamW."""
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
    """Seed of weights, order and augmentation: with as many workers, it gives the same weights again on a CPU."""
    workers: int = Field(default=2, ge=0)
    """Processes that decode photos; 0 decodes in the training process."""
    cache_photos: bool = False
    """Decode each photo once and keep it in memory; for sets that fit there, with workers=0."""
    device: Device = "auto"
    """`cpu`, `cuda`, or `auto`, which takes a GPU where there is one."""


class DirectorConfig(TrainingConfig):
    """Stage 1: which region a photo shows."""

    balance: Literal["none", "class_weights", "sampler"] = "class_weights"
    """How rare regions are made to count: weights in the loss, a sampler that repeats them, or not at all."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each label spread over all regions."""


class ExpertConfig(TrainingConfig):
    """Stage 2: where in its region a photo was taken."""

    loss: Literal["mse", "smooth_l1"] = "smooth_l1"
    """Loss on box-normalised coordinates."""
    box_quantile: float = Field(default=0.005, ge=0, lt=0.5)
    """Share of training places left outside the box at each side, so that one island does not stretch it."""
    box_padding: float = Field(default=0.02, ge=0, le=1)
    """Share of the box's side added at each side: a sigmoid hardly reaches its ends."""


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
    return f"Setting '{key}' in {where} is {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}."


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
