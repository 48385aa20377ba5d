"""Clocks and figures that every bench shares. It knows nothing of what is measured.

The speed of a shared machine drifts while one measures. So nothing is compared over minutes: the reference is measured
right before and right after whatever is compared with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geomind.files import atomic_path, refuse_existing
from geomind.progress import Advance

Leg = Callable[[], float]
"""Does one stretch of the work -> its figure, as images a second, or seconds."""


@dataclass(frozen=True)
class Spread:
    """A figure that was measured several times."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum up one value or more."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Compared:
    """A figure, and the reference around it."""

    figure: float
    reference: float
    """The mean of the one before and the one after."""

    @property
    def ratio(self) -> float:
        """The figure as a multiple of the reference."""
        return self.figure / self.reference


def interleave(
    reference: Leg, others: Mapping[str, Leg], *, rounds: int, advance: Advance
) -> tuple[list[float], dict[str, list[Compared]]]:
    """Run all legs in turn, the reference before and after each of the others.

    Args:
        reference: What the others are compared with.
        others: By name, in the order of a round.
        rounds: How often each of them is run.
        advance: Is told of each leg: ``legs(rounds, others)`` in all.

    Returns:
        The figures of the reference, one more than there are others, and those of each of the others.
    """
    before = reference()
    advance(1)
    references, compared = [before], {name: list[Compared]() for name in others}
    for _ in range(rounds):
        for name, leg in others.items():
            figure = leg()
            advance(1, note=name)
            after = reference()
            advance(1)
            compared[name].append(Compared(figure, (before + after) / 2))
            references.append(after)
            before = after
    return references, compared


def legs(rounds: int, others: int) -> int:
    """Count the legs that so many rounds of ``interleave`` run."""
    return 2 * rounds * others + 1


class StepsDone(Exception):  # noqa: N818 - it is no error
    """All steps that a ``StepClock`` was to time are done."""


class StepClock:
    """Times the steps of a piece of work by watching its progress, and ends the work with ``StepsDone``."""

    def __init__(self, steps: int, *, warm_up: int) -> None:
        """Take how many steps are timed, and how many go before them."""
        self._steps, self._warm_up = steps, warm_up
        self._done = 0
        self._started = time.perf_counter()
        self.seconds = 0.0
        """The time of the steps, once they are done."""

    @contextlib.contextmanager
    def track(self, what: str, total: int | None) -> Iterator[Advance]:
        """Watch the work."""
        del what, total
        yield self._advance

    def _advance(self, steps: float = 1, note: str = "") -> None:
        del note
        if not steps:
            return
        self._done += 1
        if self._done == self._warm_up:
            self._started = time.perf_counter()
        if self._done == self._warm_up + self._steps:
            self.seconds = time.perf_counter() - self._started
            raise StepsDone


def machine() -> dict[str, Any]:
    """Say what the figures were measured on: cores, threads that torch takes for a step, its version, the GPU."""
    import torch

    return {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def flat(figures: Any) -> dict[str, Any]:
    """Write a dataclass of figures with flat keys: a spread is its median, and ``_min`` and ``_max`` beside it."""
    keys: dict[str, Any] = {}
    for key, value in asdict(figures).items():
        if isinstance(getattr(figures, key), Spread):
            keys |= {key: value["median"], f"{key}_min": value["least"], f"{key}_max": value["most"]}
        elif isinstance(value, dict):
            keys |= value
        else:
            keys[key] = value
    return keys


def write_figures(figures: Any, path: Path | str, *, overwrite: bool = False) -> None:
    """Write a dataclass of figures as JSON with flat keys; what was not measured is null.

    Raises:
        OutputError: the file exists or cannot be written.
    """
    write_json(flat(figures), path, overwrite=overwrite)


def write_json(figures: Any, path: Path | str, *, overwrite: bool = False) -> None:
    """Write plain values as JSON.

    Raises:
        OutputError: the file exists or cannot be written.
    """
    refuse_existing(path, overwrite=overwrite)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n", encoding="utf-8")
