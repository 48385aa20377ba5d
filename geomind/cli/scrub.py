"""`geomind scrub`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def scrub(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTOS", help="Photos, and folders of photos.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option(help="The folder for the copies; subfolders and names stay.", show_default=False)
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace copies that exist.")] = False,
) -> None:
    """Copy photos without their metadata, so that only the picture tells where it was taken.

    GPS, dates, names of places, maker notes, thumbnails and films behind the picture go. The picture, its colour
    profile and how it is to be turned stay, and nothing is encoded anew.
    """
    from geomind.cli.progress import bars
    from geomind.outputs import scrub as scrubbing

    done = scrubbing.scrub(photos, output, overwrite=overwrite, progress=bars())
    for photo, reason in done.refused.items():
        print(f"Not copied: {photo}: {reason}.", file=sys.stderr)
    print(f"{done.copies:,} photos copied without metadata to {output}, {len(done.refused):,} not copied.")
    if done.shortened:
        print(f"{done.shortened:,} lost what stood behind the picture, such as a film or further pictures.")
    print("Names of files and folders stay, and so does what the pictures show: both may still tell the place.")
    if done.refused:
        raise typer.Exit(1)
