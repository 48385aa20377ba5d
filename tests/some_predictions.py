"""Predictions for tests: a plain one, and any that can be."""

from __future__ import annotations

from hypothesis import strategies as st

from geomind.predictions import CELL_COLUMNS, Prediction

ANSWER = Prediction(
    image_path="iceland/a.jpg",
    region_id=2,
    region_name="Western & Northern Europe",
    region_probability=0.91,
    latitude=64.1466,
    longitude=-21.9426,
    country="IS",
    city="Reykjavík",
    radius_km_50=12.5,
    radius_km_90=300,
    confidence=0.75,
)

any_text = st.text(st.characters())  # every code point, lone surrogates included
tricky_text = st.text(st.sampled_from("'=+-@\t\r\n\x00\\u0D;,\" 1.e\udce9\ud83d\ude00＝é"))
shares = st.floats(0, 1, allow_subnormal=False)  # the test process may flush denormals to zero
points = st.tuples(st.floats(-90, 90, allow_subnormal=False), st.floats(-180, 180, allow_subnormal=False))
distances = st.floats(0, 1e6, allow_subnormal=False)
texts = (any_text | tricky_text).filter(bool)


@st.composite
def predictions(draw, *, with_truth: bool) -> Prediction:
    place = draw(st.none() | points)
    truth = draw(points) if with_truth else (None, None)
    cells = {name: draw(st.none() | (shares if name.endswith("probability") else texts)) for name in CELL_COLUMNS}
    radii = sorted(draw(st.tuples(distances, distances)))
    return Prediction(
        image_path=draw(texts),
        region_id=draw(st.none() | st.integers(0, 999)),
        region_name=draw(st.none() | texts),
        region_probability=draw(st.none() | shares),
        latitude=place and place[0],
        longitude=place and place[1],
        country=draw(st.none() | texts),
        city=draw(st.none() | texts),
        radius_km_50=radii[0],
        radius_km_90=radii[1],
        confidence=draw(st.none() | shares),
        radius_note=draw(st.none() | texts),
        abstained=draw(st.none() | texts),
        error=draw(st.none() | texts) if place else draw(texts),
        candidates=draw(st.none() | texts),
        **cells,
        true_latitude=truth[0],
        true_longitude=truth[1],
    )
