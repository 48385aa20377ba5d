"""The only door to weights on disk: safetensors files that describe themselves. It builds no network."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, ValidationError

import geomind
from geomind.config import Settings
from geomind.errors import CheckpointError, ConfigError
from geomind.files import atomic_path
from geomind.geography.boxes import Box
from geomind.geography.cell_code import CellCode
from geomind.geography.regions import Region, RegionTable
from geomind.photos import Preprocessing

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

FORMAT_VERSION = 1
"""Version of the description; a file of a newer one is refused."""


class Description(Settings):
    """What a weights file says of itself: enough to load it without any other file or number."""

    format_version: int = FORMAT_VERSION
    kind: Literal["director", "expert", "hierarchical", "gallery", "regression"]
    """What the weights answer."""
    region_table: dict[str, Any]
    """The whole table of regions that the weights were trained on."""
    preprocessing: Preprocessing
    """How a photo becomes pixels."""
    backbone: str
    """Name of the image encoder."""
    config: dict[str, Any]
    """The settings of its training."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Validation metrics of these very weights."""
    training_photos: int = 0
    """Photos it was trained on."""
    geomind_version: str = geomind.__version__
    region_id: int | None = None
    """Expert: its region."""
    box: tuple[float, float, float, float] | None = None
    """Expert: lat_min, lat_max, lon_min, lon_max of its box, degrees. A regression's is the globe's, or None where it
    answers with unit vectors."""
    trunk: str | None = None
    """Checksum of the encoder's weights: a Director's own, of the Director whose features an Expert answers from, or of
    the encoder whose embeddings a gallery holds; None for an Expert that has its own encoder."""
    cells: dict[str, Any] | None = None
    """Expert with cells, or hierarchical network: its cells and the scale of their offsets, a ``CellCode`` of plain
    values; instead of a box."""
    pooling: Literal["average", "attention"] = "average"
    """How its encoder's map becomes features."""
    region_medians: dict[int, tuple[float, float]] = Field(default_factory=dict)
    """Director: the geodesic median place of each region, degrees; the answer where an Expert is missing."""
    temperature: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Gallery: what cosine similarities are divided by before the softmax that makes them probabilities."""

    @property
    def regions(self) -> RegionTable:
        """The table of regions as a value."""
        return RegionTable.from_dict(self.region_table, where="the weights")

    @property
    def cell_code(self) -> CellCode:
        """The cells as a value.

        Raises:
            CheckpointError: the weights answer with no cells, or with some that contradict themselves.
        """
        try:
            return CellCode.from_dict(self.cells or {})
        except (ConfigError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError("These weights hold no cells that make sense.") from error

    @property
    def fitted_box(self) -> Box:
        """The Expert's box as a value.

        Raises:
            CheckpointError: the weights are no Expert's.
        """
        if self.box is None:
            raise CheckpointError("These weights hold no box; they are not an Expert's.")
        return Box(*self.box)


def director_path(models: Path | str) -> Path:
    """Say where a folder of models keeps its Director."""
    return Path(models) / "director" / "director.safetensors"


def expert_path(models: Path | str, region: Region) -> Path:
    """Say where a folder of models keeps the Expert of a region."""
    return Path(models) / "experts" / f"{region.id:02d}-{region.slug}.safetensors"


def hierarchical_path(models: Path | str) -> Path:
    """Say where a folder of models keeps its hierarchical network."""
    return Path(models) / "hierarchical" / "hierarchical.safetensors"


def gallery_path(models: Path | str, region: Region | None = None) -> Path:
    """Say where a folder of models keeps a gallery: the Director's, or that of an Expert with an encoder of its own."""
    if region is None:
        return director_path(models).with_name("gallery.safetensors")
    weights = expert_path(models, region)
    return weights.with_name(f"{weights.stem}.gallery.safetensors")


def regression_path(models: Path | str) -> Path:
    """Say where a folder of models keeps its one-network regression."""
    return Path(models) / "regression" / "regression.safetensors"


