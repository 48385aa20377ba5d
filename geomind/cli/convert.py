"""`geomind convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def convert(
    predictions: Annotated[
        Path, typer.Argument(help="The predictions, .csv or .parquet, as `geomind infer` wrote them.")
    ] = Path("predictions.csv"),
    output: Annotated[
        Path | None,
        typer.Option(help="Write them as .csv, .parquet, .geojson, .kml or .gpx.", show_default=False),
    ] = None,
    output_format: Annotated[
        Literal["csv", "parquet", "geojson", "kml", "gpx"] | None,
        typer.Option("--format", help="The output's format, whatever its ending.", show_default=False),
    ] = None,
    map_page: Annotated[
        Path | None,
        typer.Option("--map", help="Write a map, one HTML page that needs no network.", show_default=False),
    ] = None,
    thumbnails: Annotated[
        int, typer.Option(min=0, max=500, help="Put so many photos on the map as small pictures.")
    ] = 0,
    exif: Annotated[
        Path | None,
        typer.Option(help="Copy the photos into this folder, with their places as EXIF GPS.", show_default=False),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Write EXIF GPS into the photos themselves; copies are safer.")
    ] = False,
    xmp: Annotated[
        bool, typer.Option("--xmp", help="Write XMP sidecars beside the photos, which stay as they are.")
    ] = False,
    sidecar_names: Annotated[
        Literal["darktable", "adobe"],
        typer.Option(
            help="darktable: photo.jpg.xmp, also for digiKam; adobe: photo.xmp, which Lightroom reads for raws."
        ),
    ] = "darktable",
    images_dir: Annotated[
        Path | None, typer.Option(help="The folder of the photos, as it was given to infer.", show_default=False)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing output, map or copy; never a sidecar.")
    ] = False,
) -> None:
    """Turn predictions into other formats, a map, or positions in photos."""
    from geomind.cli.progress import bars
    from geomind.files import refuse_existing
    from geomind.predictions import extra_columns_of, iter_predictions, refuse_output, write_predictions

    ways = [exif is not None, in_place, xmp]
    if output is None and map_page is None and not any(ways):
        raise typer.BadParameter("Say what to make: --output, --map, --exif, --in-place or --xmp.")
    if sum(ways) > 1:
        raise typer.BadParameter("--exif, --in-place and --xmp are three ways of one thing. Choose one.")
    if (any(ways) or thumbnails) and images_dir is None:
        raise typer.BadParameter("Say where the photos are: --images-dir FOLDER.", param_hint="--images-dir")
    if output is not None:
        refuse_output(output, overwrite=overwrite, format=output_format)
    if map_page is not None:
        refuse_existing(map_page, overwrite=overwrite)

    if output is not None:
        with_truth = any(each.truth is not None for each in iter_predictions(predictions))
        rows = write_predictions(
            iter_predictions(predictions),
            output,
            overwrite=overwrite,
            format=output_format,
            with_truth=with_truth,
            extra_columns=extra_columns_of(iter_predictions(predictions)),
        )
        print(f"{rows:,} rows: {output}")
    if map_page is not None:
        from geomind.outputs.web_map import write_map

        rows = write_map(
            iter_predictions(predictions), map_page, images_dir=images_dir, thumbnails=thumbnails, overwrite=overwrite
        )
        print(f"Map of {rows:,} photos: {map_page}")
    if any(ways):
        from geomind.outputs.write_back import write_back

        done = write_back(
            iter_predictions(predictions),
            images_dir or Path(),
            "copies" if exif is not None else "in_place" if in_place else "sidecars",
            copies_dir=exif,
            sidecar_names=sidecar_names,
            overwrite=overwrite,
            progress=bars(),
        )
        nothing = sum(done.left_alone.values())
        print(f"{done.exif:,} photos got EXIF GPS, {done.sidecars:,} a sidecar, {nothing:,} nothing.")
        for reason, count in done.left_alone.items():
            print(f"{count:,} left alone: {reason}.")
