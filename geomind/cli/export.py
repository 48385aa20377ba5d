"""`geomind export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    models: Annotated[Path, typer.Option(help="The folder of trained models.")] = Path("saved_models"),
    output: Annotated[
        Path | None,
        typer.Option(help="A folder for the files; without it they stay beside the weights.", show_default=False),
    ] = None,
    precision: Annotated[
        Literal["fp32", "int8"], typer.Option(help="What the networks count in; fp32 files serve bf16 too.")
    ] = "fp32",
    calibrate: Annotated[
        Path | None,
        typer.Option(help="With int8: a folder of photos like those to be answered.", show_default=False),
    ] = None,
) -> None:
    """Write the networks as ONNX files, for GeoMind's quick runtimes and for programs without GeoMind."""
    from geomind.cli.progress import bars
    from geomind.errors import ConfigError
    from geomind.export import export_models, quantize_models

    if (precision == "int8") != (calibrate is not None):
        raise ConfigError("int8 needs photos of yours, and only int8 does: --precision int8 --calibrate PHOTOS_DIR.")
    progress = bars()
    if calibrate is not None:
        cost = quantize_models(models, calibrate, progress=progress)
        print(
            f"int8 against fp32 on {cost.photos:,} photos that set no range: {cost.same_region:.1%} keep their region; "
            f"places move by {cost.median_km:,.1f} km in the median, nine of ten by less than {cost.p90_km:,.1f} km."
        )
    exported = export_models(models, output, precision=precision, progress=progress)
    for network in exported:
        agreement = (
            "" if network.max_difference is None else f"  max difference from torch {network.max_difference:.1e}"
        )
        print(f"{network.file}{agreement}")
    print(f"Description: {Path(output or models) / 'models.json'}")
