"""A log file beside long work. The library stays silent by itself: whoever runs it says where its words go."""

from __future__ import annotations

import contextlib
import gzip
import logging
import shutil
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path

from geomind.errors import OutputError

MAX_BYTES = 10_000_000
"""A log file that has grown to this size is set aside, compressed."""

BACKUPS = 5
"""As many are kept that way."""


@contextlib.contextmanager
def log_file(path: Path | str) -> Iterator[None]:
    """Write what GeoMind says while the block runs, from INFO on, to a file that is rotated and compressed.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        handler = RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"Cannot write the log {path}: {(error.strerror or str(error)).lower()}.") from error
    handler.namer = _compressed_name
    handler.rotator = _compress
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.setLevel(logging.INFO)
    logger = logging.getLogger("geomind")
    before, heard = logger.level, logger.getEffectiveLevel()
    others = _handlers_of(logger)

    def as_before(record: logging.LogRecord) -> bool:
        return record.levelno >= heard or record.name.partition(".")[0] != "geomind"

    for other in others:  # what they hear must not change because the file wants to hear more
        other.addFilter(as_before)
    added: list[logging.Handler] = [handler]
    if not others and logging.lastResort is not None:  # what nobody hears, Python says on stderr: it still shall
        added.append(logging.lastResort)
    for new in added:
        logger.addHandler(new)
    logger.setLevel(min(logging.INFO, heard))
    try:
        yield
    except Exception as error:
        handler.handle(_ending(error))  # who catches it says it on; the file would know nothing of it
        raise
    finally:
        for new in added:
            logger.removeHandler(new)
        handler.close()
        logger.setLevel(before)
        for other in others:
            other.removeFilter(as_before)


def _ending(error: Exception) -> logging.LogRecord:
    where = (type(error), error, error.__traceback__)
    return logging.LogRecord(__name__, logging.ERROR, __file__, 0, "It ended early: %s", (error,), where)


def _handlers_of(logger: logging.Logger) -> list[logging.Handler]:
    """Give the handlers that hear a logger, its own and those of the program that uses it."""
    handlers: list[logging.Handler] = []
    while True:
        handlers += logger.handlers
        if not logger.propagate or logger.parent is None:
            return handlers
        logger = logger.parent


def _compressed_name(name: str) -> str:
    return f"{name}.gz"


def _compress(source: str, target: str) -> None:
    with Path(source).open("rb") as plain, gzip.open(target, "wb") as packed:
        shutil.copyfileobj(plain, packed)
    Path(source).unlink()
