"""How a training ends before its time: signals, and memory that does not suffice. It knows no networks."""

from __future__ import annotations

import contextlib
import logging
import re
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from geomind.config import TrainingConfig
from geomind.errors import TrainingError
from geomind.training.runs import Run

logger = logging.getLogger(__name__)

_IMPATIENT_SECONDS = 2.0  # after which a second signal is a second wish


class StopSignals:
    """Hears SIGTERM and Ctrl-C while the block runs, so that a training can end between two steps.

    A second signal ends it at once; but one that follows right away is the same wish, passed on by a launcher.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._heard_at = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():  # Python delivers signals to no other
            self._before = {number: signal.signal(number, self._hear) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def obey(self, run: Run) -> None:
        """Do what the signal would have done, now that all is saved; of another process's signal, leave as well."""
        logger.warning("Stopped. Go on with the same command and --resume %s", run.folder)
        self.__exit__()
        if self.signal is not None:
            signal.raise_signal(self.signal)
        raise TrainingError(
            f"Another process of this training was told to stop. Go on with the same command and --resume {run.folder}"
        )

    def _hear(self, number: int, _: object) -> None:
        if self.signal is None:
            self.signal, self._heard_at = number, time.monotonic()
        elif time.monotonic() - self._heard_at > _IMPATIENT_SECONDS:
            self.__exit__()
            signal.raise_signal(number)


@contextlib.contextmanager
def advice_on_memory(config: TrainingConfig) -> Iterator[None]:
    """Say which setting to halve when memory does not suffice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if _DECODER_ENDED.search(str(error)):
            raise TrainingError(
                f"A process that decodes photos was ended, most often for want of memory: --set workers="
                f"{config.workers // 2}" + (" --set cache_photos=false." if config.cache_photos else ".")
            ) from error
        if isinstance(error, RuntimeError) and not _OUT_OF_MEMORY.search(str(error)):
            raise
        halved = max(1, config.batch_size // 2)
        advice = (
            f"--set batch_size={halved} --set accumulate={2 * config.accumulate} learns the same with about half of it"
            if config.batch_size > 1
            else f"lower image_size={config.image_size}, or choose a smaller backbone"
        )
        raise TrainingError(f"Memory does not suffice for batches of {config.batch_size} photos: {advice}.") from error


_OUT_OF_MEMORY = re.compile(r"out of memory|not enough memory|can't allocate memory", re.IGNORECASE)
_DECODER_ENDED = re.compile(r"DataLoader worker.* killed by signal: (Killed|Bus error)|shared memory", re.DOTALL)


def leave_signals_to_the_training(_: int) -> None:
    """Ignore what is meant for the training, in a process that decodes for it: a whole group of processes is told."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
