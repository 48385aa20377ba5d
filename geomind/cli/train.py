"""`geomind train-director`, `geomind train-expert` and `geomind train-hierarchical`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geomind.devices import is_first_process

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geomind.config import AnyConfig, ExpertConfig
    from geomind.geography.regions import RegionTable
    from geomind.training.experts import Outcome

Data = Annotated[
    Path | None,
    typer.Option(
        help="The manifest to learn from, made by `geomind prepare`; with --resume, the one it began with.",
        show_default=False,
    ),
]
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
Select = Annotated[
    str | None,
    typer.Option(
        metavar="loss|accuracy|geoscore",
        help="Which epoch's weights are served; short for --set select=…; `loss` if neither is given.",
        show_default=False,
    ),
]
Models = Annotated[Path, typer.Option(help="The folder of models that the weights are put into.")]
Runs = Annotated[Path, typer.Option(help="The folder that keeps each training's settings, metrics and curves.")]
Resume = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="Go on with an interrupted training: its folder below --runs-dir. Its settings and manifest are taken.",
        show_default=False,
    ),
]
Regions = Annotated[
    Path | None, typer.Option(help="A YAML table of regions; GeoMind's 13 if left out.", show_default=False)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing weights.")]


def train_director(
    data: Data = None,
    config: Config = None,
    set_: Set = None,
    select: Select = None,
    models: Models = Path("saved_models"),
    runs_dir: Runs = Path("runs"),
    resume: Resume = None,
    regions: Regions = None,
    overwrite: Overwrite = False,
) -> None:
    """Stage 1: train the Director, which tells the region of a photo."""
    from geomind.cli.progress import bars
    from geomind.config import DirectorConfig
    from geomind.training import director

    manifest = _manifest(data, resume)
    trained = director.train_director(
        manifest,
        _settings(DirectorConfig, config, set_, select, resume),
        regions=_table(regions),
        models=models,
        runs=runs_dir,
        resume=resume,
        overwrite=overwrite,
        progress=bars(),
    )
    _print_outcomes([trained], f"geomind train-expert --region all --data {shlex.quote(str(manifest))}")


def train_expert(
    region: Annotated[
        str,
        typer.Option(help="A region's id, as in 5, or `all`. `geomind regions show` lists them.", show_default=False),
    ],
    data: Data = None,
    config: Config = None,
    set_: Set = None,
    select: Select = None,
    models: Models = Path("saved_models"),
    runs_dir: Runs = Path("runs"),
    trunk: Annotated[
        str | None,
        typer.Option(
            metavar="own|director",
            help="An image encoder of its own, or the Director's, frozen; short for --set trunk=…; `own` if left out.",
            show_default=False,
        ),
    ] = None,
    gallery: Annotated[
        bool,
        typer.Option(
            "--gallery",
            help="Keep, beside the weights, what the training photos look like to it and where they were taken: "
            "`infer --gallery` refines its answers by those most like a photo.",
        ),
    ] = False,
    resume: Resume = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="With --region all: how many Experts are trained at a time, sharing the cores.")
    ] = 1,
    regions: Regions = None,
    overwrite: Overwrite = False,
) -> None:
    """Stage 2: train the Expert of one region or of all, which tells the place inside it.

    With --region all, Experts that are there are skipped and an interrupted one is gone on with.
    """
    from geomind.cli.progress import bars
    from geomind.config import ExpertConfig
    from geomind.training import expert, experts

    if region != "all" and not region.isdecimal():
        raise typer.BadParameter(f"'{region}' is no region id; give a number, or `all`.", param_hint="--region")
    if region == "all" and resume is not None:
        raise typer.BadParameter(
            "with --region all, give the first command again: it finds what was interrupted.", param_hint="--resume"
        )
    if region != "all" and jobs > 1:
        raise typer.BadParameter("is for --region all.", param_hint="--jobs")
    manifest = _manifest(data, resume)
    settings = _settings(ExpertConfig, config, [*(set_ or ()), *_short("trunk", trunk)], select, resume)
    table = _table(regions)
    outcomes: list[Outcome]
    if region == "all":
        outcomes = experts.train_all_experts(
            manifest, settings, regions=table, models=models, runs=runs_dir, jobs=jobs, overwrite=overwrite,
            progress=bars(),
        )  # fmt: skip
    else:
        outcomes = [
            expert.train_expert(
                manifest, int(region), settings, regions=table, models=models, runs=runs_dir, resume=resume,
                overwrite=overwrite, progress=bars(),
            )
        ]  # fmt: skip
    if gallery:
        _make_galleries(manifest, None if region == "all" else int(region), settings, table, models, runs_dir)
    flag = " --gallery" if gallery else ""
    _print_outcomes(outcomes, f"geomind infer --images-dir PHOTOS --models {shlex.quote(str(models))}{flag}")


def _make_galleries(
    manifest: Path, region_id: int | None, settings: ExpertConfig, table: RegionTable, models: Path, runs: Path
) -> None:
    from geomind.cli.progress import bars
    from geomind.training.gallery import make_expert_galleries, make_expert_gallery

    how: dict[str, Any] = {"regions": table, "models": models, "runs": runs, "workers": max(1, settings.workers)}
    how |= {"device": settings.device, "progress": bars()}
    if region_id is None:
        made = make_expert_galleries(manifest, **how)
    else:
        made = [make_expert_gallery(manifest, region_id, **how)]
    for each in made:
        print(f"Gallery of {each.photos:,} photos: {each.path}")


def train_hierarchical(
    data: Data = None,
    config: Config = None,
    set_: Set = None,
    select: Select = None,
    cells: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.parquet",
            help="A tree of cells by `geomind regions fit --levels`; fitted to the training photos if left out.",
            show_default=False,
        ),
    ] = None,
    models: Models = Path("saved_models"),
    runs_dir: Runs = Path("runs"),
    resume: Resume = None,
    regions: Regions = None,
    overwrite: Overwrite = False,
) -> None:
    """Train the second system: one network that tells country, region, city and the place in it."""
    from geomind.cli.progress import bars
    from geomind.config import HierarchicalConfig
    from geomind.training import hierarchical

    trained = hierarchical.train_hierarchical(
        _manifest(data, resume),
        _settings(HierarchicalConfig, config, set_, select, resume),
        regions=_table(regions),
        cells=cells,
        models=models,
        runs=runs_dir,
        resume=resume,
        overwrite=overwrite,
        progress=bars(),
    )
    folder = shlex.quote(str(trained.weights.parent))
    _print_outcomes([trained], f"geomind infer --images-dir PHOTOS --models {folder}")


def _manifest(data: Path | None, resume: Path | None) -> Path:
    """Give the manifest that is asked for, or that of the training to resume."""
    if data is not None:
        return data
    if resume is None:
        raise typer.BadParameter("is missing: name a manifest, made by `geomind prepare`.", param_hint="--data")
    from geomind.training.runs import Run

    return Path(Run(resume).facts["data"])


def _settings(
    kind: type[AnyConfig], config: Path | None, set_: Sequence[str] | None, select: str | None, resume: Path | None
) -> AnyConfig:
    """Read the settings that are asked for; a training to resume has its own, which these come on top of."""
    from geomind.config import DirectorConfig, ExpertConfig, HierarchicalConfig, load_config
    from geomind.errors import ConfigError
    from geomind.training.runs import Run

    overrides = [*(set_ or ()), *_short("select", select)]
    if config is None and resume is not None:
        name = Run(resume).facts["name"]
        trained = name.partition("-")[0]
        kinds = {"director": DirectorConfig, "expert": ExpertConfig, "hierarchical": HierarchicalConfig}
        if kind is not kinds.get(trained):
            by = f"; go on with it by `geomind train-{trained}`" if trained in kinds else ""
            raise ConfigError(f"{resume} is another training: it trains {name}{by}.")
        config = Run(resume).settings
    return load_config(kind, config, overrides)


def _short(key: str, value: str | None) -> list[str]:
    """Write an option of its own as --set has it."""
    return [] if value is None else [f"{key}={value}"]


def _table(path: Path | None) -> RegionTable:
    from geomind.geography.regions import RegionTable, default_regions

    return default_regions() if path is None else RegionTable.read(path)


def _print_outcomes(outcomes: Sequence[Outcome], next_command: str) -> None:
    """Tell what was trained, and stop with exit code 1 if something could not be."""
    from rich.table import Table

    from geomind.cli.tables import console
    from geomind.training.experts import Failed, Skipped

    if not is_first_process():
        return
    table = Table("trained", "photos", "validation", "epochs", "best epoch")
    for outcome in outcomes:
        if isinstance(outcome, Failed):
            table.add_row(outcome.name, "", "", "", "failed", style="red")
        elif isinstance(outcome, Skipped):
            table.add_row(outcome.name, "", "", "", "skipped", style="yellow")
        else:
            metrics = "\n".join(f"{name.removeprefix('val_')} {value:.4g}" for name, value in outcome.metrics.items())
            table.add_row(
                outcome.name, f"{outcome.photos:,}", f"{outcome.validation_photos:,}", str(outcome.epochs), metrics
            )  # fmt: skip
    console().print(table)
    for outcome in outcomes:
        if isinstance(outcome, Failed):
            print(f"{outcome.name}: failed. {outcome.reason}")
        elif isinstance(outcome, Skipped):
            print(f"{outcome.name}: skipped, {outcome.reason}")
        else:
            print(f"{outcome.name}: weights {outcome.weights}, run {outcome.run}")
    if any(isinstance(outcome, Failed) for outcome in outcomes):
        raise typer.Exit(1)
    print(f"\nNext: {next_command}")
