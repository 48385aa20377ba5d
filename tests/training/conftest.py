"""What the tests of training share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from few_photos import REGIONS, write_photos

from geomind.training import runs


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Give the manifest of a few photos."""
    return write_photos(tmp_path)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Any]:
    """Say where weights and runs go, as a training is told it."""
    return {"regions": REGIONS, "models": tmp_path / "saved_models", "runs": tmp_path / "runs"}


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare half of the time of trainings this short."""
    monkeypatch.setattr(runs, "draw_curves", lambda *_, **__: None)
