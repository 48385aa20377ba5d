from __future__ import annotations

import atexit
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from few_photos import DIRECTOR

from geomind.config import DirectorConfig
from geomind.errors import ConfigError
from geomind.training import processes
from geomind.training.processes import gather, restore_scaler, scaler_state, start_fabric


def config(**settings: Any) -> DirectorConfig:
    return DIRECTOR.model_copy(update=settings)


def test_alone_there_is_one_process() -> None:
    fabric = start_fabric(DIRECTOR)
    assert (fabric.world_size, fabric.global_rank, fabric.device) == (1, 0, torch.device("cpu"))
    assert fabric.is_global_zero


@pytest.mark.parametrize(("precision", "inside"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_passes_are_of_the_precision_asked_for(precision: str, inside: torch.dtype) -> None:
    fabric = start_fabric(config(precision=precision))
    network = torch.nn.Linear(3, 2)
    wrapped = fabric.setup(network)
    seen: list[torch.dtype] = []
    network.register_forward_hook(lambda module, given, answer: seen.append(answer.dtype))
    wrapped(torch.ones(4, 3))
    assert seen == [inside]
    assert network.weight.dtype == torch.float32
    restore_scaler(fabric, scaler_state(fabric))  # there is none on a CPU, and that is no error


def test_what_these_devices_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"precision=fp16 needs a GPU\. Choose --set precision=bf16, or fp32"):
        start_fabric(config(precision="fp16"))
    with pytest.raises(ConfigError, match="no CUDA GPU"):
        start_fabric(config(device="cuda"))


def test_more_processes_than_photos_in_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(ConfigError, match="--set batch_size=8 or more"):
        start_fabric(config(batch_size=7))


def test_processes_that_trained_together_end_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two that had trained, starved by other work, aborted at its end: Gloo's thread still held a tensor.

    torchrun then stopped the other one. One alone has no such thread, and ends at once.
    """
    ends: list[Callable[[], None]] = []
    slept: list[float] = []
    monkeypatch.setattr(atexit, "register", ends.append)
    monkeypatch.setattr(time, "sleep", slept.append)
    start_fabric(DIRECTOR)
    assert not ends
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(processes, "Fabric", lambda **settings: SimpleNamespace(launch=lambda: None))
    start_fabric(DIRECTOR)
    (end,) = ends
    end()
    assert slept == [processes.LAST_EXCHANGE_SECONDS]


def test_alone_all_is_gathered() -> None:
    arrays = np.arange(3), np.eye(3)
    given = gather(start_fabric(DIRECTOR), *arrays)
    assert all(mine is its for mine, its in zip(arrays, given, strict=True))


@pytest.mark.parametrize(
    ("of_each", "together"),
    [([[1, 2], [3]], [1, 2, 3]), ([[], [3]], [3]), ([[1], []], [1]), ([[], []], [])],
)
def test_what_the_processes_have_is_put_together(
    of_each: list[list[int]], together: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty process gives empty rows of another shape and type, which must not spoil those of the others."""

    def everyone(target: list[Any], mine: Any) -> None:
        target[:] = [
            (np.array(own), np.ones((len(own), 13), np.float32)) if own else (np.empty(0), np.empty(0))
            for own in of_each
        ]

    monkeypatch.setattr(torch.distributed, "all_gather_object", everyone)
    fabric: Any = SimpleNamespace(world_size=2)
    ids, outputs = gather(fabric, np.empty(0), np.empty(0))
    assert ids.tolist() == together
    assert len(outputs) == len(together)
    if together:
        assert ids.dtype == np.int64
        assert outputs.dtype == np.float32
