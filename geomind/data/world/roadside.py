"""What stands along a road on a stage: poles and their wires, bollards, signs and their writing. It knows no places."""

from __future__ import annotations

import itertools
from random import Random
from typing import Final

from geomind.data.world.stage import PAINT, Colour, Stage

_WIRES: Final = {"crossarm": (-1.1, 0.0, 1.1), "transformer": (-0.9, -0.3, 0.3, 0.9), "timber": (0.0,)}
_TOP: Final = 8.0


def poles(stage: Stage, kind: str, right: float, first: float) -> None:
    """Set a row of poles along the street, with their wires where ``kind`` has any."""
    rows = [first + 24 * i for i in range(4)]
    if kind != "lamp":
        for start, end in zip([1.2, *rows[:-1]], rows, strict=True):
            for x in _WIRES.get(kind, (-0.5, 0.5)):
                stage.rod((right + x, _TOP - 0.2, start), (right + x, _TOP - 0.2, end), 0.05, (56, 56, 60))
    for ahead in reversed(rows):
        _pole(stage, kind, right, ahead)


def _pole(stage: Stage, kind: str, right: float, ahead: float) -> None:
    steel, wood, concrete = (120, 124, 130), (104, 78, 56), (190, 188, 182)

    def bar(x0: float, y0: float, x1: float, y1: float, width: float, colour: Colour) -> None:
        stage.rod((right + x0, y0, ahead), (right + x1, y1, ahead), width, colour)

    if kind == "lamp":
        arm = -2.2 if right > 0 else 2.2
        bar(0, 0, 0, 7.5, 0.22, steel)
        bar(0, 7.5, arm, 7.9, 0.2, steel)
        stage.block(right + arm, ahead, -0.5, 7.6, 0.5, 8.0, (240, 236, 214))
    elif kind == "steel":
        for x in (-0.3, 0.3):
            bar(x, 0, 0, _TOP, 0.16, steel)
        for y in (1.5, 3.5, 5.5):
            bar(-0.3, y, 0.3, y + 1, 0.12, steel)
    elif kind in ("timber", "crossarm"):
        bar(0, 0, 0, _TOP + 0.5, 0.36, wood)
        if kind == "crossarm":
            bar(-1.3, _TOP - 0.2, 1.3, _TOP - 0.2, 0.3, wood)
            bar(-1.0, _TOP - 1.2, 1.0, _TOP - 1.2, 0.26, wood)
    else:
        bar(0, 0, 0, _TOP + 0.2, 0.46, concrete)
        bar(-0.7, _TOP - 0.2, 0.7, _TOP - 0.2, 0.22, concrete)
        if kind == "holed":
            for y in range(1, 8):
                stage.block(right, ahead, -0.1, y, 0.1, y + 0.5, (84, 84, 84))
        elif kind == "transformer":
            stage.block(right, ahead, -0.75, _TOP - 2.4, 0.75, _TOP - 1.1, (140, 142, 144))
        elif kind == "striped":
            for i in range(5):
                colour = PAINT["black" if i % 2 else "yellow"]
                stage.block(right, ahead, -0.3, 0.3 + 0.4 * i, 0.3, 0.72 + 0.4 * i, colour)


def bollards(stage: Stage, kind: str, distance: float) -> None:
    """Set posts along both edges of the road; ``kind`` is the colours of post and band."""
    post, band = (PAINT[word] for word in kind.split("-"))
    for ahead in (34.0, 22.0, 13.0, 7.5):
        for right in (-distance, distance):
            stage.block(right, ahead, -0.2, 0, 0.2, 1.25, post)
            stage.block(right, ahead, -0.2, 0.6, 0.2, 1.0, band)


