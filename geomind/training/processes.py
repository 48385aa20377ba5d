"""The processes and devices that train together: one on a laptop, or as many as torchrun started. It trains nothing."""

from __future__ import annotations

import atexit
import os
import time
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from numpy.typing import NDArray

from geomind.config import TrainingConfig
from geomind.devices import pick_device
from geomind.errors import ConfigError

LAST_EXCHANGE_SECONDS = 0.5


def start_fabric(config: TrainingConfig) -> Fabric:
    """Join the processes that torchrun started, if any, on the devices that the settings name.

    Raises:
        ConfigError: the settings ask for what these devices cannot do.
    """
    device = pick_device(config.device)
    if config.precision == "fp16" and device == "cpu":
        raise ConfigError("precision=fp16 needs a GPU. Choose --set precision=bf16, or fp32.")
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if config.batch_size < world_size:
        raise ConfigError(
            f"A batch of {config.batch_size} photos cannot be shared by {world_size} processes. Choose "
            f"--set batch_size={world_size} or more."
        )
    fabric = Fabric(
        accelerator="cuda" if device == "cuda" else "cpu",
        devices=here,
        num_nodes=world_size // here,
        strategy="ddp" if world_size > 1 else "auto",
        plugins=_precision(config, device),
    )
    fabric.launch()
    if world_size > 1:
        atexit.register(_let_go)
    return fabric


def _let_go() -> None:
    """Let the threads that exchanged tensors between processes drop the last of them while Python still runs.

    Gloo's threads hold a tensor a moment longer than its exchange takes, and need the interpreter to drop it. If the
    interpreter ended meanwhile they abort the process (exit code -6), and torchrun stops the others, which may be
    writing the checkpoint. Destroying the process group does not help, for DDP keeps it alive (PyTorch 2.15).
    """
    time.sleep(LAST_EXCHANGE_SECONDS)


def _precision(config: TrainingConfig, device: str) -> MixedPrecision | None:
    if config.precision == "fp32":
        return None
    return MixedPrecision("bf16-mixed" if config.precision == "bf16" else "16-mixed", device)


def scaler_state(fabric: Fabric) -> Any:
    """Give the state of the loss's scaling in fp16, to go on with."""
    return fabric.strategy.precision.state_dict()


def restore_scaler(fabric: Fabric, state: Any) -> None:
    """Go on with a scaling of the loss."""
    fabric.strategy.precision.load_state_dict(state)


def gather(fabric: Fabric, *arrays: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Put together what the processes have: arrays (n_r, …) of each -> arrays (sum of n_r, …), the same for all."""
    if fabric.world_size == 1:
        return arrays
    everyone: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(everyone, arrays)
    filled = [own for own in everyone if len(own[0])] or everyone[:1]
    return tuple(np.concatenate(parts) for parts in zip(*filled, strict=True))
