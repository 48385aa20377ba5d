"""`geomind bench`: how fast this machine is, and how much of it GeoMind uses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from geomind.bench.timing import Spread
    from geomind.bench.training import TrainingFigures

app = typer.Typer(help="Measure the speed of this machine, against the bare work.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Measure the speed of this machine, against the bare work."""


@app.command("train")
def train(
    backbone: Annotated[str, typer.Option(help="The image encoder, with random weights.")] = "efficientnet_b0",
    image_size: Annotated[
        int, typer.Option(min=32, max=1024, help="Side of the square that the network sees, pixels.")
    ] = 224,
    batch_size: Annotated[int, typer.Option(min=2, help="Photos a step.")] = 32,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode photos.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Times that each figure is measured.")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Training steps timed in a row.")] = 6,
    photos: Annotated[int, typer.Option(min=60, help="Photos drawn, JPEGs of 640 x 480 pixels.")] = 300,
    frozen: Annotated[
        bool,
        typer.Option(
            "--frozen", help="Also train a Director and 13 Experts on a frozen trunk, against one pass of all photos."
        ),
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write the figures here, as JSON.", show_default=False)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")] = False,
) -> None:
    """Measure training, from JPEGs on disk, against the bare steps of the same network on tensors in memory.

    All photos are drawn for it and deleted in the end. Give it a machine that does nothing else.
    """
    from geomind.bench.timing import write_figures
    from geomind.bench.training import bench_training
    from geomind.cli.progress import bars
    from geomind.config import BackboneConfig, DirectorConfig
    from geomind.files import refuse_existing

    if json is not None:
        refuse_existing(json, overwrite=overwrite)
    config = DirectorConfig(
        backbone=BackboneConfig(name=backbone, weights="none"),
        image_size=image_size,
        batch_size=batch_size,
        workers=workers,
    )
    figures = bench_training(
        config, rounds=rounds, steps=steps, photos=photos, frozen=frozen, progress=bars()
    )  # fmt: skip
    _print_training(figures)
    if json is not None:
        write_figures(figures, json, overwrite=overwrite)
        print(f"Figures: {json}")


def _print_training(figures: TrainingFigures) -> None:
    from rich.table import Table

    from geomind.cli.tables import console

    settings = figures.settings
    table = Table(
        f"{settings['backbone']} at {settings['image_size']} px, batches of {settings['batch_size']}",
        *("median", "least", "most"),
        title=_machine(figures.machine),
    )
    no_gpu, not_asked = "not measured: no GPU", "not measured: see --frozen"
    for name, spread, unit, absent in (
        ("bare steps, tensors in memory", figures.bare_images_per_s, "images/s", ""),
        (f"training, from JPEGs by {settings['workers']} workers", figures.fit_images_per_s, "images/s", ""),
        ("  as a share of bare steps", figures.ratio_to_bare, "%", ""),
        ("  what it would be if no core waited", figures.limit_to_bare, "%", ""),
        ("reading and augmenting JPEGs, one core", figures.decode_images_per_s, "images/s", ""),
        ("share of a step: our loop with Lightning Fabric", figures.loop_share, "%", ""),
        ("share of a step: Lightning Fabric alone", figures.lightning_share, "%", ""),
        (f"one pass of {settings['photos']:,} photos", figures.embedding_seconds, "s", not_asked),
        ("Director and 13 Experts on a frozen trunk", figures.frozen_seconds, "s", not_asked),
        ("  as a multiple of that pass", figures.frozen_ratio, "x", not_asked),
        ("bare steps on the GPU, bf16", figures.gpu_images_per_s, "images/s", no_gpu),
        ("  share that training from JPEGs reaches", figures.gpu_loader_share, "%", no_gpu),
    ):
        table.add_row(name, *_cells(spread, unit, absent))
    console().print(table)


def _cells(spread: Spread | None, unit: str, absent: str) -> list[str]:
    if spread is None:
        return [absent, "", ""]
    values = (spread.median, spread.least, spread.most)
    if unit == "%":
        return [f"{value:.1%}" for value in values]
    return [f"{value:.2f} x" if unit == "x" else f"{value:,.1f} {unit}" for value in values]


def _machine(machine: Mapping[str, Any]) -> str:
    said = f"{machine['cores']} cores, {machine['threads']} threads a step, torch {machine['torch']}"
    return said if machine["gpu"] is None else f"{said}, {machine['gpu']}"
