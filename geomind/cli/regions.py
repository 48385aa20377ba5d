"""`geomind regions show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Look at the table of regions.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Look at the table of regions."""


@app.command("show")
def show(
    regions: Annotated[
        Path | None, typer.Option(help="A YAML table of regions; GeoMind's 13 if left out.", show_default=False)
    ] = None,
) -> None:
    """Print the regions: id, name, countries."""
    from rich.console import Console
    from rich.table import Table

    from geomind.geography.regions import RegionTable, default_regions

    table = default_regions() if regions is None else RegionTable.read(regions)
    shown = Table("id", "region", "countries", title=table.name)
    for region in table.regions:
        countries = " ".join(region.countries).replace("*", "every other country, and the high seas")
        shown.add_row(str(region.id), region.name, countries)
    Console().print(shown)
