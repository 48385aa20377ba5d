from __future__ import annotations

import numpy as np
from inspected import LYON, NAIROBI, PARIS, TOKYO, at, frame

from geomind.data.inspection.coordinates import Places
from geomind.data.inspection.region_ids import check_regions
from geomind.geography.regions import NO_REGION, default_regions


def test_regions_that_training_refuses_or_that_are_elsewhere() -> None:
    manifest = frame(at(PARIS), at(PARIS), at(TOKYO), at(NAIROBI, country="KE"), at(LYON, country="KE"))
    found = check_regions(Places.look_up(manifest), np.array([NO_REGION, 13, 6, 2, 9]), default_regions())
    assert [each.rows.tolist() for each in found] == [[0, 1], [3]]  # the last has a wrong country instead
    assert "Western & Northern Europe" in found[1].notes[0]
    assert "Africa" in found[1].notes[0]
    assert found[0].notes == ("no region", "region 13")
