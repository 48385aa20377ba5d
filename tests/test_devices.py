from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch

from geomind.devices import cores, is_first_process, let_threads_sleep, pick_device, torch_threads_beside
from geomind.errors import ConfigError


@pytest.mark.parametrize(
    ("wanted", "there", "picked"),
    [
        ("cpu", True, "cpu"),
        ("cpu", False, "cpu"),
        ("cuda", True, "cuda"),
        ("auto", True, "cuda"),
        ("auto", False, "cpu"),
    ],
)
def test_a_gpu_is_taken_where_there_is_one_and_it_is_wanted(
    wanted: str, there: bool, picked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert pick_device(wanted) == picked  # type: ignore[arg-type]


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no CUDA GPU here"):
        pick_device("cuda")


def test_one_process_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert is_first_process()
    for rank, first in (("0", True), ("1", False), ("10", False)):
        monkeypatch.setenv("RANK", rank)
        assert is_first_process() == first


@pytest.mark.parametrize(("workers", "left"), [(0, 4), (1, 4), (4, 4), (5, 3), (7, 1), (8, 1), (100, 1)])
def test_workers_get_cores_of_their_own(workers: int, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geomind.devices.cores", lambda: 8)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with pytest.raises(ZeroDivisionError), torch_threads_beside(workers):
            assert torch.get_num_threads() == left
            raise ZeroDivisionError
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_threads_that_sleep_share_the_cores_and_keep_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    let_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    before = torch.get_num_threads()
    with torch_threads_beside(100):
        assert torch.get_num_threads() == before
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")  # whoever wants something else has it
    let_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    with torch_threads_beside(100):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_cores_are_those_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    assert cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1


FAULTS = """
import resource, sys
from geomind.devices import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(20):
    b"x" * 40_000_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_taken_again_without_page_faults() -> None:
    def run(how: str) -> tuple[int, int]:
        said = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        faults, peak_kb = map(int, said.stdout.split())
        return faults, peak_kb

    (before, before_kb), (after, after_kb) = run("give back"), run("keep")
    assert before - after > 10 * 40_000_000 / 4096
    assert after_kb < before_kb + 20_000
