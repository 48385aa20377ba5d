"""Programs run as people start them: how long they take and how much memory. It knows not what they do."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from geomind.errors import GeoMindError

_LOOK_SECONDS = 0.01
"""Between two looks at a program's memory, and at whether it is done."""


@dataclass(frozen=True)
class Ran:
    """A program that ended well."""

    seconds: float
    peak_memory_mb: float | None
    """The most memory that it ever had, MB; None where the system does not tell (it does on Linux)."""


def run_python(*arguments: str | Path) -> Ran:
    """Run Python as a process of its own.

    Raises:
        GeoMindError: it ends with an error; the message holds the last line that it said.
    """
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=said) as process:
            peak = None
            try:
                while process.poll() is None:
                    peak = _peak_memory_mb(process.pid) or peak
                    time.sleep(_LOOK_SECONDS)
            except BaseException:  # Ctrl-C: it must not go on alone
                process.kill()
                raise
        seconds = time.perf_counter() - started
        if process.returncode:
            said.seek(0)
            last = (said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            words = " ".join(map(str, arguments[:3]))
            raise GeoMindError(f"The bench cannot go on: `python {words} …` ended with {process.returncode}: {last}")
    return Ran(seconds, peak)


def _peak_memory_mb(pid: int) -> float | None:
    """Read the peak of a living process.

    What ``wait4`` tells after its end is no use: it counts the memory of whoever started the process, up to the moment
    when that became Python.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    peak = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(peak[1]) / 1024 if peak else None
