"""`geomind infer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def infer(
    images_dir: Annotated[
        Path, typer.Option(help="The folder of photos, walked with its subfolders.", show_default=False)
    ],
    output: Annotated[Path, typer.Option(help="The CSV to write, one row a photo.")] = Path("predictions.csv"),
    models: Annotated[Path, typer.Option(help="The folder of trained models.")] = Path("saved_models"),
    batch_size: Annotated[int, typer.Option(min=1, help="Photos answered at once.")] = 32,
    workers: Annotated[int, typer.Option(min=1, help="Threads that decode photos.")] = 2,
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        typer.Option(help="Where the networks run; auto takes a GPU where there is one."),
    ] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
) -> None:
    """Tell where photos were taken: a CSV with latitude, longitude and a Google Maps link for each."""
    from geomind.cascade import Cascade
    from geomind.cli.progress import Bars
    from geomind.devices import torch_threads_beside
    from geomind.inference import engine
    from geomind.predictions import refuse_output

    refuse_output(output, overwrite=overwrite)  # before the weights are read
    cascade = Cascade.load(models, device=device)
    with torch_threads_beside(workers):
        done = engine.infer(
            images_dir,
            output,
            cascade,
            batch_size=batch_size,
            workers=workers,
            overwrite=overwrite,
            progress=Bars(),
        )
    print(f"{done.photos:,} photos: {done.located:,} located, {done.failed:,} could not be read.")
    if done.fallbacks:
        print(f"{done.fallbacks:,} of them got their region's median place, for want of an Expert; `error` says so.")
    print(f"Rows: {done.output}")
