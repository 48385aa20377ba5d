"""`geomind download photos` and `geomind download flickr`: the only commands that use the network, and by name."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from geomind.data.licenses import LICENSE_NAMES

app = typer.Typer(help="Fetch photos, or search for them. Nothing else in GeoMind's data commands uses the network.")

_LICENSES_HELP = f"Take these licences only: {', '.join(LICENSE_NAMES)}, separated by commas; all if left out."


@app.command()
def photos(
    table: Annotated[
        Path,
        typer.Argument(help="A manifest, or a .csv, .tsv or .parquet with a path and a url a row.", show_default=False),
    ],
    images_dir: Annotated[
        Path | None,
        typer.Option(help="Where relative paths begin; the table's folder if left out.", show_default=False),
    ] = None,
    licenses: Annotated[str | None, typer.Option(help=_LICENSES_HELP, show_default=False)] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Photos fetched at a time.")] = 8,
    rate: Annotated[float, typer.Option(min=0.01, help="Requests per second to one site, at most.")] = 5.0,
    max_mb: Annotated[int, typer.Option(min=1, help="Refuse larger files, in MiB.")] = 64,
) -> None:
    """Fetch the photos of a table to where its paths say; run it again to go on where it stopped."""
    from geomind.cli.progress import bars
    from geomind.data.download import download_photos
    from geomind.data.http import Manners
    from geomind.data.licenses import parse_licenses

    with _says_how_to_go_on():
        done = download_photos(
            table,
            images_dir=images_dir,
            licenses=parse_licenses(licenses) if licenses is not None else None,
            workers=workers,
            max_bytes=max_mb * 2**20,
            manners=Manners(per_second=rate),
            progress=bars(),
        )
    print(
        f"{done.rows:,} rows = {done.fetched:,} fetched + {done.present:,} there already + {done.dead:,} dead "
        f"+ {done.refused:,} refused for their licence + {done.failed:,} failed."
    )
    if done.reasons:
        _print_reasons("not there because", done.reasons)
        print(f"Each of them and its reason: {done.report_path}")
    if done.failed:
        print("Run the same command again to try the failed ones once more.")


@app.command()
def flickr(
    output: Annotated[Path, typer.Option(help="The table to write, a .csv.")] = Path("flickr.csv"),
    text: Annotated[str, typer.Option(help="Words of the title, description or tags.", show_default=False)] = "",
    tags: Annotated[
        str, typer.Option(help="Tags separated by commas; a photo has one of them.", show_default=False)
    ] = "",
    bbox: Annotated[
        str | None,
        typer.Option(
            metavar="W,S,E,N",
            help="A box in degrees: west, south, east, north. West of 170 and east of -170 crosses the date line.",
            show_default=False,
        ),
    ] = None,
    min_date: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Taken on this day or later.", show_default=False)
    ] = None,
    max_date: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Taken on this day or before.", show_default=False)
    ] = None,
    licenses: Annotated[str | None, typer.Option(help=_LICENSES_HELP, show_default=False)] = None,
    min_accuracy: Annotated[
        int,
        typer.Option(
            min=1, max=16, help="Flickr's scale: 1 the world, 3 a country, 6 a region, 11 a city, 16 a street."
        ),
    ] = 11,
    count: Annotated[
        int | None,
        typer.Option(min=1, help="End with so many photos, the latest uploads; all if left out.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing table.")] = False,
) -> None:
    """Search Flickr for geotagged photos; needs its key in the environment variable FLICKR_API_KEY.

    A search that was stopped goes on when the same command is given again.
    """
    import os

    from geomind.cli.progress import bars
    from geomind.data.licenses import parse_licenses
    from geomind.data.sources.flickr import KEY_VARIABLE, FlickrQuery, search_flickr

    query = FlickrQuery(
        text=text,
        tags=tuple(tag.strip() for tag in tags.split(",") if tag.strip()),
        box=_box(bbox) if bbox is not None else None,
        taken_from=min_date.date() if min_date else None,
        taken_to=max_date.date() if max_date else None,
        licenses=parse_licenses(licenses) if licenses is not None else None,
        min_accuracy=min_accuracy,
    )
    key = os.environ.get(KEY_VARIABLE, "")
    with _says_how_to_go_on():
        done = search_flickr(query, output, api_key=key, count=count, overwrite=overwrite, progress=bars())
    print(f"{done.photos:,} photos found{', the earlier ones before this run' if done.resumed else ''}.")
    if done.left_out:
        _print_reasons("left out because", done.left_out)
    if done.hidden:
        print(f"{done.hidden:,} more are counted by Flickr and not shown: too many of one second.")
    print(f"Table: {output}\n\nNext: geomind download photos {output}, then geomind prepare {output}")


@contextlib.contextmanager
def _says_how_to_go_on() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print("Stopped. The same command goes on.", file=sys.stderr)
        raise


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' is not of the form W,S,E,N.", param_hint="--bbox") from error
    return west, south, east, north


def _print_reasons(heading: str, reasons: Mapping[str, int]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table("photos", heading)
    for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
        shown.add_row(f"{count:,}", reason)
    Console().print(shown)
