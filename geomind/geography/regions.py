"""The one table of regions: id, slug, name, countries, centres. It knows no boxes: those are fitted to photos.

A region is a list of countries, or the part of some countries that is nearest to its centres. A table of clusters is
the second kind throughout: every region has ``*`` for its countries, and the nearest centre decides alone.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geomind.errors import ConfigError, OutputError
from geomind.files import atomic_path, refuse_existing
from geomind.geography.nearest import Nearest
from geomind.geography.sphere import unit_vectors

EVERY_OTHER = "*"
"""Stands for every country that no other region lists, and for the high seas."""

NO_REGION = -1
"""What ``region_ids`` gives for a country in no region, where the table has no ``*``."""

_ABOUT_CENTRES = """\
# Regions of GeoMind. `*` is every country that no region lists, and the high seas. Regions that list the same country
# divide it: a place there belongs to the region with the nearest centre (latitude, longitude in degrees, great circle).
"""


@dataclass(frozen=True)
class Region:
    """One macro region: a class of the Director and the place of one Expert."""

    id: int
    slug: str
    name: str
    countries: tuple[str, ...]
    """ISO 3166-1 alpha-2 codes, or ``*``."""
    centres: tuple[tuple[float, float], ...] = ()
    """(latitude, longitude) in degrees. Regions that list the same country divide it: a place there belongs to the one
    with the nearest centre."""


@dataclass(frozen=True)
class RegionTable:
    """A set of 2 to 1,000 regions in the order of their ids, which count from 0.

    Raises:
        ConfigError: the table contradicts itself; the message says where.
    """

    name: str
    regions: tuple[Region, ...]
    _sharers: tuple[tuple[int, ...], ...] = field(init=False, repr=False, compare=False)
    """Every set of regions that share a country; the first is that of a country in no region."""
    _sharers_of: dict[str, int] = field(init=False, repr=False, compare=False)
    """Country code -> its set's place in ``_sharers``."""

    def __post_init__(self) -> None:
        if not 2 <= len(self.regions) <= 1000:
            raise ConfigError(f"The region table '{self.name}' has {len(self.regions)} regions; it needs 2 to 1,000.")
        if (ids := [region.id for region in self.regions]) != list(range(len(self.regions))):
            raise ConfigError(f"The region table '{self.name}' must number its regions 0, 1, 2 …, not {ids[:20]}.")
        for region in self.regions:
            if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", region.slug):
                raise ConfigError(
                    f"Region {region.id}: the slug '{region.slug}' must be lower-case words with hyphens."
                )
        if len({region.slug for region in self.regions}) < len(self.regions):
            raise ConfigError(f"The region table '{self.name}' uses one slug twice; each names the file of an Expert.")
        sharers_of: dict[str, tuple[int, ...]] = {}
        for region in self.regions:
            for code in dict.fromkeys(region.countries):
                if code != EVERY_OTHER and not (len(code) == 2 and code.isascii() and code.isupper()):
                    raise ConfigError(f"Region {region.id} '{region.name}': '{code}' is no ISO 3166-1 alpha-2 code.")
                sharers_of[code] = (*sharers_of.get(code, ()), region.id)
        for code, who in sharers_of.items():
            if len(who) > 1 and (without := [i for i in who if not self.regions[i].centres]):
                raise ConfigError(
                    f"Country '{code}' is in regions {who[0]} and {who[1]}; keep one. Or divide it: give every region "
                    f"that lists it centres, which region {without[0]} '{self.regions[without[0]].name}' has not."
                )
        self._check_centres()
        sharers = dict.fromkeys([(), *sharers_of.values()])
        number = {who: i for i, who in enumerate(sharers)}
        object.__setattr__(self, "_sharers", tuple(sharers))
        object.__setattr__(self, "_sharers_of", {code: number[who] for code, who in sharers_of.items()})

    def _check_centres(self) -> None:
        seen: dict[tuple[float, ...], int] = {}
        for region in self.regions:
            for latitude, longitude in region.centres:
                if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
                    raise ConfigError(
                        f"Region {region.id} '{region.name}': the centre [{latitude}, {longitude}] is not on the "
                        "Earth: it is latitude -90 to 90, longitude -180 to 180 degrees."
                    )
                # One place has many names at a pole and two on the date line; its vector is one (9 decimals are 6 mm).
                place = tuple((unit_vectors((latitude, longitude)).round(9) + 0.0).tolist())
                if place in seen:
                    raise ConfigError(
                        f"Regions {seen[place]} and {region.id} have the same centre [{latitude}, {longitude}]; a "
                        "place there would be in both. Keep one."
                    )
                seen[place] = region.id

    def __len__(self) -> int:
        return len(self.regions)

    def __getitem__(self, region_id: int) -> Region:
        """Give a region by its id.

        Raises:
            ConfigError: no region has this id.
        """
        if not 0 <= region_id < len(self.regions):
            raise ConfigError(
                f"No region {region_id} in the table '{self.name}': its regions are 0 to {len(self.regions) - 1}. "
                "`geomind regions show` lists them."
            )
        return self.regions[region_id]

    @property
    def names(self) -> list[str]:
        """The regions' names in the order of their ids."""
        return [region.name for region in self.regions]

    @property
    def needs_points(self) -> bool:
        """Whether places are needed, beside countries, to tell regions apart."""
        return any(len(who) > 1 for who in self._sharers)

    def region_ids(self, countries: Iterable[str], points: ArrayLike | None = None) -> NDArray[np.int64]:
        """Find the region of each place.

        Args:
            countries: (n,) country codes, "" for the high seas.
            points: (n, 2) degrees; may be left out where countries alone decide.

        Returns:
            (n,) ids, ``NO_REGION`` for a country in no region.

        Raises:
            ConfigError: the table has regions told apart by their centres, and ``points`` are left out.
            ValueError: a point whose nearest centre is asked for is not finite.
        """
        other = self._sharers_of.get(EVERY_OTHER, 0)
        sharers = np.array([self._sharers_of.get(code, other) for code in countries], dtype=np.int64)
        ids = np.array([who[0] if who else NO_REGION for who in self._sharers], dtype=np.int64)[sharers]
        if not self.needs_points:
            return ids
        if points is None:
            raise ConfigError(
                f"The region table '{self.name}' tells regions apart by their centres; a country alone is not enough, "
                "the coordinates are needed too."
            )
        points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        for number, candidates in enumerate(self._sharers):
            if len(candidates) > 1 and (here := sharers == number).any():
                ids[here] = self._nearest(points[here], candidates)
        return ids

    def _nearest(self, points: NDArray[np.float64], candidates: Sequence[int]) -> NDArray[np.int64]:
        centres = [(region_id, centre) for region_id in candidates for centre in self.regions[region_id].centres]
        _, nearest = Nearest(unit_vectors([centre for _, centre in centres])).query(unit_vectors(points))
        region_of = np.array([region_id for region_id, _ in centres], dtype=np.int64)
        ids: NDArray[np.int64] = region_of[nearest]
        return ids

    @property
    def fingerprint(self) -> str:
        """A short hash of what gives a region id its meaning; weights of another table do not fit."""
        meaning: list[list[Any]] = [[region.id, region.name, sorted(region.countries)] for region in self.regions]
        for region, entry in zip(self.regions, meaning, strict=True):
            if region.centres:  # a table without them keeps the hash that it had before there were any
                entry.append(sorted(region.centres))
        return hashlib.sha256(json.dumps(meaning).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Describe the table as plain values, the form of its YAML file and of a checkpoint."""
        regions = []
        for r in self.regions:
            entry: dict[str, Any] = {"id": r.id, "slug": r.slug, "name": r.name, "countries": list(r.countries)}
            if r.centres:
                entry["centres"] = [list(centre) for centre in r.centres]
            regions.append(entry)
        return {"name": self.name, "regions": regions}

    @classmethod
    def from_dict(cls, table: Any, *, where: str) -> RegionTable:
        """Build a table from plain values; ``where`` they come from is named in errors.

        Raises:
            ConfigError: a key is missing, unknown or of another type.
        """
        try:
            if extra := set(table) - {"name", "regions"}:
                raise ConfigError(f"Unknown key '{sorted(extra)[0]}' in {where}; a region table has name and regions.")
            regions = []
            for entry in table["regions"]:
                if set(entry) - {"centres"} != {"id", "slug", "name", "countries"}:
                    raise ConfigError(
                        f"A region in {where} has the keys {sorted(entry)}, not id, slug, name, countries, and centres "
                        "if it has any."
                    )
                codes = tuple(str(code) for code in entry["countries"])
                centres = tuple((float(latitude), float(longitude)) for latitude, longitude in entry.get("centres", ()))
                regions.append(Region(int(entry["id"]), str(entry["slug"]), str(entry["name"]), codes, centres))
            return cls(str(table["name"]), tuple(regions))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"{where} is no region table ({error}). It needs `name`, and `regions` of id, slug, name, countries."
            ) from error

    @classmethod
    def read(cls, path: Path | str) -> RegionTable:
        """Read a table from a YAML file of the form of the shipped ``regions13.yaml``.

        Raises:
            ConfigError: the file is missing, is no YAML, or is no region table.
        """
        from geomind.config import parse_yaml  # brings pydantic, which a table of regions at hand needs not

        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"Cannot read the region table {path}: {error}.") from error
        return cls.from_dict(parse_yaml(text, where=str(path)), where=str(path))

    def write(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the table as YAML that ``read`` gives back without change.

        Raises:
            OutputError: the file ends otherwise than in .yaml or .yml, exists, or cannot be written.
        """
        from ruamel.yaml import YAML

        path = Path(path)
        if path.suffix.lower() not in (".yaml", ".yml"):
            raise OutputError(f"A region table ends in .yaml; {path} does not.")
        refuse_existing(path, overwrite=overwrite)
        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style = None  # a list of countries, or of latitude and longitude, on one line
        yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
        yaml.width = 120
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            if self.needs_points:
                file.write(_ABOUT_CENTRES)
            yaml.dump(self.to_dict(), file)


@functools.cache
def default_regions() -> RegionTable:
    """Give the 13 macro regions of the original GeoMind project."""
    with resources.as_file(resources.files("geomind.geography") / "tables" / "regions13.yaml") as path:
        return RegionTable.read(path)