def warning_sign(stage: Stage, kind: str, right: float, ahead: float) -> None:
    """Set a warning sign."""
    stage.rod((right, 0, ahead), (right, 2.2, ahead), 0.12, PAINT["metal"])
    if kind == "diamond":
        for half, colour in ((1.0, "black"), (0.86, "yellow")):
            outline = ((-half, 2.6), (0, 2.6 + half), (half, 2.6), (0, 2.6 - half))
            stage.flat(right, ahead, outline, PAINT[colour])
        stage.block(right, ahead, -0.14, 2.2, 0.14, 2.95, PAINT["black"])
        return
    border, ground = {"triangle": ("red", "white"), "amber": ("red", "amber"), "black-amber": ("black", "amber")}[kind]
    stage.flat(right, ahead, ((-1.05, 1.75), (1.05, 1.75), (0, 3.55)), PAINT[border])
    stage.flat(right, ahead, ((-0.66, 1.98), (0.66, 1.98), (0, 3.1)), PAINT[ground])
    stage.block(right, ahead, -0.1, 2.1, 0.1, 2.6, PAINT["black"])


def guide_sign(stage: Stage, dice: Random, ground: str, script: str, right: float, ahead: float) -> None:
    """Set a direction sign."""
    ink = PAINT["black" if ground in ("white", "yellow") else "white"]
    for x in (-1.3, 1.3):
        stage.rod((right + x, 0, ahead), (right + x, 2.0, ahead), 0.14, PAINT["metal"])
    stage.block(right, ahead, -2.0, 1.7, 2.0, 3.7, ink)
    stage.block(right, ahead, -1.88, 1.82, 1.88, 3.58, PAINT[ground])
    for y in (2.85, 2.0):
        _write(stage, dice, script, (right - 1.6, y, ahead), dice.uniform(2.2, 3.2), 0.6, ink)


def shop_board(stage: Stage, dice: Random, script: str, right: float, ahead: float) -> None:
    """Hang a shop's board with large writing."""
    ground = dice.choice(((236, 232, 222), (190, 38, 42), (34, 66, 140), (244, 206, 70), (30, 110, 80)))
    ink = PAINT["black" if sum(ground) > 500 else "white"]
    stage.block(right, ahead, -2.8, 2.2, 2.8, 4.4, ground)
    _write(stage, dice, script, (right - 2.5, 2.5, ahead), 5.0, 1.6, ink)


SCRIPTS: Final = {
    # A few letters each, as strokes between the keys of a number pad: 7 8 9 on top, 4 5 6, then 1 2 3 at the bottom.
    "latin": ("713", "183 46", "52", "79 82", "1793", "9713"),
    "cyrillic": ("71 93 46", "71 13 19", "71 79 93", "19 73 82", "179 46"),
    "greek": ("183 13", "9751 13", "71 79 93", "729 82", "8426 82"),
    "georgian": ("42654", "1593", "42 2684", "7426"),
    "arabic": ("82", "426", "55 28", "4862", "15 53 99"),
    "hebrew": ("793", "7931", "85", "13 392 78", "796 13"),
    "barred": ("82", "93 46", "4239 45", "862", "91 56"),
    "round": ("48624", "2486", "6248", "84268"),
    "thai": ("1793", "7139", "4179 63", "71398"),
    "ethiopic": ("71 93 79", "82 46", "4862 45", "71 73 93"),
    "han": ("79 82 46 51 53", "17931 46", "46 82 13 79", "71 79 93 46 13 82"),
    "kana": ("79 81", "71 92", "79 82 46 13", "48 83 61"),
    "hangul": ("795 93 13", "48624 93", "71 13 86 93", "79 1793"),
}  # fmt: skip


def _write(
    stage: Stage, dice: Random, script: str, start: tuple[float, float, float], width: float, height: float, ink: Colour
) -> None:
    """Write something like words in a script, from the lower left corner of a box of ``width`` by ``height`` metres."""
    right, base, ahead = start
    letter, pen = height * 0.8, height * 0.14
    if script in ("barred", "arabic"):  # letters that hang from a line, or sit on one
        line = base + (height if script == "barred" else 0.25 * height)
        stage.rod((right, line, ahead), (right + width, line, ahead), pen, ink)
    for i in range(max(1, int(width / letter))):
        for stroke in dice.choice(SCRIPTS[script]).split():
            keys = [int(key) - 1 for key in stroke]
            points = [(right + (i + key % 3 * 0.36) * letter, base + key // 3 * 0.5 * height, ahead) for key in keys]
            for a, b in itertools.pairwise(points):
                stage.rod(a, b, pen, ink)
