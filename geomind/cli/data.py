"""`geomind prepare` and `geomind split`."""

from __future__ import annotations

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geomind.data.sources import Format, ReadOptions

if TYPE_CHECKING:
    from geomind.data.prepare import PrepareSummary

SPLIT_NAMES = {
    2: ("train", "validation"),
    3: ("train", "validation", "test"),
    4: ("train", "validation", "calibration", "test"),
}
"""What the percentages of ``--shares`` are of, by how many there are."""

NEAR_SHARE = 0.1
"""A split with more photos than this near training photos is told about larger blocks and gaps."""


class SplitBy(StrEnum):
    """What `geomind split` keeps together."""

    PLACE = "place"
    GROUP = "group"
    RANDOM = "random"


def prepare(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of photos that carry their position (EXIF, XMP), tables of path, latitude and longitude "
            "(CSV, TSV, Parquet), or published data sets.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option(help="The manifest to write, .csv or .parquet.")] = Path("manifest.csv"),
    kind: Annotated[
        Format, typer.Option("--format", help="What the sources are; auto tells them apart by their names and columns.")
    ] = Format.AUTO,
    columns: Annotated[
        str | None,
        typer.Option(help="Names of a table's columns: latitude=Y,longitude=X,image_path=…", show_default=False),
    ] = None,
    images_dir: Annotated[
        Path | None, typer.Option(help="Where a table's photos are, if not beside it.", show_default=False)
    ] = None,
    min_accuracy: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=16,
            show_default=False,
            help="YFCC100M: leave out photos placed less accurately, 1 (the world) to 16 (a street); 11 if not said.",
        ),
    ] = None,
    licenses: Annotated[
        str | None,
        typer.Option(help="YFCC100M: the licences wanted, such as cc0,by,by-sa; all if left out.", show_default=False),
    ] = None,
    regions: Annotated[
        Path | None, typer.Option(help="A YAML table of regions; GeoMind's 13 if left out.", show_default=False)
    ] = None,
    check_files: Annotated[
        bool,
        typer.Option("--check-files/--no-check-files", help="Open every photo; a table's may be elsewhere."),
    ] = True,
    shards: Annotated[
        Path | None,
        typer.Option(
            help="Also copy the photos into this folder, as tar shards (WebDataset) that the manifest then names: "
            "millions of photos train faster from these.",
            show_default=False,
        ),
    ] = None,
    shard_size: Annotated[
        int | None,
        typer.Option(min=1, help="Size of a shard in MB; 500 if left out.", show_default=False),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the same command was stopped; begin if it was not.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing manifest.")] = False,
) -> None:
    """Make a manifest from photos: where each was taken, its country, region and nearest town."""
    from rich.table import Table

    from geomind.cli.columns import parse_columns
    from geomind.cli.progress import bars
    from geomind.cli.tables import console
    from geomind.data.licenses import parse_licenses
    from geomind.data.prepare import prepare as prepare_manifest
    from geomind.data.shards import SHARD_MB
    from geomind.geography.regions import RegionTable, default_regions

    if shards is not None and not check_files:
        raise typer.BadParameter("--no-check-files is for photos that are elsewhere.", param_hint="--shards")
    if shards is None and shard_size is not None:
        raise typer.BadParameter("Say --shards FOLDER with it.", param_hint="--shard-size")
    options = ReadOptions(
        columns=parse_columns(columns),
        images_dir=images_dir,
        min_accuracy=min_accuracy,
        licenses=None if licenses is None else parse_licenses(licenses),
    )
    try:
        done = prepare_manifest(
            sources,
            output,
            regions=default_regions() if regions is None else RegionTable.read(regions),
            kind=kind,
            options=options,
            check_files=check_files,
            shards=shards,
            shard_mb=shard_size or SHARD_MB,
            resume=resume,
            overwrite=overwrite,
            progress=bars(),
        )
    except KeyboardInterrupt:
        print("Stopped. The same command with --resume goes on.", file=sys.stderr)
        raise
    for source, read_as in zip(sources, done.kinds, strict=True):
        if kind is Format.AUTO and read_as not in (Format.PHOTOS, Format.TABLE):
            print(f"{source} is read as {read_as}.")
    for reason, count in done.left_out.items():
        print(f"{count:,} rows left out: {reason}.")
    print(f"{done.found:,} photos found = {done.used:,} used + {done.rejected:,} rejected.")
    if done.rejected:
        shown = Table("photos", "rejected because")
        for reason, count in done.reasons.items():
            shown.add_row(f"{count:,}", reason)
        console().print(shown)
        print(f"Each rejected photo and its reason: {done.rejected_path}")
    if done.shards:
        print(f"Shards: {done.shards:,} in {shards}")
    print(f"Manifest: {output}\n\nNext: {_next_step(output, done)}")


