"""The ONNX files beside the weights: made once from a checkpoint, named after its checksum, so that none is stale."""

from __future__ import annotations

import glob
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geomind.checkpoints import read_checksum, read_description
from geomind.errors import CheckpointError, ConfigError, MissingExtraError, OutputError
from geomind.files import atomic_path
from geomind.runtimes import Precision, can_make_onnx_files, open_onnx_file, pick_runtime

if TYPE_CHECKING:
    from geomind.networks import WithFeatures

OPSET = 18
"""The operators' version: what torch's exporter writes without converting, read by every runtime since 2023."""

TOLERANCE = 1e-3
"""The largest difference from torch that is no fault, as a share of the largest answer."""


def find_or_make(checkpoint: Path | str, build: Callable[[], WithFeatures], precision: Precision = "fp32") -> Path:
    """Say where a checkpoint's ONNX file is; one in fp32, which serves bf16 too, is made where it is missing.

    Raises:
        CheckpointError: the weights are missing or broken, or the file does not answer as torch does.
        ConfigError: there is no int8 file; only `geomind export` makes it.
        MissingExtraError: a package is missing that makes the file.
        OutputError: it can be written nowhere.
    """
    checkpoint = Path(checkpoint)
    for path in places(checkpoint, precision):
        if path.is_file():
            return path
    if precision == "int8":
        raise ConfigError(
            f"{checkpoint} has no int8 file yet. Make it from photos of your own: "
            "`geomind export --precision int8 --calibrate PHOTOS_DIR`."
        )
    if not can_make_onnx_files():
        raise MissingExtraError(
            f"{checkpoint} has no ONNX file yet, and what makes it is not installed: pip install 'geomind[onnx]', "
            "or take the runtime torch."
        )
    return write(checkpoint, "fp32", lambda path: _export(checkpoint, build(), path))


def places(checkpoint: Path, precision: Precision = "fp32") -> tuple[Path, Path]:
    """Say where the ONNX file of a checkpoint may be: beside it, or in the cache where that folder is read-only."""
    ending = ".int8.onnx" if precision == "int8" else ".onnx"
    name = f"{checkpoint.stem}.{read_checksum(checkpoint)[:8]}{ending}"
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return checkpoint.with_name(name), Path(caches) / "geomind" / "onnx" / name


def write(checkpoint: Path, precision: Precision, make_file: Callable[[Path], None]) -> Path:
    """Write an ONNX file beside its checkpoint, where those of older weights go, or else into the cache.

    Raises:
        OutputError: it can be written nowhere.
    """
    beside, cached = places(checkpoint, precision)
    try:
        with atomic_path(beside) as temporary:
            make_file(temporary)
    except OutputError:
        with atomic_path(cached) as temporary:
            make_file(temporary)
        return cached
    _remove_older(checkpoint)
    return beside


def read_difference(file: Path) -> float:
    """Read how far the answers of an ONNX file were from torch's when it was made."""
    import onnx

    properties = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    return float(properties["geomind_max_difference"])


def _export(checkpoint: Path, module: WithFeatures, path: Path) -> None:
    """Write a module as an ONNX file that holds the largest difference of its answers from torch's."""
    import onnx
    import torch

    description = read_description(checkpoint)
    side = description.preprocessing.image_size
    module = module.eval()
    # Three photos, since the exporter takes a size of 1 for one that never changes.
    pixels = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torch's own insides
        program = torch.onnx.export(
            module,
            (pixels,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("photos")},),
            input_names=["pixels"],
            output_names=["logits" if description.kind == "director" else "place", "features"],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None  # so it is with dynamo
    model = program.model_proto
    onnx.save(model, path)
    with torch.inference_mode():
        expected = [answer.numpy() for answer in module(pixels)]
    about = {
        "geomind_checksum": read_checksum(checkpoint),
        "geomind_version": description.geomind_version,
        "geomind_max_difference": repr(_difference(path, pixels.numpy(), expected, checkpoint)),
    }
    onnx.helper.set_model_props(model, about)
    onnx.save(model, path)


def _difference(
    file: Path, pixels: NDArray[np.float32], expected: list[NDArray[np.float32]], checkpoint: Path
) -> float:
    """Compare an ONNX file's answers with torch's: the largest difference of any number."""
    runtime = pick_runtime("auto")
    if runtime == "torch":
        raise MissingExtraError("Nothing here runs ONNX files: pip install 'geomind[onnx]', or take the runtime torch.")
    largest = 0.0
    for answer, right in zip(open_onnx_file(file, runtime=runtime)(pixels), expected, strict=True):
        difference = float(np.abs(answer - right).max())
        if difference > TOLERANCE * max(1.0, float(np.abs(right).max())):
            raise CheckpointError(
                f"The ONNX file of {checkpoint} answers {difference:.2g} away from torch. Take the runtime torch, and "
                "report it."
            )
        largest = max(largest, difference)
    return largest


def _remove_older(checkpoint: Path) -> None:
    """Remove the ONNX files of weights that stood here before."""
    kept = {places(checkpoint)[0].name, places(checkpoint, "int8")[0].name}
    ours = re.compile(rf"{re.escape(checkpoint.stem)}\.[0-9a-f]{{8}}(\.int8)?\.onnx")
    for other in checkpoint.parent.glob(f"{glob.escape(checkpoint.stem)}.*.onnx"):
        if ours.fullmatch(other.name) and other.name not in kept:
            other.unlink(missing_ok=True)
