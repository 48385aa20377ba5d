"""`geomind regions`: show the table of regions, fit one to photos, and write one into a manifest."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from geomind.data.regions_fit import PhotoPlaces
    from geomind.geography.regions import RegionTable

app = typer.Typer(help="Look at the table of regions, or make one from photos.", no_args_is_help=True)

DEFAULT_REGIONS, DEFAULT_PARTS = 13, 4
DEFAULT_LEVELS = {"country": 50, "region": 500, "city": 5000}

Regions = Annotated[
    Path | None, typer.Option(help="A YAML table of regions; GeoMind's 13 if left out.", show_default=False)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")]


@app.callback()
def group() -> None:
    """Look at the table of regions, or make one from photos."""


@app.command("show")
def show(
    regions: Regions = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="A manifest, or a CSV of latitude and longitude: adds each region's photos, box and cost in km.",
            show_default=False,
        ),
    ] = None,
    map_: Annotated[
        Path | None, typer.Option("--map", help="Draw the regions here, as PNG.", show_default=False)
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Print the regions; with photos, also their boxes and what a small error costs in each."""
    from rich.table import Table

    from geomind.cli.tables import console

    _refuse_map(map_, overwrite)
    table = _table(regions)
    shown = Table("id", "region", "countries", title=table.name)
    for region in table.regions:
        countries = " ".join(region.countries).replace("*", "every other country, and the high seas")
        if region.centres:
            near = "; ".join(_degrees(*centre) for centre in region.centres)
            countries += f", nearest to {near}"
        shown.add_row(str(region.id), region.name, countries)
    console().print(shown)
    places = None
    if data is not None:
        from geomind.data.regions_fit import read_places

        places = read_places(data)
        _print_costs(table, places)
    if map_ is not None:
        _draw(table, map_, places, overwrite)


