"""One street scene from a latitude, a longitude and a country: what a camera that looks east would have seen there.

Every cue is true of the world: the side that traffic keeps to, lines, signs, poles, plates, roofs and sights come from
the country (``traits``); plants, soil, mountains, snow and the sun's height and side from the position (``climate``).
None is certain: a country shows each of its traits nineteen times in twenty, and day, hour, weather, clutter and the
camera change every picture. It knows no regions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from geomind.data.world import buildings, plants, roadside, sights
from geomind.data.world.climate import Climate, climate_at, sun_at
from geomind.data.world.stage import PAINT, Camera, Colour, Light, Stage, mix, shade
from geomind.data.world.traits import WORDS, Traits, all_traits

FAITHFUL: Final = 0.95
"""How often a country shows its own trait and not one of any other country."""

ROAD: Final = 3.4
"""Metres from the middle of the road to its edge."""

LANE: Final = 1.7
"""Metres from the middle of the road to the middle of a lane."""


def draw_scene(
    latitude: float, longitude: float, country: str, rng: np.random.Generator, size: int = 64
) -> Image.Image:
    """Draw a street scene of a place: degrees and an ISO 3166-1 alpha-2 code -> an RGB picture, ``size`` pixels square.

    Raises:
        KeyError: the country is not in the table of traits.
    """
    dice = Random(int(rng.integers(2**63)))
    traits = _shown(all_traits()[country], dice)
    day = _choose_day(latitude, longitude, dice)
    camera = Camera(
        right=(-LANE if traits.side == "left" else LANE) + dice.gauss(0, 0.2),
        height=dice.uniform(1.9, 2.6),
        zoom=dice.uniform(0.82, 0.94),
        centre=0.5 + dice.gauss(0, 0.025),
        horizon=dice.uniform(0.45, 0.52),
        roll=dice.gauss(0, 0.015),
    )
    stage = Stage(2 * size, camera, day.light)  # twice as large, then halved: smooth edges
    _draw_sky(stage, day, dice)
    _draw_horizon(stage, day, dice)
    _draw_ground(stage, day, dice)
    _draw_road(stage, day, traits, dice)
    _draw_things(stage, day, _choose_things(stage, day, traits, dice))
    _draw_weather(stage, day, dice)
    return _expose(stage.image, size, dice, rng)


# ── the moment ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Day:
    """The moment of the picture."""

    weather: str
    """clear, cloudy, overcast, rain or fog; rain falls as snow where it freezes."""
    zenith: Colour
    """The sky overhead; at the horizon it is the light's haze."""
    climate: Climate
    light: Light
    garden: plants.Garden

    @property
    def snow(self) -> bool:
        """Whether snow lies."""
        return self.garden.snow


def _shown(own: Traits, dice: Random) -> Traits:
    """Let each trait but the side of the road now and then be another country's."""
    others = list(all_traits().values())
    shown = {word: getattr(own if dice.random() < FAITHFUL else dice.choice(others), word) for word in WORDS}
    return Traits(**{**shown, "side": own.side})


def _choose_day(latitude: float, longitude: float, dice: Random) -> Day:
    """Pick a day and an hour with the sun up, the camera's heading (east, give or take 27°) and the weather."""
    summer = 0.55 if latitude > 0 else 0.05  # as shares of the year
    for _ in range(50):
        date, hour = dice.random(), dice.uniform(7, 17)
        if dice.random() < 0.4:  # more pictures are taken in the warm half of the year
            date = (summer + dice.uniform(-0.25, 0.25)) % 1
        east, north, up = sun_at(latitude, date * 365.25, hour)
        if up > 0.08:
            break
    turn = dice.uniform(-0.5, 0.5)
    length = (1 + turn * turn) ** 0.5
    sun = ((east * turn - north) / length, max(up, 0.08), (east + north * turn) / length)

    climate = climate_at(latitude, longitude, date * 365.25)
    wet = 0.35 + climate.moisture
    weathers = ("clear", "cloudy", "overcast", "rain", "fog")
    weather = dice.choices(weathers, (1.0, 0.45 * wet, 0.3 * wet, 0.08 * wet, 0.05 * wet))[0]
    if climate.temperature > 12 or climate.mean_temperature > 19:
        season = "summer"
    elif climate.temperature < 4:
        season = "winter"
    else:
        season = "autumn" if (date - summer) % 1 < 0.5 else "spring"
    snow = climate.temperature + dice.gauss(0, 2.5) < -1 and climate.moisture > 0.15

    zenith, haze = _sky_colours(weather, sun[1], climate.moisture)
    direct = {"clear": 1.0, "cloudy": 0.6}.get(weather, 0.0)
    sight_m = {"clear": 750, "cloudy": 600, "overcast": 300, "rain": 150, "fog": 40}[weather]
    light = Light(sun, direct, 0.86 if direct else 0.74, haze, sight_m)
    return Day(weather, zenith, climate, light, plants.Garden(season, snow))


