"""Texts as cells of a table that no spreadsheet runs as a formula. It knows no table and no column."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

_RUN = "=+@\uff1d\uff0b\uff0d\uff20-"  # what starts a formula, with the full-width forms that spreadsheets also take
_RUNNABLE = re.compile(rf"'*(\s*[{_RUN}]|[\t\r\n])")

# What cannot stand in a cell as it is: bytes of a file name that are not UTF-8 (Python keeps them as lone surrogates),
# NUL, a carriage return (the csv module of Python 3.11 does not quote it), a formula behind a separator of another
# locale's spreadsheet, and a backslash that would read as one of these escapes.
_UNWRITABLE = re.compile(rf"[\ud800-\udfff\x00\r]|(?<=[;\t\n])[{_RUN}]|\\(?=u[0-9A-F]{{4}})")
_ESCAPE = re.compile(r"\\u([0-9A-F]{4})")


def guard(text: str) -> str:
    r"""Write a text as a cell that no spreadsheet runs and that ``unguard`` reads back exactly.

    A text that a spreadsheet would run, or that cannot stand in a UTF-8 file, gets an apostrophe in front, the
    spreadsheets' own mark for text, and ``\uXXXX`` for the characters that cannot be there. Every other text,
    's-Hertogenbosch and numbers included, stays as it is.
    """
    return "'" + _UNWRITABLE.sub(lambda found: f"\\u{ord(found[0]):04X}", text) if _needs_mark(text) else text


def unguard(cell: str) -> str:
    """Read a cell that ``guard`` wrote."""
    if cell.startswith("'"):
        text = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), cell[1:])
        return text if _needs_mark(text) else cell
    return cell


def _needs_mark(text: str) -> bool:
    # A leading apostrophe counts when what follows it would need the mark: otherwise '=1 and the marked =1 look alike.
    runs = _RUNNABLE.match(text) is not None and _NUMBER.fullmatch(text) is None
    return runs or _UNWRITABLE.search(text) is not None