@app.command("fit")
def fit(
    manifest: Annotated[
        Path, typer.Argument(help="A manifest, or a CSV of latitude and longitude.", show_default=False)
    ],
    k: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=1000,
            help=f"How many regions, {DEFAULT_REGIONS} if left out; with --refine how many parts, {DEFAULT_PARTS}.",
            show_default=False,
        ),
    ] = None,
    refine: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="Divide one region and keep the others: its id, `widest` for the one where 0.05 costs most km, or a "
            "predictions.csv for the one that the Director recognises least.",
            show_default=False,
        ),
    ] = None,
    levels: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES|COUNTS",
            help="Fit a tree of cells instead, each level within the one above: country,region,city (50, 500 and 5,000 "
            "cells), 50,500,5000, or country=50,city=2000.",
            show_default=False,
        ),
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(help="The YAML table that --refine divides; GeoMind's 13 if left out.", show_default=False),
    ] = None,
    min_photos: Annotated[
        int, typer.Option(min=1, help="A cluster of fewer photos joins its neighbours, so there may be fewer clusters.")
    ] = 20,
    output: Annotated[
        Path | None,
        typer.Option(help="Where to write: regions.yaml, or cells.parquet with --levels.", show_default=False),
    ] = None,
    map_: Annotated[
        Path | None, typer.Option("--map", help="Draw the regions here, as PNG.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same regions.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Cluster places into regions by K-means on the sphere; of a manifest that is split, the training photos alone."""
    from geomind.data import regions_fit
    from geomind.files import refuse_existing

    if levels is not None and (refine is not None or k is not None or map_ is not None):
        raise typer.BadParameter("--levels goes neither with --k, --refine nor --map.", param_hint="--levels")
    if regions is not None and refine is None:
        raise typer.BadParameter("only --refine starts from a table.", param_hint="--regions")
    output = output or Path("regions.yaml" if levels is None else "cells.parquet")
    refuse_existing(output, overwrite=overwrite)
    _refuse_map(map_, overwrite)
    if levels is not None:
        _fit_cells(manifest, _levels(levels), min_photos, output, seed, overwrite)
        return
    places = regions_fit.read_places(manifest)
    if refine is None:
        asked = k or DEFAULT_REGIONS
        table = regions_fit.fit_regions(places, asked, min_photos=min_photos, seed=seed)
        if len(table) < asked:
            print(f"{len(table)} regions and not {asked}: the others would have had fewer than {min_photos} photos.")
    else:
        before = _table(regions)
        region_id = _which(refine, before, places, manifest, min_photos)
        done = regions_fit.refine_region(
            places, before, region_id, k or DEFAULT_PARTS, min_photos=min_photos, seed=seed
        )
        table = done.table
        print(
            f"Region {region_id} '{before[region_id].name}' in {done.parts} parts: an error of 0.05 costs "
            f"{done.before_km:,.0f} km before, {done.after_km:,.0f} km after.\n"
            f"Over all photos: {done.mean_before_km:,.1f} km before, {done.mean_after_km:,.1f} km after.\n"
            "What the Director gains or loses by the new borders, only a new training tells."
        )
    table.write(output, overwrite=overwrite)
    _print_costs(table, places)
    if map_ is not None:
        _draw(table, map_, places, overwrite)
    names = shlex.quote(str(manifest)), shlex.quote(str(output))
    print(f"Regions: {output}\n\nNext: geomind regions assign {names[0]} --regions {names[1]} --overwrite")


@app.command("assign")
def assign(
    manifest: Annotated[Path, typer.Argument(help="The manifest whose region ids to write.", show_default=False)],
    regions: Annotated[Path, typer.Option(help="The YAML table of regions.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option(help="Where to write it; into the manifest itself if left out.", show_default=False)
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a table's region ids into a manifest, so that Director and Experts learn its regions."""
    from geomind.data.regions_fit import assign_regions

    table = _table(regions)
    photos = assign_regions(manifest, table, output or manifest, overwrite=overwrite)
    empty = [table[region_id].name for region_id, count in photos.items() if count == 0]
    print(f"{sum(photos.values()):,} photos in {len(table) - len(empty)} of {len(table)} regions: {output or manifest}")
    if empty:
        print(f"Without a photo: {', '.join(empty)}")
    names = shlex.quote(str(output or manifest)), shlex.quote(str(regions))
    print(f"\nNext: geomind train-director --data {names[0]} --regions {names[1]}")


def _table(path: Path | None) -> RegionTable:
    from geomind.geography.regions import RegionTable, default_regions

    return default_regions() if path is None else RegionTable.read(path)


def _levels(text: str) -> dict[str, int]:
    """Read `country,region,city`, `50,500,5000` or `country=50,city=2000`."""
    levels = {}
    defaults = list(DEFAULT_LEVELS)
    for position, entry in enumerate(part.strip() for part in text.split(",")):
        name, _, count = entry.partition("=")
        if not count and name.isdecimal():
            name, count = (defaults[position] if position < len(defaults) else f"level-{position + 1}"), name
        elif not count:
            count = str(DEFAULT_LEVELS.get(name, ""))
        if not count.isdecimal() or int(count) < 1 or name in levels:
            raise typer.BadParameter(
                f"'{entry}' is no level. Give {', '.join(defaults)}, numbers of cells, or NAME=NUMBER.",
                param_hint="--levels",
            )
        levels[name] = int(count)
    return levels


def _which(refine: str, table: RegionTable, places: PhotoPlaces, manifest: Path, min_photos: int) -> int:
    """Choose the region to divide, and say why."""
    from geomind.data.regions_fit import widest_region
    from geomind.evaluation.scoring import evaluate

    if refine.removeprefix("-").isdecimal():
        return table[int(refine)].id
    if refine == "widest":
        return widest_region(places, table)

    judged = [each for each in evaluate(refine, manifest, regions=table).regions if each.metrics.count >= min_photos]
    if not judged or judged[0].metrics.router_accuracy is None:
        raise typer.BadParameter(f"{refine} names no regions of {min_photos} photos or more.", param_hint="--refine")
    worst = min(judged, key=lambda each: each.metrics.router_accuracy or 0.0)
    print(
        f"Recognised least: region {worst.region_id} '{worst.region_name}', {worst.metrics.router_accuracy:.1%} of "
        f"{worst.metrics.count:,} photos."
    )
    return worst.region_id


def _fit_cells(
    manifest: Path, levels: dict[str, int], min_photos: int, output: Path, seed: int, overwrite: bool
) -> None:
    from rich.table import Table

    from geomind.cli.tables import console
    from geomind.data.regions_fit import fit_cells, read_places

    places = read_places(manifest)
    tree = fit_cells(places, levels, min_photos=min_photos, seed=seed)
    tree.write(output, overwrite=overwrite)
    shown = Table("level", "cells", "asked for", "photos in a cell: least", "median", "most", title=places.described)
    for level in tree.levels:
        photos = sorted(level.photos.tolist())
        shown.add_row(
            level.name, f"{len(level):,}", f"{levels[level.name]:,}",
            f"{photos[0]:,}", f"{photos[len(photos) // 2]:,}", f"{photos[-1]:,}",
        )  # fmt: skip
    console().print(shown)
    if len(tree.levels[-1]) < levels[tree.levels[-1].name]:
        print(f"Fewer cells than asked for: the others would have had fewer than {min_photos} photos (--min-photos).")
    print(f"Cells: {output}")


def _print_costs(table: RegionTable, places: PhotoPlaces) -> None:
    from rich.table import Table

    from geomind.cli.tables import console
    from geomind.data.regions_fit import measure_regions

    shown = Table("id", "region", title=f"What 0.05 of normalised error costs: {places.described}")
    for heading in ("photos", "latitude", "longitude", "naive", "date line", "trimmed"):
        shown.add_column(heading, justify="right")
    costs = measure_regions(places, table)
    for cost in costs:
        box = cost.box
        shown.add_row(
            str(cost.region_id), table[cost.region_id].name, f"{cost.photos:,}",
            f"{box.lat_min:.0f}..{box.lat_max:.0f}", f"{box.lon_min:.0f}..{box.lon_max:.0f}",
            f"{cost.naive_km:,.0f}", f"{cost.date_line_km:,.0f}", f"{cost.quantile_km:,.0f}",
        )  # fmt: skip
    console().print(shown)
    print(
        "Latitude and longitude: the box that an Expert gets. The last three are km, for a box from the least to the\n"
        "greatest coordinate, one that may cross the date line, and that without the outermost 0.5% at each side."
    )
    if empty := len(table) - len(costs):
        print(f"{empty} of {len(table)} regions have no photo.")


def _refuse_map(path: Path | None, overwrite: bool) -> None:
    """Stop before work begins whose map could not be drawn.

    Raises:
        OutputError: the picture is no PNG, exists, or cannot be written.
    """
    from geomind.errors import OutputError
    from geomind.files import refuse_existing

    if path is None:
        return
    if path.suffix.lower() != ".png":
        raise OutputError(f"A map ends in .png; {path} does not.")
    refuse_existing(path, overwrite=overwrite)


def _draw(table: RegionTable, path: Path, places: PhotoPlaces | None, overwrite: bool) -> None:
    from geomind.data.regions_fit import measure_regions
    from geomind.evaluation.plots import regions_map

    points, boxes = None, None
    if places is not None:
        points, boxes = places.points, {cost.region_id: cost.box for cost in measure_regions(places, table)}
    regions_map(table, path, points=points, boxes=boxes, overwrite=overwrite)
    print(f"Map: {path}")


def _degrees(latitude: float, longitude: float) -> str:
    return f"{abs(latitude):.1f}°{'N' if latitude >= 0 else 'S'} {abs(longitude):.1f}°{'E' if longitude >= 0 else 'W'}"