def save_checkpoint(path: Path | str, state: Mapping[str, torch.Tensor], description: Description) -> None:
    """Write weights with their description, atomically; the description carries a checksum of the weights.

    Raises:
        OutputError: the file cannot be written.
    """
    from safetensors.torch import save

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    metadata = {"geomind": description.model_dump_json(), "checksum": state_checksum(state)}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(state, metadata=metadata))


def read_description(path: Path | str, kind: str | None = None, *, regions: RegionTable | None = None) -> Description:
    """Read what a weights file says of itself, without its weights and without torch.

    Raises:
        CheckpointError: the file is missing, broken, no GeoMind file, or of a newer format; or of another kind or table
            of regions than is asked for.
    """
    path = Path(path)
    description = _describe(path, _metadata(path))
    if kind is not None and description.kind != kind:
        raise CheckpointError(f"{path} holds weights of kind '{description.kind}', where '{kind}' is needed.")
    if regions is not None:
        check_regions(path, description, regions)
    return description


def read_checksum(path: Path | str) -> str:
    """Read the checksum of a file's weights, as its writer computed it; what is made from them is named after it.

    Raises:
        CheckpointError: the file is missing, broken, or no GeoMind file.
    """
    path = Path(path)
    checksum = _metadata(path).get("checksum")
    if checksum is None:
        raise _broken(path, "it has no checksum")
    return checksum


def read_trunk(path: Path | str) -> str:
    """Read the checksum of the encoder that an answer comes from, without torch: its name in `Description.trunk`.

    Raises:
        CheckpointError: the file is missing, broken, or no GeoMind file.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    description = read_description(path)
    if description.trunk is not None:
        return description.trunk
    try:
        with safe_open(path, framework="numpy") as file:
            names = [name for name in list(file.keys()) if name.startswith("backbone.")]
            return _digest({name.removeprefix("backbone."): file.get_tensor(name) for name in names})
    except (SafetensorError, OSError) as error:
        raise _broken(path, error) from error


def read_head(path: Path | str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read the linear layer over the features, without torch: weights (outputs, features) and bias (outputs,).

    Raises:
        CheckpointError: the file is missing, broken, or has no such layer.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            if all(name.startswith("head.") for name in names):  # small enough to check each time
                digest = _digest({name: file.get_tensor(name) for name in names})
                if digest != read_checksum(path):
                    raise _broken(path, "its checksum does not match")
            return file.get_tensor("head.1.weight"), file.get_tensor("head.1.bias")
    except (SafetensorError, OSError) as error:
        raise _broken(path, error) from error


def count_parameters(path: Path | str) -> int:
    """Count what a training learned in a file, without reading it: running statistics of a normalisation do not count.

    Raises:
        CheckpointError: the file is missing or broken.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    _metadata(path)
    try:
        with safe_open(path, framework="numpy") as file:
            return sum(
                math.prod(file.get_slice(name).get_shape())
                for name in file.keys()  # noqa: SIM118  a safe_open is no mapping
                if not name.endswith(_STATISTICS)
            )
    except (SafetensorError, OSError) as error:
        raise _broken(path, error) from error


_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""What torch calls the buffers of a batch normalisation."""


def load_checkpoint(
    path: Path | str, kind: str, *, regions: RegionTable | None = None
) -> tuple[dict[str, torch.Tensor], Description]:
    """Read weights of one kind and their description; no code of the file is ever run.

    Args:
        path: The safetensors file.
        kind: What the weights must be: `director` or `expert`.
        regions: The table of regions that they must have been trained on, if any is asked for.

    Raises:
        CheckpointError: the file is missing or broken, of another kind, or of another table of regions.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    description = read_description(path, kind, regions=regions)
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise _broken(path, error) from error
    if state_checksum(state) != _metadata(path).get("checksum"):
        raise _broken(path, "its checksum does not match")
    return state, description


def check_regions(path: Path | str, description: Description, regions: RegionTable) -> None:
    """Make sure that weights and the rest speak of the same regions.

    Raises:
        CheckpointError: the weights were trained on another table.
    """
    own = description.regions
    if own.fingerprint != regions.fingerprint:
        raise CheckpointError(
            f"{path} was trained on the region table '{own.name}' of {len(own)} regions, not on '{regions.name}' of "
            f"{len(regions)} as asked for. Train it again, or use its own table."
        )