def _sky_colours(weather: str, sun_up: float, moisture: float) -> tuple[Colour, Colour]:
    """Choose the colours overhead and at the horizon."""
    if weather == "fog":
        return (206, 210, 212), (214, 216, 216)
    if weather in ("overcast", "rain"):
        return (158, 164, 174), (204, 208, 212)
    low = max(0.0, 1 - sun_up / 0.3)
    dust = max(0.0, 0.25 - moisture) * 2.4
    zenith = mix(mix((74, 132, 212), (104, 122, 178), low), (160, 184, 200), 0.7 * dust)
    return zenith, mix(mix((196, 220, 240), (250, 206, 160), low), (228, 206, 168), dust)


# ── what stands there ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Thing:
    """Something on the ground: it casts a shadow, and hides what is behind it."""

    right: float
    ahead: float
    draw: Callable[[], None]
    half_width: float = 0.0
    height: float = 0.0
    """0 casts no shadow."""


def _choose_things(stage: Stage, day: Day, traits: Traits, dice: Random) -> list[_Thing]:
    """Furnish the street."""
    ours = -1 if traits.side == "left" else 1  # the side our lane is on
    town = dice.random() < 0.5
    found = _choose_houses(stage, day, traits, dice, town=town)
    found += _choose_plants(stage, day, dice, town=town)
    if dice.random() < 0.92:
        right, ahead = dice.choice((-5.2, 5.2)), dice.uniform(8, 15)
        found.append(_Thing(right, ahead, partial(roadside.poles, stage, traits.poles, right, ahead), 0.2, 8))
    if traits.bollard != "none" and dice.random() < 0.85:
        found.append(_Thing(0, 34, partial(roadside.bollards, stage, traits.bollard, ROAD + 0.7)))
    if dice.random() < 0.8:
        right, ahead = ours * dice.uniform(4.6, 5.4), dice.uniform(8.5, 12)
        found.append(_Thing(right, ahead, partial(roadside.warning_sign, stage, traits.warning, right, ahead), 0.8, 3))
    if dice.random() < 0.8:
        right, ahead = -ours * dice.uniform(5.6, 6.6), dice.uniform(13, 17)
        sign = partial(roadside.guide_sign, stage, dice, traits.guide, traits.script, right, ahead)
        found.append(_Thing(right, ahead, sign, 2, 3.5))
    if dice.random() < (0.7 if town else 0.35):
        right, ahead = dice.choice((-1, 1)) * dice.uniform(7.5, 9.5), dice.uniform(13, 18)
        found.append(_Thing(right, ahead, partial(roadside.shop_board, stage, dice, traits.script, right, ahead)))
    lane_free = True
    if traits.sights and dice.random() < 0.85:
        name = dice.choice(traits.sights)
        lane_free = name not in sights.ON_THE_ROAD
        side = ours if name in sights.ON_THE_ROAD else dice.choice((-1, 1))
        ahead = 30.0 if name in sights.BEHIND_THE_HOUSES else 12.0
        seen = partial(sights.sight, stage, dice, day.garden, name, side, traits.plate)
        found.append(_Thing(side * sights.STREET, ahead, seen))
    for side, often, nearest, farthest in ((ours, 0.85, 6.5, 12), (-ours, 0.45, 10, 30)):
        if dice.random() < often and (lane_free or side != ours):
            ahead, body = dice.uniform(nearest, farthest), dice.choice(sights.CAR_COLOURS)
            height, coming = dice.choice((1.5, 1.5, 1.9)), side != ours
            car = partial(sights.vehicle, stage, side * LANE, ahead, 1.8, height, body, traits.plate, coming=coming)
            found.append(_Thing(side * LANE, ahead, car, 0.9, 1.5))
    return found


