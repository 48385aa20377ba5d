"""Vehicles, animals and landmarks on a stage: what some countries have more of than others. It knows no places."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from geomind.data.world.buildings import high_rise
from geomind.data.world.plants import Garden, Plant, baobab, birch, cactus, eucalyptus
from geomind.data.world.stage import PAINT, Colour, Point, Stage, shade

STREET: Final = 7.0
"""Metres from the middle of the road to where sights begin."""

CAR_COLOURS: Final[tuple[Colour, ...]] = (
    (236, 236, 236),
    (196, 198, 202),
    (60, 62, 68),
    (28, 30, 36),
    (150, 30, 34),
    (34, 60, 112),
    (98, 104, 84),
)


def sight(stage: Stage, dice: Random, garden: Garden, name: str, side: int, plate: str) -> None:
    """Put one sight of a country beside the street, or on it where it drives.

    Args:
        stage: Where it is drawn.
        dice: Its size, place and colour.
        garden: The season, for plants.
        name: A word of the column ``sights``.
        side: -1 or 1, where it stands; for what drives, the side that traffic keeps to.
        plate: The number plate of what drives.
    """
    if name in _VEHICLES:
        _drive(stage, dice, name, side * 1.8, dice.uniform(9, 13), plate)
    elif name == "scooter":
        for _ in range(3):
            shirt = dice.choice(((214, 60, 60), (60, 110, 190), (240, 220, 90), (90, 170, 110)))
            _scooter(stage, side * dice.uniform(0.8, 3.2), dice.uniform(7, 13), shirt)
    elif name in _BEASTS:
        near, ahead = side * dice.uniform(5.2, 6.2), dice.uniform(15, 20)
        hide, shoulder, neck, legs = _BEASTS[name]
        for i in range(3 if name == "sheep" else dice.choice((1, 2))):
            _beast(stage, near + side * i * 2.2 * shoulder, ahead + 1.5 * i, hide, shoulder, neck, legs)
    elif name in _GROVES:
        plant, count = _GROVES[name]
        for i in reversed(range(count)):
            plant(stage, dice, garden, side * (STREET + dice.uniform(0, 4)), 18.0 + 8 * i)
    else:
        _LANDMARKS[name](stage, dice, side)


# ── what drives ─────────────────────────────────────────────────────────────────────────────────────────────────────


def vehicle(
    stage: Stage, x: float, z: float, width: float, height: float, body: Colour, plate: str, *, coming: bool
) -> None:
    """Drive a car or anything like it, seen from behind or, where it is coming, from the front."""
    half = width / 2
    for wheel in (-half, half - 0.3):
        stage.block(x, z, wheel, 0, wheel + 0.3, 0.5, PAINT["black"])
    roof = 0.82 * half
    cabin = ((-half, 0.55 * height), (half, 0.55 * height), (roof, height), (-roof, height))
    window = ((-roof, 0.6 * height), (roof, 0.6 * height), (roof * 0.9, 0.92 * height), (-roof * 0.9, 0.92 * height))
    stage.flat(x, z, cabin, shade(body, 0.92))
    stage.flat(x, z, window, (52, 64, 80))
    stage.block(x, z, -half, 0.3, half, 0.6 * height, body)
    lamp = (255, 250, 220) if coming else (220, 30, 30)
    for left in (-half, half - 0.35):
        stage.block(x, z, left, 0.42 * height, left + 0.35, 0.55 * height, lamp)
    ground, *strip = plate.split("-")
    low = 0.24 * height
    stage.block(x, z, -0.6, low, 0.6, low + 0.4, PAINT[ground])
    if strip:
        stage.block(x, z, -0.6, low, -0.3, low + 0.4, PAINT[strip[0]])


_VEHICLES: Final[dict[str, tuple[float, float, tuple[Colour, ...]]]] = {  # width, height, colours
    "school-bus": (2.5, 3.1, ((244, 178, 28),)),
    "bus-red": (2.5, 4.1, ((196, 26, 34),)),
    "pickup": (2.2, 2.1, ((150, 30, 34), (236, 236, 236), (46, 60, 92))),
    "taxi-yellow": (1.8, 1.6, ((248, 196, 30),)),
    "kei-van": (1.5, 2.1, ((240, 240, 236), (196, 222, 220))),
    "tuk-tuk": (1.5, 1.9, ((46, 120, 60), (250, 200, 40))),
    "rickshaw": (1.3, 1.9, ((40, 120, 190), (200, 50, 60))),
    "jeepney": (2.1, 2.5, ((206, 210, 214),)),
    "painted-truck": (2.6, 4.0, ((190, 60, 50), (40, 100, 160))),
}
_PAINTED: Final = ("painted-truck", "jeepney", "rickshaw")


def _drive(stage: Stage, dice: Random, name: str, x: float, z: float, plate: str) -> None:
    width, height, colours = _VEHICLES[name]
    vehicle(stage, x, z, width, height, dice.choice(colours), plate, coming=False)
    if name in _PAINTED:
        for i, colour in enumerate(((232, 60, 70), (250, 200, 50), (40, 140, 190), (60, 160, 80))):
            low = height * (0.62 + 0.1 * i)
            stage.block(x, z, -width / 2, low, width / 2, low + 0.06 * height, colour)


def _scooter(stage: Stage, x: float, z: float, shirt: Colour) -> None:
    stage.block(x, z, -0.15, 0, 0.15, 0.7, PAINT["black"])
    stage.block(x, z, -0.35, 0.6, 0.35, 1.3, shirt)
    stage.ball(x, z, 1.6, 0.25, 0.27, (220, 220, 214))


# ── animals ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_GRAZING: Final = ((0.6, 0.85), (1.0, 0.75), (1.35, 0.15), (1.05, 0.1), (0.75, 0.5))
_ALERT: Final = ((0.5, 0.8), (0.8, 1.5), (1.2, 1.45), (1.2, 1.25), (0.95, 1.2), (0.85, 0.7))
_WOOLLY: Final = ((0.6, 0.9), (1.1, 0.95), (1.2, 0.6), (0.8, 0.5))
_LONG_NECK: Final = ((0.55, 0.7), (0.7, 1.75), (1.05, 1.7), (1.0, 1.5), (0.85, 1.4), (0.85, 0.6))
_HUMP: Final = ((0.5, 0.8), (0.1, 1.3), (-0.3, 0.9))
_BEASTS: Final[dict[str, tuple[Colour, float, tuple[Point, ...], Colour]]] = {
    # hide, metres to the shoulder, outline of neck and head in shoulder heights, legs
    "cow": ((126, 82, 56), 1.8, _GRAZING, (96, 64, 46)),
    "horse": ((112, 66, 40), 1.9, _ALERT, (70, 44, 30)),
    "sheep": ((238, 234, 224), 1.2, _WOOLLY, (50, 46, 44)),
    "camel": ((204, 162, 104), 2.3, (*_ALERT, *_HUMP), (186, 142, 88)),
    "llama": ((232, 214, 184), 1.6, _LONG_NECK, (196, 176, 146)),
}


def _beast(
    stage: Stage, x: float, z: float, hide: Colour, shoulder: float, neck: tuple[Point, ...], legs: Colour
) -> None:
    """Stand a four-legged animal sideways."""
    for leg in (-0.75, -0.5, 0.45, 0.7):
        stage.block(x, z, leg * shoulder, 0, (leg + 0.16) * shoulder, 0.55 * shoulder, legs)
    stage.ball(x, z, 0.72 * shoulder, 0.9 * shoulder, 0.32 * shoulder, hide)
    stage.flat(x, z, [(a * shoulder, b * shoulder) for a, b in neck], hide)


def _kangaroo(stage: Stage, dice: Random, side: int) -> None:
    for i in range(2):
        x, z = side * (dice.uniform(5.2, 6) + 2.4 * i), 15.0 + 3 * i
        fur = shade((176, 128, 92), stage.light.sky + 0.2)
        stage.ball(x, z, 0.8, 0.6, 0.8, fur)
        stage.ball(x + 0.3, z, 1.6, 0.35, 0.6, fur)
        stage.ball(x + 0.5, z, 2.2, 0.32, 0.26, fur)
        stage.flat(x, z, ((-0.3, 0.5), (-1.7, 0.0), (-0.2, 0.0)), fur)
        stage.flat(x, z, ((0.35, 2.3), (0.4, 2.9), (0.55, 2.3)), fur)


# ── landmarks ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _tower_of(stage: Stage, x: float, z: float, half: float, height: float, wall: Colour) -> None:
    stage.block(x, z, -half, 0, half, height, wall)
    stage.block(x, z, half * 0.3, 0, half, height, shade(wall, 0.82))


def _church(stage: Stage, dice: Random, side: int) -> None:
    x, z = side * (STREET + 7), dice.uniform(26, 38)
    wall = stage.lit(dice.choice(((236, 230, 216), (206, 190, 164))), 0, -1)
    spire = dice.choice(((86, 90, 100), (150, 72, 50)))
    stage.block(x + side * 5, z, -5, 0, 5, 7, shade(wall, 0.92))
    stage.flat(x + side * 5, z, ((-5.5, 7), (5.5, 7), (4.5, 10.5), (-4.5, 10.5)), spire)
    _tower_of(stage, x, z, 2.4, 13, wall)
    stage.flat(x, z, ((-2.7, 13), (2.7, 13), (0, 22)), spire)


def _onion_dome(stage: Stage, dice: Random, side: int) -> None:
    z = dice.uniform(26, 36)
    wall, gold = stage.lit((240, 240, 240), 0, -1), dice.choice(((226, 176, 50), (50, 100, 170), (40, 130, 90)))
    for off, height, half in ((10, 10, 1.6), (5, 12, 2.2), (0, 10, 1.6)):
        x, neck = side * (STREET + off), height + 1.8 * half
        _tower_of(stage, x, z, half, height, wall)
        stage.ball(x, z, height + half, half * 1.15, half * 1.2, gold)
        stage.flat(x, z, ((-half * 0.6, neck), (half * 0.6, neck), (0, height + 3.6 * half)), gold)


def _dome(stage: Stage, dice: Random, side: int) -> None:
    x, z = side * (STREET + 6), dice.uniform(27, 36)
    wall, roof = stage.lit((240, 236, 226), 0, -1), dice.choice(((60, 120, 176), (62, 140, 150), (176, 92, 60)))
    stage.ball(x, z, 8.5, 4.2, 4.4, roof)
    stage.block(x, z, -4.6, 0, 4.6, 8.5, wall)
    stage.block(x, z, -1, 0, 1, 4, shade(wall, 0.6))


def _minaret(stage: Stage, dice: Random, side: int) -> None:
    x, z = side * (STREET + 3), dice.uniform(24, 34)
    wall = stage.lit(dice.choice(((240, 234, 218), (220, 190, 140))), 0, -1)
    roof = dice.choice(((70, 150, 130), (210, 210, 204), (96, 130, 170)))
    stage.ball(x + side * 6, z, 6.5, 4.0, 4.2, roof)
    stage.block(x + side * 6, z, -5, 0, 5, 6.5, shade(wall, 0.94))
    _tower_of(stage, x, z, 1.0, 16, wall)
    stage.block(x, z, -1.6, 12.5, 1.6, 13.6, shade(wall, 0.85))
    stage.flat(x, z, ((-1.1, 16), (1.1, 16), (0, 20)), roof)


def _pagoda(stage: Stage, dice: Random, side: int) -> None:
    x, z = side * (STREET + 6), dice.uniform(26, 36)
    wall, roof = stage.lit((170, 50, 40), 0, -1), (64, 70, 78)
    for storey in range(4):
        half, y = 4.2 - 0.75 * storey, 4.2 * storey
        stage.block(x, z, -half * 0.75, y, half * 0.75, y + 3.2, wall)
        tips, foot, top = half + 1.2, y + 3.0, y + 4.4
        eaves = ((-tips, y + 3.9), (-half, foot), (half, foot), (tips, y + 3.9), (half * 0.6, top), (-half * 0.6, top))
        stage.flat(x, z, eaves, roof)
    stage.rod((x, 16.5, z), (x, 20, z), 0.3, (210, 170, 70))


def _temple(stage: Stage, dice: Random, side: int) -> None:
    x, z = side * (STREET + 6), dice.uniform(26, 34)
    gold, red = (228, 174, 52), (190, 66, 40)
    stage.block(x, z, -4.5, 0, 4.5, 4, stage.lit((240, 234, 220), 0, -1))
    for half, low, top in ((6.2, 3.6, 8.0), (4.4, 5.6, 11.5)):
        stage.flat(x, z, ((-half, low), (half, low), (0, top)), gold)
        stage.flat(x, z, ((-half + 0.9, low), (half - 0.9, low), (0, top - 1.0)), red)
    stage.rod((x, 11, z), (x, 14, z), 0.3, gold)


def _stupa(stage: Stage, dice: Random, side: int) -> None:
    x, z = side * (STREET + 6), dice.uniform(26, 34)
    body = stage.lit(dice.choice(((226, 178, 60), (242, 240, 234))), 0, -1)
    stage.ball(x, z, 4.0, 5.0, 4.8, body)
    stage.block(x, z, -5.6, 0, 5.6, 3.4, shade(body, 0.88))
    stage.flat(x, z, ((-1.6, 8.2), (1.6, 8.2), (0, 16.5)), (226, 178, 60))


def _tower(stage: Stage, dice: Random, side: int) -> None:
    for i in range(3):
        wall = dice.choice(((150, 168, 186), (184, 182, 178), (120, 138, 158)))
        high_rise(stage, side, STREET + 22 - 9 * i, 62 - 14 * i, dice.uniform(34, 60), wall)


def _panel_block(stage: Stage, dice: Random, side: int) -> None:
    for ahead in (52, 26):
        wall = dice.choice(((206, 202, 192), (196, 186, 166), (176, 184, 190)))
        high_rise(stage, side, STREET + 3, ahead, 19, wall)


def _windmill(stage: Stage, dice: Random, side: int) -> None:
    x, z = side * (STREET + 5), dice.uniform(26, 36)
    stage.flat(x, z, ((-3, 0), (3, 0), (1.8, 9), (-1.8, 9)), stage.lit((120, 92, 72), 0, -1))
    stage.ball(x, z, 9.3, 2.0, 1.6, (70, 60, 54))
    for right, up in ((5, 4), (-4, 5), (-5, -4), (4, -5)):
        stage.rod((x, 9.5, z), (x + right, 9.5 + up, z), 0.9, (236, 232, 222))


def _wind_turbine(stage: Stage, dice: Random, side: int) -> None:
    for ahead in (94.0, 60.0):
        x, hub = side * (STREET + dice.uniform(10, 14) + 0.7 * (ahead - 60)), 36.0
        stage.rod((x, 0, ahead), (x, hub, ahead), 1.4, (240, 242, 244))
        for right, up in ((0.0, 16.0), (14.0, -8.0), (-14.0, -8.0)):
            stage.rod((x, hub, ahead), (x + right, hub + up, ahead), 1.2, (246, 248, 250))


def _hut(stage: Stage, dice: Random, side: int) -> None:
    for i in (1, 0):
        x, z = side * (STREET + 1.5 + 6 * i), dice.uniform(17, 22) + 6 * i
        stage.block(x, z, -2.2, 0, 2.2, 2.4, stage.lit((170, 118, 80), 0, -1))
        stage.block(x, z, -0.5, 0, 0.5, 1.8, (62, 44, 34))
        stage.flat(x, z, ((-3.2, 2.1), (3.2, 2.1), (0, 5.2)), shade((188, 156, 96), stage.light.sky + 0.2))


def _yurt(stage: Stage, dice: Random, side: int) -> None:
    for i in (1, 0):
        x, z = side * (STREET + 2 + 7 * i), dice.uniform(18, 23) + 7 * i
        felt = stage.lit((242, 238, 226), 0, -1)
        stage.flat(x, z, ((-3.2, 2), (3.2, 2), (0.8, 3.8), (-0.8, 3.8)), shade(felt, 0.9))
        stage.block(x, z, -3.2, 0, 3.2, 2, felt)
        stage.block(x, z, -0.6, 0, 0.6, 1.7, (190, 80, 40))


def _volcano(stage: Stage, dice: Random, side: int) -> None:
    x, z = side * dice.uniform(170, 240), 600
    stage.flat(x, z, ((-240, 0), (240, 0), (30, 190), (-30, 190)), (112, 112, 126))
    stage.flat(x, z, ((-78, 148), (78, 148), (30, 190), (-30, 190)), (238, 240, 244))
    stage.ball(x + 20, z, 215, 34, 20, (222, 222, 226))


def _vineyard(stage: Stage, dice: Random, side: int) -> None:
    leaf = shade(dice.choice(((104, 140, 60), (128, 150, 64), (150, 140, 60))), stage.light.sky)
    for row in range(6):
        x = side * (STREET + 0.5 + 2.6 * row)
        stage.face(((x, 0, 6), (x, 0, 45), (x, 1.5, 45), (x, 1.5, 6)), shade(leaf, 0.85 + 0.08 * row))


_GROVES: Final[dict[str, tuple[Plant, int]]] = {
    "birch": (birch, 4),
    "cactus": (cactus, 3),
    "eucalyptus": (eucalyptus, 3),
    "baobab": (baobab, 2),
}

_LANDMARKS: Final[dict[str, Callable[[Stage, Random, int], None]]] = {
    "church": _church,
    "onion-dome": _onion_dome,
    "dome": _dome,
    "minaret": _minaret,
    "pagoda": _pagoda,
    "temple": _temple,
    "stupa": _stupa,
    "tower": _tower,
    "panel-block": _panel_block,
    "windmill": _windmill,
    "wind-turbine": _wind_turbine,
    "hut": _hut,
    "yurt": _yurt,
    "kangaroo": _kangaroo,
    "volcano": _volcano,
    "vineyard": _vineyard,
}

ON_THE_ROAD: Final = frozenset(_VEHICLES) | {"scooter"}
"""Sights that drive."""

BEHIND_THE_HOUSES: Final = frozenset(_LANDMARKS) - {"hut", "yurt", "kangaroo", "vineyard"}
"""Sights that the first houses may hide."""

SIGHTS: Final = ON_THE_ROAD | frozenset(_BEASTS) | frozenset(_GROVES) | frozenset(_LANDMARKS)
"""Every word that the column ``sights`` may hold."""
