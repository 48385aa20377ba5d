from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from geomind.data import journal as journal_module
from geomind.data.journal import Done, open_journal
from geomind.errors import ManifestError, OutputError


@pytest.fixture(autouse=True)
def save_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SAVE_SECONDS", 0.0)


def opened(output: Path, *, resume: bool = False, overwrite: bool = False, **arguments: str) -> Any:
    return open_journal(
        output,
        columns=["a"],
        rejected_columns=["b"],
        arguments=arguments,
        sources=2,
        resume=resume,
        overwrite=overwrite,
    )


def add(journal: Any, number: int) -> None:
    frame = pd.DataFrame({"a": [f"row {number}"], "b": [f"bad {number}"]})
    journal.add(frame, frame, np.array([number], dtype=np.uint64), Done((number, 0), number, {"why": number}))


def stop_after(output: Path, numbers: range, **arguments: Any) -> None:
    with pytest.raises(KeyboardInterrupt), opened(output, **arguments) as journal:
        for number in numbers:
            add(journal, number)
        raise KeyboardInterrupt


def test_a_stopped_work_goes_on_where_it_was_saved(tmp_path: Path) -> None:
    output = tmp_path / "m.csv"
    stop_after(output, range(1, 3))
    folder = tmp_path / "m.csv.unfinished"
    for name in ("rows.csv", "rejected.csv", "keys.bin"):  # what a killed run wrote behind its last state
        with (folder / name).open("ab") as file:
            file.write(b"half a ro")
    with opened(output, resume=True) as journal:
        assert journal.done == Done((2, 0), 2, {"why": 2})
        assert journal.keys().tolist() == [1, 2]
        add(journal, 3)
        assert journal.keys().tolist() == [1, 2, 3]
        journal.finish()
        assert journal.done.finished
        assert journal.rows_path.read_text(encoding="utf-8") == "a\nrow 1\nrow 2\nrow 3\n"
        assert journal.rejected_path.read_text(encoding="utf-8") == "b\nbad 1\nbad 2\nbad 3\n"
    assert list(tmp_path.iterdir()) == []


def test_finished_work_is_not_opened_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), opened(tmp_path / "m.csv") as journal:
        add(journal, 1)
        journal.finish()
        journal.rows_path.rename(tmp_path / "m.csv")
        raise KeyboardInterrupt
    with opened(tmp_path / "m.csv", resume=True) as journal:
        assert journal.done.finished
        assert not journal.rows_path.exists()
        assert journal.rejected_path.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["m.csv"]


def test_what_was_never_saved_leaves_nothing(tmp_path: Path) -> None:
    stop_after(tmp_path / "m.csv", range(0))
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_a_source_leaves_nothing_and_a_full_disk_all(tmp_path: Path) -> None:
    with pytest.raises(ManifestError), opened(tmp_path / "m.csv") as journal:
        add(journal, 1)
        raise ManifestError("line 7: not UTF-8")
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(OutputError, match=r"Cannot write .*m\.csv: no space left.*--resume"),
        opened(tmp_path / "m.csv") as journal,
    ):
        add(journal, 1)
        raise OSError(28, "No space left on device")
    with opened(tmp_path / "m.csv", resume=True) as journal:
        assert journal.done.used == 1


def test_unfinished_work_is_kept_or_begun_anew_as_a_person_says(tmp_path: Path) -> None:
    output = tmp_path / "m.csv"
    stop_after(output, range(1, 2), sources="x")
    with pytest.raises(OutputError, match="holds an unfinished manifest"), opened(output, sources="x"):
        pass
    with pytest.raises(OutputError, match="begun with another sources"), opened(output, resume=True, sources="y"):
        pass
    with opened(output, overwrite=True, resume=True, sources="x") as journal:
        assert journal.done.used == 1
    stop_after(output, range(1, 2), sources="x")
    with opened(output, overwrite=True, sources="y") as journal:
        assert journal.done == Done((0, 0))
        assert journal.keys().tolist() == []
        assert journal.rows_path.exists()


def test_two_processes_do_not_write_one_manifest(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with opened(tmp_path / "m.csv") as journal:
        add(journal, 1)
        for flags in ({"resume": True}, {"overwrite": True}, {}):
            with pytest.raises(OutputError, match=r"Another process is writing .*m\.csv\.unfinished"):
                opened(tmp_path / "m.csv", **flags).__enter__()
        add(journal, 2)
        assert journal.keys().tolist() == [1, 2]


def test_a_damaged_folder_says_so(tmp_path: Path) -> None:
    stop_after(tmp_path / "m.csv", range(1, 3))
    (tmp_path / "m.csv.unfinished" / "rows.csv").write_text("a\n", encoding="utf-8")
    with (
        pytest.raises(OutputError, match=r"is damaged: rows\.csv is too short"),
        opened(tmp_path / "m.csv", resume=True),
    ):
        pass


def test_files_of_other_people_are_not_removed(tmp_path: Path) -> None:
    folder = tmp_path / "m.csv.unfinished"
    folder.mkdir()
    (folder / "diary.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="Cannot write"), opened(tmp_path / "m.csv", overwrite=True) as journal:
        journal.finish()
    assert (folder / "diary.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    "state",
    [
        "",
        "{",
        "[]",
        "{}",
        "\xff",
        '{"arguments": {}, "sizes": {}, "done": {}}',
        '{"arguments": {}, "sizes": {}, "done": {"read": [1, 0], "used": 1, "reasons": {}, "splits": {}, '
        '"finished": false}}',
        '{"arguments": {}, "sizes": {}, "done": {"read": ["x"], "used": 1, "reasons": {}, "splits": {}, '
        '"finished": true}}',
    ],
)
def test_a_broken_state_says_so_and_is_not_read_when_begun_anew(tmp_path: Path, state: str) -> None:
    """A state.json that was cut off gave a traceback, even with --overwrite, so only removing the folder helped."""
    stop_after(tmp_path / "m.csv", range(1, 3))
    path = tmp_path / "m.csv.unfinished" / "state.json"
    path.write_text(state, encoding="latin-1")
    with (
        pytest.raises(OutputError, match=r"is damaged: its state\.json makes no sense.*Remove.*--overwrite"),
        opened(tmp_path / "m.csv", resume=True),
    ):
        pass
    assert path.exists()
    with pytest.raises(OutputError, match="holds an unfinished manifest"), opened(tmp_path / "m.csv"):
        pass
    with opened(tmp_path / "m.csv", overwrite=True) as journal:
        assert journal.done == Done((0, 0))
