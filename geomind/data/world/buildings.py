"""Houses and blocks of flats on a stage: walls, roofs, windows. It knows no places: a caller says which."""

from __future__ import annotations

from random import Random
from typing import Final

from geomind.data.world.stage import PAINT, Colour, Stage, mix, shade

WALLS: Final[dict[str, tuple[Colour, ...]]] = {
    "clapboard": ((238, 238, 232), (196, 208, 214), (232, 220, 172)),
    "brick": ((156, 84, 64), (170, 98, 74), (142, 74, 58)),
    "timber": ((128, 90, 60), (104, 76, 54), (150, 112, 78)),
    "falun": ((142, 44, 36), (150, 52, 40)),
    "concrete": ((176, 174, 170), (194, 190, 182), (158, 158, 158)),
    "adobe": ((186, 144, 102), (172, 128, 88)),
    "ochre": ((220, 176, 112), (228, 192, 134), (210, 156, 96)),
    "pastel": ((236, 190, 186), (186, 220, 198), (182, 208, 230), (240, 226, 184)),
    "bright": ((52, 172, 176), (228, 96, 92), (244, 186, 62), (78, 126, 204), (226, 120, 168)),
    "stone": ((172, 162, 144), (158, 148, 132)),
    "white-stone": ((234, 226, 206), (224, 212, 188)),
    "plaster": ((226, 214, 192), (212, 200, 180), (232, 224, 210)),
    "white": ((244, 242, 238), (236, 236, 234)),
}

ROOFS: Final[dict[str, tuple[float, tuple[Colour, ...]]]] = {  # rise over half the width, colours
    "flat": (0.0, ((150, 146, 140),)),
    "tile": (0.36, ((204, 100, 60), (214, 116, 74))),
    "iron": (0.3, ((176, 176, 174), (160, 100, 70), (190, 188, 184))),
    "blue-iron": (0.36, ((44, 96, 186), (52, 110, 196))),
    "white-stone": (0.45, ((240, 238, 232),)),
    "shingle": (0.55, ((96, 88, 84), (112, 98, 88))),
    "metal": (0.65, ((156, 52, 48), (58, 104, 76), (112, 120, 130))),
    "turf": (0.65, ((96, 140, 64),)),
    "curved": (0.5, ((66, 70, 82), (84, 82, 84))),
    "slate": (0.95, ((72, 76, 88), (84, 86, 94))),
    "steep-tile": (1.0, ((168, 70, 48), (150, 60, 44))),
    "thatch": (1.0, ((182, 152, 92), (166, 138, 82))),
}

_EAVE: Final = 0.5


def house(
    stage: Stage, dice: Random, side: int, inner: float, ahead: float, roof: str, wall: Colour, *, snow: bool
) -> None:
    """Build a house beside the street: ``side`` is -1 or 1, ``inner`` the metres from the middle to its near wall."""
    width, depth, height = dice.uniform(7, 11), dice.uniform(7, 11), dice.uniform(3.2, 5.5)
    rise, covers = ROOFS[roof]
    cover = dice.choice(covers)
    if snow and rise:
        cover = mix(cover, PAINT["white"], 0.75)
    near, far, back = side * inner, side * (inner + width), ahead + depth
    front, flank = stage.lit(wall, 0, -1), stage.lit(wall, -side, 0)
    stage.face(((near, 0, ahead), (near, 0, back), (near, height, back), (near, height, ahead)), flank)
    stage.face(((near, 0, ahead), (far, 0, ahead), (far, height, ahead), (near, height, ahead)), front)
    low, out, foot, ridge = near - side * _EAVE, far + side * _EAVE, height - 0.2, height + rise * width / 2
    if rise == 0:
        rim = ((near, height - 0.4, ahead), (far, height - 0.4, ahead), (far, height, ahead), (near, height, ahead))
        stage.face(rim, shade(front, 0.82))
        if dice.random() < 0.4:  # a water tank
            stage.block(near + side * 3, ahead, -0.8, height, 0.8, height + 1.2, shade(cover, 0.7))
    elif dice.random() < 0.6:  # the roof's slope faces us
        middle, slope = ahead + depth / 2, stage.lit(cover, 0, -1)
        stage.face(((near, height, ahead), (near, height, back), (near, ridge, middle)), flank)
        eaves = ((low, foot, ahead - _EAVE), (out, foot, ahead - _EAVE))
        stage.face((*eaves, (out, ridge, middle), (low, ridge, middle)), slope)
        if roof == "curved":
            for tip in (low, out):
                turned = 1.6 if tip > near else -1.6
                stage.flat(tip, ahead, ((-1.0, foot - 0.1), (1.0, foot - 0.1), (turned, foot + 0.9)), slope)
    else:  # its gable does
        middle, slope = (near + far) / 2, stage.lit(cover, -side, 0)
        stage.face(((near, height, ahead), (far, height, ahead), (middle, ridge, ahead)), front)
        stage.face(((low, foot, ahead), (middle, ridge, ahead), (middle, ridge, back), (low, foot, back)), slope)
        stage.rod((low, foot, ahead), (middle, ridge, ahead), 0.5, slope)
        stage.rod((middle, ridge, ahead), (out, foot, ahead), 0.5, shade(slope, 0.8))
    for share in (0.22, 0.72):
        window = near + (far - near) * share
        stage.block(window, ahead, -0.7, 1.3, 0.7, min(2.8, height - 0.5), (64, 78, 96))
    stage.block((near + far) / 2, ahead, -0.55, 0, 0.55, 2.2, mix((110, 70, 44), wall, 0.2))


def high_rise(stage: Stage, side: int, inner: float, ahead: float, height: float, wall: Colour) -> None:
    """Build a block of flats, its near wall ``inner`` metres from the middle of the road."""
    near, far, back = side * inner, side * (inner + 16), ahead + 14
    front, flank = stage.lit(wall, 0, -1), stage.lit(wall, -side, 0)
    stage.face(((near, 0, ahead), (near, 0, back), (near, height, back), (near, height, ahead)), flank)
    stage.face(((near, 0, ahead), (far, 0, ahead), (far, height, ahead), (near, height, ahead)), front)
    for storey in range(int(height / 4)):
        sill, lintel = storey * 4 + 1.2, storey * 4 + 2.7
        stage.face(
            ((near, sill, ahead), (far, sill, ahead), (far, lintel, ahead), (near, lintel, ahead)), shade(front, 0.62)
        )
        stage.face(
            ((near, sill, ahead), (near, sill, back), (near, lintel, back), (near, lintel, ahead)), shade(flank, 0.62)
        )
