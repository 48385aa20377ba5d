"""The one table of regions: id, slug, name, countries. It knows no boxes: those are fitted to photos."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomind.errors import ConfigError

EVERY_OTHER = "*"
"""Stands for every country that no other region lists, and for the high seas."""

NO_REGION = -1
"""What ``region_ids`` gives for a country in no region, where the table has no ``*``."""


@dataclass(frozen=True)
class Region:
    """One macro region: a class of the Director and the place of one Expert."""

    id: int
    slug: str
    name: str
    countries: tuple[str, ...]
    """ISO 3166-1 alpha-2 codes, or ``*``."""


@dataclass(frozen=True)
class RegionTable:
    """A set of 2 to 1,000 regions in the order of their ids, which count from 0.

    Raises:
        ConfigError: the table contradicts itself; the message says where.
    """

    name: str
    regions: tuple[Region, ...]
    _region_of: dict[str, int] = field(init=False, repr=False, compare=False)

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
        region_of: dict[str, int] = {}
        for region in self.regions:
            for code in region.countries:
                if code != EVERY_OTHER and not (len(code) == 2 and code.isascii() and code.isupper()):
                    raise ConfigError(f"Region {region.id} '{region.name}': '{code}' is no ISO 3166-1 alpha-2 code.")
                if code in region_of:
                    raise ConfigError(f"Country '{code}' is in regions {region_of[code]} and {region.id}; keep one.")
                region_of[code] = region.id
        object.__setattr__(self, "_region_of", region_of)

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

    def region_ids(self, countries: Iterable[str]) -> NDArray[np.int64]:
        """Find the region of each country code: (n,) codes, "" for the high seas -> (n,) ids or ``NO_REGION``."""
        other = self._region_of.get(EVERY_OTHER, NO_REGION)
        return np.array([self._region_of.get(code, other) for code in countries], dtype=np.int64)

    @property
    def fingerprint(self) -> str:
        """A short hash of what gives a region id its meaning; weights of another table do not fit."""
        meaning = [[region.id, region.name, sorted(region.countries)] for region in self.regions]
        return hashlib.sha256(json.dumps(meaning).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Describe the table as plain values, the form of its YAML file and of a checkpoint."""
        regions = [{"id": r.id, "slug": r.slug, "name": r.name, "countries": list(r.countries)} for r in self.regions]
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
                if set(entry) != {"id", "slug", "name", "countries"}:
                    raise ConfigError(
                        f"A region in {where} has the keys {sorted(entry)}, not id, slug, name, countries."
                    )
                codes = tuple(str(code) for code in entry["countries"])
                regions.append(Region(int(entry["id"]), str(entry["slug"]), str(entry["name"]), codes))
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
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        try:
            text = Path(path).read_text(encoding="utf-8")
            return cls.from_dict(YAML(typ="safe", pure=True).load(text), where=str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"Cannot read the region table {path}: {error}.") from error
        except YAMLError as error:
            raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error


@functools.cache
def default_regions() -> RegionTable:
    """Give the 13 macro regions of the original GeoMind project."""
    with resources.as_file(resources.files("geomind.geography") / "tables" / "regions13.yaml") as path:
        return RegionTable.read(path)
