"""One training loop for every network. Network, losses and score are passed in; it knows no regions.

All that is random in a step is drawn from a seed made of the settings' seed and the step's number. A training that is
taken up again therefore goes on as if it had never stopped, without remembering the state of any generator.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau
from torch.utils.data import DataLoader, Sampler

from geomind.checkpoints import Description, load_state, save_checkpoint, save_state
from geomind.config import TrainingConfig
from geomind.data.dataset import Batch, Draw, collate
from geomind.devices import pick_device, torch_threads_beside
from geomind.errors import CheckpointError, TrainingError
from geomind.progress import SILENT, Progress
from geomind.training.losses import Loss
from geomind.training.mixing import Mix
from geomind.training.order import EpochOrder, FixedOrder
from geomind.training.processes import gather, restore_scaler, scaler_state
from geomind.training.runs import Run
from geomind.training.stopping import StopSignals, advice_on_memory, leave_signals_to_the_training
from geomind.training.tracking import Events

logger = logging.getLogger(__name__)

Score = Callable[[NDArray[np.float32], NDArray[np.int64]], dict[str, float]]
"""Outputs (N, …) of the validation photos that can be read, and which ones they are (N,) -> metrics by name."""

CRITERIA = {"loss": ("val_loss", -1), "accuracy": ("val_accuracy", 1), "geoscore": ("val_geoscore", 1)}
"""What an epoch may be chosen by: the metric, and whether more (1) or less (-1) is better."""

_SECONDS_AT_LEAST = 1.0  # between the snapshots after epochs: those of a head on kept features take milliseconds


class Photos(Protocol):
    """What a training learns from or is judged by: items by draw, and the files that they come from."""

    @property
    def paths(self) -> list[Path]:
        """The file of each item."""
        ...

    @property
    def ready(self) -> bool:
        """Whether items come without work, so that no other process need make them."""
        ...

    def __len__(self) -> int: ...

    def blank(self) -> Batch:
        """Give a batch of one item that shows nothing."""
        ...


@dataclass(frozen=True)
class Task:
    """What is trained: a network, what it minimises, and how it is judged."""

    title: str
    """What the progress bar says, as in `Director`."""
    network: nn.Module
    """What learns."""
    loss: Loss
    """What it minimises."""
    validation_loss: Loss
    """What it is judged by; the same for all recipes, so that their curves compare."""
    score: Score
    shown: str
    """The metric shown while training, as in `accuracy`."""
    whole: nn.Module
    """What is saved: the network itself, or one that it is a part of."""
    mix: Mix | None = None
    """Blends the photos of a batch with each other."""


@dataclass(frozen=True)
class FitResult:
    """What a training came to; its weights lie in the run folder."""

    epochs: list[dict[str, float]]
    """What ``metrics.csv`` holds, one an epoch."""
    metrics: dict[str, float]
    """Those of the epoch that the settings choose."""


def fit(
    task: Task,
    photos: Photos,
    validation: Photos,
    config: TrainingConfig,
    run: Run,
    describe: Callable[[Mapping[str, float]], Description],
    *,
    fabric: Fabric,
    weights: NDArray[np.float64] | None = None,
    shards: NDArray[np.int64] | None = None,
    progress: Progress = SILENT,
) -> FitResult:
    """Train until the validation loss no longer falls; leave the best weights and the metrics in the run.

    A run folder that holds a snapshot is gone on with from there.

    Args:
        task: What is trained.
        photos: Photos to learn from.
        validation: Photos to judge by.
        config: The settings.
        run: The run folder.
        describe: Metrics of an epoch -> the description that its weights carry.
        fabric: The processes and devices that train together.
        weights: (photos,) how often each is drawn, relative to the others; each once an epoch where it is None.
        shards: (photos,) the shard that each lies in, if any.
        progress: Shows epochs, loss and metric.

    Raises:
        TrainingError: the loss is not a finite number, no photo can be read, or memory does not suffice.
        CheckpointError: the snapshot is damaged.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came; a snapshot was written.
    """
    order = EpochOrder(
        len(photos), config.batch_size, seed=config.seed, weights=weights, shards=shards,
        rank=fabric.global_rank, world_size=fabric.world_size,
    )  # fmt: skip
    judged = FixedOrder(len(validation), config.batch_size, rank=fabric.global_rank, world_size=fabric.world_size)
    with torch.random.fork_rng(devices=[]), StopSignals() as stop, advice_on_memory(config):
        training = _Training(task, config, run, describe, fabric, order, photos, stop)
        if run.snapshot.is_file():
            training.restore()
        train_loader, loader = _loader(photos, order, config), _loader(validation, judged, config)
        wanted = config.tensorboard and fabric.is_global_zero
        with (
            torch_threads_beside(0 if photos.ready else config.workers),
            Events(run.folder, wanted=wanted, first=training.batches_seen) as events,
            progress.track(f"Training {task.title}", config.max_epochs * order.batches) as advance,
        ):
            advance(training.batches_seen)
            while not training.finished:
                training.learn(train_loader, advance, events)
                training.judge(loader, events)
        training.save()
    return FitResult(training.epochs, training.best[config.select])


class _Training:
    """A training at some point of its way: what a snapshot holds, and how it goes on from there."""

    def __init__(
        self,
        task: Task,
        config: TrainingConfig,
        run: Run,
        describe: Callable[[Mapping[str, float]], Description],
        fabric: Fabric,
        order: EpochOrder,
        photos: Photos,
        stop: StopSignals,
    ) -> None:
        self.epoch = self.batch = 0
        self.best: dict[str, dict[str, float]] = {}
        self.epochs: list[dict[str, float]] = []
        self._stalled = 0
        self._loss_sum, self._learned, self._photos_per_s = 0.0, 0, 0.0
        self._unsaved: dict[str, tuple[dict[str, Tensor], Description]] = {}
        self._saved_at = time.monotonic()
        self._told_to_stop = self._has_gradients = False
        self._task, self._config, self._run, self._describe = task, config, run, describe
        self._fabric, self._order, self._photos, self._stop = fabric, order, photos, stop
        network = task.network.to(memory_format=torch.channels_last)  # a third faster
        optimizer = torch.optim.AdamW(
            [weight for weight in network.parameters() if weight.requires_grad],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        self._schedule = _schedule(optimizer, config, steps=math.ceil(order.batches / config.accumulate))
        self._bare_optimizer = optimizer
        self._network, self._optimizer = fabric.setup(network, optimizer)

    @property
    def finished(self) -> bool:
        """Whether all epochs are over, or the validation loss has not fallen for too many of them."""
        if self._config.schedule == "plateau" and self._stalled >= self._config.early_stopping_patience:
            return True
        return self.epoch >= self._config.max_epochs

    @property
    def batches_seen(self) -> int:
        """Batches learned from so far, in all epochs."""
        return self.epoch * self._order.batches + self.batch

    def learn(self, loader: DataLoader[Batch], advance: Callable[..., None], events: Events) -> None:
        """Go through the batches of the epoch that are left."""
        config, order = self._config, self._order
        order.epoch, order.first_batch = self.epoch, self.batch
        self._network.train()
        started, here = time.monotonic(), 0
        for batch in loader if self.batch < order.batches else ():
            first = self.batch - self.batch % config.accumulate
            passes = min(config.accumulate, order.batches - first)
            planned = min(passes * config.batch_size, order.photos - first * config.batch_size)
            loss_sum, seen = self._pass(batch, planned, last=self.batch + 1 == first + passes)
            self.batch += 1
            self._loss_sum += loss_sum
            self._learned += seen
            here += seen
            self._photos_per_s = here / max(time.monotonic() - started, 1e-9)
            advance(1, note=self._note(loss_sum / max(seen, 1)))
            events.add({"batch_loss": loss_sum / max(seen, 1)}, self.batches_seen)
            if self.batch == first + passes:
                self._pause()

    def judge(self, loader: DataLoader[Batch], events: Events) -> None:
        """Answer all validation photos, keep the weights if they are the best yet, and end the epoch."""
        if not self._learned:
            raise TrainingError("None of the training photos could be read; see the warnings above.")
        outputs, targets, indices = self._answers(loader)
        losses = self._task.validation_loss(torch.from_numpy(outputs), torch.from_numpy(targets))
        metrics = {"val_loss": float(losses.double().mean())}
        if not math.isfinite(metrics["val_loss"]):
            raise TrainingError(self._not_finite("validation loss", metrics["val_loss"]))
        scores = self._task.score(outputs, indices)
        metrics |= {f"val_{name}": float(value) for name, value in scores.items()}
        self._stalled = 0 if self._is_better(metrics, "loss") else self._stalled + 1
        self._keep(metrics)
        row = {
            "epoch": float(self.epoch + 1),
            "train_loss": self._loss_sum / self._learned,
            **metrics,
            "learning_rate": float(self._bare_optimizer.param_groups[0]["lr"]),
            "photos_per_s": self._photos_per_s,
        }
        self.epochs.append(row)
        if isinstance(self._schedule, ReduceLROnPlateau):
            self._schedule.step(metrics["val_loss"])
        self.epoch, self.batch, self._loss_sum, self._learned = self.epoch + 1, 0, 0.0, 0
        if self._fabric.is_global_zero:
            self._run.log_epochs(self.epochs)
            events.add(row, self.batches_seen)
            logger.info("%s: %s", self._task.title, "  ".join(f"{name} {value:.5g}" for name, value in row.items()))
        if time.monotonic() - self._saved_at >= _SECONDS_AT_LEAST:
            self.save()

    def save(self) -> None:
        """Write the weights worth keeping, and the snapshot that ``restore`` goes on from."""
        self._saved_at = time.monotonic()
        if not self._fabric.is_global_zero:
            return
        for name, (weights, description) in self._unsaved.items():
            save_checkpoint(self._run.weights(name), weights, description)
        self._unsaved.clear()
        state: dict[str, Any] = {
            "network": self._task.network.state_dict(),
            "optimizer": self._bare_optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": scaler_state(self._fabric),
            **{name: getattr(self, name) for name in _REMEMBERED},
        }
        save_state(self._run.snapshot, state)

    def restore(self) -> None:
        """Take up a training where its snapshot was written.

        Raises:
            CheckpointError: the snapshot is damaged or another training's.
        """
        state = load_state(self._run.snapshot)
        try:
            self._task.network.load_state_dict(state["network"])
            self._bare_optimizer.load_state_dict(state["optimizer"])
            self._schedule.load_state_dict(state["schedule"])
            restore_scaler(self._fabric, state["scaler"])
            for name in _REMEMBERED:
                setattr(self, name, state[name])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"The snapshot {self._run.snapshot} is not of this training. Start a new run."
            ) from error

    def _pass(self, batch: Batch, planned: int, *, last: bool) -> tuple[float, int]:
        """Learn from one batch of a step of so many photos, and step if it is the last: -> summed loss, photos seen."""
        fabric, config = self._fabric, self._config
        torch.manual_seed(_seed(config.seed, self.epoch, self.batch, fabric.global_rank))
        own = len(batch.inputs)
        inputs, targets, _ = fabric.to_device(batch if own else self._photos.blank())
        if own and self._task.mix is not None:
            inputs, targets = self._task.mix(inputs, targets)
        with (
            fabric.no_backward_sync(self._network, enabled=not last),
            _resting_normalisation(self._network if len(inputs) == 1 else None),
        ):
            losses = self._task.loss(self._network(_channels_last(inputs)).float(), targets)
            loss = losses.sum() if own else 0 * losses.sum()
            loss_sum, seen = self._of_all(float(loss.detach()), own)
            if not math.isfinite(loss_sum):
                raise TrainingError(self._not_finite("loss", loss_sum, batch, losses))
            # Each photo of a step counts the same, in whichever pass; DDP averages gradients over the processes.
            fabric.backward(loss * (fabric.world_size / planned))
            self._has_gradients |= seen > 0
        if last and self._has_gradients:
            if config.clip_norm:
                fabric.clip_gradients(
                    self._network, self._optimizer, max_norm=config.clip_norm, error_if_nonfinite=False
                )
            self._optimizer.step()
            self._optimizer.zero_grad()
            self._has_gradients = False
        if last and isinstance(self._schedule, OneCycleLR):
            self._schedule.step()
        return loss_sum, seen

    def _of_all(self, loss_sum: float, photos: int) -> tuple[float, int]:
        """Sum over the processes, and hear whether one of them was told to stop."""
        mine = torch.tensor([loss_sum, photos, self._stop.signal is not None], dtype=torch.float64)
        told = self._fabric.all_reduce(mine, reduce_op="sum") if self._fabric.world_size > 1 else mine
        self._told_to_stop = bool(told[2])
        return float(told[0]), int(told[1])

    def _pause(self) -> None:
        """Between two steps: write a snapshot when it is time, and stop where that is asked for."""
        if self._told_to_stop or time.monotonic() - self._saved_at >= self._config.snapshot_seconds:
            self.save()
        if self._told_to_stop:
            self._stop.obey(self._run)

    @torch.no_grad()
    def _answers(self, loader: DataLoader[Batch]) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.int64]]:
        """Answer the validation photos of all processes: outputs, targets and numbers of those that can be read."""
        self._network.eval()
        if self._fabric.world_size > 1:  # DDP hands the first one's statistics to all here, also to who has no photo
            self._network(_channels_last(self._fabric.to_device(self._photos.blank()).inputs))
        seen: list[tuple[NDArray[Any], ...]] = []
        for batch in loader:
            if len(batch.inputs):
                inputs, targets, indices = self._fabric.to_device(batch)
                outputs = self._network(_channels_last(inputs)).float()
                seen.append(tuple(tensor.cpu().numpy() for tensor in (outputs, targets, indices)))
            if self._stop.signal is not None and self._fabric.world_size == 1:
                self._told_to_stop = True
                self._pause()
        own = tuple(np.concatenate(part) for part in zip(*seen, strict=True)) if seen else (np.empty(0),) * 3
        outputs, targets, indices = gather(self._fabric, *own)
        if not len(outputs):
            raise TrainingError("None of the validation photos could be read; see the warnings above.")
        order = np.argsort(indices)
        return outputs[order], targets[order], indices[order]

    def _is_better(self, metrics: Mapping[str, float], criterion: str) -> bool:
        name, sign = CRITERIA[criterion]
        return criterion not in self.best or sign * metrics[name] > sign * self.best[criterion][name]

    def _keep(self, metrics: dict[str, float]) -> None:
        """Remember this epoch's weights as the last, and as the best where they are."""
        whole = self._task.whole.state_dict() if self._fabric.is_global_zero else {}
        kept = {name: tensor.detach().cpu().clone() for name, tensor in whole.items()}, self._describe(metrics)
        self._unsaved["last"] = kept
        for criterion, (name, _) in CRITERIA.items():
            if name in metrics and self._is_better(metrics, criterion):
                self.best[criterion] = metrics
                self._unsaved[criterion] = kept

    def _note(self, loss: float) -> str:
        note = f"epoch {self.epoch + 1}/{self._config.max_epochs}  loss {loss:.3f}"
        if self.epochs:
            shown = f"val_{self._task.shown}"
            note += f"  {shown} {self.epochs[-1][shown]:.4g}"
        return f"{note}  {self._photos_per_s:.0f} photos/s"

    def _not_finite(self, what: str, value: float, batch: Batch | None = None, losses: Tensor | None = None) -> str:
        """Say what went wrong; which photos were seen is written out, those without a finite loss of their own."""
        said = (
            f"The {what} became {value} in epoch {self.epoch + 1}. Lower the rate, as in "
            f"--set learning_rate={self._config.learning_rate / 10:g}"
        )
        if batch is None or losses is None or not len(batch.inputs):
            return f"{said}."
        culprits = [
            str(self._photos.paths[index])
            for index, finite in zip(batch.indices.tolist(), torch.isfinite(losses).tolist(), strict=True)
            if not finite
        ]
        if not culprits:  # another process of this training has them
            return f"{said}."
        logger.error("Photos whose loss is no number: %s", ", ".join(culprits))
        return f"{said}; or look at the photos of that batch, named above and in {self._run.folder / 'run.log'}."


