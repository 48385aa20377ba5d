"""`geomind inspect`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from geomind.data.inspection import Inspection
    from geomind.evaluation.hard_examples import HardExamples

UNFIT = 3
"""Exit code of a manifest that was looked at and has problems; 1 is GeoMind's error, 2 wrong usage."""

MOST_ROWS = 12
"""Rows of the tables of countries, sources and confused pairs in the terminal."""


def inspect(
    manifest: Annotated[Path, typer.Argument(help="The manifest to look at.", show_default=False)],
    regions: Annotated[
        Path | None, typer.Option(help="A YAML table of regions; GeoMind's 13 if left out.", show_default=False)
    ] = None,
    check_files: Annotated[
        bool, typer.Option("--check-files/--no-check-files", help="Open every photo; they may be elsewhere.")
    ] = True,
    min_photos: Annotated[int, typer.Option(min=0, help="Name the regions with fewer photos.")] = 100,
    json: Annotated[Path | None, typer.Option(help="Write the figures here, as JSON.", show_default=False)] = None,
    photos: Annotated[
        Path | None,
        typer.Option(help="Write here what was found about each photo, as CSV.", show_default=False),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write everything here, as one HTML page.", show_default=False)
    ] = None,
    show_coordinates: Annotated[
        bool, typer.Option("--show-coordinates", help="Show where the photos were taken that are named.")
    ] = False,
    predictions: Annotated[
        Path | None,
        typer.Option(help="A predictions.csv: count which regions it took for which.", show_default=False),
    ] = None,
    hard: Annotated[
        Path | None,
        typer.Option(help="Write the photos that --predictions got wrong here, as a manifest.", show_default=False),
    ] = None,
    images_dir: Annotated[
        Path | None,
        typer.Option(help="What predictions are relative to, if it cannot be told from the paths.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the photos of the report's contact sheet.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")] = False,
) -> None:
    """Say what is in a manifest and what is wrong with it.

    Exit code 0: fit to train on, or to test on if every photo is `test`; 3: looked, and not fit; 1: could not look.
    """
    from geomind.cli.progress import bars
    from geomind.cli.tables import console as results
    from geomind.data.inspection import inspect_manifest, write_figures, write_verdicts
    from geomind.files import refuse_existing
    from geomind.geography.regions import RegionTable, default_regions

    if hard is not None and predictions is None:
        raise typer.BadParameter("say by --predictions who got them wrong.", param_hint="--hard")
    if images_dir is not None and predictions is None:
        raise typer.BadParameter("it is for the paths of --predictions; name those.", param_hint="--images-dir")
    outputs = {"--json": json, "--photos": photos, "--report": report, "--hard": hard}
    _refuse_same({"the manifest": manifest, "--predictions": predictions, "--regions": regions} | outputs)
    for path in outputs.values():
        if path is not None:
            refuse_existing(path, overwrite=overwrite)
    _require(manifest, "Name a manifest; `geomind prepare PHOTOS` makes one.")
    if predictions is not None:
        _require(predictions, "Name a predictions.csv; `geomind infer` makes one.")
    table = default_regions() if regions is None else RegionTable.read(regions)
    confused = None
    if predictions is not None:
        from geomind.evaluation.hard_examples import find_hard_examples

        confused = find_hard_examples(manifest, predictions, regions=table, images_dir=images_dir)
    inspection = inspect_manifest(
        manifest, regions=table, regions_file=regions, open_files=check_files, min_photos=min_photos, progress=bars()
    )
    console = results()
    _print_counts(inspection, console)
    _print_splits(inspection, console)
    if confused is not None:
        _print_confused(confused, console)
    _print_findings(inspection, console, show_coordinates=show_coordinates)
    if json is not None:
        write_figures(inspection, json, overwrite=overwrite)
        print(f"Figures: {json}")
    if photos is not None:
        write_verdicts(inspection, photos, overwrite=overwrite)
        print(f"What was found about each photo: {photos}")
    if confused is not None and hard is not None:
        _write_hard(confused, hard, overwrite=overwrite)
    if report is not None:
        from geomind.evaluation.inspection_report import write_inspection_report

        write_inspection_report(
            inspection, report, hard=confused, show_coordinates=show_coordinates, seed=seed, overwrite=overwrite,
            progress=bars(),
        )  # fmt: skip
        print(f"Report: {report}")
    _print_verdict(inspection, console)
    raise typer.Exit(0 if inspection.fit else UNFIT)


def _refuse_same(named: Mapping[str, Path | None]) -> None:
    """Stop if a file is named for two things: an output would replace what was read, or another output."""
    from geomind.errors import OutputError

    seen: dict[str, str] = {}
    for what, path in named.items():
        if path is None:
            continue
        # Path.resolve raises where links go round in a circle.
        before = seen.setdefault(os.path.realpath(path), what)
        if before != what:
            raise OutputError(f"{path} is named for {before} and for {what}. Name another file for {what}.")


def _require(path: Path, advice: str) -> None:
    from geomind.errors import ManifestError

    if not path.exists():
        raise ManifestError(f"Cannot read {path}: no such file or directory. {advice}")


