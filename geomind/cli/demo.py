"""`geomind demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[Path, typer.Option(help="The folder for photos, models, predictions and the map.")] = Path(
        "demo"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="Less of everything: under a minute, less accurate.")] = False,
    backbone: Annotated[
        str, typer.Option(help="The image encoder; efficientnet_b0 is the real one and takes its time.")
    ] = "scene_net",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same world.")] = 0,
    json: Annotated[
        Path | None,
        typer.Option(help="Write the scores here too, beside metrics.json of the folder.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier demo in the folder.")] = False,
) -> None:
    """The whole story on a synthetic world: draw photos, train Director and Experts, calibrate, locate, judge."""
    from geomind.cli.evaluate import print_evaluation
    from geomind.cli.progress import bars
    from geomind.demo import run_demo
    from geomind.evaluation.scoring import write_metrics
    from geomind.files import refuse_existing

    if json is not None:
        refuse_existing(json, overwrite=overwrite)
    done = run_demo(output, quick=quick, backbone=backbone, seed=seed, overwrite=overwrite, progress=bars())
    print_evaluation(done.evaluation)
    if json is not None:
        write_metrics(done.evaluation, json, overwrite=overwrite)
    print(f"\nDone in {done.seconds:.0f} s. The scenes are drawn, so these figures say nothing about photographs.")
    for what, path in (
        ("scenes", done.manifest), ("models", done.models), ("predictions", done.predictions), ("scores", done.metrics),
        ("map", done.world_map), ("map to move", done.web_map), ("report", done.report),
    ):  # fmt: skip
        print(f"  {what:<12} {path}")
    print("\nNext, your own photos: geomind prepare PHOTOS --output manifest.csv")
