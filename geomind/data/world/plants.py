"""Trees and bushes on a stage, and the climates they stand for. It knows no places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from geomind.data.world.stage import PAINT, Colour, Stage, mix, shade


@dataclass(frozen=True)
class Garden:
    """What the season does to plants."""

    season: str
    """spring, summer, autumn or winter, for those that shed their leaves."""
    snow: bool

    def leaf(self, stage: Stage, dice: Random, colour: Colour, *, sheds: bool = False) -> Colour:
        """Colour some leaves."""
        if sheds and self.season == "autumn":
            colour = dice.choice(((206, 130, 40), (190, 84, 38), (220, 168, 58)))
        elif sheds and self.season == "spring":
            colour = mix(colour, (150, 196, 90), 0.4)
        colour = shade(colour, dice.uniform(0.85, 1.15) * (stage.light.sky + 0.2 * stage.light.direct))
        return mix(colour, PAINT["white"], 0.45) if self.snow else colour


Plant = Callable[[Stage, Random, Garden, float, float], None]
"""Draws itself on a stage at (right, ahead)."""


def _crown(stage: Stage, x: float, z: float, y: float, rx: float, ry: float, leaf: Colour) -> None:
    """Draw a round crown, lighter where the sun is."""
    stage.ball(x, z, y, rx, ry, shade(leaf, 0.78))
    stage.ball(x + 0.3 * rx * stage.light.sun[0], z, y + 0.22 * ry, 0.68 * rx, 0.66 * ry, leaf)


def _trunk(stage: Stage, x: float, z: float, height: float, width: float, bark: Colour) -> None:
    stage.rod((x, 0, z), (x, height, z), width, bark)


def _bare(stage: Stage, x: float, z: float, height: float, bark: Colour) -> None:
    for reach, low, top in ((-2.2, 0.35, 0.85), (2.2, 0.4, 0.9), (-1.0, 0.5, 1.0), (1.1, 0.55, 1.05)):
        stage.rod((x, low * height, z), (x + reach, top * height, z), 0.22, bark)


def broadleaf(stage: Stage, dice: Random, garden: Garden, x: float, z: float) -> None:
    """Plant an oak, beech or maple."""
    height, bark = dice.uniform(6, 9), (92, 74, 58)
    _trunk(stage, x, z, height * 0.6, 0.5, bark)
    if garden.season == "winter":
        _bare(stage, x, z, height, bark)
    else:
        _crown(stage, x, z, height * 0.68, 2.8, 0.36 * height, garden.leaf(stage, dice, (84, 132, 56), sheds=True))


def birch(stage: Stage, dice: Random, garden: Garden, x: float, z: float) -> None:
    """Plant a birch: white trunks, a light crown."""
    height = dice.uniform(7, 10)
    for lean in (0.0, 1.1):
        stage.rod((x + lean, 0, z), (x + lean * 1.4, height * 0.8, z), 0.4, (236, 234, 228))
    if garden.season == "winter":
        _bare(stage, x, z, height, (170, 160, 150))
    else:
        leaf = garden.leaf(stage, dice, (128, 168, 72), sheds=True)
        _crown(stage, x + 0.5, z, height * 0.7, 1.9, 0.36 * height, leaf)


def conifer(stage: Stage, dice: Random, garden: Garden, x: float, z: float) -> None:
    """Plant a spruce."""
    height, leaf = dice.uniform(8, 13), garden.leaf(stage, dice, (40, 84, 58))
    _trunk(stage, x, z, 1.5, 0.4, (84, 64, 48))
    for low, half in ((0.1, 2.2), (0.35, 1.7), (0.6, 1.15)):
        stage.flat(x, z, ((-half, low * height), (half, low * height), (0, min(1.0, low + 0.45) * height)), leaf)
        leaf = shade(leaf, 1.1)


def poplar(stage: Stage, dice: Random, garden: Garden, x: float, z: float) -> None:
    """Plant a Lombardy poplar."""
    height = dice.uniform(8, 12)
    _trunk(stage, x, z, height * 0.8, 0.35, (110, 96, 78))
    if garden.season != "winter":
        leaf = garden.leaf(stage, dice, (112, 146, 66), sheds=True)
        _crown(stage, x, z, height * 0.55, 1.1, 0.45 * height, leaf)


def cypress(stage: Stage, dice: Random, garden: Garden, x: float, z: float) -> None:
    """Plant a Mediterranean cypress."""
    height = dice.uniform(7, 11)
    _crown(stage, x, z, height * 0.5, 0.85, 0.5 * height, garden.leaf(stage, dice, (48, 82, 50)))


def umbrella_pine(stage: Stage, dice: Random, garden: Garden, x: float, z: float) -> None:
    """Plant a stone pine: a bare trunk under a flat dark crown."""
    height = dice.uniform(7, 9)
    _trunk(stage, x, z, height, 0.4, (128, 90, 66))
    _crown(stage, x, z, height, 3.0, 1.2, garden.leaf(stage, dice, (66, 104, 56)))


def olive(stage: Stage, dice: Random, garden: Garden, x: float, z: float) -> None:
    """Plant an olive tree."""
    _trunk(stage, x, z, 2.0, 0.5, (116, 100, 84))
    _crown(stage, x, z, 3.0, 2.0, 1.5, garden.leaf(stage, dice, (134, 148, 108)))


def _palm(stage: Stage, x: float, z: float, height: float, lean: float, bark: Colour, leaf: Colour) -> None:
    stage.rod((x, 0, z), (x + lean, height, z), 0.4, bark)
    for reach, drop in ((-2.6, -1.2), (2.6, -1.2), (-2.4, 0.6), (2.4, 0.6), (-1.0, 1.6), (1.0, 1.6)):
        stage.flat(x + lean, z, ((0, height), (reach * 0.6, height + drop * 0.2 + 0.8), (reach, height + drop)), leaf)
        leaf = shade(leaf, 1.05)


def date_palm(stage: Stage, dice: Random, garden: Garden, x: float, z: float) -> None:
    """Plant a date palm: straight and dusty."""
    _palm(stage, x, z, dice.uniform(6.5, 9.5), 0.0, (140, 112, 82), garden.leaf(stage, dice, (112, 134, 76)))


def coconut_palm(stage: Stage, dice: Random, garden: Garden, x: float, z: float) -> None:
    """Plant a coconut palm: leaning and fresh green."""
    lean = dice.choice((-1.6, 1.6))
    _palm(stage, x, z, dice.uniform(6.5, 9.5), lean, (150, 134, 112), garden.leaf(stage, dice, (72, 148, 62)))


def jungle(stage: Stage, dice: Random, garden: Garden, x: float, z: float) -> None:
    """Plant a clump of rainforest."""
    height, leaf = dice.uniform(8, 13), garden.leaf(stage, dice, (38, 112, 48))
    _trunk(stage, x, z, height * 0.7, 0.5, (96, 84, 70))
    for dx, y, radius in ((-1.8, 0.4, 2.0), (1.8, 0.45, 2.1), (0, 0.72, 2.6)):
        _crown(stage, x + dx, z, y * height, radius, radius * 0.85, shade(leaf, dice.uniform(0.85, 1.15)))


def acacia(stage: Stage, dice: Random, garden: Garden, x: float, z: float) -> None:
    """Plant a savanna acacia: thin stems under a flat crown."""
    height, bark, leaf = dice.uniform(4.5, 6.5), (102, 82, 62), garden.leaf(stage, dice, (124, 138, 62))
    stage.rod((x, 0, z), (x - 0.8, height, z), 0.28, bark)
    stage.rod((x, 0.4 * height, z), (x + 1.3, height, z), 0.24, bark)
    stage.ball(x, z, height, 3.2, 0.8, shade(leaf, 0.8))
    stage.ball(x, z, height + 0.3, 2.8, 0.6, leaf)


def scrub(stage: Stage, dice: Random, garden: Garden, x: float, z: float) -> None:
    """Plant low dry bushes."""
    leaf = garden.leaf(stage, dice, (142, 134, 92))
    for dx in (-1.0, 0.4, 1.3):
        stage.ball(x + dx, z, 0.4, 0.7, 0.5, shade(leaf, dice.uniform(0.8, 1.1)))


def cactus(stage: Stage, dice: Random, garden: Garden, x: float, z: float) -> None:
    """Plant a saguaro."""
    height, skin = dice.uniform(3.5, 5.5), garden.leaf(stage, dice, (92, 130, 80))
    _trunk(stage, x, z, height, 0.7, skin)
    for arm, low, top in ((-1.1, 0.45, 0.8), (1.1, 0.55, 0.9)):
        stage.rod((x, low * height, z), (x + arm, low * height, z), 0.5, skin)
        stage.rod((x + arm, low * height - 0.2, z), (x + arm, top * height, z), 0.5, skin)


def eucalyptus(stage: Stage, dice: Random, garden: Garden, x: float, z: float) -> None:
    """Plant a gum tree: a pale forked trunk, sparse grey-green tufts."""
    height, leaf = dice.uniform(8, 12), garden.leaf(stage, dice, (122, 140, 100))
    for reach in (-1.7, 1.5):
        stage.rod((x, 0, z), (x + reach, height * 0.8, z), 0.4, (214, 204, 188))
        _crown(stage, x + reach * 1.2, z, height * 0.82, 1.7, 1.2, leaf)
    _crown(stage, x, z, height * 0.98, 1.6, 1.1, leaf)


def baobab(stage: Stage, dice: Random, garden: Garden, x: float, z: float) -> None:
    """Plant a baobab."""
    height, leaf = dice.uniform(7, 10), garden.leaf(stage, dice, (112, 138, 70))
    bark = shade((150, 122, 102), stage.light.sky + 0.2)
    stage.flat(x, z, ((-1.5, 0), (1.5, 0), (1.1, 0.75 * height), (-1.1, 0.75 * height)), bark)
    for reach, top in ((-2.8, 0.95), (2.8, 0.98), (-1.0, 1.1), (1.2, 1.12)):
        stage.rod((x + reach * 0.2, 0.7 * height, z), (x + reach, top * height, z), 0.45, bark)
        stage.ball(x + reach, z, top * height, 1.0, 0.6, leaf)


FLORA: Final[dict[Plant, tuple[float, float, float, float]]] = {
    # the year's mean temperature that suits it and how far from it it goes (°C), the same for moisture
    conifer: (-1, 6, 0.62, 0.2),
    birch: (2, 4, 0.58, 0.12),
    broadleaf: (10, 5, 0.66, 0.16),
    poplar: (8, 5, 0.38, 0.12),
    cypress: (16, 3, 0.42, 0.1),
    umbrella_pine: (16, 2.5, 0.45, 0.1),
    olive: (16, 3, 0.32, 0.1),
    date_palm: (23, 4, 0.06, 0.12),
    scrub: (16, 12, 0.06, 0.16),
    acacia: (23, 4, 0.42, 0.12),
    coconut_palm: (25, 4, 0.76, 0.15),
    jungle: (25, 4, 0.95, 0.18),
}
"""What grows by itself and where, after the biomes of Whittaker's diagram (1975)."""


def suitability(plant: Plant, mean_temperature: float, moisture: float) -> float:
    """Tell how well a climate suits a plant, 1 where it could not be better."""
    warmth, warmth_range, wet, wet_range = FLORA[plant]
    off = ((mean_temperature - warmth) / warmth_range) ** 2 + ((moisture - wet) / wet_range) ** 2
    return float(2.718 ** -min(off, 50.0))