def _next_step(manifest: Path, done: PrepareSummary) -> str:
    """Say what to do with a manifest; a test set as it was published is neither split nor trained on."""
    name = shlex.quote(str(manifest))
    if not done.splits:
        return f"geomind split {name}"
    if done.splits.get("test") == done.used:
        return f"geomind infer --images-dir PHOTOS, then geomind evaluate predictions.csv --truth {name}"
    return f"geomind inspect {name}"


def split(
    manifest: Annotated[Path, typer.Argument(help="The manifest to split.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option(help="Where to write it; into the manifest itself if left out.", show_default=False)
    ] = None,
    by: Annotated[
        SplitBy,
        typer.Option(
            help="What stays on one side: place (blocks of the Earth, and groups), group (the column of the manifest) "
            "or random (nothing; it flatters)."
        ),
    ] = SplitBy.PLACE,
    shares: Annotated[
        str,
        typer.Option(
            help="Percentages of train, validation and test; 90/10 has no test, as the original project, and "
            "70/10/10/10 a calibration before it. Or names and shares: train=0.6,test=0.4."
        ),
    ] = "80/10/10",
    resolution: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=15,
            help="Size of the blocks, an h3 resolution: 2 is 183 km a side, 3 69 km, 4 26 km; 3 if left out.",
            show_default=False,
        ),
    ] = None,
    gap_km: Annotated[
        float,
        typer.Option(min=0, help="Leave photos nearer than this, km, to one of a later split out of all splits."),
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same split.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a split, or an existing output.")] = False,
) -> None:
    """Divide a manifest by place, so that neighbours and bursts are never on two sides."""
    from rich.table import Table

    from geomind.cli.progress import stderr
    from geomind.cli.tables import console
    from geomind.data.splits import BLOCK_RESOLUTION, split_manifest

    wanted = _shares(shares)
    if resolution is not None and by is not SplitBy.PLACE:
        raise typer.BadParameter(
            f"--by {by} deals no blocks. Leave it out, or split by place.", param_hint="--resolution"
        )
    if by is SplitBy.RANDOM:
        stderr.print(
            "A random split flatters: neighbours and bursts are on both sides. On the same photos, 30.6% of answers "
            "were within 25 km after a random split and 0.0% after one by place.",
            style="yellow",
        )
    done = split_manifest(
        manifest, output or manifest, shares=wanted, by=by.value, gap_km=gap_km, seed=seed, overwrite=overwrite,
        resolution=BLOCK_RESOLUTION if resolution is None else resolution,
    )  # fmt: skip
    shown = Table(
        "split", "photos", "share", "blocks", "least", "median", "< 1 km", "< 25 km",
        title="The splits, and how far their photos are from the nearest training photo",
    )  # fmt: skip
    for part in done.parts:
        row = [part.name, f"{part.photos:,}", f"{part.share:.1%}", f"{part.blocks:,}"]
        if part.nearest is not None:
            near = part.nearest
            row += [f"{near.least_km:,.1f} km", f"{near.median_km:,.1f} km"]
            row += [f"{near.within_1_km:.1%}", f"{near.within_25_km:.1%}"]
        shown.add_row(*row)
    console().print(shown)
    print(
        f"In two splits or more: {done.shared_blocks:,} of {done.blocks:,} blocks, {done.shared_groups:,} of "
        f"{done.groups:,} groups."
    )
    most_near = max((part.nearest.within_25_km for part in done.parts if part.nearest), default=0.0)
    if by is SplitBy.PLACE and most_near > NEAR_SHARE:
        print(
            f"Neighbouring blocks touch: {most_near:.0%} of a split are within 25 km of a training photo. Larger "
            "blocks (--resolution 2) make it fewer, --gap-km 25 none."
        )
    if gap_km:
        print(f"Left out of all splits: {done.left_out:,} photos nearer than {gap_km:g} km to one of a later split.")
    print(f"Manifest: {output or manifest}")
    if "train" in wanted:
        print(f"\nNext: geomind train-director --data {shlex.quote(str(output or manifest))}")
    else:
        stderr.print("No split is called train, so nothing can be trained on this manifest.", style="yellow")


def _shares(text: str) -> dict[str, float]:
    """Read `80/10/10` or `train=0.8,test=0.2`."""
    try:
        if "=" in text:
            pairs = [(name.strip(), float(share)) for name, share in (pair.split("=") for pair in text.split(","))]
            names = [name for name, _ in pairs]
            if "" in names:
                raise typer.BadParameter(f"'{text}' has a share without a name.", param_hint="--shares")
            if twice := [name for name in names if names.count(name) > 1]:
                raise typer.BadParameter(f"'{text}' names {twice[0]} twice.", param_hint="--shares")
            return dict(pairs)
        percentages = [float(part) for part in text.split("/")]
        return dict(zip(SPLIT_NAMES[len(percentages)], (part / 100 for part in percentages), strict=True))
    except (ValueError, KeyError) as error:
        raise typer.BadParameter(
            f"'{text}' is neither percentages such as 80/10/10 nor shares such as train=0.8,test=0.2.",
            param_hint="--shares",
        ) from error
