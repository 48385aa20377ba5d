"""What the roads, houses and sights of each country look like. It knows no coordinates and draws nothing.

``traits.csv`` holds one row for countries that look alike, with the commonest form of each trait: what a person who
travels, or plays at guessing places from street photographs, would tell of them. Warning signs follow the lists of the
Vienna Convention's signatories (triangles; amber where the ground is) and of the American system (diamonds).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Final


@dataclass(frozen=True)
class Traits:
    """How one country looks from its roads; the words are those of ``traits.csv``."""

    side: str
    """left or right: the side that traffic keeps to."""
    centre: str
    """Colour of the line between the lanes, or none."""
    edge: str
    """Colour of the lines at the road's edges, or none."""
    poles: str
    """What carries the wires."""
    warning: str
    """Shape and ground of warning signs."""
    guide: str
    """Ground of direction signs."""
    plate: str
    """Rear number plate: ground, and -blue where a blue strip goes with it."""
    roof: str
    """Form and cover of roofs."""
    walls: str
    """What walls are made of or painted with."""
    script: str
    """Writing on signs."""
    bollard: str
    """Post and band of roadside markers, or none."""
    sights: tuple[str, ...]
    """Things seen there more than elsewhere."""


WORDS: Final = tuple(field.name for field in fields(Traits))
"""The columns of ``traits.csv`` beside the country codes."""


@cache
def all_traits() -> dict[str, Traits]:
    """Read the table: country code -> traits."""
    text = (files(__package__) / "traits.csv").read_text(encoding="utf-8")
    table = {}
    for row in csv.DictReader(text.splitlines()):
        sights = tuple(word for word in row["sights"].split() if word != "none")
        words = {word: row[word] for word in WORDS if word != "sights"}
        for code in row["codes"].split():
            table[code] = Traits(sights=sights, **words)
    return table