def _choose_houses(stage: Stage, day: Day, traits: Traits, dice: Random, *, town: bool) -> list[_Thing]:
    found = []
    for side in (-1, 1):
        ahead = dice.uniform(11, 16)
        while ahead < 62 and dice.random() < (0.9 if town else 0.5):
            inner = dice.uniform(6.5, 8) + (0 if town else 2)
            wall = shade(dice.choice(buildings.WALLS[traits.walls]), dice.uniform(0.92, 1.05))
            build = partial(buildings.house, stage, dice, side, inner, ahead, traits.roof, wall, snow=day.snow)
            found.append(_Thing(side * (inner + 4), ahead + 4, build, 4, 6))
            ahead += dice.uniform(13, 18)
    return found


def _choose_plants(stage: Stage, day: Day, dice: Random, *, town: bool) -> list[_Thing]:
    climate = day.climate
    kinds = list(plants.FLORA)
    suits = [plants.suitability(plant, climate.mean_temperature, climate.moisture) for plant in kinds]
    if sum(suits) < 1e-3:
        return []
    density = min(1.0, 0.3 + 1.2 * climate.moisture) * min(1.0, sum(suits) / 0.35) * (0.6 if town else 1.0)
    leading = dice.choices(kinds, suits, k=2)
    found = []
    for side in (-1, 1):
        for _ in range(round(dice.uniform(3, 8) * density)):
            right, ahead = side * dice.uniform(6.5, 20), dice.uniform(10, 60)
            grow = partial(dice.choice(leading), stage, dice, day.garden, right, ahead)
            found.append(_Thing(right, ahead, grow, 1.2, 6))
    return found


# ── drawing it ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _draw_sky(stage: Stage, day: Day, dice: Random) -> None:
    """Paint the sky, the sun where the camera sees it, and clouds."""
    n, light = stage.pixels, day.light
    depth = int(n * (stage.camera.horizon + 0.06))
    fall = np.linspace(0, 1, depth, dtype=np.float32)[:, None] ** 1.3
    column = (1 - fall) * np.array(day.zenith, np.float32) + fall * np.array(light.haze, np.float32)
    stage.image.paste(Image.fromarray(column.astype(np.uint8)[:, None, :]).resize((n, depth)), (0, 0))
    right, up, ahead = light.sun
    if light.direct and ahead > 0.15:
        u = stage.camera.centre + stage.camera.zoom * right / ahead
        v = stage.camera.horizon - stage.camera.zoom * up / ahead
        for radius, share in ((0.085, 0.35), (0.055, 0.7), (0.035, 1.0)):
            disc = ((u - radius) * n, (v - radius) * n, (u + radius) * n, (v + radius) * n)
            stage.pen.ellipse(disc, fill=mix(day.zenith, (255, 250, 226), share))
    if day.weather in ("cloudy", "overcast", "rain"):
        tone = (248, 249, 250) if day.weather == "cloudy" else (182, 187, 194)
        for _ in range(dice.randint(2, 5)):
            u, v = dice.uniform(-0.1, 1.1), dice.uniform(0.02, 0.3)
            for _ in range(4):
                x, y, r = u + dice.uniform(-0.13, 0.13), v + dice.uniform(-0.02, 0.02), dice.uniform(0.04, 0.09)
                puff = ((x - 1.4 * r) * n, (y - 0.55 * r) * n, (x + 1.4 * r) * n, (y + 0.55 * r) * n)
                stage.pen.ellipse(puff, fill=tone)


