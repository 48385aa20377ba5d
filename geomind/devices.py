"""Which device networks run on, and how many threads they take beside workers that decode. It starts none itself."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
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


def pick_device_name(wanted: Device) -> str:
    """Choose the device; torch, which takes a second to import, is asked only where there is a GPU's driver."""
    if wanted == "cpu" or (wanted == "auto" and not _has_gpu_driver()):
        return "cpu"
    return pick_device(wanted)


def _has_gpu_driver() -> bool:
    with contextlib.suppress(OSError):
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        return True
    return False


def is_first_process() -> bool:
    """Tell whether this is the one of the processes that torchrun started that writes and prints; alone, it is."""
    return os.environ.get("RANK", "0") == "0"


def let_threads_sleep() -> None:
    """Have OpenMP's threads sleep while they wait, unless the environment says how; only before torch is imported.

    EfficientNet-B0 at 224 pixels on two cores learned from JPEGs, decoded by two workers, at 11.4 photos a second so,
    and at 6.8 with one thread left to it; bare steps did not suffer (10.2 against 9.9).
    """
    os.environ.setdefault(_WAITING, _ASLEEP)


_WAITING, _ASLEEP = "OMP_WAIT_POLICY", "PASSIVE"


@contextlib.contextmanager
def torch_threads_beside(workers: int) -> Iterator[None]:
    """Leave each worker that decodes a core of its own while the block runs, where torch's threads would fight for it.

    OpenMP's threads wait for each other in a busy loop: with one more busy thread than cores, a training step took 12
    times as long (62 photos a second instead of 788, SceneNet at 64 pixels on two cores). Threads that sleep instead
    share the cores well, and there is nothing to do.
    """
    import torch

    if os.environ.get(_WAITING, "").upper() == _ASLEEP:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, cores() - workers)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    """Count the cores that this process may use, which are fewer than the machine's under ``taskset`` or in a job."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Let the process keep memory that it freed, as it takes as much again a moment later; glibc on Linux only.

    By default glibc gives a freed block above a threshold back to the system, which hands it out again page by page,
    each a fault and cleared: half of the CPU time of an eager EfficientNet-B0 by 32 (15.8 photos a CPU second, 28.2
    without; by 4 26.5 and 35.8; the peak of the memory was the same). Decoding a JPEG of 12 megapixels gains 2%.
    Blocks from 256 MB on, a photo of 90 megapixels, still go back. To be called once, before the first large block.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library has no such settings, or ignores them
        mallopt = ctypes.CDLL(None).mallopt
        for setting, value in ((_M_MMAP_THRESHOLD, 2**28), (_M_TRIM_THRESHOLD, 2**31 - 1)):
            mallopt(setting, value)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""From glibc's malloc.h: what is free at the heap's end is given back above the one; a block above the other is mapped
for itself, and given back when it is freed."""
