from __future__ import annotations

import gzip
import logging
from pathlib import Path

import pytest

from geomind import logs
from geomind.errors import OutputError
from geomind.logs import log_file

LOGGER = logging.getLogger("geomind")


class Ear(logging.Handler):
    """Keeps what it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


@pytest.fixture
def ear(monkeypatch: pytest.MonkeyPatch) -> Ear:
    """The one who hears GeoMind, as the command line does."""
    ear = Ear()
    monkeypatch.setattr(LOGGER, "handlers", [ear])
    monkeypatch.setattr(LOGGER, "propagate", False)
    monkeypatch.setattr(LOGGER, "level", logging.WARNING)
    LOGGER.manager._clear_cache()  # type: ignore[attr-defined]
    return ear


def state(ear: Ear) -> tuple[object, ...]:
    return list(LOGGER.handlers), LOGGER.level, list(ear.filters)


def talk() -> None:
    for level in (logging.DEBUG, logging.INFO, logging.WARNING):
        logging.getLogger("geomind.training").log(level, logging.getLevelName(level))


def test_the_file_hears_more_than_others_did_and_these_the_same(ear: Ear, tmp_path: Path) -> None:
    before = state(ear)
    with log_file(tmp_path / "run.log"):
        talk()
    lines = (tmp_path / "run.log").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == [
        "INFO geomind.training: INFO", "WARNING geomind.training: WARNING"
    ]  # fmt: skip
    assert ear.heard == ["WARNING"]
    talk()
    assert len((tmp_path / "run.log").read_text().splitlines()) == 2
    assert ear.heard == ["WARNING", "WARNING"]
    assert state(ear) == before


def test_who_wants_to_hear_all_still_does(ear: Ear, tmp_path: Path) -> None:
    LOGGER.setLevel(logging.DEBUG)
    with log_file(tmp_path / "run.log"):
        talk()
    assert ear.heard == ["DEBUG", "INFO", "WARNING"]
    assert "DEBUG" not in (tmp_path / "run.log").read_text()


def test_a_host_hears_no_more_of_geomind_and_no_less_of_others(
    ear: Ear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What GeoMind says reached the root's handlers from INFO on, though their program had asked for warnings."""
    monkeypatch.setattr(LOGGER, "handlers", [])
    monkeypatch.setattr(LOGGER, "propagate", True)
    LOGGER.setLevel(logging.NOTSET)
    root = logging.getLogger()
    root.addHandler(ear)
    try:
        assert root.level == logging.WARNING
        with log_file(tmp_path / "run.log"):
            talk()
            other = logging.getLogger("geomindful")
            monkeypatch.setattr(other, "level", logging.DEBUG)
            other.debug("of another library")
    finally:
        root.removeHandler(ear)
    assert ear.heard == ["WARNING", "of another library"]
    assert "INFO" in (tmp_path / "run.log").read_text()
    assert LOGGER.level == logging.NOTSET


def test_warnings_reach_stderr_where_nobody_listens(ear: Ear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that sets up no logging sees warnings; beside a log file it saw none."""
    last = Ear()
    last.setLevel(logging.WARNING)
    monkeypatch.setattr(logging, "lastResort", last)
    monkeypatch.setattr(LOGGER, "handlers", [])
    with log_file(tmp_path / "run.log"):
        talk()
    assert last.heard == ["WARNING"]
    assert LOGGER.handlers == []


def test_all_is_as_before_after_an_error(ear: Ear, tmp_path: Path) -> None:
    before = state(ear)
    with pytest.raises(ZeroDivisionError), log_file(tmp_path / "run.log"):
        raise ZeroDivisionError
    assert state(ear) == before


def test_a_log_goes_on_where_it_was(ear: Ear, tmp_path: Path) -> None:
    for _ in range(2):
        with log_file(tmp_path / "run.log"):
            talk()
    assert len((tmp_path / "run.log").read_text().splitlines()) == 4


def test_a_log_that_has_grown_is_compressed_and_the_oldest_goes(
    ear: Ear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 200)
    monkeypatch.setattr(logs, "BACKUPS", 2)
    with log_file(tmp_path / "run.log"):
        for number in range(12):
            LOGGER.warning("line %02d %s", number, "x" * 60)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.log", "run.log.1.gz", "run.log.2.gz"]
    kept = [gzip.decompress((tmp_path / f"run.log.{age}.gz").read_bytes()).decode() for age in (2, 1)]
    lines = "".join([*kept, (tmp_path / "run.log").read_text()]).splitlines()
    numbers = [int(line.split("line ")[1][:2]) for line in lines]
    assert numbers == list(range(12 - len(numbers), 12))
    assert 3 <= len(numbers) < 12


def test_a_log_that_cannot_be_written(ear: Ear, tmp_path: Path) -> None:
    before = state(ear)
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match=r"Cannot write the log .*run\.log: not a directory"),
        log_file(tmp_path / "file" / "run.log"),
    ):
        pass
    assert state(ear) == before
