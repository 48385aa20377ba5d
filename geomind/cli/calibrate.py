"""`geomind calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geomind.cli.answering import Device, Precision, Routing, Runtime, TopK, UseGallery, Views, top_k_of

if TYPE_CHECKING:
    from geomind.calibration import Calibration

_PHOTOS = "Photos and models"


def calibrate(
    data: Annotated[
        Path,
        typer.Option(
            help="A manifest, some of whose photos no training has seen.", show_default=False, rich_help_panel=_PHOTOS
        ),
    ],
    models: Annotated[Path, typer.Option(help="The folder of trained models.", rich_help_panel=_PHOTOS)] = Path(
        "saved_models"
    ),
    split: Annotated[
        str, typer.Option(help="The split of the manifest whose photos are answered.", rich_help_panel=_PHOTOS)
    ] = "calibration",
    level: Annotated[
        list[float] | None,
        typer.Option(
            help="A share of photos, 0 to 1, to fit a radius for besides 0.5, 0.75, 0.9 and 0.95. May be given again.",
            show_default=False,
            rich_help_panel=_PHOTOS,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the five parts that photos are dealt into.", rich_help_panel=_PHOTOS)
    ] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier calibration.", rich_help_panel=_PHOTOS)
    ] = False,
    routing: Routing = "hard",
    top_k: TopK = None,
    gallery: UseGallery = False,
    views: Views = 1,
    runtime: Runtime = "auto",
    precision: Precision = "fp32",
    device: Device = "auto",
) -> None:
    """Measure how sure answers are, so that each has a radius that holds the truth as often as it says."""
    from geomind.calibration import LEVELS, calibration_path
    from geomind.cli.progress import bars
    from geomind.evaluation import calibrate as calibration
    from geomind.geolocators import Answering

    how = Answering(
        runtime=runtime,
        precision=precision,
        device=device,
        top_k=top_k_of(routing, top_k),
        gallery=gallery,
        views=views,
    )
    made = calibration.calibrate(
        data,
        models,
        how,
        split=split,
        levels=(*LEVELS, *(level or ())),
        seed=seed,
        overwrite=overwrite,
        progress=bars(),
    )
    print_calibration(made)
    print(f"Calibration: {calibration_path(models)}; `geomind infer` uses it from now on.")


def print_calibration(made: Calibration) -> None:
    """Print what a calibration came to on photos that were left out."""
    from rich.table import Table

    from geomind.cli.tables import console

    radii = Table(
        "radius",
        "holds the truth of",
        "mean",
        "one radius for all",
        title=f"{made.photos:,} photos, judged by those of other places",
    )
    for radius in made.radii:
        percent = f"{100 * radius.level:g}"
        radii.add_row(
            f"{percent}%",
            f"{made.measured[f'coverage_{percent}']:.1%}",
            f"{made.measured[f'mean_radius_km_{percent}']:,.0f} km",
            f"{made.measured[f'global_radius_km_{percent}']:,.0f} km",
        )
    console().print(radii)
    if "ece" in made.measured:
        print(
            f"Director: temperature {made.temperature:.2f}; expected calibration error "
            f"{made.measured['ece_before']:.3f} before, {made.measured['ece']:.3f} after, on these photos."
        )
    print(f"Confidence, the truth within 750 km: expected calibration error {made.measured['ece_confidence']:.3f}.")
