"""`geomind prepare` and `geomind split`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def prepare(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of photos with GPS in their EXIF, or CSV files of path, latitude and longitude.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option(help="The manifest to write.")] = Path("manifest.csv"),
    regions: Annotated[
        Path | None, typer.Option(help="A YAML table of regions; GeoMind's 13 if left out.", show_default=False)
    ] = None,
    check_files: Annotated[
        bool,
        typer.Option("--check-files/--no-check-files", help="Open every photo; a table's may be elsewhere."),
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing manifest.")] = False,
) -> None:
    """Make a manifest from photos: where each was taken, its country and its region."""
    from rich.console import Console
    from rich.table import Table

    from geomind.cli.progress import Bars
    from geomind.data.prepare import prepare as prepare_manifest
    from geomind.geography.regions import RegionTable, default_regions

    table = default_regions() if regions is None else RegionTable.read(regions)
    done = prepare_manifest(
        sources, output, regions=table, check_files=check_files, overwrite=overwrite, progress=Bars()
    )
    print(f"{done.found:,} photos found = {done.used:,} used + {done.rejected:,} rejected.")
    if done.rejected:
        shown = Table("photos", "rejected because")
        for reason, count in sorted(done.reasons.items(), key=lambda item: -item[1]):
            shown.add_row(f"{count:,}", reason)
        Console().print(shown)
        print(f"Each rejected photo and its reason: {done.rejected_path}")
    print(f"Manifest: {output}\n\nNext: geomind train-director --data {output}")


def split(
    manifest: Annotated[Path, typer.Argument(help="The manifest to split.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option(help="Where to write it; into the manifest itself if left out.", show_default=False)
    ] = None,
    shares: Annotated[
        str, typer.Option(help="Splits and their shares of the photos, together 1.")
    ] = "train=0.8,validation=0.1,test=0.1",
    resolution: Annotated[
        int,
        typer.Option(min=0, max=15, help="Size of the blocks, an h3 resolution: 2 is 158 km a side, 3 60 km, 4 23 km."),
    ] = 3,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same split.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a split, or an existing output.")] = False,
) -> None:
    """Divide a manifest by place, so that neighbours and bursts are never on two sides."""
    from rich.console import Console
    from rich.table import Table

    from geomind.data.splits import split_manifest

    done = split_manifest(
        manifest, output or manifest, shares=_shares(shares), resolution=resolution, seed=seed, overwrite=overwrite
    )
    shown = Table("split", "photos", "share", "blocks", "km to the nearest training photo: least", "median")
    for part in done:
        nearest = ("", "") if part.nearest_km is None else (f"{part.nearest_km:,.1f}", f"{part.median_nearest_km:,.1f}")
        shown.add_row(part.name, f"{part.photos:,}", f"{part.share:.1%}", f"{part.blocks:,}", *nearest)
    Console().print(shown)
    print(f"Manifest: {output or manifest}\n\nNext: geomind train-director --data {output or manifest}")


def _shares(text: str) -> dict[str, float]:
    try:
        pairs = [pair.split("=") for pair in text.split(",")]
        return {name.strip(): float(share) for name, share in pairs}
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' is not of the form train=0.8,test=0.2.", param_hint="--shares") from error
