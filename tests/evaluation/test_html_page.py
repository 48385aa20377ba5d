from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomind.evaluation.html_page import LONGEST_NAME, cut_text, html_table, km_text, name_text, share_bar


@pytest.mark.parametrize(
    ("distance_km", "text"),
    [(0, "0 m"), (0.25, "250 m"), (1, "1.0 km"), (9.94, "9.9 km"), (1234.4, "1,234 km"), (math.inf, "–"),
     (math.nan, "–")],
)  # fmt: skip
def test_a_distance_in_words(distance_km: float, text: str) -> None:
    assert km_text(distance_km) == text


@given(st.text(st.characters()))
def test_any_name_is_text_of_bounded_length(name: str) -> None:
    written = name_text(name)
    assert not {"<", ">", '"'} & set(written)
    written.encode()
    cut = cut_text(name)
    assert len(cut) <= LONGEST_NAME + 3
    assert cut == name or (name.startswith(cut.split(" … ")[0]) and len(name) > LONGEST_NAME)


def test_numbers_stand_below_their_heads() -> None:
    table = html_table(["name", ">photos"], [["a", "1"]])
    assert '<th>name</th><th class="number">photos</th>' in table
    assert '<td>a</td><td class="number">1</td>' in table
    assert 'width="33.3"' in share_bar(1 / 3)
