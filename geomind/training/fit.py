"""One training loop for every network. Network, loss, score and sampler are passed in; it knows no regions."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback, EarlyStopping
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from geomind.checkpoints import Description, save_checkpoint
from geomind.config import TrainingConfig
from geomind.data.dataset import Batch, PhotoDataset, collate
from geomind.devices import pick_device, torch_threads_beside
from geomind.errors import TrainingError
from geomind.progress import SILENT, Progress
from geomind.training.losses import Loss
from geomind.training.runs import Run

Score = Callable[[NDArray[np.float32], NDArray[Any]], dict[str, float]]
"""Outputs and targets of all validation photos -> metrics by name."""


@dataclass(frozen=True)
class Task:
    """What is trained: a network, what it minimises, and how it is judged."""

    title: str
    """What the progress bar says, as in `Director`."""
    network: nn.Module
    loss: Loss
    score: Score
    shown: str
    """The metric shown while training, as in `accuracy`."""


@dataclass(frozen=True)
class FitResult:
    """The best epoch of a training, by validation loss; its weights lie in the run folder."""

    epochs: int
    metrics: dict[str, float]


def fit(
    task: Task,
    photos: PhotoDataset,
    validation: PhotoDataset,
    config: TrainingConfig,
    run: Run,
    describe: Callable[[Mapping[str, float]], Description],
    *,
    sampler: Sampler[int] | None = None,
    progress: Progress = SILENT,
) -> FitResult:
    """Train until the validation loss no longer falls; write the best weights, the metrics and the curves to the run.

    Args:
        task: What is trained.
        photos: Photos to learn from.
        validation: Photos to judge by.
        config: The settings.
        run: The run folder.
        describe: Metrics of the best epoch -> the description that its weights carry.
        sampler: The order of the photos; shuffled anew each epoch where it is None.
        progress: Shows epochs, loss and metric.

    Raises:
        TrainingError: the loss is not a finite number, no photo can be read, or SIGTERM came.
        KeyboardInterrupt: Ctrl-C came.
    """
    train_loader = _loader(photos, config, sampler=sampler, shuffle=sampler is None)
    stage = Stage(task, config, steps=config.max_epochs * len(train_loader))
    best = _KeepBest(run, task, describe)
    with (
        _quiet_lightning(),
        torch_threads_beside(config.workers),
        progress.track(f"Training {task.title}", config.max_epochs * len(train_loader)) as advance,
    ):
        callbacks: list[Callback] = [best, _Watch(task, run, advance, config.max_epochs)]
        if config.schedule == "plateau":
            callbacks.append(EarlyStopping("val_loss", patience=config.early_stopping_patience, mode="min"))
        trainer = lightning.Trainer(
            accelerator="gpu" if pick_device(config.device) == "cuda" else "cpu",
            devices=1,
            max_epochs=config.max_epochs,
            logger=False,
            enable_checkpointing=False,  # ours are safetensors
            enable_progress_bar=False,  # ours tells the metric, and stands among others in `--region all`
            enable_model_summary=False,
            num_sanity_val_steps=0,
            callbacks=callbacks,
        )
        try:
            trainer.fit(stage, train_loader, _loader(validation, config))
        except SystemExit as stop:  # what Lightning makes of Ctrl-C and of SIGTERM
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if trainer.interrupted:
                raise KeyboardInterrupt from stop
            raise TrainingError(
                f"Stopped by SIGTERM after {len(run.epochs)} epochs of {task.title}. The best weights so far are in "
                f"{run.folder}."
            ) from stop
    run.finish()
    return FitResult(epochs=len(run.epochs), metrics=best.metrics)


class Stage(lightning.LightningModule):
    """A task as Lightning wants it."""

    def __init__(self, task: Task, config: TrainingConfig, steps: int) -> None:
        super().__init__()
        self.network = task.network.to(memory_format=torch.channels_last)  # a third faster
        self._loss = task.loss
        self._score = task.score
        self._config = config
        self._steps = steps
        self._seen: list[tuple[Tensor, Tensor]] = []
        self._learned = 0

    def configure_optimizers(self) -> Any:
        """AdamW, with the schedule that the settings name."""
        config = self._config
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        if config.schedule == "one_cycle":
            schedule: Any = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, max_lr=config.learning_rate, total_steps=max(self._steps, 1)
            )
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=config.plateau_factor, patience=config.plateau_patience
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss"}}

    def training_step(self, batch: Batch, _: int) -> Tensor | None:
        """Return the loss of a batch, or None for one in which no photo could be read."""
        pixels, targets = batch
        if len(pixels) == 0:
            return None
        self._learned += len(pixels)
        with _resting_normalisation(self.network) if len(pixels) == 1 else contextlib.nullcontext():
            loss = self._loss(self.network(_channels_last(pixels)), targets)
        if not torch.isfinite(loss):
            raise TrainingError(self._not_finite("loss", loss))
        self.log("train_loss", loss, on_step=True, on_epoch=True, batch_size=len(pixels))
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """Keep the answers of a batch until all are there."""
        pixels, targets = batch
        if len(pixels):
            self._seen.append((self.network(_channels_last(pixels)), targets))

    def on_validation_epoch_end(self) -> None:
        """Judge the answers to all validation photos at once."""
        if not self._seen:
            raise TrainingError("None of the validation photos could be read; see the warnings above.")
        if not self._learned:
            raise TrainingError("None of the training photos could be read; see the warnings above.")
        outputs, targets = (torch.cat(part) for part in zip(*self._seen, strict=True))
        self._seen.clear()
        loss = self._loss(outputs, targets)
        if not torch.isfinite(loss):
            raise TrainingError(self._not_finite("validation loss", loss))
        self.log("val_loss", loss)
        scores = self._score(outputs.float().cpu().numpy(), targets.cpu().numpy())
        self.log_dict({f"val_{name}": float(value) for name, value in scores.items()})

    def _not_finite(self, what: str, loss: Tensor) -> str:
        return (
            f"The {what} became {loss.item()} in epoch {self.current_epoch + 1}. Lower the rate, as in "
            f"--set learning_rate={self._config.learning_rate / 10:g}."
        )


@contextlib.contextmanager
def _resting_normalisation(network: nn.Module) -> Iterator[None]:
    """Let batch normalisation use its running statistics: those of a single photo are none, and stop it at 1x1 maps."""
    active = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    for module in active:
        module.eval()
    try:
        yield
    finally:
        for module in active:
            module.train()


def _channels_last(pixels: Tensor) -> Tensor:
    return pixels.contiguous(memory_format=torch.channels_last)


class _KeepBest(Callback):
    """Writes the weights of the epoch with the lowest validation loss, as soon as it is over."""

    def __init__(self, run: Run, task: Task, describe: Callable[[Mapping[str, float]], Description]) -> None:
        self.metrics: dict[str, float] = {}
        self._run = run
        self._task = task
        self._describe = describe

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        metrics = _numbers(trainer.callback_metrics, "val_")
        if metrics["val_loss"] < self.metrics.get("val_loss", math.inf):
            self.metrics = metrics
            save_checkpoint(self._run.weights, self._task.network.state_dict(), self._describe(metrics))


class _Watch(Callback):
    """Tells the progress bar and ``metrics.csv`` how it goes."""

    def __init__(self, task: Task, run: Run, advance: Callable[..., None], max_epochs: int) -> None:
        self._shown = f"val_{task.shown}"
        self._run = run
        self._advance = advance
        self._max_epochs = max_epochs
        self._started = time.monotonic()
        self._seconds = 0.0
        self._photos = 0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._started = time.monotonic()
        self._photos = 0

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        self._photos += len(batch[0])
        self._seconds = time.monotonic() - self._started
        metrics = trainer.callback_metrics
        note = f"epoch {trainer.current_epoch + 1}/{self._max_epochs}"
        if "train_loss_step" in metrics:
            note += f"  loss {float(metrics['train_loss_step']):.3f}"
        if self._shown in metrics:
            note += f"  {self._shown} {float(metrics[self._shown]):.4g}"
        self._advance(1, note=f"{note}  {self._photos / max(self._seconds, 1e-9):.0f} photos/s")

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        metrics = trainer.callback_metrics
        self._run.log_epoch(
            {
                "epoch": trainer.current_epoch + 1,
                "train_loss": float(metrics.get("train_loss_epoch", math.nan)),
                **_numbers(metrics, "val_"),
                "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
                "photos_per_s": self._photos / max(self._seconds, 1e-9),
            }
        )


def _loader(photos: PhotoDataset, config: TrainingConfig, **order: Any) -> DataLoader[Batch | None]:
    return DataLoader(
        photos,
        batch_size=config.batch_size,
        num_workers=config.workers,
        persistent_workers=config.workers > 0,
        pin_memory=torch.cuda.is_available(),
        collate_fn=collate,
        **order,
    )


def _numbers(metrics: Mapping[str, Tensor], prefix: str) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if name.startswith(prefix)}


class _quiet_lightning(warnings.catch_warnings):  # noqa: N801 - used as a block, as its parent is
    """Holds back Lightning's remarks on devices, workers and logging, none of which its user here can act on."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        self._levels = {name: logging.getLogger(name).level for name in _LIGHTNING_LOGGERS}
        for name in _LIGHTNING_LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)

    def __exit__(self, *error: Any) -> None:
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        super().__exit__(*error)


_LIGHTNING_LOGGERS = ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda")
