"""Which device networks run on, and how many threads they take beside workers that decode. It starts none itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Literal

from geomind.errors import ConfigError

Device = Literal["auto", "cpu", "cuda"]
"""Where networks run; `auto` takes a GPU where there is one."""


def pick_device(wanted: Device) -> Literal["cpu", "cuda"]:
    """Choose the device.

    Raises:
        ConfigError: a GPU is asked for and there is none.
    """
    import torch

    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise ConfigError("There is no CUDA GPU here that this torch can use. Choose the device cpu, or auto.")
    return "cpu"


@contextlib.contextmanager
def torch_threads_beside(workers: int) -> Iterator[None]:
    """Leave each worker that decodes a core of its own while the block runs.

    OpenMP's threads wait for each other in a busy loop: with one more busy thread than cores, a training step took 12
    times as long (62 photos a second instead of 788, SceneNet at 64 pixels on two cores).
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, (os.cpu_count() or 1) - workers)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
