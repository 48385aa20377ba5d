"""`--columns latitude=Y,…`: which columns of a table are meant."""

from __future__ import annotations

import typer


def parse_columns(text: str | None) -> dict[str, str]:
    """Read an option of the form ``latitude=Y,longitude=X``: ours -> theirs.

    Raises:
        typer.BadParameter: it has another form.
    """
    columns: dict[str, str] = {}
    for pair in text.split(",") if text is not None else []:
        ours, is_pair, theirs = pair.partition("=")
        if not (is_pair and ours.strip() and theirs.strip()):
            raise typer.BadParameter(f"'{pair}' is not of the form latitude=Y.", param_hint="--columns")
        if ours.strip() in columns:
            raise typer.BadParameter(f"'{ours.strip()}' is named twice.", param_hint="--columns")
        columns[ours.strip()] = theirs.strip()
    return columns