def _draw_horizon(stage: Stage, day: Day, dice: Random) -> None:
    """Set mountains, hills and the far edge of the woods against the sky."""
    climate, n, base, roll = day.climate, stage.pixels, stage.camera.horizon, stage.camera.roll
    relief = min(1.0, climate.elevation_m / 3000)
    far, near = mix(climate.soil, (96, 112, 134), 0.65), mix(climate.soil, (96, 112, 134), 0.3)
    near = mix(near, (74, 104, 78), 0.5 * climate.moisture)
    for rock, height, distance in ((far, 0.05 + 0.2 * relief, 350), (near, 0.02 + 0.08 * relief, 150)):
        if rock == far and relief < 0.08:
            continue
        tops = [(i / 8 + dice.uniform(-0.04, 0.04), dice.uniform(0.25, 1.0) * height) for i in range(-1, 10)]
        outline = [(u * n, (base - top + (u - 0.5) * roll) * n) for u, top in tops]
        rock = mix(rock, (226, 230, 238), 0.6) if day.snow else rock
        stage.pen.polygon([(-n, n), *outline, (2 * n, n)], fill=stage.fade(rock, distance))
        if rock == far and relief > 0.25 and climate.temperature < 14:  # snow on the peaks
            for (_, top), (x, y) in zip(tops, outline, strict=True):
                if top > 0.5 * height:
                    drop = 0.35 * top * n
                    cap = ((x, y), (x - 0.6 * drop, y + drop), (x, y + 0.7 * drop), (x + 0.6 * drop, y + drop))
                    stage.pen.polygon(cap, fill=(240, 243, 248))
    if climate.moisture > 0.45 and climate.warmest > 9:
        boreal = min(1.0, max(0.0, (10 - climate.mean_temperature) / 10))
        wood = stage.fade((186, 196, 204) if day.snow else mix((58, 92, 56), (38, 78, 58), boreal), 160)
        for i in range(26):
            u, r = i / 25, dice.uniform(0.012, 0.035) * (0.4 + climate.moisture)
            y = base + (u - 0.5) * roll
            stage.pen.ellipse(((u - 0.03) * n, (y - r) * n, (u + 0.03) * n, (y + 0.05) * n), fill=wood)


def _draw_ground(stage: Stage, day: Day, dice: Random) -> None:
    """Lay the land beside the road, with fields, tufts and stones."""
    n, camera, climate, light = stage.pixels, stage.camera, day.climate, day.light
    ground = shade(_ground_colour(day), light.sky + 0.12 * light.direct)
    left, right = (camera.horizon + edge * camera.roll for edge in (-0.5, 0.5))
    stage.pen.polygon([(0, left * n), (n, right * n), (n, n), (0, n)], fill=ground)
    for ahead in (70.0, 34.0, 16.0):
        field = shade(mix(ground, climate.soil, dice.uniform(0, 0.35)), dice.uniform(0.93, 1.05))
        end = ahead * 0.55
        stage.face(((-400, 0, ahead), (400, 0, ahead), (400, 0, end), (-400, 0, end)), field)
    for _ in range(26):
        ahead = 3.5 + 22 * dice.random() ** 2
        x = dice.choice((-1, 1)) * dice.uniform(4.5, 4.5 + 0.7 * ahead)
        tone = shade(climate.soil, 0.9) if dice.random() < 0.5 else shade(ground, dice.uniform(0.8, 0.95))
        stage.ball(x, ahead, 0.05, dice.uniform(0.2, 0.7), dice.uniform(0.05, 0.16), mix(ground, tone, 0.7))


def _ground_colour(day: Day) -> Colour:
    """Mix soil, grass and snow."""
    climate = day.climate
    if day.snow:
        return (232, 236, 244)
    fresh = min(1.0, max(0.0, (climate.moisture - 0.3) / 0.35)) * min(1.0, max(0.15, (climate.temperature - 2) / 9))
    grass = mix((188, 168, 104), (92, 142, 60), fresh)
    bare = 0.25 if climate.mean_temperature > 19 else 0.1  # trodden and washed out in the tropics
    return mix(climate.soil, grass, min(1 - bare, max(0.0, (climate.moisture - 0.08) / 0.55)))


