"""`geomind bench`: how fast this machine is, and how much of it GeoMind uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from geomind.bench.inference import InferenceFigures
    from geomind.bench.recipes import RecipeScore
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


@app.command("infer")
def infer(
    photos: Annotated[int, typer.Option(min=2, help="Photos that the engine answers in a run.")] = 400,
    megapixels: Annotated[
        float, typer.Option(min=0.1, max=80, help="Size of the photos, which are JPEGs, megapixels.")
    ] = 12,
    backbone: Annotated[str, typer.Option(help="The image encoder, with random weights.")] = "efficientnet_b0",
    image_size: Annotated[
        int, typer.Option(min=32, max=1024, help="Side of the square that the networks see, pixels.")
    ] = 224,
    rounds: Annotated[int, typer.Option(min=1, help="Times that each figure is measured.")] = 3,
    runtime: Annotated[
        Literal["auto", "torch", "onnx", "openvino"],
        typer.Option(help="What runs the networks of `geomind infer`; auto measures all that are installed."),
    ] = "auto",
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where the networks run.")] = "cpu",
    json: Annotated[Path | None, typer.Option(help="Write the figures here, as JSON.", show_default=False)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")] = False,
) -> None:
    """Measure `geomind infer` on JPEGs, against a plain loop and against decoding and networks alone.

    Photos and 14 networks are made for it and deleted in the end. Give it a machine that does nothing else.
    """
    from geomind.bench.inference import bench_inference
    from geomind.bench.timing import write_json
    from geomind.cli.progress import bars
    from geomind.files import refuse_existing

    if json is not None:
        refuse_existing(json, overwrite=overwrite)
    figures = bench_inference(
        backbone=backbone,
        image_size=image_size,
        photos=photos,
        megapixels=megapixels,
        rounds=rounds,
        runtime=runtime,
        device=device,
        progress=bars(),
    )
    _print_inference(figures)
    if json is not None:
        write_json(figures.flat(), json, overwrite=overwrite)
        print(f"Figures: {json}")


@app.command("recipes")
def recipes(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="RECIPE.yaml…", help="Settings of the Director to compare; the first is varied."),
    ],
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE[,KEY=VALUE]",
            help="One more recipe: the first with this changed. Repeatable.",
            show_default=False,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting that all take. Repeatable.", show_default=False),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds that each is trained with: 0, 1, …")] = 3,
    photos: Annotated[int, typer.Option(min=200, help="Scenes of the demo world that is drawn for each seed.")] = 3000,
    data: Annotated[
        Path | None,
        typer.Option(help="A manifest with a split `test`, in place of the demo world.", show_default=False),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures here, as JSON.", show_default=False)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")] = False,
) -> None:
    """Train Directors by several recipes, at the same budget, and compare how many held-out photos they get right.

    On the demo world all take its small network, scenes of 64 pixels and 12 epochs.
    """
    from geomind.bench.recipes import WORLD_SETTINGS, bench_recipes
    from geomind.bench.timing import write_json
    from geomind.cli.progress import bars
    from geomind.config import DirectorConfig, load_config
    from geomind.files import refuse_existing
    from geomind.geography.regions import default_regions

    if json is not None:
        refuse_existing(json, overwrite=overwrite)
    shared = [*(WORLD_SETTINGS if data is None else ()), *(set_ or ())]
    compared = {path.stem: load_config(DirectorConfig, path, shared) for path in files}
    for change in vary or ():
        changed = load_config(DirectorConfig, files[0], [*shared, *change.split(",")])
        compared[f"{files[0].stem}, {change}"] = changed
    scores = bench_recipes(compared, regions=default_regions(), seeds=seeds, photos=photos, data=data, progress=bars())
    _print_recipes(scores)
    if json is not None:
        write_json([score.flat() for score in scores], json, overwrite=overwrite)
        print(f"Figures: {json}")


def _print_recipes(scores: Sequence[RecipeScore]) -> None:
    from rich.table import Table

    from geomind.cli.tables import console

    table = Table("recipe", "right regions, mean", "least", "most", "epochs", "seconds")
    for score in scores:
        table.add_row(
            score.recipe, f"{score.mean:.1%}", f"{min(score.accuracies):.1%}", f"{max(score.accuracies):.1%}",
            f"{score.flat()['epochs']:.1f}", f"{score.seconds:.0f}",
        )  # fmt: skip
    console().print(table)


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


def _print_inference(figures: InferenceFigures) -> None:
    from rich.table import Table

    from geomind.bench.inference import WAYS
    from geomind.cli.tables import console

    settings, bare, one = figures.settings, figures.bare, figures.one_photo
    table = Table(
        f"{settings['photos']:,} photos of {settings['megapixels']:g} megapixels, "
        f"{settings['backbone']} at {settings['image_size']} px",
        *("median", "least", "most"),
        title=_machine(figures.machine),
    )
    untold = "not told by this system"
    rows: list[tuple[str, Spread | None, str]] = [
        ("plain loop", bare.plain_images_per_s, "images/s"),
        ("  memory", bare.plain_peak_memory_mb, "MB"),
        ("decoding alone, all cores", bare.decode_images_per_s, "images/s"),
    ]
    for name, engine in figures.engines.items():
        way = WAYS[name]
        passes = "two passes" if way.models == "own" else "shared trunk"
        rows += [
            (f"geomind infer, {passes}, {way.precision}", engine.engine_images_per_s, "images/s"),
            ("  as a multiple of the plain loop", engine.ratio_to_plain, "x"),
            ("  as a share of the limit", engine.ratio_to_limit, "%"),
            ("  the limit", engine.limit_images_per_s, "images/s"),
            ("  start-up", engine.startup_seconds, "s"),
            ("  memory", engine.peak_memory_mb, "MB"),
        ]
    for runner, forward in figures.forwards.items():
        rows += [
            (f"forward pass, {runner.runtime} {runner.precision}", forward.forward_images_per_s, "images/s"),
            ("  as a multiple of torch fp32", forward.forward_ratio, "x"),
        ]
    rows += [
        ("networks with a shared trunk, as a multiple of two passes", figures.shared_trunk.shared_forward_ratio, "x"),
        ("geomind infer on one photo", one.one_photo_seconds, "s"),
        ("  as a multiple of importing the runtime", one.one_photo_ratio, "x"),
    ]
    for label, spread, unit in rows:
        table.add_row(label, *_cells(spread, unit, untold))
    console().print(table)
    for runner, agreement in figures.agreements.items():
        print(
            f"{runner.runtime} {runner.precision}: the region that torch fp32 gives on {agreement.same_region:.2%} of "
            f"photos; places there differ by at most {agreement.largest_difference:.2g} of the box."
        )


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
