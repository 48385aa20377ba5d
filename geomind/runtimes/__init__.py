"""What runs a network's forward pass: torch, ONNX Runtime or OpenVINO. It knows neither regions nor places."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from geomind.devices import cores
from geomind.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    import torch

    from geomind.networks import WithFeatures

Runtime = Literal["auto", "torch", "onnx", "openvino"]
"""Who runs the networks; `auto` takes what is installed and was measured best."""

Precision = Literal["fp32", "bf16", "int8"]
"""What the networks count in."""

Answers = tuple[NDArray[np.float32], NDArray[np.float32]]
"""A network's answer, (N, outputs), and the pooled features it comes from, (N, features)."""

# Measured in CPU time on one core (Xeon with AMX, EfficientNet-B0, docs/runtimes.md). In fp32 ONNX Runtime is the
# quickest and takes half of OpenVINO's memory; it has no bf16 on a CPU, and its int8 is slower than its fp32.
_BEST: dict[Precision, tuple[Literal["torch", "onnx", "openvino"], ...]] = {
    "fp32": ("onnx", "openvino", "torch"),
    "bf16": ("openvino", "torch"),
    "int8": ("openvino", "onnx"),
}

PACKAGES = {"torch": "torch", "onnx": "onnxruntime", "openvino": "openvino"}


class Network(Protocol):
    """A network that is ready to answer."""

    memory_mb: float
    """What it takes in memory, estimated: the size of its weights times a factor measured for its runtime."""

    def __call__(self, pixels: NDArray[np.float32]) -> Answers:
        """Answer: (N, 3, S, S) float32 -> (N, outputs), (N, features)."""
        ...


def open_network(
    checkpoint: Path | str,
    build: Callable[[], WithFeatures],
    *,
    runtime: Runtime = "auto",
    precision: Precision = "fp32",
    threads: int | None = None,
    device: str | torch.device = "cpu",
) -> Network:
    """Make a network ready to answer.

    Args:
        checkpoint: The weights file; its ONNX file lies beside it, and is made where it is missing.
        build: Makes the torch module of these weights; called for the runtime torch and to make the ONNX file.
        runtime: Who runs it.
        precision: What it counts in.
        threads: Cores it uses on a CPU; None for all there are.
        device: Where it runs.

    Raises:
        CheckpointError: the weights are missing or broken.
        ConfigError: the runtime cannot do this, or the int8 file was not made.
        MissingExtraError: the runtime is not installed.
    """
    chosen = pick_runtime(runtime, precision, device)
    if chosen == "torch":
        from geomind.runtimes.with_torch import TorchNetwork

        return TorchNetwork(build(), precision=precision, threads=threads, device=device)
    from geomind.runtimes.onnx_files import find_or_make

    file = find_or_make(checkpoint, build, precision)
    return open_onnx_file(file, runtime=chosen, precision=precision, threads=threads or cores())


def open_onnx_file(
    file: Path, *, runtime: Literal["onnx", "openvino"], precision: Precision = "fp32", threads: int = 1
) -> Network:
    """Make an ONNX file ready to answer.

    Raises:
        CheckpointError: the file is broken.
    """
    if runtime == "onnx":
        from geomind.runtimes.with_onnxruntime import OnnxRuntimeNetwork

        return OnnxRuntimeNetwork(file, threads=threads)
    from geomind.runtimes.with_openvino import OpenVinoNetwork

    return OpenVinoNetwork(file, precision=precision, threads=threads)


def pick_runtime(
    wanted: Runtime, precision: Precision = "fp32", device: str | torch.device = "cpu"
) -> Literal["torch", "onnx", "openvino"]:
    """Choose who runs the networks; it measures nothing and imports nothing.

    Raises:
        ConfigError: the runtime cannot do this.
        MissingExtraError: it is not installed.
    """
    if not str(device).startswith("cpu"):
        if wanted in ("onnx", "openvino") or precision == "int8":
            raise ConfigError(
                f"On a GPU there is the runtime torch in fp32 or bf16, not {wanted} in {precision}. "
                "Choose these, or --device cpu."
            )
        return "torch"
    if wanted != "auto":
        if wanted not in _BEST[precision]:
            able = " or ".join(_BEST[precision])
            raise ConfigError(f"On a CPU the runtime {wanted} has no {precision}. Choose --runtime {able}.")
        if not _installed(wanted):
            raise MissingExtraError(f"The runtime {wanted} is not installed: pip install 'geomind[{wanted}]'.")
        return wanted
    for runtime in _BEST[precision]:
        if _installed(runtime) and (runtime == "torch" or can_make_onnx_files()):
            return runtime
    raise MissingExtraError(f"Nothing here runs {precision} on a CPU: pip install 'geomind[{_BEST[precision][0]}]'.")


def share_cores(
    runtime: Literal["torch", "onnx", "openvino"], device: str, cores: int, workers: int | None, threads: int | None
) -> tuple[int | None, int | None]:
    """Share cores between decoders and networks, as far as nobody said how: threads that decode, threads of networks.

    ONNX Runtime and OpenVINO get all of them, and so do the decoders: neither waits in a loop, and the system shares
    out. torch's threads do, so it gets the cores that decoders leave; it needs twice the time of a decoder.
    """
    if runtime == "torch" and device == "cpu":
        workers = workers or max(1, cores // 3)
        threads = threads or max(1, cores - workers)
    return workers, threads


def can_make_onnx_files() -> bool:
    """Tell whether torch can write ONNX files here."""
    return all(importlib.util.find_spec(name) is not None for name in ("onnx", "onnxscript"))


def _installed(runtime: str) -> bool:
    return importlib.util.find_spec(PACKAGES[runtime]) is not None