def _draw_road(stage: Stage, day: Day, traits: Traits, dice: Random) -> None:
    """Lay the road and paint its lines, or leave it unpaved: more often where roads have no edge lines."""
    soil = day.climate.soil

    def strip(x0: float, x1: float, colour: Colour, start: float = 1.0, end: float = 400.0) -> None:
        stage.face(((x0, 0, start), (x1, 0, start), (x1, 0, end), (x0, 0, end)), colour)

    shoulder = mix(soil, (150, 146, 140), 0.15)
    strip(-ROAD - 1.6, ROAD + 1.6, mix(shoulder, (226, 230, 238), 0.7) if day.snow else shoulder)
    if dice.random() < (0.4 if traits.edge == "none" else 0.04):
        strip(-ROAD, ROAD, shade(soil, 1.06))
        for rut in (-2.4, -0.9, 0.9, 2.4):
            strip(rut - 0.35, rut + 0.35, shade(soil, 0.9))
        return
    grey = int(dice.uniform(86, 128)) - (24 if day.weather == "rain" else 0)
    asphalt = mix((grey, grey, grey + 4), soil, 0.12)
    if day.snow and dice.random() < 0.5:
        asphalt = mix(asphalt, (214, 218, 226), 0.55)
    strip(-ROAD, ROAD, asphalt)
    worn = dice.uniform(0.0, 0.3)
    if traits.edge != "none":
        for x in (-ROAD + 0.25, ROAD - 0.25):
            strip(x - 0.13, x + 0.13, mix(PAINT[traits.edge], asphalt, worn))
    if traits.centre == "none":
        return
    paint, style = mix(PAINT[traits.centre], asphalt, worn), dice.random()
    if style < 0.35:  # no overtaking
        for x in (-0.2, 0.2):
            strip(x - 0.1, x + 0.1, paint)
    elif style < 0.5:
        strip(-0.14, 0.14, paint)
    else:
        first = dice.uniform(2, 5)
        for i in range(8):
            strip(-0.15, 0.15, paint, first + 6 * i, first + 6 * i + 3)


def _draw_things(stage: Stage, day: Day, found: list[_Thing]) -> None:
    """Cast all shadows, then draw things from the farthest to the nearest."""
    if day.light.direct:
        mask = Image.new("L", stage.image.size)
        pen = ImageDraw.Draw(mask)
        for thing in found:
            if thing.height:
                stage.shadow(thing.right, thing.ahead, thing.half_width, thing.height, pen)
        dark = 0.82 - 0.2 * day.light.direct
        stage.image.paste(stage.image.point([int(value * dark) for value in range(256)] * 3), mask=mask)
    for thing in sorted(found, key=lambda thing: -thing.ahead):
        thing.draw()


def _draw_weather(stage: Stage, day: Day, dice: Random) -> None:
    """Let rain or snow fall in front of everything."""
    if day.weather != "rain":
        return
    n = stage.pixels
    for _ in range(45):
        x, y = dice.uniform(0, n), dice.uniform(0, n)
        if day.climate.temperature < 0.5:
            r = dice.uniform(0.004, 0.011) * n
            stage.pen.ellipse((x - r, y - r, x + r, y + r), fill=(246, 248, 252))
        else:
            stage.pen.line((x, y, x - 0.008 * n, y + 0.05 * n), fill=(196, 202, 212))


def _expose(image: Image.Image, size: int, dice: Random, rng: np.random.Generator) -> Image.Image:
    """Take the photograph: lens, exposure, white balance and noise of the sensor."""
    image = image.reduce(2)
    if dice.random() < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(dice.uniform(0.3, 0.8)))
    gain = dice.uniform(0.84, 1.16) * np.array([dice.gauss(1, 0.03), 1.0, dice.gauss(1, 0.03)])
    noise = rng.standard_normal((size, size, 3), dtype=np.float32) * np.float32(dice.uniform(1, 5))
    pixels = np.asarray(image, np.float32) * gain.astype(np.float32) + noise
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