_REMEMBERED = ("epoch", "batch", "best", "epochs", "_stalled", "_loss_sum", "_learned")
"""What a snapshot holds of a training beside the states of network, optimizer, schedule and scaler."""


@contextlib.contextmanager
def _resting_normalisation(network: nn.Module | None) -> Iterator[None]:
    """Let batch normalisation use its running statistics: those of a single photo are none, and stop it at 1x1 maps."""
    modules = () if network is None else network.modules()
    active = [m for m in modules if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    for module in active:
        module.eval()
    try:
        yield
    finally:
        for module in active:
            module.train()


def _channels_last(inputs: Tensor) -> Tensor:
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs


def _schedule(optimizer: torch.optim.Optimizer, config: TrainingConfig, steps: int) -> ReduceLROnPlateau | OneCycleLR:
    """Build the schedule that the settings name; ``steps`` is those of an epoch."""
    if config.schedule == "one_cycle":
        return OneCycleLR(optimizer, max_lr=config.learning_rate, total_steps=config.max_epochs * steps + 1)
    return ReduceLROnPlateau(optimizer, factor=config.plateau_factor, patience=config.plateau_patience)


def _loader(photos: Photos, order: Sampler[list[Draw]], config: TrainingConfig) -> DataLoader[Batch]:
    workers = 0 if photos.ready else config.workers
    return DataLoader(
        photos,  # type: ignore[arg-type]
        batch_sampler=order,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pick_device(config.device) == "cuda",
        collate_fn=collate,
        worker_init_fn=leave_signals_to_the_training,
    )


def _seed(*numbers: int) -> int:
    """Mix numbers into one seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
