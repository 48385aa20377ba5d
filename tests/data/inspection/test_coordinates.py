from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inspected import PARIS, TOKYO, at, found, frame, inspected

from geomind.data.inspection.coordinates import Places, check_coordinates
from geomind.geography import places

CITIES = places.cities()


def findings(*rows: dict[str, object]) -> dict[str, list[int]]:
    manifest = frame(*rows)
    found = check_coordinates(manifest, Places.look_up(manifest))
    return {each.check: sorted(each.rows.tolist()) for each in found if each.count}


def test_right_positions_are_left_alone() -> None:
    towns = [at((60.3913, 5.3221), country="NO"), at((-22.5609, 17.0658), country="NA"), at((-18.1416, 178.4419))]
    assert findings(*towns, at(PARIS, country="FR"), at(TOKYO, country="JP")) == {}


def test_zero_swapped_and_mirrored_positions_and_wrong_countries() -> None:
    rows = [
        at((0, 0)),
        at((2.3522, 48.8566), country="FR"),  # in Somalia
        at((37.7749, 122.4194), country="US"),  # the minus of San Francisco is lost
        at((1.2921, 36.8219), country="KE"),  # Kenya lies on both sides of the equator
        at(PARIS, country="DE"),
        at(PARIS, country="France"),
        at(PARIS, country="FR"),
    ]
    assert findings(*rows) == {
        "zero_coordinates": [0],
        "swapped_coordinates": [1],
        "mirrored_coordinates": [2],
        "wrong_country": [4, 5],
    }


@settings(max_examples=50, deadline=None)
@given(st.integers(0, len(CITIES.name) - 1), st.booleans())
def test_no_town_is_in_the_wrong_country_and_a_swapped_one_is_never_called_mirrored(town: int, swap: bool) -> None:
    place, country = CITIES.points[town], str(CITIES.country[town])
    if not swap:
        assert (
            not {"wrong_country", "swapped_coordinates", "mirrored_coordinates"}
            & findings(at(tuple(place), country=country)).keys()
        )
    elif abs(place[1]) <= 90 and places.on_land(place):
        assert "mirrored_coordinates" not in findings(at((place[1], place[0]), country=country))


def test_a_country_just_over_the_border_is_right() -> None:
    kehl, strasbourg = (48.5726, 7.8150), (48.5734, 7.7521)
    assert findings(at(kehl, country="FR"), at(strasbourg, country="DE")) == {}


def test_a_few_wrong_countries_are_a_warning_and_many_a_problem(tmp_path: Path) -> None:
    right = [at((48.8 + 0.001 * i, 2.35 + 0.0001 * i), country="FR", region_id=2) for i in range(200)]
    few = inspected(tmp_path / "few.csv", *right, at(PARIS, country="DE", region_id=2))
    many = inspected(tmp_path / "many.csv", *right, *[at(PARIS, country="DE", region_id=2)] * 5)
    assert found(few, "wrong_country").verdict == "warning"
    assert found(many, "wrong_country").verdict == "problem"


def test_photos_at_sea_are_worse_where_the_source_is_of_streets() -> None:
    pacific, pier, male = (-30.0, -100.1234), (51.5145, 0.7171), (4.1755, 73.5093)
    assert findings(at(pacific), at(pier), at(male)) == {"photos_at_sea": [0]}
    assert findings(at(pacific, source="mapillary"), at(PARIS)) == {"street_photos_at_sea": [0]}
    assert findings(at(pacific, heading="90"), at(PARIS, heading="")) == {"street_photos_at_sea": [0]}


def test_photos_at_sea_that_would_be_on_land_swapped_are_said_to_be(tmp_path: Path) -> None:
    """Without a country nothing proves it, but hardly any photo of a real set is at sea and on land swapped."""
    rows = [at((5.32, 60.39)), at((2.3522, 48.8566)), at((-0.1278, 51.5074))]  # Bergen, Paris, London
    said = found(inspected(tmp_path / "m.csv", *rows), "photos_at_sea")
    assert said.count == 3
    assert "3 of 3 would be on land with latitude and longitude swapped." in said.detail


def test_one_position_of_many_photos() -> None:
    many = [at((48.8606, 2.3376))] * 12
    others = [at((47 + 0.0123 * i, 3.0071)) for i in range(20)]
    assert findings(*many, *others) == {"repeated_coordinates": list(range(12))}
    assert findings(*[row | {"group": "one panorama"} for row in many], *others) == {}
    walks = [row | {"group": f"walk {i}"} for i, row in enumerate(many)]
    assert findings(*walks, *others) == {"repeated_coordinates": list(range(12))}


@pytest.mark.parametrize(
    ("country", "centre"),
    [
        ("FR", (46.227638, 2.213749)), ("DE", (51.165691, 10.451526)), ("TR", (38.963745, 35.243322)),
        ("AU", (-25.274398, 133.775136)), ("CN", (35.86166, 104.195397)), ("NA", (-22.95764, 18.49041)),
    ],
)  # fmt: skip
def test_the_centre_of_a_country_that_a_geocoder_gave(country: str, centre: tuple[float, float]) -> None:
    assert findings(*[at(centre, country=country)] * 6, at(PARIS)) == {"country_centres": list(range(6))}
    assert findings(*[at(centre, country=country)] * 4, at(PARIS)) == {}  # four photos may be of one farm


def test_positions_of_few_decimals() -> None:
    assert findings(at((48.9, 2.4)), at((52.0, 13.0)), at((48.86, 2.35)), at((48.9, 2.35))) == {
        "coarse_coordinates": [0, 1]
    }
