"""Options of more than one command: how photos are answered."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from geomind.errors import ConfigError

ANSWERS, SPEED = "How photos are answered", "Speed and memory"

Routing = Annotated[
    Literal["hard", "soft"],
    typer.Option(
        help="hard: the Expert of the most probable region answers. soft: those of the --top-k most probable ones, "
        "of whose places the one with the highest expected GeoScore is taken.",
        rich_help_panel=ANSWERS,
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        min=2,
        help="With --routing soft: regions whose Experts are asked; 3 if left out.",
        rich_help_panel=ANSWERS,
        show_default=False,
    ),
]
UseGallery = Annotated[
    bool,
    typer.Option(
        "--gallery",
        help="Refine the Experts' answers by the training photos that look most like each photo, where "
        "`train-expert --gallery` kept them.",
        rich_help_panel=ANSWERS,
    ),
]
Views = Annotated[
    int,
    typer.Option(
        min=1,
        max=16,
        help="Squares of each photo that are looked at, spread over its longer side; 1 is the central one. Each "
        "costs a photo's time.",
        rich_help_panel=ANSWERS,
    ),
]
Runtime = Annotated[
    Literal["auto", "torch", "onnx", "openvino"],
    typer.Option(help="What runs the networks; auto takes the quickest here.", rich_help_panel=SPEED),
]
Precision = Annotated[
    Literal["fp32", "bf16", "int8"],
    typer.Option(help="What the networks count in; fp32 is the most accurate.", rich_help_panel=SPEED),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(help="Where the networks run; auto takes a GPU where there is one.", rich_help_panel=SPEED),
]


def top_k_of(routing: str, top_k: int | None) -> int:
    """Say how many regions' Experts are asked.

    Raises:
        ConfigError: several are asked for, and hard routing.
    """
    if top_k is not None and routing == "hard":
        raise ConfigError("--top-k is for --routing soft; hard routing asks one Expert.")
    return 1 if routing == "hard" else top_k or 3