def check_finite(answers: NDArray[np.floating[Any]], path: Path | str) -> None:
    """Make sure that a network answers with numbers.

    Raises:
        CheckpointError: an answer is infinite or not a number, as weights are that a training ruined.
    """
    if not np.isfinite(answers).all():
        raise CheckpointError(f"The weights {path} answer with something that is no number. Train them again.")


def load_network(network: torch.nn.Module, state: dict[str, torch.Tensor], path: Path | str) -> None:
    """Put weights into the network they were made for.

    Raises:
        CheckpointError: they are another network's.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"The weights {path} do not fit the network that they describe. Train them again."
        ) from error


def load_pretrained(path: Path | str) -> dict[str, torch.Tensor]:
    """Read the image encoder's weights from a published state dict, or from a GeoMind checkpoint.

    A ``.pth`` file goes through torch's restricted unpickler (``weights_only``), which builds tensors and nothing else.

    Raises:
        CheckpointError: the file is missing, broken, or holds anything but tensors.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"No weights at {path}. Name another file, or begin from none: --set backbone.weights=none."
        )
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError, TypeError) as error:
        raise _broken(path, error) from error
    except Exception as error:  # pickle's UnpicklingError, and whatever a hostile file provokes
        raise CheckpointError(f"{path} holds more than tensors and is not loaded ({type(error).__name__}).") from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise CheckpointError(f"{path} is no state dict: it must map names to tensors.")
    if any(name.startswith("backbone.") for name in state):  # a GeoMind checkpoint: its trunk, without its head
        state = {name.removeprefix("backbone."): t for name, t in state.items() if name.startswith("backbone.")}
    return state


def state_checksum(state: Mapping[str, torch.Tensor]) -> str:
    """Hash names, shapes and bytes of all tensors: a flipped bit must not become a wrong place."""
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        tensor = state[name].detach().cpu()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Hash arrays as ``state_checksum`` hashes tensors."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        # Its own shape: a contiguous copy of a number is an array of one.
        digest.update(f"{name} {arrays[name].shape} torch.{array.dtype}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(
            f"No weights at {path}. Train them with `geomind train-director` and `geomind train-expert --region all`, "
            "or name another folder with --models."
        )
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise _broken(path, error) from error


def _describe(path: Path, metadata: Mapping[str, str]) -> Description:
    if "geomind" not in metadata:
        raise CheckpointError(f"{path} is a safetensors file of another program: it holds no GeoMind description.")
    try:
        version = json.loads(metadata["geomind"]).get("format_version", 0)
        if version > FORMAT_VERSION:
            raise CheckpointError(
                f"{path} has format {version}; this GeoMind reads up to {FORMAT_VERSION}. Upgrade GeoMind."
            )
        description = Description.model_validate_json(metadata["geomind"])
        regions = description.regions
        if description.kind == "director" and description.region_medians.keys() != set(range(len(regions))):
            raise ValueError("not every region has its median place")
        return description
    except (ValidationError, ValueError, AttributeError, TypeError, ConfigError) as error:
        raise _broken(path, error) from error


def _broken(path: Path, reason: Exception | str) -> CheckpointError:
    text = re.sub(r"\s+", " ", str(reason)).strip().rstrip(".")[:200] or type(reason).__name__
    return CheckpointError(
        f"The weights {path} are incomplete or damaged ({text}). Copy them again or train them again."
    )


_GALLERY = {
    "embeddings": (np.dtype(np.float16), 2),
    "places": (np.dtype(np.float64), 2),
    "region_ids": (np.dtype(np.int32), 1),
}
"""The arrays of a gallery: what they are of, and how many axes they have."""


