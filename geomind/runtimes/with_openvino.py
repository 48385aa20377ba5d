"""Networks run by OpenVINO on the CPU."""

from __future__ import annotations

import functools
import threading
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from geomind.errors import CheckpointError
from geomind.runtimes import Answers, Precision
from geomind.runtimes.passes import in_passes

PHOTOS_A_PASS = 4
"""In bf16, EfficientNet-B0 takes 9.3 ms a photo alone, 7.2 in fours and 7.4 in eights; in fp32 it is all the same."""

MEMORY_FACTOR = 3.0
"""Of the file's size: 14 EfficientNet-B0 of 16.5 MB grew the process by some 48 MB each."""


class OpenVinoNetwork:
    """An ONNX file as a ``Network``. All ``threads`` work on one pass."""

    def __init__(self, file: Path, *, precision: Precision, threads: int) -> None:
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,  # a second one holds the weights and the maps once more: 1,953 MB instead of 1,029
            "ENABLE_CPU_PINNING": False,  # threads that decode run beside it
        }
        try:
            self._compiled = _core().compile_model(file, "CPU", settings)
        except RuntimeError as error:
            raise CheckpointError(f"OpenVINO cannot read {file}. Delete it; it is made again.") from error
        self._request = self._compiled.create_infer_request()
        self._answering = threading.Lock()
        self.memory_mb = MEMORY_FACTOR * file.stat().st_size / 2**20

    def __call__(self, pixels: NDArray[np.float32]) -> Answers:
        """Answer: (N, 3, S, S) float32 -> (N, outputs), (N, features)."""
        with self._answering:
            answers = in_passes(self._run, pixels, photos=PHOTOS_A_PASS)
            # Maps between layers would stay with each network: 14 of them took 1,260 MB instead of 768.
            self._compiled.release_memory()
        return answers

    def _run(self, pixels: NDArray[np.float32]) -> Answers:
        self._request.infer([pixels], share_inputs=True)
        answers, features = (self._request.get_output_tensor(i).data.copy() for i in (0, 1))
        return answers, features


@functools.cache
def _core() -> openvino.Core:
    return openvino.Core()
