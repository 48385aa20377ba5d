"""`geomind compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from geomind.compare.ladder import Bench
    from geomind.compare.protocols import Published
    from geomind.compare.table import Comparison


def compare(
    data: Annotated[
        Path | None,
        typer.Option(help="A manifest with splits train, validation and test.", show_default=False),
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="The demo world; what is compared on if nothing is named.")
    ] = False,
    earth: Annotated[
        Path | None,
        typer.Option(
            metavar="IMAGE",
            help="The Earth from above: tiles of a picture of the whole Earth in plate carrée projection.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="EPOCHS",
            help="How often each method may see each training photo; 16, and 12 with --quick, if left out.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Seeds of training, as in 0,1,2, which is taken if left out; 0 with --quick.", show_default=False
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Names of methods with commas between, or parts of them: `cascade` is every cascade. All if left out.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(help="The folder of trainings, answers and tables; what is finished there is not done again."),
    ] = Path("comparison"),
    quick: Annotated[
        bool, typer.Option("--quick", help="A coarse table in minutes: one seed, fewer photos, fewer epochs.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="One setting of all networks, as in --set backbone.name=resnet50. Repeatable.",
            show_default=False,
        ),
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(help="With --data: a YAML table of regions; GeoMind's 13 if left out.", show_default=False),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="im2gps3k|yfcc4k|osv5m",
            help="Have trained models answer a published test set, whose manifest is --data, as its papers count.",
            show_default=False,
        ),
    ] = None,
    models: Annotated[
        list[Path] | None,
        typer.Option(help="With --protocol: a folder of trained models. Repeatable.", show_default=False),
    ] = None,
) -> None:
    """Train every method on the same photos with the same budget, and tell in one table which is better."""
    from geomind.cli.progress import bars
    from geomind.compare.benches import BUDGET, QUICK_BUDGET
    from geomind.compare.ladder import climb
    from geomind.compare.methods import pick_methods

    if sum([data is not None, demo, earth is not None]) > 1:
        raise typer.BadParameter("name one of --data, --demo and --earth.", param_hint="--data")
    if protocol is not None:
        _evaluate_published(protocol, data, models or [], output, regions)
        return
    if models:
        raise typer.BadParameter("is for --protocol; methods train their own.", param_hint="--models")
    if regions is not None and data is None:
        raise typer.BadParameter("is for --data.", param_hint="--regions")
    chosen = pick_methods([name.strip() for name in methods.split(",")] if methods else [])
    numbers = _seeds(seeds or ("0" if quick else "0,1,2"))
    bench = _bench(data, earth, regions, output / "bench", quick, set_ or ())
    done = climb(
        bench,
        chosen,
        seeds=numbers,
        budget=budget or (QUICK_BUDGET if quick else BUDGET),
        output=output,
        progress=bars(),
    )
    if done.comparison is not None:
        print_comparison(done.comparison)
        _print_files(output)
    if done.done_before:
        print(f"{done.done_before} of {len(done.rungs)} rungs were finished before.")
    for failure in done.failures:
        print(f"{failure.method} with seed {failure.seed}: failed. {failure.reason}")
    if done.failures:
        raise typer.Exit(1)


def print_comparison(comparison: Comparison) -> None:
    """Print the table, and what the best method gains on the others."""
    from rich.table import Table

    from geomind.cli.tables import console
    from geomind.compare.table import HEADINGS, cells_of, gain_cells, gains_of_the_best

    screen = console()
    headings = list(HEADINGS.values())
    for title, first, last in (
        (f"{comparison.photos:,} test photos", 0, 8),
        ("What is right of the place, and what it took", 8, len(headings)),
    ):
        table = Table("method", "seeds", title=title)
        for heading in headings[first:last]:
            table.add_column(heading, justify="right")
        for summary in comparison.summaries:
            method, seeds, *cells = cells_of(summary)
            table.add_row(method, seeds, *cells[first:last], style="dim" if summary.told_truth else None)
        screen.print(table)
    if any(summary.told_truth for summary in comparison.summaries):
        print("* is told something of the truth: a floor, and no competitor.")
    if gains := gains_of_the_best(comparison):
        table = Table("over", title=f"What {gains[0].better} gains in GeoScore, photo by photo")
        table.add_column("mean", justify="right")
        table.add_column("median of the photos", justify="right")
        for pair in gains:
            table.add_row(*gain_cells(pair))
        screen.print(table)
    print(comparison.note)


def _bench(
    data: Path | None, earth: Path | None, regions: Path | None, folder: Path, quick: bool, overrides: Sequence[str]
) -> Bench:
    from geomind.cli.progress import bars
    from geomind.compare import benches
    from geomind.geography.regions import RegionTable, default_regions

    if data is not None:
        table = default_regions() if regions is None else RegionTable.read(regions)
        return benches.own_photos(data, table, quick=quick, overrides=overrides)
    if earth is not None:
        return benches.earth_from_above(folder, earth, quick=quick, overrides=overrides, progress=bars())
    return benches.demo_world(folder, quick=quick, overrides=overrides, progress=bars())


def _seeds(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words):
        raise typer.BadParameter(f"'{text}' is no list of seeds; write it as 0,1,2.", param_hint="--seeds")
    return [int(word) for word in words]


def _evaluate_published(
    name: str, data: Path | None, models: Sequence[Path], output: Path, regions: Path | None
) -> None:
    from geomind.cli.progress import bars
    from geomind.compare.protocols import evaluate_published, pick_protocol
    from geomind.geography.regions import RegionTable, default_regions

    protocol = pick_protocol(name)
    if data is None:
        raise typer.BadParameter("is missing: name the manifest of the test set's photos.", param_hint="--data")
    table = default_regions() if regions is None else RegionTable.read(regions)
    done = evaluate_published(protocol, data, models, output, regions=table, progress=bars())
    print_comparison(done.comparison)
    _print_published(done)
    _print_files(output)


def _print_published(done: Published) -> None:
    protocol = done.protocol
    print(f"\n{protocol.title}, {protocol.photos:,} photos: {protocol.source}.")
    if missing := protocol.photos - done.listed:
        print(f"The manifest lists {done.listed:,}; the {missing:,} others count as misses.")
    for name, answered in done.answered.items():
        if answered < done.listed:
            print(f"{name}: {done.listed - answered:,} listed photos have no answer and count as misses.")
    print(f"Counted: {protocol.counts}")
    print(f"Looked at: the central square of each photo, once. {protocol.crops}")


def _print_files(folder: Path) -> None:
    from geomind.compare.table import FILES

    for name in FILES:
        if (folder / name).exists():
            print(f"  {folder / name}")
