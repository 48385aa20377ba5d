"""`geomind evaluate`, and the tables of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from geomind.evaluation.scoring import Evaluation


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="A predictions.csv of `geomind infer`.", show_default=False)],
    truth: Annotated[Path, typer.Option(help="The manifest that knows the true places.", show_default=False)],
    models: Annotated[
        Path | None,
        typer.Option(
            help="The models that answered: asks the true region's Expert where the region was wrong.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="The split that counts; the splits that the predictions touch if left out.", show_default=False
        ),
    ] = None,
    images_dir: Annotated[
        Path | None,
        typer.Option(help="What predictions are relative to, if it cannot be told from the paths.", show_default=False),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the scores here, as JSON.", show_default=False)] = None,
    plots: Annotated[
        Path | None,
        typer.Option(help="A folder for pictures: the map, the errors, the regions mistaken.", show_default=False),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write everything as one HTML page that needs no network.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")] = False,
) -> None:
    """Judge predictions by the truth: distances in km, GeoScore, and where a cascade loses."""
    from geomind.cascade import Cascade
    from geomind.cli.progress import bars
    from geomind.evaluation import scoring
    from geomind.evaluation.plots import PICTURES, draw_evaluation
    from geomind.evaluation.sureness import sureness
    from geomind.files import refuse_existing

    pictures = [] if plots is None else [plots / name for name in PICTURES]
    for output in [*pictures, json, report]:
        if output is not None:
            refuse_existing(output, overwrite=overwrite)
    cascade = None if models is None else Cascade.load(models)
    evaluation = scoring.evaluate(
        predictions, truth, split=split, cascade=cascade, images_dir=images_dir, progress=bars()
    )
    print_evaluation(evaluation)
    if json is not None:
        scoring.write_metrics(evaluation.metrics, json, overwrite=overwrite)
        print(f"Scores: {json}")
    if plots is not None:
        drawn = draw_evaluation(evaluation, plots, overwrite=overwrite)
        for picture in pictures:
            print(f"Picture: {picture}" if picture in drawn else f"Not drawn: {picture.name}")
        for lacking in sureness(evaluation).lacking:
            print(lacking)
    if report is not None:
        from geomind.evaluation.report import write_report

        write_report(
            evaluation, report, title=predictions.name, images_dir=images_dir, overwrite=overwrite, progress=bars()
        )
        print(f"Report: {report}")


def print_evaluation(evaluation: Evaluation) -> None:
    """Print the scores of all photos, the four numbers of a cascade, and the scores of each region."""
    from rich.table import Table

    from geomind.cli.tables import console
    from geomind.metrics import THRESHOLDS_KM

    screen, all_photos = console(), evaluation.metrics
    scores = Table(title=f"{all_photos.count:,} photos, {all_photos.answered:,} answered", show_header=False)
    scores.add_row("median distance", _km(all_photos.median_km))
    scores.add_row("mean distance of the answered", _km(all_photos.mean_km))
    scores.add_row("GeoScore (0 to 5,000)", f"{all_photos.geoscore:,.0f}")
    for threshold in THRESHOLDS_KM:
        scores.add_row(f"within {threshold:,} km", f"{getattr(all_photos, f'within_{threshold}_km'):.1%}")
    screen.print(scores)

    cascade = Table("where a cascade loses", "")
    cascade.add_row("right region (Director)", _share(all_photos.router_accuracy))
    cascade.add_row("median with the true region given (Experts)", _km(all_photos.oracle_median_km))
    cascade.add_row("median end to end", _km(all_photos.median_km))
    cascade.add_row("median of answering the true region's middle", _km(all_photos.region_median_floor_km))
    screen.print(cascade)

    regions = Table("region", "photos", "right region", "median", "true region given", "region's middle", "GeoScore")
    for region in evaluation.regions:
        own = region.metrics
        regions.add_row(
            f"{region.region_id} {region.region_name}", f"{own.count:,}", _share(own.router_accuracy),
            _km(own.median_km), _km(own.oracle_median_km), _km(own.region_median_floor_km), f"{own.geoscore:,.0f}",
        )  # fmt: skip
    screen.print(regions)
    for note in evaluation.notes:
        print(note)


def _km(distance_km: float | None) -> str:
    if distance_km is None:
        return "not measured"
    return "no answer" if distance_km == float("inf") else f"{distance_km:,.0f} km"


def _share(share: float | None) -> str:
    return "not measured" if share is None else f"{share:.1%}"
