from __future__ import annotations

import sys

import pytest

from geomind.bench.processes import run_python
from geomind.errors import GeoMindError


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system does not tell")
def test_memory_is_that_of_the_program_and_not_ours() -> None:
    """A process that is started counts the memory of the one that started it, until it becomes another program."""
    held = bytearray(200_000_000)
    held[::4096] = b"1" * len(held[::4096])
    ran = run_python("-c", "import time; held = b'1' * 60_000_000; time.sleep(0.1)")
    assert ran.peak_memory_mb is not None
    assert 57 < ran.peak_memory_mb < 120
    assert ran.seconds > 0.1


def test_a_program_that_fails_says_why() -> None:
    with pytest.raises(GeoMindError, match=r"`python -c .*` ended with 3: the disk is full"):
        run_python("-c", "import sys; print('begun\\nthe disk is full', file=sys.stderr); sys.exit(3)")
    with pytest.raises(GeoMindError, match="ended with 1: it said nothing"):
        run_python("-c", "raise SystemExit(1)")
