from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomind.data.csv_table import CsvWriter, append_rows, count_rows, read_chunks, read_header
from geomind.errors import ManifestError, OutputError

cells = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["NA", "=1+1", "\r", 'a"b', ","]
)


def read_all(path: Path, rows: int = 1000) -> pd.DataFrame:
    return pd.concat([chunk.cells for chunk in read_chunks(path, rows)], ignore_index=True)


@given(rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=8), at_once=st.integers(1, 4))
def test_every_text_reads_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], at_once: int
) -> None:
    """A lone carriage return ended a line, as Python's csv writer leaves it unquoted."""
    path = tmp_path_factory.getbasetemp() / "cells.csv"
    with append_rows(path, ["a", "b"]) as append:
        for row in rows:
            append(pd.DataFrame([row], columns=["b", "a"], dtype="str"))
    assert read_all(path, at_once)[["b", "a"]].values.tolist() == [list(row) for row in rows]


def test_a_row_knows_the_line_where_it_begins(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('a,b\n1,"two\nlines"\n\n\n3,4\r\n5,6', encoding="utf-8", newline="")
    lines = [line for chunk in read_chunks(tmp_path / "a.csv", 2) for line in chunk.lines]
    assert lines == [2, 6, 7]


def test_a_row_of_another_length_is_a_fault_and_no_end(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1\n1,2\n1,2,3\n", encoding="utf-8")
    (chunk,) = read_chunks(tmp_path / "a.csv", 10)
    assert chunk.faults.tolist() == [
        "wrong number of cells: 1, the header has 2",
        "",
        "wrong number of cells: 3, the header has 2",
    ]
    assert chunk.cells.values.tolist() == [["1", ""], ["1", "2"], ["1", "2"]]


@given(
    rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=8), at_once=st.integers(1, 4), skip=st.integers(0, 9)
)
def test_rows_are_skipped_and_counted_as_they_are_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], at_once: int, skip: int
) -> None:
    """Not by lines: a cell may hold some."""
    path = tmp_path_factory.getbasetemp() / "skipped.csv"
    with append_rows(path, ["a", "b"]) as append:
        append(pd.DataFrame(rows, columns=["a", "b"], dtype="str"))
    assert count_rows(path) == len(rows)
    rest = [row for chunk in read_chunks(path, at_once, skip=skip) for row in chunk.cells.values.tolist()]
    assert rest == [list(row) for row in rows[skip:]]


def test_a_writer_goes_on_where_its_file_was_cut(tmp_path: Path) -> None:
    first, lost, second = (pd.DataFrame({"a": [text]}) for text in ("né", "lost", "x"))
    writer = CsvWriter(tmp_path / "a.csv", ["a"])
    writer.append(first)
    size = writer.sync()
    writer.append(lost)
    writer.close()
    writer = CsvWriter(tmp_path / "a.csv", ["a"], keep_bytes=size)
    writer.append(second)
    assert writer.sync() == (tmp_path / "a.csv").stat().st_size
    writer.close()
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "a\nné\nx\n"


def test_a_writer_does_not_go_on_in_a_file_that_was_cut(tmp_path: Path) -> None:
    """Truncating to more bytes than there are filled the table with NULs."""
    (tmp_path / "a.csv").write_text("a\n1\n")
    with pytest.raises(OutputError, match=r"a\.csv is damaged: 4 bytes are left of 9"):
        CsvWriter(tmp_path / "a.csv", ["a"], keep_bytes=9)
    assert (tmp_path / "a.csv").read_text() == "a\n1\n"


def test_columns_without_a_name_are_ignored(tmp_path: Path) -> None:
    """Excel writes a,b,c,, when cells beside the table were used once: "the column '' is there twice"."""
    (tmp_path / "a.csv").write_text("a, ,b,,\n1,x,2,,\n1,2\n", encoding="utf-8")
    assert read_header(tmp_path / "a.csv") == ("a", "b")
    (chunk,) = read_chunks(tmp_path / "a.csv", 10)
    assert chunk.cells.to_dict("records") == [{"a": "1", "b": "2"}, {"a": "1", "b": ""}]
    assert chunk.faults.tolist() == ["", "wrong number of cells: 2, the header has 5"]


def test_tabs_may_separate(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('a\tb, c\n1\t"x\ty"\n', encoding="utf-8")
    assert read_header(tmp_path / "a.tsv", delimiter="\t") == ("a", "b, c")
    assert count_rows(tmp_path / "a.tsv", delimiter="\t") == 1
    (chunk,) = read_chunks(tmp_path / "a.tsv", 10, delimiter="\t")
    assert chunk.cells.values.tolist() == [["1", "x\ty"]]


def test_the_header_may_carry_a_byte_order_mark_and_spaces(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("file, lat ,Lon\n", encoding="utf-8-sig")
    assert read_header(tmp_path / "a.csv") == ("file", "lat", "Lon")
    assert list(read_chunks(tmp_path / "a.csv", 10)) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b",,\n1,2,3\n", "is empty"),
        (b"a,b,a\n", "line 1: the column 'a' is there twice"),
        (b"a,b\n1,2\ncaf\xe9,3\n", "line 3: not UTF-8"),
        (b'a,b\n1,2\n"open,3\n4,5\n', "no CSV: unexpected end of data"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ManifestError, match=rf"a\.csv.*{reason}"):
        list(read_chunks(tmp_path / "a.csv", 10))


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"Cannot read .*missing\.csv: no such file"):
        read_header(tmp_path / "missing.csv")
