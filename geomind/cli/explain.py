"""`geomind explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from geomind.evaluation.explain import Explanation, HeatMap

MOST_CHOICES = 5
"""Regions that the table lists; the picture has as many, and the JSON all."""


def explain(
    photo: Annotated[Path, typer.Argument(help="The photo.", show_default=False)],
    models: Annotated[Path, typer.Option(help="The folder of trained models.")] = Path("saved_models"),
    output: Annotated[Path, typer.Option(help="The picture to write: .png, .svg or .pdf.")] = Path("explain.png"),
    candidates: Annotated[int, typer.Option(min=0, max=64, help="Places to name, as many as there are.")] = 5,
    top_k: Annotated[
        int, typer.Option(min=1, help="Regions whose Experts are asked, as with `infer --routing soft`; 1 is hard.")
    ] = 1,
    neighbours: Annotated[
        int, typer.Option(min=0, max=12, help="Training photos to look for, where there is a gallery.")
    ] = 6,
    data: Annotated[
        Path | None,
        typer.Option(
            help="The manifest of the training photos: shows the nearest ones, for a gallery keeps no photo.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the numbers here, as JSON.", show_default=False)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")] = False,
) -> None:
    """Show why a photo is placed where it is: what in it drove region and place, what came close, what is like it."""
    from geomind.evaluation.explain import explain as explain_photo
    from geomind.evaluation.explain import write_explanation
    from geomind.evaluation.explain_picture import draw_explanation, refuse_picture
    from geomind.files import refuse_existing

    refuse_picture(output, overwrite=overwrite)
    if json is not None:
        refuse_existing(json, overwrite=overwrite)
    explanation = explain_photo(photo, models, candidates=candidates, neighbours=neighbours, top_k=top_k, data=data)
    draw_explanation(explanation, output, overwrite=overwrite)
    if json is not None:
        write_explanation(explanation, json, overwrite=overwrite)
    print_explanation(explanation)
    if json is not None:
        print(f"Numbers: {json}")
    print(f"Picture: {output}")


def print_explanation(explanation: Explanation) -> None:
    """Print the answer, what came close to it, where in the photo it comes from, and what looks like the photo."""
    from rich.markup import escape
    from rich.table import Table

    from geomind.cli.tables import console

    screen, answer = console(), explanation.answer
    print(f"{explanation.place_name}  {answer.latitude:.4f}, {answer.longitude:.4f}  {answer.google_maps_url}")
    if answer.radius_km_90 is not None:
        print(f"With 90% certainty within {answer.radius_km_90:,.0f} km.")
    elif answer.radius_note is not None:
        print(f"No radius: {answer.radius_note}.")
    if answer.error:
        print(answer.error)
    if explanation.choices:
        choices = Table(explanation.level, "probability", "")
        for name, share in explanation.choices[:MOST_CHOICES]:
            choices.add_row(escape(name), f"{share:.1%}", "█" * round(share * 24))
        screen.print(choices)
    if len(explanation.candidates) > 1:
        found = Table("place", "probability", "latitude", "longitude")
        for place in explanation.candidates:
            found.add_row(
                escape(place.name), f"{place.probability:.1%}", f"{place.latitude:.4f}", f"{place.longitude:.4f}"
            )
        screen.print(found)
    drove = Table("what drove", "to", "where in the square that the network saw")
    for what, heat in ((explanation.level, explanation.choice_map), ("place", explanation.place_map)):
        if heat is not None:
            drove.add_row(f"the {what}", escape(heat.of), _where(heat))
    if drove.row_count:
        screen.print(drove)
    if explanation.neighbours:
        near = Table("training photo", "taken in", "cosine", "from the answer")
        for each in explanation.neighbours:
            file = "" if each.photo is None else str(each.photo)
            near.add_row(escape(file), escape(each.name), f"{each.cosine:.3f}", f"{each.distance_km:,.0f} km")
        screen.print(near)
    for note in explanation.notes:
        print(note)


def _where(heat: HeatMap) -> str:
    """Say in which ninths of the square most of the heat lies."""
    parts = list(heat.ninths.items())[:3]
    return ", ".join(f"{name} {share:.0%}" for name, share in parts) or "nowhere: nothing speaks for it"
