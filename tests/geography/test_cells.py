"""Clusters and trees of cells: nested, whole, read back without change."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geomind.errors import ConfigError, OutputError
from geomind.geography.cells import NO_PARENT, CellLevel, CellTree, cluster_centres
from geomind.geography.sphere import haversine_km

places = st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=60)


def towns(count: int = 60, each: int = 20, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.stack([np.degrees(np.arcsin(rng.uniform(-1, 1, count))), rng.uniform(-180, 180, count)], 1)
    points = np.repeat(centres, each, axis=0) + rng.normal(0, 0.3, (count * each, 2))
    return np.stack([points[:, 0].clip(-90, 90), (points[:, 1] + 180) % 360 - 180], 1)


@pytest.fixture(scope="module")
def tree() -> CellTree:
    return CellTree.fit(towns(), {"country": 5, "region": 20, "city": 60}, min_photos=5)


@settings(max_examples=30, deadline=None)
@given(places, st.integers(1, 4), st.integers(0, 6), st.integers(1, 3))
@example([(0.0, 29.0), (29.0, 0.0)], 1, 1, 1)  # 180 and -180 are as far from both, and fell to one each
def test_levels_nest_and_every_place_is_in_one_cell_of_each(
    cloud: list[tuple[float, float]], coarse: int, more: int, min_photos: int
) -> None:
    tree = CellTree.fit(cloud, {"country": coarse, "city": coarse + more}, min_photos=min_photos)
    labels = tree.assign([*cloud, (90, 0), (-90, 12), (0, 180), (0, -180)])
    country, city = labels.T
    assert labels.shape == (len(cloud) + 4, 2)
    assert (country == tree.levels[1].parents[city]).all()
    assert ((labels >= 0) & (labels < [len(level) for level in tree.levels])).all()
    assert (labels[-2] == labels[-1]).all()  # 180 and -180 are one meridian
    for depth, level in enumerate(tree.levels):
        assert level.photos.tolist() == np.bincount(labels[:-4, depth], minlength=len(level)).tolist()
        assert level.photos.min() >= min(min_photos, len(cloud))
        assert len(level) <= [coarse, coarse + more][depth]


@given(places)
def test_a_place_is_in_the_finest_cell_with_the_nearest_centre(cloud: list[tuple[float, float]]) -> None:
    centres = np.array([(0.0, 0.0), (60.0, 170.0), (60.0, -170.0), (-90.0, 0.0)])
    level = CellLevel("city", centres, np.full(4, NO_PARENT), np.ones(4, dtype=np.int64), ("", "", "", ""))
    distance = haversine_km(np.array(cloud)[:, None], centres)
    chosen = distance[np.arange(len(cloud)), CellTree((level,)).assign(cloud)[:, 0]]
    assert chosen == pytest.approx(distance.min(axis=1), abs=1e-6)


def test_clusters_are_found_across_the_date_line_and_at_the_pole() -> None:
    """K-means on degrees put Fiji's two halves in two clusters, and the pole's photos in as many as there were."""
    fiji = [(-17.0, 179.5), (-17.0, -179.5), (-16.5, 179.9), (-17.5, -179.9)]
    pole = [(89.0, 0.0), (89.0, 90.0), (89.0, 180.0), (89.0, -90.0)]
    centres = cluster_centres([*fiji, *pole], 2)
    centres = centres[np.argsort(centres[:, 0])]
    assert haversine_km(centres[0], (-17, 180)) < 30
    assert haversine_km(centres[1], (90, 0)) < 1


def test_as_many_cells_as_asked_for_where_photos_suffice(tree: CellTree) -> None:
    assert [len(level) for level in tree.levels] == [5, 20, 60]
    assert all(level.photos.sum() == 1200 for level in tree.levels)


def test_wide_and_full_cells_are_divided_most() -> None:
    rng = np.random.default_rng(0)
    wide = np.stack([rng.uniform(-20, 20, 500), rng.uniform(-20, 20, 500)], 1)
    narrow = np.stack([rng.uniform(60, 61, 500), rng.uniform(150, 151, 500)], 1)
    tree = CellTree.fit(np.concatenate([wide, narrow]), {"country": 2, "city": 20})
    of_wide = tree.assign([(0, 0)])[0, 0]
    assert (tree.levels[1].parents == of_wide).sum() > 15


def test_the_same_seed_gives_the_same_cells(tree: CellTree) -> None:
    counts = {"country": 5, "region": 20, "city": 60}
    assert CellTree.fit(towns(), counts, min_photos=5).fingerprint == tree.fingerprint
    assert CellTree.fit(towns(seed=1), counts, min_photos=5).fingerprint != tree.fingerprint


def test_one_place_is_one_cell() -> None:
    tree = CellTree.fit([(10, 20)] * 30, {"country": 3, "city": 9})
    assert [len(level) for level in tree.levels] == [1, 1]


def test_photos_a_step_apart_make_no_two_cells_at_one_place() -> None:
    """Centres are rounded to a metre, and two cells of a hand's breadth came out with one centre."""
    steps = [(10, 20), (10, 20.000001), (10, 20.000002), (90, 0), (90, 50), (50, 180), (50, -180)]
    tree = CellTree.fit(steps, {"country": 2, "city": 7})
    assert len(tree.levels[1]) == 3


