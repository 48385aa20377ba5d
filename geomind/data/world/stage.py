"""The drawing board of a scene: a camera over a street, and shapes in metres that land on it as pixels.

A point of the street is (right, up, ahead) in metres from the middle of the road under the camera. It knows no place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]
"""A point of a flat shape in metres (right, up), or of the picture in pixels."""

PAINT: Final[dict[str, Colour]] = {
    "white": (240, 240, 236),
    "yellow": (246, 196, 34),
    "amber": (250, 190, 50),
    "black": (30, 30, 34),
    "red": (204, 34, 40),
    "orange": (240, 120, 30),
    "blue": (28, 84, 176),
    "green": (16, 116, 70),
    "metal": (130, 132, 134),
}


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Go ``share`` of the way from one colour to another."""
    return (
        int(a[0] + (b[0] - a[0]) * share),
        int(a[1] + (b[1] - a[1]) * share),
        int(a[2] + (b[2] - a[2]) * share),
    )


def shade(colour: Colour, light: float) -> Colour:
    """Multiply a colour by an amount of light, 1 leaving it as it is."""
    return (min(255, int(colour[0] * light)), min(255, int(colour[1] * light)), min(255, int(colour[2] * light)))


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along the street."""

    right: float
    """Metres right of the middle of the road."""
    height: float
    """Metres above the road."""
    zoom: float
    """Focal length in picture widths."""
    centre: float
    """Where the street vanishes, as a share of the width."""
    horizon: float
    """Where the horizon lies, as a share of the height from the top."""
    roll: float
    """How much the horizon falls from left to right, as a share of the width."""


@dataclass(frozen=True)
class Light:
    """How the day lights things."""

    sun: tuple[float, float, float]
    """Its direction as (right, up, ahead), length 1."""
    direct: float
    """Strength of the sun itself, 0 under clouds to 1."""
    sky: float
    """Strength of the light from everywhere."""
    haze: Colour
    """What the distance fades into."""
    sight_m: float
    """Metres after which half of a colour is lost in the haze."""


class Stage:
    """A picture being drawn."""

    def __init__(self, pixels: int, camera: Camera, light: Light) -> None:
        self.image = Image.new("RGB", (pixels, pixels))
        self.pen = ImageDraw.Draw(self.image)
        self.pixels = pixels
        self.camera = camera
        self.light = light

    def project(self, right: float, up: float, ahead: float) -> Point:
        """Place a point of the street in the picture, in pixels."""
        camera = self.camera
        scale = camera.zoom / max(ahead, 0.5)
        u = camera.centre + (right - camera.right) * scale
        v = camera.horizon - (up - camera.height) * scale + (u - 0.5) * camera.roll
        return u * self.pixels, v * self.pixels

    def fade(self, colour: Colour, ahead: float) -> Colour:
        """Lose a colour in the haze."""
        return mix(colour, self.light.haze, min(0.85, ahead / (ahead + self.light.sight_m)))

    def lit(self, colour: Colour, right: float, ahead: float) -> Colour:
        """Light a wall that faces (right, ahead)."""
        light = self.light
        towards = max(0.0, right * light.sun[0] + ahead * light.sun[2])
        return shade(colour, light.sky + light.direct * (0.45 * towards - 0.1))

    def face(self, corners: Sequence[tuple[float, float, float]], colour: Colour) -> None:
        """Fill a polygon given by its corners (right, up, ahead)."""
        ahead = max(corner[2] for corner in corners)
        self.pen.polygon([self.project(*corner) for corner in corners], fill=self.fade(colour, ahead))

    def flat(self, right: float, ahead: float, outline: Sequence[Point], colour: Colour) -> None:
        """Fill an upright shape that faces the camera, its outline in metres from a point on the ground."""
        self.pen.polygon([self.project(right + x, y, ahead) for x, y in outline], fill=self.fade(colour, ahead))

    def block(self, right: float, ahead: float, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """Fill an upright rectangle that faces the camera; it never vanishes for being thin."""
        left, bottom = self.project(right + x0, y0, ahead)
        end, top = self.project(right + x1, y1, ahead)
        self.pen.rectangle((left, top, max(end, left + 0.6), max(bottom, top + 0.6)), fill=self.fade(colour, ahead))

    def ball(self, right: float, ahead: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """Fill an upright ellipse that faces the camera, its middle ``y`` metres up."""
        left, top = self.project(right - rx, y + ry, ahead)
        end, bottom = self.project(right + rx, y - ry, ahead)
        self.pen.ellipse((left, top, max(end, left + 0.6), max(bottom, top + 0.6)), fill=self.fade(colour, ahead))

    def rod(
        self, start: tuple[float, float, float], end: tuple[float, float, float], metres: float, paint: Colour
    ) -> None:
        """Draw a straight bar between two points; it is at least a pixel thick."""
        ahead = (start[2] + end[2]) / 2
        width = max(1, round(metres * self.camera.zoom / max(ahead, 0.5) * self.pixels))
        self.pen.line((self.project(*start), self.project(*end)), fill=self.fade(paint, ahead), width=width)

    def shadow(self, right: float, ahead: float, half_width: float, height: float, mask: ImageDraw.ImageDraw) -> None:
        """Cast the shadow of an upright thing on the ground, into a mask."""
        x, up, z = self.light.sun
        length = min(height / max(up, 0.08), 40.0)
        tip_right, tip_ahead = right - x * length, ahead - z * length
        if tip_ahead < 1.0:  # it would fall behind the camera
            share = (ahead - 1.0) / (ahead - tip_ahead)
            tip_right, tip_ahead = right + (tip_right - right) * share, 1.0
        along = (
            (right - half_width, ahead),
            (right + half_width, ahead),
            (tip_right + half_width, tip_ahead),
            (tip_right - half_width, tip_ahead),
        )
        across = (
            (right, ahead - half_width),
            (right, ahead + half_width),
            (tip_right, tip_ahead + half_width),
            (tip_right, tip_ahead),
        )
        for outline in (along, across):
            mask.polygon([self.project(a, 0, max(b, 1.0)) for a, b in outline], fill=255)
