from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from geomind.config import to_yaml
from geomind.errors import ConfigError, OutputError
from geomind.geography.regions import NO_REGION, Region, RegionTable, default_regions
from geomind.geography.sphere import haversine_km


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


def clusters(*centres: tuple[float, float]) -> RegionTable:
    regions = [Region(i, f"c-{i}", f"C {i}", ("*",), (centre,)) for i, centre in enumerate(centres)]
    return RegionTable("clusters", tuple(regions))


PACIFIC = clusters((0, 179), (0, -170), (-89, 0), (60, 10))


@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=30))
def test_a_place_belongs_to_the_cluster_with_the_nearest_centre(cloud: list[tuple[float, float]]) -> None:
    centres = [region.centres[0] for region in PACIFIC.regions]
    distance = haversine_km(np.array(cloud)[:, None], centres)
    ids = PACIFIC.region_ids(["FR"] * len(cloud), cloud)
    assert distance[np.arange(len(cloud)), ids] == pytest.approx(distance.min(axis=1), abs=1e-6)


def test_date_line_and_poles_are_places_like_any_other() -> None:
    points = [(0, -180), (0, 180), (0, -175.6), (0, -175.4), (-90, 0), (-90, 180), (90, -123)]
    assert PACIFIC.region_ids([""] * 7, points).tolist() == [0, 0, 0, 1, 2, 2, 3]


def test_a_region_may_have_several_centres() -> None:
    table = RegionTable("t", (Region(0, "a", "A", ("*",), ((0, 0), (0, 90))), Region(1, "b", "B", ("*",), ((0, 45),))))
    assert table.region_ids([""] * 3, [(0, 1), (0, 44), (0, 80)]).tolist() == [0, 1, 0]


def test_regions_that_share_countries_divide_just_these() -> None:
    table = RegionTable(
        "t",
        (
            Region(0, "france", "France", ("FR",)),
            Region(1, "west", "West", ("US", "*"), ((40, -120),)),
            Region(2, "east", "East", ("US", "CA"), ((40, -75),)),
        ),
    )
    points = [(40, -120), (40, -120), (40, -80), (60, -120), (0, -76)]
    assert table.region_ids(["FR", "US", "US", "CA", "BR"], points).tolist() == [0, 1, 2, 2, 1]


def test_clusters_need_coordinates_and_countries_do_not() -> None:
    with pytest.raises(ConfigError, match="the coordinates are needed too"):
        PACIFIC.region_ids(["FR"])
    assert PACIFIC.needs_points
    assert not default_regions().needs_points
    assert default_regions().region_ids(["FR"], [(np.nan, 0)]).tolist() == [2]


@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=2, max_size=20))
def test_a_table_of_clusters_is_written_and_read_without_change(
    tmp_path_factory: pytest.TempPathFactory, centres: list[tuple[float, float]]
) -> None:
    try:
        table = clusters(*centres)
    except ConfigError as error:
        assume("have the same centre" not in str(error))
        raise
    path = tmp_path_factory.mktemp("tables") / "table.yaml"
    table.write(path)
    again = RegionTable.read(path)
    assert again == table == RegionTable.from_dict(json.loads(json.dumps(table.to_dict())), where="weights")
    assert again.fingerprint == table.fingerprint


def test_the_shipped_table_is_written_and_read_without_change(tmp_path: Path) -> None:
    default_regions().write(tmp_path / "table.yaml")
    assert RegionTable.read(tmp_path / "table.yaml") == default_regions()
    with pytest.raises(OutputError, match="--overwrite"):
        default_regions().write(tmp_path / "table.yaml")
    with pytest.raises(OutputError, match=r"ends in \.yaml"):
        default_regions().write(tmp_path / "table.csv")


def test_the_fingerprint_covers_centres_and_leaves_older_weights_valid() -> None:
    assert clusters((0, 0), (0, 1)).fingerprint != clusters((0, 0), (0, 2)).fingerprint
    assert default_regions().fingerprint == "cfbc7c16cfa2b8ab"  # as in weights made before there were centres
    assert all("centres" not in region for region in default_regions().to_dict()["regions"])


def table_yaml(*regions: str) -> str:
    return "name: t\nregions:" + "".join(f"\n  - {{{region}}}" for region in regions)


WORLD = "id: 0, slug: a, name: A, countries: ['*'], centres: [[90, 0]]"
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
        (table_yaml(FRANCE, "id: 1, slug: b, name: B, countries: [FR], centres: [[1, 2]]"), "region 0 'A' has not"),
        (table_yaml(WORLD, "id: 1, slug: b, name: B, countries: ['*'], centres: [[91, 0]]"), "not on the Earth"),
        (table_yaml(WORLD, "id: 1, slug: b, name: B, countries: ['*'], centres: [[0, 181]]"), "not on the Earth"),
        (table_yaml(WORLD, "id: 1, slug: b, name: B, countries: ['*'], centres: [[.nan, 0]]"), "not on the Earth"),
        (table_yaml(WORLD, "id: 1, slug: b, name: B, countries: ['*'], centres: [[90, 9]]"), "0 and 1 have the same"),
        (table_yaml(WORLD, "id: 1, slug: b, name: B, countries: ['*'], centres: [5, 6]"), "is no region table"),
        (table_yaml(WORLD, "id: 1, slug: b, name: B, countries: ['*'], center: [[5, 6]]"), "and centres if it has"),
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
