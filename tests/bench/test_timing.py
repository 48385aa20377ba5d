from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomind.bench.timing import Compared, Spread, StepClock, StepsDone, flat, interleave, legs, write_figures
from geomind.errors import OutputError

RATES = st.lists(st.floats(1e-3, 1e6), min_size=1)


@given(RATES)
def test_a_spread_holds_its_median(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread.least <= spread.median <= spread.most
    assert {spread.least, spread.most} <= set(values)
    assert sum(value < spread.median for value in values) <= len(values) / 2


@given(st.floats(1e-3, 1e3), st.floats(1, 10), st.integers(1, 5))
def test_a_steady_drift_leaves_the_ratio_as_it_is(share: float, drift: float, rounds: int) -> None:
    """A machine that slows down while one measures slows the reference on both sides of a leg."""
    clock = [1000.0]

    def speed() -> float:
        clock[0] -= drift
        return clock[0]

    _, compared = interleave(speed, {"work": lambda: share * speed()}, rounds=rounds, advance=lambda *_, **__: None)
    assert len(compared["work"]) == rounds
    for each in compared["work"]:
        assert each.ratio == pytest.approx(share)


@given(st.integers(1, 4), st.integers(1, 4))
def test_every_leg_stands_between_two_of_the_reference(rounds: int, others: int) -> None:
    told: list[str] = []

    def leg(name: str) -> float:
        told.append(name)
        return float(len(told))

    advanced: list[int] = []
    names = [f"leg {number}" for number in range(others)]
    references, compared = interleave(
        lambda: leg("reference"),
        {name: lambda name=name: leg(name) for name in names},  # type: ignore[misc]
        rounds=rounds,
        advance=lambda steps, note="": advanced.append(steps),
    )
    assert told[::2] == ["reference"] * len(references)
    assert told[1::2] == names * rounds
    assert sum(advanced) == len(told) == legs(rounds, others)
    assert all(each.figure == each.reference for pairs in compared.values() for each in pairs)


def test_a_step_clock_times_the_steps_after_the_warm_up_and_ends_the_work() -> None:
    clock, done = StepClock(2, warm_up=1), 0
    with pytest.raises(StepsDone), clock.track("work", 10) as advance:
        advance(0)  # what is told when nothing is done yet counts for none
        for seconds in (0.2, 0.01, 0.02, 9):
            time.sleep(seconds)
            done += 1
            advance(1, note="a step")
    assert done == 3
    assert 0.03 <= clock.seconds < 0.2


@dataclass(frozen=True)
class Figures:
    rate: Spread
    gpu_rate: Spread | None
    machine: dict[str, object]


FIGURES = Figures(Spread(2.0, 1.0, 3.0), None, {"cores": 2, "gpu": None})


def test_figures_are_flat(tmp_path: Path) -> None:
    wanted = {"rate": 2.0, "rate_min": 1.0, "rate_max": 3.0, "gpu_rate": None, "cores": 2, "gpu": None}
    assert flat(FIGURES) == wanted
    write_figures(FIGURES, tmp_path / "figures.json")
    assert json.loads((tmp_path / "figures.json").read_text()) == wanted
    with pytest.raises(OutputError, match="exists already"):
        write_figures(FIGURES, tmp_path / "figures.json")
    write_figures(FIGURES, tmp_path / "figures.json", overwrite=True)


def test_a_ratio_is_to_the_reference() -> None:
    assert Compared(figure=9.0, reference=10.0).ratio == 0.9
