"""What a place's position says about its land, weather and sun. It knows no countries and draws nothing.

Temperature follows latitude, season and the sea; moisture, soil and relief are sums of round patches around the world's
known deserts, forests, soils and mountains. The patches are set by hand after the Köppen-Geiger map (Peel, Finlayson &
McMahon 2007, doi:10.5194/hess-11-1633-2007), the FAO soil map of the world and any school atlas: true in the large,
wrong in the small, which is all that a scene of 64 pixels can show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from geomind.geography import sphere

MOISTURE: Final = (  # name, latitude, longitude, radius km, how much wetter (0 is a desert, 1 a rainforest)
    ("Western Sahara", 24, -8, 1000, -0.65),
    ("Central Sahara", 24, 10, 1100, -0.65),
    ("Libyan desert", 25, 24, 1000, -0.65),
    ("Nubian desert", 21, 33, 800, -0.55),
    ("Arabia", 22, 47, 1100, -0.65),
    ("Syrian desert", 33, 40, 500, -0.45),
    ("Iranian plateau", 32, 57, 800, -0.5),
    ("Thar and Indus", 27, 69, 600, -0.5),
    ("Karakum and Kyzylkum", 42, 61, 900, -0.5),
    ("Taklamakan", 40, 83, 800, -0.6),
    ("Gobi", 43, 104, 800, -0.5),
    ("Tibet", 33, 87, 800, -0.35),
    ("Horn of Africa", 7, 46, 700, -0.6),
    ("Sahel", 15, 5, 900, -0.3),
    ("Eastern Sahel", 14, 27, 900, -0.3),
    ("Turkana", 3, 38, 450, -0.4),
    ("Namib", -22, 15, 600, -0.5),
    ("Kalahari and Karoo", -26, 21, 700, -0.35),
    ("Western Australia", -25, 121, 1100, -0.45),
    ("Central Australia", -25, 134, 900, -0.45),
    ("Great Basin", 39, -115, 600, -0.4),
    ("Sonora and Mojave", 33, -113, 600, -0.45),
    ("Chihuahua", 28, -104, 500, -0.4),
    ("High Plains", 39, -103, 600, -0.2),
    ("Prairies", 50, -108, 700, -0.15),
    ("Atacama", -23, -69.5, 500, -0.65),
    ("Peruvian coast", -11, -77.5, 500, -0.65),
    ("Altiplano", -19, -67, 400, -0.35),
    ("Monte and Patagonia", -42, -68, 900, -0.45),
    ("Western Argentina", -31, -67.5, 500, -0.35),
    ("Caatinga", -9, -40, 500, -0.4),
    ("Inland Spain", 39, -3, 350, -0.1),
    ("Anatolia", 38.5, 34, 350, -0.15),
    ("Deccan", 17, 76, 450, -0.25),
    ("Kazakh steppe", 49, 66, 900, -0.25),
    ("Lower Volga", 47, 46, 450, -0.15),
    ("Northern China", 38, 111, 500, -0.15),
    ("Amazon", -4, -63, 1300, 0.3),
    ("Chocó", 5, -77, 350, 0.3),
    ("Mata Atlântica", -25, -49, 500, 0.25),
    ("Central America", 11, -84, 500, 0.15),
    ("Congo", 0, 22, 900, 0.3),
    ("Guinea coast", 6, -8, 500, 0.25),
    ("Niger delta", 5, 7, 400, 0.25),
    ("Malay archipelago", 1, 111, 1300, 0.3),
    ("New Guinea", -5, 142, 900, 0.3),
    ("Philippines", 11, 123, 700, 0.25),
    ("Indochina", 16, 106, 700, 0.2),
    ("Assam and Bengal", 25, 92, 500, 0.35),
    ("Western Ghats and Ceylon", 9, 77.5, 350, 0.35),
    ("Southern China", 26, 114, 800, 0.25),
    ("Japan and Korea", 35, 134, 800, 0.2),
    ("Eastern United States", 36, -83, 900, 0.15),
    ("Florida", 28, -82, 400, 0.15),
    ("Pacific Northwest", 50, -125, 500, 0.3),
    ("British Isles", 54, -5, 600, 0.2),
    ("Norway", 62, 6, 500, 0.2),
    ("Alps", 47, 10, 300, 0.15),
    ("Southern Chile", -44, -74, 450, 0.4),
    ("New Zealand", -42, 172, 700, 0.2),
    ("Eastern Madagascar", -18, 49, 400, 0.25),
    ("Queensland", -17, 145.5, 300, 0.3),
)

RELIEF: Final = (  # name, latitude, longitude, radius km, metres above the plain
    ("Rockies of Canada", 52, -117, 450, 1600),
    ("Rockies", 40, -108, 500, 2000),
    ("Sierra Nevada", 38, -119, 250, 1500),
    ("Alaska", 63, -150, 450, 1200),
    ("Appalachians", 38, -80, 250, 600),
    ("Mexican plateau", 21, -101, 500, 1800),
    ("Guatemala", 15, -91, 200, 1500),
    ("Colombian Andes", 5, -74.5, 300, 1900),
    ("Ecuador", -1, -78.5, 250, 2300),
    ("Peruvian Andes", -12, -74.5, 350, 3200),
    ("Bolivian Andes", -18, -67.5, 400, 3600),
    ("Chilean Andes", -32, -70, 350, 2500),
    ("Patagonian Andes", -45, -72.5, 350, 1200),
    ("Brazilian highlands", -19, -45, 500, 800),
    ("Pyrenees", 42.7, 0.5, 150, 1200),
    ("Alps", 46.7, 9.5, 250, 1500),
    ("Scandes", 62, 8, 350, 900),
    ("Iceland", 65, -18.5, 200, 600),
    ("Carpathians", 47, 25, 250, 800),
    ("Dinaric Alps", 43.5, 18.5, 250, 900),
    ("Anatolia", 39, 38, 400, 1400),
    ("Caucasus", 42.3, 44.5, 250, 1900),
    ("Zagros and Elburz", 34, 49, 500, 1500),
    ("Hindu Kush", 35.5, 70, 350, 2700),
    ("Tien Shan", 42, 76, 450, 2500),
    ("Tibet", 32, 88, 800, 4500),
    ("Himalaya", 28, 85, 300, 2200),
    ("Altai", 49, 90, 450, 1600),
    ("Mongolian plateau", 47, 102, 500, 1000),
    ("Baikal and Yablonoi", 53, 112, 500, 800),
    ("Verkhoyansk", 65, 138, 600, 900),
    ("Yunnan", 26.5, 101, 400, 2000),
    ("Japanese Alps", 36.3, 138, 180, 900),
    ("Taiwan", 23.7, 121.1, 100, 1200),
    ("Annam", 18, 104, 300, 700),
    ("New Guinea", -5.5, 143.5, 300, 1800),
    ("Atlas", 32, -5, 350, 1300),
    ("Ethiopia", 9.5, 39, 400, 2100),
    ("Kenya and Rwanda", -1, 34, 500, 1500),
    ("Yemen", 15, 44.2, 250, 1900),
    ("Drakensberg", -29, 28.5, 300, 1700),
    ("Namibia", -22.5, 17, 350, 1300),
    ("Zimbabwe and Zambia", -17, 29, 600, 1100),
    ("Angola", -12.5, 16, 350, 1300),
    ("Madagascar", -19, 47, 250, 1200),
    ("Southern Alps", -43.5, 170.5, 250, 1000),
    ("Snowy Mountains", -36.5, 148, 200, 800),
)

WARMTH: Final = (  # name, latitude, longitude, radius km, °C added to the mean of the year
    ("Gulf Stream", 63, 0, 1600, 7),
    ("Western Europe", 50, 0, 900, 1.5),
    ("Siberia", 64, 125, 2000, -9),
    ("Manchuria", 46, 125, 900, -3),
    ("Arctic Canada", 60, -95, 1700, -6),
    ("Greenland", 72, -40, 900, -12),
    ("Arabia and Persia", 24, 50, 1300, 3),
    ("Sahara", 20, 10, 1800, 3),
)

SEASONS: Final = (  # name, latitude, longitude, radius km, how much stronger (share) the seasons are than at sea
    ("Siberia", 62, 120, 2500, 1.6),
    ("North Atlantic", 62, -8, 1300, -0.5),
    ("Central Asia", 45, 75, 1800, 0.9),
    ("Canada", 55, -100, 1800, 0.9),
    ("United States", 42, -92, 1200, 0.7),
    ("Northern China", 42, 117, 1200, 0.8),
    ("Russia", 55, 45, 1500, 0.7),
    ("Persia and Arabia", 31, 48, 1300, 0.6),
    ("Eastern Europe", 49, 25, 900, 0.4),
)

SOILS: Final = (  # name, latitude, longitude, radius km, colour
    ("African laterite", 2, 28, 1300, (176, 86, 48)),
    ("Guinean laterite", 9, -5, 1100, (184, 92, 52)),
    ("Miombo", -13, 30, 1100, (172, 98, 62)),
    ("Madagascar", -19, 47, 500, (184, 80, 48)),
    ("Australian outback", -25, 129, 1300, (190, 82, 42)),
    ("Cerrado", -15, -48, 1100, (182, 84, 50)),
    ("Terra roxa", -24, -53, 500, (150, 64, 46)),
    ("Khorat and Mekong", 14, 104, 500, (190, 116, 76)),
    ("Deccan", 16, 77, 600, (120, 82, 64)),
    ("Georgia and Oklahoma", 34, -88, 700, (170, 104, 72)),
    ("Red rocks", 36.5, -111, 400, (192, 108, 70)),
    ("Loess plateau", 37, 110, 700, (198, 168, 112)),
    ("Black earth", 50, 36, 900, (84, 68, 56)),
    ("Pampas", -34, -61, 600, (112, 88, 66)),
    ("Iberia", 39, -3, 400, (186, 140, 94)),
    ("Sahara", 23, 10, 2200, (222, 186, 124)),
    ("Arabia", 23, 47, 1200, (224, 190, 138)),
    ("Kalahari", -24, 20, 600, (206, 140, 90)),
    ("Central Asia", 42, 66, 1200, (194, 174, 136)),
    ("Gobi and Tibet", 40, 95, 1300, (180, 158, 124)),
    ("Atacama", -22, -69.5, 700, (186, 148, 112)),
    ("Patagonia", -45, -69, 800, (166, 146, 116)),
    ("Iceland", 65, -19, 400, (70, 66, 64)),
)
PLAIN_SOIL: Final = (138, 112, 82)


class _Patches:
    """The sum of round patches: each adds its amount at its centre and exp(-1) of it one radius away."""

    def __init__(self, table: tuple[tuple[str, float, float, float, object], ...]) -> None:
        self.centres = np.array([row[1:3] for row in table], dtype=np.float64)
        self.radii_km = np.array([row[3] for row in table], dtype=np.float64)
        self.amounts = np.array([row[4] for row in table], dtype=np.float64)

    def shares(self, points: sphere.Points) -> NDArray[np.float64]:
        """Weigh every patch: (..., 2) degrees -> (..., patches) between 0 and 1."""
        return np.exp(-((sphere.haversine_km(points[..., None, :], self.centres) / self.radii_km) ** 2))

    def at(self, points: sphere.Points) -> NDArray[np.float64]:
        """Add the patches up: (..., 2) degrees -> (...)."""
        return self.shares(points) @ self.amounts


_MOISTURE, _RELIEF, _WARMTH, _SEASONS, _SOILS = map(_Patches, (MOISTURE, RELIEF, WARMTH, SEASONS, SOILS))


@dataclass(frozen=True)
class Climate:
    """What grows and lies at a place on a day."""

    temperature: float
    """°C on that day."""
    mean_temperature: float
    """°C over the year."""
    coldest: float
    """°C in the coldest month."""
    warmest: float
    """°C in the warmest month."""
    moisture: float
    """0 in a desert, 1 in a rainforest."""
    elevation_m: float
    """Metres of mountains around."""
    soil: tuple[int, int, int]
    """Colour of bare ground, RGB."""


def climate_at(latitude: float, longitude: float, day: float) -> Climate:
    """Look the climate of a place up for a day of the year (0 to 365)."""
    point = np.array([latitude, longitude])
    elevation_m = float(_RELIEF.at(point))
    # A parabola through 27 °C at the equator, 12 °C at 45° and -10 °C at 70°, and 5.5 °C less per km of height.
    mean = 27 - 0.0076 * latitude**2 + float(_WARMTH.at(point)) - 0.0055 * elevation_m
    sea = 0.17 if latitude > 0 else 0.13  # the southern hemisphere is mostly water
    amplitude = sea * abs(latitude) * (1 + float(_SEASONS.at(point)))
    summer_day = 200 if latitude > 0 else 17
    warm = float(np.cos(2 * np.pi * (day - summer_day) / 365.25))
    wet_by_latitude = np.interp(abs(latitude), (0, 10, 24, 32, 45, 60, 75), (0.8, 0.72, 0.5, 0.45, 0.6, 0.58, 0.4))
    moisture = float(np.clip(wet_by_latitude + _MOISTURE.at(point), 0, 1))
    soils = _SOILS.shares(point)
    plain = 0.35
    soil = (soils @ _SOILS.amounts + plain * np.array(PLAIN_SOIL)) / (soils.sum() + plain)
    return Climate(
        temperature=mean + amplitude * warm,
        mean_temperature=mean,
        coldest=mean - amplitude,
        warmest=mean + amplitude,
        moisture=moisture,
        elevation_m=elevation_m,
        soil=(int(soil[0]), int(soil[1]), int(soil[2])),
    )


def sun_at(latitude: float, day: float, hour: float) -> tuple[float, float, float]:
    """Point at the sun: latitude, day of the year, solar hour -> its (east, north, up) parts, together of length 1.

    The sun stands over one place of the Earth, at the latitude of its declination (Cooper 1969) and 15° west for each
    hour past noon; seen from here it is that place's unit vector, read along our own east, north and up.
    """
    declination = -23.45 * float(np.cos(2 * np.pi * (day + 10) / 365.25))
    sun = sphere.unit_vectors((declination, 15 * (12 - hour)))
    east, north, up = sphere.unit_vectors(((0.0, 90.0), (latitude + 90, 0.0), (latitude, 0.0)))
    return float(sun @ east), float(sun @ north), float(sun @ up)
