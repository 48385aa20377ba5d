from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from geomind.config import to_yaml
from geomind.errors import ConfigError
from geomind.geography.regions import NO_REGION, Region, RegionTable, default_regions


def test_the_table_holds_the_13_regions_of_the_original_project() -> None:
    table = default_regions()
    assert len(table) == 13
    assert table[5].name == "Russia & Cyrillic"
    assert table.names[12] == "Rare Regions"


@pytest.mark.skipif("GEOMIND_SHARED" not in os.environ, reason="GEOMIND_SHARED is not set")
def test_the_table_is_that_of_the_facts() -> None:
    with (Path(os.environ["GEOMIND_SHARED"]) / "facts/regions13.csv").open(newline="") as file:
        facts = [
            (int(row["region_id"]), row["name"], tuple(row["country_codes"].split())) for row in csv.DictReader(file)
        ]
    assert [(r.id, r.name, r.countries) for r in default_regions().regions] == facts


def test_namibia_and_norway_are_countries() -> None:
    """`NA` read as a missing value and `NO` as False were the two classic ways to lose a country."""
    assert default_regions().region_ids(["NA", "NO", "FJ", "", "US"]).tolist() == [9, 2, 12, 12, 0]


def test_a_table_without_a_star_leaves_other_countries_out() -> None:
    table = RegionTable("two", (Region(0, "a", "A", ("FR",)), Region(1, "b", "B", ("DE",))))
    assert table.region_ids(["DE", "US"]).tolist() == [1, NO_REGION]


def test_a_table_is_written_and_read_without_change(tmp_path: Path) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(to_yaml(default_regions().to_dict()), encoding="utf-8")
    assert RegionTable.read(path) == default_regions()
    assert RegionTable.read(path).fingerprint == default_regions().fingerprint


def test_the_fingerprint_tells_tables_apart() -> None:
    one = RegionTable("t", (Region(0, "a", "A", ("FR",)), Region(1, "b", "B", ("DE",))))
    other = RegionTable("t", (Region(0, "a", "A", ("DE",)), Region(1, "b", "B", ("FR",))))
    assert one.fingerprint != other.fingerprint


def table_yaml(*regions: str) -> str:
    return "name: t\nregions:" + "".join(f"\n  - {{{region}}}" for region in regions)


FRANCE = "id: 0, slug: a, name: A, countries: [FR]"


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        (table_yaml(FRANCE), "needs 2 to 1,000"),
        (table_yaml(FRANCE, "id: 2, slug: b, name: B, countries: [DE]"), "0, 1, 2"),
        (table_yaml(FRANCE, "id: 1, slug: b, name: B, countries: [FR]"), "'FR' is in regions 0 and 1"),
        (table_yaml(FRANCE, "id: 1, slug: a, name: B, countries: [DE]"), "slug twice"),
        (table_yaml(FRANCE, "id: 1, slug: ../b, name: B, countries: [DE]"), "slug '../b'"),
        (table_yaml(FRANCE, "id: 1, slug: b, name: B, countries: [Germany]"), "'Germany'"),
        (table_yaml(FRANCE, "id: 1, slug: b, name: B"), "not id, slug, name, countries"),
        ("name: t\nregion: []", "Unknown key 'region'"),
        ("just text", "Unknown key"),
        ("a: [", "not valid YAML"),
        ("", "is no region table"),
    ],
)
def test_a_contradictory_table_is_refused_with_its_reason(tmp_path: Path, yaml: str, said: str) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(yaml)
    with pytest.raises(ConfigError, match=said):
        RegionTable.read(path)


def test_a_missing_table_and_a_region_outside_it_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Cannot read the region table"):
        RegionTable.read(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"No region 13 .* 0 to 12"):
        default_regions()[13]