def _print_counts(inspection: Inspection, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    from geomind.data.inspection.balance import TOP_BLOCKS

    balance, spread = inspection.balance, inspection.spread
    shown = Table("id", "region", "photos", "share", "effective", "countries", "places")
    for region in balance.regions:
        shown.add_row(
            str(region.id), escape(region.name), f"{region.photos:,}", f"{region.share:.1%}",
            f"{region.effective_photos:,.0f}", f"{region.countries:,}", f"{region.blocks:,}",
        )  # fmt: skip
    console.print(shown)
    print(
        f"{len(inspection.rows):,} photos in {balance.occupied} of {len(balance.regions)} regions, as even as "
        f"{balance.effective_regions:.1f} equal ones; largest to smallest {balance.ratio:,.0f} : 1."
    )
    print(
        f"{spread.occupied:,} places (blocks of {spread.block_side_km:.0f} km a side), as even as "
        f"{spread.effective_blocks:,.0f} equal ones; {TOP_BLOCKS} hold {spread.top_share:.1%} of the photos."
    )
    print(f"Median distance to the nearest other photo: {_km(spread.median_nearest_km)}.")
    for column, title in (("country", "Countries"), ("source", "Sources")):
        counts = list(inspection.counts(column).items())
        named = ", ".join(f"{name or 'none given'} {count:,}" for name, count in counts[:MOST_ROWS])
        more = f" and {len(counts) - MOST_ROWS:,} more" if len(counts) > MOST_ROWS else ""
        console.print(f"{title} ({len(counts):,}): {escape(named)}{more}.", highlight=False)


def _print_splits(inspection: Inspection, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    from geomind.data.inspection.leakage import NEAR_KM

    counts = inspection.counts("split")
    if not set(counts) - {""}:
        return
    held_out = {part.name: part for part in inspection.held_out}
    within = (f"within {limit:g} km" for limit in NEAR_KM)
    shown = Table(title="how far the nearest training photo is")
    for head in ("split", "photos", "share", "least", "median", *within):
        shown.add_column(head, no_wrap=True)
    for name, count in list(counts.items())[:MOST_ROWS]:
        part = held_out.get(name)
        cells = [""] * (2 + len(NEAR_KM))
        if part is not None:
            cells = [_km(part.least_km), _km(part.median_km), *(f"{part.share_within(limit):.1%}" for limit in NEAR_KM)]
        shown.add_row(escape(name) or "none", f"{count:,}", f"{count / len(inspection.rows):.1%}", *cells)
    console.print(shown)


def _print_confused(confused: HardExamples, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    shown = Table("true region → answered", "photos", "of the region", "median off")
    for pair in confused.pairs[:MOST_ROWS]:
        shown.add_row(escape(pair.tag), f"{pair.photos:,}", f"{pair.share:.1%}", _km(pair.median_km))
    console.print(shown)
    print(f"{len(confused.rows):,} of {confused.answered:,} answered photos were given a wrong region.")


def _print_findings(inspection: Inspection, console: Console, *, show_coordinates: bool) -> None:
    """Print problems and warnings: what was found, what to do about it, and an example or two."""
    from rich.markup import escape
    from rich.padding import Padding

    regions = None if inspection.regions_file is None else str(inspection.regions_file)
    for finding in (*inspection.problems, *inspection.warnings):
        colour = "red" if finding.verdict == "problem" else "yellow"
        console.print(f"\n[{colour}]{finding.verdict}[/{colour}]  [bold]{finding.title}[/bold]  ({finding.check})")
        said = [escape(finding.detail)]
        for number, row in enumerate(finding.rows[:2].tolist()):
            example = str(inspection.rows["image_path"].iloc[row])
            if show_coordinates:
                example += " ({:.6f}, {:.6f})".format(*inspection.points[row])
            if number < len(finding.notes):
                example += f": {finding.notes[number]}"
            said.append(f"[dim]{escape(example)}[/dim]")
        said.append(escape(finding.mend(str(inspection.manifest), regions)))
        console.print(Padding("\n".join(said), (0, 0, 0, 9), expand=False), highlight=False)
    if inspection.files is None:
        print("\nNo file was opened: unreadable photos and duplicates were not looked for.")
    print()


def _write_hard(confused: HardExamples, path: Path, *, overwrite: bool) -> None:
    from geomind.evaluation.hard_examples import write_hard_examples

    if confused.rows.empty:
        print(f"The Director got every photo right; {path} was not written.")
        return
    write_hard_examples(confused, path, overwrite=overwrite)
    print(f"Hard examples: {path}")
    if confused.held_out:
        print(f"{confused.held_out:,} of them are of held-out splits; training reads only its own, so keep the column.")


def _print_verdict(inspection: Inspection, console: Console) -> None:
    if inspection.fit:
        console.print(f"[bold green]Fit to {inspection.purpose}.[/bold green]")
        return
    titles = "; ".join(finding.title for finding in inspection.problems)
    console.print(f"[bold red]Not fit to {inspection.purpose}:[/bold red] {titles}.", highlight=False)


def _km(distance_km: float) -> str:
    return f"{distance_km:,.1f} km" if distance_km != float("inf") else "no other"
