"""Networks run by ONNX Runtime on the CPU."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from geomind.errors import CheckpointError
from geomind.runtimes import Answers
from geomind.runtimes.passes import in_passes

PHOTOS_A_PASS = 1
"""EfficientNet-B0 takes 10.2 ms a photo alone, 11.8 in fours and 14.1 in sixteens, and the least memory."""

MEMORY_FACTOR = 1.3
"""Of the file's size: 14 EfficientNet-B0 of 16.5 MB grew the process by 20 MB each."""


class OnnxRuntimeNetwork:
    """An ONNX file as a ``Network``. Every pass runs on one core, ``threads`` of them at once."""

    def __init__(self, file: Path, *, threads: int) -> None:
        _share_one_arena()
        options = onnxruntime.SessionOptions()
        # One thread a session: its own threads would spin while they wait, and take the core from whoever decodes.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base
            raise CheckpointError(f"ONNX Runtime cannot read {file}. Delete it; it is made again.") from error
        self._input = self._session.get_inputs()[0].name
        self._threads = threads
        self.memory_mb = MEMORY_FACTOR * file.stat().st_size / 2**20

    def __call__(self, pixels: NDArray[np.float32]) -> Answers:
        """Answer: (N, 3, S, S) float32 -> (N, outputs), (N, features)."""
        return in_passes(self._run, pixels, photos=PHOTOS_A_PASS, threads=self._threads)

    def _run(self, pixels: NDArray[np.float32]) -> Answers:
        answers, features = self._session.run(None, {self._input: pixels})
        return answers, features


@functools.cache
def _share_one_arena() -> None:
    """Give all sessions one arena: with one each, 14 networks took 623 MB instead of 411."""
    place = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    as_requested = onnxruntime.OrtArenaCfg({"arena_extend_strategy": 1})
    with contextlib.suppress(RuntimeError):  # the program around us registered one already
        onnxruntime.create_and_register_allocator(place, as_requested)
