"""`geomind train-director` and `geomind train-expert`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from geomind.training.stages import Skipped, Trained

Data = Annotated[Path, typer.Option(help="The manifest to learn from, made by `geomind prepare`.", show_default=False)]
Config = Annotated[
    Path | None,
    typer.Option(help="A YAML of settings; keys that it leaves out keep their defaults.", show_default=False),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="One setting, above the YAML's; keys as in configs/*.yaml. Repeatable.",
        show_default=False,
    ),
]
Models = Annotated[Path, typer.Option(help="The folder of models that the weights are put into.")]
Runs = Annotated[Path, typer.Option(help="The folder that keeps each training's settings, metrics and curves.")]
Regions = Annotated[
    Path | None, typer.Option(help="A YAML table of regions; GeoMind's 13 if left out.", show_default=False)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")]


def train_director(
    data: Data,
    config: Config = None,
    set_: Set = None,
    models: Models = Path("saved_models"),
    runs_dir: Runs = Path("runs"),
    regions: Regions = None,
    overwrite: Overwrite = False,
) -> None:
    """Stage 1: train the Director, which tells the region of a photo."""
    from geomind.cli.progress import Bars
    from geomind.config import DirectorConfig, load_config
    from geomind.training import stages

    trained = stages.train_director(
        data,
        load_config(DirectorConfig, config, set_ or ()),
        regions=_table(regions),
        models=models,
        runs=runs_dir,
        overwrite=overwrite,
        progress=Bars(),
    )
    _print_trained([trained])
    print(f"\nNext: geomind train-expert --region all --data {shlex.quote(str(data))}")


def train_expert(
    region: Annotated[
        str,
        typer.Option(help="A region's id, as in 5, or `all`. `geomind regions show` lists them.", show_default=False),
    ],
    data: Data,
    config: Config = None,
    set_: Set = None,
    models: Models = Path("saved_models"),
    runs_dir: Runs = Path("runs"),
    regions: Regions = None,
    overwrite: Overwrite = False,
) -> None:
    """Stage 2: train the Expert of one region or of all, which tells the place inside it."""
    from geomind.cli.progress import Bars
    from geomind.config import ExpertConfig, load_config
    from geomind.training import stages

    if region != "all" and not region.isdecimal():
        raise typer.BadParameter(f"'{region}' is no region id; give a number, or `all`.", param_hint="--region")
    settings = load_config(ExpertConfig, config, set_ or ())
    table = _table(regions)
    done: list[Trained | Skipped]
    if region == "all":
        done = stages.train_all_experts(
            data, settings, regions=table, models=models, runs=runs_dir, overwrite=overwrite, progress=Bars()
        )
    else:
        done = [
            stages.train_expert(
                data, int(region), settings, regions=table, models=models, runs=runs_dir, overwrite=overwrite,
                progress=Bars(),
            )
        ]  # fmt: skip
    _print_trained(done)
    print(f"\nNext: geomind infer --images-dir PHOTOS --models {shlex.quote(str(models))}")


def _table(path: Path | None) -> RegionTable:
    from geomind.geography.regions import RegionTable, default_regions

    return default_regions() if path is None else RegionTable.read(path)


def _print_trained(done: list[Trained | Skipped]) -> None:
    from rich.table import Table

    from geomind.cli.tables import console
    from geomind.training.stages import Trained

    table = Table("trained", "photos", "validation", "epochs", "best epoch")
    for outcome in done:
        if isinstance(outcome, Trained):
            metrics = "\n".join(f"{name.removeprefix('val_')} {value:.4g}" for name, value in outcome.metrics.items())
            table.add_row(
                outcome.name, f"{outcome.photos:,}", f"{outcome.validation_photos:,}", str(outcome.epochs), metrics
            )  # fmt: skip
        else:
            table.add_row(outcome.name, "", "", "", "skipped", style="yellow")
    console().print(table)
    for outcome in done:
        if isinstance(outcome, Trained):
            print(f"{outcome.name}: weights {outcome.weights}, run {outcome.run}")
        else:
            print(f"{outcome.name}: skipped, {outcome.reason}")


if TYPE_CHECKING:
    from geomind.geography.regions import RegionTable