def save_gallery(path: Path | str, arrays: Mapping[str, NDArray[Any]], description: Description) -> None:
    """Write the arrays of a gallery with their description, atomically.

    Args:
        path: The safetensors file.
        arrays: `embeddings` (n, features) float16 unit rows, `places` (n, 2) float64 degrees, `region_ids` (n,) int32.
        description: Of kind `gallery`.

    Raises:
        OutputError: the file cannot be written.
    """
    from safetensors.numpy import save_file

    metadata = {"geomind": description.model_dump_json(), "checksum": _digest(arrays)}
    with atomic_path(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary, metadata=metadata)
        temporary.chmod(mode)  # some versions of the library leave a file that its owner alone can read


def load_gallery(path: Path | str) -> tuple[dict[str, NDArray[Any]], Description]:
    """Open a gallery: its arrays, mapped from the disk so that they take no memory of their own, and its description.

    The file is read once for its checksum (a gigabyte a second).

    Raises:
        CheckpointError: the file is missing, broken, or no gallery.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"No gallery at {path}. Make it with `geomind train-expert --region all --gallery`, or answer without one."
        )
    description = read_description(path, "gallery")
    try:
        arrays = _map_arrays(path)
    except (OSError, ValueError) as error:
        raise _broken(path, error) from error
    if {name: (array.dtype, array.ndim) for name, array in arrays.items()} != _GALLERY:
        raise _broken(path, "it does not hold the arrays of a gallery")
    if _digest(arrays) != read_checksum(path):
        raise _broken(path, "its checksum does not match")
    places, region_ids = arrays["places"], arrays["region_ids"]
    if len({len(array) for array in arrays.values()}) != 1 or places.shape[1] != 2 or description.temperature is None:
        raise _broken(path, "its arrays do not fit together")
    regions = len(description.regions)
    if not ((np.abs(places) <= (90, 180)).all() and ((region_ids >= 0) & (region_ids < regions)).all()):
        raise _broken(path, "it holds places off the Earth, or regions that are not in its table")
    return arrays, description


def _map_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Map the arrays of a safetensors file that its own library has found sound; that library would copy them.

    The form: 8 bytes, little-endian, with the length of a JSON header, which says where after it each array lies
    (https://huggingface.co/docs/safetensors, "Format").

    Raises:
        ValueError: an array is empty, or not of a gallery's types.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    types = {"F16": np.float16, "F64": np.float64, "I32": np.int32}
    if not all(about["dtype"] in types and 0 not in about["shape"] for about in header.values()):
        raise ValueError("an array is empty or of another type")
    return {
        name: np.memmap(path, types[about["dtype"]], "r", 8 + length + about["data_offsets"][0], tuple(about["shape"]))
        for name, about in header.items()
    }


def save_state(path: Path | str, state: Any) -> None:
    """Write what a training must remember, atomically: tensors in dicts and lists, among plain values.

    Raises:
        OutputError: the file cannot be written.
    """
    from safetensors.torch import save

    tensors: dict[str, torch.Tensor] = {}
    plan = json.dumps(_take_tensors_out(state, tensors))
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata={"geomind_state": plan, "checksum": state_checksum(tensors)}))


def load_state(path: Path | str) -> Any:
    """Read what ``save_state`` wrote; tuples come back as lists.

    Raises:
        CheckpointError: the file is missing, broken, or another one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    metadata = _metadata(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise _broken(path, error) from error
    if "geomind_state" not in metadata or state_checksum(tensors) != metadata.get("checksum"):
        raise _broken(path, "it is no snapshot of a training, or its checksum does not match")
    return _put_tensors_back(json.loads(metadata["geomind_state"]), tensors)


def _take_tensors_out(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Replace tensors by their names; dicts become pairs, since JSON knows only text as keys."""
    import torch

    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"pairs": [[key, _take_tensors_out(inner, tensors)] for key, inner in value.items()]}
    if isinstance(value, list | tuple):
        return [_take_tensors_out(inner, tensors) for inner in value]
    return value


def _put_tensors_back(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_put_tensors_back(inner, tensors) for inner in value]
    if isinstance(value, dict) and "tensor" in value:
        return tensors[value["tensor"]]
    if isinstance(value, dict):
        return {key: _put_tensors_back(inner, tensors) for key, inner in value["pairs"]}
    return value