def test_a_tree_is_written_and_read_without_change(tree: CellTree, tmp_path: Path) -> None:
    named = tree.named([[f"{level.name} {i} Österreich, 日本" for i in range(len(level))] for level in tree.levels])
    named.write(tmp_path / "cells.parquet")
    again = CellTree.read(tmp_path / "cells.parquet")
    assert again.fingerprint == named.fingerprint != tree.fingerprint
    for level, before in zip(again.levels, named.levels, strict=True):
        assert (level.name, level.names) == (before.name, before.names)
        for field in ("centres", "parents", "photos"):
            assert np.array_equal(getattr(level, field), getattr(before, field))
    with pytest.raises(OutputError, match="--overwrite"):
        named.write(tmp_path / "cells.parquet")
    with pytest.raises(OutputError, match=r"ends in \.parquet"):
        named.write(tmp_path / "cells.csv")


def test_a_file_that_is_no_tree(tree: CellTree, tmp_path: Path) -> None:
    path = tmp_path / "cells.parquet"
    with pytest.raises(ConfigError, match="Cannot read the cells"):
        CellTree.read(path)
    path.write_text("cells")
    with pytest.raises(ConfigError, match="Cannot read the cells"):
        CellTree.read(path)
    path.unlink()
    tree.write(path)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({}), path)
    with pytest.raises(ConfigError, match="is no tree of cells"):
        CellTree.read(path)
    pq.write_table(table.replace_schema_metadata({"geomind": '{"kind": "cells", "format_version": 99}'}), path)
    with pytest.raises(ConfigError, match="format 99"):
        CellTree.read(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(ConfigError, match="not numbered 0, 1, 2"):
        CellTree.read(path)


@pytest.mark.parametrize(
    "about", ["{", "[]", "7", b"\xff", '{"kind": "cells"}', '{"kind": "cells", "format_version": "1"}']
)
def test_a_file_that_says_nonsense_of_itself_is_no_tree(tree: CellTree, tmp_path: Path, about: str | bytes) -> None:
    """Metadata of another program's, no JSON or of another shape, gave a traceback."""
    tree.write(tmp_path / "cells.parquet")
    table = pq.read_table(tmp_path / "cells.parquet")
    pq.write_table(table.replace_schema_metadata({"geomind": about}), tmp_path / "cells.parquet")
    with pytest.raises(ConfigError, match="is no tree of cells"):
        CellTree.read(tmp_path / "cells.parquet")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parents": np.array([0, 0])}, "at least one child"),
        ({"parents": np.array([0, 2])}, "at least one child"),
        ({"parents": np.array([0])}, "not as many"),
        ({"centres": np.array([(0.0, 0.0), (91.0, 0.0)])}, "not on the Earth"),
        ({"centres": np.array([(0.0, 0.0), (np.nan, 0.0)])}, "not on the Earth"),
        ({"centres": np.array([(90.0, 0.0), (90.0, 77.0)])}, "one centre"),
        ({"name": "country"}, "one name"),
        ({"name": ""}, "needs a name"),
    ],
)
def test_contradictory_levels_are_refused_with_the_reason(change: dict[str, object], said: str) -> None:
    country = CellLevel(
        "country", np.array([(0.0, 0.0), (0.0, 9.0)]), np.full(2, NO_PARENT), np.ones(2, int), ("A", "B")
    )
    city = dataclasses.replace(country, name="city", parents=np.array([0, 1]))
    assert CellTree((country, city)).chains.tolist() == [[0, 0], [1, 1]]
    with pytest.raises(ConfigError, match=said):
        CellTree((country, dataclasses.replace(city, **change)))  # type: ignore[arg-type]


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ConfigError, match="as many as the one above"):
        CellTree.fit(towns(), {"country": 9, "city": 3})
    with pytest.raises(ConfigError, match="no places"):
        CellTree.fit(np.empty((0, 2)), {"country": 9})
    with pytest.raises(ConfigError, match="at least one level"):
        CellTree(())
