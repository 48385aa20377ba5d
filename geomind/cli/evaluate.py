"""`geomind evaluate`, and the tables of an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from geomind.evaluation.certainty import Certainty, Radii
    from geomind.evaluation.scoring import Evaluation

MOST_GROUPS = 30
"""Values of a column that the terminal shows, the most frequent first."""


def evaluate(
    predictions: Annotated[
        Path,
        typer.Argument(
            help="A predictions.csv of `geomind infer`, or anybody's table with a path, a latitude and a longitude.",
            show_default=False,
        ),
    ],
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
    columns: Annotated[
        str | None,
        typer.Option(help="Names of a table's columns: latitude=Y,longitude=X,image_path=…", show_default=False),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Also score the photos of each value of a column of the manifest, such as country or source; may be "
            "given several times.",
            show_default=False,
        ),
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
    """Judge predictions by the truth: distances in km, GeoScore, where a cascade loses, whether its radii hold."""
    from geomind.cascade import Cascade
    from geomind.cli.columns import parse_columns
    from geomind.cli.progress import bars
    from geomind.evaluation import scoring
    from geomind.evaluation.plots import PICTURES, draw_evaluation
    from geomind.evaluation.sureness import sureness
    from geomind.files import refuse_existing

    pictures = [] if plots is None else [plots / name for name in PICTURES]
    for output in [*pictures, json, report]:
        if output is not None:
            refuse_existing(output, overwrite=overwrite)
    theirs = parse_columns(columns)
    cascade = None if models is None else Cascade.load(models)
    evaluation = scoring.evaluate(
        predictions, truth, split=split, cascade=cascade, images_dir=images_dir, columns=theirs, by=by or (),
        progress=bars(),
    )  # fmt: skip
    print_evaluation(evaluation)
    if json is not None:
        scoring.write_metrics(evaluation, json, overwrite=overwrite)
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
    """Print the scores of all photos with their intervals, then where they come from, then those of parts."""
    from geomind.cli.tables import console, print_whole

    tables = [_headline(evaluation), _cascade(evaluation), _certainty(evaluation.certainty), _regions(evaluation)]
    tables += [_groups(evaluation, column) for column in evaluation.groups]
    screen = console()
    for table in tables:
        if table is not None:
            print_whole(screen, table, elsewhere="--report shows all")
    for note in evaluation.notes:
        print(note)


def _headline(evaluation: Evaluation) -> Table:
    from rich.table import Table

    from geomind.evaluation.intervals import CONFIDENCE
    from geomind.metrics import THRESHOLDS_KM

    scores, intervals = evaluation.metrics, evaluation.intervals
    table = Table(
        "", "", f"{CONFIDENCE:.0%} interval", title=f"{scores.count:,} photos, {scores.answered:,} answered",
    )  # fmt: skip

    def add(heading: str, name: str, write: Callable[[float | None], str]) -> None:
        ends = f"{write(intervals[name].low)} … {write(intervals[name].high)}" if name in intervals else ""
        table.add_row(heading, write(getattr(scores, name)), ends)

    add("median distance", "median_km", _km)
    add("mean distance of the answered", "mean_km", _km)
    add("GeoScore (0 to 5,000)", "geoscore", lambda score: f"{score:,.0f}")
    for threshold in THRESHOLDS_KM:
        add(f"within {threshold:,} km", f"within_{threshold}_km", _share)
    for kind in ("country", "region", "city"):
        add(f"place in the right {kind}" if kind != "city" else "place nearest to the right town",
            f"{kind}_accuracy", _share)  # fmt: skip
    return table


def _cascade(evaluation: Evaluation) -> Table:
    from rich.table import Table

    scores, report, intervals = evaluation.metrics, evaluation.classification, evaluation.intervals
    ends = intervals.get("router_accuracy")
    table = Table("where a cascade loses", "")
    table.add_row(
        "right region (Director)",
        _share(scores.router_accuracy) + (f"  ({_share(ends.low)} … {_share(ends.high)})" if ends else ""),
    )
    if report is not None:
        table.add_row("F1 of the regions, weighted by photos", f"{report.weighted_f1:.3f}")
        table.add_row("F1 of the regions, each the same", f"{report.macro_f1:.3f}")
    table.add_row("median with the true region given (Experts)", _km(scores.oracle_median_km))
    table.add_row("median end to end", _km(scores.median_km))
    table.add_row("median of answering the true region's middle", _km(scores.region_median_floor_km))
    return table


def _certainty(certainty: Certainty) -> Table | None:
    """Make the table of what answers say of themselves; None where they say nothing."""
    from rich.table import Table

    from geomind.calibration import CONFIDENCE_KM

    table = Table("how sure it is, and whether that holds", "")

    def radii(heading: str, own: Radii | None) -> None:
        if own is not None:
            table.add_row(
                f"truth within the 50% / 90% radius, {heading}",
                f"{_share(own.coverage_50)} / {_share(own.coverage_90)} of {own.count:,} photos",
            )
            table.add_row("  mean 90% radius", _km(own.mean_radius_km_90))

    radii("all regions", certainty.radii)
    if certainty.radii is not None:
        table.add_row("  one radius for all that covers 90%", _km(certainty.radii.global_radius_km_90))
    radii("region right", certainty.radii_region_right)
    radii("region wrong", certainty.radii_region_wrong)
    for heading, error in (
        ("calibration error of the Director (ECE)", certainty.ece),
        ("Brier score of the Director", certainty.brier),
        (f"calibration error of `confidence`, within {CONFIDENCE_KM:g} km (ECE)", certainty.confidence_ece),
    ):
        if error is not None:
            table.add_row(heading, f"{error:.3f}")
    if (risk := certainty.risk) is not None:
        table.add_row("median of the answers if the least sure 30% abstain", _km(certainty.median_km_surest))
        table.add_row("area under risk and coverage (the best order's)",
                      f"{_km(risk.area_km)} ({_km(risk.best_area_km)})")  # fmt: skip
    if certainty.abstained:
        table.add_row("abstained", f"{certainty.abstained:,} photos")
        if (kept := certainty.kept) is not None:
            table.add_row("  median of the others", _km(kept.median_km))
            table.add_row("  GeoScore of the others", f"{kept.geoscore:,.0f}")
    if certainty.log_loss is not None:
        table.add_row("log loss of the candidates, per km² (20.05 is anywhere on Earth)", f"{certainty.log_loss:.2f}")
    return table if table.row_count else None


def _regions(evaluation: Evaluation) -> Table:
    from rich.table import Table

    has_radii = evaluation.certainty.radii is not None
    table = Table(
        "region", "photos", "right region", "precision", "F1", "median", "true region given", "region's middle",
        "GeoScore", *(["in 90% radius", "mean 90% radius"] if has_radii else []),
    )  # fmt: skip
    for region in evaluation.regions:
        own, recognised = region.metrics, region.recognised
        table.add_row(
            f"{region.region_id} {region.region_name}", f"{own.count:,}", _share(own.router_accuracy),
            *(["", ""] if recognised is None else [_share(recognised.precision), f"{recognised.f1:.2f}"]),
            _km(own.median_km), _km(own.oracle_median_km), _km(own.region_median_floor_km), f"{own.geoscore:,.0f}",
            *(_radius_cells(region.certainty) if has_radii else []),
        )  # fmt: skip
    return table


def _groups(evaluation: Evaluation, column: str) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from geomind.metrics import THRESHOLDS_KM

    groups, has_radii = evaluation.groups[column], evaluation.certainty.radii is not None
    table = Table(
        column, "photos", "median", "GeoScore", *(f"≤ {threshold:,} km" for threshold in THRESHOLDS_KM),
        "right country", "right region", *(["in 90% radius", "mean 90% radius"] if has_radii else []),
    )  # fmt: skip
    for group in groups[:MOST_GROUPS]:
        own = group.metrics
        table.add_row(
            escape(group.value) or "(empty)", f"{own.count:,}", _km(own.median_km), f"{own.geoscore:,.0f}",
            *(_share(getattr(own, f"within_{threshold}_km")) for threshold in THRESHOLDS_KM),
            _share(own.country_accuracy), _share(own.region_accuracy),
            *(_radius_cells(group.certainty) if has_radii else []),
        )  # fmt: skip
    if len(groups) > MOST_GROUPS:
        table.caption = f"The {MOST_GROUPS} most frequent of {len(groups):,}; --json writes all."
    return table


def _radius_cells(certainty: Certainty) -> list[str]:
    radii = certainty.radii
    return ["", ""] if radii is None else [_share(radii.coverage_90), _km(radii.mean_radius_km_90)]


def _km(distance_km: float | None) -> str:
    if distance_km is None:
        return "not measured"
    return "no answer" if distance_km == float("inf") else f"{distance_km:,.0f} km"


def _share(share: float | None) -> str:
    return "not measured" if share is None else f"{share:.1%}"
